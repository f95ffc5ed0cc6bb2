#!/usr/bin/env bash
# require.sh: lists what this machine lacks for a cluster, before anything is changed.
set -euo pipefail
missing=()
need() { command -v "$1" > /dev/null || missing+=("$1 ($2)"); }

[ "$(id -u)" = 0 ] || missing+=("root: network namespaces, mounts and cgroups need it")
grep -q cgroup /proc/filesystems || missing+=("cgroups in the kernel")
[ -w /sys/fs/cgroup ] || missing+=("/sys/fs/cgroup, mounted and writable")
grep -q overlay /proc/filesystems || missing+=("overlayfs in the kernel")
need go "https://go.dev/dl, 1.26 or newer; builds Kubernetes and KEDA once"
need gcc "package gcc"
need python3 "package python3; packs images"
for program in containerd ctr runc nft iptables ip nsenter conntrack openssl curl bc sysctl flock setsid; do need "$program" "e2e/cluster/deps.sh installs it on Debian and Ubuntu"; done
[ -x "${CNI_BIN:-/usr/lib/cni}/ptp" ] || missing+=("the CNI plugins ptp and host-local in ${CNI_BIN:-/usr/lib/cni} (e2e/cluster/deps.sh)")

if [ ${#missing[@]} -gt 0 ]; then
  echo "A cluster cannot be started here. Missing:" >&2
  printf '  - %s\n' "${missing[@]}" >&2
  echo "With another cluster (kind, k3s, a cloud) set KUBECONFIG instead." >&2
  exit 1
fi
