//! Free ports for processes that learn theirs before they listen.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;

/// Reserves free ports, none of them twice at a time. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Ports {
    reserved: Arc<Mutex<HashSet<u16>>>,
}

/// A port that is reserved until this is dropped.
#[derive(Debug)]
pub struct Port {
    number: u16,
    reserved: Arc<Mutex<HashSet<u16>>>,
}

impl Port {
    pub fn number(&self) -> u16 {
        self.number
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.reserved.lock().remove(&self.number);
    }
}

/// Attempts before the system is asked for any port at all.
const ATTEMPTS: u64 = 200;

impl Ports {
    /// A free port of 127.0.0.1. Outside of the range the system takes for outgoing connections where that is possible:
    /// the port is bound some time after it was found free, and until then a connection must not take it.
    ///
    /// # Errors
    /// When there is none.
    pub fn free(&self) -> io::Result<Port> {
        let candidates = quiet_range();
        let seed = RandomState::new();
        for attempt in 0..ATTEMPTS {
            let offset = seed.hash_one(attempt) % u64::from(candidates.end - candidates.start);
            let number = candidates.start + u16::try_from(offset).unwrap_or_default();
            if let Ok(port) = self.reserve(number) {
                return Ok(port);
            }
        }
        self.reserve(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
    }

    /// # Errors
    /// When somebody listens on it, or it has been handed out.
    pub fn reserve(&self, number: u16) -> io::Result<Port> {
        TcpListener::bind((Ipv4Addr::LOCALHOST, number))?;
        if !self.reserved.lock().insert(number) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        Ok(Port {
            number,
            reserved: self.reserved.clone(),
        })
    }
}

/// Ports below those of outgoing connections.
fn quiet_range() -> Range<u16> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let first = text
        .split_whitespace()
        .next()
        .and_then(|first| first.parse::<u16>().ok());
    match first {
        Some(first) if first > 12_000 => 10_240..first,
        _ => 20_000..32_000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_handed_out_twice_while_it_is_held() {
        let ports = Ports::default();
        let held: Vec<Port> = (0..50).map(|_| ports.free().unwrap()).collect();
        let numbers: HashSet<u16> = held.iter().map(Port::number).collect();
        assert_eq!(numbers.len(), 50);
        let number = held[0].number();
        assert!(ports.reserve(number).is_err());
        drop(held);
        assert!(ports.reserve(number).is_ok());
    }

    #[test]
    fn a_port_that_somebody_listens_on_cannot_be_reserved() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert!(Ports::default().reserve(listener.local_addr().unwrap().port()).is_err());
    }
}
