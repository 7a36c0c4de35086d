//! What must hold of all keys.

use std::collections::BTreeSet;

use super::*;

/// Each default can be written in the file: it is within the range of its key.
#[test]
fn defaults_are_within_their_ranges() {
    let mut settings = Settings::default();
    for (section, key) in SECTIONS.iter().flat_map(|section| section.keys.iter().map(move |key| (section, key))) {
        let Some(shown) = (key.at)(&mut settings).show(&key.kind) else { continue };
        let text = shown.trim_matches('"').trim_matches(['[', ']']).to_owned();
        let read = (key.at)(&mut settings).read(&key.kind, &crate::config::field::Raw::Bare(text));
        assert_eq!(read, Ok(()), "{}.{} = {shown}", section.name, key.name);
    }
    assert_eq!(settings, Settings::default(), "writing and reading the defaults changes nothing");
}

/// Every bound of `Limits` is a key of the same name, and every key is a bound.
#[test]
fn limits_and_keys_are_one_to_one() {
    let debug = format!("{:#?}", crate::limits::Limits::default());
    let fields: BTreeSet<&str> =
        debug.lines().filter_map(|line| line.strip_prefix("    ")?.split_once(": ")).map(|(name, _)| name).collect();
    let keys: BTreeSet<&str> = LIMITS.iter().map(|key| key.name).collect();
    assert_eq!(fields, keys);
}

/// No two keys of a section have one name, and each has a sentence.
#[test]
fn names_are_unique_and_documented() {
    for section in SECTIONS {
        let names: BTreeSet<&str> = section.keys.iter().map(|key| key.name).collect();
        assert_eq!(names.len(), section.keys.len(), "{}", section.name);
        assert!(section.keys.iter().all(|key| key.doc.ends_with('.')), "{}", section.name);
    }
}
