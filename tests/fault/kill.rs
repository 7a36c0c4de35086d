//! kill -9 and SIGTERM under load, with the same number of shards and with others.

use crate::load::{End, Load};

/// Rounds of kill -9: `RINGMAIN_FAULT_ROUNDS`, else 20.
fn rounds() -> usize {
    let rounds = std::env::var("RINGMAIN_FAULT_ROUNDS").ok();
    rounds.map_or(20, |rounds| rounds.parse().expect("RINGMAIN_FAULT_ROUNDS is a number"))
}

/// Goal: kill -9 at random moments under QoS 1 and 2: nothing acknowledged is lost, nothing comes twice at QoS 2, order
/// holds, and retained values are the last acknowledged ones or later.
#[test]
fn nothing_acknowledged_is_lost() {
    Load::new().rounds(std::iter::repeat_n(2, rounds()), |_| End::Kill);
}

/// Goal: the same on one shard, where no ring lies between.
#[test]
fn nor_on_one_shard() {
    Load::new().rounds(std::iter::repeat_n(1, rounds().div_ceil(4)), |_| End::Kill);
}

/// Goal: each start with another number of shards finds everything, after kill -9 and after a stop.
#[test]
fn nor_with_other_shards() {
    let end = |round: usize| if round.is_multiple_of(2) { End::Kill } else { End::Stop };
    Load::new().rounds([2, 5, 1, 3, 3, 2, 1], end);
}

/// Goal: a stop in good order loses nothing either.
#[test]
fn nor_by_a_stop() {
    Load::new().rounds(std::iter::repeat_n(2, 5), |_| End::Stop);
}
