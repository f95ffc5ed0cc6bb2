//! `StaticResponse` of upstream's routes.

use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use keda_http_core::route::reply::{self, StaticBody};

use crate::checked_fields::Fields;
use crate::resources::{BodyFromConfigMap, StaticResponse};

/// The longest inline body, in characters; upstream's limit.
const MAX_BODY: usize = 32_768;

/// What is about the connection or the body's length is the interceptor's to say.
const FRAMING: [&str; 9] = [
    "connection",
    "content-length",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The response at `at`; its status is `default` where none is given.
pub(super) fn static_response(
    at: &str,
    given: &StaticResponse,
    default: StatusCode,
    fields: &mut Fields,
) -> Option<reply::StaticResponse> {
    let status = match given.status_code {
        Some(code) => fields.accept(format_args!("{at}.statusCode"), status(code)),
        None => Some(default),
    };
    let headers = headers(at, given, fields);
    let body = body(at, given, fields);
    Some(reply::StaticResponse {
        status: status?,
        headers,
        body: body?,
    })
}

fn status(code: i32) -> Result<StatusCode, String> {
    let status = u16::try_from(code)
        .ok()
        .and_then(|code| StatusCode::from_u16(code).ok())
        .filter(|status| status.as_u16() < 600);
    match status {
        Some(status) if status.is_informational() => Err(format!(
            "{code} is informational and cannot be the response; allowed: 200 to 599"
        )),
        Some(status) => Ok(status),
        None => Err(format!("{code} is not a valid status; allowed: 200 to 599")),
    }
}

fn headers(at: &str, given: &StaticResponse, fields: &mut Fields) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in &given.headers {
        if FRAMING.iter().any(|framing| name.eq_ignore_ascii_case(framing)) {
            let warning = format!("{name} is ignored; a response cannot set headers about the connection");
            fields.warn(format_args!("{at}.headers"), warning);
            continue;
        }
        match (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
            (Ok(name), Ok(value)) => {
                headers.insert(name, value);
            }
            (Err(_), _) => fields.refuse(
                format_args!("{at}.headers"),
                format_args!("{name:?} is not a valid header name; allowed: letters, digits and -"),
            ),
            (_, Err(_)) => fields.refuse(
                format_args!("{at}.headers.{name}"),
                format_args!("{value:?} is not a valid header value; it must be one line"),
            ),
        }
    }
    if headers.get(header::CONTENT_TYPE).is_some_and(HeaderValue::is_empty) {
        headers.remove(header::CONTENT_TYPE);
    }
    headers
}

fn body(at: &str, given: &StaticResponse, fields: &mut Fields) -> Option<StaticBody> {
    match (&given.body, &given.body_from_config_map) {
        (Some(_), Some(_)) => {
            fields.refuse(
                format_args!("{at}"),
                "body and bodyFromConfigMap exclude each other; give one of them",
            );
            None
        }
        (Some(body), None) => {
            let length = body.chars().count();
            if length > MAX_BODY {
                let reason = format!("has {length} characters; allowed: {MAX_BODY} (or bodyFromConfigMap)");
                fields.refuse(format_args!("{at}.body"), reason);
            }
            Some(StaticBody::Inline(body.clone()))
        }
        (None, Some(from)) => config_map(at, from, fields),
        (None, None) => Some(StaticBody::Inline(String::new())),
    }
}

fn config_map(at: &str, from: &BodyFromConfigMap, fields: &mut Fields) -> Option<StaticBody> {
    if from.name.is_empty() {
        fields.refuse(
            format_args!("{at}.bodyFromConfigMap.name"),
            "is empty; it must name a ConfigMap of the same namespace",
        );
        return None;
    }
    Some(StaticBody::ConfigMap {
        name: from.name.clone(),
        key: from.key.clone().filter(|key| !key.is_empty()),
    })
}
