//! Tuning: look at the machine, advise, write a plan; and, when asked, apply it so that it can be taken back.
//!
//! ```text
//!   inspect     /sys, /proc, ethtool ──▶ Facts           the one look; what cannot be read says why
//!   advice      Facts, Profile ──▶ Layout, Advice        pure: which cores do what, what should be otherwise
//!   plan        Advice ──▶ ringmain.toml, system.sh,     pure: files that people read before they use them
//!               a drop-in for systemd, a report
//!   apply       Plan ──▶ the machine, and back           look, note on disk, act, look again
//! ```
//!
//! # Invariants worth naming
//!
//! - Everything is read below a [root::Root], so a machine that was captured as a [text](tree) is looked at like the
//!   one that this runs on.
//! - Only `apply` and `revert` change anything, only files that [change] understands, and only after what was there is
//!   on disk.
//! - Facts hold no counters: two looks at an untouched machine are equal.
//!
//! It must never import the switch: tuning and switch meet in a file, `ringmain.toml`.

#![forbid(unsafe_code)]

pub mod advice;
pub mod apply;
pub mod change;
pub mod cores;
pub mod fact;
pub mod facts;
mod inspect;
pub mod journal;
pub mod layout;
pub mod plan;
pub mod profile;
mod render;
pub mod root;
pub mod table;
pub mod tree;

use std::path::Path;

pub use fact::Fact;
pub use facts::Facts;

/// Looks at the machine below `root`; `/` is the one that this runs on.
pub fn inspect(root: &Path) -> Facts {
    inspect::inspect(&root::Root::new(root))
}

/// The same, and what was read as a [text](tree), from which the same facts can be had elsewhere.
pub fn capture(root: &Path) -> (Facts, String) {
    let root = root::Root::new(root);
    let facts = inspect::inspect(&root);
    (facts, tree::write(&root.seen()))
}
