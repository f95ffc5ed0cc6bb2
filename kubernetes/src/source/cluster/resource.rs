//! Kinds as the API server serves them, and objects before they are parsed.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{ApiResource, DynamicResourceScope};
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

use crate::object::{Kind, Object, ObjectError, ObjectId};

/// Where the API server serves a kind.
pub fn api_resource(kind: Kind) -> ApiResource {
    let api_version = kind.api_version();
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: api_version.to_owned(),
        kind: kind.name().to_owned(),
        plural: format!("{}s", kind.name().to_ascii_lowercase()),
    }
}

/// An object of which only the metadata is read so far: one that cannot be parsed must not cost the others of its list.
#[derive(Debug, Clone)]
pub struct Unparsed {
    metadata: ObjectMeta,
    document: Value,
}

impl Unparsed {
    /// Which object it is.
    pub fn id(&self, kind: Kind) -> ObjectId {
        ObjectId {
            kind,
            namespace: self.metadata.namespace.clone().unwrap_or_default(),
            name: self.metadata.name.clone().unwrap_or_default(),
        }
    }

    /// The object. Items of a list do not say what they are; `kind` does.
    pub fn parse(mut self, kind: Kind) -> Result<Object, ObjectError> {
        if let Some(fields) = self.document.as_object_mut() {
            fields.insert("apiVersion".to_owned(), kind.api_version().into());
            fields.insert("kind".to_owned(), kind.name().into());
        }
        Object::parse(&self.document)?.ok_or_else(|| ObjectError(format!("is no {kind}")))
    }
}

impl<'de> Deserialize<'de> for Unparsed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut document = Value::deserialize(deserializer)?;
        let metadata = document.get_mut("metadata");
        let metadata = metadata.ok_or_else(|| de::Error::missing_field("metadata"))?;
        // The bookkeeping of other programs is often larger than the object.
        if let Some(fields) = metadata.as_object_mut() {
            fields.remove("managedFields");
        }
        Ok(Self {
            metadata: ObjectMeta::deserialize(&*metadata).map_err(de::Error::custom)?,
            document,
        })
    }
}

impl kube::Resource for Unparsed {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(resource: &ApiResource) -> Cow<'_, str> {
        resource.kind.as_str().into()
    }

    fn group(resource: &ApiResource) -> Cow<'_, str> {
        resource.group.as_str().into()
    }

    fn version(resource: &ApiResource) -> Cow<'_, str> {
        resource.version.as_str().into()
    }

    fn api_version(resource: &ApiResource) -> Cow<'_, str> {
        resource.api_version.as_str().into()
    }

    fn plural(resource: &ApiResource) -> Cow<'_, str> {
        resource.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
