//! What the API server answers: pages of lists, and lines of watches. Of an object no more is read here than which one it
//! is, so that one that cannot be parsed does not cost the others.

use std::borrow::Cow;

use kube::core::Status;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::object::{Kind, Object, ObjectError, ObjectId};

/// A page of a list.
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
    /// From the text of the answer.
    pub fn parse(text: &'a str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// The objects of the page.
    pub fn items(&self, kind: Kind) -> impl Iterator<Item = Result<Item, serde_json::Error>> {
        self.items.iter().flatten().map(move |text| Item::parse(kind, text))
    }

    /// What to ask for the next page with; `None` for the last one.
    pub fn continue_token(&self) -> Option<String> {
        self.metadata.continue_token.clone().filter(|token| !token.is_empty())
    }

    /// The version that the list is of.
    pub fn version(&self) -> &str {
        &self.metadata.resource_version
    }
}

/// An object as the API server has it.
#[derive(Debug)]
pub struct Item {
    /// Which one.
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
    name: String,
    #[serde(default)]
    namespace: String,
    resource_version: String,
}

impl Metadata {
    fn of(text: &RawValue) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text.get()).map(|head: Head| head.metadata)
    }

    fn id(&self, kind: Kind) -> ObjectId {
        ObjectId {
            kind,
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        }
    }
}

impl Item {
    fn parse(kind: Kind, text: &RawValue) -> Result<Self, serde_json::Error> {
        let metadata = Metadata::of(text)?;
        Ok(Self {
            id: metadata.id(kind),
            version: metadata.resource_version,
            object: Object::parse_kind(kind, text.get()).map(Box::new),
        })
    }
}

/// A line of a watch.
#[derive(Debug)]
pub enum Event {
    /// An object is new or has changed.
    Present(Item),
    /// An object was deleted, as of this version.
    Deleted(ObjectId, String),
    /// Everything up to this version has been sent.
    Bookmark(String),
    /// The watch has failed.
    Error(Box<Status>),
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow, rename = "type")]
    what: Cow<'a, str>,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
struct BookmarkHead {
    metadata: BookmarkMetadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BookmarkMetadata {
    resource_version: String,
}

impl Event {
    /// From a line.
    pub fn parse(kind: Kind, line: &str) -> Result<Self, serde_json::Error> {
        let Line { what, object } = serde_json::from_str(line)?;
        Ok(match &*what {
            "DELETED" => {
                let metadata = Metadata::of(object)?;
                Self::Deleted(metadata.id(kind), metadata.resource_version)
            }
            "BOOKMARK" => {
                let head: BookmarkHead = serde_json::from_str(object.get())?;
                Self::Bookmark(head.metadata.resource_version)
            }
            "ERROR" => Self::Error(serde_json::from_str(object.get())?),
            // ADDED and MODIFIED; an event type of the future cannot mean that the object was deleted.
            _ => Self::Present(Item::parse(kind, object)?),
        })
    }
}
