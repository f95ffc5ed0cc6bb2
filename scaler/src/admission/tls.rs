//! Connections with TLS: handshakes run beside each other, so that a slow one keeps nobody waiting.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::serve::Listener;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::task::AbortOnDropHandle;
use tracing::debug;

use crate::admission::certificates::Serving;

/// For a handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes that have ended and wait to be served.
const BACKLOG: usize = 64;
/// Pause after a failed accept, which happens when descriptors run out.
const PAUSE: Duration = Duration::from_millis(50);

type Accepted = (TlsStream<TcpStream>, SocketAddr);

/// A listener with TLS, with the newest certificate for each connection.
pub struct TlsListener {
    address: SocketAddr,
    accepted: mpsc::Receiver<Accepted>,
    #[expect(dead_code, reason = "held for its drop, which ends the accepting")]
    accepting: AbortOnDropHandle<()>,
}

impl TlsListener {
    /// Begins to accept.
    pub fn new(listener: TcpListener, certificates: Serving) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (sender, accepted) = mpsc::channel(BACKLOG);
        let accepting = tokio::spawn(accept(listener, certificates, sender));
        Ok(Self {
            address,
            accepted,
            accepting: AbortOnDropHandle::new(accepting),
        })
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> Accepted {
        match self.accepted.recv().await {
            Some(accepted) => accepted,
            // The task lasts as long as this does.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

async fn accept(listener: TcpListener, certificates: Serving, accepted: mpsc::Sender<Accepted>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                tokio::spawn(shake_hands(stream, peer, certificates.clone(), accepted.clone()));
            }
            Err(error) => {
                debug!(%error, "a connection was not accepted");
                sleep(PAUSE).await;
            }
        }
    }
}

async fn shake_hands(stream: TcpStream, peer: SocketAddr, certificates: Serving, accepted: mpsc::Sender<Accepted>) {
    let Some(config) = certificates.current() else {
        debug!(%peer, "there is no certificate yet");
        return;
    };
    match timeout(HANDSHAKE, TlsAcceptor::from(config).accept(stream)).await {
        // Nobody takes it when the scaler stops.
        Ok(Ok(stream)) => drop(accepted.send((stream, peer)).await),
        Ok(Err(error)) => debug!(%peer, %error, "no handshake"),
        Err(_) => debug!(%peer, "no handshake in time"),
    }
}
