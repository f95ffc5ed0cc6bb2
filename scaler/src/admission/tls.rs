//! Accepts TLS connections. Handshakes run concurrently, so that a slow client does not delay others.

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

use crate::admission::certificates::Serving;

/// The longest time for a handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// The number of connections that may wait to be served after their handshake.
const BACKLOG: usize = 64;
/// The pause after a failed accept, which happens when file descriptors run out.
const PAUSE: Duration = Duration::from_millis(50);

type Accepted = (TlsStream<TcpStream>, SocketAddr);

/// Uses the newest certificate for each connection.
pub(super) struct TlsListener {
    address: SocketAddr,
    accepted: mpsc::Receiver<Accepted>,
    #[expect(dead_code, reason = "dropping it ends the accept loop")]
    accepting: AbortOnDropHandle<()>,
}

impl TlsListener {
    pub(super) fn new(listener: TcpListener, certificates: Serving) -> io::Result<Self> {
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
            // The accept loop runs as long as this exists.
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
                tracing::debug!(%error, "cannot accept a connection");
                sleep(PAUSE).await;
            }
        }
    }
}

async fn shake_hands(stream: TcpStream, peer: SocketAddr, certificates: Serving, accepted: mpsc::Sender<Accepted>) {
    let Some(config) = certificates.current() else {
        tracing::debug!(%peer, "no certificate yet; connection closed");
        return;
    };
    match timeout(HANDSHAKE_TIMEOUT, TlsAcceptor::from(config).accept(stream)).await {
        // The receiver is gone when the scaler stops.
        Ok(Ok(stream)) => drop(accepted.send((stream, peer)).await),
        Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
        Err(_) => tracing::debug!(%peer, "TLS handshake timed out"),
    }
}
