//! Stories: end-to-end tests on a real cluster with stock KEDA, each showing one thing that users do. A table sums them up.
//!
//! # Layout
//!
//! - [`cluster`]: the cluster under test: addresses of Services, Deployments and their rollouts.
//! - [`space`]: the namespace of one story, with the apps, routes and ScaledObjects it needs.
//! - [`caller`]: requests, one or many at a constant rate, and what became of them.
//! - [`collected`]: metrics as an OpenTelemetry Collector writes them to its log.
//! - [`leftovers`]: what a run that was killed has left.
//! - [`node`]: what can be done to a one-node cluster of `make cluster` only: processes killed, stopped and restarted.
//! - [`picture`]: a trace as a picture.
//! - [`traces`]: traces as Jaeger and Zipkin give them back.
//! - [`runner`]: runs stories, those that disturb nobody side by side.
//! - [`snapshot`]: interceptor and scaler as they were before a story.
//! - [`summary`]: the table.
//! - [`under_way`]: what a run has changed that is not put back yet, for one that is interrupted.

pub mod caller;
pub mod cluster;
pub mod collected;
pub mod leftovers;
pub mod node;
pub mod picture;
pub mod runner;
pub mod snapshot;
pub mod space;
pub mod summary;
pub mod traces;
pub mod under_way;

use std::fmt;
use std::pin::Pin;

use anyhow::Result;

pub use space::Space;

/// A story that runs.
pub type RunningStory = Pin<Box<dyn Future<Output = Result<Findings>>>>;

/// What a user does, and what must happen then.
#[derive(Clone, Copy)]
pub struct Story {
    /// A heading of the table.
    pub chapter: &'static str,
    /// The name of its file, and the end of its namespace's name.
    pub name: &'static str,
    /// The sentence that the story proves.
    pub says: &'static str,
    /// Whether it changes what other stories depend on, so that it runs alone.
    pub alone: bool,
    /// Runs in a namespace of its own, which is deleted afterwards.
    pub run: fn(Space) -> RunningStory,
}

impl Story {
    /// Its namespace, as [`Space::create`] names it.
    pub fn namespace(&self) -> String {
        format!("story-{}", self.name.replace('_', "-"))
    }
}

/// The results of a story, in a few words for the table.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    /// The results, in the order in which the story found them.
    pub results: Vec<String>,
    /// How a fault affected clients, and why that cannot be avoided.
    pub client_effects: Vec<String>,
}

impl Findings {
    /// With one result.
    pub fn new(result: impl Into<String>) -> Self {
        Self::default().and(result)
    }

    /// Adds a result.
    #[must_use]
    pub fn and(mut self, result: impl Into<String>) -> Self {
        self.results.push(result.into());
        self
    }

    /// Adds an effect that clients could notice, and its reason.
    #[must_use]
    pub fn client_effect(mut self, effect: impl Into<String>) -> Self {
        self.client_effects.push(effect.into());
        self
    }
}

/// Why a story cannot run on this cluster. A story that ends with this error is skipped, not failed.
#[derive(Debug)]
pub struct Skipped(pub String);

impl fmt::Display for Skipped {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Skipped {}
