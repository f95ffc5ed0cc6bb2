//! HTTPScaledObject to route: one rule of all its hosts, paths and headers.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use keda_http_core::route::path::PathMatch;
use keda_http_core::route::reply::Reply;
use keda_http_core::route::{Route, Rule, ServiceRef, Timeouts};
use keda_http_core::trigger::{Autowire, Healthcheck};

use super::created;
use super::healthcheck::healthcheck;
use crate::checked_fields::{CATCH_ALL, Fields};
use crate::fields::FieldError;
use crate::object::{namespace_of, target_key};
use crate::resources::{HttpScaledObject, HttpScaledObjectSpec};
use crate::scaling;

/// Where Kedify's annotations begin.
const KEDIFY: &str = "http.kedify.io/";

/// The route and warnings, or all errors of the object.
pub(super) fn route(object: &HttpScaledObject) -> Result<(Route, Vec<String>), Vec<FieldError>> {
    let mut fields = Fields::default();
    let (namespace, spec) = (namespace_of(&object.metadata), &object.spec);
    fields.refuse_all(&spec.unknown_fields);
    let target = target(namespace, spec, &mut fields);
    let kedify = kedify(&object.metadata, target, &mut fields);
    let scaling = scaling::http_scaled_object(spec, &mut fields);
    let fallback = fallback(namespace, spec, &mut fields);
    let timeouts = timeouts(spec, &mut fields);
    let rules = vec![rule(spec, &mut fields)];
    if rules == [Rule::default()] {
        fields.warn(format_args!("spec"), CATCH_ALL);
    }
    let window = scaling.map_or(Duration::ZERO, |scaling| scaling.activity_window());
    let key = target_key(&object.metadata);
    let created = created(&object.metadata);
    let warnings = fields.take_warnings();
    let route = kedify.map(|kedify| Route {
        key,
        created,
        rules,
        upstream: kedify.upstream.into(),
        fallback: fallback.map(Into::into),
        timeouts,
        window,
        replies: kedify.replies,
        cold_start: None,
        session: None,
        autowired: kedify.autowired.map(Into::into),
    });
    Ok((fields.finish(route)?, warnings))
}

/// What annotations of Kedify say of the data path.
struct Kedify {
    upstream: ServiceRef,
    autowired: Option<ServiceRef>,
    replies: Vec<Reply>,
}

fn kedify(metadata: &ObjectMeta, target: Option<ServiceRef>, fields: &mut Fields) -> Option<Kedify> {
    let annotation = |name: &str| {
        let value = metadata.annotations.as_ref()?.get(&format!("{KEDIFY}{name}"))?.trim();
        (!value.is_empty()).then_some(value)
    };
    let autowire = annotation("traffic-autowire").map_or(Ok(Autowire::Unset), Autowire::parse);
    let autowire = fields.accept(format_args!("metadata.annotations.{KEDIFY}traffic-autowire"), autowire)?;
    let response = annotation("healthcheck-response");
    let check = Healthcheck::parse(annotation("healthcheck-path"), response);
    let check = fields.accept(format_args!("metadata.annotations.{KEDIFY}healthcheck-path"), check)?;
    if check.is_none() && response.is_some() {
        let field = format_args!("metadata.annotations.{KEDIFY}healthcheck-response");
        fields.warn(field, "is not supported yet and has no effect");
    }
    let replies = healthcheck(check.as_ref());
    let target = target?;
    if autowire != Autowire::Service {
        return Some(Kedify {
            upstream: target,
            autowired: None,
            replies,
        });
    }
    let Some(service) = annotation("fallback-service") else {
        let reason = "is missing; with traffic-autowire: service it must name the Service that has the pods";
        fields.refuse(format_args!("metadata.annotations.{KEDIFY}fallback-service"), reason);
        return None;
    };
    let upstream = ServiceRef {
        service: service.into(),
        ..target.clone()
    };
    Some(Kedify {
        upstream,
        autowired: Some(target),
        replies,
    })
}

fn target(namespace: &str, spec: &HttpScaledObjectSpec, fields: &mut Fields) -> Option<ServiceRef> {
    let target = &spec.scale_target_ref;
    fields.service(
        "spec.scaleTargetRef",
        namespace,
        ("service", &target.service),
        &target.port,
    )
}

fn fallback(namespace: &str, spec: &HttpScaledObjectSpec, fields: &mut Fields) -> Option<ServiceRef> {
    let failover = spec.cold_start_timeout_failover_ref.as_ref()?;
    fields.service(
        "spec.coldStartTimeoutFailoverRef",
        namespace,
        ("service", &failover.service),
        &failover.port,
    )
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
        paths: spec.path_prefixes.iter().map(|path| PathMatch::prefix(path)).collect(),
        headers: fields.headers(format_args!("spec.headers"), &spec.headers),
    }
}
