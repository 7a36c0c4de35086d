//! What is asked for, as the kernel's submission queue entries.

use io_uring::opcode;
use io_uring::squeue::{Entry, Flags};
use io_uring::types::{self, DestinationSlot};

use super::buf_ring::GROUP;
use super::inflight::PlacePointers;
use super::sockets::{Socket, on_socket};
use super::token::{Kind, Token};
use crate::driver::{Generation, Slot};

/// IORING_MSG_RING_CQE_SKIP: the target ring gets no completion.
const MSG_RING_CQE_SKIP: u32 = 1;

/// A send that does not wait: the kernel completes it while it is submitted, as a request with MSG_DONTWAIT is never
/// queued for later (REQ_F_NOWAIT). Never with IOSQE_CQE_SKIP_SUCCESS: a short send would leave no trace.
pub(super) fn send(socket: Socket, bytes: &[u8], index: u32) -> Entry {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    on_socket!(socket, target => opcode::Send::new(target, bytes.as_ptr(), length).flags(flags).build())
        .user_data(Token::index(Kind::Send, index).pack())
}

/// An accept into a slot of the ring's table (`into`), or into the process's.
pub(super) fn accept(listener: types::Fd, into: Option<Slot>, index: u32, place: PlacePointers) -> Entry {
    let accept = opcode::Accept::new(listener, place.address, place.length);
    // SOCK_NONBLOCK is wanted nowhere: a receive on such a socket would end with EAGAIN instead of waiting.
    let accept = match into {
        Some(slot) => accept.file_index(Some(destination(slot))),
        None => accept.flags(libc::SOCK_CLOEXEC),
    };
    accept.build().user_data(Token::index(Kind::Accept, index).pack())
}

pub(super) fn receive_multishot(socket: Socket, slot: Slot, generation: Generation) -> Entry {
    on_socket!(socket, target => opcode::RecvMulti::new(target, GROUP).build())
        .user_data(Token::of(Kind::Recv, slot, generation).pack())
}

pub(super) fn receive_once(socket: Socket, slot: Slot, generation: Generation, most: u32) -> Entry {
    let nowhere = std::ptr::null_mut();
    on_socket!(socket, target => opcode::Recv::new(target, nowhere, most).buf_group(GROUP).build())
        .flags(Flags::BUFFER_SELECT)
        .user_data(Token::of(Kind::Recv, slot, generation).pack())
}

pub(super) fn poll_out(socket: Socket, slot: Slot, generation: Generation) -> Entry {
    on_socket!(socket, target => opcode::PollAdd::new(target, libc::POLLOUT as u32).build())
        .user_data(Token::of(Kind::PollOut, slot, generation).pack())
}

/// The poll on the doorbell: fires for each time that it is rung. Its counter is never read and need not be: each
/// write wakes, whatever the counter says.
pub(super) fn poll_doorbell(doorbell: types::Fd) -> Entry {
    opcode::PollAdd::new(doorbell, libc::POLLIN as u32)
        .multi(true)
        .build()
        .user_data(Token::index(Kind::Doorbell, 0).pack())
}

/// Ends the request of a token, if it is there. Answers only where it is not.
pub(super) fn cancel(token: Token) -> Entry {
    opcode::AsyncCancel::new(token.pack())
        .build()
        .flags(Flags::SKIP_SUCCESS)
        .user_data(Token::index(Kind::Cancel, 0).pack())
}

pub(super) fn shutdown(socket: Socket, slot: Slot, generation: Generation) -> Entry {
    on_socket!(socket, target => opcode::Shutdown::new(target, libc::SHUT_WR).build())
        .user_data(Token::of(Kind::Shutdown, slot, generation).pack())
}

pub(super) fn close(socket: Socket, slot: Slot, generation: Generation) -> Entry {
    on_socket!(socket, target => opcode::Close::new(target).build())
        .user_data(Token::of(Kind::Close, slot, generation).pack())
}

/// A copy of the direct descriptor in `slot` to `to_slot` of another ring's table.
pub(super) fn send_fd(ring: types::Fd, slot: Slot, generation: Generation, to_slot: Slot) -> Entry {
    opcode::MsgRingSendFd::new(ring, types::Fixed(slot.0), destination(to_slot), 0)
        .opcode_flags(MSG_RING_CQE_SKIP)
        .build()
        .user_data(Token::of(Kind::SendFd, slot, generation).pack())
}

fn destination(slot: Slot) -> DestinationSlot {
    DestinationSlot::try_from_slot_target(slot.0).expect("slots are fewer than the kernel's limit")
}
