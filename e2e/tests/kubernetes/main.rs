//! Tests against a real API server. `make test-kubernetes` builds what they need and runs them.

mod harness;
