//! EndpointSlices that autowire writes: how to recognise them, and what their annotations mean.
//!
//! They contain the whole state of autowire, so that the next leader can continue, also after a crash.

use k8s_openapi::api::discovery::v1::EndpointSlice;

/// The label with the controller that writes a slice.
pub const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// Its value in ours.
pub const MANAGER: &str = "keda-http-autowire.keda.sh";
/// Selects ours.
pub const SELECTOR: &str = "endpointslice.kubernetes.io/managed-by=keda-http-autowire.keda.sh";

/// The annotation with the target of a slice: one of [`WIRED`], [`FALLBACK`] and [`RELEASED`].
pub const STATE: &str = "http.keda.sh/autowire-state";
/// To the interceptors.
pub const WIRED: &str = "wired";
/// To the pods of the fallback Service: the data path is not healthy, or the port is not autowired.
pub const FALLBACK: &str = "fallback";
/// To the pods of the fallback Service, because no object asks for autowire any more.
pub const RELEASED: &str = "released";
/// The annotation with the name of the object with `trafficAutowire`.
pub const SCALED_OBJECT: &str = "http.keda.sh/autowire-scaled-object";
/// The annotation with the name of the Service that has the pods.
pub const FALLBACK_SERVICE: &str = "http.keda.sh/autowire-fallback-service";
/// The annotation with the port of the interceptors that the slice points to.
pub const LISTENER_PORT: &str = "http.keda.sh/autowire-listener-port";

/// Whether autowire has written the slice.
pub fn is_ours(slice: &EndpointSlice) -> bool {
    let labels = slice.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(MANAGED_BY)).map(String::as_str) == Some(MANAGER)
}

/// The value of an annotation.
pub fn annotation<'a>(slice: &'a EndpointSlice, key: &str) -> Option<&'a str> {
    slice.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

/// Whether the slice points to interceptors, which must never send requests to each other.
pub(crate) fn points_to_interceptors(slice: &EndpointSlice) -> bool {
    is_ours(slice) && annotation(slice, STATE) == Some(WIRED)
}
