//! What messages that wait keep in memory.

use super::*;

/// How many of these chunks are kept in memory by messages.
fn kept(chunks: &[Bytes]) -> usize {
    chunks.iter().filter(|chunk| !chunk.is_unique()).count()
}

#[test]
fn who_is_behind_keeps_few_chunks_for_small_messages() {
    let outbox = outbox(1 << 28);
    let chunks: Vec<Bytes> = (0..100).map(|_| Bytes::from(vec![0; 1_000_000])).collect();
    let slices = |chunk: &Bytes| {
        let slice = |at: usize| chunk.slice(at * 100..(at + 1) * 100);
        [0, 1, 2].map(|at| Message { data: slice(at), memory: Memory::of(chunk), ..message(0, 1, 0) })
    };
    for message in chunks.iter().flat_map(slices) {
        deliver(&outbox, &[Event::Message(message, None)]);
    }
    assert_eq!(kept(&chunks), HELD_LIMIT / 1_000_000);
    let mut state = outbox.lock();
    assert!((0..12).all(|_| state.waiting.pop_first().is_some()));
    drop(state);
    assert_eq!(kept(&chunks), HELD_LIMIT / 1_000_000 - 4);
    // What has become free is used again.
    deliver(&outbox, &[Event::Message(slices(&chunks[0])[0].clone(), None)]);
    assert_eq!(kept(&chunks), HELD_LIMIT / 1_000_000 - 3);
    outbox.unsubscribe(100);
    assert_eq!(kept(&chunks), 0);
}

/// A message on each of the first channels: one after another, slices of the chunk of so many bytes.
fn first_slices<const N: usize>(chunk: &Bytes, time: u64, sizes: [usize; N]) -> [Event; N] {
    let mut at = 0;
    std::array::from_fn(|channel| {
        let data = chunk.slice(at..at + sizes[channel]);
        at += sizes[channel];
        let message = Message { data, memory: Memory::of(chunk), ..message(channel as u32, time, 0) };
        Event::Message(message, None)
    })
}

#[test]
fn the_chunks_that_messages_keep_are_a_part_of_what_may_be_kept() {
    const CHUNK: usize = 100_000;
    const LIMIT: usize = 40 * CHUNK;
    // The large ones are left out later, and the small ones stay.
    for large in [CHUNK - 1000, CHUNK / 5 * 3] {
        let outbox = outbox(LIMIT);
        let chunks: Vec<Bytes> = (0..200).map(|_| Bytes::from(vec![0; CHUNK])).collect();
        let mut most = 0;
        for (time, chunk) in (0..).zip(&chunks) {
            for event in first_slices(chunk, time, [large, 100]) {
                deliver(&outbox, &[event]);
            }
            let state = outbox.lock();
            let counted = state.waiting.bytes() + state.waiting.bytes_beside();
            drop(state);
            most = most.max(counted);
            assert!(kept(&chunks) * CHUNK <= counted);
        }
        assert!(most <= LIMIT && most > LIMIT / 8 * 7, "{large}: {most}");
        assert_eq!(outbox.tallies()[&ChannelId(1)].dropped, 0);
    }
}

#[test]
fn what_is_being_written_is_a_part_of_what_may_be_kept() {
    const CHUNK: usize = 100_000;
    const LIMIT: usize = 40 * CHUNK;
    let outbox = outbox(LIMIT);
    let large = Bytes::from(vec![0; 8 * CHUNK]);
    deliver(&outbox, &first_slices(&large, 0, [5 * CHUNK]));
    let mut batch = Batch::default();
    assert!(outbox.take_batch(&mut batch));
    let most = |first: u64| {
        let chunks: Vec<Bytes> = (0..100).map(|_| Bytes::from(vec![0; CHUNK])).collect();
        let mut most = 0;
        for (time, chunk) in (first..).zip(&chunks) {
            deliver(&outbox, &first_slices(chunk, time, [CHUNK - 1000]));
            most = most.max(kept(&chunks) * CHUNK);
        }
        outbox.lock().waiting.clear();
        most
    };
    let beside = most(1);
    assert!(beside + large.len() <= LIMIT && beside + large.len() > LIMIT / 8 * 7, "{beside}");
    outbox.count_sent(&mut batch);
    assert!(large.is_unique());
    let alone = most(101);
    assert!(alone <= LIMIT && alone > beside + large.len() / 2, "{alone}");
}

#[test]
fn for_the_chunk_that_it_keeps_no_newest_message_is_left_out() {
    const LIMIT: usize = 1_000_000;
    // More than a client's buffer.
    let chunk = Bytes::from(vec![0; 2 * LIMIT]);
    for sizes in [[100, LIMIT / 10 * 9], [LIMIT / 10 * 9, 100]] {
        let outbox = outbox(LIMIT);
        deliver(&outbox, &first_slices(&chunk, 1, sizes));
        assert_eq!(outbox.counts().dropped, 0, "{sizes:?}");
    }
    // Nor any other while it is being written.
    let outbox = outbox(LIMIT);
    deliver(&outbox, &first_slices(&chunk, 1, [100, LIMIT / 10]));
    let mut batch = Batch::default();
    assert!(outbox.take_batch(&mut batch));
    (2..8).for_each(|time| deliver(&outbox, &first_slices(&chunk, time, [100, LIMIT / 10])));
    assert_eq!(outbox.counts().dropped, 0);
    // What is written meanwhile is forgotten, whatever becomes of the rest.
    outbox.unsubscribe(101);
    deliver(&outbox, &[Event::Jumped(nanos(0))]);
    assert_eq!(outbox.lock().waiting.bytes_beside(), chunk.len());
    outbox.count_sent(&mut batch);
    assert_eq!(outbox.lock().waiting.bytes_beside(), 0);
    assert!(chunk.is_unique());
}
