# What a person does with this tree. `make help` lists it.

# One profile serves tests, hand runs and the demo; `make bench` alone builds for speed.
CARGO ?= cargo
NEXTEST := $(shell command -v cargo-nextest 2>/dev/null)

.PHONY: help setup clients build demo test check unit sim test-against-postgres fuzz tpch tpcc bench release doc fmt

help: ## This list.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: ## Installs the system packages the build needs, when they are missing (Debian).
	@.ci/setup.sh build

clients: ## Installs what the tests of clients need, when it is missing: PostgreSQL's programs, drivers, ORMs.
	@.ci/setup.sh clients

build: setup ## Builds `conclave`.
	$(CARGO) build --bin conclave

demo: build ## Starts a three-node cluster on loopback with sample data, then a shell.
	@$(CARGO) run --quiet --bin conclave -- demo

test: setup check unit ## Everything CI checks: format, lints, tests.

check: ## Format and lints.
	$(CARGO) fmt --check
	$(CARGO) clippy --workspace --all-targets --quiet -- -D warnings

unit: ## All tests: crates, scripts, SQL files, clusters of real processes.
ifdef NEXTEST
	$(CARGO) nextest run --workspace --no-fail-fast
else
	$(CARGO) test --workspace
endif

test-against-postgres: ## sql-tests against PostgreSQL 15 (Debian's): do they say what it says?
	@.ci/against-postgres.sh $(CARGO)

fuzz: build ## Random statements on a node and on PostgreSQL 15 (Debian's): the same answers? SEED=1 SECONDS=60
	@.ci/fuzz.sh $(or $(CARGO_TARGET_DIR),target)/debug/conclave $(or $(SEED),1) $(or $(SECONDS),60)

tpch: build ## TPC-H's 22 queries on a node and on PostgreSQL 15 (Debian's): the same answers? SCALE=0.1
	@.ci/tpc.sh $(or $(CARGO_TARGET_DIR),target)/debug/conclave tpch --scale $(or $(SCALE),0.1)

tpcc: build ## TPC-C's transactions, one after another, on both: the same? WAREHOUSES=1 TRANSACTIONS=2000
	@.ci/tpc.sh $(or $(CARGO_TARGET_DIR),target)/debug/conclave tpcc --warehouses $(or $(WAREHOUSES),1) \
		--transactions $(or $(TRANSACTIONS),2000)

sim: ## Simulated clusters under every fault, SEEDS=1000 of them per workload, FROM=0 on; a line for each.
	SIM_SEED=$(or $(FROM),0) SIM_SEEDS=$(or $(SEEDS),1000) $(CARGO) test --quiet -p sim --test histories --test bank \
		--no-fail-fast -- --nocapture

release: setup ## Builds `conclave` for use: target/release/conclave.
	$(CARGO) build --release --bin conclave

bench: release ## pgbench on PostgreSQL, on one node and on three: a table with ratios and a chart.
	@.ci/setup.sh bench
	$(CARGO) run --release --quiet --bin conclave-bench

doc: ## The documentation of the crates.
	$(CARGO) doc --workspace --no-deps

fmt: ## Formats the code.
	$(CARGO) fmt
