//! Autowire by hand: what would be written, and everything given back.

mod diff;
mod dry_run;
mod reading;
mod restore;

pub use dry_run::dry_run;
pub use reading::Cluster;
pub use restore::restore;
