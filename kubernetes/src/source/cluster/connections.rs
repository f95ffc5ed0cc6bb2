//! Connections to the API server: many watches on few of them.
//!
//! An API server allows 100 streams on an HTTP/2 connection, and a client that needs more waits silently, so there are
//! several connections. Keep-alive pings detect a host that vanished without closing its connections.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::{Body, ConfigExt, RustlsTlsError};
use kube::{Config, Error};
use parking_lot::Mutex;

/// The most streams on a connection: what API servers allow, less a reserve for concurrent requests.
const STREAMS: usize = 80;
/// The API server is near, so a connection that takes longer will not come.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The interval of keep-alive pings.
const ALIVE_EVERY: Duration = Duration::from_secs(10);
/// A connection without a response to a ping for this long is dead.
const ALIVE_WITHIN: Duration = Duration::from_secs(10);

type Connector = HttpsConnector<HttpConnector>;

#[derive(Clone)]
pub struct Connections {
    connector: Connector,
    lanes: Arc<Mutex<Vec<Lane>>>,
}

/// One HTTP/2 connection, or as many of HTTP/1.1 as it needs.
struct Lane {
    client: legacy::Client<Connector, Body>,
    /// Its references, without this one, are the streams.
    streams: Arc<()>,
}

impl Connections {
    pub fn new(config: &Config) -> Result<Self, Error> {
        Ok(Self {
            connector: connector(config)?,
            lanes: Arc::default(),
        })
    }

    /// Sends a request. It counts as a stream until the body of the response is dropped.
    pub fn send(
        &self,
        request: Request<Body>,
    ) -> impl Future<Output = Result<Response<UnsyncBoxBody<Bytes, hyper::Error>>, legacy::Error>> + Send + use<> {
        let (client, stream) = self.lane();
        async move {
            let response = client.request(request).await?;
            let counted = |body: hyper::body::Incoming| {
                body.map_frame(move |frame| {
                    let _counted = &stream;
                    frame
                })
            };
            Ok(response.map(|body| counted(body).boxed_unsync()))
        }
    }

    /// The first lane with room, so that later lanes run empty and are closed.
    fn lane(&self) -> (legacy::Client<Connector, Body>, Arc<()>) {
        let mut lanes = self.lanes.lock();
        let streams = |lane: &Lane| Arc::strong_count(&lane.streams) - 1;
        if let Some(lane) = lanes.iter().find(|lane| streams(lane) < STREAMS) {
            let found = (lane.client.clone(), lane.streams.clone());
            let mut first = true;
            lanes.retain(|lane| std::mem::take(&mut first) || streams(lane) > 0);
            return found;
        }
        let lane = Lane {
            client: client(self.connector.clone()),
            streams: Arc::default(),
        };
        let made = (lane.client.clone(), lane.streams.clone());
        lanes.push(lane);
        made
    }
}

fn connector(config: &Config) -> Result<Connector, Error> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    // For HTTP/1.1, which has no PING.
    tcp.set_keepalive(Some(ALIVE_EVERY));
    tcp.set_keepalive_interval(Some(ALIVE_WITHIN / 2));
    tcp.set_keepalive_retries(Some(2));
    #[cfg(target_os = "linux")]
    tcp.set_tcp_user_timeout(Some(ALIVE_EVERY + ALIVE_WITHIN));
    let mut builder = HttpsConnectorBuilder::new()
        .with_tls_config(config.rustls_client_config()?)
        .https_or_http();
    if let Some(name) = config.tls_server_name.clone() {
        let name = name.try_into().map_err(RustlsTlsError::InvalidServerName);
        builder = builder.with_server_name_resolver(FixedServerNameResolver::new(name.map_err(Error::RustlsTls)?));
    }
    Ok(builder.enable_all_versions().wrap_connector(tcp))
}

fn client(connector: Connector) -> legacy::Client<Connector, Body> {
    legacy::Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .http2_keep_alive_interval(ALIVE_EVERY)
        .http2_keep_alive_timeout(ALIVE_WITHIN)
        .build(connector)
}
