//! Several who read the same file.

use std::sync::atomic::AtomicUsize;

use super::super::testing::*;
use super::super::*;
use crate::recording::{ChannelId, OpenOptions};

/// Counts how many bytes are read from it.
struct Counting {
    bytes: Bytes,
    read: AtomicUsize,
}

impl Source for Counting {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read.fetch_add(buffer.len(), Ordering::Relaxed);
        self.bytes.read_exact_at(buffer, offset)
    }
}

/// Twenty chunks that overlap, each with ten messages of some length.
fn file() -> Arc<Counting> {
    let mut writer = Writer::with_channels(2);
    for chunk in 0..20u64 {
        let messages: Vec<Vec<u8>> = (0..10u64)
            .map(|n| message(1 + (n % 2) as u16, n as u32, chunk * 10 + n * 3, &[n as u8; 500]))
            .collect();
        writer.chunk(Packing::Zstd, &messages);
    }
    Arc::new(Counting { bytes: writer.finish().into(), read: AtomicUsize::new(0) })
}

fn open_with(source: &Arc<Counting>, chunk_cache_bytes: usize) -> McapReader {
    let options = OpenOptions { chunk_cache_bytes, ..OpenOptions::default() };
    let cache = Arc::new(ChunkCache::new(chunk_cache_bytes));
    let problems = Arc::new(Problems::default());
    let context =
        OpenContext { path: "s.mcap".as_ref(), options: &options, problems, cache, progress: &|_| {} };
    open_reader(Arc::clone(source) as Arc<dyn Source>, &context).unwrap()
}

fn all() -> ChannelMap {
    [Some(ChannelId(0)), Some(ChannelId(1))].into()
}

/// How many bytes are read while so many cursors read the file at the same pace, and then once more.
fn bytes_read(cursors: usize, cache: usize) -> (usize, usize) {
    let source = file();
    let reader = open_with(&source, cache);
    let read = || source.read.swap(0, Ordering::Relaxed);
    read();
    let mut cursors: Vec<_> = (0..cursors).map(|_| reader.cursor(Timestamp::MIN, all())).collect();
    let mut times = Vec::new();
    loop {
        let next: Vec<_> = cursors.iter_mut().map(|cursor| cursor.next()).collect();
        assert!(next.windows(2).all(|pair| pair[0] == pair[1]));
        let Some(message) = next.into_iter().next().flatten() else { break };
        times.push(message.log_time);
    }
    assert_eq!(times.len(), 200);
    assert!(times.is_sorted());
    let first = read();
    let mut again = reader.cursor(Timestamp::MIN, all());
    while again.next().is_some() {}
    let search = reader.search(Timestamp::from_nanos(150), all());
    crate::recording::StateSearch::new(vec![search], 2).finish();
    (first, read())
}

#[test]
fn many_who_read_the_same_moment_cost_one_decompression() {
    let (alone, _) = bytes_read(1, 0);
    let (many, again) = bytes_read(100, 1 << 20);
    assert_eq!(many, alone);
    assert_eq!(again, 0, "a file that fits is read once");
    let (each, again) = bytes_read(100, 0);
    assert_eq!(each, 100 * alone);
    assert!(again > 0);
}
