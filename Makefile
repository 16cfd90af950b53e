# `make help` lists the targets. Everything that they need beyond cargo and python3 is put into .tools by .ci/tools.sh.
SHELL := /bin/bash
.DEFAULT_GOAL := help
export PATH := $(CURDIR)/.tools/bin:$(PATH)

IMAGE ?= ghcr.io/valencenet/valence:0.1.0
PLAYGROUND_IMAGE ?= ghcr.io/valencenet/playground:0.1.0
PLATFORMS ?= linux/amd64,linux/arm64
# What becomes of images: pushed, or with OUTPUT=--load and one platform put into the local Docker.
OUTPUT ?= --push
VALENCE = target/debug/valence
# The operator as it is released: `$(call DIST,OPTIONS OF CARGO)`. Its linker packs the addresses to be set at start (which
# glibc 2.36 and newer read, the static one included), and joins functions that came out the same where it is lld, as on x86-64.
DIST = cargo rustc --profile dist --locked -p valence --bin valence --features lean $(1) -- \
	-C link-arg=-Wl,-z,pack-relative-relocs $(LINK_$(shell uname -m))
LINK_x86_64 = -C link-arg=-Wl,--icf=all
# Without one of these a test fails; without any other tool it says that it is skipped.
TEST_TOOLS = envoy kubectl helm prometheus promtool
KUSTOMIZE = kubectl kustomize

##@ Try it

.PHONY: demo
demo: tools ## the main job on an embedded control plane; DEMO_SECONDS=180 ends it by itself
	cargo build --release --locked -p valence -p valence-playground
	target/release/playground demo

.PHONY: demo-examples
demo-examples: tools ## the example workloads on it until ^C, beside kubectl, valence and the page
	cargo build --release --locked -p valence -p valence-playground
	target/release/playground up --install --apply deploy/example-workloads.yaml --operator-argument=--currency=EUR \
		--operator-argument=--price-per-core-hour=0.03 --operator-argument=--price-per-gib-hour=0.004

.PHONY: test
test: tools-test ## everything that can be tested; cases on a real control plane where KUBEBUILDER_ASSETS names its binaries
	VALENCE_REQUIRE_TOOLS="$(TEST_TOOLS) $$VALENCE_REQUIRE_TOOLS" cargo test --workspace --locked

##@ Measure

# `make bench PROFILE=dist` measures what the image carries: minutes more of building, and smaller code that is somewhat slower.
BENCH_PROFILE = $(if $(PROFILE),--profile $(PROFILE))

.PHONY: bench
bench: ## speed of admission, of the exposition parser and of a decision cycle, and the plan for more, as tables
	cargo bench --locked $(BENCH_PROFILE) --bench exposition --bench cycle --bench scale --bench admission

.PHONY: bench-control
bench-control: ## the controllers against each other on recorded and made load; ARGS="--full", "--trace FILE --scale X", "--help"
	cargo bench --locked --bench control -- $(ARGS)

.PHONY: footprint
footprint: ## size of the image's binary, start to ready, and idle memory
	$(call DIST)
	cargo build --release --locked -p valence-playground
	.ci/footprint.py

.PHONY: build-time
build-time: ## a clean build of the image's binary, timed; everything is downloaded before
	cargo fetch --locked
	@rm -rf target/clean && begun=$$(date +%s) && $(call DIST,--target-dir target/clean) && \
		echo "clean release build: $$(($$(date +%s) - begun)) s on $$(nproc) cores" && rm -rf target/clean

.PHONY: soak
soak: ## a day of churn in a few minutes, with flat memory
	cargo bench --locked --bench soak

.PHONY: rotation
rotation: ## certificates that rotate under 500 admissions a second
	cargo bench --locked --bench rotation

##@ Install

.PHONY: valence
valence: tools crds ## valence.yaml (kept in deploy): the operator, Prometheus and Grafana with the dashboards
	.ci/generate.sh valence

.PHONY: tooling
tooling: tools ## tooling.yaml: kube-state-metrics and metrics-server
	.ci/generate.sh tooling

.PHONY: tooling-no-ms
tooling-no-ms: tools ## tooling.yaml without metrics-server, for clusters that have one
	.ci/generate.sh tooling-no-ms

.PHONY: example-workloads
example-workloads: tools ## example-workloads.yaml: a control, the same with an SLO, gRPC, and load
	.ci/generate.sh example-workloads

.PHONY: crds
crds: ## deploy/crds, from the Rust types
	cargo build --locked --bin valence
	.ci/generate.sh crds

.PHONY: generated
generated: valence tooling example-workloads ## every generated file

.PHONY: check-generated
check-generated: tools ## fails where a generated file is not what its source makes
	cargo build --locked --bin valence
	.ci/generate.sh check

##@ Work on it

.PHONY: fmt
fmt: ## format
	cargo fmt --all

.PHONY: lint
lint: ## what CI asks before the tests
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZ_SECONDS (60); libFuzzer takes a C++ compiler
	.ci/fuzz.sh

.PHONY: deny
deny: ## licences, bans, sources and, where their database can be reached, advisories of the dependencies
	.ci/deny.sh

.PHONY: sbom
sbom: ## target/sbom.json: what is linked into the operator, as CycloneDX
	.ci/sbom.py target/sbom.json

.PHONY: tools
tools: ## envoy, kubectl and helm into .tools/bin
	@.ci/tools.sh envoy kubectl helm

.PHONY: tools-test
tools-test: ## and what only tests use
	@.ci/tools.sh $(TEST_TOOLS)

.PHONY: release
release: ## the operator, optimised
	$(call DIST)
	@ls -lh target/dist/valence | awk '{ print $$9 ": " $$5 }'

.PHONY: image
image: ## the images of the operator and of the examples, for amd64 and arm64; needs docker buildx, and pushes them
	docker buildx build -f deploy/Dockerfile --platform $(PLATFORMS) $(OUTPUT) --tag $(IMAGE) .
	docker buildx build -f deploy/Dockerfile --platform $(PLATFORMS) $(OUTPUT) --target playground --tag $(PLAYGROUND_IMAGE) .

.PHONY: image-offline
image-offline: ## target/image.tar, the operator's image for this machine, without Docker; fails above 25 MB
	RUSTFLAGS="$$RUSTFLAGS -C target-feature=+crt-static" \
		$(call DIST,--target $(shell uname -m)-unknown-linux-gnu --target-dir target/static)
	.ci/image.py --tag $(IMAGE) target/image.tar \
		linux/$(subst x86_64,amd64,$(subst aarch64,arm64,$(shell uname -m)))=target/static/$(shell uname -m)-unknown-linux-gnu/dist/valence

.PHONY: help
help: ## this list
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@/ { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' Makefile
