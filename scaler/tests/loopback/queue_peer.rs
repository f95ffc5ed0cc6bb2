//! Interceptors that have `GET /queue` and no stream, as the Go add-on's.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::routing::get;
use axum::{Json, Router};
use keda_http_core::queue::{Queue, QueueEntry};
use parking_lot::Mutex;
use tokio::net::TcpListener;

use crate::keda::{kedify, next, wait_until};
use crate::scaler::Scaler;

struct QueuePeer {
    address: SocketAddr,
    queue: Arc<Mutex<Queue>>,
}

impl QueuePeer {
    /// With HTTP/2 the stream's path is unknown to it; without, not even the connection is understood.
    async fn start(http2: bool) -> Self {
        let queue = Arc::new(Mutex::new(Queue::new()));
        let answer = queue.clone();
        let router = Router::new().route("/queue", get(async move || Json(answer.lock().clone())));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        if http2 {
            tokio::spawn(async move { axum::serve(listener, router).await });
        } else {
            tokio::spawn(serve_http1(listener, router));
        }
        Self { address, queue }
    }

    fn set(&self, key: &str, concurrency: i64, request_count: i64) {
        self.queue.lock().insert(
            key.to_owned(),
            QueueEntry {
                concurrency,
                request_count,
            },
        );
    }
}

async fn serve_http1(listener: TcpListener, router: Router) {
    loop {
        let (connection, _) = listener.accept().await.unwrap();
        let service = hyper_util::service::TowerToHyperService::new(router.clone());
        let connection = hyper_util::rt::TokioIo::new(connection);
        tokio::spawn(async move {
            // An error is the client's preface of HTTP/2.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(connection, service)
                .await;
        });
    }
}

#[tokio::test]
async fn a_peer_without_the_stream_is_polled_and_its_first_request_counts() {
    for http2 in [true, false] {
        let peer = QueuePeer::start(http2).await;
        let scaler = Scaler::start(&[peer.address], &[("KEDA_HTTP_QUEUE_TICK_DURATION", "5ms")]).await;
        let (rate, concurrency) = (
            kedify("requestRate", [("window", "1s")]),
            kedify("concurrency", [("kedifyTrigger", "held")]),
        );
        wait_until(|| scaler.keda.is_active(&rate), |active| matches!(active, Ok(false))).await;
        let mut stream = scaler.keda.stream(&rate).await.unwrap();

        peer.set("shop/api", 0, 1);
        assert!(
            next(&mut stream).await.unwrap().result,
            "the first request of a new key"
        );
        assert!(scaler.keda.metrics(&rate, "").await.unwrap()[0].metric_value_float > 0.0);

        peer.set("shop/api:held", 6, 6);
        wait_until(
            || scaler.keda.metrics(&concurrency, ""),
            |values| values.as_ref().unwrap()[0].metric_value == 6,
        )
        .await;
        let metrics = scaler.metrics().await;
        assert!(metrics.contains("scaler_reports_total{source=\"queue\"}"), "{metrics}");
        assert!(
            !metrics.contains("scaler_reports_total{source=\"stream\"}"),
            "{metrics}"
        );
    }
}

#[tokio::test]
async fn an_answer_without_an_end_is_cut_and_reported() {
    let endless = async || {
        let chunks = tokio_stream::iter(std::iter::repeat_n(vec![b' '; 1 << 20], 80).map(Ok::<_, std::io::Error>));
        axum::body::Body::from_stream(chunks)
    };
    let router = Router::new().route("/queue", get(endless));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let scaler = Scaler::start(&[address], &[("KEDA_HTTP_QUEUE_TICK_DURATION", "60s")]).await;
    let rate = kedify("requestRate", [("window", "1s")]);
    let too_large = |answer: &Result<bool, tonic::Status>| match answer {
        Ok(_) => false,
        Err(status) => status.message().contains("larger than 67108864 bytes"),
    };
    wait_until(|| scaler.keda.is_active(&rate), too_large).await;
}
