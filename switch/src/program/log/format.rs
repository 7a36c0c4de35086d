//! Records as lines: `2026-03-01T12:00:00.123Z info  [0] connected ...`.

use std::fmt::{self, Write};
use std::time::{Duration, SystemTime};

use super::Level;
use super::sink::{Record, What};

/// Appends a record of `shard` as one line. `origin` is the wall clock's time at the shards' [`shard::Instant::ZERO`].
pub(super) fn record(out: &mut String, origin: SystemTime, shard: usize, record: &Record) {
    let at = origin + Duration::from_nanos(record.at.as_nanos());
    head(out, at, record.level);
    // Writing to a String cannot fail.
    let _ = match &record.what {
        What::Connected { client, address, version, keepalive, resumed } => {
            let version = if *version == 5 { "5.0" } else { "3.1.1" };
            let session = if *resumed { "resumed" } else { "new" };
            let client = ClientId(client.text());
            writeln!(
                out,
                "[{shard}] connected: client {client} from {address}, MQTT {version}, keepalive {keepalive} s, \
                 {session} session"
            )
        }
        What::Disconnected { client, address, reason } => {
            writeln!(out, "[{shard}] disconnected: client {} from {address}: {reason}", ClientId(client.text()))
        }
        What::Refused { client, address, reason } if client.text().0.is_empty() => {
            writeln!(out, "[{shard}] refused: {address}: {reason}")
        }
        What::Refused { client, address, reason } => {
            writeln!(out, "[{shard}] refused: client {} from {address}: {reason}", ClientId(client.text()))
        }
        What::Text(text) => writeln!(out, "[{shard}] {}", text.text().0),
    };
}

/// Appends a line of the program itself.
pub(super) fn line(out: &mut String, at: SystemTime, level: Level, text: &dyn fmt::Display) {
    head(out, at, level);
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{text}");
}

fn head(out: &mut String, at: SystemTime, level: Level) {
    let _ = write!(out, "{} {:<5} ", Rfc3339(at), level.as_str());
}

/// A client id in quotes, with what could forge a line escaped.
struct ClientId<'a>((&'a str, bool));

impl fmt::Display for ClientId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (text, cut) = self.0;
        write!(f, "\"{}\"", text.escape_debug())?;
        if cut { f.write_str("...") } else { Ok(()) }
    }
}

/// A time in UTC as RFC 3339 writes it, to the millisecond.
pub(super) struct Rfc3339(pub(super) SystemTime);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.0.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", since.subsec_millis())
    }
}

/// Year, month and day of the day that is `days` after 1970-01-01, in the Gregorian calendar.
///
/// Years are taken to begin in March, so that the day that comes and goes is the last one of a year.
fn civil(days: u64) -> (u64, u64, u64) {
    const DAYS_TO_1970: u64 = 719_468; // from 0000-03-01
    const ERA: u64 = 146_097; // days in 400 years
    let days = days + DAYS_TO_1970;
    let (era, day) = (days / ERA, days % ERA);
    let year = (day - day / 1_460 + day / 36_524 - day / (ERA - 1)) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153; // from March
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + carry, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> String {
        Rfc3339(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).to_string()
    }

    /// Dates around leap days and century ends are those of `date -u -d @N`.
    #[test]
    fn dates_of_the_gregorian_calendar() {
        assert_eq!(at(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00.000Z");
        assert_eq!(at(951_868_799), "2000-02-29T23:59:59.000Z");
        assert_eq!(at(1_709_251_199), "2024-02-29T23:59:59.000Z");
        assert_eq!(at(1_735_689_599), "2024-12-31T23:59:59.000Z");
        assert_eq!(at(4_107_542_400), "2100-03-01T00:00:00.000Z");
    }

    /// A client id cannot begin a line of its own.
    #[test]
    fn client_ids_are_escaped() {
        assert_eq!(ClientId(("a\n2026 error \"x\"\u{1b}[2J", false)).to_string(), r#""a\n2026 error \"x\"\u{1b}[2J""#);
        assert_eq!(ClientId(("long", true)).to_string(), "\"long\"...");
    }
}
