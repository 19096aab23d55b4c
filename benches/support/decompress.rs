//! What any player has to do at least.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long it takes to read the chunks of a recording and to decompress them, on one thread.
pub fn decompress(path: &Path) -> Duration {
    let bytes = std::fs::read(path).expect("the recording");
    let summary = mcap::Summary::read(&bytes).expect("a recording").expect("a summary");
    drop(bytes);
    let start = Instant::now();
    let mut file = std::fs::File::open(path).expect("the recording");
    let (mut packed, mut unpacked) = (Vec::new(), Vec::new());
    let mut decoder = zstd::bulk::Decompressor::new().expect("a decoder");
    for chunk in &summary.chunk_indexes {
        let head = 8 + 8 + 8 + 4 + 4 + chunk.compression.len() as u64 + 8 + 9;
        file.seek(SeekFrom::Start(chunk.chunk_start_offset + head)).expect("the chunk");
        packed.resize(chunk.compressed_size as usize, 0);
        file.read_exact(&mut packed).expect("the chunk");
        if chunk.compression == "zstd" {
            unpacked.resize(chunk.uncompressed_size as usize, 0);
            decoder.decompress_to_buffer(&packed, &mut unpacked[..]).expect("the chunk");
        }
    }
    start.elapsed()
}
