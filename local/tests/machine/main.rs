//! The whole of it on one machine: the real programs, real processes, real requests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod apps;
mod command;
mod deaths;
mod examples;
mod fixture;
mod reports;
