//! A directory of which no client sees more than what lies below it.
//!
//! What a client writes is made a list of plain names first. These are then followed from the directory on,
//! one by one, and where a symbolic link leads out, that is the end. What was found this way has no links in
//! it any more, and on Unix it is opened without following any: one that is put there meanwhile leads nowhere.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{self, Path, PathBuf};

use bytes::Bytes;
use percent_encoding::percent_decode_str;

use super::{Refusal, SIZE_LIMIT};

/// The directory that is served.
pub(super) struct Directory {
    /// Without symbolic links.
    root: PathBuf,
    /// As it was given, but absolute.
    given: PathBuf,
}

impl Directory {
    pub fn new(given: &Path) -> io::Result<Self> {
        let root = fs::canonicalize(given)?;
        if !fs::metadata(&root)?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Directory { root, given: path::absolute(given)? })
    }

    /// The bytes of the file that a client names.
    pub fn read(&self, uri: &str) -> Result<Bytes, Refusal> {
        let path = self.resolve(&self.below(uri)?)?;
        // Looked at before it is opened: opening a named pipe lets go whoever waits to write to it.
        check_kind(&fs::symlink_metadata(self.root.join(&path)).map_err(refusal)?)?;
        let file = open_without_links(&self.root, &path).map_err(refusal)?;
        let metadata = file.metadata().map_err(refusal)?;
        check_kind(&metadata)?;
        read_within(file, metadata.len(), SIZE_LIMIT)
    }

    /// What a client names, as a path of plain names that starts at the root.
    fn below(&self, uri: &str) -> Result<PathBuf, Refusal> {
        let path = match uri.split_once("://") {
            None => uri,
            Some((scheme, path))
                if ["package", "file"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) =>
            {
                path
            }
            Some(_) => return Err(Refusal::OtherScheme),
        };
        let path = percent_decode_str(path)
            .decode_utf8()
            .map_err(|_| Refusal::BadName("its name is not UTF-8 once the percent-encoding is undone"))?;
        let mut names = plain_names(&path, cfg!(windows))?;
        if path.starts_with('/') {
            let absolute = Path::new("/").join(&names);
            for root in [&self.root, &self.given] {
                if let Ok(below) = absolute.strip_prefix(root) {
                    names = below.to_owned();
                    break;
                }
            }
        }
        if names.as_os_str().is_empty() {
            return Err(Refusal::BadName("it names no file"));
        }
        Ok(names)
    }

    /// The path from the root on with every symbolic link followed. Nothing outside of the root is looked at,
    /// so that nobody can find out what is there.
    fn resolve(&self, names: &Path) -> Result<PathBuf, Refusal> {
        let mut path = self.root.clone();
        for name in names {
            path = fs::canonicalize(path.join(name)).map_err(refusal)?;
            if !path.starts_with(&self.root) {
                return Err(Refusal::Outside);
            }
        }
        path.strip_prefix(&self.root).map(Path::to_owned).map_err(|_| Refusal::Outside)
    }
}

/// The names that a path is made of. None of them means anything but a name: neither the directory above nor,
/// on Windows, another separator, a drive, or a stream of a file.
fn plain_names(path: &str, windows: bool) -> Result<PathBuf, Refusal> {
    if path.contains('\0') {
        return Err(Refusal::BadName("its name has a NUL character in it"));
    }
    if windows && path.contains(['\\', ':']) {
        return Err(Refusal::BadName("its name has a backslash or a colon in it"));
    }
    let names = path.split('/').filter(|name| !matches!(*name, "" | "."));
    names.map(|name| if name == ".." { Err(Refusal::Upwards) } else { Ok(name) }).collect()
}

/// What the system says of a path below the root.
fn refusal(error: io::Error) -> Refusal {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename => {
            Refusal::NoSuchFile
        }
        _ => Refusal::unreadable(&error),
    }
}

fn check_kind(metadata: &fs::Metadata) -> Result<(), Refusal> {
    match metadata {
        metadata if metadata.is_file() => Ok(()),
        metadata if metadata.is_dir() => Err(Refusal::IsDirectory),
        _ => Err(Refusal::NotAFile),
    }
}

/// Opens a file, name by name from the root on, without following a link and without waiting for anybody.
#[cfg(unix)]
fn open_without_links(root: &Path, path: &Path) -> io::Result<File> {
    use rustix::fs::{CWD, Mode, OFlags, openat};

    let read = OFlags::RDONLY | OFlags::CLOEXEC;
    let mut here = openat(CWD, root, read | OFlags::DIRECTORY, Mode::empty())?;
    let mut names = path.iter().peekable();
    while let Some(name) = names.next() {
        let kind = if names.peek().is_some() { OFlags::DIRECTORY } else { OFlags::NONBLOCK };
        here = openat(&here, name, read | OFlags::NOFOLLOW | kind, Mode::empty())?;
    }
    Ok(here.into())
}

/// Opens a file. Who may put links into the directory at the right moment may here lead it elsewhere.
#[cfg(not(unix))]
fn open_without_links(root: &Path, path: &Path) -> io::Result<File> {
    File::open(root.join(path))
}

/// Reads `size` bytes, or however many there are by now, up to `limit`.
fn read_within(source: impl Read, size: u64, limit: u64) -> Result<Bytes, Refusal> {
    if size > limit {
        return Err(Refusal::TooLarge);
    }
    let mut data = Vec::with_capacity(size as usize);
    source.take(limit + 1).read_to_end(&mut data).map_err(|error| Refusal::unreadable(&error))?;
    if data.len() as u64 > limit {
        return Err(Refusal::TooLarge);
    }
    Ok(data.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_grows_while_it_is_read_is_read_up_to_the_limit() {
        assert_eq!(read_within(&b"1234"[..], 2, 4), Ok(Bytes::from_static(b"1234")));
        assert_eq!(read_within(&b"12"[..], 4, 4), Ok(Bytes::from_static(b"12")));
        assert_eq!(read_within(&b"12345"[..], 2, 4), Err(Refusal::TooLarge));
        assert_eq!(read_within(io::repeat(0), 0, 4), Err(Refusal::TooLarge));
        assert_eq!(read_within(&b""[..], 5, 4), Err(Refusal::TooLarge));
    }

    #[test]
    fn on_windows_no_name_leads_elsewhere() {
        for path in ["..\\x", "a\\b", "C:/x", "C:x", "a/b.txt:stream", "\\\\host\\share\\x"] {
            assert!(plain_names(path, true).is_err(), "{path}");
            assert!(plain_names(path, false).is_ok(), "{path}");
        }
        assert_eq!(plain_names("a/b", true), Ok("a/b".into()));
    }

    #[cfg(unix)]
    #[test]
    fn a_link_that_is_put_there_meanwhile_is_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        fs::write(elsewhere.path().join("secret"), "s").unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), root.path().join("directory")).unwrap();
        std::os::unix::fs::symlink(elsewhere.path().join("secret"), root.path().join("file")).unwrap();
        // As if these had been a directory and a file when they were resolved.
        for path in ["directory/secret", "file"] {
            assert!(open_without_links(root.path(), Path::new(path)).is_err(), "{path}");
        }
    }
}
