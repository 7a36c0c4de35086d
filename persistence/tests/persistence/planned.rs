//! Appends, trims, failures, kills and power losses in any order: what was promised is there, and nothing else.

use persistence::layout::HEADER_BYTES;
use proptest::prelude::*;

use crate::node::SEGMENT_BYTES;
use crate::world::{Step, World};

fn step() -> impl Strategy<Value = Step> {
    let errno = prop_oneof![2 => Just(libc::ENOSPC), 1 => Just(libc::EIO)];
    prop_oneof![
        12 => (0_usize..900).prop_map(Step::Append),
        12 => (0_usize..4).prop_map(Step::End),
        4 => Just(Step::Run),
        3 => any::<u8>().prop_map(Step::Trim),
        1 => (0_usize..4, 0_u64..3, errno).prop_map(|(which, after, errno)| Step::Fail(which, after, errno)),
        1 => (0_u64..12).prop_map(Step::Kill),
        2 => (0_u64..12).prop_map(Step::PowerFails),
        1 => (0_u64..24).prop_map(Step::KillStart),
    ]
}

/// `PROPTEST_CASES`, or what takes a second.
fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(800);
    ProptestConfig { cases, max_shrink_iters: 4000, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    /// Whatever the keeper's plan does, and wherever it is cut off: what the shard was told is synced is there after
    /// the power failed, everything that was appended after a kill, in order, and nothing else; also when starts are
    /// killed, and after syncs that failed.
    #[test]
    fn what_the_plan_called_synced_is_there(
        steps in prop::collection::vec(step(), 1..200),
        seed: u64,
        segments_max in prop_oneof![Just(0_u64), Just(4)],
        batch_bytes in prop_oneof![Just(1024_u64), Just(16 << 10)],
    ) {
        let mut world = World::new(seed, (segments_max * (HEADER_BYTES + SEGMENT_BYTES), batch_bytes));
        steps.iter().for_each(|step| world.take(*step));
        world.take(Step::PowerFails(u64::MAX >> 1));
        world.take(Step::PowerFails(0));
    }
}
