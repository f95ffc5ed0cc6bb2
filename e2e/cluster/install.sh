#!/usr/bin/env bash
# install.sh [HELM ARGUMENTS]: our images and our chart into the cluster that is up; again after a change.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd); . "$HERE/env.sh"
ROOT=$HERE/../..

require_cluster

"$HERE/images.sh"
for archive in "$CLUSTER_DIR"/images/*.tar; do
  if [ ! -e "$archive.imported" ] || [ "$archive" -nt "$archive.imported" ]; then
    $CTR images import "$archive" > /dev/null
    touch "$archive.imported"
  fi
done
in_ns "$BIN/helm" upgrade --install http "$ROOT/charts/keda-add-ons-http" --namespace keda \
  --set images.tag=dev --set interceptor.replicas.min=1 --set scaler.replicas=2 "$@" > "$LOGS/helm.log"
# The tag does not change, so the pods need another reason to restart with the new image.
k -n keda rollout restart deployment/keda-add-ons-http-external-scaler deployment/keda-add-ons-http-interceptor > /dev/null
for deployment in external-scaler interceptor; do
  k -n keda rollout status "deployment/keda-add-ons-http-$deployment" --timeout=120s | tail -1
done
