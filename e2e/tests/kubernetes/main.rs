//! Tests against a real API server. `make test-kubernetes` builds what they need and runs them.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails")]

mod admission;
mod autowire;
mod charts;
mod controllers;
mod crds;
mod harness;
mod interceptor;
mod rights;
mod scaler;
mod source;
