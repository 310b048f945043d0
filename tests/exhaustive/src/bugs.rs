//! One seeded bug for each promise: a change of the core's source that breaks it, and the model
//! that must find exactly that. The shipping core has no hooks for this; each bug is a small file
//! in `bugs/`, applied to a copy of the sources, and one that no longer applies is a failure.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::promise::Promise;

/// A bug as its file has it.
#[derive(Clone, Debug)]
pub struct Bug {
    /// The file's name.
    pub name: String,
    /// The promise that it breaks.
    pub promise: Promise,
    /// The reduced model that finds it.
    pub model: String,
    /// What it does, in words.
    pub what: String,
    file: PathBuf,
    find: String,
    replace: String,
}

/// How a bug was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// How many steps it takes to break the promise.
    pub steps: usize,
}

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every bug, in the order of the promises.
///
/// # Errors
/// When a file is not as the README says.
pub fn all() -> Result<Vec<Bug>, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("bugs");
    let files = fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut bugs = Vec::new();
    for file in files {
        let path = file.map_err(|error| error.to_string())?.path();
        let text = fs::read_to_string(&path).map_err(|error| error.to_string())?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        bugs.push(parse(&name, &text).ok_or_else(|| format!("{}: not a bug", path.display()))?);
    }
    bugs.sort_by_key(|bug| bug.promise);
    Ok(bugs)
}

fn parse(name: &str, text: &str) -> Option<Bug> {
    let (head, change) = text.split_once("\n<<<<<<<\n")?;
    let (find, rest) = change.split_once("\n=======\n")?;
    let (replace, _) = rest.split_once("\n>>>>>>>")?;
    let field = |name: &str| {
        let mut lines = head.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(String::from))
    };
    let promise = field("promise")?;
    Some(Bug {
        name: String::from(name),
        promise: *Promise::ALL.iter().find(|known| known.text() == promise)?,
        model: field("model")?,
        what: field("what")?,
        file: field("file")?.into(),
        find: String::from(find),
        replace: String::from(replace),
    })
}

impl Bug {
    /// The source with the bug in it.
    ///
    /// # Errors
    /// When what it changes is not there, or not only once.
    pub fn apply(&self, root: &Path) -> Result<String, String> {
        let file = root.join(&self.file);
        let source = fs::read_to_string(&file)
            .map_err(|error| format!("{}: {}: {error}", self.name, self.file.display()))?;
        match source.matches(&self.find).count() {
            1 => Ok(source.replacen(&self.find, &self.replace, 1)),
            count => Err(format!(
                "{}: what it changes is {count} times in {}; look at the code and mend bugs/{0}.bug",
                self.name,
                self.file.display()
            )),
        }
    }

    /// Builds the model against a core with this bug in it, and looks for it.
    ///
    /// # Errors
    /// When it is not found, or when anything else is broken by it.
    pub fn seed(&self, workshop: &Path) -> Result<Found, String> {
        let root = root();
        let source = self.apply(&root)?;
        lay_out(&root, workshop).map_err(|error| format!("{}: {error}", workshop.display()))?;
        fs::write(workshop.join(&self.file), source).map_err(|error| error.to_string())?;
        let target = workshop.join("target");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            .args([
                "build",
                "--quiet",
                "--release",
                "--offline",
                "--package",
                env!("CARGO_PKG_NAME"),
            ])
            .current_dir(workshop)
            .env("CARGO_TARGET_DIR", &target)
            // It runs for a second; linking it well would take longer.
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
            .output()
            .map_err(|error| format!("cargo: {error}"))?;
        if !built.status.success() {
            let errors = String::from_utf8_lossy(&built.stderr).into_owned();
            return Err(format!("{}: does not build\n{errors}", self.name));
        }
        let ran = Command::new(target.join("release").join(env!("CARGO_PKG_NAME")))
            .args(["reduced", &self.model])
            .output()
            .map_err(|error| error.to_string())?;
        self.judge(&String::from_utf8_lossy(&ran.stdout))
    }

    fn judge(&self, output: &str) -> Result<Found, String> {
        let broken = output.lines().filter_map(|line| line.strip_prefix("broken after "));
        let broken: Vec<_> = broken.filter_map(|line| line.split_once(" steps: ")).collect();
        match broken[..] {
            [(steps, promise)] if promise == self.promise.text() => {
                Ok(Found { steps: steps.parse().map_err(|_| format!("{steps} steps?"))? })
            }
            _ => Err(format!(
                "{}: expected that only “{}” is broken; this came out:\n{output}",
                self.name,
                self.promise.text()
            )),
        }
    }
}

/// A workspace of its own: the core and this crate, as they are.
fn lay_out(root: &Path, workshop: &Path) -> std::io::Result<()> {
    fs::create_dir_all(workshop)?;
    let manifest = fs::read_to_string(root.join("Cargo.toml"))?;
    let (before, members) = manifest.split_once("members = [").expect("a workspace");
    let (_, after) = members.split_once(']').expect("a list");
    let manifest = format!("{before}members = [\"core\", \"tests/exhaustive\"]{after}");
    fs::write(workshop.join("Cargo.toml"), manifest)?;
    fs::copy(root.join("Cargo.lock"), workshop.join("Cargo.lock"))?;
    copy(&root.join("core"), &workshop.join("core"))?;
    copy(&root.join("tests/exhaustive"), &workshop.join("tests/exhaustive"))
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}
