//! Where a recording's bytes come from.

#[cfg(target_os = "linux")]
mod large_reads;

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::Buffers;

/// Bytes that can be read at any place. Reads are positioned, not mapped: a file that shrinks while it is
/// open gives an error, not a signal.
pub trait Source: Send + Sync {
    /// Size in bytes, as it was when the source was opened.
    fn len(&self) -> u64;

    /// Whether there is no byte.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `buffer` with the bytes from `offset` on.
    ///
    /// # Errors
    /// Whatever the system says; `UnexpectedEof` where the source ends before the buffer is full.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// The `length` bytes from `offset` on. Checked against [`len`](Self::len) before memory is taken.
    ///
    /// # Errors
    /// As [`read_exact_at`](Self::read_exact_at).
    fn read_at(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        check_length(self.len(), offset, length)?;
        let mut buffer = vec![0; length];
        self.read_exact_at(&mut buffer, offset)?;
        Ok(buffer.into())
    }

    /// As [`read_at`](Self::read_at), in memory that is used again.
    ///
    /// # Errors
    /// As [`read_exact_at`](Self::read_exact_at), and `OutOfMemory`.
    fn read_into(&self, buffers: &Buffers, offset: u64, length: usize) -> io::Result<Bytes> {
        check_length(self.len(), offset, length)?;
        read_buffered(self, buffers, offset, length)
    }
}

/// Reads bytes that the source has to memory that is used again, where it has no better way.
fn read_buffered(
    source: &(impl Source + ?Sized),
    buffers: &Buffers,
    offset: u64,
    length: usize,
) -> io::Result<Bytes> {
    let mut buffer = buffers.take(length).map_err(|_| io::ErrorKind::OutOfMemory)?;
    source.read_exact_at(&mut buffer.memory()[..length], offset)?;
    buffer.set_filled(length);
    Ok(buffer.share())
}

fn check_length(len: u64, offset: u64, length: usize) -> io::Result<()> {
    let fits = offset.checked_add(length as u64).is_some_and(|end| end <= len);
    if fits { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// A file on disk.
#[derive(Debug)]
pub struct FileSource {
    file: Arc<File>,
    #[cfg(target_os = "linux")]
    large_reads: large_reads::LargeReads,
    len: u64,
}

impl FileSource {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// Whatever the system says, and `IsADirectory` or `InvalidInput` for what is no regular file.
    pub fn open(path: &Path) -> io::Result<Self> {
        // Looked at before it is opened: opening a named pipe would wait for a writer.
        let metadata = std::fs::metadata(path)?;
        if metadata.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if !metadata.is_file() {
            let what = "it is no regular file, and a recording has to be read at any place";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        let file = Arc::new(File::open(path)?);
        let len = file.metadata()?.len();
        Ok(FileSource {
            #[cfg(target_os = "linux")]
            large_reads: large_reads::LargeReads::new(Arc::clone(&file), path),
            file,
            len,
        })
    }
}

impl Source for FileSource {
    fn len(&self) -> u64 {
        self.len
    }

    #[cfg(target_os = "linux")]
    fn read_into(&self, buffers: &Buffers, offset: u64, length: usize) -> io::Result<Bytes> {
        check_length(self.len(), offset, length)?;
        if length < large_reads::LEAST {
            return read_buffered(self, buffers, offset, length);
        }
        self.large_reads.read(buffers, offset, length)
    }

    #[cfg(unix)]
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&*self.file, buffer, offset)
    }

    #[cfg(windows)]
    fn read_exact_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        use std::os::windows::fs::FileExt;
        while !buffer.is_empty() {
            match self.file.seek_read(buffer, offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    buffer = &mut buffer[count..];
                    offset += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Bytes in memory, for tests.
impl Source for Bytes {
    fn len(&self) -> u64 {
        (**self).len() as u64
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let bytes = usize::try_from(offset)
            .ok()
            .and_then(|start| self.get(start..start.checked_add(buffer.len())?))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }

    fn read_at(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        usize::try_from(offset)
            .ok()
            .and_then(|start| Some(start..start.checked_add(length)?))
            .filter(|range| range.end <= (**self).len())
            .map(|range| self.slice(range))
            .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn read_into(&self, _: &Buffers, offset: u64, length: usize) -> io::Result<Bytes> {
        self.read_at(offset, length)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_file_is_read_at_any_place_until_it_becomes_shorter() {
        let bytes: Vec<u8> = (0..1_000_000_u32).map(|place| (place / 7 % 251) as u8).collect();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&bytes).unwrap();
        let source = FileSource::open(file.path()).unwrap();
        let buffers = Buffers::default();
        // So often that each way of reading may be tried.
        for number in 0..100 {
            for length in [300_000, 100, 0] {
                let offset = number * 7001;
                let read = source.read_into(&buffers, offset as u64, length).unwrap();
                assert!(read == bytes[offset..offset + length], "{offset} {length}");
            }
        }
        let outside = source.read_into(&buffers, 700_001, 300_000).unwrap_err();
        assert_eq!(outside.kind(), io::ErrorKind::UnexpectedEof);

        file.as_file().set_len(500_000).unwrap();
        for _ in 0..100 {
            let cut = source.read_into(&buffers, 300_000, 300_000).unwrap_err();
            assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof);
            assert!(source.read_into(&buffers, 200_000, 300_000).unwrap() == bytes[200_000..500_000]);
        }
    }
}
