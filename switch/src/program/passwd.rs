//! `ringmain passwd`: changes a password file, as mosquitto_passwd does.

use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::args::{HashKind, Passwd};
use super::failure::Failure;
use crate::access::hash::{Hash, Kind};
use crate::access::users::{Users, read_text};

/// Bytes of a password: CONNECT carries no more.
const PASSWORD_BYTES_MAX: usize = 65_535;

/// Carries out the command.
pub fn run(command: &Passwd) -> Result<(), Failure> {
    change(command).map_err(Failure::Passwords)
}

fn change(command: &Passwd) -> Result<(), String> {
    let Passwd { create, delete, hash, file, user, password, .. } = command;
    if user.is_empty() || user.contains([':', '\n', '\r']) || user.starts_with('#') {
        return Err("a user name is not empty, does not begin with #, and has no colon".to_owned());
    }
    let text = if *create { String::new() } else { read_text(file)? };
    Users::parse(&text).map_err(|(line, what)| format!("{}:{line}: {what}", file.display()))?;
    let is_users = |line: &str| line.split_once(':').is_some_and(|(name, _)| name == user);
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let at = lines.iter().position(|line| is_users(line));
    if *delete {
        let at = at.ok_or_else(|| format!("{}: there is no such user", file.display()))?;
        lines.remove(at);
    } else {
        let password = match password {
            Some(password) => Zeroizing::new(password.clone()),
            None => ask()?,
        };
        if password.len() > PASSWORD_BYTES_MAX {
            return Err(format!("a password has at most {PASSWORD_BYTES_MAX} bytes"));
        }
        let kind = match hash {
            HashKind::Argon2id => Kind::Argon2id,
            HashKind::Pbkdf2 => Kind::Pbkdf2,
            HashKind::Scram => Kind::Scram,
        };
        let made = Hash::make(kind, password.as_bytes()).ok_or("the system has no randomness, or no memory")?;
        let line = format!("{user}:{made}");
        match at {
            Some(at) => lines[at] = line,
            None => lines.push(line),
        }
    }
    replace(file, &lines).map_err(|error| format!("{}: {error}", file.display()))
}

/// Writes the file anew, whole or not at all; a new one is its owner's alone.
fn replace(file: &Path, lines: &[String]) -> io::Result<()> {
    let mut beside = file.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    let beside = PathBuf::from(beside);
    let write = || {
        let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        if let Ok(metadata) = fs::metadata(file) {
            out.set_permissions(metadata.permissions())?;
        }
        lines.iter().try_for_each(|line| writeln!(out, "{line}"))?;
        out.sync_all()?;
        fs::rename(&beside, file)
    };
    write().inspect_err(|_| {
        // What is left of it is not the password file.
        let _ = fs::remove_file(&beside);
    })
}

/// The password: typed twice at a terminal, without being shown, or a line of standard input.
fn ask() -> Result<Zeroizing<String>, String> {
    if !io::stdin().is_terminal() {
        let mut line = Zeroizing::new(String::new());
        io::stdin().lock().read_line(&mut line).map_err(|error| format!("no password came: {error}"))?;
        if line.is_empty() {
            return Err("no password came".to_owned());
        }
        return Ok(Zeroizing::new(line.trim_end_matches(['\n', '\r']).to_owned()));
    }
    let typed = |prompt| {
        rpassword::prompt_password(prompt).map(Zeroizing::new).map_err(|error| format!("no password came: {error}"))
    };
    let (once, again) = (typed("Password: ")?, typed("Again: ")?);
    if *once == *again { Ok(once) } else { Err("the two are not the same".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(file: &Path, user: &str, password: Option<&str>) -> Passwd {
        let (file, user, password) = (file.to_owned(), user.to_owned(), password.map(str::to_owned));
        Passwd { create: false, delete: false, batch: true, hash: HashKind::Scram, file, user, password }
    }

    /// Users are added, changed and removed; other lines stay as they are.
    #[test]
    fn files_are_changed() {
        let file = std::env::temp_dir().join(format!("ringmain-passwd-{}", std::process::id()));
        let users = || Users::read(&file).expect("a good file");
        change(&Passwd { create: true, ..command(&file, "alice", Some("one")) }).expect("made");
        change(&command(&file, "bob", Some("two"))).expect("added");
        change(&command(&file, "alice", Some("three"))).expect("changed");
        assert!(users().check("alice", Some(b"three")).is_right() && users().check("bob", Some(b"two")).is_right());
        change(&Passwd { delete: true, ..command(&file, "alice", None) }).expect("removed");
        assert_eq!(users().len(), 1);
        assert!(change(&Passwd { delete: true, ..command(&file, "alice", None) }).is_err());
        assert!(change(&command(&file, "a:b", Some("x"))).is_err());
        assert_eq!(
            fs::metadata(&file).map(|file| std::os::unix::fs::PermissionsExt::mode(&file.permissions()) & 0o777).ok(),
            Some(0o600)
        );
        fs::remove_file(&file).expect("it was there");
    }
}
