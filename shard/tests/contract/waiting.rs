//! Waiting: deadlines, readiness, cancelled polls.

use super::*;

/// A wait for which nothing comes ends when it should, and not before.
pub fn a_wait_ends_in_time<W: World>() {
    let mut world = W::new(Scale::default());
    submit(world.driver());
    let driver = world.driver();
    let mut completions = Vec::new();
    let deadline = driver.now().after(Duration::from_millis(20));
    while driver.now() < deadline {
        driver.reap(Wait::Until(deadline), &mut completions);
    }
    // A deadline that has passed does not wait at all.
    driver.reap(Wait::Until(deadline), &mut completions);
    assert!(driver.now() < deadline.after(PATIENCE));
    assert_eq!(completions, []);
}

/// `ready` sees that something waits, and a reap that polls then brings it.
pub fn readiness_is_seen_without_reaping<W: World>() {
    let mut world = W::new(Scale::default());
    let Connection { mut client, slot, generation } = accept(&mut world, 4, 7);
    let driver = world.driver();
    driver.push(Op::Recv { slot, generation, multishot: true });
    submit(driver);
    assert!(!driver.ready());
    client.write(b"x");
    let deadline = patience(driver);
    while !driver.ready() {
        assert!(driver.now() < deadline, "bytes have arrived");
    }
    let mut completions = Vec::new();
    driver.reap(Wait::Poll, &mut completions);
    assert!(matches!(completions[..], [Completion::Received { result: Ok(Some(_)), .. }]), "{completions:?}");
}

/// A poll for room ends with ECANCELED when it is cancelled.
pub fn a_poll_can_be_cancelled<W: World>() {
    let mut world = W::new(Scale::default());
    let Connection { client: _client, slot, generation } = accept(&mut world, 4, 7);
    let driver = world.driver();
    let (block, mut results) = (vec![0; 1 << 20], Vec::new());
    while results != [shard::SendResult::WouldBlock] {
        driver.send_batch([(slot, &block[..])], &mut results);
    }
    driver.push(Op::PollOut { slot, generation });
    submit(driver);
    driver.push(Op::CancelPollOut { slot, generation });
    let result = until(driver, |_, completion| match completion {
        Completion::Writable { result, .. } => Some(*result),
        _ => None,
    });
    assert_eq!(result, Err(Errno(libc::ECANCELED)));
}
