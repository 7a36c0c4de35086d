//! Closing: cancelled receives, FIN, slots used again.

use super::*;

/// When its receive has been cancelled and ended, closing a slot ends the connection.
pub fn a_close_sends_fin<W: World>() {
    let mut world = W::new(Scale::default());
    let Connection { mut client, slot, generation } = accept(&mut world, 4, 7);
    world.driver().push(Op::Recv { slot, generation, multishot: true });
    submit(world.driver());
    world.driver().push(Op::CancelRecv { slot, generation });
    assert_eq!(receive_end(world.driver(), (slot, generation)), Err(Errno(libc::ECANCELED)));
    close(world.driver(), slot, generation);
    client.sees_fin();
}

/// A receive that was armed earlier, on a connection that stays quiet, does not keep a closed one open.
pub fn a_close_is_not_held_up_by_other_receives<W: World>() {
    let mut world = W::new(Scale::default());
    let quiet = accept(&mut world, 1, 1);
    world.driver().push(Op::Recv { slot: quiet.slot, generation: 1, multishot: true });
    submit(world.driver());
    let mut closing = accept(&mut world, 2, 1);
    close(world.driver(), closing.slot, 1);
    closing.client.sees_fin();
}

/// A slot serves one connection after another; each completion tells the generation that it belongs to.
pub fn a_slot_is_used_again<W: World>() {
    let mut world = W::new(Scale::default());
    for generation in 1..=20 {
        let Connection { mut client, slot, .. } = accept(&mut world, 4, generation);
        world.driver().push(Op::Recv { slot, generation, multishot: true });
        client.write(&generation.to_le_bytes());
        let (bytes, armed) = receive(world.driver(), (slot, generation), 4);
        assert_eq!(bytes, generation.to_le_bytes());
        if armed {
            world.driver().push(Op::CancelRecv { slot, generation });
            assert_eq!(receive_end(world.driver(), (slot, generation)), Err(Errno(libc::ECANCELED)));
        }
        close(world.driver(), slot, generation);
        client.sees_fin();
    }
}

/// A shutdown that is followed at once by a close of the slot, and by the next connection there, ends the first
/// connection and not the second.
pub fn a_shutdown_does_not_reach_the_next_connection<W: World>() {
    let mut world = W::new(Scale::default());
    let mut before = accept(&mut world, 4, 1);
    for generation in 2..=20 {
        world.driver().push(Op::Shutdown { slot: before.slot, generation: generation - 1 });
        close(world.driver(), before.slot, generation - 1);
        let after = accept(&mut world, 4, generation);
        before.client.sees_fin();
        before = after;
        let mut results = Vec::new();
        world.driver().send_batch([(before.slot, &b"x"[..])], &mut results);
        let mut byte = [0];
        before.client.read(&mut byte);
    }
}
