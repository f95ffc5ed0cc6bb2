#!/usr/bin/env bash
# Prints where Helm is: the one in PATH, else the one of the test cluster, which is built when Go is there (about 80 s).
# Prints nothing when there is none.
set -euo pipefail
built=${KEDA_HTTP_CLUSTER_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/keda-http-cluster}/bin/helm

if command -v helm; then exit; fi
if [[ ! -x $built ]] && command -v go > /dev/null; then
  "$(dirname "$0")/../e2e/cluster/build.sh" helm >&2
fi
if [[ -x $built ]]; then echo "$built"; fi
