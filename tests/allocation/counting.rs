//! An allocator that counts what the watched threads ask of it, and remembers where.

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The system's allocator, counted.
pub struct Counting;

/// What the threads that watch for the same node did.
#[derive(Debug, Default)]
pub struct Counts {
    /// Allocations, reallocations and frees since the process began.
    calls: AtomicU64,
    /// Whether places are remembered.
    armed: AtomicBool,
    places: Mutex<Vec<Backtrace>>,
}

/// Places that are remembered; further calls are only counted.
const PLACES_MAX: usize = 64;
/// Lines of our own sources in the name of a place.
const PLACE_LINES: usize = 4;

thread_local! {
    /// Constant and without a destructor, so that the allocator may look at it at any time in a thread's life.
    static WATCHED_BY: Cell<Option<&'static Counts>> = const { Cell::new(None) };
}

/// From now on this thread's calls count.
pub fn watch_this_thread(counts: &'static Counts) {
    WATCHED_BY.set(Some(counts));
}

impl Counts {
    /// How many calls there were.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// Remembers the places of calls from now on, and forgets those before; returns how many calls there were.
    pub fn arm(&self) -> u64 {
        self.places.lock().expect("no thread fails here").clear();
        self.armed.store(true, Ordering::SeqCst);
        self.calls()
    }

    /// Remembers no more places; returns how many calls there were.
    pub fn disarm(&self) -> u64 {
        self.armed.store(false, Ordering::SeqCst);
        self.calls()
    }

    /// The places that were remembered: how many calls came from each, and the lines of ours that led there.
    pub fn places(&self) -> String {
        let mut counted = BTreeMap::new();
        for place in self.places.lock().expect("no thread fails here").iter() {
            let text = place.to_string();
            let ours =
                text.lines().map(str::trim).filter(|line| line.contains("switch/src") || line.contains("shard/src"));
            *counted.entry(ours.take(PLACE_LINES).collect::<Vec<_>>().join("\n        ")).or_insert(0) += 1;
        }
        counted.iter().map(|(place, count)| format!("{count:>6}  {place}\n")).collect()
    }

    fn note(&'static self) {
        self.calls.fetch_add(1, Ordering::SeqCst);
        if self.armed.load(Ordering::SeqCst) {
            // What remembering itself allocates does not count.
            WATCHED_BY.set(None);
            let mut places = self.places.lock().expect("no thread fails here");
            if places.len() < PLACES_MAX {
                places.push(Backtrace::force_capture());
            }
            drop(places);
            WATCHED_BY.set(Some(self));
        }
    }
}

fn note() {
    if let Some(counts) = WATCHED_BY.get() {
        counts.note();
    }
}

// SAFETY: every call is passed on to the system's allocator with the caller's own arguments, whose contract is this
// one's; `note` touches no memory of the caller's, does not unwind, and what it allocates itself comes back here with
// the thread unwatched, so that it does not recur.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note();
        // SAFETY: the caller keeps the contract of `realloc`, and `block` came from the system's allocator.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        note();
        // SAFETY: the caller keeps the contract of `dealloc`, and `block` came from the system's allocator.
        unsafe { System.dealloc(block, layout) }
    }
}
