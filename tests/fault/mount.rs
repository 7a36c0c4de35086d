//! File systems of a test's own. They need root, which CI is; without it these tests fail and say so.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ringmain_tests::DataDirectory;

/// A mounted file system; unmounted with its value.
pub struct Mount {
    at: PathBuf,
    /// The file that the file system lies in, where it is one.
    image: Option<PathBuf>,
}

impl Mount {
    /// A tmpfs of this size, such as `16m`.
    pub fn tmpfs(size: &str) -> Self {
        let at = directory();
        run("mount", &["-t", "tmpfs", "-o", &format!("size={size}"), "ringmain-test", text(&at)]);
        Self { at, image: None }
    }

    /// An ext4 on a loop device over a file of so many bytes.
    pub fn ext4(bytes: u64) -> Self {
        let (at, image) = (directory(), DataDirectory::place());
        let file = fs::File::create(&image).expect("our own directory");
        file.set_len(bytes).expect("a file with a hole");
        run("mkfs.ext4", &["-q", "-F", text(&image)]);
        run("mount", &["-o", "loop", text(&image), text(&at)]);
        Self { at, image: Some(image) }
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.at
    }

    /// Mounts it again with other options, such as `size=64m` or `ro`.
    pub fn remount(&self, options: &str) {
        run("mount", &["-o", &format!("remount,{options}"), text(&self.at)]);
    }

    /// Takes the device away behind its first page: what is written or synced there fails with EIO from now on.
    pub fn cut(&self) {
        let image = self.image.as_deref().expect("a file system in a file");
        let file = fs::OpenOptions::new().write(true).open(image).expect("our own file");
        file.set_len(4096).expect("a shorter file");
        let device = run("losetup", &["--noheadings", "--output", "NAME", "--associated", text(image)]);
        run("losetup", &["--set-capacity", device.trim()]);
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: a broker that is being killed may hold it a little longer.
        let _ = Command::new("umount").args(["-l", text(&self.at)]).status();
        let _ = fs::remove_dir(&self.at);
        if let Some(image) = &self.image {
            let _ = fs::remove_file(image);
        }
    }
}

fn directory() -> PathBuf {
    let at = DataDirectory::place();
    fs::create_dir(&at).expect("our own directory");
    at
}

fn text(path: &Path) -> &str {
    path.to_str().expect("our own paths are text")
}

/// Runs a program that must succeed; what it printed.
fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {args:?} failed: {said}\nThis test mounts file systems, which needs root and CAP_SYS_ADMIN"
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
