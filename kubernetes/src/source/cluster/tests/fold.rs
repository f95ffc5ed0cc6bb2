//! Whatever happens, the changes that are told add up to what the API server has.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::object::ObjectId;

const NAMESPACES: [&str; 3] = ["shop", "blog", "keda"];
const NAMES: [&str; 3] = ["a", "b", "listeners"];
const PLURALS: [&str; 5] = [
    "interceptorroutes",
    "scaledobjects",
    "services",
    "endpointslices",
    "configmaps",
];

#[derive(Debug, Clone)]
enum Step {
    Apply {
        plural: &'static str,
        namespace: &'static str,
        name: &'static str,
        flag: bool,
    },
    Delete {
        plural: &'static str,
        namespace: &'static str,
        name: &'static str,
    },
    EndWatches,
    Compact,
    Bookmark,
    Silence(bool),
    Outage,
    Look,
}

fn step() -> impl Strategy<Value = Step> {
    let object = || {
        (
            prop::sample::select(&PLURALS),
            prop::sample::select(&NAMESPACES),
            prop::sample::select(&NAMES),
        )
    };
    prop_oneof![
        8 => (object(), any::<bool>()).prop_map(|((plural, namespace, name), flag)| Step::Apply { plural, namespace, name, flag }),
        5 => object().prop_map(|(plural, namespace, name)| Step::Delete { plural, namespace, name }),
        1 => Just(Step::EndWatches),
        2 => Just(Step::Compact),
        1 => Just(Step::Bookmark),
        1 => any::<bool>().prop_map(Step::Silence),
        1 => Just(Step::Outage),
        4 => Just(Step::Look),
    ]
}

fn object(plural: &str, namespace: &str, name: &str, flag: bool) -> Value {
    match plural {
        "interceptorroutes" => route(namespace, name),
        "scaledobjects" => scaled(namespace, name, &if flag { of_http() } else { of_cron() }),
        "services" => service(namespace, name),
        "endpointslices" => slice(namespace, name),
        // A label that comes and goes would need watches of the double that know what they have shown.
        _ => config_map(namespace, name, name != "b"),
    }
}

/// The versions of all objects, folded from what is told.
#[derive(Default)]
struct Fold(BTreeMap<ObjectId, String>);

impl Fold {
    fn take(&mut self, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Apply(object) => self.set(&object),
                Change::Delete(id) => {
                    self.0.remove(&id);
                }
                Change::Reset(kind, objects) => {
                    self.0.retain(|id, _| id.kind != kind);
                    objects.iter().for_each(|object| self.set(object));
                }
            }
        }
    }

    fn set(&mut self, object: &Object) {
        let version = object.metadata().resource_version.clone().unwrap();
        self.0.insert(object.id(), version);
    }
}

/// What ought to be known of what the API server has.
fn expected(server: &ApiServer) -> BTreeMap<ObjectId, String> {
    let objects = server.objects();
    let makes_routes = |plural: &str, object: &Value| {
        plural == "interceptorroutes"
            || plural == "scaledobjects" && object["spec"]["triggers"][0]["type"] == "external-push"
    };
    let routed: BTreeSet<String> = objects
        .iter()
        .filter(|(plural, _, object)| makes_routes(plural, object))
        .map(|(_, namespace, _)| namespace.clone())
        .collect();
    let wanted = |plural: &str, namespace: &str, object: &Value| match plural {
        "interceptorroutes" | "scaledobjects" => true,
        "configmaps" => {
            let own = namespace == "keda" && object["metadata"]["name"] == "listeners";
            own || routed.contains(namespace) && object["metadata"]["labels"] != json!({})
        }
        _ => routed.contains(namespace),
    };
    objects
        .iter()
        .filter(|(plural, namespace, object)| wanted(plural, namespace, object))
        .map(|(_, namespace, object)| {
            let kind = Kind::ALL
                .into_iter()
                .find(|kind| object["kind"] == kind.name())
                .unwrap();
            let id = ObjectId {
                kind,
                namespace: namespace.clone(),
                name: object["metadata"]["name"].as_str().unwrap().to_owned(),
            };
            (id, object["metadata"]["resourceVersion"].as_str().unwrap().to_owned())
        })
        .collect()
}

async fn play(steps: Vec<Step>) {
    let mut watched = Watched::open(ApiServer::start().await, everything());
    let mut fold = Fold::default();
    for step in steps {
        let server = &mut watched.server;
        match step {
            Step::Apply {
                plural,
                namespace,
                name,
                flag,
            } => server.apply(object(plural, namespace, name, flag)),
            Step::Delete {
                plural,
                namespace,
                name,
            } => server.delete(plural, namespace, name),
            Step::EndWatches => server.end_watches(),
            Step::Compact => server.compact(),
            Step::Bookmark => {
                server.bookmark();
            }
            Step::Silence(silent) => server.silence(silent),
            Step::Outage => {
                server.stop().await;
                server.resume().await;
            }
            Step::Look => {
                if let Ok(changes) = timeout(Duration::from_millis(3), watched.source.next()).await {
                    fold.take(changes.unwrap());
                }
            }
        }
    }
    watched.server.silence(false);
    let expected = expected(&watched.server);
    while fold.0 != expected {
        let Ok(changes) = timeout(SOON, watched.source.next()).await else {
            panic!("{:?}\n{:?}", fold.0, expected);
        };
        fold.take(changes.unwrap());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_changes_add_up_to_what_the_api_server_has(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(play(steps));
    }
}
