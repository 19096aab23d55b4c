//! Files that fgplay writes for other programs.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::Failure;

/// A file that is to be written. What is no regular file, such as a device or a pipe, is written to as it is; a
/// regular one is replaced as a whole.
pub(super) struct Output {
    path: PathBuf,
    /// What named it.
    option: &'static str,
    /// The regular file that is replaced: behind links, if there are any.
    replaced: Option<PathBuf>,
}

impl Output {
    /// Refuses what is one of the recordings.
    pub fn new(path: &Path, option: &'static str, recordings: &[PathBuf]) -> Result<Self, Failure> {
        let target = std::fs::canonicalize(path);
        let is_target = |recording: &PathBuf| {
            target.as_ref().is_ok_and(|target| {
                std::fs::canonicalize(recording).is_ok_and(|recording| recording == *target)
            })
        };
        if recordings.iter().any(is_target) {
            return Err(Failure::WrongArguments(anyhow::anyhow!(
                "{option} {}: this is a recording that is to be played, and would be lost; name another file",
                path.display()
            )));
        }
        let replaced = match target {
            Ok(target) => target.is_file().then_some(target),
            // A link to what does not exist is written through.
            Err(_) => path.symlink_metadata().is_err().then(|| path.to_owned()),
        };
        Ok(Output { path: path.to_owned(), option, replaced })
    }

    /// Removes the file of a run before, so that nobody takes it for that of this one, and sees whether there can be
    /// a new one: it may be long until it is written.
    pub fn prepare(&self) -> anyhow::Result<()> {
        let Some(path) = &self.replaced else { return Ok(()) };
        self.remove().with_context(|| format!("can't replace {} ({})", self.path.display(), self.option))?;
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
        format!("can't write {} ({})", self.path.display(), self.option)
    }

    /// Writes it: a regular file under another name first, so that who waits for it never finds a part.
    pub fn write(&self, text: &str) -> anyhow::Result<()> {
        let written = match &self.replaced {
            Some(path) => write_whole(path, text),
            None => std::fs::write(&self.path, text),
        };
        written.with_context(|| self.cant_write())
    }
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
