//! Matching a topic name, alone and beside very many other filters: the cost must not depend on them.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use switch::topic::tree::FilterTree;

/// A tree with `others` literal filters and as many wildcard ones that match other rooms, and four that match.
fn tree(others: u32) -> FilterTree<u32> {
    let mut tree = FilterTree::new();
    for room in 0..others {
        tree.insert(&format!("room/{room}/comments"));
        tree.insert(&format!("room/{room}/+"));
    }
    for filter in ["live/4711/comments", "live/+/comments", "live/4711/#", "#"] {
        tree.insert(filter);
    }
    tree
}

fn matches(c: &mut Criterion) {
    for others in [0, 1000, 500_000] {
        let tree = tree(others);
        let mut out = Vec::new();
        c.bench_function(&format!("matches/four of {}", tree.len()), |b| {
            b.iter(|| {
                tree.matches(black_box("live/4711/comments"), &mut out);
                assert_eq!(out.len(), 4);
            });
        });
    }
    let mut literal = FilterTree::<u32>::new();
    for room in 0..100_000 {
        literal.insert(&format!("room/{room}/comments"));
    }
    let mut out = Vec::new();
    c.bench_function("matches/one of 100000 literal", |b| {
        b.iter(|| literal.matches(black_box("room/4711/comments"), &mut out));
    });
}

fn insert_remove(c: &mut Criterion) {
    let mut tree = tree(1000);
    c.bench_function("insert and remove/wildcard", |b| {
        b.iter(|| {
            let id = tree.insert(black_box("room/77/gifts/#"));
            tree.remove(id)
        });
    });
}

criterion_group!(benches, matches, insert_remove);
criterion_main!(benches);
