//! Sending: batches, short sends, sockets that take nothing.

use shard::SendResult;

use super::*;

/// A peer that does not read fills its socket: short or whole sends, then WouldBlock; when it has read, the poll
/// answers, and every byte that was taken arrives, in order.
pub fn a_full_socket_says_so_and_when_it_is_not<W: World>() {
    let mut world = W::new(Scale::default());
    let Connection { client, slot, generation } = accept(&mut world, 4, 7);
    let driver = world.driver();
    let source: Vec<u8> = (0..1 << 20).map(|i: u32| (i / 3) as u8).collect();
    let (mut taken, mut results) = (0, Vec::new());
    loop {
        driver.send_batch([(slot, &source[taken % source.len()..])], &mut results);
        match results[..] {
            [SendResult::Sent(bytes)] => taken += bytes as usize,
            [SendResult::WouldBlock] => break,
            ref other => panic!("{other:?}"),
        }
    }
    driver.push(Op::PollOut { slot, generation });
    submit(driver);
    let read = client.play(vec![Step::Read((0..taken).map(|i| source[i % source.len()]).collect())]);
    let result = until(driver, |_, completion| match completion {
        Completion::Writable { slot: at, generation: of, result } if (*at, *of) == (slot, generation) => Some(*result),
        _ => None,
    });
    assert_eq!(result, Ok(()));
    driver.send_batch([(slot, &b"x"[..])], &mut results);
    assert_eq!(results, [SendResult::Sent(1)]);
    read().read(&mut [0]);
}

/// A send to a connection that was reset is broken, and others of the batch are not.
pub fn a_broken_connection_says_so<W: World>() {
    let mut world = W::new(Scale::default());
    let mut good = accept(&mut world, 1, 1);
    let bad = accept(&mut world, 2, 1);
    let driver = world.driver();
    let mut results = Vec::new();
    driver.send_batch([(bad.slot, &b"unread"[..])], &mut results);
    assert_eq!(results, [SendResult::Sent(6)]);
    // Closing with unread bytes resets the connection.
    drop(bad.client);
    driver.push(Op::Recv { slot: bad.slot, generation: 1, multishot: false });
    let end = until(driver, |_, completion| match completion {
        Completion::Received { result, .. } => Some(matches!(result, Err(Errno(libc::ECONNRESET)))),
        _ => None,
    });
    assert!(end, "reset");
    driver.send_batch([(bad.slot, &b"x"[..]), (good.slot, b"y")], &mut results);
    assert!(matches!(results[..], [SendResult::Broken(_), SendResult::Sent(1)]), "{results:?}");
    let mut byte = [0];
    good.client.read(&mut byte);
    assert_eq!(&byte, b"y");
}

/// Ten thousand sends in one batch, far more than the submission queue holds, to sixteen sockets whose peers talk as
/// well: each has its result, and each socket its bytes in order.
pub fn a_batch_may_exceed_the_queue<W: World>() {
    const SOCKETS: u32 = 16;
    const SENDS: u32 = 10_000;
    let mut world = W::new(Scale::default());
    let connections: Vec<Connection<W::Peer>> = (0..SOCKETS).map(|slot| accept(&mut world, slot, 1)).collect();
    for slot in 0..SOCKETS {
        world.driver().push(Op::Recv { slot: Slot(slot), generation: 1, multishot: true });
    }
    let peers: Vec<_> = connections
        .into_iter()
        .map(|Connection { client, slot, .. }| {
            let words = (slot.0..SENDS).step_by(SOCKETS as usize);
            let steps = words.flat_map(|word| {
                let talk = (word % 5 == 0).then(|| Step::Write(b"!".to_vec()));
                talk.into_iter().chain([Step::Read(word.to_le_bytes().to_vec())])
            });
            client.play(steps.collect())
        })
        .collect();
    let bytes: Vec<[u8; 4]> = (0..SENDS).map(u32::to_le_bytes).collect();
    let mut results = Vec::new();
    let sends = bytes.iter().zip(0..SENDS).map(|(bytes, word)| (Slot(word % SOCKETS), &bytes[..]));
    world.driver().send_batch(sends, &mut results);
    assert_eq!(results, vec![SendResult::Sent(4); SENDS as usize]);
    for peer in peers {
        peer();
    }
}

/// No sends, no results, and nothing else happens.
pub fn an_empty_batch_is_nothing<W: World>() {
    let mut world = W::new(Scale::default());
    let mut results = vec![SendResult::WouldBlock];
    world.driver().send_batch([], &mut results);
    assert_eq!(results, []);
    submit(world.driver());
}

/// What else completes while a batch is sent is not lost: the next reap has it.
pub fn completions_met_while_sending_are_kept<W: World>() {
    let mut world = W::new(Scale::default());
    let Connection { mut client, slot, generation } = accept(&mut world, 4, 7);
    client.write(b"hello");
    let driver = world.driver();
    let mut results = Vec::new();
    // The receive is submitted with the send, and completes at once.
    driver.push(Op::Recv { slot, generation, multishot: false });
    driver.send_batch([(slot, &b"x"[..])], &mut results);
    assert_eq!(results, [SendResult::Sent(1)]);
    assert_eq!(receive(driver, (slot, generation), 5).0, b"hello");
}

/// Many more completions than the completion queue holds, and sends among them: nothing is lost.
pub fn completions_may_exceed_the_queue<W: World>() {
    const SOCKETS: u32 = 64;
    let scale = Scale { sq_entries: 8, cq_entries: 16, receive_buffers: 128, slots: SOCKETS, accepts: 8 };
    let mut world = W::new(scale);
    let mut connections: Vec<Connection<W::Peer>> = (0..SOCKETS).map(|slot| accept(&mut world, slot, 1)).collect();
    let driver = world.driver();
    for slot in 0..SOCKETS {
        driver.push(Op::Recv { slot: Slot(slot), generation: 1, multishot: true });
    }
    submit(driver);
    for connection in &mut connections {
        connection.client.write(b"?");
    }
    let mut results = Vec::new();
    let sends = (0..SOCKETS).flat_map(|slot| [(Slot(slot), &b"a"[..]), (Slot(slot), b"b")]);
    driver.send_batch(sends, &mut results);
    assert_eq!(results, vec![SendResult::Sent(1); 2 * SOCKETS as usize]);
    let mut from = std::collections::BTreeSet::new();
    until(driver, |_, completion| match completion {
        Completion::Received { slot, result: Ok(Some(_)), .. } => {
            assert!(from.insert(*slot), "one byte each");
            (from.len() == SOCKETS as usize).then_some(())
        }
        other => panic!("{other:?}"),
    });
    for connection in &mut connections {
        let mut bytes = [0; 2];
        connection.client.read(&mut bytes);
        assert_eq!(&bytes, b"ab");
    }
}
