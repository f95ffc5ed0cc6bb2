#!/usr/bin/env bash
# build.sh PART...: the programs of a cluster, from their Go modules, into $CLUSTER_DIR/bin.
# A part is built again only when its sources here, or Go, have changed. Times go to $CLUSTER_DIR/times.
#
#   control-plane   etcd kube-apiserver kube-controller-manager, and KEDA's CustomResourceDefinitions   (about 8 minutes)
#   cluster         everything a node needs, KEDA, CoreDNS, helm                                         (about 20 minutes)
#   NAME            one program
#
# With MISSING=1 nothing is built; the names of what is missing or out of date are printed.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
. "$HERE/env.sh"
LOCK=$CLUSTER_DIR/build.lock
mkdir -p "$BIN" "$CLUSTER_DIR/times"
export CGO_ENABLED=0 GOFLAGS="-trimpath -mod=mod" GOWORK=off

command -v go > /dev/null || { echo "go is missing: install Go 1.26 or newer from https://go.dev/dl" >&2; exit 1; }

# The version of the module that a part is for.
version() { (cd "$HERE/$1" && go list -m -f '{{.Version}}' "$2"); }

# What decides whether a program must be built again.
key() { (cd "$HERE/$1" && { go version; cat -- *.go go.mod go.sum; } | sha256sum | cut -c1-64); }

# missing PROGRAM: with MISSING=1 prints the name, otherwise fails.
missing() { [ -n "${MISSING:-}" ] && echo "$1"; }

# build DIRECTORY PROGRAM LDFLAGS PACKAGE
build() {
  local directory=$1 program=$2 flags=$3 package=$4 started=$SECONDS key
  key=$(key "$directory")
  if [ -x "$BIN/$program" ] && [ "$(cat "$BIN/$program.key" 2> /dev/null)" = "$key" ]; then return; fi
  if missing "$program"; then return; fi
  echo "building $program" >&2
  (cd "$HERE/$directory" && flock "$LOCK" go build -ldflags "-s -w $flags" -o "$BIN/$program" "$package")
  echo "$key" > "$BIN/$program.key"
  printf '%s: %d s, %d MiB\n' "$program" $((SECONDS - started)) "$(du -m "$BIN/$program" | cut -f1)" | tee -a "$CLUSTER_DIR/times/build.txt" >&2
}

# Without a version Kubernetes refuses to start, and clients refuse to talk to it.
kubernetes_flags() {
  local version minor package flags=
  version=$(version kube k8s.io/kubernetes) minor=${version#v1.} minor=${minor%%.*}
  for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    flags="$flags -X $package.gitVersion=$version -X $package.gitMajor=1 -X $package.gitMinor=$minor -X $package.gitTreeState=clean"
  done
  echo "$flags"
}

keda() {
  local version; version=$(version keda github.com/kedacore/keda/v2)
  build keda "$1" "-X github.com/kedacore/keda/v2/version.Version=${version#v}" "github.com/kedacore/keda/v2/cmd/$2"
}

keda_crds() {
  local module key; key=$(key keda)
  if [ "$(cat "$CLUSTER_DIR/keda-crds.key" 2> /dev/null)" = "$key" ]; then return; fi
  if missing keda-crds; then return; fi
  rm -rf "$CLUSTER_DIR/keda-crds"
  module=$(cd "$HERE/keda" && go mod download && go list -m -f '{{.Dir}}' github.com/kedacore/keda/v2)
  mkdir -p "$CLUSTER_DIR/keda-crds"
  install -m 644 "$module"/config/crd/bases/keda.sh_*.yaml "$CLUSTER_DIR/keda-crds/"
  echo "$key" > "$CLUSTER_DIR/keda-crds.key"
}

# The Zipkin server as one file, by Maven. It is not a Go program, and only one story needs it: without Java or Maven it is left out.
zipkin() {
  local version=3.5.1 directory
  if [ -e "$BIN/zipkin.jar" ] && [ "$(cat "$BIN/zipkin.jar.key" 2> /dev/null)" = "$version" ]; then return; fi
  if missing zipkin; then return; fi
  if ! command -v mvn > /dev/null || ! command -v java > /dev/null; then
    echo "Skipped: zipkin needs Maven and Java 17 or newer (Debian, Ubuntu: apt-get install maven openjdk-17-jre-headless)" >&2
    return
  fi
  directory=$(mktemp -d)
  (cd "$directory" && mvn -q -B org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy \
    -Dartifact=io.zipkin:zipkin-server:$version:jar:exec -DoutputDirectory="$directory")
  mv "$directory/zipkin-server-$version-exec.jar" "$BIN/zipkin.jar"
  echo $version > "$BIN/zipkin.jar.key"
  rm -rf "$directory"
}

pause() {
  if [ -n "${MISSING:-}" ]; then [ -x "$BIN/pause" ] || missing pause; return; fi
  local module; module=$(cd "$HERE/kube" && go list -m -f '{{.Dir}}' k8s.io/kubernetes)
  gcc -Os -Wall -static -DVERSION=3.10 -o "$BIN/pause" "$module/build/pause/linux/pause.c"
  strip "$BIN/pause"
}

part() {
  case $1 in
    control-plane) for program in etcd kube-apiserver kube-controller-manager kubectl keda-crds; do part $program; done ;;
    cluster) for program in control-plane kube-scheduler kubelet kube-proxy pause coredns keda-operator keda-adapter keda-webhooks helm; do part $program; done ;;
    etcd) build etcd etcd "" go.etcd.io/etcd/server/v3 ;;
    kube-* | kubelet | kubectl) build kube "$1" "$(kubernetes_flags)" "k8s.io/kubernetes/cmd/$1" ;;
    coredns) build coredns coredns "" . ;;
    helm) build helm helm "" helm.sh/helm/v3/cmd/helm ;;
    keda-operator) keda keda-operator operator ;;
    keda-adapter) keda keda-adapter adapter ;;
    keda-webhooks) keda keda-webhooks webhooks ;;
    keda-crds) keda_crds ;;
    jaeger) build jaeger jaeger "" github.com/jaegertracing/jaeger/cmd/jaeger ;;
    otelcol) build otelcol otelcol "" . ;;
    pause) pause ;;
    zipkin) zipkin ;;
    *) echo "build.sh: no part $1; see the head of this file" >&2; exit 2 ;;
  esac
}

for name in "$@"; do part "$name"; done
