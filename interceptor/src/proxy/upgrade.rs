//! `Upgrade`: after a 101 the two connections are one pipe, and the request lasts as long as the pipe.

use http::{HeaderMap, HeaderValue, Request, Response, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::proxy::record::Record;
use crate::upstream::connection::Connection;

/// The pipes of a worker: waited for when it drains, and cut at the end of that.
#[derive(Clone)]
pub struct Pipes {
    /// Counts them among the worker's connections.
    pub tracker: TaskTracker,
    /// Cuts what is left.
    pub cut: CancellationToken,
}

/// Both sides of an upgrade that is being asked for.
pub struct Upgrade {
    client: OnUpgrade,
    protocol: HeaderValue,
}

impl Upgrade {
    /// The upgrade that a request asks for. Whether it may is the connection's to say: see
    /// [`Client::asks_for_upgrade`](crate::inbound::client::Client::asks_for_upgrade).
    pub fn take<B>(request: &mut Request<B>) -> Option<Self> {
        let protocol = request.headers().get(header::UPGRADE).cloned()?;
        Some(Self {
            client: hyper::upgrade::on(request),
            protocol,
        })
    }

    /// Puts the wish back, after hop-by-hop headers were removed.
    pub fn ask(&self, headers: &mut HeaderMap) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, self.protocol.clone());
    }

    /// The endpoint has agreed: passes bytes both ways until both sides have ended, or the pipes are cut. A timeout of the
    /// request ends with the answer: what follows has no end of its own. The connection and
    /// the record live as long as the pipe.
    pub fn join<B>(self, response: &mut Response<B>, connection: Connection, record: Record, pipes: &Pipes) {
        let endpoint = hyper::upgrade::on(response);
        let cut = pipes.cut.clone();
        pipes.tracker.spawn(async move {
            let _in_use = (connection, record);
            let pipe = async {
                let (client, endpoint) = tokio::try_join!(self.client, endpoint).ok()?;
                let (mut client, mut endpoint) = (TokioIo::new(client), TokioIo::new(endpoint));
                // Either side may end it any way it likes.
                tokio::io::copy_bidirectional(&mut client, &mut endpoint).await.ok()
            };
            cut.run_until_cancelled(pipe).await;
        });
    }
}
