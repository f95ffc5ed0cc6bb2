//! `keda-http-scaler autowire --dry-run`.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::Result;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use keda_http_kubernetes::endpoints::ServiceKey;
use keda_http_kubernetes::listeners::{self, CONFIG_MAP, Listeners};
use keda_http_kubernetes::wired::{STATE, annotation};
use tokio::time::Instant;

use super::snapshot::{self, Snapshot};
use crate::cluster::Cluster;
use crate::config::AutowireCommandConfig;
use crate::controllers::autowire::restored::Mode;
use crate::controllers::autowire::service::health::InterceptorPods;
use crate::controllers::autowire::service::plan::{Planner, Write, WritePlan};
use crate::controllers::autowire::service::slices::SliceWrite;
use crate::controllers::autowire::service::world::World;
use crate::events::Notice;

/// Describes what autowire would write now. Every ready interceptor is assumed to listen where it should, as it does a
/// moment after the ports were allocated.
///
/// # Errors
/// When the cluster cannot be read.
pub async fn dry_run(cluster: &Cluster, config: &AutowireCommandConfig) -> Result<String> {
    let Snapshot {
        mut world,
        unsupported,
        mut restored,
        interceptors,
        ..
    } = snapshot::read(cluster, config).await?;
    let mode = restored.mode().await.unwrap_or(Mode::Restored);
    let before = world.allocations().ports.clone();
    let mut plan = plan(config, &mut world, interceptors, mode);
    plan.notices.extend(unsupported.notices());
    Ok(describe(&world, &before, &plan, mode))
}

/// Ports are allocated first, so that the slices that point to them are part of the plan.
fn plan(config: &AutowireCommandConfig, world: &mut World, mut interceptors: InterceptorPods, mode: Mode) -> WritePlan {
    let now = Instant::now();
    let mut planner = Planner::without_debounce(config.autowire.ports.clone(), now);
    let mut writes = planner.plan(world, &interceptors, mode, now).writes.into_iter();
    let allocation = writes.find(|write| matches!(write, Write::Ports(..)));
    if let Some(Write::Ports(ports, _)) = &allocation {
        world.assume_allocated(ports.clone());
    }
    for interceptor in &mut interceptors.0 {
        interceptor.open = Some(world.allocations().ports.keys().copied().collect());
    }
    let mut plan = planner.plan(world, &interceptors, mode, now);
    plan.writes.splice(0..0, allocation);
    plan
}

/// What is removed (`-`) and added (`+`), Service by Service; then what users have to fix. `before`: the current
/// allocation of ports.
fn describe(world: &World, before: &Listeners, plan: &WritePlan, mode: Mode) -> String {
    let mut text = String::new();
    if mode == Mode::Restored {
        text.push_str(
            "`keda-http-scaler restore` has restored all Services; autowire points none to the interceptors.\n",
        );
    }
    let mut last = None;
    for write in &plan.writes {
        match write {
            Write::Ports(after, _) => describe_ports(&mut text, before, after),
            Write::Slice(key, write) => {
                if last != Some(key) {
                    let _ = writeln!(text, "Service {}/{}", key.namespace, key.name);
                    last = Some(key);
                }
                describe_slice(&mut text, world, key, write);
            }
        }
    }
    if plan.writes.is_empty() {
        text.push_str("Nothing would be written.\n");
    }
    describe_warnings(&mut text, &plan.notices);
    text
}

fn describe_ports(text: &mut String, before: &Listeners, after: &Listeners) {
    let _ = writeln!(text, "ConfigMap {CONFIG_MAP}");
    lines(text, &entries(before), &entries(after));
}

fn entries(listeners: &Listeners) -> BTreeSet<String> {
    let entries = listeners::write(listeners).into_iter();
    entries.map(|(port, service)| format!("{port}: {service}")).collect()
}

fn describe_slice(text: &mut String, world: &World, key: &ServiceKey, write: &SliceWrite) {
    let known = |name: &str| world.own().get(key)?.get(name);
    let (name, before, after) = match write {
        SliceWrite::Put { slice, .. } => {
            let name = slice.metadata.name.as_deref().unwrap_or_default();
            (name, known(name), Some(&**slice))
        }
        SliceWrite::Remove { slice, .. } => (slice.name.as_str(), known(&slice.name), None),
    };
    let what = match (before, after) {
        (None, _) => "new",
        (Some(_), Some(_)) => "changed",
        (Some(_), None) => "removed",
    };
    let _ = writeln!(text, "  EndpointSlice {name}, {what}");
    lines(text, &contents(before), &contents(after));
}

fn contents(slice: Option<&EndpointSlice>) -> BTreeSet<String> {
    let Some(slice) = slice else { return BTreeSet::new() };
    let port = slice
        .ports
        .iter()
        .flatten()
        .find_map(|port| port.port)
        .unwrap_or_default();
    let addresses = slice.endpoints.iter().filter_map(|endpoint| {
        let ready = endpoint.conditions.as_ref().and_then(|conditions| conditions.ready) != Some(false);
        let note = if ready { "" } else { " (not ready)" };
        Some(format!("{} port {port}{note}", endpoint.addresses.first()?))
    });
    let state = annotation(slice, STATE).map(|state| format!("state {state}"));
    state.into_iter().chain(addresses).collect()
}

fn lines(text: &mut String, before: &BTreeSet<String>, after: &BTreeSet<String>) {
    for gone in before.difference(after) {
        let _ = writeln!(text, "    - {gone}");
    }
    for new in after.difference(before) {
        let _ = writeln!(text, "    + {new}");
    }
}

fn describe_warnings(text: &mut String, notices: &[Notice]) {
    let warnings: Vec<&Notice> = notices.iter().filter(|notice| notice.warning).collect();
    if !warnings.is_empty() {
        text.push_str("To be fixed\n");
    }
    for notice in warnings {
        let _ = writeln!(text, "  {}: {}: {}", notice.about.id, notice.reason, notice.message);
    }
}

#[cfg(test)]
mod tests {
    use keda_http_kubernetes::object::Object;
    use keda_http_kubernetes::source::Change;
    use serde_json::{Value, json};
    use std::time::Duration;
    use tokio::time::Instant;

    use super::*;
    use crate::controllers::autowire::service::health::InterceptorPods;
    use crate::controllers::autowire::service::plan::Planner;

    fn world(objects: &[Value]) -> World {
        let mut world = World::new("keda");
        for object in objects {
            world.apply_all(&[Change::Apply(Object::parse(object).unwrap().unwrap())]);
        }
        world
    }

    fn plan(world: &World) -> WritePlan {
        let mut planner = Planner::new(20_000..=20_001, Duration::ZERO, Instant::now());
        planner.plan(world, &InterceptorPods::default(), Mode::Autowire, Instant::now())
    }

    fn metadata(name: &str) -> Value {
        json!({"name": name, "namespace": "shop", "uid": name})
    }

    fn objects(pod: &str) -> Vec<Value> {
        let trigger = json!({
            "hosts": "api", "service": "api", "port": "80", "fallbackService": "pods", "scalingMetric": "requestRate",
            "trafficAutowire": "service",
        });
        vec![
            json!({
                "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": metadata("api"),
                "spec": {"scaleTargetRef": {"name": "api"}, "triggers": [{"type": "kedify-http", "metadata": trigger}]},
            }),
            json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata("api"), "spec": {"ports": [{"port": 80}]}}),
            json!({
                "apiVersion": "v1", "kind": "Service", "metadata": metadata("pods"),
                "spec": {"ports": [{"port": 80}], "selector": {"app": "api"}},
            }),
            json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                "metadata": {"name": "pods-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "pods"}},
                "ports": [{"port": 8080}],
                "endpoints": [{"addresses": [pod]}, {"addresses": ["10.0.0.9"], "conditions": {"ready": false}}],
            }),
        ]
    }

    #[tokio::test(start_paused = true)]
    async fn additions_and_removals_are_shown_by_service() {
        let mut world = world(&objects("10.0.0.1"));
        let first = plan(&world);
        let expected = "ConfigMap keda-http-listeners\n    + 20000: shop/api:80\n\
            Service shop/api\n  EndpointSlice api-keda-http-80-ipv4, new\n\
            \x20   + 10.0.0.1 port 8080\n    + 10.0.0.9 port 8080 (not ready)\n    + state fallback\n";
        assert_eq!(describe(&world, &Listeners::new(), &first, Mode::Autowire), expected);
        for write in &first.writes {
            match write {
                Write::Ports(ports, _) => world.assume_allocated(ports.clone()),
                Write::Slice(_, SliceWrite::Put { slice, .. }) => {
                    world.apply_all(&[Change::Apply(Object::EndpointSlice(slice.clone()))]);
                }
                Write::Slice(..) => panic!(),
            }
        }
        let nothing = describe(&world, &Listeners::new(), &plan(&world), Mode::Autowire);
        assert_eq!(nothing, "Nothing would be written.\n");
        for object in objects("10.0.0.2") {
            world.apply_all(&[Change::Apply(Object::parse(&object).unwrap().unwrap())]);
        }
        let changed = "Service shop/api\n  EndpointSlice api-keda-http-80-ipv4, changed\n\
            \x20   - 10.0.0.1 port 8080\n    + 10.0.0.2 port 8080\n";
        assert_eq!(
            describe(&world, &Listeners::new(), &plan(&world), Mode::Autowire),
            changed
        );
    }

    #[tokio::test(start_paused = true)]
    async fn warnings_are_shown_at_the_end() {
        let world = world(&objects("10.0.0.1")[..1]);
        let shown = describe(&world, &Listeners::new(), &plan(&world), Mode::Restored);
        assert!(
            shown.starts_with("`keda-http-scaler restore` has restored all Services"),
            "{shown}"
        );
        assert!(
            shown.contains(
                "Nothing would be written.\nTo be fixed\n  ScaledObject shop/api: AutowireNoService: Service api does not"
            ),
            "{shown}"
        );
    }
}
