//! Decides what one replica may do with the Lease, without I/O.
//!
//! The rules are those of client-go: a Lease is free when it has no holder, or when it has not changed for its lease
//! duration, measured by our own clock since we saw the last change. The times in the Lease are informational: clocks
//! of different machines are never compared.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use tokio::time::Instant;

#[derive(Debug)]
pub(super) struct Election {
    identity: String,
    duration: Duration,
    seen: Option<Seen>,
    /// When the last request began that acquired or renewed the Lease. No other replica can have seen the change
    /// earlier.
    claimed: Option<Instant>,
}

#[derive(Debug)]
struct Seen {
    spec: LeaseSpec,
    since: Instant,
}

impl Election {
    /// `identity` must be unique for this process. `duration`: the lease duration, in whole seconds.
    pub(super) fn new(identity: String, duration: Duration) -> Self {
        Self {
            identity,
            duration,
            seen: None,
            claimed: None,
        }
    }

    /// Records the Lease as it was read; `None` when it does not exist.
    pub(super) fn observe(&mut self, spec: Option<LeaseSpec>, now: Instant) {
        if spec.as_ref().is_none_or(|spec| !self.is_ours(spec)) {
            self.claimed = None;
        }
        if self.seen.as_ref().map(|seen| &seen.spec) != spec.as_ref() {
            self.seen = spec.map(|spec| Seen { spec, since: now });
        }
    }

    /// The spec that acquires or renews the Lease; `None` while another replica holds it. `time` is informational.
    pub(super) fn claim(&self, now: Instant, time: &MicroTime) -> Option<LeaseSpec> {
        let spec = self.seen.as_ref().map(|seen| seen.spec.clone());
        if self.held_until().is_some_and(|until| now < until) {
            return None;
        }
        let ours = spec.as_ref().is_some_and(|spec| self.is_ours(spec));
        let spec = spec.unwrap_or_default();
        let transitions = spec
            .lease_transitions
            .map_or(0, |before| before.saturating_add(i32::from(!ours)));
        Some(LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(i32::try_from(self.duration.as_secs()).unwrap_or(i32::MAX)),
            acquire_time: spec.acquire_time.filter(|_| ours).or_else(|| Some(time.clone())),
            renew_time: Some(time.clone()),
            lease_transitions: Some(transitions),
            ..spec
        })
    }

    /// Records that the Lease is ours by a request that began at `asked`.
    pub(super) fn claimed(&mut self, spec: LeaseSpec, asked: Instant) {
        self.seen = Some(Seen { spec, since: asked });
        self.claimed = Some(asked);
    }

    /// The spec that releases the Lease; `None` when it is not ours.
    pub(super) fn release(&self, time: &MicroTime) -> Option<LeaseSpec> {
        let seen = self.seen.as_ref().filter(|seen| self.is_ours(&seen.spec))?;
        Some(LeaseSpec {
            holder_identity: None,
            lease_duration_seconds: Some(1),
            renew_time: Some(time.clone()),
            ..seen.spec.clone()
        })
    }

    /// Until when this replica leads without a renewal: until a third of the lease duration before another replica
    /// could. `None` when it does not lead.
    pub(super) fn leads_until(&self) -> Option<Instant> {
        self.claimed.map(|asked| asked + self.duration * 2 / 3)
    }

    pub(super) fn leads(&self, now: Instant) -> bool {
        self.leads_until().is_some_and(|until| now < until)
    }

    /// When to read the Lease again: after a third of the lease duration, or when the one of another holder expires.
    pub(super) fn next(&self, now: Instant) -> Instant {
        let third = self.duration / 3;
        match self.claimed {
            Some(asked) => asked + third,
            None => self.held_until().map_or(now + third, |until| until.min(now + third)),
        }
    }

    /// Until when another replica holds the Lease, as far as is known.
    fn held_until(&self) -> Option<Instant> {
        let seen = self.seen.as_ref()?;
        let holder = seen.spec.holder_identity.as_deref().unwrap_or_default();
        if holder.is_empty() || self.is_ours(&seen.spec) {
            return None;
        }
        let duration = seen
            .spec
            .lease_duration_seconds
            .and_then(|seconds| u64::try_from(seconds).ok());
        Some(seen.since + duration.map_or(self.duration, Duration::from_secs))
    }

    fn is_ours(&self, spec: &LeaseSpec) -> bool {
        spec.holder_identity.as_deref() == Some(&*self.identity)
    }
}

#[cfg(test)]
mod tests;
