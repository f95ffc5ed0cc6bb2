//! Where an endpoint is dialled.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;

use serde::{Serialize, Serializer};

/// A pod's socket, or a name that is resolved at each dial.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// Of a pod.
    Socket(SocketAddr),
    /// Of an ExternalName Service.
    Name {
        /// A DNS name.
        host: Box<str>,
        /// A port there.
        port: u16,
    },
}

impl Address {
    /// The address or the name, without the port.
    pub fn host(&self) -> Cow<'_, str> {
        match self {
            Self::Socket(socket) => socket.ip().to_string().into(),
            Self::Name { host, .. } => Cow::Borrowed(host),
        }
    }

    /// The port.
    pub fn port(&self) -> u16 {
        match self {
            Self::Socket(socket) => socket.port(),
            Self::Name { port, .. } => *port,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(socket) => socket.fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(socket: SocketAddr) -> Self {
        Self::Socket(socket)
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
