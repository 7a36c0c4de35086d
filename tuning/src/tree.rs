//! A machine as a text: the files that a look has read, in a form that people can read, change and send.
//!
//! ```text
//! # A comment.
//! sys/devices/system/cpu/online: 0-3              a file of one line; a file of several has several such lines
//! sys/devices/system/cpu/cpu{0-3}/topology/core_id: {n}      one for each number; {n+4}, {n-4} and {n/2} compute
//! sys/class/net/eth0/device/driver -> virtio_net  a symbolic link
//! sys/class/net/eth0/                             a directory, or something of which only the name is known
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Component, Path};

/// What is at one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Something; nobody asked what.
    There,
    /// A file that says this.
    Text(String),
    /// A symbolic link to something of this name.
    Link(String),
}

/// Writes down what was read.
pub fn write(seen: &BTreeMap<String, Entry>) -> String {
    let mut lines = Vec::new();
    for (path, entry) in seen {
        match entry {
            // What has something below it is a directory anyway.
            Entry::There if has_below(seen, path) => {}
            Entry::There => lines.push(format!("{path}/")),
            Entry::Link(target) => lines.push(format!("{path} -> {target}")),
            Entry::Text(said) if said.is_empty() => lines.push(format!("{path}:")),
            Entry::Text(said) => lines.extend(said.lines().map(|line| format!("{path}: {line}").trim_end().to_owned())),
        }
    }
    lines.push(String::new());
    lines.join("\n")
}

/// Whether anything was seen below a path.
fn has_below(seen: &BTreeMap<String, Entry>, path: &str) -> bool {
    let prefix = format!("{path}/");
    seen.range(prefix.clone()..).next().is_some_and(|(next, _)| next.starts_with(&prefix))
}

/// Makes files of a text below `directory`, which is there and should be empty.
pub fn unpack(text: &str, directory: &Path) -> io::Result<()> {
    let entries = read(text).map_err(io::Error::other)?;
    for (path, entry) in &entries {
        let at = directory.join(path);
        fs::create_dir_all(at.parent().unwrap_or(directory))?;
        match entry {
            Entry::There => fs::create_dir_all(&at)?,
            Entry::Text(said) => fs::write(&at, format!("{said}\n"))?,
            Entry::Link(target) => std::os::unix::fs::symlink(target, &at)?,
        }
    }
    Ok(())
}

/// Reads a text; says which line is not understood.
pub fn read(text: &str) -> Result<BTreeMap<String, Entry>, String> {
    let mut entries = BTreeMap::new();
    for (at, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |what: &str| format!("line {}: {what}: `{line}`", at + 1);
        for line in expand(line).ok_or_else(|| wrong("a range that is none"))? {
            let (path, entry) =
                parse(&line).ok_or_else(|| wrong("neither `PATH: TEXT` nor `PATH -> NAME` nor `PATH/`"))?;
            if !Path::new(path).components().all(|part| matches!(part, Component::Normal(_))) {
                return Err(wrong("a path that leads elsewhere"));
            }
            if matches!(&entry, Entry::Link(target) if !stays_below(path, target)) {
                return Err(wrong("a link that leads elsewhere"));
            }
            match (entries.get_mut(path), entry) {
                (Some(Entry::Text(said)), Entry::Text(more)) => *said += &format!("\n{more}"),
                (Some(_), _) => return Err(wrong("a path that was there before")),
                (None, entry) => _ = entries.insert(path.to_owned(), entry),
            }
        }
    }
    Ok(entries)
}

/// Whether a link at `path` leads to somewhere below the same root.
fn stays_below(path: &str, target: &str) -> bool {
    let mut depth = path.matches('/').count();
    Path::new(target).components().all(|part| match part {
        Component::ParentDir => depth.checked_sub(1).map(|above| depth = above).is_some(),
        Component::Normal(_) => {
            depth += 1;
            true
        }
        _ => false,
    })
}

fn parse(line: &str) -> Option<(&str, Entry)> {
    // Paths have colons in them (PCI addresses), but none that a blank or the end follows.
    if let Some(path) = line.strip_suffix(':').filter(|path| !path.contains(": ")) {
        return Some((path, Entry::Text(String::new())));
    }
    if let Some((path, said)) = line.split_once(": ") {
        return Some((path, Entry::Text(said.to_owned())));
    }
    if let Some((path, target)) = line.split_once(" -> ") {
        return Some((path, Entry::Link(target.to_owned())));
    }
    line.strip_suffix('/').map(|path| (path, Entry::There))
}

/// A line for each number of the range in its path.
fn expand(line: &str) -> Option<Vec<String>> {
    let path_end = line.find(": ").or_else(|| line.find(" -> ")).unwrap_or(line.len());
    let Some(open) = line[..path_end].find('{') else { return Some(vec![line.to_owned()]) };
    let close = open + line[open..].find('}')?;
    let (first, last) = line[open + 1..close].split_once('-')?;
    let (first, last): (i64, i64) = (first.parse().ok()?, last.parse().ok()?);
    (first..=last).map(|n| Some(format!("{}{n}{}", &line[..open], substitute(&line[close + 1..], n)?))).collect()
}

/// Puts a number into a text, for `{n}`, and for what is computed from it.
fn substitute(text: &str, n: i64) -> Option<String> {
    let mut done = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("{n") {
        done += &rest[..at];
        let end = at + rest[at..].find('}')?;
        let value = match (rest[at + 2..end].chars().next(), rest.get(at + 3..end)) {
            (None, _) => n,
            (Some('+'), Some(by)) => n + by.parse::<i64>().ok()?,
            (Some('-'), Some(by)) => n - by.parse::<i64>().ok()?,
            (Some('/'), Some(by)) => n.checked_div(by.parse().ok()?)?,
            _ => return None,
        };
        done += &value.to_string();
        rest = &rest[end + 1..];
    }
    Some(done + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written is read again as it was.
    #[test]
    fn trees_come_back() {
        let entries = BTreeMap::from([
            ("a/b".to_owned(), Entry::Text("one\n two: three".to_owned())),
            ("a/c".to_owned(), Entry::Link("d".to_owned())),
            ("a/empty".to_owned(), Entry::Text(String::new())),
            ("devices/0000:00:03.0".to_owned(), Entry::There),
            ("devices/0000:00:04.0/x".to_owned(), Entry::Text("1".to_owned())),
        ]);
        assert_eq!(read(&write(&entries)), Ok(entries));
    }

    /// A range is a line for each of its numbers.
    #[test]
    fn ranges_are_expanded() {
        let entries = read("cpu{8-9}/siblings: {n-8},{n},{n/2},{n+1}\ncpu{0-1}/\n").expect("a tree");
        assert_eq!(entries["cpu9/siblings"], Entry::Text("1,9,4,10".to_owned()));
        assert_eq!(entries["cpu1"], Entry::There);
        assert_eq!(entries.len(), 4);
    }

    /// Nothing is written outside of the directory.
    #[test]
    fn paths_stay_below() {
        for wrong in ["a -> /etc", "a/b -> ../../x", "../x: 1", "/etc/x: 1", "a/../../x: 1", "nonsense", "a{1-: 2"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
