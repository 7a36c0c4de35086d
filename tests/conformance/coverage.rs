//! Which cases show each statement, or why there can be none: the table of `docs/conformance.md`, and what it demands.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use ringmain_tests::program::root;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::case::File;
use crate::statement::Standard;

/// The table, from the root of the workspace.
const TABLE: &str = "docs/conformance.md";

/// The arguments, likewise.
const ARGUMENTS: &str = "tests/conformance/arguments.toml";

/// Why a statement may have no case.
const REASONS: [&str; 3] = ["transport", "client", "option"];

/// Statements for each one that may have an argument instead of a case.
const STATEMENTS_PER_ARGUMENT: usize = 20;

/// What shows each statement.
pub struct Coverage {
    standards: Vec<Covered>,
}

/// The statements of one standard.
struct Covered {
    standard: Standard,
    /// How many cases there are.
    cases: usize,
    /// `file::case`, by statement.
    shown: BTreeMap<String, Vec<String>>,
    /// `reason: sentence`, by statement.
    argued: BTreeMap<String, String>,
}

impl Coverage {
    /// Of these files and the arguments; what is wrong with the arguments otherwise. A file that cannot be read shows
    /// nothing.
    pub fn of(files: &[File]) -> Result<Self, String> {
        let mut standards: Vec<Covered> = Standard::BOTH
            .map(|standard| Covered { standard, cases: 0, shown: BTreeMap::new(), argued: BTreeMap::new() })
            .into();
        for file in files {
            let covered = &mut standards[file.standard as usize];
            for case in file.cases.iter().flatten() {
                covered.cases += 1;
                for statement in &case.statements {
                    let shown = covered.shown.entry(statement.clone()).or_default();
                    shown.push(format!("{}::{}", file.name, case.name));
                }
            }
        }
        let text = read(ARGUMENTS)?;
        let root = DeTable::parse(&text).map_err(|error| format!("{ARGUMENTS}: {}", error.message()))?;
        let arguments = root.get_ref().get("argument").and_then(|value| value.get_ref().as_array());
        for argument in arguments.into_iter().flatten() {
            let (standard, statement, text) = argument_of(argument)?;
            if standards[standard as usize].argued.insert(statement.clone(), text).is_some() {
                return Err(format!("{ARGUMENTS}: {statement} is argued twice"));
            }
        }
        Ok(Self { standards })
    }

    /// Goal: every statement has a case, or an argument where that is the better of the two; few have arguments.
    pub fn is_complete(&self) -> Result<(), String> {
        let mut found = Vec::new();
        for covered in &self.standards {
            let prefix = covered.standard.prefix();
            let statements = covered.standard.statements();
            for statement in statements {
                match (covered.shown.contains_key(&statement.id), covered.argued.contains_key(&statement.id)) {
                    (false, false) => found.push(format!("{prefix} {}: neither case nor argument", statement.id)),
                    (true, true) => found.push(format!("{prefix} {}: an argument beside a case", statement.id)),
                    _ => {}
                }
            }
            let most = statements.len() / STATEMENTS_PER_ARGUMENT;
            if covered.argued.len() > most {
                found.push(format!("{prefix}: {} arguments; {most} are the most", covered.argued.len()));
            }
        }
        if found.is_empty() { Ok(()) } else { Err(found.join("\n")) }
    }

    /// Goal: the table in the documentation is the one that these cases give.
    pub fn is_written(&self) -> Result<(), String> {
        if read(TABLE)? == self.table() { Ok(()) } else { Err(format!("{TABLE} is old: `make docs` writes it")) }
    }

    /// Writes the table.
    pub fn write(&self) -> Result<(), String> {
        fs::write(path(TABLE), self.table()).map_err(|error| format!("{TABLE}: {error}"))
    }

    /// The table as Markdown.
    fn table(&self) -> String {
        let mut text = HEAD.to_owned();
        for covered in &self.standards {
            let total = covered.standard.statements().len();
            let (title, cases, argued) = (covered.standard.title(), covered.cases, covered.argued.len());
            let shown = covered.shown.len();
            writeln!(text, "| {title} | {total} | {shown} | {argued} | {cases} |").expect("a String takes everything");
        }
        for covered in &self.standards {
            covered.write_rows(&mut text);
        }
        text
    }
}

impl Covered {
    fn write_rows(&self, text: &mut String) {
        let folder = self.standard.folder();
        let title = self.standard.title();
        write!(
            text,
            "\n## {title}\n\nCases are files of `tests/conformance/cases/{folder}/` and names in them.\n\n\
             | statement | binds | in other words | cases, or why there is none |\n|---|---|---|---|\n"
        )
        .expect("a String takes everything");
        for statement in self.standard.statements() {
            let cases = self.shown.get(&statement.id).map(|cases| {
                let cases: Vec<String> = cases.iter().map(|case| format!("`{case}`")).collect();
                cases.join(" ")
            });
            let argument = || self.argued.get(&statement.id).cloned();
            let shows = cases.or_else(argument).unwrap_or_else(|| "none yet".to_owned());
            let paraphrase = statement.paraphrase.replace('|', "\\|");
            writeln!(text, "| {} | {} | {paraphrase} | {shows} |", statement.id, statement.binds)
                .expect("a String takes everything");
        }
    }
}

/// One entry of the file of arguments: whose statement, which, and `reason: sentence`.
fn argument_of(value: &Spanned<DeValue<'_>>) -> Result<(Standard, String, String), String> {
    let table = value.get_ref().as_table().ok_or(format!("{ARGUMENTS}: write [[argument]]"))?;
    let known = ["statement", "reason", "sentence"];
    if let Some((key, _)) = table.iter().find(|(key, _)| !known.contains(&key.get_ref().as_ref())) {
        return Err(format!("{ARGUMENTS}: `{}` is no key of an argument", key.get_ref()));
    }
    let [statement, reason, sentence] =
        known.map(|key| table.get(key).and_then(|value| value.get_ref().as_str()).unwrap_or_default());
    let (standard, id) = Standard::BOTH
        .into_iter()
        .find_map(|standard| Some((standard, standard.statement(statement).ok()?)))
        .ok_or_else(|| format!("{ARGUMENTS}: `{statement}` is no statement"))?;
    if !REASONS.contains(&reason) {
        return Err(format!("{ARGUMENTS}: {statement}: the reasons are {}", REASONS.join(", ")));
    }
    if !sentence.ends_with('.') {
        return Err(format!("{ARGUMENTS}: {statement}: a sentence is missing"));
    }
    Ok((standard, id.to_owned(), format!("{reason}: {sentence}")))
}

fn path(name: &str) -> PathBuf {
    root().join(name)
}

fn read(name: &str) -> Result<String, String> {
    fs::read_to_string(path(name)).map_err(|error| format!("{name}: {error}"))
}

const HEAD: &str = "\
# Conformance

<!-- Generated from the cases and arguments in tests/conformance by `make docs`; a test checks that it is current. -->

Every normative statement of MQTT 3.1.1 and 5.0, with the cases that show it. A case is data: which bytes clients send,
which bytes must come back, exactly, and whether the connection ends; at its end every connection that is still open must
be silent. Each runs in four worlds: against the real program over sockets, with one shard and with two (`shards_1`,
`shards_2`), and on a simulated kernel, where silence and times are exact (`sim_1`), and where three shards have tiny
buffers and rings, and a kernel that splits, delays and ends whatever it may (`sim_3`). A rule for clients is shown by
what the server does when it is broken.

```sh
cargo test -p ringmain-tests --test conformance                                       # all of them
cargo test -p ringmain-tests --test conformance -- v311::connect::second_connect_closes   # one of them
cargo test -p ringmain-tests --test conformance -- sim_                                   # those that need no program
```

A failure tells the step, and what was expected and received, packet by packet. The notation is described in
`tests/conformance/notation.rs`, the steps in `tests/conformance/script.rs`. Where a statement cannot have a case it has a
reason from a closed list: *transport* (the business of what carries the bytes), *client* (a client's choice, which no
server can see), *option* (something that the standard leaves open and that Ringmain does not do in this version); that is
at most one statement in twenty.

| | statements | shown by cases | argued | cases |
|---|---:|---:|---:|---:|
";
