//! Accepts connections: the listeners, the worker threads, and the memory they leave behind.

pub mod listeners;
pub mod memory;
pub(crate) mod sockets;
mod stream;
pub mod worker;
