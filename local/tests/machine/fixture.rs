//! Local in this process, with the programs that were built beside its own.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use keda_http_core::queue::{Queue, QueueEntry};
use keda_http_local::Key;
use keda_http_local::app::{Local, Options};
use keda_http_local::kubelet::Status;
use keda_http_local::listening::WantedPorts;
use keda_http_local::output::Output;
use keda_http_local::program::{Program, State};
use parking_lot::Mutex;
use tokio::time::{sleep, timeout};

pub const DEADLINE: Duration = Duration::from_secs(60);

/// The directory of the programs.
pub fn programs() -> PathBuf {
    let directory = Path::new(env!("CARGO_BIN_EXE_hello")).parent().unwrap().to_owned();
    for program in ["keda-http-interceptor", "keda-http-scaler"] {
        let path = directory.join(program);
        assert!(
            path.exists(),
            "{} does not exist: run `make build` first",
            path.display()
        );
    }
    directory
}

/// What was printed; the test runner shows it, too, when a test fails.
#[derive(Clone, Default)]
pub struct Printed(Arc<Mutex<Vec<u8>>>);

impl Write for Printed {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        eprint!("{}", String::from_utf8_lossy(text));
        self.0.lock().write(text)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Printed {
    pub fn contains(&self, text: &str) -> bool {
        String::from_utf8_lossy(&self.0.lock()).contains(text)
    }

    /// Waits until this text has been printed.
    pub async fn wait_for(&self, text: &str) {
        let printed = async {
            while !self.contains(text) {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(DEADLINE, printed).await.expect("printed in time");
    }
}

pub struct Fixture {
    pub local: Local,
    pub printed: Printed,
    pub manifests: tempfile::TempDir,
    client: reqwest::Client,
}

/// Runs the manifests of a directory.
pub async fn run(manifests: &Path) -> (Local, Printed) {
    let options = Options {
        manifests: Some(manifests.into()),
        programs: programs(),
        ports: WantedPorts::ANY,
        ..Options::default()
    };
    let printed = Printed::default();
    let output = Output::to(printed.clone(), false);
    let local = timeout(DEADLINE, Local::start(&options, output))
        .await
        .expect("started in time")
        .unwrap();
    timeout(DEADLINE, local.keda().settled()).await.expect("polled in time");
    (local, printed)
}

/// For clients that open a connection for each request.
pub fn client_builder() -> reqwest::ClientBuilder {
    let builder = reqwest::Client::builder();
    builder.no_proxy().timeout(DEADLINE).pool_max_idle_per_host(0)
}

pub fn client() -> reqwest::Client {
    client_builder().build().unwrap()
}

/// What the interceptor says of all targets.
pub async fn queue(local: &Local) -> Queue {
    let url = format!("http://127.0.0.1:{}/queue", local.listening().admin);
    client().get(url).send().await.unwrap().json().await.unwrap()
}

impl Fixture {
    /// With one file of manifests.
    pub async fn start(yaml: &str) -> Self {
        let manifests = tempfile::tempdir().unwrap();
        std::fs::write(manifests.path().join("app.yaml"), yaml).unwrap();
        let (local, printed) = run(manifests.path()).await;
        Self {
            local,
            printed,
            manifests,
            client: client(),
        }
    }

    /// A request that is under way.
    pub fn request(&self, host: &str, path: &str) -> tokio::task::JoinHandle<reqwest::Result<(u16, String)>> {
        let url = format!("http://127.0.0.1:{}{path}", self.local.listening().proxy);
        let request = self.client.get(url).header("host", host);
        tokio::spawn(async move {
            let response = request.send().await?;
            Ok((response.status().as_u16(), response.text().await?))
        })
    }

    /// Waits for the answer.
    pub async fn get(&self, host: &str, path: &str) -> (u16, String) {
        self.request(host, path).await.unwrap().unwrap()
    }

    /// Waits until the interceptor says that it is ready, as a Service does before it sends it anything.
    pub async fn interceptor_ready(&self) {
        let url = format!("http://127.0.0.1:{}/readyz", self.local.listening().admin);
        let ready = async {
            while !self
                .client
                .get(&url)
                .send()
                .await
                .is_ok_and(|response| response.status().is_success())
            {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(DEADLINE, ready).await.expect("ready in time");
    }

    pub async fn queue(&self, target: &str) -> QueueEntry {
        queue(&self.local).await.get(target).copied().unwrap_or_default()
    }

    /// Waits until so many requests are pending.
    pub async fn pending(&self, target: &str, wanted: i64) {
        let pending = async {
            while self.queue(target).await.concurrency != wanted {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(DEADLINE, pending).await.expect("pending in time");
    }

    pub async fn status(&self, deployment: &str, wanted: impl FnMut(&Status) -> bool) -> Status {
        let mut status = self.local.kubelet().status(&Key::new("default", deployment)).unwrap();
        timeout(DEADLINE, status.wait_for(wanted))
            .await
            .expect("in time")
            .unwrap()
            .clone()
    }
}

/// Kills the program outright and waits until its death was seen.
pub async fn kill(program: &Program) {
    let mut state = program.state();
    let State::Running(pid) = *state.borrow_and_update() else {
        panic!("does not run")
    };
    let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    timeout(DEADLINE, state.wait_for(|state| matches!(state, State::Ended(_))))
        .await
        .expect("seen in time")
        .unwrap();
}

/// Waits until it runs again.
pub async fn runs_again(program: &Program) {
    let mut state = program.state();
    timeout(DEADLINE, state.wait_for(|state| matches!(state, State::Running(_))))
        .await
        .expect("again in time")
        .unwrap();
}

/// Manifests of an app at zero behind `HOST`.
pub struct App<'a> {
    /// The container's fields from `command` on, as one line of YAML in braces.
    pub container: &'a str,
    pub cooldown: u32,
}

impl<'a> App<'a> {
    /// That is not scaled to zero during a test.
    pub fn that_stays(container: &'a str) -> Self {
        Self {
            container,
            cooldown: 60,
        }
    }

    /// With a `kedify-http` trigger.
    pub fn yaml(&self) -> String {
        let trigger = "{type: kedify-http, metadata: {hosts: app.local, service: app, port: '80', scalingMetric: \
                       requestRate, targetValue: '100', granularity: 1s, window: 2s}}";
        format!("{}---\n{}", self.workload(), self.scaled_object(trigger))
    }

    /// With an InterceptorRoute that lets nobody wait longer than `readiness`.
    pub fn yaml_with_route(&self, readiness: &str) -> String {
        let trigger = "{type: external-push, metadata: {interceptorRoute: app, scalerAddress: 'elsewhere:9090'}}";
        let route = format!(
            "{{apiVersion: http.keda.sh/v1beta1, kind: InterceptorRoute, metadata: {{name: app}}, spec: {{target: {{service: \
             app, port: 80}}, rules: [{{hosts: [app.local]}}], scalingMetric: {{concurrency: {{targetValue: 100}}}}, timeouts: \
             {{readiness: {readiness}}}}}}}\n"
        );
        format!("{}---\n{}---\n{route}", self.workload(), self.scaled_object(trigger))
    }

    fn workload(&self) -> String {
        let container = self.container;
        format!(
            "{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: app}}, spec: {{replicas: 0, selector: {{matchLabels: \
             {{app: app}}}}, template: {{metadata: {{labels: {{app: app}}}}, spec: {{containers: [{container}]}}}}}}}}\n---\n\
             {{apiVersion: v1, kind: Service, metadata: {{name: app}}, spec: {{selector: {{app: app}}, ports: [{{port: 80, \
             targetPort: 8080}}]}}}}\n"
        )
    }

    fn scaled_object(&self, trigger: &str) -> String {
        let cooldown = self.cooldown;
        format!(
            "{{apiVersion: keda.sh/v1alpha1, kind: ScaledObject, metadata: {{name: app}}, spec: {{scaleTargetRef: {{name: \
             app}}, pollingInterval: 1, cooldownPeriod: {cooldown}, triggers: [{trigger}]}}}}\n"
        )
    }
}
