//! What upstream's own end-to-end tests show, with its kinds and its trigger.

mod cold_start;
mod cold_start_fallback;
mod default_timeouts;
mod graceful_shutdown;
mod grpc;
mod http_scaled_object;
mod metrics;
mod otel_metrics;
mod placeholder;
mod refused_routes;
mod route_changes;
mod routing;
mod scaling_by_concurrency;
mod scaling_by_rate;
mod static_route;
mod timeouts;
mod websocket;

use keda_http_e2e::story::Story;

const CHAPTER: &str = "The Go add-on's stories";

pub const STORIES: &[Story] = &[
    cold_start::STORY,
    cold_start_fallback::STORY,
    placeholder::STORY,
    routing::STORY,
    route_changes::STORY,
    static_route::STORY,
    timeouts::STORY,
    default_timeouts::STORY,
    websocket::STORY,
    grpc::STORY,
    scaling_by_rate::STORY,
    scaling_by_concurrency::STORY,
    metrics::STORY,
    otel_metrics::STORY,
    refused_routes::STORY,
    http_scaled_object::STORY,
    graceful_shutdown::STORY,
];
