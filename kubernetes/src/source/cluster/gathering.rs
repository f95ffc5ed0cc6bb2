//! Puts together what the watches tell: which watches there must be, and what is handed on.

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
use super::watch::{Access, News, Watch};
use crate::endpoints::{SERVICE_NAME, ServiceKey};
use crate::object::{Kind, ObjectId};
use crate::source::{Change, nothing};
use crate::wired;

/// What watches have told and nobody has read yet; more makes them wait.
pub const NEWS: usize = 256;
/// The ConfigMaps that response bodies may be taken from; upstream's label.
const RESPONSE_BODIES: &str = "http.keda.sh/response-body=true";
/// How many changes are handed on together at most.
const BATCH: usize = 256;

/// A running watch.
struct Running {
    selection: Selection,
    known: Known,
    /// Whether it has told all there is.
    listed: bool,
    #[expect(dead_code, reason = "held for its drop, which ends the watch")]
    task: AbortOnDropHandle<()>,
}

/// What the objects of a watch are for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// They are handed on, and their namespaces are watched.
    Routes,
    /// Their namespaces are watched; they themselves are handed on by the watches of those.
    Marks,
    /// They are handed on.
    Others,
}

/// Where changes go.
pub struct Outlet {
    /// The initial state; `None` when it is complete.
    pub pieces: Option<mpsc::Sender<Vec<Change>>>,
    /// What comes after it.
    pub changes: mpsc::UnboundedSender<Vec<Change>>,
}

/// The task that owns the watches.
pub struct Gathering {
    settings: ClusterSettings,
    access: Access,
    news: mpsc::Receiver<(u64, News)>,
    /// By number; numbers are never used again.
    watches: BTreeMap<u64, Running>,
    started: u64,
    /// The watches that hold the initial state back.
    awaited: BTreeSet<u64>,
    /// The namespaces that have no route any more, and until when they are watched yet.
    ending: BTreeMap<String, Instant>,
    demand: Demand,
    troubles: Troubles,
    batch: Vec<Change>,
    outlet: Outlet,
}

impl Gathering {
    /// Nothing is watched yet.
    pub fn new(
        settings: ClusterSettings,
        access: Access,
        news: mpsc::Receiver<(u64, News)>,
        troubles: Troubles,
        outlet: Outlet,
    ) -> Self {
        Self {
            settings,
            access,
            news,
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

    /// Watches until nobody wants to hear any more.
    pub async fn run(mut self) {
        self.begin();
        while self.hand_over().await.is_some() {
            let next_end = self.ending.values().min().copied();
            tokio::select! {
                told = self.news.recv() => match told {
                    Some((number, news)) => self.take_all(number, news),
                    None => return,
                },
                () = sleep_until(next_end.unwrap_or_else(Instant::now)), if next_end.is_some() => self.end_due(),
            }
        }
    }

    /// A piece of news, and what has come meanwhile.
    fn take_all(&mut self, number: u64, news: News) {
        self.take(number, news);
        while self.batch.len() < BATCH
            && let Ok((number, news)) = self.news.try_recv()
        {
            self.take(number, news);
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

    /// One piece of news. Those of a watch that has been ended are nothing.
    fn take(&mut self, number: u64, news: News) {
        let Some(watch) = self.watches.get_mut(&number) else {
            return;
        };
        let role = role(&watch.selection);
        match news {
            News::Begins => watch.known.begin(),
            News::Is(item) => {
                if watch.known.is(&item.id, &item.version) {
                    self.is(role, item);
                }
            }
            News::Gone(id) => {
                if watch.known.gone(&id) {
                    self.gone(role, id);
                }
            }
            News::Listed => {
                watch.listed = true;
                let vanished = watch.known.complete();
                self.awaited.remove(&number);
                for id in vanished {
                    self.gone(role, id);
                }
            }
            News::Well => self.troubles.well(number),
            News::Failing(failure) => self.failing(number, failure),
        }
    }

    fn is(&mut self, role: Role, item: Item) {
        let object = match item.object {
            Ok(object) => *object,
            Err(error) => return self.troubles.unusable(item.id, error.to_string()),
        };
        self.troubles.usable(&item.id);
        let changed = (role != Role::Others).then(|| self.demand.is(&object)).flatten();
        if role != Role::Marks {
            self.batch.push(Change::Apply(object));
        }
        self.follow(changed);
    }

    fn gone(&mut self, role: Role, id: ObjectId) {
        // A ConfigMap of our own may also be one with response bodies.
        if id.kind == Kind::ConfigMap && self.watches.values().any(|watch| watch.known.has(&id)) {
            return;
        }
        self.troubles.usable(&id);
        let changed = (role != Role::Others).then(|| self.demand.gone(&id)).flatten();
        if role != Role::Marks {
            self.batch.push(Change::Delete(id));
        }
        self.follow(changed);
    }

    /// Begins the watches of a namespace with its first route or mark, and ends them some time after its last.
    ///
    /// There is one for each namespace, however many there are, and not one for all: what happens in a namespace
    /// without routes is never sent to us, and a namespace whose first route comes later needs no list of the whole
    /// cluster. Over HTTP/2 a watch is a stream, not a connection.
    fn follow(&mut self, changed: Option<Changed>) {
        match changed {
            None => {}
            Some(Changed::First(namespace)) => {
                if self.ending.remove(&namespace).is_some() {
                    return;
                }
                for kind in [Kind::Service, Kind::EndpointSlice, Kind::ConfigMap] {
                    if self.settings.kinds.contains(&kind) {
                        self.start(Selection {
                            label: (kind == Kind::ConfigMap).then_some(RESPONSE_BODIES.into()),
                            ..Selection::all(kind, Some(namespace.clone()))
                        });
                    }
                }
            }
            Some(Changed::Last(namespace)) => {
                self.ending
                    .insert(namespace, Instant::now() + self.access.pacing.linger);
            }
        }
    }

    fn end_due(&mut self) {
        let now = Instant::now();
        let (later, due) = std::mem::take(&mut self.ending)
            .into_iter()
            .partition(|(_, at)| *at > now);
        self.ending = later;
        let due: BTreeMap<String, Instant> = due;
        due.keys().for_each(|namespace| self.end(namespace));
    }

    fn end(&mut self, namespace: &str) {
        let ended = |watch: &Running| {
            let selection = &watch.selection;
            let of_routes = role(selection) == Role::Others && selection.name.is_none();
            of_routes && selection.namespace.as_deref() == Some(namespace)
        };
        let ended: Vec<u64> = self
            .watches
            .iter()
            .filter(|(_, watch)| ended(watch))
            .map(|(number, _)| *number)
            .collect();
        for number in ended {
            self.awaited.remove(&number);
            self.troubles.forget(number);
            if let Some(watch) = self.watches.remove(&number) {
                watch.known.all().into_iter().for_each(|id| self.gone(Role::Others, id));
            }
        }
    }

    fn failing(&mut self, number: u64, failure: Failure) {
        let Some(watch) = self.watches.get_mut(&number) else {
            return;
        };
        // What does not exist, and of which nothing was there, is as good as listed.
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

    /// Hands on what has gathered; `None` when nobody takes it.
    async fn hand_over(&mut self) -> Option<()> {
        self.troubles.tell();
        let complete = self.awaited.is_empty();
        match &self.outlet.pieces {
            Some(pieces) => {
                if !self.batch.is_empty() && (complete || self.batch.len() >= BATCH) {
                    pieces.send(std::mem::take(&mut self.batch)).await.ok()?;
                }
                if complete {
                    self.outlet.pieces = None;
                }
            }
            None if self.batch.is_empty() => {}
            None => self.outlet.changes.send(std::mem::take(&mut self.batch)).ok()?,
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
