//! Files of recordings for the benches.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

/// In how large pieces recordings are written, in bytes. What was written in small ones lies in as small pieces of the
/// system's memory, and on shared hosts reading it again some seconds later can take several times as long.
const PIECE: usize = 4 << 20;

/// A new file for a recording.
pub fn create(path: &Path) -> BufWriter<File> {
    BufWriter::with_capacity(PIECE, File::create(path).expect("a file"))
}

/// Waits until the file is on the disk, as recordings are that are played: what is not is written first when it is read past
/// the page cache.
pub fn sync(path: &Path) {
    File::open(path).and_then(|file| file.sync_all()).expect("room on the disk");
}
