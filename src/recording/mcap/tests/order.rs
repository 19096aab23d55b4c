//! In which order messages come.

use proptest::prelude::*;

use super::super::testing::*;
use super::super::*;
use crate::recording::OpenOptions;
use crate::recording::mcap::cursor::McapCursor;

/// The places in which messages have to come: by time, then as they stand in the file.
fn expected(times: &[u64]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..times.len() as u32).collect();
    order.sort_by_key(|&place| times[place as usize]);
    order
}

#[test]
fn unordered_messages_in_overlapping_chunks_come_in_order() {
    let chunks: [&[u64]; 4] = [&[5, 9, 7, 7], &[1, 8, 7], &[7, 2], &[7, 100, 0]];
    let mut writer = Writer::with_channels(1);
    let mut sequence = 0..;
    for chunk in chunks {
        let records: Vec<_> =
            chunk.iter().map(|&time| message(1, sequence.next().unwrap(), time + 1, b"")).collect();
        writer.chunk(Packing::Zstd, &records);
    }
    assert_eq!(play_both(&writer.finish()).sequences(), expected(&chunks.concat()));
}

#[test]
fn a_message_at_the_last_moment_there_is_plays() {
    let mut writer = Writer::with_channels(1);
    writer.chunk(Packing::None, &[message(1, 0, u64::MAX, b"x"), message(1, 1, 1, b"x")]);
    writer.chunk(Packing::None, &[message(1, 2, u64::MAX, b"x")]);
    assert_eq!(play_both(&writer.finish()).sequences(), [1, 0, 2]);
}

#[test]
fn messages_keep_their_bytes_when_few_of_a_chunk_are_wanted() {
    let mut writer = Writer::with_channels(2);
    let records: Vec<_> =
        (0..50).map(|i| message(1 + u16::from(i % 10 == 0), i, 100 - u64::from(i), &[i as u8; 90])).collect();
    writer.chunk(Packing::Zstd, &records);
    let source = Arc::new(bytes::Bytes::from(writer.finish()));
    let played = play_source(source, &OpenOptions::default(), 0, |place| place == 1).unwrap();
    assert_eq!(played.sequences(), [40, 30, 20, 10, 0]);
    assert!(played.messages.iter().all(|message| *message.3 == [message.1 as u8; 90]));
}

#[test]
fn a_payload_is_a_slice_of_its_chunk() {
    let mut writer = Writer::with_channels(1);
    writer.chunk(Packing::Zstd, &[message(1, 0, 1, &[1; 100]), message(1, 1, 2, &[2; 100])]);
    let played = play(writer.finish(), &OpenOptions::default()).unwrap();
    let address = |message: &Got| message.3.as_ptr() as usize;
    assert_eq!(address(&played.messages[1]) - address(&played.messages[0]), 131);
}

/// A file whose chunks all overlap, and its reader.
fn overlapping(chunks: u32, each: u32, overlap_bytes: u64) -> (McapReader, Vec<u32>) {
    let mut writer = Writer::with_channels(1);
    let mut times = Vec::new();
    for chunk in 0..chunks {
        let mut records = Vec::new();
        for i in 0..each {
            let time = 1 + u64::from(i) * 100 + u64::from(chunk * 7 % 13);
            records.push(message(1, times.len() as u32, time, &[chunk as u8; 200]));
            times.push(time);
        }
        writer.chunk(Packing::Zstd, &records);
    }
    let options = OpenOptions { overlap_bytes, ..OpenOptions::default() };
    let problems = Arc::new(Problems::default());
    let context = OpenContext {
        path: "o.mcap".as_ref(),
        options: &options,
        problems,
        cache: Arc::default(),
        progress: &|_| {},
    };
    let reader = open_reader(Arc::new(bytes::Bytes::from(writer.finish())), &context).unwrap();
    (reader, expected(&times))
}

#[test]
fn with_little_memory_chunks_that_overlap_still_come_in_order() {
    for budget in [0, 1, 1000, 20_000, 100_000, 10_000_000] {
        let (reader, expected) = overlapping(60, 40, budget);
        let routes = Routes::new(&[1], &vec![Some(crate::recording::ChannelId(0))].into(), &[]);
        let mut cursor = McapCursor::new(Arc::clone(&reader.shared), Timestamp::MIN, routes);
        let mut most = 0;
        let mut sequences = Vec::new();
        while let Some(message) = cursor.next() {
            sequences.push(message.sequence);
            most = most.max(cursor.kept());
        }
        assert_eq!(sequences, expected, "budget {budget}");
        // One span alone may take more, and each open span at least holds a message.
        assert!(most <= budget.max(60 * 1000), "budget {budget}: {most}");
    }
}

#[test]
fn with_little_memory_no_chunk_is_unpacked_for_each_message() {
    // A quarter of what all chunks take together.
    let (reader, expected) = overlapping(60, 40, 60 * 40 * 250 / 4);
    let routes = Routes::new(&[1], &vec![Some(crate::recording::ChannelId(0))].into(), &[]);
    let mut cursor = McapCursor::new(Arc::clone(&reader.shared), Timestamp::MIN, routes);
    let count = std::iter::from_fn(|| cursor.next()).count();
    assert_eq!(count, expected.len());
    let loads = cursor.loads();
    assert!(loads < 60 * 20, "{loads} loads for 60 chunks");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn any_spans_come_in_order_from_any_time(
        spans in prop::collection::vec((any::<bool>(), prop::collection::vec((1u64..60, 1u16..4), 0..12)), 0..8),
        from in 0u64..70,
        budget in prop::sample::select(vec![0u64, 500, 2000, 1 << 26]),
    ) {
        let mut writer = Writer::with_channels(3);
        let mut all = Vec::new();
        for (chunked, messages) in &spans {
            let mut records = Vec::new();
            for &(time, channel) in messages {
                records.push(message(channel, all.len() as u32, time, &[0; 60]));
                all.push((time, channel));
            }
            if *chunked {
                writer.chunk(Packing::Lz4, &records);
            } else {
                records.into_iter().for_each(|record| { writer.record(record); });
            }
        }
        let times: Vec<u64> = all.iter().map(|message| message.0).collect();
        let mut wanted = expected(&times);
        wanted.retain(|&place| all[place as usize].0 >= from && all[place as usize].1 != 2);
        let bytes = writer.finish();
        play_both(&bytes);
        let (options, problems) = (OpenOptions::default(), Arc::new(Problems::default()));
        let context = OpenContext { path: "p.mcap".as_ref(), options: &options, problems, cache: Arc::default(), progress: &|_| {} };
        let reader = open_reader(Arc::new(bytes::Bytes::from(bytes)), &context).unwrap();
        let id = |place| Some(crate::recording::ChannelId(place));
        let routes = Routes::new(&[1, 2, 3], &vec![id(0), None, id(2)].into(), &[]);
        let cursor = McapCursor::new(Arc::clone(&reader.shared), Timestamp::from_nanos(from), routes);
        let mut cursor = cursor.with_budget(budget);
        let got: Vec<u32> = std::iter::from_fn(|| cursor.next()).map(|message| message.sequence).collect();
        prop_assert_eq!(got, wanted);
    }
}
