# The ways in. Needed: Rust (rustup takes the version of rust-toolchain.toml), Go 1.26, make.
# Nothing here needs Docker or a cluster, and only `make e2e` needs root.

MAKEFLAGS += --no-print-directory
# With the flags of the testbed, so that both share what is compiled.
go_test = CGO_ENABLED=0 go test -C $(1) -trimpath $(2) ./...
.DEFAULT_GOAL := help
.PHONY: help demo test test-real test-versions e2e check audit image site bench record generate bundle

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# The dev profile, because it is built in a fraction of the time and shared with the tests.
demo: ## See it work, in about half a minute; KEEP=1 leaves it up to look around, RECORD=1 writes docs/demo.svg
	@echo "Building what is missing. The first time takes about 15 minutes on two cores:"
	@echo "Kubernetes for the testbed about 9, Firebreak about 4. After that it takes seconds."
	@testbed=$$(testbed/build.sh) \
		&& cargo build --locked --bin firebreak --example demo \
		&& echo \
		&& exec cargo run --quiet --locked --example demo -- --testbed "$$testbed" $(if $(KEEP),--keep) $(if $(RECORD),--record)

# More tests at once than there are cores: the live ones mostly wait for the cluster.
test: ## Run all tests: unit, engine, and live ones on a real control plane
	@testbed=$$(testbed/build.sh helm) \
		&& FIREBREAK_TESTBED=$$testbed RUST_TEST_THREADS=$${RUST_TEST_THREADS:-8} \
		cargo test --locked --workspace --no-fail-fast

# Without the optimization that takes minutes. The image is a few MB larger than that of a release.
QUICKLY := CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_OPT_LEVEL=1

# Apart from `make test`, because the first run builds what nobody needs for most changes.
test-real: ## Test the image, and against real operators and tools of others, in tests/real and gitops
	$(call go_test,gitops)
	@testbed=$$(testbed/build.sh keda metrics-server prometheus promtool alertmanager helm helm4 helm-unittest helm-docs kubeconform) \
		&& image=$$($(QUICKLY) image/build.sh native) \
		&& FIREBREAK_TESTBED=$$testbed FIREBREAK_IMAGE=$$image RUST_TEST_THREADS=$${RUST_TEST_THREADS:-8} \
		cargo test --locked --test real

# The minors beside the usual one, without the tests in `left-out`, for which the minor has no API. MINORS= runs the
# tests with the earlier release alone, MINORS=1.33 one minor, and TESTS=s1_gpu_loss the live tests with that in their name.
ALL_MINORS := $(notdir $(wildcard testbed/minors/1.*))
MINORS ?= $(ALL_MINORS)

test-versions: ## Test upgrades from an earlier release, and run the live tests on the oldest and the newest Kubernetes
	@old=$$(testbed/old-release.sh) && testbed=$$(testbed/build.sh) \
		&& FIREBREAK_TESTBED=$$testbed FIREBREAK_OLD_RELEASE=$$old cargo test --locked --test versions
	@for minor in $(MINORS); do \
		testbed=$$(testbed/build.sh --minor $$minor) && echo "The live tests on Kubernetes $$minor:" \
			&& sed "s/^/left out on $$minor: /" testbed/minors/$$minor/left-out \
			&& FIREBREAK_TESTBED=$$testbed RUST_TEST_THREADS=$${RUST_TEST_THREADS:-8} \
			cargo test --locked --test live -- $(TESTS) $$(sed 's/^\([^ ]*\).*/--skip \1/' testbed/minors/$$minor/left-out) || exit; \
	done
	@$(foreach minor,$(filter-out $(MINORS),$(ALL_MINORS)),echo "left out: the live tests on Kubernetes $(minor)";)
	@$(if $(TESTS),echo "left out on these minors: the live tests without $(TESTS) in their name")

# Only the node needs root, so everything is built before. The tests end with cargo, also if it is killed.
NODE := containerd containerd-shim-runc-v2 ctr ptp host-local model-server
e2e: ## Run the image as the chart installs it on a real node, with a kubelet; needs runc and root: ROOT=sudo
	@$(ROOT) testbed/isolate.sh true
	@testbed=$$(testbed/build.sh helm $(NODE)) \
		&& image=$$($(QUICKLY) image/build.sh native) \
		&& server=$$(tests/e2e/image.sh "$$testbed/model-server" testbed.firebreak.dev/model-server:1 \
			"$${CARGO_TARGET_DIR:-target}/e2e/model-server.tar") \
		&& cargo test --locked --test e2e --config "target.'cfg(unix)'.runner = '$(ROOT) setpriv --pdeathsig KILL env \
			FIREBREAK_TESTBED=$$testbed FIREBREAK_IMAGE=$$image FIREBREAK_MODEL_SERVER=$$server testbed/isolate.sh'" \
			-- --nocapture

check: ## Check formats, lints, and that generated files are up to date
	cargo fmt --all --check
	@files=$$(gofmt -l testbed monitoring gitops) && if [ -n "$$files" ]; then echo "run gofmt -w on: $$files"; exit 1; fi
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo clippy --locked --test real --test versions --test e2e -- -D warnings
	cargo test --locked --quiet --lib committed_definitions
	$(call go_test,monitoring)

# The advisories are a repository that must be downloaded, which not every machine can: `make audit CHECKS=all`.
audit: ## Check licenses and sources of all dependencies (deny.toml), and the workflows of GitHub
	@tools=$$(image/tools.sh cargo-deny actionlint) \
		&& export PATH="$$tools:$$PATH" \
		&& cargo deny --locked check --hide-inclusion-graph $(or $(CHECKS),licenses bans sources) \
		&& actionlint

image: ## Build the container image, an OCI archive in target/image, for ARCHITECTURES (amd64 arm64)
	@image/build.sh $(ARCHITECTURES)

# mdBook runs the example as a preprocessor.
site: ## Build the documentation as a site in target/site, and check its links
	@tools=$$(image/tools.sh mdbook) \
		&& cargo build --locked --quiet --example site \
		&& "$$tools/mdbook" build --dest-dir "$${CARGO_TARGET_DIR:-target}/site" \
		&& cargo run --locked --quiet --example site -- check "$${CARGO_TARGET_DIR:-target}/site"

bench: ## Measure the release binary: memory, times, requests, a burst of Incidents, and a flood of the API server
	@testbed=$$(testbed/build.sh) \
		&& cargo build --locked --release --bin firebreak --example bench \
		&& FIREBREAK_TESTBED=$$testbed FIREBREAK_BINARY=$${CARGO_TARGET_DIR:-target}/release/firebreak \
		cargo run --quiet --locked --release --example bench

record: ## Record what this release stores in the cluster, for the upgrade tests of the next one
	@testbed=$$(testbed/build.sh) \
		&& cargo build --locked --bin firebreak --example record \
		&& FIREBREAK_TESTBED=$$testbed FIREBREAK_BINARY=$${CARGO_TARGET_DIR:-target}/debug/firebreak \
		cargo run --quiet --locked --example record

generate: ## Generate what follows from src/api (the CRDs), monitoring (the dashboard) and the chart (deploy/, its README)
	FIREBREAK_GENERATE=1 cargo test --locked --quiet --lib committed_definitions
	FIREBREAK_GENERATE=1 $(call go_test,monitoring,-count=1)
	@testbed=$$(testbed/build.sh helm helm-docs) \
		&& FIREBREAK_GENERATE=1 FIREBREAK_TESTBED=$$testbed cargo test --locked --quiet --test chart committed_manifests \
		&& "$$testbed/helm-docs" --chart-search-root charts/firebreak

bundle: ## Write the bundle for the Operator Lifecycle Manager to target/olm
	@testbed=$$(testbed/build.sh helm) && cargo build --locked --quiet --example olm \
		&& "$$testbed/helm" template firebreak charts/firebreak --namespace firebreak-system --kube-version 1.33 \
			--set crds.enabled=false --skip-tests \
		| cargo run --locked --quiet --example olm -- "$${CARGO_TARGET_DIR:-target}/olm"
