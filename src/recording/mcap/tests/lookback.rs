//! What the last messages before a time are.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::testing::*;
use super::super::*;
use crate::recording::{ChannelId, OpenOptions, StateSearch};

fn reader(bytes: Vec<u8>) -> McapReader {
    let (options, problems) = (OpenOptions::default(), Arc::new(Problems::default()));
    let context = OpenContext {
        path: "o.mcap".as_ref(),
        options: &options,
        problems,
        cache: Arc::default(),
        progress: &|_| {},
    };
    open_reader(Arc::new(bytes::Bytes::from(bytes)), &context).unwrap()
}

/// By channel, the sequence of its last message before a time.
fn last_before(reader: &McapReader, before: u64) -> BTreeMap<u32, u32> {
    let channels = reader.summary().channels.len() as u32;
    let all: ChannelMap = (0..channels).map(|channel| Some(ChannelId(channel))).collect();
    let search = reader.search(Timestamp::from_nanos(before), all);
    let messages = StateSearch::new(vec![search], channels as usize).finish();
    let found: BTreeMap<u32, u32> = messages.iter().map(|m| (m.channel.0, m.sequence)).collect();
    assert_eq!(found.len(), messages.len(), "one message a channel");
    found
}

#[test]
fn of_equal_times_the_message_that_stands_last_in_the_file_is_the_last() {
    let mut writer = Writer::with_channels(2);
    writer.chunk(Packing::Zstd, &[message(1, 0, 5, b"a"), message(1, 1, 5, b"b"), message(2, 2, 4, b"c")]);
    writer.chunk(Packing::Zstd, &[message(2, 3, 9, b"d"), message(1, 4, 5, b"e")]);
    let reader = reader(writer.finish());
    assert_eq!(last_before(&reader, 4), BTreeMap::new());
    assert_eq!(last_before(&reader, 5), BTreeMap::from([(1, 2)]));
    assert_eq!(last_before(&reader, 6), BTreeMap::from([(0, 4), (1, 2)]));
    assert_eq!(last_before(&reader, u64::MAX), BTreeMap::from([(0, 4), (1, 3)]));
}

#[test]
fn only_chunks_that_can_have_a_last_message_are_read() {
    let mut writer = Writer::with_channels(2);
    writer.chunk(Packing::Zstd, &[message(2, 0, 1, b"static")]);
    for chunk in 1..100 {
        writer.chunk(Packing::Zstd, &[message(1, chunk, u64::from(chunk) * 10, b"flow")]);
    }
    let mut bytes = writer.finish();
    let spans = reader(bytes.clone()).shared.index.spans.clone();
    // What is between the one chunk with the static message and the last one before the time can't be read.
    for span in &spans[1..89] {
        bytes[span.offset as usize + 60] ^= 0xff;
    }
    let reader = reader(bytes);
    assert_eq!(last_before(&reader, 900), BTreeMap::from([(0, 89), (1, 0)]));
    assert!(reader.shared.problems.list().is_empty());
}

#[test]
fn messages_that_playing_on_would_miss_by_a_wrong_index_are_told_as_lost() {
    let mut writer = Writer::with_channels(1);
    for (chunk, times) in [[5, 10, 30], [40, 50, 60]].into_iter().enumerate() {
        let records = times.map(|time| message(1, time as u32, time, b"x"));
        writer.chunk(Packing::None, &records);
        (writer.index[chunk].start, writer.index[chunk].end) = (times[0], times[0]);
    }
    let at = writer.index.iter().map(|entry| entry.offset as usize + 17).collect::<Vec<_>>();
    at.into_iter().zip([5u64, 40]).for_each(|(at, end)| {
        writer.bytes[at..at + 8].copy_from_slice(&end.to_le_bytes());
    });
    let bytes = writer.finish();
    let told = |before: u64| {
        let reader = reader(bytes.clone());
        last_before(&reader, before);
        reader.shared.problems.list()
    };
    let lost = told(20);
    assert_eq!(lost.len(), 1);
    assert!(lost[0].data_lost);
    assert_eq!(
        lost[0].text,
        "skipped here: 1 message later than the file's index says (--rescan plays them)"
    );
    let noted = told(100);
    assert_eq!(noted.len(), 1);
    assert!(!noted[0].data_lost && noted[0].text.contains("--rescan"));
}

proptest! {
    #[test]
    fn the_last_messages_are_those_that_a_reader_of_everything_finds(
        messages in prop::collection::vec((1..5u16, 1..60u64), 0..80),
        cuts in prop::collection::vec(0..80usize, 0..6),
        before in 0..64u64,
    ) {
        let mut writer = Writer::with_channels(4);
        let mut chunk = Vec::new();
        for (place, (channel, time)) in messages.iter().enumerate() {
            if cuts.contains(&place) && !chunk.is_empty() {
                writer.chunk(Packing::Zstd, &chunk);
                chunk.clear();
            }
            chunk.push(message(*channel, place as u32, *time, b"x"));
        }
        if !chunk.is_empty() {
            writer.chunk(Packing::Zstd, &chunk);
        }
        let mut expected: BTreeMap<u32, (u64, u32)> = BTreeMap::new();
        for (place, (channel, time)) in messages.iter().enumerate().filter(|(_, (_, time))| *time < before) {
            let last = expected.entry(u32::from(*channel) - 1).or_insert((*time, place as u32));
            *last = (*last).max((*time, place as u32));
        }
        let expected: BTreeMap<u32, u32> =
            expected.into_iter().map(|(channel, (_, place))| (channel, place)).collect();
        prop_assert_eq!(last_before(&reader(writer.finish()), before), expected);
    }
}
