//! What the leader runs, with a directory as the source of objects.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::ensure;
use keda_http_kubernetes::object::Kind;
use keda_http_kubernetes::source::{Change, directory};
use keda_http_runtime::readiness::Readiness;
use keda_http_scaler::controllers::context::{Context, Update, Updates};
use keda_http_scaler::controllers::running::{Controller, Controllers};
use keda_http_scaler::metrics::Metrics;
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::keda::{wait_until, within};
use crate::objects::{route, write};

/// What a controller of the test has seen or done, by its name.
type Seen = (&'static str, String);

struct Leader {
    manifests: TempDir,
    leading: watch::Sender<bool>,
    seen: mpsc::UnboundedReceiver<Seen>,
    readiness: Readiness,
    metrics: Metrics,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

/// Tells that a controller runs no more, however it ended.
struct Ends(&'static str, mpsc::UnboundedSender<Seen>);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.1.send((self.0, "ended".to_owned()));
    }
}

/// Tells what it is told; when it is told of a route by the name of a mishap, that happens, once.
fn watching(name: &'static str, seen: &mpsc::UnboundedSender<Seen>) -> Controller {
    let seen = seen.clone();
    let well = Arc::new(AtomicBool::new(name != "failing"));
    Controller::new(name, move |_: Context, mut updates: Updates| {
        let (seen, well) = (seen.clone(), well.clone());
        async move {
            let _ends = Ends(name, seen.clone());
            while let Some(news) = updates.recv().await {
                let told = describe(&news);
                seen.send((name, told.clone())).unwrap();
                let mishap = matches!(told.as_str(), "fail" | "panic");
                if mishap && !well.swap(true, Ordering::Relaxed) {
                    ensure!(told != "fail", "there was a mishap");
                    panic!("there was a mishap");
                }
            }
            Ok(())
        }
    })
}

fn describe(update: &Update) -> String {
    match update {
        Update::Complete => "complete".to_owned(),
        Update::Changed(changes) => changes.iter().filter_map(name).collect::<Vec<_>>().join(" "),
    }
}

fn name(change: &Change) -> Option<String> {
    match change {
        Change::Apply(object) => Some(object.id().name),
        Change::Delete(id) => Some(format!("-{}", id.name)),
        Change::Reset(Kind::InterceptorRoute, _) => Some("reset".to_owned()),
        Change::Reset(..) => None,
    }
}

fn put(manifests: &Path, name: &str) {
    let text = route(5, None).replace("name: api,", &format!("name: {name},"));
    write(manifests, &format!("{name}.yaml"), &text);
}

impl Leader {
    fn with(names: &[&'static str]) -> Self {
        let manifests = tempfile::tempdir().unwrap();
        put(manifests.path(), "first");
        let (sender, seen) = mpsc::unbounded_channel();
        let list: Vec<_> = names.iter().map(|name| watching(name, &sender)).collect();
        let directory = manifests.path().to_owned();
        let (readiness, metrics) = (Readiness::new(), Metrics::default());
        let controllers = Controllers {
            context: Context {
                client: kube::Client::try_from(kube::Config::new("http://127.0.0.1:1".parse().unwrap())).unwrap(),
                namespace: "keda".to_owned(),
                scaler_address: "scaler.keda:9090".to_owned(),
            },
            list: list.into(),
            open: Arc::new(move || directory::open(&directory).unwrap()),
            readiness: readiness.clone(),
            metrics: metrics.clone(),
        };
        let (leading, stop) = (watch::Sender::new(false), CancellationToken::new());
        let running = tokio::spawn(controllers.run_all(leading.subscribe(), stop.clone()));
        Self {
            manifests,
            leading,
            seen,
            readiness,
            metrics,
            stop,
            running,
        }
    }

    fn put(&self, name: &str) {
        put(self.manifests.path(), name);
    }

    /// The next things seen are these, in any order between controllers.
    async fn sees(&mut self, wanted: &[(&'static str, &str)]) {
        let mut left: Vec<_> = wanted.iter().map(|(name, told)| (*name, (*told).to_owned())).collect();
        while !left.is_empty() {
            let seen = within(self.seen.recv()).await.unwrap();
            let at = left.iter().position(|wanted| *wanted == seen);
            left.remove(at.unwrap_or_else(|| panic!("{seen:?} is not one of {left:?}")));
        }
    }
}

#[tokio::test]
async fn controllers_run_while_this_replica_leads_and_all_receive_every_update() {
    let mut leader = Leader::with(&["one", "two"]);
    tokio::task::yield_now().await;
    assert!(leader.seen.try_recv().is_err(), "nobody leads yet");
    let everything = [("one", "reset"), ("one", "first"), ("one", "complete")];
    let everything_twice = everything.into_iter().chain(everything.map(|(_, told)| ("two", told)));
    let everything_twice: Vec<_> = everything_twice.collect();

    leader.leading.send_replace(true);
    leader.sees(&everything_twice).await;
    leader.put("second");
    leader.sees(&[("one", "second"), ("two", "second")]).await;
    leader.leading.send_replace(false);
    leader.sees(&[("one", "ended"), ("two", "ended")]).await;

    std::fs::remove_file(leader.manifests.path().join("second.yaml")).unwrap();
    leader.leading.send_replace(true);
    leader.sees(&everything_twice).await;
    leader.stop.cancel();
    within(&mut leader.running).await.unwrap();
    leader.sees(&[("one", "ended"), ("two", "ended")]).await;
}

#[tokio::test]
async fn a_failed_controller_is_reported_and_started_again_while_others_go_on() {
    for (mishap, both) in [("fail", "fail first"), ("panic", "first panic")] {
        let mut leader = Leader::with(&["failing", "other"]);
        leader.leading.send_replace(true);
        let everything = |name| [(name, "reset"), (name, "first"), (name, "complete")];
        leader
            .sees(&[everything("failing"), everything("other")].concat())
            .await;
        leader.put(mishap);
        leader
            .sees(&[("failing", mishap), ("other", mishap), ("failing", "ended")])
            .await;
        let problems = async || leader.readiness.report().problems;
        wait_until(problems, |problems| problems.contains_key("controller failing")).await;
        let counted = "scaler_controller_failures_total{controller=\"failing\"} 1";
        let metrics = leader.metrics.encode();
        assert!(metrics.contains(counted), "{metrics}");

        let again = [("failing", "reset"), ("failing", both), ("failing", "complete")];
        leader.sees(&again).await;
        leader.put("third");
        leader.sees(&[("failing", "third"), ("other", "third")]).await;
        leader.leading.send_replace(false);
        leader.sees(&[("failing", "ended"), ("other", "ended")]).await;
        wait_until(
            async || leader.readiness.report().problems,
            |problems| problems.is_empty(),
        )
        .await;
    }
}
