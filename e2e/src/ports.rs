//! Ports for programs that cannot be asked to choose a free one.

use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context, Result};

/// Below the kernel's range of ephemeral ports, so that no other program gets one by chance, even while the program that
/// uses it is restarted.
const FIRST: u16 = 10_000;
const COUNT: u16 = 20_000;
const TRIES: u16 = 100;

/// A port of loopback that nobody listens on.
///
/// # Errors
/// When none is found.
pub fn free_port() -> Result<u16> {
    let random = RandomState::new().hash_one(()) as u16;
    (0..TRIES)
        .map(|offset| FIRST + random.wrapping_add(offset) % COUNT)
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .context("no port is free")
}
