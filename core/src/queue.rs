//! The JSON of `GET /queue`, exactly upstream's shape: an object keyed by target with `Concurrency` and `RequestCount`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What one interceptor says of one target in `/queue`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct QueueEntry {
    /// Requests pending now.
    pub concurrency: i64,
    /// Requests that arrived since the interceptor started, or since the route was made.
    #[serde(default)]
    pub request_count: i64,
}

/// The whole answer; every known route appears, idle ones too.
pub type Queue = BTreeMap<String, QueueEntry>;
