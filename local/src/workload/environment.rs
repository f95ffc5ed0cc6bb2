//! A replica's ports, variables and command line.

use std::collections::BTreeMap;

use super::{TargetPort, Template, VariableValue};

/// A replica's own ports: for each port of its container the one it has on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PodPorts {
    /// By the container's number.
    pub by_number: BTreeMap<u16, u16>,
    pub by_name: BTreeMap<String, u16>,
    /// The one in `PORT`.
    pub main: u16,
}

impl PodPorts {
    /// The port on this machine.
    pub fn find(&self, port: &TargetPort) -> Option<u16> {
        match port {
            TargetPort::Number(number) => self.by_number.get(number).copied(),
            TargetPort::Name(name) => self.by_name.get(name).copied(),
        }
    }

    /// The variable that holds a port of this machine.
    pub(crate) fn variable(&self, port: u16) -> String {
        let name = self.by_name.iter().find(|(_, here)| **here == port);
        match name {
            Some((name, _)) if port != self.main => port_variable(name),
            _ => "PORT".to_owned(),
        }
    }
}

/// What a replica learns beside its template.
#[derive(Debug, Clone)]
pub struct Identity<'a> {
    pub name: &'a str,
    pub namespace: &'a str,
    pub ports: &'a PodPorts,
}

/// The variables of a replica: what the template says, and over it what is only known here: `PORT`, `PORT_<NAME>` and
/// `HOSTNAME`. `PORT` overrides the manifest's, which is right in a cluster, where each pod has all ports to itself.
pub fn variables(template: &Template, pod: &Identity<'_>) -> BTreeMap<String, String> {
    let mut variables = own_variables(pod);
    let fixed = variables.clone();
    for variable in &template.env {
        let value = match &variable.value {
            VariableValue::Text(text) => expand(text, &variables),
            VariableValue::PodName => pod.name.to_owned(),
            VariableValue::Namespace => pod.namespace.to_owned(),
            VariableValue::Address => "127.0.0.1".to_owned(),
        };
        variables.insert(variable.name.clone(), value);
        variables.extend(fixed.clone());
    }
    variables
}

fn own_variables(pod: &Identity<'_>) -> BTreeMap<String, String> {
    let named = pod
        .ports
        .by_name
        .iter()
        .map(|(name, number)| (port_variable(name), number.to_string()));
    let mut variables: BTreeMap<String, String> = named.collect();
    variables.insert("PORT".to_owned(), pod.ports.main.to_string());
    variables.insert("HOSTNAME".to_owned(), pod.name.to_owned());
    variables
}

fn port_variable(name: &str) -> String {
    format!("PORT_{}", name.to_ascii_uppercase().replace('-', "_"))
}

/// `command` and `args`, expanded.
pub fn command(template: &Template, variables: &BTreeMap<String, String>) -> Vec<String> {
    template.command.iter().map(|part| expand(part, variables)).collect()
}

/// Kubernetes' expansion: `$(NAME)` becomes the value, stays as it is when there is no such variable, and `$$` is a `$`.
pub fn expand(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('$') {
        expanded.push_str(before);
        rest = behind;
        if let Some(behind) = rest.strip_prefix('$') {
            expanded.push('$');
            rest = behind;
        } else if let Some((name, behind)) = reference(rest) {
            match variables.get(name) {
                Some(value) => expanded.push_str(value),
                None => expanded.push_str(&format!("$({name})")),
            }
            rest = behind;
        } else {
            expanded.push('$');
        }
    }
    expanded + rest
}

/// The name in the parentheses and what follows them.
fn reference(text: &str) -> Option<(&str, &str)> {
    text.strip_prefix('(')?.split_once(')')
}

#[cfg(test)]
mod tests {
    use super::super::Workload;
    use super::super::tests::deployment;
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn references_are_expanded_as_kubernetes_does() {
        let variables = map(&[("A", "1"), ("B", "$(A)")]);
        let table = [
            ("x$(A)y", "x1y"),
            ("$(A)$(A)", "11"),
            ("$(NONE)", "$(NONE)"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$A ${A} $", "$A ${A} $"),
            ("$(A", "$(A"),
            ("$(B)", "$(A)"),
            ("", ""),
        ];
        for (text, expected) in table {
            assert_eq!(expand(text, &variables), expected, "{text}");
        }
    }

    fn template(env: &str) -> Template {
        let yaml = format!(
            "
            metadata: {{name: hello}}
            spec:
              selector: {{matchLabels: {{app: hello}}}}
              template:
                metadata: {{labels: {{app: hello}}}}
                spec:
                  containers:
                    - name: hello
                      command: [app]
                      args: [--port=$(PORT)]
                      env: {env}
            "
        );
        Workload::read(&deployment(&yaml)).unwrap().template
    }

    #[test]
    fn a_replica_learns_its_own_ports_and_the_manifest_cannot_change_them() {
        let ports = PodPorts {
            by_name: BTreeMap::from([("http".to_owned(), 1234), ("grpc-web".to_owned(), 5678)]),
            main: 1234,
            ..PodPorts::default()
        };
        let pod = Identity {
            name: "hello-x",
            namespace: "shop",
            ports: &ports,
        };
        let template = template(
            "[{name: PORT, value: '8080'}, {name: URL, value: 'http://$(NS):$(PORT)'}, {name: NS, valueFrom: {fieldRef: \
             {fieldPath: metadata.namespace}}}, {name: LATER, value: '$(NS)'}]",
        );
        let variables = variables(&template, &pod);
        let expected = map(&[
            ("PORT", "1234"),
            ("PORT_HTTP", "1234"),
            ("PORT_GRPC_WEB", "5678"),
            ("HOSTNAME", "hello-x"),
            ("URL", "http://$(NS):1234"),
            ("NS", "shop"),
            ("LATER", "shop"),
        ]);
        assert_eq!(variables, expected);
        assert_eq!(command(&template, &variables), ["app", "--port=1234"]);
    }
}
