//! The report as a file: whole or not at all, also when the process is ended by its [watchdog](crate::watchdog).
//!
//! What is written goes to a file beside the asked one, which then takes its name: whoever looks sees the report of
//! the run before, or this one, never half of one. A machine that loses power just then may keep neither;
//! waiting for the disk is what a process at its deadline has no time for.
//!
//! Everything that writing needs is made at the start. [`ReportFile::write`] allocates nothing and takes no lock, and a
//! descriptor is kept for it, since a server in trouble has often run out of them.

use std::ffi::CString;
use std::fmt;
use std::io;
use std::os::fd::RawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI32, Ordering::AcqRel};

use crate::descriptor;

/// What stands in a path for the number of the process.
pub const PROCESS: &str = "{pid}";

/// Who writes. Each has a file of its own until it is whole, so that both may write at once; the later one stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    /// The driver, at its orderly end.
    Driver,
    /// The watchdog, at the hard deadline.
    Watchdog,
}

/// Why there can be no such file.
#[derive(Debug)]
pub struct ReportFileError {
    path: PathBuf,
    error: io::Error,
}

impl fmt::Display for ReportFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, error } = self;
        let path = path.display().to_string();
        write!(
            f,
            "the report cannot be written to '{}' ({error}): name a file in a folder that is there and that this user may write to",
            path.escape_debug()
        )
    }
}

impl std::error::Error for ReportFileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// Where the report will be.
#[derive(Debug)]
pub struct ReportFile {
    path: PathBuf,
    target: CString,
    drafts: [CString; 2],
    /// A descriptor to give up when there is no other, -1 once it is gone.
    spare: AtomicI32,
    /// What the spare one was opened on: who closes all descriptors closes this one, and its number is soon another's.
    folder: (libc::dev_t, libc::ino_t),
}

impl ReportFile {
    /// Makes sure that a report can be written to `path`, in which [`PROCESS`] stands for the number of this process.
    /// A relative path is relative to the working directory of now.
    ///
    /// # Errors
    /// [`ReportFileError`] when it is a folder, or the folder that it shall be in is missing or may not be written to.
    pub fn open(path: &str) -> Result<Self, ReportFileError> {
        let path = PathBuf::from(path.replace(PROCESS, &std::process::id().to_string()));
        Self::at(&path).map_err(|error| ReportFileError { path, error })
    }

    fn at(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::IsADirectory.into());
        };
        if path.as_os_str().as_encoded_bytes().ends_with(b"/") {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        // What takes its place must not take that of a device, nor can it take that of a mounted file.
        if let Ok(there) = path.symlink_metadata()
            && !(there.is_file() && there.dev() == folder.metadata()?.dev())
        {
            return Err(io::Error::other("what is there is no ordinary file"));
        }
        let draft = |writer: &str| {
            let name = format!(".{}.{}.{writer}", name.to_string_lossy(), std::process::id());
            text(&folder.join(name))
        };
        let target = text(&path)?;
        let drafts = [draft("driver")?, draft("watchdog")?];
        for draft in &drafts {
            descriptor::close(create(draft)?);
            remove(draft);
        }
        let (spare, folder) = spare(&text(folder)?)?;
        Ok(Self { path, target, drafts, spare: AtomicI32::new(spare), folder })
    }

    /// Where the report will be.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts `report` there in place of what there was. Waits as long as the file system does.
    ///
    /// # Errors
    /// What the system says; what was there stays.
    pub fn write(&self, report: &[u8], writer: Writer) -> io::Result<()> {
        let draft = &self.drafts[writer as usize];
        let file = match create(draft) {
            Err(error) if self.can_make_room(&error) => create(draft)?,
            other => other?,
        };
        let written = descriptor::write_all(file, report);
        descriptor::close(file);
        // SAFETY: both are texts that end in 0 and live through the call.
        let moved = written.and_then(|()| unsafe {
            descriptor::done(libc::rename(draft.as_ptr(), self.target.as_ptr()))
        });
        moved.inspect_err(|_| remove(draft))
    }

    /// Gives the spare descriptor up if there was no other.
    fn can_make_room(&self, error: &io::Error) -> bool {
        if !matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) {
            return false;
        }
        let spare = self.spare.swap(-1, AcqRel);
        let ours = identity(spare).is_ok_and(|found| found == self.folder);
        if ours {
            descriptor::close(spare);
        }
        ours
    }
}

impl Drop for ReportFile {
    fn drop(&mut self) {
        let spare = *self.spare.get_mut();
        if identity(spare).is_ok_and(|found| found == self.folder) {
            descriptor::close(spare);
        }
    }
}

fn text(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_encoded_bytes())?)
}

fn create(path: &CString) -> io::Result<RawFd> {
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC | libc::O_CLOEXEC | libc::O_NOFOLLOW;
    // SAFETY: a text that ends in 0 and lives through the call; the mode is for a file that is made.
    descriptor::of(unsafe { libc::open(path.as_ptr(), flags, 0o644) })
}

fn remove(path: &CString) {
    // SAFETY: a text that ends in 0 and lives through the call.
    unsafe { libc::unlink(path.as_ptr()) };
}

fn spare(folder: &CString) -> io::Result<(RawFd, (libc::dev_t, libc::ino_t))> {
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
    // SAFETY: a text that ends in 0 and lives through the call.
    let spare = descriptor::of(unsafe { libc::open(folder.as_ptr(), flags) })?;
    let identity = identity(spare).inspect_err(|_| descriptor::close(spare))?;
    Ok((spare, identity))
}

fn identity(fd: RawFd) -> io::Result<(libc::dev_t, libc::ino_t)> {
    // SAFETY: a stat consists of integers, for which zero is a value.
    let mut found: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: any descriptor number may be asked; the pointer is to a writable stat.
    descriptor::done(unsafe { libc::fstat(fd, &mut found) })?;
    Ok((found.st_dev, found.st_ino))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Read;

    /// An empty folder, gone when the test is over.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("lameduck-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn file(&self, name: &str) -> String {
            self.0.join(name).to_str().unwrap().to_owned()
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(&self.0).unwrap();
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_report_takes_the_place_of_the_one_before_and_leaves_nothing_beside_it() {
        let folder = Folder::new("replaced");
        let path = folder.file("report.json");
        fs::write(&path, "the one before, which is much longer").unwrap();
        let mut before = fs::File::open(&path).unwrap();
        let file = ReportFile::open(&path).unwrap();
        assert_eq!(folder.names(), ["report.json"], "opening leaves no trace");
        for writer in [Writer::Driver, Writer::Watchdog] {
            let report = format!("{writer:?}");
            file.write(report.as_bytes(), writer).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), report);
        }
        assert_eq!(folder.names(), ["report.json"]);
        let mut text = String::new();
        before.read_to_string(&mut text).unwrap();
        assert!(
            text.starts_with("the one before"),
            "who reads the old one reads all of it: {text}"
        );
    }

    #[test]
    fn a_path_names_its_process() {
        let folder = Folder::new("pid");
        let file = ReportFile::open(&folder.file("report-{pid}.json")).unwrap();
        file.write(b"{}", Writer::Driver).unwrap();
        assert_eq!(folder.names(), [format!("report-{}.json", std::process::id())]);
    }

    #[test]
    fn a_path_that_cannot_be_written_is_refused() {
        let folder = Folder::new("refused");
        for (path, why) in [
            (folder.file("missing/report.json"), "No such file or directory"),
            (folder.0.to_str().unwrap().to_owned(), "no ordinary file"),
            (folder.file("report.json/"), "is a directory"),
            (String::from("/"), "is a directory"),
            (String::from("/dev/null"), "no ordinary file"),
            (folder.file("a\0b"), "nul byte"),
            (folder.file(&"x".repeat(250)), "File name too long"),
        ] {
            let error = ReportFile::open(&path).unwrap_err().to_string();
            assert!(error.contains(why), "{path}: {error}");
            assert!(error.starts_with("the report cannot be written to '"), "{error}");
        }
        assert!(folder.names().is_empty());
    }

    #[test]
    fn what_was_there_stays_when_writing_fails() {
        let folder = Folder::new("stays");
        let path = folder.file("report.json");
        let file = ReportFile::open(&path).unwrap();
        fs::create_dir(&path).unwrap();
        file.write(b"{}", Writer::Driver).unwrap_err();
        assert_eq!(folder.names(), ["report.json"], "no draft is left behind");
    }
}
