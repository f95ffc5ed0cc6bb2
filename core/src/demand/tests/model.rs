//! [`Demand`] against a model that keeps every arrival and every belief, and computes all answers from scratch.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::reach::RESTORING;
use super::super::*;
use crate::window::tests::model_rate;

/// All times are multiples of this.
const TICK: Duration = Duration::from_millis(100);
const SECOND: u64 = 10;
const RETENTION: u64 = 30;
/// How many seconds of arrivals a complete report has.
const HISTORY: u64 = 5;
/// For so long after a report of a target, the next one may still have arrivals of that time.
const REPORTED_WITHIN: u64 = 4;
/// Shorter gaps than half of it are none.
const DEBOUNCE: u64 = 20;
/// For how long after a gap it is not over.
const SETTLING: u64 = DEBOUNCE + RESTORING.as_secs() * SECOND;
/// The last one is a peer that only has `/queue`.
const INTERCEPTORS: usize = 3;
const TARGETS: usize = 2;
/// The simulation starts at this tick, so that all that is recorded lies behind the origin.
const START: u64 = 100;

#[derive(Debug, Clone)]
enum Step {
    /// Requests come and go again unseen.
    Arrive {
        target: usize,
        count: u64,
    },
    /// A report, of the targets whose new arrivals and new pending are given, or of all.
    Report {
        changes: [Option<(u64, u64)>; TARGETS],
        complete: bool,
    },
    /// The route is gone, and with it its counters.
    Remove {
        target: usize,
    },
    Restart,
    Disconnect,
    Reach([bool; INTERCEPTORS]),
    Forget,
    Expire,
}

fn step() -> impl Strategy<Value = Step> {
    let change = || proptest::option::of((0_u64..4, 0_u64..5));
    prop_oneof![
        2 => (0..TARGETS, 1_u64..4).prop_map(|(target, count)| Step::Arrive { target, count }),
        6 => ([change(), change()], any::<bool>()).prop_map(|(changes, complete)| Step::Report { changes, complete }),
        1 => (0..TARGETS).prop_map(|target| Step::Remove { target }),
        1 => Just(Step::Restart),
        1 => Just(Step::Disconnect),
        2 => any::<[bool; INTERCEPTORS]>().prop_map(Step::Reach),
        1 => Just(Step::Forget),
        1 => Just(Step::Expire),
    ]
}

/// What really happens in one process.
#[derive(Default)]
struct Process {
    boot: u64,
    started: u64,
    targets: [Truth; TARGETS],
}

#[derive(Default)]
struct Truth {
    /// Tick of each arrival, and whether it was in a report.
    arrivals: Vec<(u64, bool)>,
    pending: u64,
    changed: u64,
    integral: u64,
}

/// What is to be believed of one interceptor.
#[derive(Default)]
struct Belief {
    /// Boot and tick of the last report.
    heard: Option<(u64, u64)>,
    /// When that boot was; nobody knows of a peer that only has `/queue`.
    started: Option<u64>,
    lost: Option<u64>,
    forgotten: bool,
    targets: [Option<Target>; TARGETS],
}

#[derive(Clone, Default)]
struct Target {
    count: u64,
    reported: u64,
    /// Tick and pending of each report since the target was first heard of.
    pending: Vec<(u64, u64)>,
}

#[derive(Default)]
struct World {
    now: u64,
    processes: [Process; INTERCEPTORS],
    beliefs: [Belief; INTERCEPTORS],
    /// The span of ticks within which each arrival is to be recorded: since, until.
    recorded: [Vec<(u64, u64)>; TARGETS],
    /// From which tick on requests reach which interceptors.
    reached: Vec<(u64, [bool; INTERCEPTORS])>,
    /// When requests were first known to reach somebody.
    first_reached: Option<u64>,
}

impl Truth {
    fn set(&mut self, pending: u64, now: u64) {
        self.integral += self.pending * (now - self.changed) * 100_000_000;
        (self.pending, self.changed) = (pending, now);
    }

    fn recent(&self, started: u64, now: u64) -> Vec<u32> {
        let of_age = |age| {
            self.arrivals
                .iter()
                .filter(|(at, _)| seconds_ago(*at, started, now) == age)
                .count()
        };
        (0..HISTORY).map(|age| u32::try_from(of_age(age)).unwrap()).collect()
    }
}

impl Belief {
    fn counts(&self, now: u64) -> bool {
        self.heard.is_some() && !self.forgotten && self.lost.is_none_or(|lost| now < lost + RETENTION)
    }
}

impl Target {
    fn now(&self) -> f64 {
        self.pending.last().unwrap().1 as f64
    }

    /// Tick by tick over the last ten seconds.
    fn mean(&self, now: u64) -> f64 {
        let start = self.pending[0].0.max(now - 10 * SECOND);
        let believed = |tick| self.pending.iter().rev().find(|(since, _)| *since <= tick).unwrap().1;
        let sum: u64 = (start..now).map(believed).sum();
        if start == now {
            self.now()
        } else {
            sum as f64 / (now - start) as f64
        }
    }
}

/// In whole seconds of the uptime.
fn seconds_ago(at: u64, started: u64, now: u64) -> u64 {
    (now - started) / SECOND - (at - started) / SECOND
}

fn is_queue_peer(i: usize) -> bool {
    i == INTERCEPTORS - 1
}

fn key(target: usize) -> TargetKey {
    TargetKey::object("shop", &format!("t{target}"))
}

impl World {
    fn take(&mut self, i: usize, step: &Step, demand: &mut Demand) {
        let now = self.now;
        let name = format!("interceptor-{i}");
        match step {
            Step::Arrive { target, count } => self.arrive(i, *target, *count),
            Step::Report { changes, complete } => {
                for (target, change) in changes.iter().enumerate() {
                    let Some((arrivals, pending)) = change else { continue };
                    self.arrive(i, target, *arrivals);
                    self.processes[i].targets[target].set(*pending, now);
                }
                let complete = *complete || is_queue_peer(i);
                let named: Vec<usize> = (0..TARGETS).filter(|t| complete || changes[*t].is_some()).collect();
                demand.observe(
                    &name,
                    self.report(i, &named, complete),
                    TICK * u32::try_from(now).unwrap(),
                );
                self.believe(i, &named, complete);
            }
            Step::Remove { .. } if is_queue_peer(i) => {}
            Step::Remove { target } => {
                let report = Report {
                    removed: vec![key(*target)],
                    ..self.report(i, &[], false)
                };
                demand.observe(&name, report, TICK * u32::try_from(now).unwrap());
                self.believe(i, &[], false);
                self.beliefs[i].targets[*target] = None;
                self.processes[i].targets[*target] = Truth {
                    changed: now,
                    ..Truth::default()
                };
            }
            Step::Restart => {
                self.processes[i] = Process {
                    boot: self.processes[i].boot + 1,
                    started: now,
                    targets: Default::default(),
                };
                self.processes[i]
                    .targets
                    .iter_mut()
                    .for_each(|truth| truth.changed = now);
            }
            Step::Disconnect => {
                demand.disconnect(&name, TICK * u32::try_from(now).unwrap());
                self.beliefs[i].lost.get_or_insert(now);
            }
            Step::Reach(reached) => {
                let names = (0..INTERCEPTORS).filter(|i| reached[*i]);
                let names = names.map(|i| format!("interceptor-{i}")).collect();
                demand.set_reachable(names, TICK * u32::try_from(now).unwrap());
                self.reached.push((now, *reached));
            }
            Step::Forget => {
                demand.forget(&name);
                self.forget(i);
            }
            Step::Expire => demand.expire(TICK * u32::try_from(now).unwrap()),
        }
    }

    fn arrive(&mut self, i: usize, target: usize, count: u64) {
        let arrivals = (0..count).map(|_| (self.now, false));
        self.processes[i].targets[target].arrivals.extend(arrivals);
    }

    fn forget(&mut self, i: usize) {
        if is_queue_peer(i) {
            self.beliefs[i] = Belief::default();
        }
        self.beliefs[i].forgotten = true;
        for target in self.beliefs[i].targets.iter_mut().flatten() {
            target.pending.clear();
        }
    }

    fn report(&self, i: usize, named: &[usize], complete: bool) -> Report {
        let process = &self.processes[i];
        let tells_more = !is_queue_peer(i);
        let of = |target: &usize| {
            let truth = &process.targets[*target];
            TargetReport {
                key: key(*target),
                arrivals: truth.arrivals.len() as u64,
                pending: truth.pending,
                waiting: truth.pending / 2,
                starting: false,
                pending_nanos: tells_more
                    .then(|| truth.integral + truth.pending * (self.now - truth.changed) * 100_000_000),
                recent_arrivals: if complete && tells_more {
                    truth.recent(process.started, self.now)
                } else {
                    Vec::new()
                },
            }
        };
        Report {
            boot: tells_more.then(|| process.boot.to_string()),
            uptime: TICK * u32::try_from(self.now - process.started).unwrap(),
            complete,
            targets: named.iter().map(of).collect(),
            removed: Vec::new(),
        }
    }

    fn believe(&mut self, i: usize, named: &[usize], complete: bool) {
        let now = self.now;
        let boot = if is_queue_peer(i) { 0 } else { self.processes[i].boot };
        let heard = self.beliefs[i].heard.replace((boot, now));
        self.beliefs[i].started = (!is_queue_peer(i)).then_some(self.processes[i].started);
        (self.beliefs[i].lost, self.beliefs[i].forgotten) = (None, false);
        if heard.is_none_or(|(before, _)| before != boot) {
            self.beliefs[i].targets = Default::default();
        }
        let continued = heard.filter(|(before, _)| *before == boot).map(|(_, at)| at);
        for target in named {
            let before = self.beliefs[i].targets[*target].clone();
            // Within how much time everything unreported must have arrived.
            let within = match (continued, &before) {
                (Some(_), Some(before)) => now - before.reported,
                (Some(at), None) => now - at,
                (None, _) => now - self.processes[i].started,
            };
            if is_queue_peer(i) {
                self.record_difference(*target, within, heard.is_some());
            } else {
                self.record_each(i, *target, complete, within, heard.is_none());
            }
            let truth = &self.processes[i].targets[*target];
            let believed = self.beliefs[i].targets[*target].get_or_insert_default();
            (believed.count, believed.reported) = (truth.arrivals.len() as u64, now);
            believed.pending.push((now, truth.pending));
        }
    }

    fn record_difference(&mut self, target: usize, within: u64, is_known: bool) {
        let i = INTERCEPTORS - 1;
        let count = self.processes[i].targets[target].arrivals.len() as u64;
        let before = self.beliefs[i].targets[target]
            .as_ref()
            .map_or(0, |believed| believed.count);
        let new = if count < before { count } else { count - before };
        if is_known {
            self.recorded[target].extend((0..new).map(|_| (self.now - within, self.now)));
        }
    }

    fn record_each(&mut self, i: usize, target: usize, complete: bool, within: u64, is_first: bool) {
        let process = &mut self.processes[i];
        let history = if complete { HISTORY } else { 0 };
        let running = (self.now - process.started) % SECOND;
        let age_of_start = |second: u64| running + second * SECOND;
        let covered = history.checked_sub(1).map_or(0, age_of_start);
        for (at, reported) in &mut process.targets[target].arrivals {
            let second = seconds_ago(*at, process.started, self.now);
            let span = if second < history {
                let newest = second.checked_sub(1).map_or(0, age_of_start);
                Some((age_of_start(second).min(within), newest.min(within)))
            } else if within <= covered + SECOND || !is_first {
                let oldest = if complete { within } else { within.min(REPORTED_WITHIN) };
                Some((oldest, covered.min(oldest)))
            } else {
                None
            };
            if !std::mem::replace(reported, true) {
                self.recorded[target].extend(span.map(|(oldest, newest)| (self.now - oldest, self.now - newest)));
            }
        }
    }

    /// Of each interceptor that counts and knows the target.
    fn believed(&self, target: usize) -> impl Iterator<Item = &Target> {
        let counting = self.beliefs.iter().filter(|belief| belief.counts(self.now));
        counting
            .filter_map(move |belief| belief.targets[target].as_ref())
            .filter(|target| !target.pending.is_empty())
    }

    fn is_anybody_counting(&self) -> bool {
        self.beliefs.iter().any(|belief| belief.counts(self.now))
    }

    fn reached(&self) -> impl Iterator<Item = &Belief> {
        let reached = self
            .reached
            .last()
            .map_or([true; INTERCEPTORS], |(_, reached)| *reached);
        let all = self.beliefs.iter().zip(reached);
        let reached = all.filter(|(belief, reached)| *reached && belief.counts(self.now));
        reached.map(|(belief, _)| belief)
    }

    fn is_anybody_reached(&self) -> bool {
        self.reached().next().is_some()
    }

    /// When the last gap ended that counts: before the first word about it, or long enough.
    fn gap_ended(&self) -> Option<u64> {
        let (mut began, mut ended) = (None, None);
        for (at, reached) in &self.reached {
            if *reached == [false; INTERCEPTORS] {
                let unknown = *at == self.reached[0].0 && began.is_none();
                began.get_or_insert(if unknown { 0 } else { *at });
            } else if let Some(began) = began.take()
                && at - began >= DEBOUNCE / 2
            {
                ended = Some(*at);
            }
        }
        ended
    }

    /// For how many ticks Services have led to the interceptors again.
    fn since_gap(&self) -> Option<u64> {
        Some((self.now - self.gap_ended()?).saturating_sub(SETTLING))
    }

    /// For how many ticks requests have reached somebody, as far as anybody can know.
    fn covered(&self) -> u64 {
        let first = self.first_reached.map(|first| self.now - first);
        let oldest = self
            .reached()
            .filter_map(|belief| Some(self.now - belief.started?))
            .max();
        let known = first.max(oldest).unwrap_or_default();
        self.since_gap().unwrap_or(known)
    }

    fn known<T>(&self, pending: bool, value: T) -> Reading<T> {
        if pending || self.is_anybody_reached() {
            Reading::Known(value)
        } else {
            Reading::NoData
        }
    }

    fn known_of_replicas<T>(&self, least: u64, value: T) -> Reading<T> {
        let settled = self.since_gap().is_none_or(|since| since >= least);
        match settled {
            true => self.known(false, value),
            false => Reading::NoData,
        }
    }

    fn rate(&self, target: usize, window: u64, granularity: u64) -> Reading<f64> {
        // Arrivals of the same moment share an entry.
        let mut records: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        for (since, at) in &self.recorded[target] {
            let entry = records.entry(*at).or_insert((*since, 0));
            *entry = (entry.0.min(*since), entry.1 + 1);
        }
        let records: Vec<_> = records
            .into_iter()
            .map(|(at, (since, count))| (since, at, count))
            .collect();
        let end = self.reports_end(target);
        let known = self.covered().saturating_sub(self.now - end);
        let rate = model_rate(&records, window.min(known), granularity, end);
        self.known_of_replicas(granularity, rate)
    }

    /// Until when every interceptor that is heard has said what arrived.
    fn reports_end(&self, target: usize) -> u64 {
        let heard = self
            .beliefs
            .iter()
            .enumerate()
            .filter(|(_, belief)| belief.counts(self.now) && belief.lost.is_none());
        let ends = heard.filter_map(|(i, belief)| {
            let reported = belief.targets[target].as_ref()?.reported;
            (is_queue_peer(i) || self.now - reported <= REPORTED_WITHIN).then_some(reported)
        });
        ends.min().unwrap_or(self.now)
    }

    fn is_pending(&self, target: usize) -> bool {
        self.believed(target).any(|target| target.now() > 0.0)
    }

    fn concurrency(&self, target: usize) -> f64 {
        let now: f64 = self.believed(target).map(Target::now).sum();
        let mean: f64 = self.believed(target).map(|target| target.mean(self.now)).sum();
        now.max(mean)
    }

    fn check(&self, demand: &Demand) -> Result<(), TestCaseError> {
        let now = TICK * u32::try_from(self.now).unwrap();
        for target in 0..TARGETS {
            let key = key(target);
            let pending = self.is_pending(target);
            same(
                demand.concurrency(&key, now),
                self.known_of_replicas(1, self.concurrency(target)),
            )?;
            let waiting = self
                .believed(target)
                .map(|target| target.pending.last().unwrap().1 / 2)
                .sum();
            prop_assert_eq!(demand.waiting(&key, now), self.known(pending, waiting));

            for (window, granularity) in [(20, 5), (63, 10), (100, 1), (36_000, 36_000)] {
                let [w, g] = [window, granularity].map(|ticks| TICK * u32::try_from(ticks).unwrap());
                same(demand.rate(&key, w, g, now), self.rate(target, window, granularity))?;
            }
            for ticks in [1, 20, 63] {
                let last = self.recorded[target].iter().map(|(_, at)| at).max();
                let last = last.filter(|at| self.now - **at < ticks);
                let window = TICK * u32::try_from(ticks).unwrap();
                let active = demand.is_active(&key, window, now);
                let expected = match (pending || last.is_some(), self.covered() >= ticks) {
                    (true, _) if self.is_anybody_counting() => Reading::Known(true),
                    (false, true) if self.is_anybody_reached() => Reading::Known(false),
                    _ => Reading::NoData,
                };
                prop_assert_eq!(active, expected);
            }
        }
        let total = (0..TARGETS).map(|target| self.concurrency(target)).sum();
        let pending = (0..TARGETS).any(|target| self.is_pending(target));
        if total > 0.0 {
            prop_assert_eq!(demand.is_anything_pending(now), self.known(pending, true));
        }
        same(demand.total_concurrency(now), self.known(false, total))
    }
}

fn same(is: Reading<f64>, expected: Reading<f64>) -> Result<(), TestCaseError> {
    match (is, expected) {
        (Reading::Known(is), Reading::Known(expected)) => {
            prop_assert!((is - expected).abs() < 1e-6, "{} instead of {}", is, expected);
        }
        (is, expected) => prop_assert_eq!(is, expected),
    }
    Ok(())
}

proptest! {
    #[test]
    fn all_answers_are_the_models(
        steps in proptest::collection::vec((1_u64..40, 0..INTERCEPTORS, step()), 1..60),
    ) {
        let mut demand = Demand::new(
            TICK * u32::try_from(RETENTION).unwrap(),
            TICK * u32::try_from(DEBOUNCE).unwrap(),
        );
        let mut world = World { now: START, ..World::default() };
        for process in &mut world.processes {
            process.started = START;
            process.targets.iter_mut().for_each(|truth| truth.changed = START);
        }
        for (ticks, i, step) in steps {
            world.now += ticks;
            world.check(&demand)?;
            world.take(i, &step, &mut demand);
            world.first_reached = world.first_reached.or_else(|| world.is_anybody_reached().then_some(world.now));
            world.check(&demand)?;
        }
    }
}
