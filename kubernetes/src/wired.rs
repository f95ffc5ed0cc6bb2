//! EndpointSlices that autowire writes: how to recognise them, and what their annotations mean.
//!
//! All that autowire knows is written down in them, so that whoever comes next, after a crash too, can go on from there.

use k8s_openapi::api::discovery::v1::EndpointSlice;

/// The label that names who writes a slice.
pub const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// Its value in ours.
pub const MANAGER: &str = "keda-http-autowire.keda.sh";
/// Selects ours.
pub const SELECTOR: &str = "endpointslice.kubernetes.io/managed-by=keda-http-autowire.keda.sh";

/// The annotation that says where a slice leads: one of [`WIRED`], [`FALLBACK`] and [`RELEASED`].
pub const STATE: &str = "http.keda.sh/autowire-state";
/// To the interceptors.
pub const WIRED: &str = "wired";
/// To the pods of the fallback Service: the data path is not well, or the port is not one that is autowired.
pub const FALLBACK: &str = "fallback";
/// To the pods of the fallback Service, because no object asks for autowire any more.
pub const RELEASED: &str = "released";
/// The annotation with the name of the object that asked for it.
pub const SCALED_OBJECT: &str = "http.keda.sh/autowire-scaled-object";
/// The annotation with the name of the Service that has the pods.
pub const FALLBACK_SERVICE: &str = "http.keda.sh/autowire-fallback-service";
/// The annotation with the port of the interceptors that the slice leads to.
pub const LISTENER_PORT: &str = "http.keda.sh/autowire-listener-port";

/// Whether autowire has written the slice.
pub fn is_ours(slice: &EndpointSlice) -> bool {
    let labels = slice.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(MANAGED_BY)).map(String::as_str) == Some(MANAGER)
}

/// What an annotation of the slice says.
pub fn annotation<'a>(slice: &'a EndpointSlice, key: &str) -> Option<&'a str> {
    slice.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

/// Whether the slice leads to interceptors: never a place to which an interceptor may send requests.
pub(crate) fn leads_to_interceptors(slice: &EndpointSlice) -> bool {
    is_ours(slice) && annotation(slice, STATE) == Some(WIRED)
}
