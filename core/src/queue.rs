//! The JSON of `GET /queue`, exactly upstream's shape: an object keyed by target with `Concurrency` and `RequestCount`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One target in the `/queue` of one interceptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct QueueEntry {
    /// Requests pending now.
    pub concurrency: i64,
    /// Requests that arrived since the interceptor started, or since the route was made.
    #[serde(default)]
    pub request_count: i64,
}

/// The whole response; every known route is in it, idle ones too.
pub type Queue = BTreeMap<String, QueueEntry>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shape_is_upstreams() {
        let text = r#"{"shop/checkout":{"Concurrency":7,"RequestCount":1842}}"#;
        let queue: Queue = serde_json::from_str(text).unwrap();
        let entry = QueueEntry {
            concurrency: 7,
            request_count: 1842,
        };
        assert_eq!(queue, Queue::from([("shop/checkout".to_owned(), entry)]));
        assert_eq!(serde_json::to_string(&queue).unwrap(), text);
    }

    #[test]
    fn entries_of_older_interceptors_with_a_rate_instead_of_a_count_are_read() {
        let entry: QueueEntry = serde_json::from_str(r#"{"Concurrency": 1, "RPS": 0.5}"#).unwrap();
        assert_eq!((entry.concurrency, entry.request_count), (1, 0));
    }
}
