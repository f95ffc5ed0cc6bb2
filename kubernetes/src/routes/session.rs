//! `sessionPersistence` of InterceptorRoutes.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use keda_http_core::session::Session;

use crate::checked_fields::Fields;
use crate::object::target_key;
use crate::resources::{SessionPersistence, SessionPersistenceType};

/// The longest name of a cookie; upstream's limit.
const MAX_NAME: usize = 256;

/// The session of the object, when it has one.
pub(super) fn session(
    metadata: &ObjectMeta,
    given: Option<&SessionPersistence>,
    fields: &mut Fields,
) -> Option<Box<Session>> {
    const AT: &str = "spec.sessionPersistence";
    let given = given?;
    let SessionPersistenceType::Cookie = given.type_;
    let timeout = fields.duration(format_args!("{AT}.absoluteTimeout"), given.absolute_timeout.as_deref());
    if let (Some(timeout), Some(text)) = (timeout, &given.absolute_timeout)
        && timeout < Duration::from_secs(1)
    {
        let reason = format!("{text:?} is too short; allowed: 1s or longer");
        fields.refuse(format_args!("{AT}.absoluteTimeout"), reason);
    }
    let name = given.cookie.as_ref().and_then(|cookie| cookie.name.as_deref());
    let cookie = match name.filter(|name| !name.is_empty()) {
        Some(name) => fields.accept(format_args!("{AT}.cookie.name"), cookie_name(name))?,
        None => default_name(metadata),
    };
    Some(Box::new(Session {
        cookie,
        absolute_timeout: timeout,
    }))
}

/// A token, as RFC 6265 has it.
fn cookie_name(name: &str) -> Result<String, String> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.len() <= MAX_NAME && name.bytes().all(token) {
        Ok(name.into())
    } else {
        Err(format!(
            "{name:?} is not a valid cookie name; allowed: 1 to {MAX_NAME} letters, digits and !#$%&'*+-.^_`|~"
        ))
    }
}

/// Upstream's: of the object, so that routes of one host do not overwrite each other's sessions.
fn default_name(metadata: &ObjectMeta) -> String {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, target_key(metadata).as_str().as_bytes());
    let hex: String = hash.as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("keda-session-{hex}")
}
