//! One Deployment: keeps as many replicas of its newest template as it is scaled to.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::pod::{Pod, PodEvent};
use super::{PodContext, Status};
use crate::Key;
use crate::workload::Template;

pub(super) struct Controller {
    key: Key,
    context: PodContext,
    report: watch::Sender<Status>,
    shutdown: CancellationToken,
    replicas: BTreeMap<u64, Replica>,
    started: u64,
    sender: mpsc::UnboundedSender<(u64, PodEvent)>,
    events: mpsc::UnboundedReceiver<(u64, PodEvent)>,
}

struct Replica {
    template: Arc<Template>,
    ready: bool,
    stop: CancellationToken,
}

impl Replica {
    fn stays(&self) -> bool {
        !self.stop.is_cancelled()
    }

    fn is_ready(&self) -> bool {
        self.ready && self.stays()
    }
}

impl Controller {
    pub(super) fn new(
        key: Key,
        context: PodContext,
        report: watch::Sender<Status>,
        shutdown: CancellationToken,
    ) -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        Self {
            key,
            context,
            report,
            shutdown,
            replicas: BTreeMap::new(),
            started: 0,
            sender,
            events,
        }
    }

    /// Until the Deployment is deleted and its last replica is gone.
    pub(super) async fn run(
        mut self,
        mut wanted: watch::Receiver<u32>,
        mut templates: watch::Receiver<Arc<Template>>,
        deleted: CancellationToken,
    ) {
        while !(deleted.is_cancelled() && self.replicas.is_empty()) {
            let count = if deleted.is_cancelled() {
                0
            } else {
                *wanted.borrow_and_update()
            };
            let template = templates.borrow_and_update().clone();
            self.reconcile(count as usize, &template);
            self.publish();
            tokio::select! {
                Ok(()) = wanted.changed() => {}
                Ok(()) = templates.changed() => {}
                Some((number, event)) = self.events.recv() => self.record(number, event),
                () = deleted.cancelled(), if !deleted.is_cancelled() => {}
            }
        }
        self.publish();
    }

    fn record(&mut self, number: u64, event: PodEvent) {
        match event {
            PodEvent::Ready(ready) => {
                if let Some(replica) = self.replicas.get_mut(&number) {
                    replica.ready = ready;
                }
            }
            PodEvent::Gone => {
                self.replicas.remove(&number);
            }
        }
    }

    /// Starts what is missing and stops what is too many. Replicas of a former template stay until as many of the new
    /// one are ready.
    fn reconcile(&mut self, wanted: usize, template: &Arc<Template>) {
        let is_current = |replica: &Replica| replica.stays() && Arc::ptr_eq(&replica.template, template);
        let current = self.replicas.values().filter(|replica| is_current(replica)).count();
        for _ in current..wanted {
            self.start(template);
        }
        let replicas = self.replicas.iter();
        let mut current: Vec<(&u64, &Replica)> = replicas.filter(|(_, replica)| is_current(replica)).collect();
        current.sort_by_key(|(number, replica)| (!replica.ready, **number)); // those not ready go first, then the youngest
        for (_, replica) in current.iter().skip(wanted) {
            replica.stop.cancel();
        }
        if current.iter().filter(|(_, replica)| replica.is_ready()).count() >= wanted {
            let former = self.replicas.values().filter(|replica| !is_current(replica));
            former.for_each(|replica| replica.stop.cancel());
        }
    }

    fn start(&mut self, template: &Arc<Template>) {
        self.started += 1;
        let number = self.started;
        let stop = CancellationToken::new();
        let key = Key::new(&self.key.namespace, &format!("{}-{}", self.key.name, suffix(number)));
        let pod = Pod {
            key,
            template: template.clone(),
            context: self.context.clone(),
            shutdown: self.shutdown.clone(),
        };
        let (events, stopping) = (self.sender.clone(), stop.clone());
        tokio::spawn(async move {
            // The controller outlives its replicas, so it receives every event.
            let report = |event| events.send((number, event)).unwrap_or_default();
            pod.run(stopping, report).await;
            report(PodEvent::Gone);
        });
        self.replicas.insert(
            number,
            Replica {
                template: template.clone(),
                ready: false,
                stop,
            },
        );
    }

    fn publish(&self) {
        let pods = self.replicas.len();
        let ready = self.replicas.values().filter(|replica| replica.is_ready()).count();
        self.report.send_modify(|status| {
            if status.pods != pods {
                status.history.push(pods);
            }
            (status.pods, status.ready) = (pods, ready);
        });
    }
}

/// Five characters that no other replica has, as Kubernetes appends them.
fn suffix(number: u64) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut random = RandomState::new().hash_one(number);
    let letters = (0..5).filter_map(|_| {
        let index = usize::try_from(random % LETTERS.len() as u64).ok()?;
        random /= LETTERS.len() as u64;
        LETTERS.get(index).copied().map(char::from)
    });
    letters.collect()
}
