//! What one replica knows of the Lease, and what it may do about it: decisions only.
//!
//! The rules are those of Kubernetes' own programs, so that other candidates of the same Lease are understood: a Lease is
//! free when nobody holds it, or when it has not changed for as long as its holder promised to renew it, by our own clock
//! from when we saw the last change. The times that stand in it are for people: clocks of machines are never compared.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use tokio::time::Instant;

/// One replica's view of the Lease.
#[derive(Debug)]
pub struct Election {
    identity: String,
    duration: Duration,
    seen: Option<Seen>,
    /// When the request began by which the Lease was last made ours. Nobody can have seen it earlier.
    claimed: Option<Instant>,
}

#[derive(Debug)]
struct Seen {
    spec: LeaseSpec,
    since: Instant,
}

impl Election {
    /// `identity`: this process, and no other that ever was. `duration`: what it promises; in whole seconds.
    pub fn new(identity: String, duration: Duration) -> Self {
        Self {
            identity,
            duration,
            seen: None,
            claimed: None,
        }
    }

    /// This is what the Lease says, as it was read; `None` when there is none.
    pub fn observe(&mut self, spec: Option<LeaseSpec>, now: Instant) {
        if spec.as_ref().is_none_or(|spec| !self.is_ours(spec)) {
            self.claimed = None;
        }
        if self.seen.as_ref().map(|seen| &seen.spec) != spec.as_ref() {
            self.seen = spec.map(|spec| Seen { spec, since: now });
        }
    }

    /// What to write to get or to keep the Lease; `None` while it is somebody else's. `time` is for people.
    pub fn claim(&self, now: Instant, time: &MicroTime) -> Option<LeaseSpec> {
        let spec = self.seen.as_ref().map(|seen| seen.spec.clone());
        if self.held_until().is_some_and(|until| now < until) {
            return None;
        }
        let ours = spec.as_ref().is_some_and(|spec| self.is_ours(spec));
        let spec = spec.unwrap_or_default();
        let transitions = spec.lease_transitions.map_or(0, |before| before + i32::from(!ours));
        Some(LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(i32::try_from(self.duration.as_secs()).unwrap_or(i32::MAX)),
            acquire_time: spec.acquire_time.filter(|_| ours).or_else(|| Some(time.clone())),
            renew_time: Some(time.clone()),
            lease_transitions: Some(transitions),
            ..spec
        })
    }

    /// The Lease is ours: this was written by a request that began at `asked`.
    pub fn claimed(&mut self, spec: LeaseSpec, asked: Instant) {
        self.seen = Some(Seen { spec, since: asked });
        self.claimed = Some(asked);
    }

    /// What to write to give the Lease up; `None` when it is not ours.
    pub fn release(&self, time: &MicroTime) -> Option<LeaseSpec> {
        let seen = self.seen.as_ref().filter(|seen| self.is_ours(&seen.spec))?;
        Some(LeaseSpec {
            holder_identity: None,
            lease_duration_seconds: Some(1),
            renew_time: Some(time.clone()),
            ..seen.spec.clone()
        })
    }

    /// Until when this replica leads, unless it renews: a third of the duration before anybody else could. `None` when it
    /// does not lead.
    pub fn leads_until(&self) -> Option<Instant> {
        self.claimed.map(|asked| asked + self.duration * 2 / 3)
    }

    /// Whether this replica leads.
    pub fn leads(&self, now: Instant) -> bool {
        self.leads_until().is_some_and(|until| now < until)
    }

    /// When to look at the Lease again: every third of the duration, and at once when somebody else's runs out.
    pub fn next(&self, now: Instant) -> Instant {
        let third = self.duration / 3;
        match self.claimed {
            Some(asked) => asked + third,
            None => self.held_until().map_or(now + third, |until| until.min(now + third)),
        }
    }

    /// Until when somebody else holds it, as far as is known.
    fn held_until(&self) -> Option<Instant> {
        let seen = self.seen.as_ref()?;
        let holder = seen.spec.holder_identity.as_deref().unwrap_or_default();
        if holder.is_empty() || self.is_ours(&seen.spec) {
            return None;
        }
        let promised = seen
            .spec
            .lease_duration_seconds
            .and_then(|seconds| u64::try_from(seconds).ok());
        Some(seen.since + promised.map_or(self.duration, Duration::from_secs))
    }

    fn is_ours(&self, spec: &LeaseSpec) -> bool {
        spec.holder_identity.as_deref() == Some(&*self.identity)
    }
}

#[cfg(test)]
mod tests;
