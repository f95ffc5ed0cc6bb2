//! InterceptorRoute to route.

use std::time::Duration;

use keda_http_core::route::{Route, Rule, ServiceRef, Timeouts};

use super::{RouteError, created, key_of};
use crate::fields::{Fields, Target, path_prefix};
use crate::object::namespace_of;
use crate::resources::{InterceptorRoute, InterceptorRouteSpec, RoutingRule};
use crate::scaling;

/// The route, or every slip of the object.
pub(super) fn route(object: &InterceptorRoute) -> Result<Route, Vec<RouteError>> {
    let mut fields = Fields::default();
    let (namespace, spec) = (namespace_of(&object.metadata), &object.spec);
    let upstream = upstream(namespace, spec, &mut fields);
    let scaling = scaling::interceptor_route(spec, &mut fields);
    let fallback = fallback(namespace, spec, &mut fields);
    let timeouts = timeouts(spec, &mut fields);
    let rules = spec
        .rules
        .iter()
        .enumerate()
        .map(|(i, given)| rule(i, given, &mut fields))
        .collect();
    let window = scaling.map_or(Duration::ZERO, |scaling| scaling.activity_window());
    let key = key_of(&object.metadata);
    let created = created(&object.metadata);
    fields.finish(upstream.map(|upstream| Route {
        key,
        created,
        rules,
        upstream,
        fallback,
        timeouts,
        window,
        replies: Vec::new(),
        autowired: None,
    }))
}

fn upstream(namespace: &str, spec: &InterceptorRouteSpec, fields: &mut Fields) -> Option<ServiceRef> {
    let target = &spec.target;
    let port_name = target.port_name.as_deref();
    fields.service(
        "spec.target",
        &Target {
            namespace,
            name_field: "service",
            name: &target.service,
            port: target.port,
            port_name,
        },
    )
}

fn fallback(namespace: &str, spec: &InterceptorRouteSpec, fields: &mut Fields) -> Option<ServiceRef> {
    let service = &spec.cold_start.as_ref()?.fallback.as_ref()?.service;
    let target = Target {
        namespace,
        name_field: "name",
        name: &service.name,
        port: service.port,
        port_name: service.port_name.as_deref(),
    };
    fields.service("spec.coldStart.fallback.service", &target)
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

fn rule(index: usize, rule: &RoutingRule, fields: &mut Fields) -> Rule {
    Rule {
        hosts: fields.hosts(format_args!("spec.rules[{index}].hosts"), &rule.hosts),
        paths: rule.paths.iter().map(|path| path_prefix(&path.value)).collect(),
        headers: fields.headers(format_args!("spec.rules[{index}].headers"), &rule.headers),
    }
}
