//! The two streams of an external-push trigger, opened again whenever they end.

use std::time::Duration;

use keda_http_runtime::backoff::Backoff;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tonic::{Code, Status};

use super::client::{Client, Spec, specs};
use crate::output::Output;

/// What a stream reports of the trigger with this index.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Push {
    /// StreamIsActive: requests are pending.
    Active(usize),
    /// StreamIsActive is open.
    Opened,
    /// StreamMetricSpec: these are the metrics now.
    Specs(usize, Vec<Spec>),
}

fn backoff() -> Backoff {
    Backoff::new(Duration::from_secs(2), Duration::from_secs(60))
}

/// Follows StreamIsActive for ever. The pauses grow with every end and are short again only after a clean one: not after the
/// stream could be opened, however long it then held.
pub(super) async fn follow_activity(client: Client, trigger: usize, pushes: mpsc::Sender<Push>, output: Output) {
    let mut backoff = backoff();
    loop {
        match activity_once(&client, trigger, &pushes).await {
            Ok(()) => backoff.reset(),
            Err(status) => report(&output, "StreamIsActive", &status, &backoff),
        }
        sleep(backoff.pause()).await;
    }
}

async fn activity_once(client: &Client, trigger: usize, pushes: &mpsc::Sender<Push>) -> Result<(), Status> {
    let mut stream = client.activity().await?;
    let _ = pushes.send(Push::Opened).await; // that the scale loop has ended is seen below
    while let Some(message) = stream.message().await? {
        // `false` has no meaning to KEDA.
        if message.result && pushes.send(Push::Active(trigger)).await.is_err() {
            return Ok(()); // the scale loop has ended, and this task is about to
        }
    }
    Ok(())
}

/// Follows StreamMetricSpec until the scaler answers that it does not implement it.
pub(super) async fn follow_specs(client: Client, trigger: usize, pushes: mpsc::Sender<Push>, output: Output) {
    let mut backoff = backoff();
    loop {
        let mut updates = 0;
        match specs_once(&client, trigger, &pushes, &mut updates).await {
            Ok(()) => backoff.reset(),
            Err(status) if status.code() == Code::Unimplemented => return,
            Err(status) => {
                if updates > 0 {
                    backoff.reset();
                }
                report(&output, "StreamMetricSpec", &status, &backoff);
            }
        }
        sleep(backoff.pause()).await;
    }
}

async fn specs_once(
    client: &Client,
    trigger: usize,
    pushes: &mpsc::Sender<Push>,
    updates: &mut u64,
) -> Result<(), Status> {
    let mut stream = client.spec_changes().await?;
    while let Some(message) = stream.message().await? {
        *updates += 1;
        if pushes.send(Push::Specs(trigger, specs(message))).await.is_err() {
            return Ok(()); // the scale loop has ended, and this task is about to
        }
    }
    Ok(())
}

fn report(output: &Output, call: &str, status: &Status, backoff: &Backoff) {
    let pause = backoff.clone().pause().as_secs();
    output.print_line(
        "keda",
        &format!(
            "{call} ended: {:?}: {}; retrying in {pause} s",
            status.code(),
            status.message()
        ),
    );
}
