//! Counts requests per target and reports the counts to scalers.

pub(crate) mod pending;
pub(crate) mod report;
