# What is run locally is what CI runs: `make test`.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-print-directory
.NOTPARALLEL:
.PHONY: all test tools format lint build unit sim loom fuzz instructions instructions-record docs-check integration
.PHONY: integration-ws
.PHONY: peers bench soak docs clean
.DEFAULT_GOAL := all

CARGO ?= cargo
RELEASE := $(or $(CARGO_TARGET_DIR),target)/release
RINGSIM := $(or $(CARGO_TARGET_DIR),target)/sim/ringsim --jobs $$(nproc)
STAGES := target/stages

# Runs one stage and notes the seconds that it took.
define stage
	@mkdir -p target; echo "==> $(1)"; SECONDS=0; $(2); printf '%6d s  %s\n' "$$SECONDS" '$(1)' | tee -a $(STAGES)
endef

## all: the program, optimised
all:
	$(CARGO) build --release --locked -p ringmain

## test: everything that must pass before a change is good
test:
	@mkdir -p target; rm -f $(STAGES)
	@for stage in tools format lint build unit sim loom instructions docs-check integration integration-ws; do $(MAKE) $$stage; done
	@echo; echo "make test: all stages passed"; cat $(STAGES); awk '{ sum += $$1 } END { printf "%6d s  all\n", sum }' $(STAGES)

## tools: what the tests need from Debian, PyPI and npm, where it is missing
tools:
	$(call stage,tools,.ci/tools)

format:
	$(call stage,format,$(CARGO) fmt --all --check)

lint:
	$(call stage,lint,$(CARGO) clippy --workspace --all-targets --features ringmain-sim/planted-faults --locked -- -D warnings)

build:
	$(call stage,build,$(CARGO) build --release --locked -p ringmain -p ringmain-benches -p ringmain-instructions --bins)

unit:
	$(call stage,unit tests,$(CARGO) test --workspace --exclude ringmain-tests --locked --quiet)

## sim: the switch on a simulated kernel, the same seeds each time; half of them have journals, and three quarters of those
## crash. As it was built with the unit tests, which is slower to run and sooner there. Fresh ones are for `make soak`
sim:
	$(call stage,simulation,$(CARGO) test --workspace --exclude ringmain-tests --locked --quiet --no-run; \
	    $(or $(CARGO_TARGET_DIR),target)/debug/ringsim --jobs $$(nproc) --from 1 --seeds 1000)

# The rings under every interleaving that the memory model allows; a target directory of its own keeps the others warm.
loom:
	$(call stage,loom,RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom $(CARGO) test --release --locked --quiet -p ringmain-shard --lib loom)

## fuzz: each decoder for FUZZ_SECONDS under AddressSanitizer; needs the nightly toolchain, and says so where there is none.
## Part of `make soak`; `make test` replays what was found
FUZZ_SECONDS ?= 3
fuzz:
	$(call stage,fuzzing,FUZZ_SECONDS=$(FUZZ_SECONDS) .ci/fuzz)

## instructions: what the hot paths cost, beside what is committed; over 3 % more fails
instructions:
	$(call stage,instructions,$(RELEASE)/ringcost check)

## instructions-record: commit to what they cost now
instructions-record: build
	$(RELEASE)/ringcost record

docs-check:
	$(call stage,documentation,RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked --quiet)

integration:
	$(call stage,integration tests,RINGMAIN_BIN="$(abspath $(RELEASE)/ringmain)" RUST_TEST_THREADS=16 $(CARGO) test -p ringmain-tests --locked)

## integration-ws: the suites of sockets, over WebSocket
integration-ws:
	$(call stage,suites over WebSocket,RINGMAIN_BIN="$(abspath $(RELEASE)/ringmain)" RINGMAIN_TEST_TRANSPORT=ws \
	    RUST_TEST_THREADS=16 $(CARGO) test -p ringmain-tests --locked --test integration -- \
	    --skip cli:: --skip stop:: --skip websocket:: --skip hazards:: --skip tune::)

## peers: the brokers that `make bench` compares with, into target/peers; nothing is installed in the system
peers:
	benches/peers/install

## bench: the hot kernels (criterion), the journal beside its disk, then floor, ringmain and its peers in interleaved rounds, and
## a report of them;
## SUITE="--profile quick" takes minutes, the whole takes three quarters of an hour
SUITE ?=
bench: build
	@mkdir -p target/bench
	$(CARGO) bench --locked -p ringmain-benches
	$(CARGO) run --release --locked -p ringmain-persistence --example group_commit -- target/bench
	$(RELEASE)/ringload journal
	$(RELEASE)/ringload suite $(SUITE)

## soak: what takes too long for every change: SOAK_SEEDS of the simulator, the proof that it finds each planted fault,
## SOAK_CASES of the keeper of the journal, cut off anywhere, kill -9 under load for SOAK_ROUNDS, AddressSanitizer, and each
## decoder fuzzed for SOAK_SECONDS
SOAK_SECONDS ?= 600
SOAK_SEEDS ?= 30000
SOAK_ROUNDS ?= 200
SOAK_CASES ?= 20000
soak: build
	$(CARGO) build --profile sim --locked -p ringmain-sim --bin ringsim
	$(RINGSIM) --seeds $(SOAK_SEEDS)
	CARGO_TARGET_DIR=target/faults \
	    $(CARGO) build --profile sim --locked -p ringmain-sim --bin ringsim --features planted-faults
	target/faults/sim/ringsim --jobs $$(nproc) --faults
	PROPTEST_CASES=$(SOAK_CASES) $(CARGO) test --release --locked -p ringmain-persistence --test persistence
	RINGMAIN_BIN="$(abspath $(RELEASE)/ringmain)" RINGMAIN_FAULT_ROUNDS=$(SOAK_ROUNDS) \
	    $(CARGO) test -p ringmain-tests --locked --test fault kill:: -- --nocapture
	RUSTFLAGS="-Zsanitizer=address" CARGO_TARGET_DIR=target/asan \
	    $(CARGO) +nightly test --locked -p ringmain-shard --lib --tests --target x86_64-unknown-linux-gnu
	FUZZ_SECONDS=$(SOAK_SECONDS) .ci/fuzz

## docs: write docs/configuration.md and ringmain.toml from the keys' definitions, docs/conformance.md from the cases
docs:
	$(CARGO) run --quiet --locked -p ringmain -- reference markdown > target/configuration.md
	$(CARGO) run --quiet --locked -p ringmain -- reference toml > target/ringmain.toml
	mv target/configuration.md docs/configuration.md
	mv target/ringmain.toml ringmain.toml
	$(CARGO) test --quiet --locked -p ringmain-tests --test conformance -- --write-table

clean:
	$(CARGO) clean
