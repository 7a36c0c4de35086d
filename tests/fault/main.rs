//! The real program, broken in real ways: killed, its disk full or failing, its files damaged, its clock set back.
//!
//! ```text
//! load.rs        rounds of load, end and new start, and the account of every message:
//!   publisher.rs   numbers its messages, sends again what is not acknowledged
//!   subscriber.rs  sees every number, in order, at QoS 2 each once
//! clients.rs     a session that is away, and QoS 0 traffic that goes on
//! mount.rs       file systems of a test's own
//!
//! kill.rs        kill -9 and SIGTERM under load, other numbers of shards
//! disk.rs        full, read-only and failing disks; staging that goes away; permissions
//! files.rs       damaged, foreign and newer files; two processes on one directory
//! clock.rs       a wall clock that jumps
//! backup.rs      `ringmain journal`: verify, dump, repair, backup, restore
//! ```
//!
//! What happens in each case is told to operators in docs/operating.md. Tests that mount file systems need root, and
//! fail without. `RINGMAIN_FAULT_ROUNDS` sets the rounds of kill -9, `RINGMAIN_FAULT_SEED` repeats their moments.

mod backup;
mod clients;
mod clock;
mod disk;
mod files;
mod kill;
mod load;
mod mount;
mod publisher;
mod subscriber;
