//! The corpora of the fuzz targets as cases: every input that was worth keeping, through the same laws, with the stable
//! toolchain.

mod grammar;
mod journal;
#[path = "../../wire/tests/codec/laws/mod.rs"]
mod laws;
#[path = "../../persistence/tests/persistence/node.rs"]
mod node;
mod records;
mod script;
mod targets;
mod tree;
#[path = "../../persistence/tests/persistence/world.rs"]
mod world;

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use ringmain_tests::{packet, property};
use switch::tls;
use switch::topic::tree as topic_tree;

/// Goal: every input of every corpus keeps the laws of its target, and each target has a corpus and a program.
#[test]
fn corpora_keep_the_laws() {
    let fuzz = ringmain_tests::program::root().join("tests/fuzz");
    let mut broken = Vec::new();
    for (target, run) in targets::TARGETS {
        let inputs = files(&fuzz.join("corpus").join(target));
        assert!(!inputs.is_empty(), "{target} has no corpus");
        for path in inputs {
            let input = fs::read(&path).expect("a file of ours can be read");
            if catch_unwind(|| run(&input)).is_err() {
                broken.push(path.display().to_string());
            }
        }
    }
    assert!(broken.is_empty(), "{} inputs break the law of their target:\n{}", broken.len(), broken.join("\n"));
    let targets: BTreeSet<String> = targets::TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(&fuzz.join("corpus")), targets);
    assert_eq!(names(&fuzz.join("fuzz_targets")), targets);
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.map(|entry| entry.expect("a folder of ours can be read").path()).collect()
}

/// The names in a folder, without extensions.
fn names(folder: &Path) -> BTreeSet<String> {
    files(folder).iter().filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect()
}
