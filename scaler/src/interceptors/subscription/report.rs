//! Converts reports of the wire protocol.

use std::time::Duration;

use keda_http_core::demand::{Report, TargetReport};
use keda_http_core::target::TargetKey;
use keda_http_proto::pending;

/// Keys are not checked: reports about targets that KEDA does not ask about do no harm.
pub(super) fn report(report: pending::Report) -> Report {
    Report {
        boot: Some(report.boot_id),
        uptime: Duration::from_nanos(report.uptime_nanos),
        complete: report.complete,
        targets: report.targets.into_iter().map(target).collect(),
        removed: report.removed.iter().map(|key| TargetKey::from(key.as_str())).collect(),
    }
}

fn target(target: pending::Target) -> TargetReport {
    TargetReport {
        key: TargetKey::from(target.key.as_str()),
        arrivals: target.arrivals,
        pending: target.pending,
        waiting: target.waiting,
        starting: target.starting,
        pending_nanos: Some(target.pending_nanos),
        recent_arrivals: target.recent_arrivals,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_converted() {
        let wire = pending::Target {
            key: "shop/api:read".to_owned(),
            arrivals: 1,
            pending: 2,
            waiting: 3,
            pending_nanos: 4,
            recent_arrivals: vec![5, 6],
            starting: true,
        };
        let message = pending::Report {
            boot_id: "boot".to_owned(),
            uptime_nanos: 7,
            complete: true,
            targets: vec![wire],
            removed: vec!["shop/old".to_owned()],
            listeners: None,
        };
        let expected = Report {
            boot: Some("boot".to_owned()),
            uptime: Duration::from_nanos(7),
            complete: true,
            targets: vec![TargetReport {
                key: TargetKey::trigger("shop", "api", "read"),
                arrivals: 1,
                pending: 2,
                waiting: 3,
                starting: true,
                pending_nanos: Some(4),
                recent_arrivals: vec![5, 6],
            }],
            removed: vec![TargetKey::object("shop", "old")],
        };
        assert_eq!(report(message), expected);
    }
}
