# Sourced by every script here. Everything of the cluster lives under $CLUSTER_DIR
# and inside one network namespace, so nothing of it is reachable from outside it.
CLUSTER_DIR=${KEDA_HTTP_CLUSTER_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/keda-http-cluster}
# Where cargo puts what it builds.
TARGET=${CARGO_TARGET_DIR:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)/target}
BIN=$CLUSTER_DIR/bin; RUN=$CLUSTER_DIR/run; VAR=$CLUSTER_DIR/var; PKI=$CLUSTER_DIR/pki; LOGS=$CLUSTER_DIR/logs
NS=${CLUSTER_NETNS:-keda-http}
NODE=node1
NODE_IP=10.200.0.1
POD_CIDR=10.201.0.0/24
SVC_CIDR=10.202.0.0/16
API_IP=10.202.0.1
DNS_IP=10.202.0.10
PROXY_MODE=${PROXY_MODE:-nftables}
CNI_BIN=${CNI_BIN:-/usr/lib/cni}
CONTAINERD=${CONTAINERD:-$(command -v containerd || true)}
CTR="ctr -a $RUN/containerd.sock -n k8s.io"
export KUBECONFIG=$CLUSTER_DIR/admin.kubeconfig
# in CMD...: run CMD inside the cluster's network namespace (net only: `ip netns
# exec` would also remount /sys and hide the cgroups)
in_ns() { nsenter --net=/run/netns/$NS -- "$@"; }
k() { in_ns "$BIN/kubectl" "$@"; }
# Addresses and cgroups are those of the machine, so it has one cluster at a time: this names the directory of the one that runs.
OWNER=/run/keda-http-cluster.owner
owner() { cat "$OWNER" 2> /dev/null || echo "$CLUSTER_DIR"; }
# ours PROCESS: whether it is in this cluster's network namespace. After a reboot a pid file may name any process.
ours() { [ -e "/run/netns/$NS" ] && [ "/proc/$1/ns/net" -ef "/run/netns/$NS" ]; }
# Whether the start of the cluster was completed and its API server is running (it may hang).
is_up() { [ -e "$RUN/complete" ] && ours "$(cat "$RUN/kube-apiserver.pid" 2> /dev/null || echo none)"; }
require_cluster() {
  if ! is_up; then echo 'No cluster runs: `make cluster` starts one; for another cluster set KUBECONFIG.' >&2; exit 1; fi
}
