//! Counts requests per target and reports the counts to scalers.

pub mod pending;
pub mod report;
