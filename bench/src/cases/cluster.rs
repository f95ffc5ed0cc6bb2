//! 10,000 routes and 20,000 endpoints of a real API server: the start, a change, an endpoint that gets ready, memory.

mod objects;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::StreamExt;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use keda_http_e2e::control_plane::ControlPlane;
use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::build::Build;
use crate::client::{self, Connection, get};
use crate::interceptor::Interceptor;
use crate::manifests::host;
use crate::pending::Pending;
use crate::report::Report;
use crate::scaler::Scaler;
use crate::statistics::{percentile, sorted_milliseconds};
use crate::{app, program};
use objects::{Place, create, interceptor_routes, slice};

const ROUTES: usize = 10_000;
const NAMESPACES: usize = 100;
const CHANGES: usize = 100;
const WAKES: usize = 200;
/// How many hosts are asked, spread over all, when the last one answers.
const SAMPLED: usize = 200;
const DEADLINE: Duration = Duration::from_secs(60);
/// How often requests are sent while the API server is away.
const KNOCK: Duration = Duration::from_millis(10);

const METHOD: &str = "\
A kube-apiserver and an etcd of their own on core 1, with the load; interceptor (one worker) and scaler on core 0.
10,000 InterceptorRoutes in 100 namespaces, each with its own Service and two EndpointSlices of one endpoint.
Start: from exec until /readyz, and until a GET for the last route's host is answered with 200 (200 hosts over all must
then answer too). Change: a route is patched with another host; from the API server's answer until a GET for that host is
answered with 200, asked every 1 to 2 ms; 100 changes. Ready: 200 routes without endpoints, one held GET each; its
EndpointSlice is created; from the moment another watch of the same API server hands the slice over until the app can read
(0 when the app could read first). Outage: the API server is killed; GETs for warm routes, 100 each second, until it is back.
Memory: RSS in MB of 1024 KB, after the start; of the scaler as the leader, with all
controllers but autowire, which looks for interceptors in the cluster.";

pub(super) async fn run(build: &Build) -> Result<Report> {
    let apps = [
        app::spawn_at(own_address()?).await?,
        app::spawn_at(own_address()?).await?,
    ];
    let control_plane = ControlPlane::start().await?;
    let client = control_plane.client().await?;
    eprintln!("creating {ROUTES} routes");
    let created = Instant::now();
    create(&control_plane, &places(0..ROUTES), &apps).await?;
    create(&control_plane, &cold_places(), &[]).await?;
    eprintln!("created in {:.0?}", created.elapsed());
    let scratch = tempfile::tempdir()?;
    let mut report = Report::new("cluster", METHOD);
    let interceptor = start(build, &control_plane, scratch.path(), &mut report).await?;
    let resident = program::resident_memory(interceptor.program.id())?;
    report.goal("RSS of the interceptor", resident as f64 / 1024.0, "MB", 60.0);
    let changes = changes(&client, &interceptor).await?;
    report.goal("change live, p99", percentile(&changes, 0.99), "ms", 100.0);
    report.figure("change live, median", percentile(&changes, 0.5), "ms");
    let wakes = wakes(&client, &interceptor).await?;
    report.goal("endpoint ready, p99", percentile(&wakes, 0.99), "ms", 5.0);
    report.figure("endpoint ready, median", percentile(&wakes, 0.5), "ms");
    scaler(build, &control_plane, scratch.path(), &interceptor, &mut report).await?;
    outage(&control_plane, &interceptor, &mut report).await?;
    let resident = program::resident_memory(interceptor.program.id())?;
    report.figure("RSS of the interceptor at the end", resident as f64 / 1024.0, "MB");
    Ok(report)
}

/// The machine's own address: API servers refuse loopback addresses in EndpointSlices. Connecting a UDP socket sends nothing.
fn own_address() -> Result<SocketAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket
        .connect((Ipv4Addr::new(192, 0, 2, 1), 9))
        .context("this machine has no address besides loopback")?;
    Ok(SocketAddr::new(socket.local_addr()?.ip(), 0))
}

fn places(numbers: std::ops::Range<usize>) -> Vec<Place> {
    numbers
        .map(|number| Place {
            namespace: format!("bench-{}", number % NAMESPACES),
            name: format!("route-{number:05}"),
        })
        .collect()
}

fn cold_places() -> Vec<Place> {
    (0..WAKES)
        .map(|number| Place {
            namespace: "bench-0".to_owned(),
            name: format!("cold-{number}"),
        })
        .collect()
}

async fn start(
    build: &Build,
    control_plane: &ControlPlane,
    scratch: &std::path::Path,
    report: &mut Report,
) -> Result<Interceptor> {
    let mut interceptor = Interceptor::on_cluster(build, &control_plane.kubeconfig(), scratch)?;
    let started = interceptor.program.started;
    interceptor.until_ready().await?;
    report.goal("start to /readyz", started.elapsed().as_secs_f64(), "s", 5.0);
    let places = places(0..ROUTES);
    let last = places.last().context("routes")?;
    interceptor.until_served(&host(&last.name)).await?;
    report.figure("start to last route live", started.elapsed().as_secs_f64(), "s");
    for place in places.iter().step_by(ROUTES / SAMPLED) {
        let status = client::status(interceptor.proxy, &host(&place.name), "/").await?;
        ensure!(
            status == 200,
            "{} answers {status} when the process is ready",
            place.name
        );
    }
    Ok(interceptor)
}

/// Gives routes all over the list another host and returns the milliseconds until that is served, sorted.
async fn changes(client: &Client, interceptor: &Interceptor) -> Result<Vec<f64>> {
    let mut times = Vec::new();
    for (number, place) in places(0..ROUTES).iter().step_by(ROUTES / CHANGES).enumerate() {
        let routes: Api<DynamicObject> = Api::namespaced_with(client.clone(), &place.namespace, &interceptor_routes());
        let host = host(&format!("changed-{number}"));
        let patch = Patch::Merge(json!({"spec": {"rules": [{"hosts": [host]}]}}));
        let mut connection = Connection::open(interceptor.proxy).await?;
        let request = get(&host, "/", "");
        ensure!(
            connection.exchange(&request).await? == 404,
            "{host} is known before the change"
        );
        routes.patch(&place.name, &PatchParams::default(), &patch).await?;
        let patched = Instant::now();
        let live = async {
            while connection.exchange(&request).await? != 200 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(DEADLINE, live)
            .await
            .with_context(|| format!("{host} is not served"))??;
        times.push(patched.elapsed());
    }
    Ok(sorted_milliseconds(&times))
}

/// Releases held requests by creating EndpointSlices; returns the milliseconds since the event in another watch, sorted.
async fn wakes(client: &Client, interceptor: &Interceptor) -> Result<Vec<f64>> {
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), "bench-0");
    let mut events = watch(slices.clone());
    let mut pending = Pending::watch(interceptor).await?;
    let mut times = Vec::new();
    for place in cold_places() {
        let listener = TcpListener::bind(own_address()?).await?;
        let mut connection = Connection::open(interceptor.proxy).await?;
        connection.send(&get(&host(&place.name), "/", "")).await?;
        pending
            .until_waiting(&format!("{}/{}", place.namespace, place.name), 1)
            .await?;
        let slice: EndpointSlice = serde_json::from_value(slice(&place, listener.local_addr()?))?;
        let created = async {
            slices.create(&PostParams::default(), &slice).await?;
            anyhow::Ok(until_seen(&mut events, &place.name).await)
        };
        let (seen, arrived) =
            tokio::time::timeout(DEADLINE, async { tokio::join!(created, app::first_byte(&listener)) })
                .await
                .with_context(|| format!("{} is not released", place.name))?;
        times.push(arrived?.saturating_duration_since(seen?));
        ensure!(
            connection.status().await? == 200,
            "{} was not answered with 200",
            place.name
        );
    }
    Ok(sorted_milliseconds(&times))
}

/// The Services whose slices arrive in a watch, and the time of arrival.
fn watch(slices: Api<EndpointSlice>) -> mpsc::UnboundedReceiver<(String, Instant)> {
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut events = std::pin::pin!(
            watcher(slices, watcher::Config::default())
                .default_backoff()
                .applied_objects()
        );
        while let Some(event) = events.next().await {
            let labels = event.ok().and_then(|slice| slice.metadata.labels).unwrap_or_default();
            let seen = labels.get("kubernetes.io/service-name").cloned().unwrap_or_default();
            if sender.send((seen, Instant::now())).is_err() {
                return;
            }
        }
    });
    receiver
}

async fn until_seen(events: &mut mpsc::UnboundedReceiver<(String, Instant)>, service: &str) -> Instant {
    while let Some((seen, at)) = events.recv().await {
        if seen == service {
            return at;
        }
    }
    Instant::now()
}

/// The memory of the leader once it has processed every object.
async fn scaler(
    build: &Build,
    control_plane: &ControlPlane,
    scratch: &std::path::Path,
    interceptor: &Interceptor,
    report: &mut Report,
) -> Result<()> {
    let (mut scaler, metrics) = Scaler::leader(build, &control_plane.kubeconfig(), scratch, interceptor)?;
    let started = scaler.started;
    scaler
        .until("/readyz", async || {
            matches!(client::status(metrics, "admin", "/readyz").await, Ok(200))
        })
        .await?;
    report.figure("scaler: start to /readyz", started.elapsed().as_secs_f64(), "s");
    let last = places(0..ROUTES).pop().context("routes")?;
    let routes: Api<DynamicObject> =
        Api::namespaced_with(control_plane.client().await?, &last.namespace, &interceptor_routes());
    scaler
        .until("the last route's condition", async || {
            let route = routes.get_status(&last.name).await;
            route.is_ok_and(|route| route.data["status"]["conditions"].is_array())
        })
        .await?;
    report.figure(
        "scaler: start to last route's condition",
        started.elapsed().as_secs_f64(),
        "s",
    );
    let resident = program::resident_memory(scaler.id())?;
    report.goal("RSS of the scaler, leading", resident as f64 / 1024.0, "MB", 60.0);
    Ok(())
}

/// Stops the API server for `OUTAGE_SECONDS` (20) seconds; no request may fail, and changes must arrive again afterwards.
async fn outage(control_plane: &ControlPlane, interceptor: &Interceptor, report: &mut Report) -> Result<()> {
    let seconds = std::env::var("OUTAGE_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(20);
    control_plane.stop_api_server();
    let places = places(0..ROUTES);
    let (away, mut sent, mut failed) = (Instant::now(), 0_usize, 0_usize);
    while away.elapsed() < Duration::from_secs(seconds) {
        // The last ones have kept their hosts.
        let place = &places[ROUTES - 1 - (sent * 7) % (ROUTES / CHANGES - 1)];
        let answered = client::status(interceptor.proxy, &host(&place.name), "/").await;
        failed += usize::from(!matches!(answered, Ok(200)));
        sent += 1;
        tokio::time::sleep(KNOCK).await;
    }
    control_plane.start_api_server().await?;
    let back = Instant::now();
    let client = control_plane.client().await?;
    let after = &places[ROUTES - 2];
    let routes: Api<DynamicObject> = Api::namespaced_with(client, &after.namespace, &interceptor_routes());
    let patch = Patch::Merge(json!({"spec": {"rules": [{"hosts": [host("after-the-outage")]}]}}));
    routes.patch(&after.name, &PatchParams::default(), &patch).await?;
    let live = async {
        while !matches!(
            client::status(interceptor.proxy, &host("after-the-outage"), "/").await,
            Ok(200)
        ) {
            tokio::time::sleep(KNOCK).await;
        }
    };
    tokio::time::timeout(DEADLINE, live)
        .await
        .context("changes do not arrive after the outage")?;
    report.goal("failed requests in the outage", failed as f64, "", 0.0);
    report.figure("requests in the outage", sent as f64, "");
    report.figure("length of the outage", away.elapsed().as_secs_f64(), "s");
    report.figure("API server back to a change live", back.elapsed().as_secs_f64(), "s");
    Ok(())
}
