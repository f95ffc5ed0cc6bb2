//! Stories: what users do on a real cluster with stock KEDA, told one after the other and then summed up in a table.
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

/// A running story.
pub type Telling = Pin<Box<dyn Future<Output = Result<Told>>>>;

/// What a user does, and what must be seen then.
#[derive(Clone, Copy)]
pub struct Story {
    /// A heading of the table.
    pub chapter: &'static str,
    /// Its file, and the end of its namespace's name.
    pub name: &'static str,
    /// What it shows, as one sentence.
    pub says: &'static str,
    /// Whether it changes what other stories stand on, so that it runs by itself.
    pub alone: bool,
    /// Tells it in a namespace of its own, which is deleted afterwards.
    pub tell: fn(Space) -> Telling,
}

impl Story {
    /// Its namespace, as [`Space::create`] names it.
    pub fn namespace(&self) -> String {
        format!("story-{}", self.name.replace('_', "-"))
    }
}

/// What was seen, in a few words for the table.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// One thing after another.
    pub seen: Vec<String>,
    /// What a client could tell of a fault, and why it cannot be otherwise.
    pub noticed: Vec<String>,
}

impl Told {
    /// One thing that was seen.
    pub fn that(seen: impl Into<String>) -> Self {
        Self::default().and(seen)
    }

    /// One more.
    #[must_use]
    pub fn and(mut self, seen: impl Into<String>) -> Self {
        self.seen.push(seen.into());
        self
    }

    /// Something that a client could tell, and why.
    #[must_use]
    pub fn noticed(mut self, what: impl Into<String>) -> Self {
        self.noticed.push(what.into());
        self
    }
}

/// Why a story cannot be told on this cluster. As an error of a story it is no failure.
#[derive(Debug)]
pub struct Skipped(pub String);

impl fmt::Display for Skipped {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Skipped {}
