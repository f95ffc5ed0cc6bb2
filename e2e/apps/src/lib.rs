//! The apps of the tracing tutorial: a server that starts slowly and a client that calls it, each with spans of its own.
//!
//! # Layout
//!
//! - [`server`]: answers every path, below the caller's span.
//! - [`client`]: calls the server again and again, each time as a new trace.
//! - [`spans`]: what both do with spans.
//! - [`process`]: how both start and end.

pub mod client;
pub mod process;
pub mod server;
pub mod spans;
