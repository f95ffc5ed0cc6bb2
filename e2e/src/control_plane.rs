//! A kube-apiserver and an etcd of their own, as processes on loopback; no kubelet, no nodes.
//!
//! The programs come from `$KEDA_HTTP_CLUSTER_DIR/bin` (by default `~/.cache/keda-http-cluster/bin`), where
//! `make control-plane` builds them from their Go modules. Everything else lives in a temporary directory and ends with
//! the last reference.

mod certificates;
mod process;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::Namespace;
use keda_http_kubernetes::definitions;
use keda_http_kubernetes::source::cluster;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use parking_lot::Mutex;
use tempfile::TempDir;

use crate::manifests;
use crate::ports::free_port;
use crate::wait;
use process::Process;

/// How long the API server may take to get ready: 3 s on an idle machine.
const START: Duration = Duration::from_secs(120);
/// The token of a cluster administrator.
const TOKEN: &str = "administrator";

/// A control plane. Ends when it is dropped.
pub struct ControlPlane {
    directory: TempDir,
    port: u16,
    api_server: Mutex<Option<Process>>,
    controllers: Mutex<Option<Process>>,
    namespaces: AtomicUsize,
    #[expect(dead_code, reason = "held for its drop")]
    etcd: Process,
    etcd_port: u16,
}

impl ControlPlane {
    /// Starts one and waits until it is ready. Also applies KEDA's CustomResourceDefinitions and ours.
    ///
    /// # Errors
    /// When a program is missing or does not get ready; the message says what to do, or has the end of its log.
    pub async fn start() -> Result<Arc<Self>> {
        keda_http_runtime::install_crypto_provider();
        for program in ["etcd", "kube-apiserver"] {
            ensure!(
                binaries().join(program).is_file(),
                "{program} is not in {}; `make control-plane` builds it",
                binaries().display()
            );
        }
        let directory = tempfile::tempdir()?;
        certificates::write(directory.path())?;
        let (etcd_port, port) = (free_port()?, free_port()?);
        let etcd = start_etcd(directory.path(), etcd_port)?;
        let control_plane = Self {
            directory,
            port,
            api_server: Mutex::default(),
            controllers: Mutex::default(),
            namespaces: AtomicUsize::new(0),
            etcd,
            etcd_port,
        };
        control_plane.write_kubeconfig()?;
        control_plane.start_api_server().await?;
        manifests::apply(&control_plane.client().await?, &cluster_directory().join("keda-crds")).await?;
        for definition in [definitions::interceptor_route(), definitions::http_scaled_object()] {
            control_plane.apply(&definition.to_string()).await?;
        }
        Ok(Arc::new(control_plane))
    }

    /// The one that tests of this process share: started by the first, ended with the last reference.
    ///
    /// # Errors
    /// As [`ControlPlane::start`].
    pub async fn shared() -> Result<Arc<Self>> {
        static SHARED: tokio::sync::Mutex<Weak<ControlPlane>> = tokio::sync::Mutex::const_new(Weak::new());
        let mut shared = SHARED.lock().await;
        if let Some(running) = shared.upgrade() {
            return Ok(running);
        }
        let started = Self::start().await?;
        *shared = Arc::downgrade(&started);
        Ok(started)
    }

    /// A client with all rights. Each test needs its own: connections belong to the runtime they were made in.
    ///
    /// # Errors
    /// When the kubeconfig cannot be read.
    pub async fn client(&self) -> Result<Client> {
        Ok(cluster::client_with(self.config().await?)?)
    }

    /// What [`ControlPlane::client`] is made of.
    ///
    /// # Errors
    /// When the kubeconfig cannot be read.
    pub async fn config(&self) -> Result<Config> {
        let kubeconfig = Kubeconfig::read_from(self.kubeconfig())?;
        Ok(Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?)
    }

    /// The path of a kubeconfig with all rights, for `KUBECONFIG`.
    pub fn kubeconfig(&self) -> PathBuf {
        self.directory.path().join("kubeconfig")
    }

    /// Where the API server is: `https://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// A new namespace whose name begins like this.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn namespace(&self, prefix: &str) -> Result<String> {
        let number = self.namespaces.fetch_add(1, Ordering::Relaxed);
        let name = format!("{prefix}-{number}");
        let namespace = Namespace {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                ..ObjectMeta::default()
            },
            ..Namespace::default()
        };
        let namespaces: Api<Namespace> = Api::all(self.client().await?);
        namespaces.create(&PostParams::default(), &namespace).await?;
        Ok(name)
    }

    /// Applies every object of a YAML text.
    ///
    /// # Errors
    /// When one cannot be read or is refused.
    pub async fn apply(&self, yaml: &str) -> Result<()> {
        manifests::apply_text(&self.client().await?, yaml).await
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// When there is none.
    pub async fn delete(&self, api_version: &str, kind: &str, namespace: &str, name: &str) -> Result<()> {
        manifests::delete(&self.client().await?, api_version, kind, namespace, name).await
    }

    /// Ends the API server, as an outage; what it knows stays.
    pub fn stop_api_server(&self) {
        drop(self.api_server.lock().take());
    }

    /// Starts the API server (again) and waits until it is ready.
    ///
    /// # Errors
    /// When it does not get ready.
    pub async fn start_api_server(&self) -> Result<()> {
        let process = start_api_server(self.directory.path(), self.port, self.etcd_port)?;
        *self.api_server.lock() = Some(process);
        let client = self.client().await?;
        let ready = wait::until("the API server does not get ready", START, || async {
            if self.api_server.lock().as_mut().is_some_and(Process::has_ended) {
                return Some(false);
            }
            let request = http::Request::get("/readyz").body(Vec::new()).ok()?;
            client.request_text(request).await.ok().map(|_| true)
        });
        if ready.await? {
            return Ok(());
        }
        let log = self.api_server.lock().as_ref().map(Process::log_end);
        bail!("the API server has ended:\n{}", log.unwrap_or_default());
    }

    /// Starts kube-controller-manager with these controllers, such as `garbage-collector-controller`.
    ///
    /// # Errors
    /// When the program is missing.
    pub fn start_controllers(&self, controllers: &[&str]) -> Result<()> {
        let path = self.directory.path();
        let kubeconfig = self.kubeconfig();
        let arguments = [
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--controllers={}", controllers.join(",")),
            "--leader-elect=false".to_owned(),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--secure-port={}", free_port()?),
            format!("--service-account-private-key-file={}", path.join("sa.key").display()),
            format!("--root-ca-file={}", path.join("ca.crt").display()),
        ];
        let process = Process::start(&binaries().join("kube-controller-manager"), &arguments, path)?;
        *self.controllers.lock() = Some(process);
        Ok(())
    }

    fn write_kubeconfig(&self) -> Result<()> {
        let authority = self.directory.path().join("ca.crt");
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: here\n\
             clusters: [{{name: here, cluster: {{server: \"{}\", certificate-authority: \"{}\"}}}}]\n\
             users: [{{name: here, user: {{token: {TOKEN}}}}}]\n\
             contexts: [{{name: here, context: {{cluster: here, user: here}}}}]\n",
            self.url(),
            authority.display()
        );
        std::fs::write(self.kubeconfig(), text).context("kubeconfig")
    }
}

/// Where programs and CustomResourceDefinitions are built into.
pub fn cluster_directory() -> PathBuf {
    let set = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    set("KEDA_HTTP_CLUSTER_DIR").unwrap_or_else(|| {
        let cache = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
        cache.unwrap_or_default().join("keda-http-cluster")
    })
}

/// Where the programs are.
pub fn binaries() -> PathBuf {
    cluster_directory().join("bin")
}

fn start_etcd(directory: &Path, port: u16) -> Result<Process> {
    let client = format!("http://127.0.0.1:{port}");
    let peer = format!("http://127.0.0.1:{}", free_port()?);
    let arguments = [
        format!("--data-dir={}", directory.join("etcd").display()),
        "--unsafe-no-fsync".to_owned(),
        "--log-level=warn".to_owned(),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
    ];
    Process::start(&binaries().join("etcd"), &arguments, directory)
}

fn start_api_server(directory: &Path, port: u16, etcd_port: u16) -> Result<Process> {
    let file = |name: &str| directory.join(name).display().to_string();
    std::fs::write(
        directory.join("tokens.csv"),
        format!("{TOKEN},{TOKEN},{TOKEN},\"system:masters\"\n"),
    )?;
    let arguments = [
        format!("--etcd-servers=http://127.0.0.1:{etcd_port}"),
        "--bind-address=127.0.0.1".to_owned(),
        format!("--secure-port={port}"),
        format!("--tls-cert-file={}", file("server.crt")),
        format!("--tls-private-key-file={}", file("server.key")),
        format!("--client-ca-file={}", file("ca.crt")),
        format!("--token-auth-file={}", file("tokens.csv")),
        "--authorization-mode=RBAC".to_owned(),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-key-file={}", file("sa.pub")),
        format!("--service-account-signing-key-file={}", file("sa.key")),
        "--service-cluster-ip-range=10.0.0.0/16".to_owned(),
        "--profiling=false".to_owned(),
    ];
    Process::start(&binaries().join("kube-apiserver"), &arguments, directory)
}
