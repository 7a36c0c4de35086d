//! Data directories: one for each broker, unless a test starts a second one on what the first has left.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use crate::program::scratch;

/// The size of segments where a test does not say: hundreds of brokers start, and each writes its first segments.
const SEGMENT_SIZE: &str = "2MiB";

/// A data directory, and a directory in tmpfs for what is staged; both are removed with the last that holds them.
#[derive(Clone, Debug)]
pub struct DataDirectory(Arc<Place>);

#[derive(Debug)]
struct Place {
    path: PathBuf,
    staging: PathBuf,
    /// Whether the data directory is somebody else's to remove.
    foreign: bool,
}

impl DataDirectory {
    /// Empty directories that nobody else uses.
    pub fn new() -> Self {
        let (data, staging) = (&roots().data, numbered(&roots().staging));
        let path = numbered(data);
        for directory in [&path, &staging] {
            fs::create_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        }
        Self(Arc::new(Place { path, staging, foreign: false }))
    }

    /// A data directory at `path`, which the test has made and removes.
    pub fn at(path: &Path) -> Self {
        let staging = numbered(&roots().staging);
        fs::create_dir(&staging).unwrap_or_else(|error| panic!("{}: {error}", staging.display()));
        Self(Arc::new(Place { path: path.to_owned(), staging, foreign: true }))
    }

    /// A name for a file or directory that is gone when the tests are.
    pub fn place() -> PathBuf {
        numbered(&roots().data)
    }

    /// The data directory.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// The directory of what is staged.
    pub fn staging(&self) -> &Path {
        &self.0.staging
    }

    /// What tells the program to use them.
    pub fn environment(&self) -> Vec<(String, String)> {
        let text = |path: &Path| path.to_str().expect("our own paths are text").to_owned();
        [
            ("RINGMAIN__JOURNAL__DATA_DIR", text(self.path())),
            ("RINGMAIN__JOURNAL__STAGING_DIR", text(self.staging())),
            ("RINGMAIN__JOURNAL__SEGMENT_SIZE", SEGMENT_SIZE.to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }

    /// All files with content below both directories, sorted: not the control socket of who was killed.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut directories = vec![self.path().to_owned(), self.staging().to_owned()];
        while let Some(directory) = directories.pop() {
            // A directory may go while it is looked at.
            let Ok(entries) = fs::read_dir(directory) else { continue };
            for entry in entries.flatten() {
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => directories.push(entry.path()),
                    Ok(kind) if kind.is_socket() => {}
                    _ => files.push(entry.path()),
                }
            }
        }
        files.sort();
        files
    }
}

impl Default for DataDirectory {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What cannot be removed now goes with the roots.
        let _ = fs::remove_dir_all(&self.staging);
        if !self.foreign {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Where the directories of this process lie.
struct Roots {
    data: PathBuf,
    staging: PathBuf,
    /// Ends mounts in the first and removes both when this process ends, however it ends: brokers that tests share are
    /// never dropped.
    _caretaker: Child,
}

fn roots() -> &'static Roots {
    static ROOTS: OnceLock<Roots> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let (data, staging) =
            (scratch("data"), PathBuf::from(format!("/dev/shm/ringmain-test-{}", std::process::id())));
        fs::create_dir_all(&staging).expect("/dev/shm can be written");
        // It reads until this process, which alone holds the other end, is gone.
        let script = "trap '' INT TERM HUP; cat >/dev/null
            while read -r _ at _; do case $at in \"$1\"/*) umount -l \"$at\";; esac; done </proc/mounts
            rm -rf -- \"$@\"";
        let caretaker = Command::new("sh")
            .args(["-c", script, "caretaker"])
            .args([&data, &staging])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh starts");
        Roots { data, staging, _caretaker: caretaker }
    })
}

/// A name below `root` that was not given before.
fn numbered(root: &Path) -> PathBuf {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    root.join(GIVEN.fetch_add(1, Ordering::Relaxed).to_string())
}
