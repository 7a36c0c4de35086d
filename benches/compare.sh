#!/bin/sh
# Builds floor, ringload and ringmain, and runs them beside Debian's mosquitto in interleaved rounds: medians of the
# broker's CPU time for each delivery, and ratios. Arguments go to `ringload compare`; `--help` lists them.
set -eu
cd "$(dirname "$0")/.."
cargo build --release --locked --quiet -p ringmain -p ringmain-benches
exec "${CARGO_TARGET_DIR:-target}/release/ringload" compare "$@"
