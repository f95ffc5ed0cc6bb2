//! Delivers one source of objects to several controllers.

use keda_http_kubernetes::listeners;
use keda_http_kubernetes::object::Kind;
use keda_http_kubernetes::source::cluster::{self, ClusterSettings};
use keda_http_kubernetes::source::{Problem, Source};
use keda_http_runtime::memory::Leftovers;
use keda_http_runtime::readiness::Readiness;
use tokio::sync::mpsc::UnboundedSender;

use super::context::Update;
use crate::cluster::Cluster;

/// The kinds that all controllers follow. Only autowire needs endpoints.
const KINDS: [Kind; 4] = [
    Kind::InterceptorRoute,
    Kind::HttpScaledObject,
    Kind::ScaledObject,
    Kind::Service,
];

/// The name under which `/readyz` shows which objects the leader cannot read.
pub const PROBLEM: &str = "objects of the controllers";

/// Opens the source of the objects that controllers follow. With `autowire` it also has EndpointSlices, the ConfigMap
/// of the listeners, and what autowire wrote for objects that were deleted since.
pub fn open(cluster: &Cluster, autowire: bool) -> Source {
    let own_config_maps = autowire.then(|| (cluster.namespace.clone(), vec![listeners::CONFIG_MAP.to_owned()]));
    let settings = ClusterSettings {
        watch_namespace: cluster.watch_namespace.clone(),
        kinds: KINDS
            .into_iter()
            .chain(autowire.then_some(Kind::EndpointSlice))
            .collect(),
        own_config_maps,
        autowired: autowire,
        slices_of: None,
    };
    cluster::open(cluster.client.clone(), settings)
}

/// Sends everything that comes from the source to all receivers, until the source ends: the initial state in batches,
/// then [`Update::Complete`], then every change.
pub async fn feed(mut source: Source, receivers: Vec<UnboundedSender<Update>>, readiness: Readiness) {
    let mut problems = source.problems();
    report(&problems.borrow_and_update(), &readiness);
    let mut leftovers = Leftovers::default();
    let mut complete = false;
    loop {
        tokio::select! {
            changes = source.next_part(complete) => match changes {
                Some(changes) => {
                    leftovers.add(changes.len());
                    send(&receivers, &Update::Changed(changes.into()));
                }
                None if complete => return,
                None => {
                    complete = true;
                    send(&receivers, &Update::Complete);
                }
            },
            () = leftovers.give_back() => {}
            Ok(()) = problems.changed() => report(&problems.borrow_and_update(), &readiness),
        }
    }
}

/// A controller whose receiver is closed has ended, and is started again with a feed of its own.
fn send(receivers: &[UnboundedSender<Update>], update: &Update) {
    for receiver in receivers {
        let _ = receiver.send(update.clone());
    }
}

fn report(problems: &[Problem], readiness: &Readiness) {
    let problems = problems.iter().map(ToString::to_string);
    readiness.set_problems(PROBLEM, problems.collect());
}
