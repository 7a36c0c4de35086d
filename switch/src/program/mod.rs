//! The program around the switch: arguments, plan, banner, progress, log, signals and exit codes.
//!
//! Nothing here is on the path of a message. `main.rs` reads as the table of contents.

pub mod access;
pub mod args;
pub mod banner;
pub mod check;
pub mod control;
pub mod failure;
pub mod inspect;
pub mod journals;
pub mod log;
pub mod memory;
pub mod passwd;
pub mod plan;
pub mod profile;
pub mod progress;
pub mod prove;
pub mod reload;
pub mod serve;
pub mod stop;
pub mod storage;
pub mod supervisor;
pub mod tune;
pub mod watchdog;
