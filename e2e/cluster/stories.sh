#!/usr/bin/env bash
# stories.sh [WORD...]: runs the end-to-end tests of ../tests/stories whose name or chapter contains a word, or all of them.
#
#   KUBECONFIG unset  on the one-node cluster of `make cluster`, from inside its network namespace
#   KUBECONFIG set    on that cluster, from a pod: KEDA and the chart are installed there, and the images of images.sh
#                     (otel-tracing-server, otel-tracing-client, jaeger, otelcol, stories) are at IMAGE_REPOSITORY, with IMAGE_TAG
#   KUBECTL           the kubectl for that (kubectl)
#   SUMMARY           where the table goes (one-node cluster only; target/stories.md)
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
ROOT=$HERE/../..
OTHER=${KUBECONFIG:-}
. "$HERE/env.sh"
# KUBECONFIG may come from env.sh: then it names the one-node cluster.
if [ "$OTHER" = "$KUBECONFIG" ]; then OTHER=; fi

on_the_node() {
  require_cluster
  export SUMMARY=${SUMMARY:-$TARGET/stories.md}
  # Not optimised: it mostly waits, and builds in a fraction of the time. The packages are those of `make cluster`, so that
  # their features do not change.
  (cd "$ROOT" && cargo build --locked -p keda-http-e2e-apps -p keda-http-e2e --bins)
  # It replaces this shell, so that a signal reaches it and it restores everything.
  exec nsenter --net=/run/netns/$NS -- env CLUSTER_RUN="$RUN" KUBECONFIG="$KUBECONFIG" "$TARGET/debug/stories" "$@"
}

in_a_pod() {
  local image=${IMAGE_REPOSITORY:-localhost}/stories:${IMAGE_TAG:-dev} arguments
  # Not local, because the trap at the end needs it.
  kubectl=${KUBECTL:-kubectl}
  command -v "$kubectl" > /dev/null || { echo "$kubectl is missing; KUBECTL names another one" >&2; exit 1; }
  arguments=$([ $# = 0 ] || printf ', "%s"' "$@")
  "$kubectl" delete namespace keda-http-stories --ignore-not-found > /dev/null
  # The pod goes first: it restores everything on SIGTERM and needs its rights for that.
  trap '"$kubectl" delete namespace/keda-http-stories --ignore-not-found > /dev/null
    "$kubectl" delete clusterrolebinding/keda-http-stories --ignore-not-found > /dev/null' EXIT
  "$kubectl" apply -f - > /dev/null <<Y
apiVersion: v1
kind: Namespace
metadata: {name: keda-http-stories}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: keda-http-stories}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: ServiceAccount, name: default, namespace: keda-http-stories}]
---
apiVersion: v1
kind: Pod
metadata: {name: stories, namespace: keda-http-stories}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 300
  containers:
    - name: stories
      image: $image
      imagePullPolicy: IfNotPresent
      args: [${arguments#, }]
      env:
        - {name: KEDA_NAMESPACE, value: "${KEDA_NAMESPACE:-keda}"}
        - {name: IMAGE_REPOSITORY, value: "${IMAGE_REPOSITORY:-localhost}"}
        - {name: IMAGE_TAG, value: "${IMAGE_TAG:-dev}"}
Y
  follow
}

# Shows the logs of the pod until it ends, also across broken connections, and returns its exit code.
follow() {
  local phase=Pending last='' pending=0 at line
  while [ "$phase" != Succeeded ] && [ "$phase" != Failed ]; do
    # Logs that are asked for again begin at the second of the last line.
    while read -r at line; do
      if [[ $at > $last ]]; then echo "$line" >&2; last=$at; fi
    done < <("$kubectl" -n keda-http-stories logs --follow --timestamps ${last:+--since-time="$last"} stories 2> /dev/null)
    phase=$(status '{.status.phase}')
    if [ "$phase" = Pending ] && [ $((pending += 1)) -gt 120 ]; then
      echo "The pod of the end-to-end tests does not start: $(status '{.status.containerStatuses[0].state.waiting}')" >&2
      return 1
    fi
    sleep 1
  done
  return "$(status '{.status.containerStatuses[0].state.terminated.exitCode}')"
}

# status FIELD: a field of the pod. Fails after a minute without an answer.
status() {
  local try
  for try in $(seq 1 30); do
    if "$kubectl" -n keda-http-stories get pod stories -o jsonpath="$1" --request-timeout=5s; then return; fi
    sleep 2
  done
  echo 'The pod of the end-to-end tests cannot be read any more.' >&2
  return 1
}

if [ -z "$OTHER" ]; then
  on_the_node "$@"
else
  export KUBECONFIG=$OTHER
  in_a_pod "$@"
fi
