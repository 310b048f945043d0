//! Files: read whole, and written to.

use std::fs;
use std::io::Read;
use std::path::Path;

/// Longer files are no configuration, and no log that anybody reads.
const MAX_FILE: u64 = 64 << 20;

/// A file's name and text; `-` is standard input.
pub fn read(path: &Path) -> Result<(String, String), String> {
    let stdin = path == Path::new("-");
    let name = if stdin { "standard input".into() } else { path.display().to_string() };
    let mut bytes = Vec::new();
    let read = if stdin {
        std::io::stdin().lock().take(MAX_FILE + 1).read_to_end(&mut bytes)
    } else {
        fs::File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes))
    };
    read.map_err(|error| format!("cannot read {name}: {error}"))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(format!("{name} is longer than {} MiB", MAX_FILE >> 20));
    }
    let text = String::from_utf8(bytes).map_err(|_| format!("{name} is not UTF-8 text"))?;
    Ok((name, text))
}

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
