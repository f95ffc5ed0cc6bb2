#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use keda_http_proto::externalscaler::external_scaler_server::{ExternalScaler, ExternalScalerServer};
use keda_http_proto::externalscaler::{
    GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse, IsActiveResponse, MetricSpec, MetricValue,
    ScaledObjectRef,
};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};
use tonic::codegen::BoxStream;
use tonic::codegen::tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use super::plan::Pause;
use super::*;

const DEADLINE: Duration = Duration::from_secs(30);

/// A scaler that behaves as its settings say and records its calls.
#[derive(Clone, Default)]
struct Scaler {
    state: Arc<Mutex<Settings>>,
    calls: Arc<watch::Sender<Vec<Call>>>,
}

#[derive(Default)]
struct Settings {
    active: bool,
    fails: bool,
    streams: Vec<mpsc::UnboundedSender<Result<IsActiveResponse, Status>>>,
}

#[derive(Debug, Clone)]
struct Call {
    name: &'static str,
    at: Instant,
    object: ScaledObjectRef,
}

impl Scaler {
    fn record(&self, name: &'static str, object: &ScaledObjectRef) -> Result<(), Status> {
        let call = Call {
            name,
            at: Instant::now(),
            object: object.clone(),
        };
        self.calls.send_modify(|calls| calls.push(call));
        if self.state.lock().fails {
            Err(Status::unavailable("as set"))
        } else {
            Ok(())
        }
    }

    fn push(&self, message: Result<bool, Status>) {
        let message = message.map(|result| IsActiveResponse { result });
        self.state.lock().streams.last().unwrap().send(message).unwrap();
    }

    fn end_stream(&self) {
        self.state.lock().streams.pop().unwrap();
    }

    fn count(&self, name: &str) -> usize {
        self.calls.borrow().iter().filter(|call| call.name == name).count()
    }

    async fn called(&self, name: &str, times: usize) -> Vec<Call> {
        let mut calls = self.calls.subscribe();
        let enough = |calls: &Vec<Call>| calls.iter().filter(|call| call.name == name).count() >= times;
        timeout(DEADLINE, calls.wait_for(enough))
            .await
            .expect("called in time")
            .unwrap()
            .clone()
    }
}

#[tonic::async_trait]
impl ExternalScaler for Scaler {
    type StreamIsActiveStream = BoxStream<IsActiveResponse>;
    type StreamMetricSpecStream = BoxStream<GetMetricSpecResponse>;

    async fn is_active(&self, request: Request<ScaledObjectRef>) -> Result<Response<IsActiveResponse>, Status> {
        self.record("IsActive", request.get_ref())?;
        let result = self.state.lock().active;
        Ok(Response::new(IsActiveResponse { result }))
    }

    async fn stream_is_active(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<Self::StreamIsActiveStream>, Status> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.state.lock().streams.push(sender);
        self.record("StreamIsActive", request.get_ref())?;
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(receiver))))
    }

    async fn get_metric_spec(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<GetMetricSpecResponse>, Status> {
        self.record("GetMetricSpec", request.get_ref())?;
        let spec = MetricSpec {
            metric_name: "http_app_rate".to_owned(),
            target_size: 1,
            target_size_float: 10.0,
        };
        Ok(Response::new(GetMetricSpecResponse {
            metric_specs: vec![spec],
        }))
    }

    async fn get_metrics(&self, request: Request<GetMetricsRequest>) -> Result<Response<GetMetricsResponse>, Status> {
        assert_eq!(request.get_ref().metric_name, "http_app_rate", "without the prefix s0-");
        self.record("GetMetrics", request.get_ref().scaled_object_ref.as_ref().unwrap())?;
        let value = MetricValue {
            metric_name: "http_app_rate".to_owned(),
            metric_value: 5,
            metric_value_float: 5.0,
        };
        Ok(Response::new(GetMetricsResponse {
            metric_values: vec![value],
        }))
    }

    async fn stream_metric_spec(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<Self::StreamMetricSpecStream>, Status> {
        self.record("StreamMetricSpec", request.get_ref())?;
        Err(Status::unimplemented("not here"))
    }
}

async fn serve(scaler: &Scaler) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tonic::transport::Server::builder().add_service(ExternalScalerServer::new(scaler.clone()));
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    address
}

fn plan(polling_interval: u64) -> Plan {
    let metadata = [("hosts", "a"), ("anything", "else")];
    Plan {
        key: Key::new("shop", "so"),
        workload: Key::new("shop", "app"),
        min: 0,
        max: 10,
        idle: None,
        polling_interval: Duration::from_secs(polling_interval),
        cooldown: Duration::from_secs(1),
        initial_cooldown: Duration::ZERO,
        fallback: None,
        triggers: vec![Trigger {
            index: 0,
            metadata: metadata.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            metric: MetricType::AverageValue,
        }],
        pause: None,
        notes: Vec::new(),
    }
}

struct Fixture {
    scaler: Scaler,
    scale: Scale,
    keda: Keda,
}

impl Fixture {
    async fn new(replicas: u32, plan: Plan, settings: Settings) -> Self {
        let scaler = Scaler::default();
        *scaler.state.lock() = settings;
        let address = serve(&scaler).await;
        let scale = Scale::new(replicas);
        let keda = Keda::new(&address.to_string(), Output::to(std::io::sink(), false)).unwrap();
        keda.set(vec![plan], |_| Some(scale.clone()));
        Self { scaler, scale, keda }
    }

    async fn replicas(&self, wanted: u32) {
        let mut scale = self.scale.watch();
        timeout(DEADLINE, scale.wait_for(|replicas| *replicas == wanted))
            .await
            .expect("scaled in time")
            .unwrap();
    }
}

#[tokio::test]
async fn the_metric_specs_are_read_first_and_each_metric_is_its_value_and_then_its_activity() {
    let fixture = Fixture::new(0, plan(3600), Settings::default()).await;
    fixture.scaler.called("IsActive", 1).await;
    fixture.scaler.called("StreamMetricSpec", 1).await;
    let calls = fixture.scaler.called("StreamIsActive", 1).await;
    let unary = calls
        .iter()
        .map(|call| call.name)
        .filter(|name| !name.starts_with("Stream"));
    assert_eq!(
        unary.collect::<Vec<_>>(),
        ["GetMetricSpec", "GetMetricSpec", "GetMetrics", "IsActive"]
    );
    for call in &calls {
        let object = &call.object;
        assert_eq!(
            (object.namespace.as_str(), object.name.as_str()),
            ("shop", "so"),
            "{}",
            call.name
        );
        assert_eq!(object.scaler_metadata["anything"], "else", "{}", call.name);
    }
}

#[tokio::test]
async fn true_wakes_at_once_and_false_means_nothing() {
    let settings = Settings {
        active: false,
        ..Settings::default()
    };
    let fixture = Fixture::new(0, plan(3600), settings).await;
    fixture.scaler.called("StreamIsActive", 1).await;
    fixture.scaler.called("IsActive", 1).await;
    let mut scale = fixture.scale.watch();
    fixture.scaler.push(Ok(false));
    assert!(timeout(Duration::from_millis(300), scale.changed()).await.is_err());
    fixture.scaler.push(Ok(true));
    fixture.replicas(1).await;
    scale.mark_unchanged();
    fixture.scaler.push(Ok(false));
    // The cooldown of 1 s passes, and nothing happens before the next poll, an hour away.
    assert!(timeout(Duration::from_millis(1500), scale.changed()).await.is_err());
}

#[tokio::test]
async fn a_poll_that_finds_nothing_active_scales_to_zero_after_the_cooldown() {
    let settings = Settings {
        active: true,
        ..Settings::default()
    };
    let fixture = Fixture::new(0, plan(1), settings).await;
    fixture.replicas(1).await;
    fixture.scaler.state.lock().active = false;
    let inactive = Instant::now();
    fixture.replicas(0).await;
    assert!(inactive.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn errors_leave_replicas_alone() {
    let settings = Settings {
        active: true,
        ..Settings::default()
    };
    let fixture = Fixture::new(0, plan(1), settings).await;
    fixture.replicas(1).await;
    fixture.scaler.state.lock().fails = true;
    let before = fixture.scaler.count("GetMetricSpec");
    fixture.scaler.called("GetMetricSpec", before + 3).await;
    assert_eq!(fixture.scale.replicas(), 1);
}

#[tokio::test]
async fn a_stream_that_ends_is_opened_again_after_two_seconds_and_then_four_unless_its_end_was_clean() {
    let fixture = Fixture::new(0, plan(3600), Settings::default()).await;
    fixture.scaler.called("StreamIsActive", 1).await;
    let pause = async |times: usize| {
        let ended = Instant::now();
        let calls = fixture.scaler.called("StreamIsActive", times).await;
        let opened = calls.iter().rfind(|call| call.name == "StreamIsActive").unwrap().at;
        (opened - ended).as_secs_f64().round()
    };
    fixture.scaler.push(Err(Status::unavailable("gone")));
    assert_eq!(pause(2).await, 2.0);
    fixture.scaler.push(Err(Status::unavailable("gone again")));
    assert_eq!(pause(3).await, 4.0);
    fixture.scaler.end_stream();
    assert_eq!(pause(4).await, 2.0);
}

#[tokio::test]
async fn a_scaler_without_metric_spec_stream_is_asked_for_it_once() {
    let fixture = Fixture::new(0, plan(1), Settings::default()).await;
    fixture.scaler.called("GetMetricSpec", 5).await;
    assert_eq!(fixture.scaler.count("StreamMetricSpec"), 1);
}

#[tokio::test]
async fn a_scaler_that_fails_at_first_is_asked_again_until_it_answers() {
    let settings = Settings {
        active: true,
        fails: true,
        ..Settings::default()
    };
    let fixture = Fixture::new(0, plan(3600), settings).await;
    fixture.scaler.called("GetMetricSpec", 3).await;
    assert_eq!(fixture.scaler.count("StreamIsActive"), 0);
    fixture.scaler.state.lock().fails = false;
    fixture.replicas(1).await;
}

#[tokio::test]
async fn a_changed_object_starts_anew_and_one_that_is_gone_is_left_alone() {
    let scaler = Scaler::default();
    let address = serve(&scaler).await;
    let scale = Scale::new(0);
    let keda = Keda::new(&address.to_string(), Output::to(std::io::sink(), false)).unwrap();
    let set = |plans: Vec<Plan>| keda.set(plans, |_| Some(scale.clone()));
    set(vec![plan(3600)]);
    scaler.called("StreamIsActive", 1).await;
    set(vec![plan(3600)]);
    set(vec![plan(1800)]);
    scaler.called("StreamIsActive", 2).await;
    set(Vec::new());
    scaler.state.lock().streams.retain(|stream| !stream.is_closed());
    let closed = async {
        loop {
            let last = scaler.state.lock().streams.last().cloned();
            match last {
                Some(stream) => stream.closed().await,
                None => return,
            }
            scaler.state.lock().streams.retain(|stream| !stream.is_closed());
        }
    };
    timeout(DEADLINE, closed).await.expect("streams end with their object");
    assert_eq!(scaler.count("StreamIsActive"), 2);
}

#[tokio::test]
async fn a_deployment_that_was_made_anew_is_scaled_and_not_the_one_before() {
    let scaler = Scaler::default();
    scaler.state.lock().active = true;
    let address = serve(&scaler).await;
    let keda = Keda::new(&address.to_string(), Output::to(std::io::sink(), false)).unwrap();
    let (before, after) = (Scale::new(1), Scale::new(0));
    keda.set(vec![plan(3600)], |_| Some(before.clone()));
    scaler.called("IsActive", 1).await;
    keda.set(vec![plan(3600)], |_| Some(after.clone()));
    let mut replicas = after.watch();
    let woken = timeout(DEADLINE, replicas.wait_for(|replicas| *replicas == 1)).await;
    woken.expect("woken in time").unwrap();
}

#[tokio::test]
async fn fault_c6_a_paused_object_is_scaled_to_the_paused_replicas_and_is_never_polled() {
    let settings = Settings {
        active: true,
        ..Settings::default()
    };
    let paused = Plan {
        pause: Some(Pause { replicas: Some(2) }),
        ..plan(1)
    };
    let fixture = Fixture::new(0, paused, settings).await;
    fixture.replicas(2).await;
    fixture.keda.settled().await;
    assert!(fixture.scaler.calls.borrow().is_empty());
}
