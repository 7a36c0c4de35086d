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
//! Named children are edges in one table for the whole trie, keyed by (parent, level); `+` and `#` are fields of a
//! node. So a match costs one lookup for the whole name, and one for each level of each trie path that the name
//! follows. It does not depend on how many other filters there are, and without wildcard filters the trie is not
//! touched.

use std::cell::Cell;

use ahash::RandomState;

use super::id_table::IdTable;
use super::paged::Paged;

/// A handle of a filter in its [`FilterTree`], valid until the filter is removed; then it may name another filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FilterId(pub u32);

/// Topic filters with a value each.
///
/// Answers do not depend on the (random) keys of its hash, and neither does [`FilterTree::iter`]'s order.
pub struct FilterTree<V> {
    filters: Paged<Filter<V>>,
    /// Every filter by its text.
    by_text: IdTable,
    /// The trie of wildcard filters; the root is always there.
    nodes: Paged<Node>,
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
    /// A tree without filters; nobody can guess how it hashes.
    pub fn new() -> FilterTree<V> {
        FilterTree::with_hasher(RandomState::new())
    }

    /// A tree without filters that hashes level names in this way.
    pub fn with_hasher(hasher: RandomState) -> FilterTree<V> {
        let mut nodes = Paged::default();
        nodes.insert(Node::new(NONE, ""));
        FilterTree {
            filters: Paged::default(),
            by_text: IdTable::default(),
            nodes,
            edges: IdTable::default(),
            hasher,
            visited: Cell::default(),
        }
    }

    /// How many filters are in the tree.
    pub fn len(&self) -> usize {
        self.filters.len()
    }

    /// Whether there is no filter.
    pub fn is_empty(&self) -> bool {
        self.filters.len() == 0
    }

    /// The handle of a filter, wildcards compared as text.
    pub fn get(&self, filter: &str) -> Option<FilterId> {
        let hash = self.hasher.hash_one(filter);
        self.by_text.find(hash, |id| *self.filters[id].text == *filter).map(FilterId)
    }

    /// The handle of a filter, which is added with `V::default()` if it is not there.
    ///
    /// The filter is valid and without `$share/GROUP/`. Each level of a wildcard filter may take a node (about 60 bytes
    /// and the level's name), so the number of levels is for the caller to limit.
    pub fn insert(&mut self, filter: &str) -> FilterId
    where
        V: Default,
    {
        if let Some(id) = self.get(filter) {
            return id;
        }
        let id = self.filters.next_index();
        let node = if filter.contains(['+', '#']) { self.hang(filter, id) } else { NONE };
        self.filters.insert(Filter { text: filter.into(), node, value: V::default() });
        self.by_text.insert(self.hasher.hash_one(filter), id);
        FilterId(id)
    }

    /// Removes a filter and returns its value. Panics if the handle is not valid.
    pub fn remove(&mut self, id: FilterId) -> V {
        let filter = self.filters.remove(id.0);
        self.by_text.remove(self.hasher.hash_one(&*filter.text), id.0);
        if filter.node != NONE {
            let node = &mut self.nodes[filter.node];
            let field = if ends_in_rest(&filter.text) { &mut node.rest } else { &mut node.exact };
            debug_assert_eq!(*field, id.0, "a filter hangs where it was hung");
            *field = NONE;
            self.prune(filter.node);
        }
        filter.value
    }

    /// The value of a filter. Panics if the handle is not valid.
    pub fn value(&self, id: FilterId) -> &V {
        &self.filters[id.0].value
    }

    /// The value of a filter. Panics if the handle is not valid.
    pub fn value_mut(&mut self, id: FilterId) -> &mut V {
        &mut self.filters[id.0].value
    }

    /// The text of a filter. Panics if the handle is not valid.
    pub fn filter(&self, id: FilterId) -> &str {
        &self.filters[id.0].text
    }

    /// All filters, in the order of their handles.
    pub fn iter(&self) -> impl Iterator<Item = (FilterId, &str, &V)> {
        self.filters.iter().map(|(id, filter)| (FilterId(id), &*filter.text, &filter.value))
    }

    /// Puts into `out`, which is cleared first, every filter that matches a topic name, each once, in no stated order.
    ///
    /// A filter that begins with a wildcard does not match a name that begins with `$` \[MQTT-4.7.2-1\].
    pub fn matches(&self, topic: &str, out: &mut Vec<FilterId>) {
        out.clear();
        out.extend(self.get(topic));
        if self.nodes.len() > 1 || self.nodes[ROOT].rest != NONE {
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
                let node = &self.nodes[id];
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
            let node = &self.nodes[id];
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
            let node = &self.nodes[id];
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
        let end = &mut self.nodes[node];
        *(if rest { &mut end.rest } else { &mut end.exact }) = id;
        node
    }

    fn child_or_new(&mut self, parent: u32, level: &str) -> u32 {
        let level_hash = self.hasher.hash_one(level);
        let found = match level {
            "+" => some(self.nodes[parent].plus),
            _ => self.child(parent, level, level_hash),
        };
        if let Some(child) = found {
            return child;
        }
        let child = self.nodes.insert(Node::new(parent, level));
        match level {
            "+" => self.nodes[parent].plus = child,
            _ => {
                self.edges.insert(edge_hash(parent, level_hash), child);
                self.nodes[parent].named += 1;
            }
        }
        child
    }

    /// Frees a node that leads to no filter any more, and its parents likewise.
    fn prune(&mut self, mut id: u32) {
        while id != ROOT && self.nodes[id].is_bare() {
            let node = self.nodes.remove(id);
            let parent = &mut self.nodes[node.parent];
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use wire::mqtt::topic;

    use super::*;
    use crate::topic::strategy;

    fn tree(filters: &[&str]) -> FilterTree<u32> {
        let mut tree = FilterTree::new();
        filters.iter().for_each(|filter| {
            tree.insert(filter);
        });
        tree
    }

    /// The texts of the filters that match, sorted.
    fn matching<V>(tree: &FilterTree<V>, topic: &str) -> Vec<String> {
        let mut ids = Vec::new();
        tree.matches(topic, &mut ids);
        let mut texts: Vec<_> = ids.into_iter().map(|id| tree.filter(id).to_owned()).collect();
        texts.sort();
        texts
    }

    /// The examples of the standard: `#` takes its parent level, `+` takes an empty level, neither takes a first `$`.
    #[test]
    fn wildcards_match_as_the_standard_says() {
        let tree = tree(&["#", "sport/#", "sport/+", "+/+", "/+", "+", "$SYS/#", "+/monitor/Clients", "sport/a/#"]);
        assert_eq!(matching(&tree, "sport"), ["#", "+", "sport/#"]);
        assert_eq!(matching(&tree, "sport/"), ["#", "+/+", "sport/#", "sport/+"]);
        assert_eq!(matching(&tree, "/finance"), ["#", "+/+", "/+"]);
        assert_eq!(matching(&tree, "sport/a"), ["#", "+/+", "sport/#", "sport/+", "sport/a/#"]);
        assert_eq!(matching(&tree, "$SYS/monitor/Clients"), ["$SYS/#"]);
        assert_eq!(matching(&tree, "$SYS"), ["$SYS/#"]);
    }

    /// A filter keeps its handle and its value until it is removed; then the handle is used again.
    #[test]
    fn handles_are_stable_and_reused() {
        let mut tree = tree(&["a", "a/+", "b/#"]);
        let id = tree.get("a/+").unwrap();
        *tree.value_mut(id) = 7;
        assert_eq!(tree.insert("a/+"), id);
        assert_eq!(*tree.value(id), 7);
        assert_eq!(tree.remove(id), 7);
        assert_eq!(tree.get("a/+"), None);
        assert_eq!(tree.insert("c"), id);
        assert_eq!(*tree.value(id), 0);
        assert_eq!(tree.iter().map(|(_, filter, _)| filter).collect::<Vec<_>>(), ["a", "c", "b/#"]);
    }

    /// A name of the most levels that a packet can carry neither overflows a stack nor walks on where nothing matches.
    #[test]
    fn deep_names_are_walked_only_as_far_as_filters_go() {
        let tree = tree(&["+/+/+/x", "/#", "a/+"]);
        let mut out = Vec::new();
        assert_eq!(tree.walk(&"/".repeat(65_535), &mut out), 5);
        assert_eq!(out.len(), 1);
    }

    /// The cost of a match does not depend on the number of other filters, literal or not.
    #[test]
    fn matching_cost_is_flat() {
        let mut tree = tree(&["room/7/+", "room/+/gift", "+/#"]);
        let mut out = Vec::new();
        let alone = tree.walk("room/7/gift", &mut out);
        for n in 0..500_000 {
            tree.insert(&format!("room/{n}/+"));
            tree.insert(&format!("user/{n}/inbox"));
        }
        assert_eq!(tree.len(), 1_000_002);
        out.clear();
        assert_eq!(tree.walk("room/7/gift", &mut out), alone);
        assert_eq!(out.len(), 3);
        assert_eq!(matching(&tree, "user/123456/inbox"), ["+/#", "user/123456/inbox"]);
    }

    /// Literal filters take no node of the trie, and few bytes.
    #[test]
    fn literal_filters_take_no_nodes() {
        let mut tree = FilterTree::<u32>::new();
        for n in 0..10_000 {
            tree.insert(&format!("room/{n}/chat"));
        }
        assert_eq!(tree.nodes.len(), 1);
        assert!(size_of::<Filter<u64>>() <= 32, "a literal filter is small");
    }

    #[derive(Clone, Debug)]
    enum Change {
        Insert(String),
        /// Removes the filter at this place among those that are there.
        Remove(prop::sample::Index),
    }

    fn change() -> impl Strategy<Value = Change> {
        prop_oneof![
            3 => strategy::filter().prop_map(Change::Insert),
            2 => any::<prop::sample::Index>().prop_map(Change::Remove),
        ]
    }

    proptest! {
        /// Whatever was inserted and removed before, a name matches what the reference says of each filter that is
        /// there; and a tree without filters has given all its nodes back.
        #[test]
        fn matches_like_the_reference(
            changes in prop::collection::vec(change(), 1..60),
            topics in prop::collection::vec(strategy::topic(), 8),
        ) {
            let mut tree = FilterTree::<String>::new();
            let mut model = BTreeMap::new();
            for change in changes {
                match change {
                    Change::Insert(filter) => {
                        let id = tree.insert(&filter);
                        tree.value_mut(id).clone_from(&filter);
                        model.insert(filter, id);
                    }
                    Change::Remove(_) if model.is_empty() => {}
                    Change::Remove(at) => {
                        let filter = at.get(&model.keys().cloned().collect::<Vec<_>>()).clone();
                        let id = model.remove(&filter).unwrap();
                        prop_assert_eq!(tree.remove(id), filter);
                    }
                }
                prop_assert_eq!(tree.len(), model.len());
                for topic in &topics {
                    let expected: Vec<_> = model.keys().filter(|f| topic::matches(f, topic)).cloned().collect();
                    prop_assert_eq!(matching(&tree, topic), expected, "{}", topic);
                }
            }
            for (filter, id) in model {
                prop_assert_eq!(tree.get(&filter), Some(id));
                tree.remove(id);
            }
            prop_assert_eq!(tree.nodes.len(), 1);
            prop_assert_eq!(tree.nodes[ROOT].named, 0);
        }
    }
}
