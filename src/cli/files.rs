//! Files that fgplay writes for other programs.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::Failure;

/// No file that fgplay writes is larger, in bytes.
const LARGEST: u64 = 64 * 1024 * 1024;

/// What a file is that is written: what names it, and what those of runs before look like.
pub(super) struct Form {
    /// The option that names it.
    pub option: &'static str,
    /// What it is called.
    pub what: &'static str,
    /// What its JSON object has.
    pub keys: &'static [&'static str],
}

impl Form {
    /// Whether that is what this file is, or nothing yet.
    fn is_of(&self, path: &Path) -> bool {
        let size = path.metadata().map_or(u64::MAX, |metadata| metadata.len());
        let is_one = |text: Vec<u8>| {
            serde_json::from_slice::<serde_json::Value>(&text)
                .is_ok_and(|value| self.keys.iter().all(|key| value.get(key).is_some()))
        };
        size == 0 || (size <= LARGEST && std::fs::read(path).is_ok_and(is_one))
    }
}

/// A file that is to be written. What is no regular file, such as a device or a pipe, is written to as it is; a
/// regular one is replaced as a whole.
pub(super) struct Output {
    path: PathBuf,
    form: &'static Form,
    /// The regular file that is replaced: behind links, if there are any.
    replaced: Option<PathBuf>,
}

impl Output {
    /// Refuses what is there already and is no such file: somebody else's would be lost.
    pub fn new(path: &Path, form: &'static Form, recordings: &[PathBuf]) -> Result<Self, Failure> {
        let refuse = |why: &str| {
            let (option, path) = (form.option, path.display());
            Err(Failure::WrongArguments(anyhow::anyhow!("{option} {path}: {why}; name another file")))
        };
        let target = std::fs::canonicalize(path);
        let is_target = |recording: &PathBuf| {
            target.as_ref().is_ok_and(|target| {
                std::fs::canonicalize(recording).is_ok_and(|recording| recording == *target)
            })
        };
        if recordings.iter().any(is_target) {
            return refuse("this is a recording that is to be played, and would be lost");
        }
        let replaced = match target {
            _ if is_stream(path) => None,
            Ok(target) if target.is_dir() => return refuse("this is a directory"),
            Ok(target) if target.is_file() => {
                if !form.is_of(&target) {
                    return refuse(&format!("this file is there already, and is no {} of fgplay", form.what));
                }
                Some(target)
            }
            Ok(_) => None,
            // A link to what does not exist is written through.
            Err(_) => path.symlink_metadata().is_err().then(|| path.to_owned()),
        };
        Ok(Output { path: path.to_owned(), form, replaced })
    }

    /// Removes the file of a run before, so that nobody takes it for that of this one, and sees whether there can be
    /// a new one: it may be long until it is written.
    pub fn prepare(&self) -> anyhow::Result<()> {
        let Some(path) = &self.replaced else { return Ok(()) };
        self.remove()
            .with_context(|| format!("can't replace {} ({})", self.path.display(), self.form.option))?;
        let other = other_name(path);
        let tried = create(&other).and_then(|_| std::fs::remove_file(&other));
        tried.with_context(|| self.cant_write())
    }

    /// Removes it, where it is a regular file. It may be gone already.
    pub fn remove(&self) -> io::Result<()> {
        match self.replaced.as_ref().map(std::fs::remove_file) {
            Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn cant_write(&self) -> String {
        format!("can't write {} ({})", self.path.display(), self.form.option)
    }

    /// Writes it: a regular file under another name first, so that who waits for it never finds a part.
    pub fn write(&self, text: &str) -> anyhow::Result<()> {
        let written = match &self.replaced {
            Some(path) => write_whole(path, text),
            None => append(&self.path, text),
        };
        written.with_context(|| self.cant_write())
    }
}

/// Whether this is what somebody has opened already, such as /dev/stdout: others may write to it as well.
fn is_stream(path: &Path) -> bool {
    ["/dev/stdout", "/dev/stderr", "/dev/fd", "/proc"].iter().any(|stream| path.starts_with(stream))
}

fn append(path: &Path, text: &str) -> io::Result<()> {
    File::options().append(true).create(true).open(path)?.write_all(text.as_bytes())
}

/// Where a file is written before it gets its name.
fn other_name(path: &Path) -> PathBuf {
    let mut other = path.as_os_str().to_owned();
    other.push(format!(".{}", std::process::id()));
    other.into()
}

fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let other = other_name(path);
    create(&other)?.write_all(text.as_bytes())?;
    std::fs::rename(&other, path)
}

/// A new file. What somebody has put in its place, such as a link, is not written through.
fn create(path: &Path) -> io::Result<File> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => File::create_new(path),
    }
}
