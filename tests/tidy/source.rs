//! The files of the tree and their lines.

use std::fs;
use std::path::{Path, PathBuf};

/// Every text file that belongs to the tree.
pub struct Tree {
    files: Vec<File>,
}

/// One file.
pub struct File {
    /// Its path from the root, with slashes.
    pub path: String,
    text: String,
}

/// One line of a file.
pub struct Line<'a> {
    /// The file's path.
    pub path: &'a str,
    /// The line without its end.
    pub text: &'a str,
    number: usize,
}

impl Tree {
    /// Reads the tree, but for what is built, installed or not ours.
    pub fn read() -> Self {
        let root = ringmain_tests::program::root();
        let mut files = Vec::new();
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).expect("the tree can be read") {
                let path = entry.expect("the tree can be read").path();
                if path.is_dir() {
                    folders.extend(belongs(&path).then_some(path));
                } else if let Ok(text) = fs::read_to_string(&path) {
                    files.push(File { path: relative(&root, &path), text });
                }
            }
        }
        files.sort_by(|one, other| one.path.cmp(&other.path));
        Self { files }
    }

    /// The files with one of these extensions.
    pub fn files(&self, extensions: &[&str]) -> impl Iterator<Item = &File> {
        self.files.iter().filter(move |file| {
            let extension = file.path.rsplit_once('.').map_or("", |(_, extension)| extension);
            extensions.contains(&extension) && !file.path.ends_with("package-lock.json") || file.is_lock_of(extensions)
        })
    }

    /// The lines of those files.
    pub fn lines(&self, extensions: &[&str]) -> impl Iterator<Item = Line<'_>> {
        self.files(extensions).flat_map(File::lines)
    }
}

impl File {
    /// Its lines, numbered from 1.
    pub fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        self.text.lines().enumerate().map(|(index, text)| Line { path: &self.path, text, number: index + 1 })
    }

    /// Lock files are machine-made: only who asks for JSON alone means them.
    fn is_lock_of(&self, extensions: &[&str]) -> bool {
        extensions == ["json"] && self.path.ends_with("package-lock.json")
    }
}

impl Line<'_> {
    /// `file:line: what`.
    pub fn says(&self, what: &str) -> String {
        format!("{}:{}: {what}", self.path, self.number)
    }

    /// The line without comments, and without what stands in quotes.
    pub fn code(&self) -> String {
        let mut code = String::new();
        let mut quoted = false;
        let mut previous = ' ';
        for (at, char) in self.text.char_indices() {
            match char {
                '"' if previous != '\\' && previous != '\'' => quoted = !quoted,
                '/' if !quoted && self.text[at..].starts_with("//") => break,
                _ if !quoted => code.push(char),
                _ => {}
            }
            previous = char;
        }
        code
    }

    /// Whether its code has this word.
    pub fn has_word(&self, word: &str) -> bool {
        words(&self.code()).any(|found| found == word)
    }

    /// Whether the line has this word, in a comment too.
    pub fn contains_word(&self, word: &str) -> bool {
        words(self.text).any(|found| found == word)
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|char: char| !char.is_alphanumeric() && char != '_')
}

fn belongs(folder: &Path) -> bool {
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    !matches!(name, "target" | "node_modules" | ".git" | ".venv" | "corpus" | "artifacts")
}

fn relative(root: &Path, path: &Path) -> String {
    let path: PathBuf = path.strip_prefix(root).expect("below the root").components().collect();
    path.display().to_string()
}
