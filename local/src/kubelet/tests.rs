#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;

use super::*;
use crate::workload::tests::deployment;

struct Fixture {
    directory: tempfile::TempDir,
    kubelet: Kubelet,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let slices = directory.path().join("slices");
        std::fs::create_dir(&slices).unwrap();
        let slices = EndpointSlices::new(&slices);
        let service = "{metadata: {name: app}, spec: {selector: {app: app}, ports: [{port: 80, targetPort: 8080}]}}";
        slices.set_services(vec![serde_saphyr::from_str(service).unwrap()]);
        let kubelet = Kubelet::new(PodContext {
            slices,
            ports: Ports::default(),
            output: Output::to(std::io::sink(), false),
            directory: directory.path().into(),
            env: BTreeMap::new(),
        });
        Self { directory, kubelet }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn slices(&self) -> usize {
        std::fs::read_dir(self.path().join("slices")).unwrap().count()
    }

    async fn status(&self, wanted: impl FnMut(&Status) -> bool) -> Status {
        let mut status = self.kubelet.status(&Key::new("default", "app")).unwrap();
        let waited = tokio::time::timeout(Duration::from_secs(30), status.wait_for(wanted)).await;
        waited.expect("in time").unwrap().clone()
    }
}

fn workload(script: &str, more: &str) -> Workload {
    let yaml = format!(
        "
        metadata: {{name: app}}
        spec:
          replicas: 0
          selector: {{matchLabels: {{app: app}}}}
          template:
            metadata: {{labels: {{app: app}}}}
            spec:
              containers:
                - name: app
                  command: [sh, -c, {}]
                  {more}
        ",
        serde_json::to_string(script).unwrap()
    );
    Workload::read(&deployment(&yaml)).unwrap()
}

fn scale(fixture: &Fixture) -> Scale {
    fixture.kubelet.scale(&Key::new("default", "app")).unwrap()
}

#[tokio::test]
async fn without_a_probe_a_replica_is_ready_when_it_has_started_and_its_slice_goes_before_it_does() {
    let fixture = Fixture::new();
    // The process writes down how many slices there are when it gets SIGTERM.
    let script = "trap 'ls slices | wc -l > seen; exit 0' TERM; while :; do sleep 0.02; done";
    fixture.kubelet.set(vec![workload(script, "")]);
    scale(&fixture).set(1);
    fixture.status(|status| status.ready == 1).await;
    assert_eq!(fixture.slices(), 1);
    tokio::time::sleep(Duration::from_millis(200)).await; // lets the shell set its trap
    scale(&fixture).set(0);
    let status = fixture.status(|status| status.pods == 0).await;
    assert_eq!(status.history, [0, 1, 0]);
    assert_eq!(
        std::fs::read_to_string(fixture.path().join("seen")).unwrap().trim(),
        "0"
    );
}

#[tokio::test]
async fn a_probe_decides_when_a_replica_is_ready() {
    let fixture = Fixture::new();
    let probe = "readinessProbe: {exec: {command: [test, -e, good]}, periodSeconds: 1, failureThreshold: 1}";
    fixture.kubelet.set(vec![workload("exec sleep 1000", probe)]);
    scale(&fixture).set(1);
    fixture.status(|status| status.pods == 1).await;
    assert_eq!(fixture.slices(), 0);
    std::fs::write(fixture.path().join("good"), "").unwrap();
    fixture.status(|status| status.ready == 1).await;
    assert_eq!(fixture.slices(), 1);
    std::fs::remove_file(fixture.path().join("good")).unwrap();
    fixture.status(|status| status.ready == 0).await;
    assert_eq!(fixture.slices(), 0);
    fixture.kubelet.stop().await;
}

#[tokio::test]
async fn a_replica_that_crashes_is_started_again_in_the_same_pod() {
    let fixture = Fixture::new();
    fixture
        .kubelet
        .set(vec![workload("echo $HOSTNAME $PORT >> starts; exit 3", "")]);
    scale(&fixture).set(1);
    let starts = async {
        loop {
            let text = std::fs::read_to_string(fixture.path().join("starts")).unwrap_or_default();
            if text.lines().count() >= 2 {
                return text;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let text = tokio::time::timeout(Duration::from_secs(30), starts).await.unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], lines[1]);
    fixture.kubelet.stop().await;
    assert_eq!(fixture.slices(), 0);
}

#[tokio::test]
async fn every_replica_has_a_port_of_its_own() {
    let fixture = Fixture::new();
    fixture
        .kubelet
        .set(vec![workload("echo $PORT > port.$HOSTNAME; exec sleep 1000", "")]);
    scale(&fixture).set(3);
    fixture.status(|status| status.ready == 3).await;
    let ports = || {
        let entries = std::fs::read_dir(fixture.path())
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let files = entries.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("port."));
        files
            .map(|path| std::fs::read_to_string(path).unwrap())
            .filter(|text| text.ends_with('\n'))
            .collect::<Vec<_>>()
    };
    let waited = tokio::time::timeout(Duration::from_secs(30), async {
        while ports().len() < 3 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    waited.await.unwrap();
    let distinct: std::collections::BTreeSet<String> = ports().into_iter().collect();
    assert_eq!(distinct.len(), 3);
    assert_eq!(fixture.slices(), 3);
    fixture.kubelet.stop().await;
}

#[tokio::test]
async fn a_changed_template_replaces_replicas_once_the_new_ones_are_ready() {
    let fixture = Fixture::new();
    fixture.kubelet.set(vec![workload("exec sleep 1000", "")]);
    scale(&fixture).set(1);
    fixture.status(|status| status.ready == 1).await;
    fixture.kubelet.set(vec![workload("exec sleep 2000", "")]);
    let status = fixture.status(|status| status.history.len() == 4).await;
    assert_eq!(status.history, [0, 1, 2, 1]);
    assert_eq!(status.ready, 1);
    fixture.kubelet.stop().await;
}

#[tokio::test]
async fn a_deployment_that_is_deleted_is_stopped() {
    let fixture = Fixture::new();
    fixture.kubelet.set(vec![workload("exec sleep 1000", "")]);
    scale(&fixture).set(1);
    let mut status = fixture.kubelet.status(&Key::new("default", "app")).unwrap();
    status.wait_for(|status| status.ready == 1).await.unwrap();
    fixture.kubelet.set(Vec::new());
    let waited = tokio::time::timeout(Duration::from_secs(30), status.wait_for(|status| status.pods == 0));
    waited.await.unwrap().unwrap();
    assert!(fixture.kubelet.scale(&Key::new("default", "app")).is_none());
}
