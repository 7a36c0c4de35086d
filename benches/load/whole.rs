//! Files that are whole at every moment.

use std::error::Error;
use std::fs;
use std::path::Path;

/// Writes a file: whoever reads it meanwhile, or after a crash, finds the one before or this one.
///
/// # Errors
/// It cannot be written.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), Box<dyn Error>> {
    let mut next = path.as_os_str().to_owned();
    next.push(".next");
    let written = fs::write(&next, bytes).and_then(|()| fs::rename(&next, path));
    written.map_err(|error| format!("cannot write {}: {error}", path.display()).into())
}
