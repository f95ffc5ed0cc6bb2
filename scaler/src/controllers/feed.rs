//! One source of objects, told to several controllers.

use keda_http_kubernetes::listeners;
use keda_http_kubernetes::object::Kind;
use keda_http_kubernetes::source::cluster::{self, ClusterSettings};
use keda_http_kubernetes::source::{Change, Problem, Source};
use keda_http_runtime::memory::Leftovers;
use keda_http_runtime::readiness::Readiness;
use tokio::sync::mpsc::UnboundedSender;

use super::News;

/// What controllers are told of; endpoints are autowire's business alone.
const KINDS: [Kind; 4] = [
    Kind::InterceptorRoute,
    Kind::HttpScaledObject,
    Kind::ScaledObject,
    Kind::Service,
];

/// The objects that controllers are told of. `namespace`: that of the scaler. Autowire also looks after what it has
/// written for objects that are gone.
pub fn open(client: kube::Client, namespace: &str, watch_namespace: Option<String>, autowire: bool) -> Source {
    let own_config_maps = autowire.then(|| (namespace.to_owned(), vec![listeners::CONFIG_MAP.to_owned()]));
    let settings = ClusterSettings {
        watch_namespace,
        kinds: KINDS
            .into_iter()
            .chain(autowire.then_some(Kind::EndpointSlice))
            .collect(),
        own_config_maps,
        autowired: autowire,
    };
    cluster::open(client, settings)
}

/// Under which name `/readyz` tells what the leader cannot read.
pub const PROBLEM: &str = "objects of the controllers";

/// Tells all that comes from the source to all who listen, until the source ends: the initial state piece by piece,
/// [`News::Complete`], and every change.
pub async fn feed(mut source: Source, listeners: Vec<UnboundedSender<News>>, readiness: Readiness) {
    let mut problems = source.problems();
    report(&problems.borrow_and_update(), &readiness);
    let mut leftovers = Leftovers::default();
    let mut complete = false;
    loop {
        tokio::select! {
            changes = next(&mut source, complete) => match changes {
                Some(changes) => {
                    leftovers.add(changes.len());
                    tell(&listeners, &News::Changed(changes.into()));
                }
                None if complete => return,
                None => {
                    complete = true;
                    tell(&listeners, &News::Complete);
                }
            },
            () = leftovers.give_back() => {}
            Ok(()) = problems.changed() => report(&problems.borrow_and_update(), &readiness),
        }
    }
}

/// The next piece of the initial state, or the next changes. Cancelling loses nothing.
async fn next(source: &mut Source, complete: bool) -> Option<Vec<Change>> {
    if complete {
        source.next().await
    } else {
        source.initial().await
    }
}

/// One that listens no more has ended, and is started again with a feed of its own.
fn tell(listeners: &[UnboundedSender<News>], news: &News) {
    for listener in listeners {
        let _ = listener.send(news.clone());
    }
}

fn report(problems: &[Problem], readiness: &Readiness) {
    let told = problems
        .iter()
        .map(|problem| format!("{}: {}", problem.place, problem.reason));
    readiness.set_problems(PROBLEM, told.collect());
}
