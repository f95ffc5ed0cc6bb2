//! Listening sockets.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, Socket, Type};

use crate::config::Listen;

/// Connections that wait to be accepted, per socket: a burst of first requests must not be turned away.
const BACKLOG: i32 = 4096;

/// A listener for each worker on one port. A given port is first bound without sharing, so that one that another
/// process shares is refused, too.
pub(crate) fn bind_shared(listen: &Listen, port: u16) -> Result<Vec<TcpListener>> {
    if listen.workers == 1 {
        return Ok(vec![bind(listen.address, port, false)?]);
    }
    if port != 0 {
        drop(bind(listen.address, port, false)?);
    }
    let first = bind(listen.address, port, true)?;
    let port = first.local_addr()?.port();
    let others = (1..listen.workers).map(|_| bind(listen.address, port, true));
    std::iter::once(Ok(first)).chain(others).collect()
}

/// One listener on a port.
pub(crate) fn bind_tokio(listen: &Listen, port: u16) -> Result<tokio::net::TcpListener> {
    let listener = bind(listen.address, port, false)?;
    Ok(tokio::net::TcpListener::from_std(listener)?)
}

/// `::` takes IPv4 too; where the machine has no IPv6 it means all of IPv4.
fn bind(address: IpAddr, port: u16, shared: bool) -> Result<TcpListener> {
    let socket = match Socket::new(
        Domain::for_address((address, port).into()),
        Type::STREAM,
        Some(Protocol::TCP),
    ) {
        Err(_) if address.is_ipv6() && address.is_unspecified() => {
            return bind(Ipv4Addr::UNSPECIFIED.into(), port, shared);
        }
        socket => socket?,
    };
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    let address = SocketAddr::new(address, port);
    socket
        .bind(&address.into())
        .with_context(|| format!("cannot bind {address}"))?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
