# The targets that developers and .ci/run use. `make` alone lists them.
# They need a Rust toolchain and a C compiler; `make bench` also needs nginx and says how to get it.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

MANIFESTS ?= examples/web
CASE ?= all
# The profile of interceptor and scaler on the cluster: release or debug.
PROFILE ?= release
DENY_VERSION := 0.20.2

CARGO_DIRECTORY := $(or $(CARGO_HOME),$(HOME)/.cargo)
TARGET := $(or $(CARGO_TARGET_DIR),target)
# This exact version in a directory of its own, so that it does not replace the user's cargo-deny.
DENY_DIRECTORY := $(CARGO_DIRECTORY)/tools/cargo-deny-$(DENY_VERSION)
# `local` and the programs that it starts.
PROGRAMS := -p keda-http-interceptor -p keda-http-scaler -p keda-http-local --bins

.PHONY: help build run demo test test-kubernetes test-charts images control-plane cluster cluster-down e2e cold-start lint format format-check clippy markdown deny advisories bench clean
.PHONY: toolchain rustfmt-component clippy-component cargo-deny nginx

help: ## List these targets
	@echo 'make TARGET, where TARGET is one of'
	@echo
	@sed -nE 's/^([a-z0-9-]+):.*## (.*)/\1\t\2/p' $(firstword $(MAKEFILE_LIST)) | while IFS=$$'\t' read -r name text; do printf '  %-16s %s\n' "$$name" "$$text"; done
	@echo
	@echo 'Examples: make run MANIFESTS=path/to/manifests    make bench CASE=get64'

build: toolchain ## Build interceptor, scaler and local, not optimised
	@cargo build --locked $(PROGRAMS)

run: build ## Run everything on this machine with the app in MANIFESTS=dir (default: examples/web) until Ctrl-C; ARGS='--proxy-port 9000' adds flags
	@exec $(TARGET)/debug/keda-http-local run --manifests '$(MANIFESTS)' $(ARGS)

demo: build ## Send one cold and one warm request to the app in MANIFESTS=dir, show the trace, and exit
	@exec $(TARGET)/debug/keda-http-local demo --manifests '$(MANIFESTS)' $(ARGS)

test: build ## Run all tests that need no cluster
	@cargo test --workspace --exclude keda-http-e2e --locked

test-kubernetes: control-plane ## Run the tests on a real API server (built once from Go modules: about 8 minutes)
	@cargo build --locked -p keda-http-interceptor -p keda-http-scaler --bins
	@cargo test --locked -p keda-http-e2e

test-charts: toolchain ## Test the Helm chart: lint, golden files, refused values (UPDATE_GENERATED=1 rewrites the golden files)
	@helm=$$(charts/helm.sh); \
	if [[ -n $$helm ]]; then HELM=$$helm cargo test --locked -p keda-http-charts -- --include-ignored; \
	else echo 'Skipped: there is neither Helm nor Go to build it.'; fi

images: toolchain ## Write both images as OCI archives, with bills of materials, into target/images (IMAGE_REPOSITORY, IMAGE_TAG)
	@images/build.sh

control-plane: toolchain ## Build kube-apiserver and etcd for test-kubernetes, once, into ~/.cache/keda-http-cluster
	@e2e/cluster/build.sh control-plane

cluster: toolchain ## Start a one-node Kubernetes with stock KEDA and this chart (root; built once from Go modules: about 35 minutes)
	@e2e/cluster/require.sh
	@e2e/cluster/build.sh cluster jaeger otelcol $(if $(filter 0,$(ZIPKIN)),,zipkin)
	@cargo build $(patsubst %,--%,$(filter release,$(PROFILE))) --locked -p keda-http-interceptor -p keda-http-scaler --bins
	@cargo build --locked -p keda-http-e2e-apps -p keda-http-e2e --bins
	@PROFILE=$(PROFILE) e2e/cluster/up.sh
	@PROFILE=$(PROFILE) e2e/cluster/install.sh

cluster-down: ## Stop the cluster and remove everything but the built programs
	@e2e/cluster/down.sh

e2e: toolchain ## Run the end-to-end tests on the running cluster, or on that of KUBECONFIG (STORIES='word ...' selects): docs/e2e.md
	@SUMMARY='$(abspath $(SUMMARY))' SAVE_TRACE='$(abspath $(SAVE_TRACE))' e2e/cluster/stories.sh $(STORIES)

cold-start: toolchain ## Wake the tutorial's server RUNS=30 times on the cluster and show where the time goes (REPORT=docs saves it there)
	@REPORT='$(abspath $(REPORT))' e2e/cluster/cold-start.sh

lint: format-check clippy markdown ## Check format and Markdown, and run clippy; warnings are errors

format: rustfmt-component ## Format the code
	@cargo fmt --all

format-check: rustfmt-component
	@cargo fmt --all --check || { echo 'The format differs: run `make format`.' >&2; exit 1; }

clippy: clippy-component
	@cargo clippy --workspace --all-targets --locked -- -D warnings

markdown:
	@.ci/markdown

deny: cargo-deny ## Check licences, banned crates and sources of all dependencies
	@'$(DENY_DIRECTORY)/bin/cargo-deny' --locked check licenses bans sources

advisories: cargo-deny ## Check the dependencies for known vulnerabilities (skipped if github.com is not reachable)
	@if timeout 120 '$(DENY_DIRECTORY)/bin/cargo-deny' fetch db >/dev/null 2>&1; \
	then '$(DENY_DIRECTORY)/bin/cargo-deny' --locked check --disable-fetch advisories; \
	else echo 'Skipped: the RustSec database at github.com is not reachable.'; fi

bench: toolchain nginx $(if $(filter all cluster,$(CASE)),control-plane) ## Measure one case (CASE=name) or all: signal ready get64 held routes tracing cluster (BEFORE=dir: and compare with the programs there)
	@cargo build --release --locked -p keda-http-interceptor -p keda-http-scaler -p keda-http-bench --bins
	@exec $(TARGET)/release/keda-http-bench '$(CASE)' $(if $(BEFORE),'$(abspath $(BEFORE))')

clean: ## Remove the build and the files of `make run`
	@cargo clean
	@rm -rf .run

# Checks for what the targets need, each with a message that says how to get it.

toolchain:
	@command -v cargo >/dev/null || { echo 'cargo is missing: install a Rust toolchain from https://rustup.rs' >&2; exit 1; }
	@command -v "$${CC:-cc}" >/dev/null || { echo "The C compiler '$${CC:-cc}' is missing: install one (Debian, Ubuntu: apt-get install gcc libc6-dev), or name yours in CC." >&2; exit 1; }

rustfmt-component: toolchain
	@cargo fmt --version >/dev/null 2>&1 || { echo 'rustfmt is missing: rustup component add rustfmt' >&2; exit 1; }

clippy-component: toolchain
	@cargo clippy --version >/dev/null 2>&1 || { echo 'clippy is missing: rustup component add clippy' >&2; exit 1; }

cargo-deny: toolchain
	@test -x '$(DENY_DIRECTORY)/bin/cargo-deny' || { \
	  echo 'Building cargo-deny $(DENY_VERSION) once, into $(DENY_DIRECTORY) (some minutes).' >&2; \
	  cargo install --quiet --locked --root '$(DENY_DIRECTORY)' cargo-deny --version $(DENY_VERSION) || { \
	    echo 'Cannot build cargo-deny $(DENY_VERSION): it needs crates.io and rustc 1.88 or newer.' >&2; exit 1; }; }

nginx:
	@command -v nginx >/dev/null || test -x /usr/sbin/nginx || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo 'Installing nginx-light with apt-get: the benchmarks compare with it.' >&2; \
	    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends nginx-light >/dev/null; } \
	      || { echo 'Cannot install nginx: apt-get install nginx-light failed.' >&2; exit 1; }; \
	  else \
	    echo 'nginx is missing: the benchmarks compare with it. Debian, Ubuntu: sudo apt-get install nginx-light' >&2; exit 1; \
	  fi; }
