//! KEDA's decision after a poll or a push: pure, with the time passed in.

use std::time::Duration;

use tokio::time::Instant;

use super::Plan;

#[derive(Debug, Clone, Copy)]
pub struct Situation {
    /// The desired number of replicas.
    pub replicas: u32,
    /// Whether any trigger is active.
    pub active: bool,
    /// Whether any trigger could not be read.
    pub failed: bool,
    /// How many polls in a row have failed, this one included.
    pub failures: u32,
    /// When it was last active.
    pub last_active: Option<Instant>,
    /// Since when the ScaledObject exists.
    pub created: Instant,
    pub now: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Leave,
    /// It is active: the cooldown starts again.
    Refresh,
    /// From zero, or from `idleReplicaCount`, to this many; the cooldown starts again.
    Activate(u32),
    /// To this many, for this reason.
    Scale(u32, &'static str),
}

/// The decision of KEDA's scale executor.
pub fn decide(plan: &Plan, at: &Situation) -> Decision {
    if at.active {
        active(plan, at)
    } else {
        inactive(plan, at)
    }
}

fn active(plan: &Plan, at: &Situation) -> Decision {
    let idles = plan.idle.is_some() && at.replicas < plan.min;
    if idles || at.replicas == 0 {
        Decision::Activate(plan.min.max(1))
    } else if at.failed {
        Decision::Leave
    } else {
        Decision::Refresh
    }
}

fn inactive(plan: &Plan, at: &Situation) -> Decision {
    if at.failed {
        return on_failure(plan, at);
    }
    match plan.idle {
        Some(idle) if at.replicas > idle => rest(plan, at, idle),
        None if at.replicas > 0 && plan.min == 0 => rest(plan, at, 0),
        None if at.replicas < plan.min => Decision::Scale(plan.min, "minReplicaCount"),
        Some(_) | None => Decision::Leave,
    }
}

/// To zero, or to idle, when the cooldown has passed.
fn rest(plan: &Plan, at: &Situation, replicas: u32) -> Decision {
    let (since, cooldown): (Instant, Duration) = match at.last_active {
        Some(last) => (last, plan.cooldown),
        None => (at.created, plan.initial_cooldown),
    };
    if at.now.saturating_duration_since(since) >= cooldown {
        Decision::Scale(replicas, "inactive for the cooldown period")
    } else {
        Decision::Leave
    }
}

fn on_failure(plan: &Plan, at: &Situation) -> Decision {
    match plan.fallback {
        Some((threshold, replicas)) if at.failures > threshold && replicas > 0 && replicas != at.replicas => {
            Decision::Scale(replicas, "fallback")
        }
        Some(_) | None => Decision::Leave,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Key;

    fn plan(min: u32, idle: Option<u32>) -> Plan {
        Plan {
            key: Key::new("default", "so"),
            workload: Key::new("default", "app"),
            min,
            max: 10,
            idle,
            polling_interval: Duration::from_secs(30),
            cooldown: Duration::from_secs(300),
            initial_cooldown: Duration::from_secs(20),
            fallback: Some((3, 6)),
            triggers: Vec::new(),
            pause: None,
            notes: Vec::new(),
        }
    }

    /// The situation 1000 s after the object was made.
    fn at(replicas: u32, active: bool, active_ago: Option<u64>) -> Situation {
        let created = Instant::now();
        let now = created + Duration::from_secs(1000);
        Situation {
            replicas,
            active,
            failed: false,
            failures: 0,
            last_active: active_ago.map(|ago| now - Duration::from_secs(ago)),
            created,
            now,
        }
    }

    #[test]
    fn activity_wakes_and_refreshes() {
        assert_eq!(decide(&plan(0, None), &at(0, true, None)), Decision::Activate(1));
        assert_eq!(decide(&plan(3, None), &at(0, true, None)), Decision::Activate(3));
        assert_eq!(decide(&plan(3, Some(1)), &at(1, true, None)), Decision::Activate(3));
        assert_eq!(decide(&plan(0, None), &at(2, true, None)), Decision::Refresh);
    }

    #[test]
    fn zero_comes_only_after_the_cooldown() {
        let zero = Decision::Scale(0, "inactive for the cooldown period");
        assert_eq!(decide(&plan(0, None), &at(2, false, Some(299))), Decision::Leave);
        assert_eq!(decide(&plan(0, None), &at(2, false, Some(300))), zero);
        assert_eq!(decide(&plan(0, None), &at(0, false, Some(9999))), Decision::Leave);
    }

    #[test]
    fn an_object_that_was_never_active_has_a_cooldown_of_its_own() {
        let mut young = at(2, false, None);
        young.created = young.now - Duration::from_secs(19);
        assert_eq!(decide(&plan(0, None), &young), Decision::Leave);
        young.created = young.now - Duration::from_secs(20);
        assert_eq!(
            decide(&plan(0, None), &young),
            Decision::Scale(0, "inactive for the cooldown period")
        );
    }

    #[test]
    fn a_minimum_is_kept_and_idle_goes_below_it() {
        assert_eq!(decide(&plan(2, None), &at(2, false, Some(9999))), Decision::Leave);
        assert_eq!(
            decide(&plan(2, None), &at(0, false, None)),
            Decision::Scale(2, "minReplicaCount")
        );
        let idle = Decision::Scale(1, "inactive for the cooldown period");
        assert_eq!(decide(&plan(2, Some(1)), &at(5, false, Some(300))), idle);
        assert_eq!(decide(&plan(2, Some(0)), &at(0, false, None)), Decision::Leave);
    }

    #[test]
    fn errors_leave_replicas_alone_until_the_fallback_is_due() {
        let failed = |replicas, failures| Situation {
            failed: true,
            failures,
            ..at(replicas, false, Some(9999))
        };
        assert_eq!(decide(&plan(0, None), &failed(2, 3)), Decision::Leave);
        assert_eq!(decide(&plan(0, None), &failed(2, 4)), Decision::Scale(6, "fallback"));
        assert_eq!(decide(&plan(0, None), &failed(6, 5)), Decision::Leave);
        let without = Plan {
            fallback: None,
            ..plan(0, None)
        };
        assert_eq!(decide(&without, &failed(2, 100)), Decision::Leave);
        let active_too = Situation {
            active: true,
            ..failed(2, 1)
        };
        assert_eq!(decide(&plan(0, None), &active_too), Decision::Leave);
        let active_from_zero = Situation {
            active: true,
            ..failed(0, 1)
        };
        assert_eq!(decide(&plan(0, None), &active_from_zero), Decision::Activate(1));
    }
}
