//! What KEDA itself does with our scaler: the autoscaler, fallback replicas, changed targets, several triggers, pauses.

mod autoscaler;
mod changed_target;
mod fallback_replicas;
mod interceptor_scaled;
mod no_scaler;
mod pause;
mod several_triggers;
mod three_scalers;

use keda_http_e2e::story::Story;

const CHAPTER: &str = "KEDA's own";

pub const STORIES: &[Story] = &[
    autoscaler::STORY,
    changed_target::STORY,
    several_triggers::STORY,
    pause::STORY,
    fallback_replicas::STORY,
    no_scaler::STORY,
    three_scalers::STORY,
    interceptor_scaled::STORY,
];
