//! Tuning: look at the machine, advise, write a plan; and, when asked, apply it so that it can be taken back.
//!
//! ```text
//!   inspect     /sys, /proc, ethtool ──▶ Facts           the one look; what cannot be read says why
//! ```
//!
//! # Invariants worth naming
//!
//! - Everything is read below a [root::Root], so a machine that was captured as a [text](tree) is looked at like the
//!   one that this runs on.
//! - Nothing but a look touches the machine, and a look changes nothing.
//! - Facts hold no counters: two looks at an untouched machine are equal.
//!
//! It must never import the switch: tuning and switch meet in a file, `ringmain.toml`.

#![forbid(unsafe_code)]

pub mod cores;
pub mod fact;
pub mod facts;
mod inspect;
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
