# What is run locally is what CI runs: `make test`.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-print-directory
.NOTPARALLEL:
.PHONY: all test tools format lint build unit sim loom fuzz instructions instructions-record docs-check integration
.PHONY: integration-wss
.PHONY: peers bench soak docs deb clean
.DEFAULT_GOAL := all

CARGO ?= cargo
RELEASE := $(or $(CARGO_TARGET_DIR),target)/release
RINGSIM := $(or $(CARGO_TARGET_DIR),target)/sim/ringsim --jobs $$(nproc)
STAGES := target/stages

# All are built as parts of the workspace: with one package alone crates have other features, and are built once more.
UNIT := $(CARGO) test --workspace --locked --quiet --lib --bins --test codec --test driver_contract --test reactor \
    --test persistence --test apply --test facts --test plans --test programs --test contract --test simulation
INTEGRATION := $(CARGO) test --workspace --locked --test integration --test allocation --test load --test fault \
    --test conformance --test replay --test tidy

# Runs one stage and notes the seconds that it took.
define stage
	@mkdir -p target; echo "==> $(1)"; SECONDS=0; $(2); printf '%6d s  %s\n' "$$SECONDS" '$(1)' | tee -a $(STAGES)
endef

# Runs the first stage beside the others; what it prints comes when all have ended.
define beside
$(MAKE) $(1) > target/$(1).log 2>&1 & beside=$$!; trap 'kill $$beside 2> /dev/null' EXIT; $(MAKE) $(2); trap - EXIT; \
    wait $$beside || { cat target/$(1).log; exit 1; }; cat target/$(1).log
endef

## all: the program, optimised
all:
	$(CARGO) build --release --locked -p ringmain

## test: everything that must pass before a change is good. The optimised build, whose last part is one program after the
## other on one core, and the counting of instructions, which is one from its beginning, run beside what has use for the others
test:
	@mkdir -p target; rm -f $(STAGES); date +%s > target/begun
	@for stage in tools format; do $(MAKE) $$stage; done
	@$(call beside,build,lint unit sim)
	@$(call beside,instructions,loom docs-check)
	@for stage in integration integration-wss; do $(MAKE) $$stage; done
	@echo; echo "make test: all stages passed"; cat $(STAGES); printf '%6d s  all\n' $$(($$(date +%s) - $$(cat target/begun)))

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
	$(call stage,unit tests,$(UNIT); $(CARGO) test --workspace --locked --quiet --doc)

## sim: the switch on a simulated kernel, the same seeds each time; half of them have journals, and three quarters of those
## crash. As it was built with the unit tests, which is slower to run and sooner there. Fresh ones are for `make soak`
sim:
	$(call stage,simulation,$(UNIT) --no-run; \
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
	$(call stage,integration tests,RINGMAIN_BIN="$(abspath $(RELEASE)/ringmain)" RUST_TEST_THREADS=16 $(INTEGRATION))

# The suites of sockets over another transport than TCP; those that choose their transports themselves are left out.
define over
	$(call stage,suites over $(1),RINGMAIN_BIN="$(abspath $(RELEASE)/ringmain)" RINGMAIN_TEST_TRANSPORT=$(1) \
	    RUST_TEST_THREADS=16 $(CARGO) test --workspace --locked --test integration -- \
	    --skip cli:: --skip stop:: --skip websocket:: --skip tls:: --skip browser:: --skip clients:: --skip packaging:: \
	    --skip reload:: --skip tune:: $(2))
endef

## integration-wss: the suites of sockets over WebSocket over TLS: both layers at once. Each alone, and what takes longer, is
## part of `make soak`
integration-wss:
	$(call over,wss,--skip hazards::)

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
## SOAK_CASES of the keeper of the journal, cut off anywhere, kill -9 under load for SOAK_ROUNDS, AddressSanitizer, each
## decoder fuzzed for SOAK_SECONDS, and the suites of sockets, hazards among them, over WebSocket, TLS, and both
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
	$(call over,ws,)
	$(call over,tls,)
	$(call over,wss,)

## docs: write docs/configuration.md and ringmain.toml from the keys' definitions, docs/conformance.md from the cases
docs:
	$(CARGO) run --quiet --locked -p ringmain -- reference markdown > target/configuration.md
	$(CARGO) run --quiet --locked -p ringmain -- reference toml > target/ringmain.toml
	mv target/configuration.md docs/configuration.md
	mv target/ringmain.toml ringmain.toml
	$(CARGO) test --quiet --locked -p ringmain-tests --test conformance -- --write-table

## deb: a Debian package of the program, target/debian/*.deb; cargo-deb is built where it is missing
deb: all
	command -v cargo-deb >/dev/null || $(CARGO) install --locked cargo-deb
	mkdir -p target/debian
	cargo-deb -p ringmain --no-build --output target/debian/

clean:
	$(CARGO) clean
