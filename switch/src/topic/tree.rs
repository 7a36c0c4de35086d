//! Filters, level by level: which of them match a topic name.
//!
//! Every filter is in one hash table by its text, so the only literal filter that can match a topic is found by one
//! lookup of the whole name. Filters with wildcards hang in a trie as well, which is walked one level at a time:
//!
//! ```text
//!   room/+/chat ─┐            root ──"room"──▶ ● ──plus──▶ ● ──"chat"──▶ ●  exact: room/+/chat
//!   room/#      ─┼─▶ trie                      │
//!   +/news      ─┘                             └ rest: room/#
//! ```
//!
//! Named children are edges in one table for the whole trie, keyed by (parent, level); `+` and `#` are fields of a node.
//! So a match costs one lookup for the whole name, and one for each level of each trie path that the name follows. It
//! does not depend on how many other filters there are, and without wildcard filters the trie is not touched.

use std::cell::Cell;

use ahash::RandomState;
use slab::Slab;

use super::id_table::IdTable;

/// A handle of a filter in its [`FilterTree`], valid until the filter is removed; then it may name another filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FilterId(pub u32);

/// Topic filters with a value each.
///
/// Answers do not depend on the (random) keys of its hash, and neither does [`FilterTree::iter`]'s order.
pub struct FilterTree<V> {
    filters: Slab<Filter<V>>,
    /// Every filter by its text.
    by_text: IdTable,
    /// The trie of wildcard filters; the root is always there.
    nodes: Slab<Node>,
    /// The named children in the trie, by parent and level.
    edges: IdTable,
    hasher: RandomState,
    /// The nodes that a walk has come to, kept for the next walk so that none allocates.
    visited: Cell<Vec<u32>>,
}

struct Filter<V> {
    text: Box<str>,
    /// Where it hangs in the trie; [`NONE`] if it has no wildcard.
    node: u32,
    value: V,
}

/// One level of one or more wildcard filters. Indices are [`NONE`] where there is nothing.
struct Node {
    parent: u32,
    /// How many named children it has in the table of edges.
    named: u32,
    /// The child for the level `+`.
    plus: u32,
    /// The filter that ends here.
    exact: u32,
    /// The filter that ends in the level `#` below here.
    rest: u32,
    /// The name of this level; `+` for a child in `plus`.
    level: Box<str>,
}

const NONE: u32 = u32::MAX;
const ROOT: u32 = 0;

impl<V> FilterTree<V> {
    /// A tree without filters.
    pub fn new() -> FilterTree<V> {
        let mut nodes = Slab::new();
        nodes.insert(Node::new(NONE, ""));
        FilterTree {
            filters: Slab::new(),
            by_text: IdTable::default(),
            nodes,
            edges: IdTable::default(),
            hasher: RandomState::new(),
            visited: Cell::default(),
        }
    }

    /// How many filters are in the tree.
    pub fn len(&self) -> usize {
        self.filters.len()
    }

    /// Whether there is no filter.
    pub fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }

    /// The handle of a filter, wildcards compared as text.
    pub fn get(&self, filter: &str) -> Option<FilterId> {
        let hash = self.hasher.hash_one(filter);
        self.by_text.find(hash, |id| *self.filters[id as usize].text == *filter).map(FilterId)
    }

    /// The handle of a filter, which is added with `V::default()` if it is not there.
    ///
    /// The filter is valid and without `$share/GROUP/`. Each level of a wildcard filter may take a node (about 60 bytes and
    /// the level's name), so the number of levels is for the caller to limit.
    pub fn insert(&mut self, filter: &str) -> FilterId
    where
        V: Default,
    {
        if let Some(id) = self.get(filter) {
            return id;
        }
        let id = index(self.filters.vacant_key());
        let node = if filter.contains(['+', '#']) { self.hang(filter, id) } else { NONE };
        self.filters.insert(Filter { text: filter.into(), node, value: V::default() });
        self.by_text.insert(self.hasher.hash_one(filter), id);
        FilterId(id)
    }

    /// Removes a filter and returns its value. Panics if the handle is not valid.
    pub fn remove(&mut self, id: FilterId) -> V {
        let filter = self.filters.remove(id.0 as usize);
        self.by_text.remove(self.hasher.hash_one(&*filter.text), id.0);
        if filter.node != NONE {
            let node = &mut self.nodes[filter.node as usize];
            let field = if ends_in_rest(&filter.text) { &mut node.rest } else { &mut node.exact };
            debug_assert_eq!(*field, id.0, "a filter hangs where it was hung");
            *field = NONE;
            self.prune(filter.node);
        }
        filter.value
    }

    /// The value of a filter. Panics if the handle is not valid.
    pub fn value(&self, id: FilterId) -> &V {
        &self.filters[id.0 as usize].value
    }

    /// The value of a filter. Panics if the handle is not valid.
    pub fn value_mut(&mut self, id: FilterId) -> &mut V {
        &mut self.filters[id.0 as usize].value
    }

    /// The text of a filter. Panics if the handle is not valid.
    pub fn filter(&self, id: FilterId) -> &str {
        &self.filters[id.0 as usize].text
    }

    /// All filters, in the order of their handles.
    pub fn iter(&self) -> impl Iterator<Item = (FilterId, &str, &V)> {
        self.filters.iter().map(|(id, filter)| (FilterId(index(id)), &*filter.text, &filter.value))
    }

    /// Puts into `out`, which is cleared first, every filter that matches a topic name, each once, in no stated order.
    ///
    /// A filter that begins with a wildcard does not match a name that begins with `$` \[MQTT-4.7.2-1\].
    pub fn matches(&self, topic: &str, out: &mut Vec<FilterId>) {
        out.clear();
        out.extend(self.get(topic));
        if self.nodes.len() > 1 || self.nodes[ROOT as usize].rest != NONE {
            self.walk(topic, out);
        }
    }

    /// Appends the wildcard filters that match, and returns how many nodes that took.
    fn walk(&self, topic: &str, out: &mut Vec<FilterId>) -> usize {
        let mut visited = self.visited.take();
        visited.clear();
        visited.push(ROOT);
        let reserved = topic.starts_with('$');
        // Those of the present depth are `visited[begin..]`; their children are appended behind them.
        let mut begin = 0;
        for level in topic.split('/') {
            let end = visited.len();
            if begin == end {
                break;
            }
            let level_hash = self.hasher.hash_one(level);
            for at in begin..end {
                let id = visited[at];
                let node = &self.nodes[id as usize];
                if id != ROOT || !reserved {
                    out.extend(some(node.rest).map(FilterId));
                    visited.extend(some(node.plus));
                }
                if node.named > 0 {
                    visited.extend(self.child(id, level, level_hash));
                }
            }
            begin = end;
        }
        // What is left at the present depth has used up the name. `#` matches its parent level too [MQTT-4.7.1-2].
        for &id in &visited[begin..] {
            let node = &self.nodes[id as usize];
            out.extend(some(node.exact).map(FilterId));
            out.extend(some(node.rest).map(FilterId));
        }
        let nodes = visited.len();
        self.visited.set(visited);
        nodes
    }

    /// The named child of a node.
    fn child(&self, parent: u32, level: &str, level_hash: u64) -> Option<u32> {
        self.edges.find(edge_hash(parent, level_hash), |id| {
            let node = &self.nodes[id as usize];
            node.parent == parent && *node.level == *level
        })
    }

    /// Puts a wildcard filter into the trie and returns the node that it ends at.
    fn hang(&mut self, filter: &str, id: u32) -> u32 {
        let rest = ends_in_rest(filter);
        let mut node = ROOT;
        let named = if rest { filter[..filter.len() - 1].strip_suffix('/') } else { Some(filter) };
        for level in named.into_iter().flat_map(|levels| levels.split('/')) {
            node = self.child_or_new(node, level);
        }
        let end = &mut self.nodes[node as usize];
        *(if rest { &mut end.rest } else { &mut end.exact }) = id;
        node
    }

    fn child_or_new(&mut self, parent: u32, level: &str) -> u32 {
        let level_hash = self.hasher.hash_one(level);
        let found = match level {
            "+" => some(self.nodes[parent as usize].plus),
            _ => self.child(parent, level, level_hash),
        };
        if let Some(child) = found {
            return child;
        }
        let child = index(self.nodes.insert(Node::new(parent, level)));
        match level {
            "+" => self.nodes[parent as usize].plus = child,
            _ => {
                self.edges.insert(edge_hash(parent, level_hash), child);
                self.nodes[parent as usize].named += 1;
            }
        }
        child
    }

    /// Frees a node that leads to no filter any more, and its parents likewise.
    fn prune(&mut self, mut id: u32) {
        while id != ROOT && self.nodes[id as usize].is_bare() {
            let node = self.nodes.remove(id as usize);
            let parent = &mut self.nodes[node.parent as usize];
            if *node.level == *"+" {
                parent.plus = NONE;
            } else {
                parent.named -= 1;
                self.edges.remove(edge_hash(node.parent, self.hasher.hash_one(&*node.level)), id);
            }
            id = node.parent;
        }
    }
}

impl<V> Default for FilterTree<V> {
    fn default() -> FilterTree<V> {
        FilterTree::new()
    }
}

impl Node {
    fn new(parent: u32, level: &str) -> Node {
        Node { parent, named: 0, plus: NONE, exact: NONE, rest: NONE, level: level.into() }
    }

    /// Whether no filter ends here or below.
    fn is_bare(&self) -> bool {
        self.named == 0 && [self.plus, self.exact, self.rest] == [NONE; 3]
    }
}

/// Whether the last level is `#`.
fn ends_in_rest(filter: &str) -> bool {
    filter == "#" || filter.ends_with("/#")
}

/// The key of a named child, from a hash of the level that a walk computes once for all parents at a depth.
fn edge_hash(parent: u32, level_hash: u64) -> u64 {
    // Any odd constant with well spread bits; the secret is in the level's hash.
    let product = u128::from(level_hash ^ u64::from(parent)) * 0x9e37_79b9_7f4a_7c15;
    (product >> 64) as u64 ^ product as u64
}

fn some(id: u32) -> Option<u32> {
    (id != NONE).then_some(id)
}

fn index(key: usize) -> u32 {
    u32::try_from(key).ok().filter(|&id| id != NONE).expect("memory ends before 2^32 filters")
}
