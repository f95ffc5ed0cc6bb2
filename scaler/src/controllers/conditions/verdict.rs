//! Whether an object is in force, and the condition that says so.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use keda_http_kubernetes::endpoints::EndpointsError;
use keda_http_kubernetes::fields::FieldError;
use keda_http_kubernetes::object::Kind;
use keda_http_kubernetes::resources::Condition;
use keda_http_kubernetes::view::HostConflicts;

use crate::events::shorten;

/// The type of the condition.
pub const READY: &str = "Ready";
/// The Go operator's reason for an object in force.
const RECONCILED: &str = "Reconciled";

/// Whether the object is in force, and why.
#[derive(Debug, PartialEq)]
pub struct Verdict {
    in_force: bool,
    reason: &'static str,
    message: String,
}

impl Verdict {
    fn not(reason: &'static str, message: String) -> Self {
        Self {
            in_force: false,
            reason,
            message,
        }
    }

    /// Some fields are not valid.
    pub fn invalid(errors: &[FieldError]) -> Self {
        let each: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Self::not(
            "InvalidSpec",
            format!("{}; its last valid state stays in force", each.join("; ")),
        )
    }

    /// Another object of the same name takes precedence.
    pub fn shadowed() -> Self {
        let message = "an InterceptorRoute of the same name takes precedence".to_owned();
        Self::not("Shadowed", message)
    }

    /// The Service that requests go to is missing.
    pub fn target(error: &EndpointsError) -> Self {
        let reason = match error {
            EndpointsError::NoService { .. } => "ServiceNotFound",
            EndpointsError::NoPort { .. } => "PortNotFound",
        };
        Self::not(reason, error.to_string())
    }

    /// The fallback Service is missing.
    pub fn fallback(error: &EndpointsError) -> Self {
        Self::not("FallbackNotFound", error.to_string())
    }

    /// Hosts of which the route does not get all requests; without any the object is in force.
    pub fn hosts(kind: Kind, conflicts: Option<&HostConflicts>) -> Self {
        let conflicts: Vec<String> = conflicts.map(host_conflicts).unwrap_or_default();
        if conflicts.is_empty() {
            return Self {
                in_force: true,
                reason: RECONCILED,
                message: format!("{kind} reconciled"),
            };
        }
        Self::not("HostConflict", conflicts.join("; "))
    }

    /// The condition; the time stays that of `before` while the status is the same.
    pub fn condition(&self, before: Option<&Condition>, generation: Option<i64>) -> Condition {
        let status = if self.in_force { "True" } else { "False" };
        let since = before
            .filter(|before| before.status == status)
            .and_then(|before| before.last_transition_time.clone());
        Condition {
            type_: READY.to_owned(),
            status: status.to_owned(),
            observed_generation: generation,
            last_transition_time: Some(since.unwrap_or_else(now)),
            reason: self.reason.to_owned(),
            message: shorten(&self.message),
        }
    }
}

fn host_conflicts(conflicts: &HostConflicts) -> Vec<String> {
    let lost = conflicts.lost.iter().filter(|lost| !lost.in_cluster);
    let lost = lost.map(|lost| {
        format!(
            "{} belongs to namespace {}; requests for it go there",
            lost.host, lost.owner
        )
    });
    let shadowed = conflicts.shadowed.iter().map(|(host, by)| {
        format!("{host} is also a host of route {by}, which has the same rule and takes precedence; requests for it go there")
    });
    lost.chain(shadowed).collect()
}

/// Whole seconds, as the API server keeps them.
fn now() -> Time {
    let now = jiff::Timestamp::now();
    Time(jiff::Timestamp::from_second(now.as_second()).unwrap_or(now))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use keda_http_core::claims::Lost;
    use keda_http_core::route::host::HostPattern;
    use keda_http_core::target::TargetKey;

    use super::*;

    #[test]
    fn the_time_is_that_of_the_last_change_of_the_status() {
        let well = Verdict::hosts(Kind::InterceptorRoute, None);
        let mut first = well.condition(None, Some(1));
        first.last_transition_time = Some(Time(jiff::Timestamp::UNIX_EPOCH));
        assert_eq!(
            well.condition(Some(&first), Some(2)).last_transition_time,
            first.last_transition_time
        );
        let without = Condition {
            last_transition_time: None,
            ..first.clone()
        };
        let mended = well.condition(Some(&without), Some(2));
        assert!(
            mended.last_transition_time.is_some(),
            "one from an older release has none"
        );
        let host: HostPattern = "a.test".parse().unwrap();
        let lost = HostConflicts {
            lost: vec![Lost {
                host: host.clone(),
                owner: "shop".to_owned(),
                in_cluster: false,
            }],
            shadowed: [(host, TargetKey::object("mine", "other"))].into(),
        };
        let conflict = Verdict::hosts(Kind::InterceptorRoute, Some(&lost)).condition(Some(&first), Some(2));
        assert_ne!(conflict.last_transition_time, first.last_transition_time);
        assert_eq!(
            (conflict.status.as_str(), conflict.reason.as_str()),
            ("False", "HostConflict")
        );
        assert!(
            conflict.message.contains("a.test belongs to namespace shop") && conflict.message.contains("mine/other"),
            "{}",
            conflict.message
        );
    }
}
