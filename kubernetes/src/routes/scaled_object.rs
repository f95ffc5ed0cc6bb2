//! The `kedify-http` triggers of a ScaledObject to routes.

use std::collections::{BTreeMap, HashSet};

use keda_http_core::route::{Route, Rule, ServiceRef, Timeouts};
use keda_http_core::target::TargetKey;
use keda_http_core::trigger::{Autowire, KEDIFY_HTTP, KedifyHttp, TRIGGER_NAME_KEY};

use super::created;
use super::healthcheck::healthcheck;
use crate::fields::FieldError;
use crate::object::{namespace_of, target_key};
use crate::resources::{ScaleTrigger, ScaledObject};

/// The route of one trigger, or why it has none.
pub(crate) struct TriggerRoute {
    /// Its key; `None` when it has no name although the object has several triggers.
    pub(crate) key: Option<TargetKey>,
    pub(crate) result: Result<Route, FieldError>,
    pub(crate) warnings: Vec<String>,
}

/// The routes of the object's `kedify-http` triggers. Other triggers are ignored.
pub(crate) fn routes(object: &ScaledObject) -> Vec<TriggerRoute> {
    let ours: Vec<(usize, &ScaleTrigger)> = object
        .spec
        .triggers
        .iter()
        .enumerate()
        .filter(|(_, trigger)| is_kedify_http(trigger))
        .collect();
    let mut taken = HashSet::new();
    let single = ours.len() == 1;
    ours.into_iter()
        .map(|(index, trigger)| trigger_route(object, index, trigger, single, &mut taken))
        .collect()
}

/// As users write it, or as admission has converted it for KEDA.
pub(crate) fn is_kedify_http(trigger: &ScaleTrigger) -> bool {
    let has = |key: &str| trigger.metadata.contains_key(key);
    match trigger.type_.as_str() {
        KEDIFY_HTTP => true,
        "external-push" => {
            let of_upstream =
                has("interceptorRoute") || has("httpScaledObject") || has("interceptorTargetPendingRequests");
            has("hosts") && has("scalingMetric") && !of_upstream
        }
        _ => false,
    }
}

fn trigger_route(
    object: &ScaledObject,
    index: usize,
    trigger: &ScaleTrigger,
    single: bool,
    taken: &mut HashSet<TargetKey>,
) -> TriggerRoute {
    let refused = |key, field: &str, reason: String| TriggerRoute {
        key,
        result: Err(FieldError::new(format_args!("spec.triggers[{index}].{field}"), reason)),
        warnings: Vec::new(),
    };
    let Some(key) = key(object, trigger, single) else {
        return refused(
            None,
            "name",
            format!("is missing; with several {KEDIFY_HTTP} triggers each needs a name of its own"),
        );
    };
    if !taken.insert(key.clone()) {
        return refused(
            None,
            "name",
            format!(
                "is also the name of another trigger; with several {KEDIFY_HTTP} triggers each needs a name of its own"
            ),
        );
    }
    match parse(&trigger.metadata).map(|parsed| route(object, key.clone(), parsed)) {
        Ok((route, warnings)) => TriggerRoute {
            key: Some(key),
            result: Ok(route),
            warnings,
        },
        Err(reason) => refused(Some(key), "metadata", reason),
    }
}

/// The scaler sees the metadata only, so the name in it decides; the trigger's own name counts where there are several.
fn key(object: &ScaledObject, trigger: &ScaleTrigger, single: bool) -> Option<TargetKey> {
    let in_metadata = trigger.metadata.get(TRIGGER_NAME_KEY).filter(|name| !name.is_empty());
    let own = trigger.name.as_ref().filter(|name| !single && !name.is_empty());
    match in_metadata.or(own) {
        Some(name) => {
            let metadata = &object.metadata;
            Some(TargetKey::trigger(
                namespace_of(metadata),
                metadata.name.as_deref().unwrap_or_default(),
                name,
            ))
        }
        None => single.then(|| target_key(&object.metadata)),
    }
}

fn parse(metadata: &BTreeMap<String, String>) -> Result<KedifyHttp, String> {
    let pairs = metadata.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    KedifyHttp::from_metadata(pairs).map_err(|error| error.to_string())
}

fn route(object: &ScaledObject, key: TargetKey, trigger: KedifyHttp) -> (Route, Vec<String>) {
    let upstream = upstream(namespace_of(&object.metadata), &trigger);
    let route = Route {
        key,
        created: created(&object.metadata),
        upstream: upstream.into(),
        fallback: None,
        timeouts: Timeouts::default(),
        window: trigger.scaling.activity_window(),
        replies: healthcheck(trigger.healthcheck.as_ref()),
        cold_start: None,
        session: None,
        autowired: autowired(namespace_of(&object.metadata), &trigger).map(Into::into),
        rules: vec![Rule {
            hosts: trigger.hosts,
            paths: trigger.paths,
            headers: trigger.headers,
        }],
    };
    (route, trigger.warnings)
}

/// With `trafficAutowire: service` autowire writes the endpoints of `service`, and the pods are behind `fallbackService`.
fn upstream(namespace: &str, trigger: &KedifyHttp) -> ServiceRef {
    let fallback = trigger.fallback_service.as_ref();
    let pods = fallback.filter(|_| trigger.autowire == Autowire::Service);
    service_ref(namespace, pods.unwrap_or(&trigger.service), trigger)
}

/// The Service whose endpoints autowire writes.
fn autowired(namespace: &str, trigger: &KedifyHttp) -> Option<ServiceRef> {
    (trigger.autowire == Autowire::Service).then(|| service_ref(namespace, &trigger.service, trigger))
}

fn service_ref(namespace: &str, service: &str, trigger: &KedifyHttp) -> ServiceRef {
    ServiceRef {
        namespace: namespace.into(),
        service: service.into(),
        port: trigger.port.clone(),
    }
}
