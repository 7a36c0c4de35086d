//! Whose instruction it is: the innermost function of this workspace that it stands in, through all inlining, so that
//! what a function costs does not depend on whether the compiler inlined it. What the library or another crate does
//! inline counts to our function that asked for it.

use std::collections::HashMap;
use std::path::Path;

use addr2line::Loader;

use crate::callgrind::Site;

/// Who pays for an instruction.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// `switch`, `shard`, `wire`, the name of another crate, `std`, or the library that was called.
    pub owner: String,
    /// The function, with its file where it is ours.
    pub function: String,
}

/// The owner of what the scripted driver costs, which no count contains.
pub const BENCH: &str = "bench";

/// Folders of sources, and whose they are.
const OURS: [(&str, &str); 4] =
    [("switch/src/", "switch"), ("shard/src/", "shard"), ("wire/src/", "wire"), ("benches/instructions/", BENCH)];

/// Finds the places of one program's instructions.
pub struct Places {
    program: String,
    symbols: Loader,
    known: HashMap<u64, Option<Place>>,
}

impl Places {
    /// Of the program at `path`.
    ///
    /// # Errors
    /// It cannot be read, or has no line tables.
    pub fn of(path: &Path) -> Result<Places, Box<dyn std::error::Error>> {
        let program = path.to_string_lossy().into_owned();
        Ok(Places { program, symbols: Loader::new(path)?, known: HashMap::new() })
    }

    /// Whose instruction it is.
    pub fn find(&mut self, site: &Site) -> Place {
        if site.object != self.program {
            let object = site.object.rsplit('/').next().unwrap_or_default();
            let owner = object.split('.').next().unwrap_or_default().to_owned();
            return Place { owner, function: short(&site.symbol) };
        }
        let symbols = &self.symbols;
        let ours = self.known.entry(site.address).or_insert_with(|| innermost(symbols, site.address));
        ours.clone().unwrap_or_else(|| Place { owner: root(&site.symbol), function: short(&site.symbol) })
    }
}

/// The innermost function of ours around an address.
fn innermost(symbols: &Loader, address: u64) -> Option<Place> {
    let mut frames = symbols.find_frames(address).ok()?;
    let mut closure_of = None;
    while let Ok(Some(frame)) = frames.next() {
        let Some(file) = frame.location.as_ref().and_then(|location| location.file) else { continue };
        let Some((at, owner)) = ours(file) else { continue };
        let file = &file[at..];
        let name = frame.function.as_ref().and_then(|name| name.demangle().ok()).unwrap_or_default();
        let name = short(&name);
        // A closure belongs to the function that it is written in, if that is around it here.
        if name.starts_with("{closure") || name.starts_with("{{closure") {
            closure_of.get_or_insert((owner, file.to_owned(), name));
        } else if closure_of.as_ref().is_none_or(|(_, inner, _)| inner == file) {
            return Some(Place { owner: owner.to_owned(), function: format!("{file} {name}") });
        } else {
            break;
        }
    }
    closure_of.map(|(owner, file, name)| Place { owner: owner.to_owned(), function: format!("{file} {name}") })
}

/// Where the path within the workspace begins, and whose file it is. Sources of the library and of registries have
/// such folders, too, and are not ours.
fn ours(file: &str) -> Option<(usize, &'static str)> {
    if file.starts_with("/rustc/") || file.contains("/registry/src/") || file.contains("/library/") {
        return None;
    }
    OURS.iter().find_map(|(folder, owner)| file.rfind(folder).map(|at| (at, *owner)))
}

/// The last component of a function's path, without types and hash: `<a::B as c::D<E>>::run::<F>` is `run`.
fn short(symbol: &str) -> String {
    let mut name = String::new();
    let mut depth = 0u32;
    let mut pieces = symbol.chars().peekable();
    while let Some(letter) = pieces.next() {
        match letter {
            '<' => depth += 1,
            '>' if depth > 0 => depth -= 1,
            _ if depth > 0 => {}
            ':' if pieces.next_if_eq(&':').is_some() => {
                // What follows replaces what was before, unless it is types or a closure's number alone.
                match pieces.peek() {
                    Some('<') | None => {}
                    Some('{') if !name.is_empty() && !name.starts_with('{') => return name,
                    Some(_) => name.clear(),
                }
            }
            letter => name.push(letter),
        }
    }
    name
}

/// The crate of a symbol that is not ours.
fn root(symbol: &str) -> String {
    let path = symbol.trim_start_matches(['<', '&', '*', '(', '[']).trim_start_matches("impl ");
    let first = path.split([':', '<', '>', ' ']).next().unwrap_or_default();
    match first {
        "core" | "alloc" => "std".to_owned(),
        env!("CARGO_BIN_NAME") => BENCH.to_owned(),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a function has one name, inlined or not.
    #[test]
    fn names_are_short() {
        assert_eq!(short("switch::delivery::flush::<impl switch::switch::Switch>::plan_flush"), "plan_flush");
        assert_eq!(short("<switch::switch::Switch as shard::handler::Handler>::handle"), "handle");
        assert_eq!(short("switch::topic::tree::FilterTree<V>::get"), "get");
        assert_eq!(short("index_mut<u32, usize>"), "index_mut");
        assert_eq!(short("switch::a::b::{{closure}}"), "b");
        assert_eq!(short("{closure#0}"), "{closure#0}");
        assert_eq!(short("core::iter::fold::<Vec<u8>>"), "fold");
        assert_eq!(short("__memcpy_avx_unaligned_erms"), "__memcpy_avx_unaligned_erms");
    }

    /// Goal: what is not ours has the name of its crate, the library's three crates one.
    #[test]
    fn crates_are_named() {
        assert_eq!(root("siphasher::sip::Hasher<S>::hash"), "siphasher");
        assert_eq!(root("<core::iter::adapters::flatten::FlattenCompat<I,U> as Iterator>::try_fold"), "std");
    }

    /// Goal: sources are told apart by their folders, wherever the workspace lies.
    #[test]
    fn files_are_told_apart() {
        assert_eq!(ours("/a/switch/src/topic/tree.rs").map(|found| found.1), Some("switch"));
        assert_eq!(ours("shard/src/reactor.rs"), Some((0, "shard")));
        assert_eq!(ours("/rustc/1/library/core/src/str/mod.rs"), None);
        assert_eq!(ours("/a/registry/src/index/slab-0.4.12/src/lib.rs"), None);
        assert_eq!(ours("/a/benches/instructions/driver.rs").map(|found| found.1), Some(BENCH));
    }
}
