//! What the tests on real Kubernetes parts share.
//!
//! # Layout
//!
//! - [`control_plane`]: a kube-apiserver and an etcd of their own, as processes on loopback; no kubelet, no nodes.
//! - [`cold_start`]: one wake after another on a cluster, and where the time of each goes.
//! - [`manifests`]: YAML to objects of a cluster.
//! - [`ports`]: free ports.
//! - [`story`]: what users do on a whole cluster with stock KEDA.
//! - [`wait`]: waiting for what a control plane does in its own time.

pub mod cold_start;
pub mod control_plane;
pub mod manifests;
pub mod ports;
pub mod story;
pub mod wait;
