//! The control socket: who may use the data directory may ask the node that uses it for something. It is a Unix socket,
//! for one request and one answer in text:
//!
//! ```text
//!   ringmain reload ── "reload\n" ─────────────────────▶ node
//!                   ◀── "done\nTEXT" or "refused\nTEXT" ──
//! ```

use std::fmt;
use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt::socket_peercred;
use rustix::process::{Uid, geteuid};
use shard::config::CorePlan;

use super::args::Place;
use super::failure::{Failure, output};
use super::log::{Level, Log};
use super::plan::move_to_service_cores;
use super::reload::Reload;
use super::storage::Storage;
use crate::config::{Configuration, Settings};

/// The name of the socket in the data directory.
pub const FILE_NAME: &str = "control.sock";

/// The one request that there is.
const RELOAD: &str = "reload";
/// First lines of answers.
const DONE: &str = "done";
const REFUSED: &str = "refused";

/// Bytes of a request and of an answer at most.
const REQUEST_BYTES_MAX: u64 = 64;
const ANSWER_BYTES_MAX: u64 = 1 << 20;
/// How long a peer may take for its request, or to take the answer: others wait behind it.
const PEER_MAX: Duration = Duration::from_secs(2);
/// How long a node may take to read its files.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// Why a node was not asked, or did not do what it was asked for.
#[derive(Debug)]
pub enum ControlError {
    /// Nobody listens there.
    Nobody(PathBuf),
    /// The socket cannot be used.
    Socket(PathBuf, io::Error),
    /// The node answered otherwise than one of this version would.
    Strange(String),
    /// The node refused, and says why.
    Refused(String),
}

/// The open socket; its file goes with it.
pub struct ControlSocket {
    path: PathBuf,
}

/// Where the socket of a node with these settings and this data directory is; `None`: it has none.
pub fn path(settings: &Settings, storage: Option<&Storage>) -> Option<PathBuf> {
    let written = settings.node.control_socket.clone();
    written.or_else(|| storage.map(|storage| storage.data_dir.join(FILE_NAME)))
}

impl ControlSocket {
    /// Opens the socket and answers on a thread of its own, on the service cores.
    ///
    /// # Errors
    /// There is no such directory, it may not be written, another node answers there, or something else has that name.
    pub fn open(path: &Path, reload: Arc<Reload>, cores: &CorePlan, log: Log) -> io::Result<ControlSocket> {
        let listener = listen(path)?;
        let cores = cores.clone();
        std::thread::Builder::new().name("ringmain-control".into()).spawn(move || {
            move_to_service_cores(&cores);
            for stream in listener.incoming() {
                let answered = stream.and_then(|stream| answer(stream, &reload));
                if let Err(error) = answered {
                    log.print(Level::Debug, &format_args!("control socket: {error}"));
                }
            }
        })?;
        Ok(ControlSocket { path: path.to_owned() })
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // What is left is replaced at the next start.
        let _ = fs::remove_file(&self.path);
    }
}

/// `ringmain reload`: asks the node that uses this data directory, and prints what it says to `out`.
pub fn reload(place: &Place, out: &mut dyn Write) -> Result<(), Failure> {
    let configuration = Configuration::load(place.config.as_deref(), &place.flags())?;
    let path = match configuration.settings.node.control_socket.clone() {
        Some(path) => path,
        None => path(&configuration.settings, Storage::new(&configuration, 1)?.as_ref()).expect("flags want a journal"),
    };
    let said = ask(&path, RELOAD).map_err(Failure::Control)?;
    output(writeln!(out, "{said}"))
}

/// Asks for something, and hears what was done.
fn ask(path: &Path, request: &str) -> Result<String, ControlError> {
    let broken = |error| ControlError::Socket(path.to_owned(), error);
    let mut stream = match at(path, |short| UnixStream::connect(short)) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
            return Err(ControlError::Nobody(path.to_owned()));
        }
        stream => stream.map_err(broken)?,
    };
    stream.set_read_timeout(Some(ANSWER_MAX)).map_err(broken)?;
    writeln!(stream, "{request}").map_err(broken)?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).map_err(broken)?;
    match answer.split_once('\n') {
        Some((DONE, text)) => Ok(text.to_owned()),
        Some((REFUSED, text)) => Err(ControlError::Refused(text.to_owned())),
        _ => Err(ControlError::Strange(answer)),
    }
}

/// Hears one request and answers it.
fn answer(mut stream: UnixStream, reload: &Reload) -> io::Result<()> {
    let peer = socket_peercred(&stream)?.uid;
    stream.set_read_timeout(Some(PEER_MAX))?;
    stream.set_write_timeout(Some(PEER_MAX))?;
    let mut request = Vec::new();
    let mut byte = [0];
    // One line: who asks waits for the answer with its end open.
    while request.len() < REQUEST_BYTES_MAX as usize && stream.read(&mut byte)? == 1 && byte != *b"\n" {
        request.extend(byte);
    }
    let answer = match std::str::from_utf8(&request) {
        _ if peer != geteuid() && peer != Uid::ROOT => Err("only its own user and root may ask".to_owned()),
        Ok(RELOAD) => reload.run("ringmain reload"),
        _ => Err(format!("this version knows no request {:?}", String::from_utf8_lossy(&request))),
    };
    let (word, text) = match &answer {
        Ok(text) => (DONE, text),
        Err(text) => (REFUSED, text),
    };
    write!(stream, "{word}\n{text}")
}

/// Listens at `path`. What a process that was killed has left there is replaced.
fn listen(path: &Path) -> io::Result<UnixListener> {
    if fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket()) {
        if at(path, |short| UnixStream::connect(short)).is_ok() {
            return Err(io::Error::new(ErrorKind::AddrInUse, "another node answers there"));
        }
        fs::remove_file(path)?;
    }
    let listener = at(path, |short| UnixListener::bind(short))?;
    // Who may ask is looked at for each request, too.
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Does something with a name for `path` that fits into an address, which has 107 bytes: below an open directory.
fn at<T>(path: &Path, with: impl Fn(&Path) -> io::Result<T>) -> io::Result<T> {
    let name = path.file_name().ok_or(ErrorKind::InvalidInput)?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let directory = File::open(directory)?;
    with(&Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name))
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ControlError::Nobody(path) => write!(
                f,
                "no node answers at {}: is it running, and with this data directory? (One without a journal answers where \
                 node.control_socket says, or takes SIGHUP)",
                path.display()
            ),
            ControlError::Socket(path, error) => write!(f, "{}: {error}", path.display()),
            ControlError::Strange(answer) => write!(f, "the node answers as none of this version would: {answer:?}"),
            ControlError::Refused(text) => write!(f, "everything stays as it was: {text}"),
        }
    }
}

impl std::error::Error for ControlError {}
