//! The shard's timers: a wheel of words, each with a deadline.

mod list;
mod wheel;

pub use list::TIMER_BYTES;
pub use wheel::{TimerKey, Wheel};
