//! Receiving: once, until further notice, to the end, without buffers.

use super::*;

/// One multishot receive brings everything, however it was split.
pub fn a_multishot_receive_goes_on<W: World>() {
    let mut world = W::new(Scale::default());
    let Connection { mut client, slot, generation } = accept(&mut world, 4, 7);
    world.driver().push(Op::Recv { slot, generation, multishot: true });
    for piece in [&b"h"[..], b"el", b"lo"] {
        client.write(piece);
        let (bytes, armed) = receive(world.driver(), (slot, generation), piece.len());
        assert_eq!(bytes, piece);
        if !armed {
            world.driver().push(Op::Recv { slot, generation, multishot: true });
        }
    }
}

/// A receive that is not multishot brings bytes once.
pub fn a_single_receive_ends<W: World>() {
    let mut world = W::new(Scale::default());
    let Connection { mut client, slot, generation } = accept(&mut world, 4, 7);
    for piece in [&b"one"[..], b"two"] {
        world.driver().push(Op::Recv { slot, generation, multishot: false });
        client.write(piece);
        assert_eq!(receive(world.driver(), (slot, generation), piece.len()), (piece.to_vec(), false));
    }
}

/// A cancelled receive says that it has ended; what comes after is for the next receive.
pub fn a_cancelled_receive_loses_nothing<W: World>() {
    let mut world = W::new(Scale::default());
    let Connection { mut client, slot, generation } = accept(&mut world, 4, 7);
    for multishot in [true, false] {
        world.driver().push(Op::Recv { slot, generation, multishot });
        submit(world.driver());
        world.driver().push(Op::CancelRecv { slot, generation });
        assert_eq!(receive_end(world.driver(), (slot, generation)), Err(Errno(libc::ECANCELED)));
        // Nothing is armed: a cancel that finds nothing is not answered, and these bytes wait in the socket.
        world.driver().push(Op::CancelRecv { slot, generation });
        client.write(b"later");
        submit(world.driver());
        world.driver().push(Op::Recv { slot, generation, multishot: false });
        assert_eq!(receive(world.driver(), (slot, generation), 5).0, b"later");
    }
}

/// A FIN comes after the bytes before it, and ends the receive.
pub fn fin_ends_a_receive<W: World>() {
    let mut world = W::new(Scale::default());
    let Connection { mut client, slot, generation } = accept(&mut world, 4, 7);
    client.write(b"bye");
    client.finish();
    world.driver().push(Op::Recv { slot, generation, multishot: false });
    assert_eq!(receive(world.driver(), (slot, generation), 3).0, b"bye");
    world.driver().push(Op::Recv { slot, generation, multishot: true });
    assert_eq!(receive_end(world.driver(), (slot, generation)), Ok(()));
}

/// Where all buffers are held a receive ends with ENOBUFS; armed again when there are some, it brings what waited.
pub fn without_buffers_a_receive_ends<W: World>() {
    let mut world = W::new(Scale { receive_buffers: 2, ..Scale::default() });
    let Connection { mut client, slot, generation } = accept(&mut world, 4, 7);
    let sent: Vec<u8> = (0..4 * BUFFER_BYTES).map(|i| i as u8).collect();
    client.write(&sent);
    let driver = world.driver();
    let deadline = patience(driver);
    let (mut held, mut starved, mut armed) = (Vec::new(), false, false);
    while !starved {
        if !armed {
            driver.push(Op::Recv { slot, generation, multishot: true });
            armed = true;
        }
        let mut completions = Vec::new();
        driver.reap(Wait::Until(deadline), &mut completions);
        for completion in completions {
            match completion {
                Completion::Received { result: Ok(Some(buffer)), armed: still, .. } => {
                    armed = still;
                    held.push(buffer);
                }
                Completion::Received { result: Err(Errno(libc::ENOBUFS)), armed: false, .. } => starved = true,
                other => panic!("{other:?}"),
            }
        }
        assert!(driver.now() < deadline);
    }
    assert_eq!(held.len(), 2);
    let mut received: Vec<u8> = held.iter().flat_map(|buffer| driver.bytes(buffer).to_vec()).collect();
    held.into_iter().for_each(|buffer| driver.recycle(buffer));
    while received.len() < sent.len() {
        driver.push(Op::Recv { slot, generation, multishot: false });
        received.extend(receive(driver, (slot, generation), 1).0);
    }
    assert_eq!(received, sent);
}

/// More than a buffer holds arrives in order, in several.
pub fn large_input_comes_in_pieces<W: World>() {
    let mut world = W::new(Scale::default());
    let Connection { client, slot, generation } = accept(&mut world, 4, 7);
    let sent: Vec<u8> = (0..50 * BUFFER_BYTES + 1).map(|i| (i / 7) as u8).collect();
    let written = client.play(vec![Step::Write(sent.clone())]);
    let (mut received, mut armed) = (Vec::new(), false);
    while received.len() < sent.len() {
        if !armed {
            world.driver().push(Op::Recv { slot, generation, multishot: true });
            armed = true;
        }
        until(world.driver(), |driver, completion| match completion {
            Completion::Received { result, armed: still, .. } => {
                armed = *still;
                match result {
                    Ok(Some(buffer)) => received.extend_from_slice(driver.bytes(buffer)),
                    Err(Errno(libc::ENOBUFS)) => {}
                    other => panic!("{other:?}"),
                }
                Some(())
            }
            _ => None,
        });
    }
    assert_eq!(received, sent);
    written();
}
