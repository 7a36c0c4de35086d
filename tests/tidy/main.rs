//! The tree as text: which crate may import which, where `unsafe` may stand, and what nobody should leave behind.
//!
//! Each test gathers all that it objects to before it fails, as `file:line: what`.

mod source;

use source::{Line, Tree};

/// Which of our crates each crate may import.
const ARROWS: [(&str, &[&str]); 6] = [
    ("wire", &[]),
    ("shard", &[]),
    ("tuning", &["shard"]),
    ("switch", &["wire", "shard", "tuning"]),
    ("benches", &["wire", "shard", "tuning", "switch"]),
    ("tests", &["wire", "shard", "tuning", "switch"]),
];

/// The crates that there are to import.
const CRATES: [&str; 4] = ["wire", "shard", "tuning", "switch"];

/// Folders and files that may have `unsafe` blocks.
const UNSAFE_HOMES: [&str; 10] = [
    "shard/src/uring/",
    "shard/src/buffer/",
    "shard/src/ring/",
    "shard/src/affinity.rs",
    "persistence/src/map.rs",
    "persistence/src/keeper/wake.rs",
    "shard/src/listen.rs",
    "shard/src/profile/ticks.rs",
    "benches/floor/ring.rs",
    "tests/allocation/counting.rs",
];

/// Extensions of files that people write.
const WRITTEN: [&str; 9] = ["rs", "py", "js", "sh", "toml", "md", "json", "yml", "run"];

/// Fails with everything in `found`.
fn none(found: Vec<String>) {
    assert!(found.is_empty(), "{} objections:\n{}", found.len(), found.join("\n"));
}

/// Goal: the crates stay apart: bytes, kernel and broker meet only where the arrows say.
#[test]
fn imports_follow_the_arrows() {
    let tree = Tree::read();
    let mut found = Vec::new();
    for (crate_name, may) in ARROWS {
        for line in tree.lines(&["rs"]).filter(|line| line.path.starts_with(&format!("{crate_name}/"))) {
            let code = line.code();
            for other in CRATES.iter().filter(|other| **other != crate_name && !may.contains(other)) {
                if names_crate(&code, other) {
                    found.push(line.says(&format!("{crate_name} may not import {other}")));
                }
            }
        }
        for line in tree.lines(&["toml"]).filter(|line| line.path == format!("{crate_name}/Cargo.toml")) {
            for other in CRATES.iter().filter(|other| **other != crate_name && !may.contains(other)) {
                if line.text.starts_with(&format!("{other}.")) || line.text.starts_with(&format!("{other} =")) {
                    found.push(line.says(&format!("{crate_name} may not depend on {other}")));
                }
            }
        }
    }
    none(found);
}

/// Whether code names `crate_name` at the root of a path: `use wire::...`, `::wire::...` or `wire::...` after no path
/// of its own.
fn names_crate(code: &str, crate_name: &str) -> bool {
    let needle = format!("{crate_name}::");
    code.match_indices(&needle).any(|(at, _)| {
        let before = code[..at].trim_end_matches("::").trim_end();
        let inside_a_path =
            code[..at].ends_with("::") && before.ends_with(|last: char| last.is_alphanumeric() || last == '_');
        let inside_a_name = code[..at].ends_with(|last: char| last.is_alphanumeric() || last == '_');
        !inside_a_path && !inside_a_name
    })
}

/// Goal: `unsafe` has an address.
#[test]
fn unsafe_stays_home() {
    let tree = Tree::read();
    let at_home = |line: &Line<'_>| UNSAFE_HOMES.iter().any(|home| line.path.starts_with(home));
    let found = tree.lines(&["rs"]).filter(|line| !at_home(line) && line.has_word("unsafe"));
    none(found.map(|line| line.says("unsafe outside of its homes")).collect());
}

/// Goal: each `unsafe` block and implementation argues why it is sound.
#[test]
fn unsafe_is_argued() {
    let tree = Tree::read();
    let mut found = Vec::new();
    for file in tree.files(&["rs"]) {
        let lines: Vec<Line<'_>> = file.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            let code = line.code();
            if !code.contains("unsafe {") && !code.contains("unsafe impl") {
                continue;
            }
            // The comment stands above the statement, which may have begun some lines before.
            let above = &lines[index.saturating_sub(12)..=index];
            if !above.iter().any(|line| line.text.contains("// SAFETY:")) {
                found.push(line.says("no SAFETY comment above"));
            }
        }
    }
    none(found);
}

/// Goal: nothing is left for later, silenced, or bound to one machine.
#[test]
fn no_leftovers() {
    let tree = Tree::read();
    // Spelt in two halves, so that this file does not object to itself.
    let words = [["TO", "DO"], ["FIX", "ME"], ["XX", "X"], ["HA", "CK"]].map(|halves| halves.concat());
    let texts = [
        ["todo", "!("],
        ["unimplemented", "!("],
        ["dbg", "!("],
        ["#[all", "ow("],
        ["#![all", "ow("],
        ["/wo", "rk/"],
        ["/tm", "p/"],
        ["/roo", "t/"],
        ["/hom", "e/"],
    ];
    let texts = texts.map(|halves| halves.concat());
    let mut found = Vec::new();
    for line in tree.lines(&WRITTEN) {
        for word in words.iter().filter(|word| line.contains_word(word)) {
            found.push(line.says(&format!("{word} is left")));
        }
        for text in texts.iter().filter(|text| line.text.contains(text.as_str())) {
            found.push(line.says(&format!("{text} may not stand here")));
        }
    }
    none(found);
}

/// Goal: lines fit a screen and end where their text ends.
#[test]
fn lines_are_short() {
    let tree = Tree::read();
    let mut found = Vec::new();
    for line in tree.lines(&["rs", "py", "js", "sh", "toml"]) {
        let width = line.text.chars().count();
        // rustfmt breaks code at 120; strings, tables and macros, which it leaves alone, may run a little over.
        if width > 124 {
            found.push(line.says(&format!("{width} characters; 120 fit")));
        }
        if line.text.ends_with([' ', '\t']) {
            found.push(line.says("blanks at the end"));
        }
    }
    none(found);
}

/// Goal: files are read in one sitting. Tables of data have no such limit, and would be named here.
#[test]
fn files_are_short() {
    const LINES_MAX: usize = 700;
    let tree = Tree::read();
    let long = tree
        .files(&["rs"])
        .map(|file| (file.path.as_str(), file.lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX);
    none(long.map(|(path, lines)| format!("{path}: {lines} lines; {LINES_MAX} are the most")).collect());
}

/// Goal: each file opens by saying what it is, and each test by saying its goal.
#[test]
fn files_and_tests_say_what_they_are() {
    let tree = Tree::read();
    let mut found = Vec::new();
    for file in tree.files(&["rs"]) {
        let lines: Vec<Line<'_>> = file.lines().collect();
        let first = lines.iter().find(|line| !line.text.is_empty() && !line.text.starts_with("#!"));
        if !first.is_some_and(|line| line.text.starts_with("//!")) {
            found.push(format!("{}:1: no //! that says what this file is", file.path));
        }
        for (index, line) in lines.iter().enumerate().filter(|(_, line)| line.text.trim() == "#[test]") {
            let above = lines[..index].iter().rev().find(|line| !line.text.trim().starts_with("#["));
            let said = above.is_some_and(|line| line.text.trim().starts_with("///"));
            // Those that a macro makes say it where the macro is called.
            if !said && !inside_a_macro(&lines[..index]) {
                found.push(line.says("a test without a comment that says its goal"));
            }
        }
    }
    none(found);
}

/// Whether the last item that begins in column one is a macro's definition.
fn inside_a_macro(above: &[Line<'_>]) -> bool {
    let opening = above.iter().rev().find(|line| line.text.starts_with(char::is_alphabetic));
    opening.is_some_and(|line| line.text.starts_with("macro_rules!"))
}

/// Goal: the unit tests of a file are its end.
#[test]
fn unit_tests_come_last() {
    let tree = Tree::read();
    let mut found = Vec::new();
    for file in tree.files(&["rs"]) {
        let after = file
            .lines()
            .skip_while(|line| line.text != "mod tests {")
            .skip(1)
            .skip_while(|line| line.text != "}")
            .skip(1);
        found.extend(after.filter(|line| !line.text.trim().is_empty()).map(|line| line.says("after mod tests")));
    }
    none(found);
}

/// Goal: lock files name packages, not the host that they came from.
#[test]
fn lock_files_name_no_host() {
    let tree = Tree::read();
    let lock = |line: &Line<'_>| line.path.ends_with("package-lock.json") && line.text.contains("\"resolved\"");
    none(tree.lines(&["json"]).filter(lock).map(|line| line.says("a registry's address")).collect());
}

/// Goal: the table of known failures is true to the tests: each row names tests that exist, or says that this version
/// lacks what the row is about.
#[test]
fn known_failures_have_tests() {
    let tree = Tree::read();
    let mut found = Vec::new();
    let rows = tree.lines(&["md"]).filter(|line| line.path == "docs/known-failures.md" && line.text.starts_with("| "));
    let rows: Vec<Line<'_>> = rows.filter(|line| !line.text.starts_with("| what happened")).collect();
    assert!(rows.len() > 30, "{} rows", rows.len());
    for row in &rows {
        let last = row.text.trim_end_matches(" |").rsplit('|').next().unwrap_or_default();
        if !last.contains("::") && !row.text.contains("not in this version") {
            found.push(row.says("no test"));
        }
        for name in last.split('`').filter(|name| name.contains("::")) {
            let (path, test) = name.split_once("::").expect("it has two colons");
            let path = if path.starts_with("wire/") { path.to_owned() } else { format!("tests/{path}") };
            let definition = format!("fn {test}(");
            if !tree.lines(&["rs"]).any(|line| line.path == path && line.text.trim_start().starts_with(&definition)) {
                found.push(row.says(&format!("there is no {name}")));
            }
        }
    }
    none(found);
}

/// Goal: `make test` names the tests that it runs, so that all are built at once; none may be left out.
#[test]
fn every_test_is_run() {
    let tree = Tree::read();
    let makefile = std::fs::read_to_string(ringmain_tests::program::root().join("Makefile")).expect("it is there");
    let words: Vec<&str> = makefile.split_whitespace().collect();
    let is_run = |name: &str| words.windows(2).any(|pair| pair == ["--test", name]);
    let (mut found, mut seen, mut section) = (Vec::new(), 0, "");
    for line in tree.lines(&["toml"]).filter(|line| line.path.ends_with("Cargo.toml")) {
        if line.text.starts_with('[') {
            section = line.text;
        } else if let Some(name) = line.text.strip_prefix("name = \"").filter(|_| section == "[[test]]") {
            seen += 1;
            let name = name.trim_end_matches('"');
            found.extend((!is_run(name)).then(|| line.says(&format!("the Makefile has no --test {name}"))));
        }
    }
    // Those that cargo finds by their places.
    for line in tree.files(&["rs"]).filter_map(|file| file.lines().next()) {
        let mut parts = line.path.split('/');
        if let (Some(package), Some("tests"), Some(name)) = (parts.next(), parts.next(), parts.next())
            && package != "tests"
            && (name.ends_with(".rs") || line.path.ends_with("/main.rs"))
        {
            seen += 1;
            let name = name.trim_end_matches(".rs");
            found.extend((!is_run(name)).then(|| line.says(&format!("the Makefile has no --test {name}"))));
        }
    }
    assert!(seen > 15, "{seen} tests were found");
    none(found);
}
