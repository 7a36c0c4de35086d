//! The password file: a line `user:hash` for each user, as mosquitto has it.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use zeroize::Zeroizing;

use super::hash::{Hash, Scram};
use super::identity::Origin;
use crate::config::Settings;

/// Users at most: a file of more is a data base.
const USERS_MAX: usize = 1_000_000;
/// A file of passwords or rules is at most so long, in bytes.
pub const FILE_BYTES_MAX: u64 = 256 << 20;

/// The users of a password file.
#[derive(Default)]
pub struct Users {
    hashes: HashMap<Box<str>, Hash>,
    /// What the password of somebody who is not there is held against, at the same cost.
    dummy: Option<Hash>,
}

/// The users of a node.
#[derive(Default)]
pub struct Registers {
    /// Those of `[access]`.
    pub all: Users,
    /// Those of listeners that have a file of their own, by what the listener is called.
    pub own: HashMap<Box<str>, Users>,
}

impl Registers {
    /// Reads the files that the settings name.
    ///
    /// # Errors
    /// As [`Users::read`].
    pub fn read(settings: &Settings) -> Result<Registers, String> {
        let read = |file: &Option<PathBuf>| file.as_deref().map(Users::read).transpose();
        let all = read(&settings.access.password_file)?.unwrap_or_default();
        let mut own = HashMap::new();
        for listener in &settings.listeners {
            if listener.users_of.is_none()
                && let Some(users) = read(&listener.password_file)?
            {
                own.insert(listener.called().into(), users);
            }
        }
        Ok(Registers { all, own })
    }

    /// The users that who comes from there is one of.
    pub fn of(&self, origin: &Origin) -> &Users {
        origin.users.as_ref().and_then(|users| self.own.get(users)).unwrap_or(&self.all)
    }
}

/// What became of a name and a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// It is this user's.
    Yes,
    /// It is not, or none was given.
    No,
    /// There is no such user here.
    Nobody,
}

impl Users {
    /// Reads a file.
    ///
    /// # Errors
    /// What is wrong, with the file and the line; never what stands there.
    pub fn read(path: &Path) -> Result<Users, String> {
        let text = Zeroizing::new(read_text(path)?);
        Users::parse(&text).map_err(|(line, what)| format!("{}:{line}: {what}", path.display()))
    }

    /// Reads the text of a file. The line and what is wrong with it otherwise.
    pub fn parse(text: &str) -> Result<Users, (usize, &'static str)> {
        let mut users = Users::default();
        for (index, line) in text.lines().enumerate() {
            let wrong = |what| (index + 1, what);
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let (user, hash) = line.split_once(':').ok_or(wrong("there is no colon behind the user name"))?;
            let hash = Hash::parse(hash.trim_end()).map_err(wrong)?;
            if user.is_empty() {
                return Err(wrong("the user has no name"));
            }
            if users.hashes.len() == USERS_MAX {
                return Err(wrong("there are too many users"));
            }
            if users.dummy.is_none() {
                users.dummy = Some(hash.clone());
            }
            if users.hashes.insert(user.into(), hash).is_some() {
                return Err(wrong("this user has a line above already"));
            }
        }
        Ok(users)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Whether the password is the user's. Who is not there costs as much as who is.
    pub fn check(&self, user: &str, password: Option<&[u8]>) -> Known {
        let found = self.hashes.get(user);
        // A missing password is no password, also where the user's is empty; but it takes its time.
        let right = match found.or(self.dummy.as_ref()) {
            Some(hash) => hash.verify(password.unwrap_or_default()),
            None => false,
        };
        match found {
            None => Known::Nobody,
            Some(_) if right && password.is_some() => Known::Yes,
            Some(_) => Known::No,
        }
    }

    /// A number that stands for a user's line: another one has another.
    pub fn proof(&self, user: &str) -> Option<u64> {
        let hash = self.hashes.get(user)?.to_string();
        let digest = digest::digest(&digest::SHA256, hash.as_bytes());
        Some(u64::from_be_bytes(digest.as_ref()[..8].try_into().expect("eight bytes")))
    }

    /// What SCRAM needs of a user.
    pub fn scram(&self, user: &str) -> Option<&Scram> {
        self.hashes.get(user).and_then(Hash::scram)
    }

    /// Whether somebody can use SCRAM.
    pub fn has_scram(&self) -> bool {
        self.hashes.values().any(|hash| hash.scram().is_some())
    }
}

/// Reads a text file of ours within bounds.
pub fn read_text(path: &Path) -> Result<String, String> {
    let metadata = std::fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    if metadata.len() > FILE_BYTES_MAX {
        return Err(format!("{}: the file is longer than {} MiB", path.display(), FILE_BYTES_MAX >> 20));
    }
    std::fs::read_to_string(path).map_err(|error| unreadable(path, &error))
}

/// What is said of a file that the configuration names and that cannot be read.
pub(super) fn unreadable(path: &Path, error: &io::Error) -> String {
    let remedy = match error.kind() {
        io::ErrorKind::NotFound => "correct the path in the configuration, or put the file there",
        io::ErrorKind::PermissionDenied => "give it to the user that the program runs as",
        _ => "the configuration names it",
    };
    format!("{} cannot be read: {error}; {remedy}", path.display())
}

#[cfg(test)]
mod tests {
    use super::super::hash::Kind;
    use super::*;

    fn line(user: &str, password: &[u8]) -> String {
        format!("{user}:{}\n", Hash::make(Kind::Scram, password).expect("randomness"))
    }

    /// A file that is not there is named, with what helps.
    #[test]
    fn a_missing_file_is_named() {
        let said = Users::read(Path::new("/nowhere/users")).err().expect("it is not there");
        assert!(said.starts_with("/nowhere/users cannot be read: No such file"), "{said}");
        assert!(said.ends_with("correct the path in the configuration, or put the file there"), "{said}");
    }

    /// A user is let in by the password and by nothing else; a missing one is not an empty one.
    #[test]
    fn passwords_are_checked() {
        let text = format!("# users\n\n{}{}", line("alice", b"secret"), line("bob", b""));
        let users = Users::parse(&text).expect("a good file");
        assert_eq!(users.check("alice", Some(b"secret")), Known::Yes);
        assert_eq!(users.check("alice", Some(b"")), Known::No);
        assert_eq!(users.check("alice", None), Known::No);
        assert_eq!(users.check("bob", Some(b"")), Known::Yes);
        assert_eq!(users.check("bob", None), Known::No, "a missing password is not an empty one");
        assert_eq!(users.check("carol", Some(b"secret")), Known::Nobody);
        assert_eq!(Users::default().check("alice", Some(b"")), Known::Nobody);
    }

    /// What is wrong is named by its line, and nothing of it is repeated.
    #[test]
    fn wrong_lines_are_named() {
        let twice = line("a", b"x").repeat(2);
        for (text, expected) in [("a:b\n", 1), ("\n# x\nalice\n", 3), (&twice, 2), (&line("", b"x"), 1)] {
            let Err((number, what)) = Users::parse(text) else { panic!("{text}") };
            assert_eq!(number, expected);
            assert!(!what.contains("alice"));
        }
    }
}
