#!/usr/bin/env bash
# cold-start.sh: wakes the tutorial's server again and again. RUNS says how often (30).
# The workload goes to zero as quickly as KEDA allows, and answers without its calculation.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd); . "$HERE/env.sh"
MANIFESTS=$HERE/../manifests/tutorial
PROGRAM=$TARGET/quick/cold-start

if ! [[ ${RUNS:-30} =~ ^[1-9][0-9]*$ ]]; then
  echo "RUNS='$RUNS' is not valid: it is the number of wakes, at least 1." >&2
  exit 1
fi
require_cluster
(cd "$HERE/../.." && cargo build --profile quick --locked -p keda-http-e2e --bin cold-start)
# Objects of an earlier run may still be terminating.
k delete namespace cold-start --ignore-not-found --timeout=120s > /dev/null
k create namespace cold-start > /dev/null
trap 'k delete namespace cold-start --wait=false > /dev/null' EXIT
k -n cold-start apply -f "$MANIFESTS/server.yaml" > /dev/null
k -n cold-start set env deployment/otel-tracing-server RESPONSE_DELAY=0 > /dev/null
k -n cold-start rollout status deployment/otel-tracing-server --timeout=60s > /dev/null
sed 's/pollingInterval: 30/pollingInterval: 1/; s/cooldownPeriod: 5/cooldownPeriod: 1/; s/window: 10s/window: 2s/' "$MANIFESTS/scaledobject.yaml" |
  k -n cold-start apply -f - > /dev/null
in_ns env NAMESPACE=cold-start KUBECONFIG="$KUBECONFIG" RUNS="${RUNS:-30}" REPORT="${REPORT:-}" "$PROGRAM"
