//! `Upgrade`: after a 101 bytes are copied between the two connections, and the request lasts as long as this tunnel.

use http::{HeaderMap, HeaderValue, Request, Response, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::proxy::headers::{elements, remove_hop_by_hop};
use crate::proxy::record::Record;
use crate::upstream::connection::Connection;

fn add_protocols(headers: &mut HeaderMap, protocols: &[HeaderValue]) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    for protocol in protocols {
        headers.append(header::UPGRADE, protocol.clone());
    }
}

/// The tunnels of a worker: a draining worker waits for them up to the drain timeout.
#[derive(Clone)]
pub struct Pipes {
    /// All connections and tunnels of the worker.
    pub tracker: TaskTracker,
    /// Closes the remaining tunnels.
    pub cut: CancellationToken,
}

/// An upgrade that a client has asked for.
pub struct Upgrade {
    client: OnUpgrade,
    protocols: Vec<HeaderValue>,
}

impl Upgrade {
    /// The upgrade that a request asks for. Only the connection knows whether it may: see
    /// [`Client::asks_for_upgrade`](crate::inbound::client::Client::asks_for_upgrade).
    pub fn from_request<B>(request: &mut Request<B>) -> Option<Self> {
        let protocols: Vec<_> = request.headers().get_all(header::UPGRADE).iter().cloned().collect();
        (!protocols.is_empty()).then(|| Self {
            client: hyper::upgrade::on(request),
            protocols,
        })
    }

    /// Adds the upgrade to a request whose hop-by-hop headers have been removed.
    pub fn add_to(&self, headers: &mut HeaderMap) {
        add_protocols(headers, &self.protocols);
    }

    /// Checks that a 101 switches to protocols that the client has asked for (RFC 9110 section 7.8), and removes its
    /// hop-by-hop headers but those of the upgrade.
    pub fn accept(&self, headers: &mut HeaderMap) -> bool {
        let chosen: Vec<_> = headers.get_all(header::UPGRADE).iter().cloned().collect();
        let is_asked_for =
            |protocol: &[u8]| elements(&self.protocols).any(|asked| asked.eq_ignore_ascii_case(protocol));
        if chosen.is_empty() || !elements(&chosen).all(is_asked_for) {
            return false;
        }
        remove_hop_by_hop(headers);
        add_protocols(headers, &chosen);
        true
    }

    /// Starts the tunnel after the endpoint's 101: copies bytes both ways until both sides have ended or the tunnels
    /// are cut. The request's timeout no longer applies. The connection and the record live as long as the tunnel.
    pub fn start_tunnel<B>(self, response: &mut Response<B>, connection: Connection, record: Record, pipes: &Pipes) {
        let endpoint = hyper::upgrade::on(response);
        let cut = pipes.cut.clone();
        pipes.tracker.spawn(async move {
            let _in_use = (connection, record);
            let tunnel = async {
                let (client, endpoint) = tokio::try_join!(self.client, endpoint).ok()?;
                let (mut client, mut endpoint) = (TokioIo::new(client), TokioIo::new(endpoint));
                // Either side may end it in any way, which is no error.
                tokio::io::copy_bidirectional(&mut client, &mut endpoint).await.ok()
            };
            cut.run_until_cancelled(tunnel).await;
        });
    }
}
