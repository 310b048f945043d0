//! Files that results are written to.

use std::fs;
use std::path::Path;

/// Writes a result; the error is a sentence.
pub fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
}

/// Whether a file can probably be written there, found out before the work is done.
pub fn check_writable(path: &Path) -> Result<(), String> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if path.is_dir() {
        Err(format!("{} is a folder", path.display()))
    } else if folder.is_dir() {
        Ok(())
    } else {
        Err(format!("there is no folder {}", folder.display()))
    }
}
