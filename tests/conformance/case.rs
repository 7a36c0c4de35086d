//! The files of cases, read strictly: unknown keys, unknown statements and scripts that mean nothing are errors.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use ringmain_tests::program::root;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::notation::{Defines, is_name};
use crate::script::{Failure, Script};
use crate::statement::Standard;

/// Where the files lie, from the root of the workspace.
const CASES: &str = "tests/conformance/cases";

/// A file of cases.
pub struct File {
    /// Whose statements its cases show.
    pub standard: Standard,
    /// Its name without the extension.
    pub name: String,
    /// Its cases, or what is wrong with the file as a whole.
    pub cases: Result<Vec<Case>, String>,
}

/// One case.
pub struct Case {
    /// Its name, unique in the file.
    pub name: String,
    /// The numbers of the statements that it shows.
    pub statements: Vec<String>,
    /// The broker's configuration, as in `ringmain.toml`.
    pub settings: String,
    /// What to do, or what is wrong with it.
    pub script: Result<Script, String>,
    path: String,
    script_line: usize,
}

/// All files of both versions, in the order of their names.
pub fn files() -> Vec<File> {
    Standard::BOTH.into_iter().flat_map(files_of).collect()
}

fn files_of(standard: Standard) -> Vec<File> {
    let folder = root().join(CASES).join(standard.folder());
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a folder can be listed").path()).collect();
    paths.sort();
    paths
        .iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .map(|path| {
            let name = path.file_stem().expect("it has an extension").to_string_lossy().into_owned();
            let cases = read(standard, path, &format!("{CASES}/{}/{name}.toml", standard.folder()));
            File { standard, name, cases }
        })
        .collect()
}

impl Case {
    /// A failure with the place of the script's step.
    pub fn describe(&self, failure: &Failure) -> String {
        describe(&self.path, self.script_line, &self.name, failure)
    }
}

fn describe(path: &str, script_line: usize, name: &str, failure: &Failure) -> String {
    let (step, rest) = failure.message.split_once('\n').unwrap_or((&failure.message, ""));
    format!("{path}:{}: {name}\nstep      {step}\n{rest}", script_line + failure.line)
}

fn read(standard: Standard, file: &Path, path: &str) -> Result<Vec<Case>, String> {
    let text = fs::read_to_string(file).map_err(|error| format!("{path}: {error}"))?;
    let source = Source { path, text: &text };
    let root = DeTable::parse(&text)
        .map_err(|error| source.error(error.span().map_or(0, |span| span.start), error.message()))?;
    let mut defines = Defines::new();
    let mut cases = Vec::new();
    let mut names = BTreeSet::new();
    for (key, value) in root.get_ref() {
        // `[define]` sorts before or after `[[case]]` as it likes: see below.
        match (key.get_ref().as_ref(), value.get_ref()) {
            ("define", DeValue::Table(table)) => defines = source.defines(table)?,
            ("case", DeValue::Array(_)) => {}
            (other, _) => {
                return Err(source.error(key.span().start, &format!("{other}: [define] or [[case]] belong here")));
            }
        }
    }
    let tables = root.get_ref().get("case").and_then(|value| value.get_ref().as_array());
    for table in tables.into_iter().flatten() {
        let case = source.case(standard, table, &defines)?;
        if !names.insert(case.name.clone()) {
            return Err(source.error(table.span().start, &format!("two cases are called {}", case.name)));
        }
        cases.push(case);
    }
    if cases.is_empty() { Err(format!("{path}: no cases")) } else { Ok(cases) }
}

/// A file's text, and its name for messages.
struct Source<'a> {
    path: &'a str,
    text: &'a str,
}

impl Source<'_> {
    fn error(&self, byte: usize, what: &str) -> String {
        format!("{}:{}: {what}", self.path, self.line(byte))
    }

    /// The line of a byte, from 1.
    fn line(&self, byte: usize) -> usize {
        self.text.get(..byte).unwrap_or(self.text).matches('\n').count() + 1
    }

    fn defines(&self, table: &DeTable<'_>) -> Result<Defines, String> {
        let mut defines = Defines::new();
        for (name, value) in table {
            let at = name.span().start;
            if !is_name(name.get_ref()) {
                return Err(self.error(at, &format!("`{}` is no name", name.get_ref())));
            }
            let text = value.get_ref().as_str().ok_or_else(|| self.error(at, "a define is a string"))?;
            defines.insert(name.get_ref().to_string(), text.to_owned());
        }
        Ok(defines)
    }

    fn case(&self, standard: Standard, value: &Spanned<DeValue<'_>>, defines: &Defines) -> Result<Case, String> {
        let begin = value.span().start;
        let table = value.get_ref().as_table().ok_or_else(|| self.error(begin, "write [[case]]"))?;
        let known = ["name", "statements", "story", "settings", "script"];
        if let Some((key, _)) = table.iter().find(|(key, _)| !known.contains(&key.get_ref().as_ref())) {
            return Err(self.error(key.span().start, &format!("`{}` is no key of a case", key.get_ref())));
        }
        let (name, _) = self.string(table, "name", begin)?;
        if !is_name(name) {
            return Err(self.error(begin, &format!("`{name}` is no name")));
        }
        let (story, story_line) = self.string(table, "story", begin)?;
        if !story.ends_with('.') {
            return Err(format!("{}:{story_line}: a story is a sentence", self.path));
        }
        let statements = self.statements(standard, table, begin)?;
        let settings = table.get("settings").map_or(Ok(String::new()), |value| self.settings(value))?;
        let (script, script_line) = self.string(table, "script", begin)?;
        let script = Script::read(script, defines).map_err(|failure| describe(self.path, script_line, name, &failure));
        let (name, path) = (name.to_owned(), self.path.to_owned());
        Ok(Case { name, statements, settings, script, path, script_line })
    }

    /// A string that must be there, and the line on which its text begins.
    fn string<'a>(&self, table: &'a DeTable<'_>, key: &str, begin: usize) -> Result<(&'a str, usize), String> {
        let value = table.get(key).ok_or_else(|| self.error(begin, &format!("the case has no {key}")))?;
        let text = value.get_ref().as_str();
        let text = text.ok_or_else(|| self.error(value.span().start, &format!("{key} is a string")))?;
        let written = self.text.get(value.span()).unwrap_or_default();
        // A line end right behind the opening quotes is none of the text.
        let skipped = usize::from(written.starts_with("'''\n") || written.starts_with("\"\"\"\n"));
        Ok((text, self.line(value.span().start) + skipped))
    }

    fn statements(&self, standard: Standard, table: &DeTable<'_>, begin: usize) -> Result<Vec<String>, String> {
        let values = table.get("statements").and_then(|value| value.get_ref().as_array());
        let values = values.ok_or_else(|| self.error(begin, "the case has no list of statements"))?;
        let mut statements = Vec::new();
        for value in values.iter() {
            let written = value.get_ref().as_str().unwrap_or_default();
            let id = standard.statement(written).map_err(|what| self.error(value.span().start, &what))?;
            statements.push(id.to_owned());
        }
        if statements.is_empty() { Err(self.error(begin, "the case shows no statement")) } else { Ok(statements) }
    }

    /// The settings as top-level keys of a configuration file.
    fn settings(&self, value: &Spanned<DeValue<'_>>) -> Result<String, String> {
        let table = value.get_ref().as_table();
        let table = table.ok_or_else(|| self.error(value.span().start, "settings is a table of tables"))?;
        Ok(table.iter().map(|(key, value)| format!("{} = {}\n", key.get_ref(), self.written(value))).collect())
    }

    /// A value as TOML, tables in line.
    fn written(&self, value: &Spanned<DeValue<'_>>) -> String {
        match value.get_ref() {
            DeValue::Table(table) => {
                let pairs = table.iter().map(|(key, value)| format!("{} = {}", key.get_ref(), self.written(value)));
                format!("{{ {} }}", pairs.collect::<Vec<_>>().join(", "))
            }
            _ => self.text.get(value.span()).unwrap_or_default().to_owned(),
        }
    }
}
