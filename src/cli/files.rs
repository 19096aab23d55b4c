//! Files that fgplay writes for other programs.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Removes the file of a run before, so that nobody takes it for that of this one. `option` is what named it.
pub(super) fn remove_old(path: &Path, option: &str) -> anyhow::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            let text = format!("can't replace {} ({option})", path.display());
            Err(anyhow::Error::new(error).context(text))
        }
        _ => Ok(()),
    }
}

/// Writes the file whole, under another name, and then gives it its own: who waits for it never finds a part.
pub(super) fn write_whole(path: &Path, text: &str, option: &str) -> anyhow::Result<()> {
    let mut other = path.as_os_str().to_owned();
    other.push(format!(".{}", std::process::id()));
    let other = PathBuf::from(other);
    std::fs::write(&other, text)
        .and_then(|()| std::fs::rename(&other, path))
        .with_context(|| format!("can't write {} ({option})", path.display()))
}
