//! Responses that need no upstream, made ready when their route is bound.

mod bodies;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use keda_http_core::route::reply::{StaticBody, StaticResponse, key_of_path, media_type};
use keda_http_kubernetes::response_bodies::ConfigMapKey;

use crate::proxy::error::ProxyError;
use crate::proxy::response_body::ResponseBody;
use bodies::Published;
pub(crate) use bodies::PublishedBodies;

/// A response of our own.
pub(crate) struct BoundResponse {
    status: StatusCode,
    headers: HeaderMap,
    body: BoundBody,
}

enum BoundBody {
    Inline(Bytes),
    ConfigMap {
        published: Arc<Published>,
        /// `None`: the request's path says it.
        key: Option<Box<str>>,
    },
}

impl BoundResponse {
    /// The response of a route in `namespace`, whose ConfigMaps are in `bodies`.
    pub(crate) fn new(response: &StaticResponse, namespace: &str, bodies: &PublishedBodies) -> Self {
        let mut headers = response.headers.clone();
        let body = match &response.body {
            StaticBody::Inline(text) if has_body(response.status) => {
                if !text.is_empty() {
                    set_type(&mut headers, media_type::of_content(text.as_bytes()));
                }
                BoundBody::Inline(Bytes::copy_from_slice(text.as_bytes()))
            }
            StaticBody::Inline(_) => BoundBody::Inline(Bytes::new()),
            StaticBody::ConfigMap { name, key } => BoundBody::ConfigMap {
                published: bodies.published(&ConfigMapKey {
                    namespace: namespace.to_owned(),
                    name: name.clone(),
                }),
                key: key.as_deref().map(Into::into),
            },
        };
        Self {
            status: response.status,
            headers,
            body,
        }
    }

    /// The response to a request for `path`.
    ///
    /// # Errors
    /// When its ConfigMap, or the key that the route names, is missing. A key that a path leads to may be.
    pub(crate) fn respond(&self, path: &str) -> Result<Response<ResponseBody>, ProxyError> {
        let mut headers = self.headers.clone();
        let content = match &self.body {
            BoundBody::Inline(content) => content.clone(),
            BoundBody::ConfigMap { published, key } => {
                let bodies = published.load().ok_or(ProxyError::NoBody)?;
                let body = match key {
                    Some(key) => Some(bodies.get(key).ok_or(ProxyError::NoBody)?),
                    None => bodies.get(key_of_path(path).as_ref()),
                };
                let body = body.filter(|_| has_body(self.status));
                if let Some(body) = body {
                    set_type(&mut headers, body.media_type);
                }
                body.map_or_else(Bytes::new, |body| body.content.clone())
            }
        };
        let mut response = Response::new(ResponseBody::local(content));
        *response.status_mut() = self.status;
        *response.headers_mut() = headers;
        Ok(response)
    }
}

/// Whether responses with this status have a body at all (RFC 9110 section 15).
pub(crate) fn has_body(status: StatusCode) -> bool {
    !matches!(
        status,
        StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED
    )
}

fn set_type(headers: &mut HeaderMap, media_type: &'static str) {
    headers
        .entry(header::CONTENT_TYPE)
        .or_insert(HeaderValue::from_static(media_type));
}

#[cfg(test)]
mod tests;
