//! Standard output, whose reader may have seen enough (`| head`).
//!
//! That is no failure: the status is that of what was measured. What would be measured only to be told ends, with the
//! status that SIGPIPE would give. Anything else that cannot be written (a disk that is full) is an error.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

/// The status of work that was cut short as nobody reads what it says: 128 and the number of SIGPIPE.
pub const UNREAD: u8 = 141;

/// Prints. False: nobody reads any more.
///
/// # Errors
/// It cannot be written.
pub fn say(text: impl Display) -> Result<bool, String> {
    let mut out = io::stdout().lock();
    match write!(out, "{text}").and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(format!("cannot write to standard output: {error}")),
    }
}

/// The same with the end of a line.
///
/// # Errors
/// It cannot be written.
pub fn say_line(text: impl Display) -> Result<bool, String> {
    say(format_args!("{text}\n"))
}
