//! The filter tree against a list of filters and the reference of matching.

use std::collections::BTreeMap;

use wire::mqtt::topic::{self, TopicFilter, TopicName};

use crate::topic_tree::{FilterId, FilterTree};

/// Changes and questions, a line each: `>FILTER` is put in, `<FILTER` taken out, anything else is a name that is looked
/// up. What is no filter, or no name, is passed over, as the tree gets none.
pub fn operations(input: &[u8]) {
    const LEVELS_MAX: usize = 32;
    let Ok(lines) = str::from_utf8(input) else { return };
    let filter = |text: &str| TopicFilter::parse(text, LEVELS_MAX).is_ok_and(|filter| filter.group().is_none());
    let mut tree = FilterTree::<usize>::new();
    let mut model = BTreeMap::new();
    for (number, line) in lines.split('\n').enumerate() {
        match line.split_at_checked(1) {
            Some((">", text)) if filter(text) => {
                let id = tree.insert(text);
                let before = model.insert(text, (id, number));
                assert_eq!(before.map_or(0, |(_, number)| number + 1), *tree.value(id), "{text:?}");
                *tree.value_mut(id) = number + 1;
            }
            Some(("<", text)) => match model.remove(text) {
                Some((id, number)) => assert_eq!(tree.remove(id), number + 1),
                None => assert_eq!(tree.get(text), None),
            },
            _ if TopicName::parse(line).is_ok() => look_up(&tree, &model, line),
            _ => {}
        }
        assert_eq!(tree.len(), model.len());
    }
    let mut listed: Vec<_> = tree.iter().map(|(id, text, number)| (text, (id, number - 1))).collect();
    listed.sort_unstable();
    assert!(listed.into_iter().eq(model.clone()));
    for (text, (id, number)) in model {
        assert_eq!((tree.get(text), tree.filter(id), *tree.value(id)), (Some(id), text, number + 1));
        tree.remove(id);
    }
    assert!(tree.is_empty());
}

fn look_up(tree: &FilterTree<usize>, model: &BTreeMap<&str, (FilterId, usize)>, name: &str) {
    let mut found = Vec::new();
    tree.matches(name, &mut found);
    found.sort_unstable();
    let matching = model.iter().filter(|(filter, _)| topic::matches(filter, name));
    let mut expected: Vec<FilterId> = matching.map(|(_, (id, _))| *id).collect();
    expected.sort_unstable();
    assert_eq!(found, expected, "{name:?}");
}
