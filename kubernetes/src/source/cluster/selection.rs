//! Which objects a watch is about, and where the API server serves them.

use std::borrow::Cow;

use kube::api::{DynamicObject, ListParams, WatchParams};
use kube::core::{ApiResource, Request, Resource};

use crate::object::Kind;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    pub kind: Kind,
    /// `None`: all namespaces.
    pub namespace: Option<String>,
    /// Only the object of this name.
    pub name: Option<String>,
    /// Only objects with this label.
    pub label: Option<Cow<'static, str>>,
}

impl Selection {
    pub fn all(kind: Kind, namespace: Option<String>) -> Self {
        Self {
            kind,
            namespace,
            name: None,
            label: None,
        }
    }

    pub fn path(&self) -> String {
        DynamicObject::url_path(&api_resource(self.kind), self.namespace.as_deref())
    }

    pub fn list(&self, page: u32, continue_token: Option<String>) -> Result<http::Request<Vec<u8>>, kube::Error> {
        let parameters = ListParams {
            label_selector: self.label.as_deref().map(str::to_owned),
            field_selector: self.fields(),
            limit: Some(page),
            continue_token,
            ..ListParams::default()
        };
        Request::new(self.path())
            .list(&parameters)
            .map_err(kube::Error::BuildRequest)
    }

    /// Asks for the changes after a version, for this many seconds.
    pub fn watch(&self, version: &str, seconds: u32) -> Result<http::Request<Vec<u8>>, kube::Error> {
        let parameters = WatchParams {
            label_selector: self.label.as_deref().map(str::to_owned),
            field_selector: self.fields(),
            timeout: Some(seconds),
            ..WatchParams::default()
        };
        let request = Request::new(self.path()).watch(&parameters, version);
        request.map_err(kube::Error::BuildRequest)
    }

    fn fields(&self) -> Option<String> {
        self.name.as_ref().map(|name| format!("metadata.name={name}"))
    }
}

fn api_resource(kind: Kind) -> ApiResource {
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
