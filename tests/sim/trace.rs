//! What happened in a run: a fingerprint always, and one line for each event where somebody wants to read it.

use std::fmt::Arguments;
use std::hash::{BuildHasher, Hasher};
use std::io::{self, ErrorKind, Write};
use std::process::exit;

use shard::Instant;

/// The trace of a run. Two runs of a seed have the same fingerprint.
#[derive(Debug)]
pub struct Trace {
    print: bool,
    fingerprint: u64,
}

impl Trace {
    /// An empty trace; `print` writes its lines to standard output.
    pub fn new(print: bool) -> Trace {
        Trace { print, fingerprint: 0 }
    }

    /// Whether lines are printed.
    pub fn prints(&self) -> bool {
        self.print
    }

    /// Something happened, in words.
    pub fn line(&self, at: Instant, text: Arguments<'_>) {
        if self.print {
            let micros = at.as_nanos() / 1000;
            say(format_args!("{:>6}.{:06} {text}", micros / 1_000_000, micros % 1_000_000));
        }
    }

    /// Something happened, in bytes.
    pub fn fold(&mut self, what: u64, bytes: &[u8]) {
        let mut hasher = ahash::RandomState::with_seeds(1, 2, 3, 4).build_hasher();
        hasher.write_u64(self.fingerprint);
        hasher.write_u64(what);
        hasher.write(bytes);
        self.fingerprint = hasher.finish();
    }

    /// All that happened, in one number.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }
}

/// Prints a line. Where nobody reads it any more (`| head`) the process ends at once, with the status that SIGPIPE would
/// give; where it cannot be written for another reason, with 2: neither is a failure of the seed that is run.
pub fn say(line: Arguments<'_>) {
    let Err(error) = writeln!(io::stdout(), "{line}") else { return };
    if error.kind() == ErrorKind::BrokenPipe {
        exit(141);
    }
    let _ = writeln!(io::stderr(), "ringsim: cannot write to standard output: {error}");
    exit(2);
}

/// Writes one line of a trace, formatted only where it is printed.
macro_rules! trace {
    ($world:expr, $($text:tt)*) => {
        if $world.trace.prints() {
            let now = $world.machine.kernel().now();
            $world.trace.line(now, format_args!($($text)*));
        }
    };
}
pub(crate) use trace;
