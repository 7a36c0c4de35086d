//! What simulated files are made of: two images each.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;

use super::{Pick, SECTOR_BYTES};

/// A file or a directory.
pub(super) enum Node {
    Directory(Names),
    File(Bytes),
    /// A file in memory.
    Memory(File),
}

impl Node {
    /// What is live is stable.
    pub(super) fn settle(&mut self) {
        match self {
            Node::Directory(names) => names.settle(),
            Node::File(bytes) => bytes.sync(),
            Node::Memory(_) => {}
        }
    }
}

/// The names in a directory.
#[derive(Default)]
pub(super) struct Names {
    live: BTreeMap<String, usize>,
    stable: BTreeMap<String, usize>,
    /// What was done since they were the same.
    changes: Vec<Change>,
}

enum Change {
    Put(String, usize),
    Take(String),
    Rename(String, String, usize),
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Change::Put(name, node) => drop(names.insert(name.clone(), *node)),
            Change::Take(name) => drop(names.remove(name)),
            Change::Rename(from, to, node) => {
                if names.get(from) == Some(node) {
                    names.remove(from);
                }
                names.insert(to.clone(), *node);
            }
        }
    }
}

impl Names {
    pub(super) fn get(&self, name: &str) -> Option<usize> {
        self.live.get(name).copied()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, usize)> {
        self.live.iter().map(|(name, node)| (name, *node))
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = usize> {
        self.live.values().copied()
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.live);
        self.changes.push(change);
    }

    pub(super) fn put(&mut self, name: String, node: usize) {
        self.change(Change::Put(name, node));
    }

    pub(super) fn take(&mut self, name: &str) {
        self.change(Change::Take(name.into()));
    }

    pub(super) fn rename(&mut self, from: String, to: String, node: usize) {
        self.change(Change::Rename(from, to, node));
    }

    fn settle(&mut self) {
        self.stable.clone_from(&self.live);
        self.changes.clear();
    }

    /// Each change reached the disk or not, whatever became of the others.
    pub(super) fn crash(&mut self, pick: &mut impl FnMut() -> Pick) {
        for change in std::mem::take(&mut self.changes) {
            if pick() == Pick::New {
                change.apply(&mut self.stable);
            }
        }
        self.live.clone_from(&self.stable);
    }
}

/// The bytes of a file.
#[derive(Default)]
pub(super) struct Bytes {
    live: Vec<u8>,
    stable: Vec<u8>,
    /// Sectors that the next sync brings to the stable image.
    dirty: BTreeSet<usize>,
}

impl Bytes {
    pub(super) fn live(&self) -> &[u8] {
        &self.live
    }

    pub(super) fn write(&mut self, at: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let end = at + bytes.len();
        if end > self.live.len() {
            self.live.resize(end, 0);
        }
        self.live[at..end].copy_from_slice(bytes);
        self.dirty.extend(at / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES));
    }

    pub(super) fn truncate(&mut self, bytes: usize) {
        let between = self.live.len().min(bytes)..self.live.len().max(bytes);
        self.live.resize(bytes, 0);
        self.dirty.extend(between.start / SECTOR_BYTES..between.end.div_ceil(SECTOR_BYTES));
    }

    pub(super) fn sync(&mut self) {
        self.stable.resize(self.live.len(), 0);
        for sector in std::mem::take(&mut self.dirty) {
            self.keep(sector, Pick::New);
        }
    }

    pub(super) fn fail_sync(&mut self) {
        self.dirty.clear();
    }

    pub(super) fn crash(&mut self, pick: &mut impl FnMut() -> Pick) {
        if self.live.len() != self.stable.len() && pick() == Pick::New {
            self.stable.resize(self.live.len(), 0);
        }
        for sector in std::mem::take(&mut self.dirty) {
            self.keep(sector, pick());
        }
        self.live.clone_from(&self.stable);
    }

    /// Brings so much of a sector to the stable image as that is long.
    fn keep(&mut self, sector: usize, pick: Pick) {
        let from = sector * SECTOR_BYTES;
        let to = (from + SECTOR_BYTES).min(self.live.len()).min(self.stable.len());
        let (from, to) = match pick {
            Pick::Old => return,
            Pick::New => (from, to),
            Pick::Front(bytes) => (from, to.min(from + bytes)),
            Pick::Back(bytes) => (from + bytes, to),
        };
        if from < to {
            self.stable[from..to].copy_from_slice(&self.live[from..to]);
        }
    }
}
