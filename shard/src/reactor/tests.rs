//! The loop against a kernel whose answers are written down beforehand.

use std::time::Duration;

use super::*;
use crate::driver::{Op, RecvBuffer, Slot};
use crate::mesh::{Mesh, RankSpec};

/// A kernel whose answers are written down beforehand.
#[derive(Default)]
struct Script {
    now: Instant,
    /// How far time goes on between two looks at it.
    pace: Duration,
    answers: Vec<Completion>,
    pushed: Vec<Op>,
    sent: usize,
    recycled: Vec<u16>,
}

impl Driver for Script {
    fn now(&mut self) -> Instant {
        let now = self.now;
        self.now = now.after(self.pace);
        now
    }

    fn push(&mut self, op: Op) {
        self.pushed.push(op);
    }

    fn send_batch<'a, I>(&mut self, sends: I, results: &mut Vec<SendResult>)
    where
        I: IntoIterator<Item = (Slot, &'a [u8])>,
    {
        results.clear();
        results.extend(sends.into_iter().map(|(_, bytes)| SendResult::Sent(bytes.len() as u32)));
        self.sent += results.len();
    }

    fn reap(&mut self, _: Wait, out: &mut Vec<Completion>) {
        out.append(&mut self.answers);
    }

    fn ready(&mut self) -> bool {
        !self.answers.is_empty()
    }

    fn bytes(&self, buffer: &RecvBuffer) -> &[u8] {
        &b"bytes"[..buffer.len as usize]
    }

    fn recycle(&mut self, buffer: RecvBuffer) {
        self.recycled.push(buffer.id);
    }
}

/// A handler that notes what it sees and does what it is told.
#[derive(Default)]
struct Notes {
    seen: Vec<String>,
    timer: Option<Instant>,
    work_left: bool,
    /// Spans that wait, and how many go into a slice.
    backlog: usize,
    slice: usize,
    finished: bool,
}

impl Handler for Notes {
    fn handle(&mut self, _: Instant, event: Event<'_>, fx: &mut Effects) {
        if let Event::Received { slot, generation, armed: false, .. } = event {
            fx.ops.push(Op::Recv { slot, generation, multishot: true });
        }
        self.seen.push(match event {
            Event::Received { bytes, armed, .. } => format!("{} {armed}", String::from_utf8_lossy(bytes)),
            Event::ReceiveEnded { end, .. } => format!("{end:?}"),
            Event::Timer(word) => format!("timer {word}"),
            other => format!("{other:?}"),
        });
    }

    fn work(&mut self, _: Instant, _: &mut Inbound, fx: &mut Effects) -> bool {
        if let Some(deadline) = self.timer.take() {
            fx.timers.set(deadline, 7);
        }
        std::mem::take(&mut self.work_left)
    }

    fn plan(&mut self, _: Instant, plan: &mut Vec<Span>, _: &mut Effects) {
        let count = self.slice.min(self.backlog);
        plan.extend((0..count).map(|i| Span { slot: Slot(i as u32), source: 0, start: 0, len: 1, tag: [0; 2] }));
    }

    fn bytes(&self, _: &Span) -> &[u8] {
        b"x"
    }

    fn sent(&mut self, _: Instant, plan: &[Span], results: &[SendResult], _: &mut Effects) {
        assert_eq!(plan.len(), results.len());
        self.backlog -= plan.len();
    }

    fn finished(&self) -> bool {
        self.finished
    }
}

fn reactor(handler: Notes) -> Reactor<Script, Notes> {
    let mesh = Mesh::build(1, &[RankSpec { bytes: 4096 }]).expect("memory").pop().expect("one end");
    Reactor::new(Script::default(), handler, mesh, IdlePolicy::SLEEP)
}

const IDLE: Next = Next::Idle { until: Instant::NEVER };

/// A turn says whether another is due now, when a timer is, never, or that all is over.
#[test]
fn a_turn_says_what_is_next() {
    let mut shard = reactor(Notes { work_left: true, ..Notes::default() });
    assert_eq!(shard.turn(), Next::Again);
    assert_eq!(shard.turn(), IDLE);
    let deadline = Instant::ZERO.after(Duration::from_millis(5));
    shard.handler().timer = Some(deadline);
    let Next::Idle { until } = shard.turn() else { panic!("nothing is due") };
    assert!(until <= deadline);
    shard.driver().now = deadline;
    assert_eq!(shard.turn(), IDLE);
    assert_eq!(shard.handler().seen, ["timer 7"]);
    shard.handler().finished = true;
    assert_eq!(shard.turn(), Next::Finished);
}

/// Completions become events in their order; buffers go back after they were seen; what a handler asks for in answer
/// reaches the driver.
#[test]
fn completions_become_events() {
    let (slot, generation) = (Slot(3), 9);
    let received = |result, armed| Completion::Received { slot, generation, result, armed };
    let buffer = |id, len| RecvBuffer { id, start: 0, len, done: true };
    let mut shard = reactor(Notes::default());
    shard.driver().answers = vec![
        received(Ok(Some(buffer(1, 5))), true),
        received(Ok(Some(buffer(2, 2))), false),
        received(Err(Errno(libc::ENOBUFS)), false),
        received(Err(Errno(libc::ECANCELED)), false),
        received(Ok(None), false),
    ];
    assert_eq!(shard.turn(), IDLE);
    assert_eq!(shard.handler().seen, ["bytes true", "by false", "NoBuffers", "Cancelled", "Eof"]);
    assert_eq!(shard.driver().recycled, [1, 2]);
    assert_eq!(shard.driver().pushed, [Op::Recv { slot, generation, multishot: true }]);
}

/// Two thousand clients that leave at once bring no bytes, so a budget of bytes alone would have one turn handle all.
#[test]
fn a_burst_of_events_is_cut() {
    let mut shard = reactor(Notes::default());
    shard.driver().pace = COMPLETIONS_TIME_PER_TURN * 2 / 3;
    let end = |slot| Completion::Received { slot: Slot(slot), generation: 1, result: Ok(None), armed: false };
    shard.driver().answers = (0..300).map(end).collect();
    for handled in [2, 4, 5] {
        assert_eq!(shard.turn() == Next::Again, handled < 5);
        assert_eq!(shard.handler().seen.len(), 300.min(handled * COMPLETIONS_PER_LOOK));
    }
}

/// A large flush is cut: by the budget of a turn, and sooner where something else waits.
#[test]
fn a_large_flush_is_cut() {
    let mut shard = reactor(Notes { backlog: 3000, slice: 300, ..Notes::default() });
    assert_eq!(shard.turn(), Next::Again);
    assert_eq!(shard.driver().sent, 1200);
    assert_eq!(shard.turn(), Next::Again);
    assert_eq!(shard.driver().sent, 2400);
    assert_eq!(shard.turn(), IDLE);
    assert_eq!(shard.driver().sent, 3000);
}
