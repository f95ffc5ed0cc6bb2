//! The key of a target in the interceptor, the scaler and `/queue`.

use std::fmt;
use std::sync::Arc;

/// `namespace/name` of the object that made a route, or `namespace/scaledobject:trigger` for one of several
/// `kedify-http` triggers of a ScaledObject (`:` cannot occur in Kubernetes names).
///
/// Cheap to clone: the text is shared.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetKey(Arc<str>);

impl TargetKey {
    /// The key of an object with one route.
    pub fn object(namespace: &str, name: &str) -> Self {
        Self(format!("{namespace}/{name}").into())
    }

    /// The key of one of several triggers of a ScaledObject.
    pub fn trigger(namespace: &str, scaled_object: &str, trigger: &str) -> Self {
        Self(format!("{namespace}/{scaled_object}:{trigger}").into())
    }

    /// The whole key, as in `/queue` and in reports.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The namespace of the object.
    pub fn namespace(&self) -> &str {
        self.0.split_once('/').map_or("", |(namespace, _)| namespace)
    }

    /// Everything behind the namespace: the object's name, and `:trigger` where there are several.
    pub fn name(&self) -> &str {
        self.0.split_once('/').map_or(&self.0, |(_, name)| name)
    }
}

impl From<&str> for TargetKey {
    /// Takes the key of a report unchecked, since other versions of the interceptor may have other forms.
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for TargetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TargetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl std::borrow::Borrow<str> for TargetKey {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl serde::Serialize for TargetKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_apart_again() {
        let key = TargetKey::trigger("shop", "api", "read");
        assert_eq!(key.as_str(), "shop/api:read");
        assert_eq!((key.namespace(), key.name()), ("shop", "api:read"));
        assert_eq!(TargetKey::from("shop/api"), TargetKey::object("shop", "api"));
    }
}
