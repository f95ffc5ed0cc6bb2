//! Rollouts, kills and outages under constant load and with requests held: what clients notice.
//!
//! Shared by several stories: [`traffic`] is the load and the held requests; [`rollout`], [`kill`] and [`broken_app`] are
//! the faults.

mod api_server_away;
mod app_crashes;
mod app_never_ready;
mod app_without_image;
mod autowire_fallback;
mod broken_app;
mod containerd_restarted;
mod kill;
mod kill_of_an_app_pod;
mod kill_of_keda;
mod kill_of_one_interceptor;
mod kill_of_the_interceptor;
mod kill_of_the_scaler;
mod rollout;
mod rollout_of_keda;
mod rollout_of_the_app;
mod rollout_of_the_interceptor;
mod rollout_of_the_scaler;
mod traffic;

use keda_http_e2e::story::Story;

const CHAPTER: &str = "Rollouts and faults";

pub const STORIES: &[Story] = &[
    rollout_of_the_app::STORY,
    rollout_of_the_interceptor::STORY,
    rollout_of_the_scaler::STORY,
    rollout_of_keda::STORY,
    kill_of_an_app_pod::STORY,
    kill_of_the_interceptor::STORY,
    kill_of_one_interceptor::STORY,
    kill_of_the_scaler::STORY,
    kill_of_keda::STORY,
    api_server_away::STORY,
    containerd_restarted::STORY,
    autowire_fallback::STORY,
    app_crashes::STORY,
    app_never_ready::STORY,
    app_without_image::STORY,
];
