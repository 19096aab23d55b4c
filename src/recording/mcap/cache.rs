//! Decoded spans, shared by all that read the same recording.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::chunk::Damage;
use crate::recording::Buffers;

/// What a kept span costs beside its bytes, roughly.
const OVERHEAD: usize = 256;

/// Which span: the number of the file, and the span's place in the file's index.
pub type Key = (u32, u32);

/// Keeps the spans that were decoded last, so that many who read the same moment cost one decompression: those
/// who want a span that is just being decoded wait for it.
pub struct ChunkCache {
    /// How many bytes are kept.
    limit: usize,
    state: Mutex<State>,
    /// Tells those who wait that a span is decoded, or that somebody failed to.
    decoded: Condvar,
    /// What spans are read and decoded into.
    buffers: Buffers,
}

#[derive(Default)]
struct State {
    slots: HashMap<Key, Slot>,
    /// The kept spans, by when they were last asked for.
    order: BTreeMap<u64, Key>,
    /// Counts how often something was asked for.
    asked: u64,
    bytes: usize,
    files: u32,
}

enum Slot {
    /// Somebody decodes it.
    Decoding,
    Kept {
        bytes: Bytes,
        asked: u64,
    },
}

impl ChunkCache {
    /// Keeps up to so many bytes; with 0, nothing.
    pub fn new(limit: usize) -> Self {
        ChunkCache { limit, state: Mutex::default(), decoded: Condvar::new(), buffers: Buffers::default() }
    }

    /// The memory that spans are read and decoded into, by all who share the cache.
    pub fn buffers(&self) -> &Buffers {
        &self.buffers
    }

    /// A number for another file.
    pub fn file(&self) -> u32 {
        let mut state = self.lock();
        state.files += 1;
        state.files
    }

    /// The span, from where it is kept or from `decode`.
    ///
    /// # Errors
    /// What `decode` says. Nothing of that is kept, so the next one tries again.
    pub fn get(&self, key: Key, decode: impl FnOnce() -> Result<Bytes, Damage>) -> Result<Bytes, Damage> {
        if self.limit == 0 {
            return decode();
        }
        if let Some(bytes) = self.find(key) {
            return Ok(bytes);
        }
        // Those who wait try themselves where this one fails, also by a panic.
        let mut attempt = Attempt { cache: self, key, bytes: None };
        let bytes = decode()?;
        attempt.bytes = Some(bytes.clone());
        Ok(bytes)
    }

    /// The span, where it is kept, or once somebody has decoded it. `None` where the caller has to.
    fn find(&self, key: Key) -> Option<Bytes> {
        let mut state = self.lock();
        loop {
            state.asked += 1;
            let now = state.asked;
            match state.slots.get_mut(&key) {
                None => {
                    state.slots.insert(key, Slot::Decoding);
                    return None;
                }
                Some(Slot::Kept { bytes, asked }) => {
                    let (bytes, before) = (bytes.clone(), std::mem::replace(asked, now));
                    state.order.remove(&before);
                    state.order.insert(now, key);
                    return Some(bytes);
                }
                Some(Slot::Decoding) => {
                    state = self.decoded.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    /// Keeps a span, and gives up those that were not asked for the longest.
    fn keep(&self, state: &mut State, key: Key, bytes: Bytes) {
        state.asked += 1;
        let asked = state.asked;
        state.bytes += bytes.len() + OVERHEAD;
        state.order.insert(asked, key);
        state.slots.insert(key, Slot::Kept { bytes, asked });
        while state.bytes > self.limit
            && let Some((_, oldest)) = state.order.pop_first()
        {
            if let Some(Slot::Kept { bytes, .. }) = state.slots.remove(&oldest) {
                state.bytes -= bytes.len() + OVERHEAD;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two statements that change it, so a panic elsewhere spoils nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody decodes a span. However that ends, those who wait hear of it.
struct Attempt<'a> {
    cache: &'a ChunkCache,
    key: Key,
    bytes: Option<Bytes>,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let mut state = self.cache.lock();
        state.slots.remove(&self.key);
        // What alone is too much is handed on to those who wait by no other way than that they decode it too.
        if let Some(bytes) = self.bytes.take()
            && bytes.len() + OVERHEAD <= self.cache.limit
        {
            self.cache.keep(&mut state, self.key, bytes);
        }
        drop(state);
        self.cache.decoded.notify_all();
    }
}

impl Default for ChunkCache {
    fn default() -> Self {
        ChunkCache::new(crate::recording::OpenOptions::default().chunk_cache_bytes)
    }
}

impl fmt::Debug for ChunkCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChunkCache").field("limit", &self.limit).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    fn get(cache: &ChunkCache, span: u32, decodes: &AtomicUsize) -> Bytes {
        let decode = || {
            decodes.fetch_add(1, Ordering::Relaxed);
            Ok(Bytes::from(vec![span as u8; 1000 - OVERHEAD]))
        };
        cache.get((1, span), decode).unwrap()
    }

    #[test]
    fn what_was_not_asked_for_the_longest_is_given_up() {
        let (cache, decodes) = (ChunkCache::new(2000), AtomicUsize::new(0));
        let after = |span| {
            assert_eq!(get(&cache, span, &decodes)[0], span as u8);
            decodes.load(Ordering::Relaxed)
        };
        assert_eq!([1, 2, 1, 2].map(after), [1, 2, 2, 2]);
        // 2 was asked for last, so 1 goes.
        assert_eq!([3, 2, 1].map(after), [3, 3, 4]);
        assert!(cache.lock().bytes <= 2000);
    }

    #[test]
    fn what_is_too_large_and_with_no_room_at_all_nothing_is_kept() {
        for limit in [0, 999] {
            let (cache, decodes) = (ChunkCache::new(limit), AtomicUsize::new(0));
            get(&cache, 1, &decodes);
            get(&cache, 1, &decodes);
            assert_eq!((decodes.load(Ordering::Relaxed), cache.lock().bytes), (2, 0));
        }
    }

    #[test]
    fn who_wants_what_is_being_decoded_waits_for_it() {
        let cache = Arc::new(ChunkCache::new(10_000));
        let decodes = Arc::new(AtomicUsize::new(0));
        let (begun, begins) = mpsc::channel();
        let (go_on, goes_on) = mpsc::channel::<()>();
        let first = std::thread::spawn({
            let cache = Arc::clone(&cache);
            move || {
                let decode = || {
                    begun.send(()).unwrap();
                    goes_on.recv().unwrap();
                    Ok(Bytes::from_static(b"first"))
                };
                cache.get((1, 7), decode).unwrap()
            }
        });
        begins.recv().unwrap();
        let others: Vec<_> = (0..4)
            .map(|_| {
                let (cache, decodes) = (Arc::clone(&cache), Arc::clone(&decodes));
                std::thread::spawn(move || get(&cache, 7, &decodes))
            })
            .collect();
        go_on.send(()).unwrap();
        assert_eq!(first.join().unwrap(), "first");
        assert!(others.into_iter().all(|other| other.join().unwrap() == "first"));
        assert_eq!(decodes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn where_one_fails_the_next_one_tries() {
        let (cache, decodes) = (ChunkCache::new(10_000), AtomicUsize::new(0));
        assert!(cache.get((1, 1), || Err(Damage::NotAChunk)).is_err());
        let panics = || -> Result<Bytes, Damage> { panic!("on purpose") };
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| cache.get((1, 1), panics)));
        assert!(caught.is_err());
        get(&cache, 1, &decodes);
        assert_eq!(decodes.load(Ordering::Relaxed), 1);
    }
}
