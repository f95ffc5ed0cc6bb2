//! InterceptorRoute to route.

use std::num::NonZeroU32;
use std::time::Duration;

use http::StatusCode;
use keda_http_core::route::path::PathMatch;
use keda_http_core::route::reply::{Reply, Requests, When};
use keda_http_core::route::{ColdStart, Overflow, Route, Rule, ServiceRef, Timeouts};

use super::static_response::static_response;
use super::{created, session};
use crate::checked_fields::{CATCH_ALL, Fields};
use crate::fields::FieldError;
use crate::object::{namespace_of, target_key};
use crate::resources::{self, InterceptorRoute, InterceptorRouteSpec, ResponseMode, RoutingRule, StaticRoute};
use crate::scaling;

/// The route and warnings, or all errors of the object.
pub(super) fn route(object: &InterceptorRoute) -> Result<(Route, Vec<String>), Vec<FieldError>> {
    let mut fields = Fields::default();
    let (namespace, spec) = (namespace_of(&object.metadata), &object.spec);
    fields.refuse_all(&spec.unknown_fields);
    let upstream = upstream(namespace, spec, &mut fields);
    let scaling = scaling::interceptor_route(spec, &mut fields);
    let fallback = fallback(namespace, spec, &mut fields);
    let timeouts = timeouts(spec, &mut fields);
    let rules = rules("spec.rules", &spec.rules, &mut fields);
    warn_of_odd_rules(&rules, &mut fields);
    let replies = replies(spec, &mut fields);
    let cold_start = cold_start(spec, &mut fields);
    let session = session::session(&object.metadata, spec.session_persistence.as_ref(), &mut fields);
    let window = scaling.map_or(Duration::ZERO, |scaling| scaling.activity_window());
    let key = target_key(&object.metadata);
    let created = created(&object.metadata);
    let warnings = fields.take_warnings();
    let route = upstream.map(|upstream| Route {
        key,
        created,
        rules,
        upstream: upstream.into(),
        fallback: fallback.map(Into::into),
        timeouts,
        window,
        replies,
        cold_start,
        session,
        autowired: None,
    });
    Ok((fields.finish(route)?, warnings))
}

fn upstream(namespace: &str, spec: &InterceptorRouteSpec, fields: &mut Fields) -> Option<ServiceRef> {
    let target = &spec.target;
    fields.service("spec.target", namespace, ("service", &target.service), &target.port)
}

fn fallback(namespace: &str, spec: &InterceptorRouteSpec, fields: &mut Fields) -> Option<ServiceRef> {
    let service = &spec.cold_start.as_ref()?.fallback.as_ref()?.service;
    let at = "spec.coldStart.fallback.service";
    fields.service(at, namespace, ("name", &service.name), &service.port)
}

fn timeouts(spec: &InterceptorRouteSpec, fields: &mut Fields) -> Timeouts {
    let Some(timeouts) = &spec.timeouts else {
        return Timeouts::default();
    };
    Timeouts {
        readiness: fields.duration(format_args!("spec.timeouts.readiness"), timeouts.readiness.as_deref()),
        request: fields.duration(format_args!("spec.timeouts.request"), timeouts.request.as_deref()),
        response_header: fields.duration(
            format_args!("spec.timeouts.responseHeader"),
            timeouts.response_header.as_deref(),
        ),
    }
}

fn rules(at: &str, rules: &[RoutingRule], fields: &mut Fields) -> Vec<Rule> {
    let each = rules.iter().enumerate();
    each.map(|(index, rule)| Rule {
        hosts: fields.hosts(format_args!("{at}[{index}].hosts"), &rule.hosts),
        paths: rule.paths.iter().map(|path| PathMatch::prefix(&path.value)).collect(),
        headers: fields.headers(format_args!("{at}[{index}].headers"), &rule.headers),
    })
    .collect()
}

/// An API server drops fields that it does not know, so `{}` may be what is left of a misspelt rule.
fn warn_of_odd_rules(rules: &[Rule], fields: &mut Fields) {
    if rules.is_empty() {
        let warning = "is empty, so the route takes no requests; add a rule ({} takes every request)";
        fields.warn(format_args!("spec.rules"), warning);
    }
    for (index, _) in rules.iter().enumerate().filter(|(_, rule)| **rule == Rule::default()) {
        fields.warn(format_args!("spec.rules[{index}]"), CATCH_ALL);
    }
}

fn replies(spec: &InterceptorRouteSpec, fields: &mut Fields) -> Vec<Reply> {
    let each = spec.static_routes.iter().enumerate();
    each.filter_map(|(index, given)| reply(&format!("spec.staticRoutes[{index}]"), given, fields))
        .collect()
}

fn reply(at: &str, given: &StaticRoute, fields: &mut Fields) -> Option<Reply> {
    if given.rules.is_empty() {
        fields.refuse(
            format_args!("{at}.rules"),
            "is empty; it needs at least one rule ({} takes every request)",
        );
    }
    let rules = rules(&format!("{at}.rules"), &given.rules, fields);
    let response = static_response(&format!("{at}.response"), &given.response, StatusCode::OK, fields)?;
    Some(Reply {
        to: Requests::Rules(rules),
        when: match given.response_mode {
            ResponseMode::WhenUnavailable => When::WhileUnavailable,
            ResponseMode::Always => When::Always,
        },
        response,
    })
}

/// `None` where requests are just held; the fallback is the route's own matter.
fn cold_start(spec: &InterceptorRouteSpec, fields: &mut Fields) -> Option<Box<ColdStart>> {
    let given = spec.cold_start.as_ref()?;
    let at = "spec.coldStart";
    let placeholder = given.placeholder.as_ref().and_then(|placeholder| {
        let at = "spec.coldStart.placeholder.response";
        static_response(at, &placeholder.response, StatusCode::SERVICE_UNAVAILABLE, fields)
    });
    let max_pending = given.max_pending_requests.and_then(|limit| {
        let allowed = u32::try_from(limit).ok().and_then(NonZeroU32::new);
        let refused = format!("{limit} cannot be used; allowed: 1 or more");
        fields.accept(format_args!("{at}.maxPendingRequests"), allowed.ok_or(refused))
    });
    if given.overflow == resources::Overflow::Placeholder && given.placeholder.is_none() {
        fields.refuse(
            format_args!("{at}.overflow"),
            "Placeholder needs a placeholder; give one, or use Reject",
        );
    }
    let cold_start = ColdStart {
        placeholder,
        max_pending,
        overflow: match given.overflow {
            resources::Overflow::Reject => Overflow::Reject,
            resources::Overflow::Placeholder => Overflow::Placeholder,
        },
    };
    (cold_start != ColdStart::default()).then(|| Box::new(cold_start))
}
