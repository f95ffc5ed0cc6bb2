//! Responses of the API server: pages of lists, and lines of watches. The identity of an object is parsed separately, so
//! that an invalid object does not affect the others.

use std::borrow::Cow;

use kube::core::Status;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::object::{Kind, Object, ObjectError, ObjectId};

#[derive(Deserialize)]
pub struct Page<'a> {
    metadata: PageMetadata,
    #[serde(borrow)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageMetadata {
    resource_version: String,
    #[serde(rename = "continue")]
    continue_token: Option<String>,
}

impl<'a> Page<'a> {
    pub fn parse(text: &'a str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    pub fn items(&self, kind: Kind) -> impl Iterator<Item = Result<Item, serde_json::Error>> {
        self.items.iter().flatten().map(move |text| Item::parse(kind, text))
    }

    /// The token of the next page; `None` on the last one.
    pub fn continue_token(&self) -> Option<String> {
        self.metadata.continue_token.clone().filter(|token| !token.is_empty())
    }

    pub fn version(&self) -> &str {
        &self.metadata.resource_version
    }
}

#[derive(Debug)]
pub struct Item {
    pub id: ObjectId,
    /// Its resource version, an opaque string.
    pub version: String,
    /// The object; an error when it cannot be used.
    pub object: Result<Box<Object>, ObjectError>,
}

#[derive(Deserialize)]
struct Head {
    metadata: Metadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    name: String,
    #[serde(default)]
    namespace: String,
    resource_version: String,
}

impl Metadata {
    fn parse(text: &RawValue) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text.get()).map(|head: Head| head.metadata)
    }

    fn id(&self, kind: Kind) -> ObjectId {
        ObjectId::new(kind, &self.namespace, &self.name)
    }
}

impl Item {
    fn parse(kind: Kind, text: &RawValue) -> Result<Self, serde_json::Error> {
        let metadata = Metadata::parse(text)?;
        Ok(Self {
            id: metadata.id(kind),
            version: metadata.resource_version,
            object: Object::parse_kind(kind, text.get()).map(Box::new),
        })
    }
}

#[derive(Debug)]
pub enum Event {
    Present(Item),
    /// An object was deleted, as of this version.
    Deleted(ObjectId, String),
    /// All changes up to this version have been sent.
    Bookmark(String),
    Error(Box<Status>),
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow, rename = "type")]
    what: Cow<'a, str>,
    #[serde(borrow)]
    object: &'a RawValue,
}

impl Event {
    pub fn parse(kind: Kind, line: &str) -> Result<Self, serde_json::Error> {
        let Line { what, object } = serde_json::from_str(line)?;
        Ok(match &*what {
            "DELETED" => {
                let metadata = Metadata::parse(object)?;
                Self::Deleted(metadata.id(kind), metadata.resource_version)
            }
            "BOOKMARK" => Self::Bookmark(Metadata::parse(object)?.resource_version),
            "ERROR" => Self::Error(serde_json::from_str(object.get())?),
            // ADDED and MODIFIED; an event type of the future cannot mean that the object was deleted.
            _ => Self::Present(Item::parse(kind, object)?),
        })
    }
}
