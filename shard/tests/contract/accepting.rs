//! Accepting: slots, addresses, limits.

use super::*;

/// Each accept fills the slot that it names and tells the address of its peer, whatever the order of arrival.
pub fn an_accept_tells_the_peer<W: World>() {
    let mut world = W::new(Scale::default());
    for slot in [5, 3, 9] {
        world.driver().push(Op::Accept { listener: LISTENER, slot: Slot(slot), generation: slot });
    }
    submit(world.driver());
    let clients = [world.connect(), world.connect(), world.connect()];
    let mut peers = Vec::new();
    until(world.driver(), |_, completion| match completion {
        Completion::Accepted { slot, generation, result, .. } => {
            assert_eq!(slot.0, *generation);
            peers.push(result.expect("accepted"));
            (peers.len() == 3).then_some(())
        }
        _ => None,
    });
    let mut wanted = clients.map(|client| client.address()).to_vec();
    wanted.sort_unstable();
    peers.sort_unstable();
    assert_eq!(peers, wanted);
}

/// A cancelled accept ends with ECANCELED, and takes no connection that comes later.
pub fn a_cancelled_accept_ends<W: World>() {
    let mut world = W::new(Scale::default());
    let (slot, generation) = (Slot(1), 1);
    world.driver().push(Op::Accept { listener: LISTENER, slot, generation });
    submit(world.driver());
    world.driver().push(Op::CancelAccept { slot, generation });
    let result = until(world.driver(), |_, completion| match completion {
        Completion::Accepted { result, .. } => Some(*result),
        _ => None,
    });
    assert_eq!(result, Err(Errno(libc::ECANCELED)));
    let waiting = world.connect();
    world.driver().push(Op::Accept { listener: LISTENER, slot, generation: 2 });
    let peer = until(world.driver(), |_, completion| match completion {
        Completion::Accepted { generation: 2, result, .. } => Some(*result),
        _ => None,
    });
    assert_eq!(peer, Ok(waiting.address()));
}

/// More accepts than there is room for are refused, and those that are armed still work.
pub fn accepts_are_bounded<W: World>() {
    let mut world = W::new(Scale { accepts: 2, ..Scale::default() });
    for slot in 0..3 {
        world.driver().push(Op::Accept { listener: LISTENER, slot: Slot(slot), generation: 1 });
    }
    let refused = until(world.driver(), |_, completion| match completion {
        Completion::Accepted { slot, result: Err(errno), .. } => Some((*slot, *errno)),
        _ => None,
    });
    assert_eq!(refused, (Slot(2), Errno(libc::ENOBUFS)));
    let _client = world.connect();
    until(world.driver(), |_, completion| match completion {
        Completion::Accepted { result, .. } => Some(result.expect("accepted")),
        _ => None,
    });
}
