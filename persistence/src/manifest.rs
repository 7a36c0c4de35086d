//! The manifest of a data directory: which of the files in it count, and what they were written with.
//!
//! ```text
//!   # The journal of a Ringmain node. The program writes this file; a changed one is refused.
//!   format = 1
//!   node = "9f2c66f30c1a7d55"
//!   seed = "00112233445566778899aabbccddeeff"
//!   generation = 0
//!   epoch = 17
//!   shards = 4
//!   rules = ["room/+/#"]
//!   checksum = "1a2b3c4d"
//! ```
//!
//! It is TOML. The checksum is the CRC-32C of everything before its line. The file is replaced as a whole: the new one
//! is written and synced under another name, takes this one, and the directory is synced.

use std::fmt::{self, Write as _};
use std::io;
use std::path::Path;

use crc32c::crc32c;
use toml::de::{DeTable, DeValue};

use crate::files::Files;

/// The name of the file.
pub const FILE_NAME: &str = "MANIFEST";
/// The format that this version writes.
pub const FORMAT: i64 = 1;

const NEW_NAME: &str = "MANIFEST.new";
/// More than rules can come to.
const BYTES_MAX: usize = 1 << 20;

/// What a data directory says of itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Manifest {
    /// A random number that names the directory.
    pub node: u64,
    /// The seed of placement. Secret: who knows it can crowd one shard.
    pub seed: [u8; 16],
    /// Which layout of shards and rules counts.
    pub generation: u32,
    /// How often the program was started.
    pub epoch: u32,
    /// What is laid out.
    pub shape: Shape,
}

/// What decides which shard owns what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// How many shards there are.
    pub shards: u16,
    /// Partition rules.
    pub rules: Vec<String>,
}

/// Why a manifest is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManifestFault {
    /// It was written by a newer version of this program.
    Newer(i64),
    /// It was changed, or is damaged.
    Checksum,
    /// It does not say what it must.
    Malformed(String),
}

impl fmt::Display for ManifestFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ManifestFault::Newer(format) => write!(
                f,
                "has format {format}, and this program reads formats up to {FORMAT}: start the newer program that wrote it"
            ),
            ManifestFault::Checksum => f.write_str(
                "was changed by hand or is damaged: its checksum is wrong. Bring back the file as it was, or restore \
                     a backup",
            ),
            ManifestFault::Malformed(what) => {
                write!(f, "cannot be read: {what}. Bring back the file as it was, or restore a backup")
            }
        }
    }
}

impl std::error::Error for ManifestFault {}

/// Leaves the seed out: it is a secret.
impl fmt::Debug for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manifest")
            .field("node", &self.node)
            .field("generation", &self.generation)
            .field("epoch", &self.epoch)
            .field("shape", &self.shape)
            .finish_non_exhaustive()
    }
}

impl Manifest {
    /// As it stands in the file.
    pub fn write(&self) -> String {
        let mut text =
            String::from("# The journal of a Ringmain node. The program writes this file; a changed one is refused.\n");
        let seed = u128::from_be_bytes(self.seed);
        let Manifest { node, generation, epoch, shape: Shape { shards, rules }, .. } = self;
        let rules: Vec<_> = rules.iter().map(|rule| quoted(rule)).collect();
        let rules = rules.join(", ");
        let written = write!(
            text,
            "format = {FORMAT}\nnode = \"{node:016x}\"\nseed = \"{seed:032x}\"\ngeneration = {generation}\n\
             epoch = {epoch}\nshards = {shards}\nrules = [{rules}]\n"
        );
        written.and_then(|()| writeln!(text, "checksum = \"{:08x}\"", crc32c(text.as_bytes()))).expect("memory");
        text
    }

    /// Reads what stands in the file.
    pub fn read(text: &str) -> Result<Manifest, ManifestFault> {
        let malformed = |what: &str| ManifestFault::Malformed(what.into());
        let table = DeTable::parse(text).map_err(|error| ManifestFault::Malformed(error.message().into()))?;
        let table = table.get_ref();
        let number = |key: &str| match table.get(key).map(|value| value.get_ref()) {
            Some(DeValue::Integer(number)) => {
                i64::from_str_radix(number.as_str(), number.radix()).map_err(|_| malformed(key))
            }
            _ => Err(malformed(&format!("{key} is missing"))),
        };
        let string = |key: &str| match table.get(key).map(|value| value.get_ref()) {
            Some(DeValue::String(text)) => Ok(text.as_ref()),
            _ => Err(malformed(&format!("{key} is missing"))),
        };
        // Another format may have its checksum elsewhere, so this comes first.
        match number("format")? {
            FORMAT => {}
            format if format > FORMAT => return Err(ManifestFault::Newer(format)),
            format => return Err(malformed(&format!("there is no format {format}"))),
        }
        let covered = text.rfind("checksum = ").unwrap_or(0);
        if u32::from_str_radix(string("checksum")?, 16).ok() != Some(crc32c(&text.as_bytes()[..covered])) {
            return Err(ManifestFault::Checksum);
        }
        let out_of_range = |key: &str| malformed(&format!("{key} is out of range"));
        let small = |key: &str| u32::try_from(number(key)?).map_err(|_| out_of_range(key));
        let Some(DeValue::Array(rules)) = table.get("rules").map(|value| value.get_ref()) else {
            return Err(malformed("rules is missing"));
        };
        let rule = |value: &DeValue<'_>| match value {
            DeValue::String(rule) => Ok(rule.to_string()),
            _ => Err(malformed("rules are strings")),
        };
        let shape = Shape {
            shards: u16::try_from(number("shards")?).map_err(|_| out_of_range("shards"))?,
            rules: rules.iter().map(|value| rule(value.get_ref())).collect::<Result<_, _>>()?,
        };
        Ok(Manifest {
            node: u64::from_str_radix(string("node")?, 16).map_err(|_| out_of_range("node"))?,
            seed: u128::from_str_radix(string("seed")?, 16).map_err(|_| out_of_range("seed"))?.to_be_bytes(),
            generation: small("generation")?,
            epoch: small("epoch")?,
            shape,
        })
    }

    /// Reads the manifest of a data directory. `None`: there is none.
    pub fn load(files: &dyn Files, data_dir: &Path) -> io::Result<Option<Result<Manifest, ManifestFault>>> {
        match files.read_at(&data_dir.join(FILE_NAME), 0, BYTES_MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            bytes => {
                let text = String::from_utf8(bytes?).map_err(|_| ManifestFault::Malformed("it is no text".into()));
                Ok(Some(text.and_then(|text| Manifest::read(&text))))
            }
        }
    }

    /// Makes it the manifest of a data directory, durably.
    pub fn save(&self, files: &dyn Files, data_dir: &Path) -> io::Result<()> {
        let new = data_dir.join(NEW_NAME);
        // Left by a start that was killed here.
        match files.remove(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = files.create(&new)?;
        file.write_at(0, self.write().as_bytes())?;
        file.sync()?;
        files.rename(&new, &data_dir.join(FILE_NAME))?;
        files.sync_dir(data_dir)
    }
}

/// As TOML's basic strings.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            control if control.is_control() => {
                write!(out, "\\U{:08X}", u32::from(control)).expect("memory");
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use proptest::prelude::*;

    use super::*;
    use crate::files::sim::{Pick, SimFiles};

    fn manifest(rules: &[&str]) -> Manifest {
        let rules = rules.iter().map(ToString::to_string).collect();
        let shape = Shape { shards: 4, rules };
        Manifest { node: 0x9f2c_66f3_0c1a_7d55, seed: [3; 16], generation: 2, epoch: 17, shape }
    }

    /// What is written is what the module's page shows, and is read back.
    #[test]
    fn a_manifest_is_read_back() {
        let text = manifest(&["room/+/#"]).write();
        assert!(
            text.contains("\nnode = \"9f2c66f30c1a7d55\"\n") && text.contains("\nrules = [\"room/+/#\"]\n"),
            "{text}"
        );
        assert_eq!(Manifest::read(&text), Ok(manifest(&["room/+/#"])));
    }

    /// Any change is found, and a newer format is named before anything else is looked at.
    #[test]
    fn a_changed_manifest_is_refused() {
        let text = manifest(&[]).write();
        let changed = text.replace("shards = 4", "shards = 5");
        assert_eq!(Manifest::read(&changed), Err(ManifestFault::Checksum));
        let newer = Manifest::read("format = 2\nsomething = [1]\n").expect_err("a newer one");
        assert_eq!(newer, ManifestFault::Newer(2));
        assert!(newer.to_string().contains("start the newer program"), "{newer}");
        for text in ["", "format", "format = 0", "format = 1\nchecksum = \"0\"", &text[..text.len() / 2]] {
            assert!(Manifest::read(text).is_err(), "{text}");
        }
        assert!(!format!("{:?}", manifest(&[])).contains("seed: "));
    }

    /// Whatever becomes of the power while it is replaced, there is the old one or the new one.
    #[test]
    fn it_is_replaced_as_a_whole() {
        for pick in [Pick::Old, Pick::New, Pick::Front(100), Pick::Back(100)] {
            for after in 0..7 {
                let files = SimFiles::new("/memory");
                let root = PathBuf::from("/");
                let old = manifest(&[]);
                old.save(&files, &root).expect("it is saved");
                let begun = files.done();
                let count = files.clone();
                let mut done = begun;
                files.set_judge(move |_, _| {
                    done += 1;
                    (done > begun + after).then_some(5)
                });
                let new = Manifest { epoch: 18, ..old.clone() };
                let saved = new.save(&files, &root).is_ok();
                files.acquit();
                count.crash(|| pick);
                let found =
                    Manifest::load(&files, &root).expect("it is read").expect("there is one").expect("it is whole");
                assert!(found == new || !saved && found == old, "{found:?}");
                new.save(&files, &root).expect("what was left does no harm");
            }
        }
    }

    proptest! {
        /// Rules with any characters come back as they were.
        #[test]
        fn rules_come_back(rules in prop::collection::vec(any::<String>(), 0..4)) {
            let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
            let manifest = manifest(&rules);
            prop_assert_eq!(Manifest::read(&manifest.write()), Ok(manifest));
        }
    }
}
