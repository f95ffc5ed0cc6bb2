//! Autowire by hand: `autowire --dry-run` shows what would be written, `restore` points all Services back to their
//! pods.

mod dry_run;
mod restore;
mod snapshot;

pub use dry_run::dry_run;
pub use restore::restore;
