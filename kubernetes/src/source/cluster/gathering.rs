//! Puts together what the watches tell: which watches there must be, what is handed on, and what is told of them.

use std::collections::{BTreeMap, BTreeSet};

use kube::Client;
use tokio::sync::{mpsc, watch as published};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::demand::{Changed, Demand};
use super::known::Known;
use super::watch::{self, News, Selection, Teller};
use super::{ClusterSettings, Freshness};
use crate::object::{Kind, Object, ObjectId};
use crate::source::{Change, Problem, nothing};
use crate::wired;

/// What watches have told and nobody has read yet; more makes them wait.
const NEWS: usize = 1024;
/// The ConfigMaps that response bodies may be taken from; upstream's label.
const RESPONSE_BODIES: &str = "http.keda.sh/response-body=true";
/// How many changes make a piece of the initial state.
const PIECE: usize = 256;

/// A running watch.
struct Watch {
    selection: Selection,
    known: Known,
    state: State,
    failing: Option<Failing>,
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

/// How far a watch has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Its first list is not complete.
    Listing,
    /// The API server refuses it: it counts as empty until somebody mends that.
    Refused,
    /// It has told all there is.
    Listed,
}

struct Failing {
    since: Instant,
    reason: String,
}

/// Where the initial state goes, and then the changes.
enum Outlet {
    Initial(mpsc::Sender<Vec<Change>>),
    Live,
}

/// The task.
pub struct Gathering {
    client: Client,
    settings: ClusterSettings,
    watches: BTreeMap<u64, Watch>,
    started: u64,
    demand: Demand,
    teller: Teller,
    news: mpsc::Receiver<(u64, News)>,
    outlet: Outlet,
    batch: Vec<Change>,
    changes: mpsc::UnboundedSender<Vec<Change>>,
    unusable: BTreeMap<ObjectId, String>,
    problems: published::Sender<Vec<Problem>>,
    freshness: published::Sender<Freshness>,
}

impl Gathering {
    /// Nothing is watched yet.
    pub fn new(
        client: Client,
        settings: ClusterSettings,
        pieces: mpsc::Sender<Vec<Change>>,
        changes: mpsc::UnboundedSender<Vec<Change>>,
        problems: published::Sender<Vec<Problem>>,
        freshness: published::Sender<Freshness>,
    ) -> Self {
        let (teller, news) = mpsc::channel(NEWS);
        Self {
            client,
            settings,
            watches: BTreeMap::new(),
            started: 0,
            demand: Demand::default(),
            teller,
            news,
            outlet: Outlet::Initial(pieces),
            batch: nothing(),
            changes,
            unusable: BTreeMap::new(),
            problems,
            freshness,
        }
    }

    /// Watches until nobody wants to hear any more.
    pub async fn run(mut self) {
        self.begin();
        loop {
            if !self.hand_over().await {
                return;
            }
            let Some((number, news)) = self.news.recv().await else {
                return;
            };
            self.take(number, news);
            // What has come meanwhile goes along.
            while self.batch.len() < PIECE
                && let Ok((number, news)) = self.news.try_recv()
            {
                self.take(number, news);
            }
        }
    }

    fn begin(&mut self) {
        for kind in [Kind::InterceptorRoute, Kind::HttpScaledObject, Kind::ScaledObject] {
            if self.settings.kinds.contains(&kind) {
                let namespace = self.settings.watch_namespace.clone();
                self.start(Selection {
                    kind,
                    namespace,
                    name: None,
                    label: None,
                });
            }
        }
        if self.settings.autowired {
            self.start(Selection {
                kind: Kind::EndpointSlice,
                namespace: self.settings.watch_namespace.clone(),
                name: None,
                label: Some(wired::SELECTOR),
            });
        }
        let (namespace, names) = self.settings.own_config_maps.clone().unwrap_or_default();
        for name in names {
            self.start(Selection {
                kind: Kind::ConfigMap,
                namespace: Some(namespace.clone()),
                name: Some(name),
                label: None,
            });
        }
    }

    fn start(&mut self, selection: Selection) {
        let number = self.started;
        self.started += 1;
        let watching = watch::run(self.client.clone(), number, selection.clone(), self.teller.clone());
        let watch = Watch {
            known: Known::new(selection.kind),
            selection,
            state: State::Listing,
            failing: None,
            task: AbortOnDropHandle::new(tokio::spawn(watching)),
        };
        self.watches.insert(number, watch);
    }

    /// One piece of news. Those of a watch that has been ended are nothing.
    fn take(&mut self, number: u64, news: News) {
        let Some(watch) = self.watches.get_mut(&number) else {
            return;
        };
        let role = role(&watch.selection);
        match news {
            News::Begins => watch.known.begin(),
            News::Is(id, object) => {
                watch.known.is(&id);
                self.is(role, id, object);
            }
            News::Gone(id) => {
                if watch.known.gone(&id) {
                    self.gone(role, id);
                }
            }
            News::Listed => {
                watch.state = State::Listed;
                let vanished = watch.known.complete();
                self.well(number);
                for id in vanished {
                    self.gone(role, id);
                }
            }
            News::Well => self.well(number),
            News::Failing(reason) => self.failing(number, reason, None),
            News::Refused(reason) => self.failing(number, reason, Some(State::Refused)),
        }
    }

    fn is(&mut self, role: Role, id: ObjectId, object: Result<Box<Object>, crate::object::ObjectError>) {
        let object = match object {
            Ok(object) => *object,
            Err(error) => {
                tracing::warn!(object = %id, %error, "an object cannot be read; a former state of it stays");
                self.unusable.insert(id, error.to_string());
                self.tell_problems();
                return;
            }
        };
        if self.unusable.remove(&id).is_some() {
            self.tell_problems();
        }
        let changed = (role != Role::Others).then(|| self.demand.is(&object)).flatten();
        if role != Role::Marks {
            self.batch.push(Change::Apply(object));
        }
        self.follow(changed);
    }

    fn gone(&mut self, role: Role, id: ObjectId) {
        if self.unusable.remove(&id).is_some() {
            self.tell_problems();
        }
        let changed = (role != Role::Others).then(|| self.demand.gone(&id)).flatten();
        if role != Role::Marks {
            self.batch.push(Change::Delete(id));
        }
        self.follow(changed);
    }

    /// Begins the watches of a namespace with its first route or mark, and ends them with its last.
    fn follow(&mut self, changed: Option<Changed>) {
        match changed {
            None => {}
            Some(Changed::First(namespace)) => {
                for (kind, label) in [
                    (Kind::Service, None),
                    (Kind::EndpointSlice, None),
                    (Kind::ConfigMap, Some(RESPONSE_BODIES)),
                ] {
                    if self.settings.kinds.contains(&kind) {
                        self.start(Selection {
                            kind,
                            namespace: Some(namespace.clone()),
                            name: None,
                            label,
                        });
                    }
                }
            }
            Some(Changed::Last(namespace)) => self.end(&namespace),
        }
    }

    fn end(&mut self, namespace: &str) {
        let ended = |watch: &Watch| {
            let selection = &watch.selection;
            let of_routes = role(selection) == Role::Others && selection.name.is_none();
            of_routes && selection.namespace.as_deref() == Some(namespace)
        };
        let numbers: Vec<u64> = self
            .watches
            .iter()
            .filter(|(_, watch)| ended(watch))
            .map(|(number, _)| *number)
            .collect();
        for number in numbers {
            if let Some(watch) = self.watches.remove(&number) {
                self.batch.extend(watch.known.all().into_iter().map(Change::Delete));
            }
        }
        self.unusable
            .retain(|id, _| makes_demand(id.kind) || id.namespace != namespace);
        self.tell();
    }

    fn well(&mut self, number: u64) {
        let Some(watch) = self.watches.get_mut(&number) else {
            return;
        };
        if watch.failing.take().is_some() {
            tracing::info!(watch = %watch.selection, "watching again");
            self.tell();
        }
    }

    fn failing(&mut self, number: u64, reason: String, state: Option<State>) {
        let Some(watch) = self.watches.get_mut(&number) else {
            return;
        };
        // What was known before stays in force.
        if watch.state != State::Listed {
            watch.state = state.unwrap_or(State::Listing);
        }
        let since = watch
            .failing
            .as_ref()
            .map_or_else(Instant::now, |failing| failing.since);
        if watch.failing.as_ref().is_none_or(|failing| failing.reason != reason) {
            tracing::warn!(watch = %watch.selection, reason, "cannot watch; what is known stays");
            watch.failing = Some(Failing { since, reason });
            self.tell();
        }
    }

    /// Hands on what has gathered; `false` when nobody takes it.
    async fn hand_over(&mut self) -> bool {
        let complete = self.watches.values().all(|watch| watch.state != State::Listing);
        match &self.outlet {
            Outlet::Initial(pieces) => {
                if (complete || self.batch.len() >= PIECE)
                    && !self.batch.is_empty()
                    && pieces.send(std::mem::take(&mut self.batch)).await.is_err()
                {
                    return false;
                }
                if complete {
                    self.outlet = Outlet::Live;
                }
                true
            }
            Outlet::Live if self.batch.is_empty() => !self.changes.is_closed(),
            Outlet::Live => self.changes.send(std::mem::take(&mut self.batch)).is_ok(),
        }
    }

    fn tell(&self) {
        // A refusal is no outage: it lasts until somebody mends it, and what else is known is current.
        let failing = self.watches.values().filter(|watch| watch.state != State::Refused);
        let since = failing
            .filter_map(|watch| watch.failing.as_ref().map(|failing| failing.since))
            .min();
        let now = Freshness {
            current: since.is_none(),
            since: since.unwrap_or_else(Instant::now),
        };
        self.freshness.send_if_modified(|told| {
            let changed = (told.current, told.since) != (now.current, now.since) && !(told.current && now.current);
            if changed {
                *told = now;
            }
            changed
        });
        self.tell_problems();
    }

    fn tell_problems(&self) {
        let failing = self.watches.values().filter_map(|watch| {
            let failing = watch.failing.as_ref()?;
            Some(Problem {
                place: format!("API server, {}", watch.selection),
                reason: failing.reason.clone(),
            })
        });
        let unusable = self.unusable.iter().map(|(id, reason)| Problem {
            place: id.to_string(),
            reason: reason.clone(),
        });
        // Many watches may fail for one reason; once is enough for each place.
        let problems: BTreeSet<(String, String)> = failing
            .chain(unusable)
            .map(|problem| (problem.place, problem.reason))
            .collect();
        let problems = problems.into_iter().map(|(place, reason)| Problem { place, reason });
        self.problems.send_replace(problems.collect());
    }
}

fn role(selection: &Selection) -> Role {
    match selection.kind {
        Kind::EndpointSlice if selection.label == Some(wired::SELECTOR) => Role::Marks,
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

impl std::fmt::Display for Selection {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}s", self.kind)?;
        if self.label == Some(wired::SELECTOR) {
            formatter.write_str(" of autowire")?;
        }
        if let Some(name) = &self.name {
            write!(formatter, " named {name}")?;
        }
        match &self.namespace {
            Some(namespace) => write!(formatter, " in {namespace}"),
            None => formatter.write_str(" of all namespaces"),
        }
    }
}
