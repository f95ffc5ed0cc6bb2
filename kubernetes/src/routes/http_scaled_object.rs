//! HTTPScaledObject to route: one rule of all its hosts, paths and headers.

use std::time::Duration;

use keda_http_core::route::{Route, Rule, ServiceRef, Timeouts};

use super::{RouteError, created, key_of};
use crate::fields::{Fields, Target, path_prefix};
use crate::object::namespace_of;
use crate::resources::{HttpScaledObject, HttpScaledObjectSpec};
use crate::scaling;

/// The route and what is odd about it, or every slip of the object.
pub(super) fn route(object: &HttpScaledObject) -> Result<(Route, Vec<String>), Vec<RouteError>> {
    let mut fields = Fields::default();
    let (namespace, spec) = (namespace_of(&object.metadata), &object.spec);
    let upstream = upstream(namespace, spec, &mut fields);
    let scaling = scaling::http_scaled_object(spec, &mut fields);
    let fallback = fallback(namespace, spec, &mut fields);
    let timeouts = timeouts(spec, &mut fields);
    let rules = vec![rule(spec, &mut fields)];
    let window = scaling.map_or(Duration::ZERO, |scaling| scaling.activity_window());
    let key = key_of(&object.metadata);
    let created = created(&object.metadata);
    let warnings = fields.take_warnings();
    let route = upstream.map(|upstream| Route {
        key,
        created,
        rules,
        upstream,
        fallback,
        timeouts,
        window,
        replies: Vec::new(),
        cold_start: None,
        session: None,
        autowired: None,
    });
    Ok((fields.finish(route)?, warnings))
}

fn upstream(namespace: &str, spec: &HttpScaledObjectSpec, fields: &mut Fields) -> Option<ServiceRef> {
    let target = &spec.scale_target_ref;
    let port_name = target.port_name.as_deref();
    fields.service(
        "spec.scaleTargetRef",
        &Target {
            namespace,
            name_field: "service",
            name: &target.service,
            port: target.port,
            port_name,
        },
    )
}

fn fallback(namespace: &str, spec: &HttpScaledObjectSpec, fields: &mut Fields) -> Option<ServiceRef> {
    let failover = spec.cold_start_timeout_failover_ref.as_ref()?;
    let target = Target {
        namespace,
        name_field: "service",
        name: &failover.service,
        port: failover.port,
        port_name: failover.port_name.as_deref(),
    };
    fields.service("spec.coldStartTimeoutFailoverRef", &target)
}

/// Zero means "not set" in this kind; the failover's own time goes before `conditionWait`.
fn timeouts(spec: &HttpScaledObjectSpec, fields: &mut Fields) -> Timeouts {
    let given = spec.timeouts.clone().unwrap_or_default();
    let wait = fields.duration(
        format_args!("spec.timeouts.conditionWait"),
        given.condition_wait.as_deref(),
    );
    let response_header = fields.duration(
        format_args!("spec.timeouts.responseHeader"),
        given.response_header.as_deref(),
    );
    let failover = spec.cold_start_timeout_failover_ref.as_ref();
    let failover = failover
        .and_then(|failover| u64::try_from(failover.timeout_seconds).ok())
        .map(Duration::from_secs);
    Timeouts {
        readiness: set(failover).or(set(wait)),
        request: None,
        response_header: set(response_header),
    }
}

fn set(duration: Option<Duration>) -> Option<Duration> {
    duration.filter(|duration| !duration.is_zero())
}

fn rule(spec: &HttpScaledObjectSpec, fields: &mut Fields) -> Rule {
    Rule {
        hosts: fields.hosts(format_args!("spec.hosts"), &spec.hosts),
        paths: spec.path_prefixes.iter().map(|path| path_prefix(path)).collect(),
        headers: fields.headers(format_args!("spec.headers"), &spec.headers),
    }
}
