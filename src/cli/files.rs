//! Files that fgplay writes for other programs.

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

    /// Removes the file of a run before, so that nobody takes it for that of this one.
    pub fn remove_old(&self) -> anyhow::Result<()> {
        match self.replaced.as_ref().map(std::fs::remove_file) {
            Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => {
                let text = format!("can't replace {} ({})", self.path.display(), self.option);
                Err(anyhow::Error::new(error).context(text))
            }
            _ => Ok(()),
        }
    }

    /// Writes it: a regular file under another name first, so that who waits for it never finds a part.
    pub fn write(&self, text: &str) -> anyhow::Result<()> {
        let written = match &self.replaced {
            Some(path) => write_whole(path, text),
            None => std::fs::write(&self.path, text),
        };
        written.with_context(|| format!("can't write {} ({})", self.path.display(), self.option))
    }
}

fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let mut other = path.as_os_str().to_owned();
    other.push(format!(".{}", std::process::id()));
    // Whatever somebody has put there is not written through.
    match std::fs::remove_file(&other) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = std::fs::File::create_new(&other)?;
    file.write_all(text.as_bytes())?;
    drop(file);
    std::fs::rename(&other, path)
}
