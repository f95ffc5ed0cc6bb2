//! Three scalers, of which the one that would signal KEDA is killed right before each wake: KEDA's stream begins anew at another
//! one, and the app wakes by that.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use keda_http_e2e::story::cluster::{SCALER, Workload, prometheus, then_put_back};
use keda_http_e2e::story::space::PATIENCE;
use keda_http_e2e::story::{Findings, Space, Story};
use keda_http_e2e::wait;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams};

use super::CHAPTER;

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "three_scalers",
    says: "With three scalers, the one that has KEDA's stream is killed before each of three wakes; every wake succeeds",
    alone: true,
    run: |space| Box::pin(run(space)),
};

const SCALERS: i32 = 3;
const WAKES: usize = 3;
/// A scaler that runs answers sooner.
const ANSWER: Duration = Duration::from_secs(1);

async fn run(space: Space) -> Result<Findings> {
    let scaler = space.cluster.system(SCALER);
    let replicas = scaler.replicas().await?;
    let findings = async {
        scaler.scale(SCALERS).await?;
        scaler.rolled_out().await?;
        wakes(&space, &scaler).await
    };
    let put_back = async {
        scaler.scale(replicas).await?;
        scaler.rolled_out().await
    };
    Box::pin(then_put_back(findings, put_back)).await
}

async fn wakes(space: &Space, scaler: &Workload) -> Result<Findings> {
    let api = space.app("api", 0, &[]).await?;
    space.route("api", "").await?;
    space.scaled("api", 1).await?;
    let mut took = Vec::new();
    for _ in 0..WAKES {
        api.asleep(PATIENCE).await?;
        kill(space, &with_the_stream(scaler).await?).await?;
        took.push(space.get("api", "/").await?.expect(200)?.took);
        scaler.rolled_out().await?;
    }
    let seconds = |took: &Duration| format!("{:.2} s", took.as_secs_f64());
    let all: Vec<String> = took.iter().map(seconds).collect();
    Ok(Findings::new(format!("wakes took {}", all.join(", "))))
}

/// Where the node is another machine, the pod is deleted without grace: the API server then forgets it before it ends, and until
/// it has ended it could still signal KEDA.
async fn kill(space: &Space, pod: &Pod) -> Result<()> {
    if let Some(node) = &space.cluster.node {
        return node.kill(pod).await;
    }
    let pods: Api<Pod> = Api::namespaced(space.cluster.client.clone(), &space.cluster.keda);
    let at_once = DeleteParams::default().grace_period(0);
    pods.delete(&pod.name_any(), &at_once).await?;
    wait::until_measured("the scaler does not end", PATIENCE, async || {
        let answer = tokio::time::timeout(ANSWER, prometheus::scrape(pod)).await;
        (!matches!(answer, Ok(Ok(_)))).then_some(())
    })
    .await
}

/// The scaler at which KEDA has its stream, as soon as that is one and no other.
async fn with_the_stream(scaler: &Workload) -> Result<Pod> {
    let mut streams = Vec::new();
    let found = wait::until("KEDA's stream is not at one scaler", PATIENCE, async || {
        streams = open_streams(scaler).await.ok()?;
        let mut open = streams.iter().filter(|(_, count)| *count > 0);
        let (pod, _) = open.next()?;
        open.next().is_none().then(|| pod.clone())
    })
    .await;
    found.with_context(|| {
        let counts = streams.iter().map(|(pod, count)| (pod.name_any(), *count));
        format!("{:?}", counts.collect::<Vec<_>>())
    })
}

/// Every scaler with how many streams for activation KEDA has open there.
async fn open_streams(scaler: &Workload) -> Result<Vec<(Pod, u64)>> {
    let mut streams = Vec::new();
    for pod in scaler.pods().await? {
        let text = prometheus::scrape(&pod).await?;
        let open = prometheus::sum(&text, "scaler_streams", "StreamIsActive");
        streams.push((pod, open));
    }
    Ok(streams)
}
