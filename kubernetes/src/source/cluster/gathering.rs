//! Joins the reports of all watches: decides which watches there must be, and publishes the changes.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use super::ClusterSettings;
use super::answer::Item;
use super::demand::{Changed, Demand};
use super::failure::Failure;
use super::known::Known;
use super::selection::Selection;
use super::troubles::Troubles;
use super::watch::{Access, Report, Watch};
use crate::endpoints::{SERVICE_NAME, ServiceKey};
use crate::object::{Kind, ObjectId};
use crate::source::{Change, nothing};
use crate::wired;

/// The most unread reports; when there are more, the watches wait.
pub const REPORTS: usize = 256;
/// The ConfigMaps that response bodies may be taken from; upstream's label.
const RESPONSE_BODIES: &str = "http.keda.sh/response-body=true";
/// The most changes that are published together.
const BATCH: usize = 256;

struct Running {
    selection: Selection,
    known: Known,
    listed: bool,
    #[expect(dead_code, reason = "held for its drop, which ends the watch")]
    task: AbortOnDropHandle<()>,
}

/// What the objects of a watch are used for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// They are published, and their namespaces are watched.
    Routes,
    /// Only their namespaces are watched; the watches of those publish the objects.
    Marks,
    Others,
}

pub struct Outlet {
    /// The initial state; `None` when it is complete.
    pub pieces: Option<mpsc::Sender<Vec<Change>>>,
    pub changes: mpsc::UnboundedSender<Vec<Change>>,
}

pub struct Gathering {
    settings: ClusterSettings,
    access: Access,
    reports: mpsc::Receiver<(u64, Report)>,
    /// By number; numbers are never reused.
    watches: BTreeMap<u64, Running>,
    started: u64,
    /// The watches without which the initial state is not complete.
    awaited: BTreeSet<u64>,
    /// The namespaces whose last route is gone, and until when they are still watched.
    ending: BTreeMap<String, Instant>,
    demand: Demand,
    troubles: Troubles,
    batch: Vec<Change>,
    outlet: Outlet,
}

impl Gathering {
    pub fn new(
        settings: ClusterSettings,
        access: Access,
        reports: mpsc::Receiver<(u64, Report)>,
        troubles: Troubles,
        outlet: Outlet,
    ) -> Self {
        Self {
            settings,
            access,
            reports,
            watches: BTreeMap::new(),
            started: 0,
            awaited: BTreeSet::new(),
            ending: BTreeMap::new(),
            demand: Demand::default(),
            troubles,
            batch: nothing(),
            outlet,
        }
    }

    /// Watches until the source is dropped.
    pub async fn run(mut self) {
        self.begin();
        while self.publish().await.is_some() {
            let next_end = self.ending.values().min().copied();
            tokio::select! {
                report = self.reports.recv() => match report {
                    Some((number, report)) => self.receive_all(number, report),
                    None => return,
                },
                () = sleep_until(next_end.unwrap_or_else(Instant::now)), if next_end.is_some() => self.end_expired(),
            }
        }
    }

    /// Handles a report, and those that have arrived since.
    fn receive_all(&mut self, number: u64, report: Report) {
        self.receive(number, report);
        while self.batch.len() < BATCH
            && let Ok((number, report)) = self.reports.try_recv()
        {
            self.receive(number, report);
        }
    }

    fn begin(&mut self) {
        for kind in self.settings.kinds.clone() {
            if makes_demand(kind) {
                self.start(Selection::all(kind, self.settings.watch_namespace.clone()));
            }
        }
        if self.settings.autowired {
            self.start(Selection {
                label: Some(wired::SELECTOR.into()),
                ..Selection::all(Kind::EndpointSlice, self.settings.watch_namespace.clone())
            });
        }
        if let Some(ServiceKey { namespace, name }) = self.settings.slices_of.clone() {
            self.start(Selection {
                label: Some(format!("{SERVICE_NAME}={name}").into()),
                ..Selection::all(Kind::EndpointSlice, Some(namespace))
            });
        }
        let (namespace, names) = self.settings.own_config_maps.clone().unwrap_or_default();
        for name in names {
            self.start(Selection {
                name: Some(name),
                ..Selection::all(Kind::ConfigMap, Some(namespace.clone()))
            });
        }
    }

    fn start(&mut self, selection: Selection) {
        let number = self.started;
        self.started += 1;
        let watch = Watch::new(self.access.clone(), number, selection.clone());
        let running = Running {
            known: Known::new(selection.kind, selection.namespace.as_deref()),
            selection,
            listed: false,
            task: AbortOnDropHandle::new(tokio::spawn(watch.run())),
        };
        self.watches.insert(number, running);
        self.awaited.insert(number);
    }

    /// Handles one report. Reports of a watch that was ended are ignored.
    fn receive(&mut self, number: u64, report: Report) {
        let Some(watch) = self.watches.get_mut(&number) else {
            return;
        };
        let role = role(&watch.selection);
        match report {
            Report::ListStarted => watch.known.start_list(),
            Report::Present(item) => {
                if watch.known.insert(&item.id, &item.version) {
                    self.apply(role, item);
                }
            }
            Report::Deleted(id) => {
                if watch.known.remove(&id) {
                    self.delete(role, id);
                }
            }
            Report::ListComplete => {
                watch.listed = true;
                let vanished = watch.known.finish_list();
                self.awaited.remove(&number);
                for id in vanished {
                    self.delete(role, id);
                }
            }
            Report::Following => self.troubles.recovered(number),
            Report::Failing(failure) => self.failing(number, failure),
        }
    }

    fn apply(&mut self, role: Role, item: Item) {
        let object = match item.object {
            Ok(object) => *object,
            Err(error) => return self.troubles.invalid(item.id, error.to_string()),
        };
        self.troubles.valid(&item.id);
        let changed = (role != Role::Others).then(|| self.demand.add(&object)).flatten();
        if role != Role::Marks {
            self.batch.push(Change::Apply(object));
        }
        self.update_watches(changed);
    }

    fn delete(&mut self, role: Role, id: ObjectId) {
        // Two watches may report one ConfigMap: one of our own may also have response bodies.
        if id.kind == Kind::ConfigMap && self.watches.values().any(|watch| watch.known.contains(&id)) {
            return;
        }
        self.troubles.valid(&id);
        let changed = (role != Role::Others).then(|| self.demand.remove(&id)).flatten();
        if role != Role::Marks {
            self.batch.push(Change::Delete(id));
        }
        self.update_watches(changed);
    }

    /// Begins the watches of a namespace with its first route or mark, and ends them some time after its last.
    ///
    /// Each namespace has watches of its own: changes in namespaces without routes are never sent to us, and the first
    /// route of a namespace needs no list of the whole cluster. Over HTTP/2 a watch is a stream, not a connection.
    fn update_watches(&mut self, changed: Option<Changed>) {
        match changed {
            None => {}
            Some(Changed::First(namespace)) => {
                if self.ending.remove(&namespace).is_some() {
                    return;
                }
                for selection in self.selections_of(&namespace) {
                    self.start(selection);
                }
            }
            Some(Changed::Last(namespace)) => {
                self.ending
                    .insert(namespace, Instant::now() + self.access.pacing.linger);
            }
        }
    }

    fn selections_of(&self, namespace: &str) -> Vec<Selection> {
        let kinds = [Kind::Service, Kind::EndpointSlice, Kind::ConfigMap];
        let watched = kinds.into_iter().filter(|kind| self.settings.kinds.contains(kind));
        let selection = |kind| Selection {
            label: (kind == Kind::ConfigMap).then_some(RESPONSE_BODIES.into()),
            ..Selection::all(kind, Some(namespace.to_owned()))
        };
        watched.map(selection).collect()
    }

    fn end_expired(&mut self) {
        let now = Instant::now();
        let (later, due) = std::mem::take(&mut self.ending)
            .into_iter()
            .partition(|(_, at)| *at > now);
        self.ending = later;
        let due: BTreeMap<String, Instant> = due;
        due.keys().for_each(|namespace| self.end(namespace));
    }

    fn end(&mut self, namespace: &str) {
        let selections = self.selections_of(namespace);
        let ended: Vec<u64> = self
            .watches
            .iter()
            .filter(|(_, watch)| selections.contains(&watch.selection))
            .map(|(number, _)| *number)
            .collect();
        for number in ended {
            self.awaited.remove(&number);
            self.troubles.forget(number);
            if let Some(watch) = self.watches.remove(&number) {
                watch
                    .known
                    .ids()
                    .into_iter()
                    .for_each(|id| self.delete(Role::Others, id));
            }
        }
    }

    fn failing(&mut self, number: u64, failure: Failure) {
        let Some(watch) = self.watches.get_mut(&number) else {
            return;
        };
        // A kind that does not exist has no objects to list.
        watch.listed &= !(failure.is_missing() && watch.known.is_empty());
        let nothing_to_know = failure.is_refusal() && !watch.listed;
        if nothing_to_know {
            self.awaited.remove(&number);
        } else if !watch.listed {
            self.awaited.insert(number);
        }
        self.troubles
            .failing(number, &watch.selection, failure, !nothing_to_know);
    }

    /// Publishes the batch, then the problems: a reader that sees a problem resolved finds the changes that came with it, and
    /// one that sees the initial state complete finds what could not be read. `None` when the source was dropped.
    async fn publish(&mut self) -> Option<()> {
        let complete = self.awaited.is_empty();
        match &self.outlet.pieces {
            Some(pieces) => {
                if !self.batch.is_empty() && (complete || self.batch.len() >= BATCH) {
                    pieces.send(std::mem::take(&mut self.batch)).await.ok()?;
                }
            }
            None if self.batch.is_empty() => {}
            None => self.outlet.changes.send(std::mem::take(&mut self.batch)).ok()?,
        }
        self.troubles.publish();
        if complete {
            self.outlet.pieces = None;
        }
        Some(())
    }
}

fn role(selection: &Selection) -> Role {
    match selection.kind {
        Kind::EndpointSlice if selection.label.as_deref() == Some(wired::SELECTOR) => Role::Marks,
        kind if makes_demand(kind) => Role::Routes,
        _ => Role::Others,
    }
}

/// Whether objects of this kind decide which namespaces are watched.
fn makes_demand(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::InterceptorRoute | Kind::HttpScaledObject | Kind::ScaledObject
    )
}
