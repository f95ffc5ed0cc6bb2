//! A replica's ports on this machine.

use std::io;

use k8s_openapi::api::core::v1::Service;

use crate::endpoint_slices::target;
use crate::ports::{Port, Ports};
use crate::workload::environment::PodPorts;
use crate::workload::{TargetPort, Template};

/// A port of this machine for each port of the container that is declared, or that a Service or the probe names by its
/// number. `PORT` is the one that the first Service targets, else the first that is declared or probed, else a free one.
pub(super) fn allocate(template: &Template, services: &[Service], free: &Ports) -> io::Result<(PodPorts, Vec<Port>)> {
    let service_ports = services
        .iter()
        .filter_map(|service| service.spec.as_ref()?.ports.as_ref())
        .flatten();
    let targets: Vec<TargetPort> = service_ports.filter_map(target).collect();
    let declared: Vec<TargetPort> = template
        .ports
        .iter()
        .map(|port| TargetPort::Number(port.number))
        .collect();
    let probed = template.readiness.as_ref().and_then(|probe| probe.action.port());
    let wanted: Vec<&TargetPort> = targets.iter().chain(&declared).chain(probed).collect();

    let mut held = Vec::new();
    let mut take = || -> io::Result<u16> {
        let port = free.free()?;
        let number = port.number();
        held.push(port);
        Ok(number)
    };
    let mut ports = PodPorts::default();
    for port in &wanted {
        if let TargetPort::Number(number) = port
            && let std::collections::btree_map::Entry::Vacant(entry) = ports.by_number.entry(*number)
        {
            entry.insert(take()?);
        }
    }
    for port in &template.ports {
        if let (Some(name), Some(here)) = (&port.name, ports.by_number.get(&port.number)) {
            ports.by_name.insert(name.clone(), *here);
        }
    }
    ports.main = match wanted.iter().find_map(|port| ports.find(port)) {
        Some(main) => main,
        None => take()?,
    };
    Ok((ports, held))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Workload;
    use crate::workload::tests::deployment;

    fn allocated(ports: &str, service: &str) -> PodPorts {
        let yaml = format!(
            "{{metadata: {{name: a}}, spec: {{selector: {{matchLabels: {{app: a}}}}, template: {{metadata: {{labels: {{app: \
             a}}}}, spec: {{containers: [{{name: a, command: [a], ports: {ports}}}]}}}}}}}}"
        );
        let template = Workload::read(&deployment(&yaml)).unwrap().template;
        let service = format!("{{metadata: {{name: a}}, spec: {{ports: {service}}}}}");
        allocate(
            &template,
            &[serde_saphyr::from_str(&service).unwrap()],
            &Ports::default(),
        )
        .unwrap()
        .0
    }

    const DECLARED: &str = "[{name: admin, containerPort: 9000}, {name: http, containerPort: 8080}]";

    #[test]
    fn port_is_the_one_that_the_service_targets() {
        for service in [
            "[{port: 80, targetPort: http}]",
            "[{port: 80, targetPort: 8080}]",
            "[{port: 8080}]",
        ] {
            let ports = allocated(DECLARED, service);
            assert_eq!(ports.main, ports.by_number[&8080], "{service}");
            assert_eq!(ports.by_name.keys().collect::<Vec<_>>(), ["admin", "http"]);
        }
    }

    #[test]
    fn without_a_service_it_is_the_first_that_is_declared_and_without_that_any() {
        let ports = allocated(DECLARED, "[]");
        assert_eq!(ports.main, ports.by_number[&9000]);
        let ports = allocated("[]", "[]");
        assert!(ports.main > 0 && ports.by_number.is_empty());
    }

    #[test]
    fn a_target_that_is_not_declared_gets_a_port_too() {
        let ports = allocated("[]", "[{port: 80, targetPort: 7000}]");
        assert_eq!(ports.main, ports.by_number[&7000]);
    }
}
