//! The wheel against a sorted map.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

const SECOND: u64 = 1_000_000_000;

fn at(nanos: u64) -> Instant {
    Instant::from_nanos(nanos)
}

fn expired(wheel: &mut Wheel, now: Instant) -> Vec<u64> {
    let mut due = Vec::new();
    wheel.expire(now, &mut due);
    due
}

/// A timer fires in the millisecond after its deadline: never before it, and not later than the next whole millisecond.
#[test]
fn rounds_up() {
    let mut wheel = Wheel::new(at(0));
    wheel.set(at(5_000_001), 1);
    wheel.set(at(5_000_000), 2);
    assert_eq!(wheel.next_deadline(), Some(at(5_000_000)));
    assert_eq!(expired(&mut wheel, at(4_999_999)), []);
    assert_eq!(expired(&mut wheel, at(5_999_999)), [2]);
    assert_eq!(wheel.next_deadline(), Some(at(6_000_000)));
    assert_eq!(expired(&mut wheel, at(6_000_000)), [1]);
    assert_eq!((wheel.next_deadline(), wheel.is_empty()), (None, true));
}

/// A deadline that has passed fires at the next call, even when time stands still, and before everything else.
#[test]
fn overdue_fires_next() {
    let mut wheel = Wheel::new(at(7 * SECOND));
    wheel.set(at(7 * SECOND + 1), 3);
    wheel.set(at(SECOND), 1);
    let cancelled = wheel.set(at(3 * SECOND), 9);
    wheel.set(at(7 * SECOND), 2);
    assert!(wheel.cancel(cancelled));
    assert!(wheel.next_deadline().is_some_and(|next| next <= at(7 * SECOND)));
    assert_eq!(expired(&mut wheel, at(7 * SECOND)), [1, 2]);
    assert_eq!(expired(&mut wheel, at(8 * SECOND)), [3]);
}

/// The farthest deadlines have a place: 2^32 seconds, and the one that never comes.
#[test]
fn far_deadlines() {
    let mut wheel = Wheel::new(at(123));
    let far = at(0).after(Duration::from_secs(1 << 32));
    wheel.set(Instant::NEVER, 2);
    wheel.set(far, 1);
    assert_eq!(expired(&mut wheel, at(far.as_nanos() - 1)), []);
    assert_eq!(expired(&mut wheel, far), [1]);
    assert_eq!(wheel.len(), 1);
    assert!(wheel.next_deadline().is_some_and(|next| next > far));
    assert_eq!(expired(&mut wheel, at(u64::MAX - 1)), []);
}

/// A key is good once, also when its place has been taken by another timer.
#[test]
fn stale_keys_are_harmless() {
    let mut wheel = Wheel::new(at(0));
    let fired = wheel.set(at(1), 1);
    expired(&mut wheel, at(SECOND));
    let cancelled = wheel.set(at(2 * SECOND), 2);
    assert!(!wheel.cancel(fired) && wheel.cancel(cancelled) && !wheel.cancel(cancelled));
    wheel.set(at(3 * SECOND), 3);
    assert!(!wheel.cancel(fired) && !wheel.cancel(cancelled));
    assert_eq!(expired(&mut wheel, at(4 * SECOND)), [3]);
    assert_eq!(size_of::<TimerKey>(), 8);
}

/// A clock that seems to step back changes nothing.
#[test]
fn clock_steps_back() {
    let mut wheel = Wheel::new(at(10 * SECOND));
    wheel.set(at(11 * SECOND), 1);
    assert_eq!(expired(&mut wheel, at(SECOND)), []);
    assert_eq!(expired(&mut wheel, at(11 * SECOND)), [1]);
}

/// As many timers as there is capacity for are set, moved and cancelled without the storage growing.
#[test]
fn storage_is_reused() {
    let mut wheel = Wheel::with_capacity(at(0), 100);
    let mut due = Vec::with_capacity(100);
    let mut keys = Vec::with_capacity(100);
    for round in 0..1000u64 {
        keys.extend((0..100).map(|n| wheel.set(at((round + n * n) * 1_000_000), n)));
        keys.drain(..).step_by(2).for_each(|key| {
            wheel.cancel(key);
        });
        wheel.expire(at((round + 100 * 100) * 1_000_000), &mut due);
        due.clear();
        assert!(wheel.is_empty());
    }
    assert!((0..100).all(|n| wheel.set(at(0), n).index < 100));
}

#[derive(Clone, Debug)]
enum Step {
    Set(u64),
    Cancel(prop::sample::Index),
    Pass(u64),
    Sleep,
}

/// A time span of any magnitude, so that all levels are met.
fn span() -> impl Strategy<Value = u64> {
    (0..58u32).prop_flat_map(|bits| 0..(1u64 << bits))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => span().prop_map(Step::Set),
        2 => any::<prop::sample::Index>().prop_map(Step::Cancel),
        3 => span().prop_map(Step::Pass),
        3 => Just(Step::Sleep),
    ]
}

proptest! {
    /// Any sequence of setting, cancelling and passing time fires the same words, in the same order, as a map sorted by
    /// tick and order of setting; and the next deadline is never late, nor silent.
    #[test]
    fn is_a_sorted_map(start in 0..(1u64 << 50), steps in prop::collection::vec(step(), 1..120)) {
        let mut now = start;
        let mut wheel = Wheel::new(at(now));
        let mut model: BTreeMap<(u64, u64), TimerKey> = BTreeMap::new();
        let mut keys: Vec<((u64, u64), TimerKey)> = Vec::new();
        for (n, step) in steps.into_iter().enumerate() {
            let word = n as u64;
            match step {
                Step::Set(span) => {
                    // A quarter of them in the past.
                    let deadline = if span % 4 == 0 { now.saturating_sub(span) } else { now.saturating_add(span) };
                    let tick = deadline.div_ceil(TICK_NANOS).max(now / TICK_NANOS);
                    let key = wheel.set(at(deadline), word);
                    model.insert((tick, word), key);
                    keys.push(((tick, word), key));
                }
                Step::Cancel(index) => if !keys.is_empty() {
                    let (id, key) = keys[index.index(keys.len())];
                    prop_assert_eq!(wheel.cancel(key), model.remove(&id).is_some());
                },
                Step::Pass(span) => {
                    now = now.saturating_add(span).min(u64::MAX - 1);
                    check(&mut wheel, &mut model, now)?;
                }
                Step::Sleep => if let Some(next) = wheel.next_deadline() {
                    now = now.max(next.as_nanos()).min(u64::MAX - 1);
                    check(&mut wheel, &mut model, now)?;
                },
            }
            prop_assert_eq!(wheel.len(), model.len());
            let earliest = model.keys().next().map(|&(tick, _)| tick);
            let next = wheel.next_deadline().map(|next| next.as_millis());
            prop_assert_eq!(next.is_some(), earliest.is_some());
            prop_assert!(next <= earliest);
        }
        // Sleeping from one announced deadline to the next comes to the end, in a bounded number of steps.
        for _ in 0..LEVELS * (model.len() + 1) {
            let Some(next) = wheel.next_deadline() else { break };
            now = now.max(next.as_nanos()).min(u64::MAX - 1);
            check(&mut wheel, &mut model, now)?;
        }
        prop_assert!(model.is_empty());
    }
}

fn check(wheel: &mut Wheel, model: &mut BTreeMap<(u64, u64), TimerKey>, now: u64) -> Result<(), TestCaseError> {
    let later = model.split_off(&(now / TICK_NANOS + 1, 0));
    let expected: Vec<u64> = std::mem::replace(model, later).into_keys().map(|(_, word)| word).collect();
    let fired = expired(wheel, at(now));
    prop_assert_eq!(fired, expected);
    Ok(())
}
