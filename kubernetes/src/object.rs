//! One object of any kind we read, and its identity.

use std::borrow::Cow;
use std::fmt;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use keda_http_core::target::TargetKey;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::fields::FieldError;
use crate::resources::{HttpScaledObject, InterceptorRoute, ScaledObject};
use crate::type_errors::in_plain_words;
use crate::unknown_fields::{Envelope, HTTP_SCALED_OBJECT, INTERCEPTOR_ROUTE, unknown_fields, unknown_fields_of};

/// The table of kinds: what a new kind needs to be read. Each row names the kind, its Rust type, its API version, its name
/// in manifests, the function that reads it, and the type whose fields a manifest may have.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident($object:ty): $api_version:literal $name:literal, $read:expr, $strict:ty;)+) => {
        /// The kinds that are read; every other kind in a manifest is ignored.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Kind {
            $($(#[$doc])* $kind,)+
        }

        impl Kind {
            /// All of them.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$kind),+];

            /// The kind as manifests write it.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)+
                }
            }

            /// The API version that is read.
            pub fn api_version(self) -> &'static str {
                match self {
                    $(Self::$kind => $api_version,)+
                }
            }
        }

        /// An object.
        #[derive(Debug, Clone)]
        pub enum Object {
            $($(#[$doc])* $kind(Box<$object>),)+
        }

        impl Object {
            /// Its kind.
            pub fn kind(&self) -> Kind {
                match self {
                    $(Self::$kind(_) => Kind::$kind,)+
                }
            }

            /// Its metadata.
            pub fn metadata(&self) -> &ObjectMeta {
                match self {
                    $(Self::$kind(object) => &object.metadata,)+
                }
            }
        }

        /// The fields of a manifest that its kind does not have.
        fn unknown(kind: Kind, document: &Value) -> Vec<FieldError> {
            match kind {
                $(Kind::$kind => unknown_fields_of::<$strict>(document),)+
            }
        }

        fn typed<'de>(kind: Kind, document: impl Document<'de>) -> Result<Object, String> {
            Ok(match kind {
                $(Kind::$kind => Object::$kind($read(document)?),)+
            })
        }
    };
}

kinds! {
    /// A route of upstream's current kind.
    InterceptorRoute(InterceptorRoute): "http.keda.sh/v1beta1" "InterceptorRoute", interceptor_route, Envelope;
    /// A route of upstream's former kind.
    HttpScaledObject(HttpScaledObject): "http.keda.sh/v1alpha1" "HTTPScaledObject", http_scaled_object, Envelope;
    /// KEDA's object; one with `kedify-http` triggers makes routes.
    ScaledObject(ScaledObject): "keda.sh/v1alpha1" "ScaledObject", scaled_object, Envelope;
    /// A Service.
    Service(Service): "v1" "Service", service, Service;
    /// Endpoints of a Service.
    EndpointSlice(EndpointSlice): "discovery.k8s.io/v1" "EndpointSlice", endpoint_slice, EndpointSlice;
    /// Response bodies, and the records of the scaler for the interceptors.
    ConfigMap(ConfigMap): "v1" "ConfigMap", slim, ConfigMap;
    /// A workload; only `local` runs them.
    Deployment(Deployment): "apps/v1" "Deployment", slim, Deployment;
}

impl Kind {
    /// Whether it is Kubernetes' own. A newer cluster's objects of such a kind may have fields that are not known here.
    fn is_of_kubernetes(self) -> bool {
        matches!(
            self,
            Self::Service | Self::EndpointSlice | Self::ConfigMap | Self::Deployment
        )
    }

    /// The kind of a manifest; `None` for a kind that is ignored. A known kind in another version is an error,
    /// because ignoring it would look as if the object were in force.
    fn from_manifest(api_version: &str, name: &str) -> Result<Option<Self>, String> {
        let Some(kind) = Self::ALL
            .into_iter()
            .find(|kind| kind.name() == name && group(kind.api_version()) == group(api_version))
        else {
            return Ok(None);
        };
        if kind.api_version() == api_version {
            return Ok(Some(kind));
        }
        Err(format!(
            "apiVersion: {api_version:?} of {name} is not supported; allowed: {}",
            kind.api_version()
        ))
    }
}

/// The group of an API version; empty for the core group.
fn group(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; `default` where a manifest names none.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl ObjectId {
    /// The object of this kind, namespace and name.
    pub fn new(kind: Kind, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            kind,
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

/// An object whose kind is known.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NamespacedName {
    /// `default` where a manifest names none.
    pub namespace: String,
    /// The object's name.
    pub name: String,
}

impl From<&ObjectMeta> for NamespacedName {
    fn from(metadata: &ObjectMeta) -> Self {
        Self {
            namespace: namespace_of(metadata).into(),
            name: metadata.name.clone().unwrap_or_default(),
        }
    }
}

impl From<&ObjectId> for NamespacedName {
    fn from(id: &ObjectId) -> Self {
        Self {
            namespace: id.namespace.clone(),
            name: id.name.clone(),
        }
    }
}

impl fmt::Display for NamespacedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// A document that is not a manifest, or whose fields do not fit its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ObjectError(pub String);

/// An object of a manifest.
#[derive(Debug)]
pub(crate) struct Manifest {
    pub(crate) object: Object,
    /// The fields that are passed over, because its kind does not have them as far as is known here.
    pub(crate) passed_over: Vec<FieldError>,
}

impl Manifest {
    /// As [`Object::parse`].
    pub(crate) fn parse(document: &Value) -> Result<Option<Self>, ObjectError> {
        parse(document)
    }

    /// As [`Object::parse`], from JSON text, without a tree in between.
    pub(crate) fn parse_json(text: &str) -> Result<Option<Self>, ObjectError> {
        parse(JsonText(text))
    }
}

impl Object {
    /// Which object it is.
    pub fn id(&self) -> ObjectId {
        let NamespacedName { namespace, name } = self.metadata().into();
        ObjectId::new(self.kind(), namespace, name)
    }

    /// One document; `None` when its kind is ignored.
    ///
    /// # Errors
    /// When it is not a manifest, or its fields do not fit its kind; names the field and what is allowed.
    pub fn parse(document: &Value) -> Result<Option<Self>, ObjectError> {
        Ok(parse(document)?.map(|manifest| manifest.object))
    }

    /// An object of a known kind from JSON text that need not say what it is, as in the API server's lists.
    ///
    /// # Errors
    /// When its fields do not fit its kind; names the field and what is allowed.
    pub(crate) fn parse_kind(kind: Kind, text: &str) -> Result<Self, ObjectError> {
        typed(kind, JsonText(text)).map_err(ObjectError)
    }
}

/// The key of an object that makes one route.
pub(crate) fn target_key(metadata: &ObjectMeta) -> TargetKey {
    TargetKey::object(namespace_of(metadata), metadata.name.as_deref().unwrap_or_default())
}

/// The namespace of an object; `default` where a manifest names none.
pub(crate) fn namespace_of(metadata: &ObjectMeta) -> &str {
    metadata
        .namespace
        .as_deref()
        .filter(|namespace| !namespace.is_empty())
        .unwrap_or("default")
}

/// A document in a form that can be read more than once.
trait Document<'de>: Copy {
    fn read<T: Deserialize<'de>>(self) -> Result<T, String>;
}

#[derive(Clone, Copy)]
struct JsonText<'de>(&'de str);

impl<'de> Document<'de> for JsonText<'de> {
    fn read<T: Deserialize<'de>>(self) -> Result<T, String> {
        let deserializer = &mut serde_json::Deserializer::from_str(self.0);
        serde_path_to_error::deserialize(deserializer).map_err(located)
    }
}

impl<'de> Document<'de> for &'de Value {
    fn read<T: Deserialize<'de>>(self) -> Result<T, String> {
        serde_path_to_error::deserialize(self).map_err(located)
    }
}

/// With the field's path, without a position, which would count from the document's beginning and not the file's.
fn located(error: serde_path_to_error::Error<serde_json::Error>) -> String {
    let path = error.path().to_string();
    let error = error.into_inner();
    let text = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    let reason = text.strip_suffix(&position).unwrap_or(&text);
    if path == "." {
        return in_plain_words(reason).into_owned();
    }
    // A flattened field names itself; see `PortSelector`.
    match reason.strip_prefix('.').and_then(|reason| reason.split_once(": ")) {
        Some((field, reason)) => format!("{path}.{field}: {}", in_plain_words(reason)),
        None => format!("{path}: {}", in_plain_words(reason)),
    }
}

/// The part of a manifest that decides the type of the rest.
#[derive(Deserialize)]
#[serde(expecting = "a map with apiVersion and kind")]
struct Head<'a> {
    #[serde(borrow, rename = "apiVersion")]
    api_version: Option<Cow<'a, str>>,
    #[serde(borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(default)]
    metadata: HeadMetadata,
}

/// Any value: a name that is not a string is reported by the object's own type.
#[derive(Deserialize, Default)]
struct HeadMetadata {
    #[serde(default)]
    name: Value,
}

fn parse<'de>(document: impl Document<'de>) -> Result<Option<Manifest>, ObjectError> {
    let head: Head<'de> = document
        .read()
        .map_err(|reason| ObjectError(format!("is not a manifest: {reason}")))?;
    let (Some(api_version), Some(kind)) = (&head.api_version, &head.kind) else {
        return Err(ObjectError(
            "is not a manifest: it needs an apiVersion and a kind".into(),
        ));
    };
    let Some(kind) = Kind::from_manifest(api_version, kind).map_err(ObjectError)? else {
        return Ok(None);
    };
    if head.metadata.name == Value::Null || head.metadata.name == "" {
        return Err(ObjectError(format!("{kind}: metadata.name is missing")));
    }
    let unknown = unknown(kind, &document.read().map_err(ObjectError)?);
    match typed(kind, document) {
        Ok(object) if unknown.is_empty() || kind.is_of_kubernetes() => Ok(Some(Manifest {
            object,
            passed_over: unknown,
        })),
        result => {
            let reason = joined(result.err(), &unknown);
            Err(ObjectError(format!("{kind} {}: {reason}", head.metadata.name)))
        }
    }
}

/// Unknown fields are often why the others do not fit, so they are named too.
fn joined(reason: Option<String>, unknown: &[FieldError]) -> String {
    let unknown = unknown.iter().map(ToString::to_string);
    reason.into_iter().chain(unknown).collect::<Vec<_>>().join("; ")
}

fn interceptor_route<'de>(document: impl Document<'de>) -> Result<Box<InterceptorRoute>, String> {
    let (mut route, unknown): (Box<InterceptorRoute>, _) = checked(&INTERCEPTOR_ROUTE, document)?;
    route.spec.unknown_fields = unknown;
    Ok(route)
}

fn http_scaled_object<'de>(document: impl Document<'de>) -> Result<Box<HttpScaledObject>, String> {
    let (mut http, unknown): (Box<HttpScaledObject>, _) = checked(&HTTP_SCALED_OBJECT, document)?;
    http.spec.unknown_fields = unknown;
    Ok(http)
}

/// With the fields that its kind does not have.
fn checked<'de, T>(schema: &Value, document: impl Document<'de>) -> Result<(Box<T>, Vec<FieldError>), String>
where
    T: DeserializeOwned + kube::Resource,
{
    let document = document.read::<Value>()?;
    let unknown = unknown_fields(schema, &document);
    match slim(&without_nulls(document)) {
        Ok(object) => Ok((object, unknown)),
        Err(reason) => Err(joined(Some(reason), &unknown)),
    }
}

fn scaled_object<'de>(document: impl Document<'de>) -> Result<Box<ScaledObject>, String> {
    slim(&without_nulls(document.read()?))
}

/// Without the fields that have no value, as an API server stores objects of custom kinds.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
            fields.map(|(name, value)| (name, without_nulls(value))).collect()
        }
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        value => value,
    }
}

/// A list that grew while it was read has room for four elements, and most Services and slices have one: without that
/// room tens of thousands of them take half as much memory until they are indexed.
fn service<'de>(document: impl Document<'de>) -> Result<Box<Service>, String> {
    let mut service: Box<Service> = slim(document)?;
    if let Some(ports) = service.spec.as_mut().and_then(|spec| spec.ports.as_mut()) {
        ports.shrink_to_fit();
    }
    Ok(service)
}

fn endpoint_slice<'de>(document: impl Document<'de>) -> Result<Box<EndpointSlice>, String> {
    let mut slice: Box<EndpointSlice> = slim(document)?;
    slice.endpoints.shrink_to_fit();
    if let Some(ports) = &mut slice.ports {
        ports.shrink_to_fit();
    }
    Ok(slice)
}

/// Without the metadata of other programs, which is often larger than the object.
fn slim<'de, T: DeserializeOwned + kube::Resource>(document: impl Document<'de>) -> Result<Box<T>, String> {
    let mut object: Box<T> = Box::new(document.read()?);
    let metadata = object.meta_mut();
    metadata.managed_fields = None;
    if let Some(annotations) = &mut metadata.annotations {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
    Ok(object)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_of_a_custom_kind_without_a_value_counts_as_absent() {
        let http = json!({
            "apiVersion": "http.keda.sh/v1alpha1", "kind": "HTTPScaledObject", "metadata": {"name": "a"},
            "spec": {
                "hosts": ["a.test"], "pathPrefixes": null, "headers": null, "replicas": {"min": null},
                "scaleTargetRef": {"service": "a", "port": 80, "portName": null},
                "scalingMetric": {"requestRate": {"window": null}},
            },
        });
        let Some(Object::HttpScaledObject(http)) = Object::parse(&http).unwrap() else {
            unreachable!()
        };
        let rate = http.spec.scaling_metric.unwrap().request_rate.unwrap();
        assert_eq!((http.spec.headers.len(), rate.window.as_str()), (0, "1m"));

        let route = json!({
            "apiVersion": "http.keda.sh/v1beta1", "kind": "InterceptorRoute", "metadata": {"name": "a"},
            "spec": {
                "target": {"service": "a", "port": 80}, "scalingMetric": {"concurrency": {"targetValue": 1}},
                "rules": [{"hosts": ["a.test"], "paths": null, "host": null}], "staticRoutes": null,
            },
        });
        let Some(Object::InterceptorRoute(route)) = Object::parse(&route).unwrap() else {
            unreachable!()
        };
        assert_eq!(route.spec.rules[0].hosts, ["a.test"]);
        assert_eq!(route.spec.unknown_fields[0].field, "spec.rules[0].host", "still named");

        let scaled = json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "a"},
            "spec": {
                "scaleTargetRef": {"name": "a"},
                "triggers": [{"type": "kedify-http", "metadata": {"hosts": "a.test", "window": null}}],
            },
        });
        let Some(Object::ScaledObject(scaled)) = Object::parse(&scaled).unwrap() else {
            unreachable!()
        };
        assert_eq!(scaled.spec.triggers[0].metadata.keys().collect::<Vec<_>>(), ["hosts"]);
    }
}
