//! Files made to hurt: whatever they hold, opening and reading them ends, soon, and without a panic.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::super::testing::*;
use crate::recording::OpenOptions;

/// A small limit, so that a wrong size is noticed by its memory.
fn options(ignore_index: bool) -> OpenOptions {
    OpenOptions { ignore_index, max_chunk_bytes: 1 << 20, ..OpenOptions::default() }
}

/// A file of everything: chunks of all kinds, loose messages, attachments, metadata.
fn mixed() -> Vec<u8> {
    let mut writer = Writer::with_channels(3);
    for i in 0..4u32 {
        let records: Vec<_> = (0..6)
            .map(|j| message(1 + (j % 3) as u16, i * 10 + j, u64::from(i * 7 + j * 3 % 10) + 1, &[9; 20]))
            .collect();
        writer.chunk(Packing::ALL[i as usize % 3], &records);
        writer.record(message(2, i * 10 + 9, u64::from(i) * 7 + 4, b"loose"));
    }
    writer.record(attachment("a.txt", b"abc")).record(metadata("rosbag2", "value"));
    writer.finish()
}

/// A file as the format's own library writes it.
fn written_by_the_library() -> Vec<u8> {
    let mut writer =
        ::mcap::WriteOptions::new().chunk_size(Some(400)).create(std::io::Cursor::new(Vec::new())).unwrap();
    let schema = writer.add_schema("T", "ros2msg", b"int32 data").unwrap();
    for topic in 0..3u16 {
        writer.add_channel(schema, &format!("/{topic}"), "cdr", &Default::default()).unwrap();
    }
    for sequence in 0..60u32 {
        let time = u64::from(sequence * 37 % 60) + 1;
        let header = ::mcap::records::MessageHeader {
            channel_id: (sequence % 3) as u16 + 1,
            sequence,
            log_time: time,
            publish_time: time,
        };
        writer.write_to_known_channel(&header, &[sequence as u8; 30]).unwrap();
    }
    writer.finish().unwrap();
    writer.into_inner().into_inner()
}

fn survive(bytes: &[u8]) {
    for ignore_index in [false, true] {
        if let Ok(played) = play(bytes.to_vec(), &options(ignore_index)) {
            let times: Vec<u64> = played.messages.iter().map(|message| message.2).collect();
            assert!(times.is_sorted(), "out of order");
        }
    }
}

#[test]
fn what_the_library_writes_plays_both_ways() {
    let played = play_both(&written_by_the_library());
    assert!(played.summary.indexed && played.is_quiet(), "{:?}", played.told());
    assert_eq!(played.messages.len(), 60);
    survive(&mixed());
}

#[test]
fn any_byte_of_a_file_may_be_anything() {
    let bytes = mixed();
    for place in 8..bytes.len() {
        let mut broken = bytes.clone();
        broken[place] = [0, 0xff, bytes[place] ^ 1][place % 3];
        survive(&broken);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_file_may_be_changed_anywhere(
        library in any::<bool>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0u8..5, any::<u64>()), 1..8),
        keep_crc in any::<bool>(),
    ) {
        let mut bytes = if library { written_by_the_library() } else { mixed() };
        for (place, kind, value) in changes {
            let at = 8 + place.index(bytes.len() - 8);
            let value = value.to_le_bytes();
            match kind {
                0 => bytes[at] = value[0],
                1 => bytes.truncate(at.max(9)),
                2 => { bytes.splice(at..at, value); }
                3 => { bytes.drain(at..(at + value[0] as usize).min(bytes.len())); }
                _ => {
                    let end = (at + 8).min(bytes.len());
                    bytes[at..end].copy_from_slice(&value[..end - at]);
                }
            }
            if bytes.len() < 10 { break; }
        }
        // Without its CRC the summary is believed.
        if !keep_crc && bytes.len() > 20 {
            let place = bytes.len() - 12;
            bytes[place..place + 4].fill(0);
        }
        survive(&bytes);
    }
}

fn within(limit: Duration, what: &str, run: impl FnOnce()) {
    let start = Instant::now();
    run();
    assert!(start.elapsed() < limit, "{what} took {:?}", start.elapsed());
}

#[test]
fn many_tiny_chunks_that_all_overlap_take_no_quadratic_time() {
    let mut writer = Writer::with_channels(1);
    let count = 20_000;
    for i in 0..count {
        let records = [message(1, i, 1, b""), message(1, i, 1_000_000 - u64::from(i), b"")];
        writer.chunk(Packing::None, &records);
    }
    let bytes = writer.finish();
    within(Duration::from_secs(8), "playing", || {
        assert_eq!(play(bytes, &options(false)).unwrap().messages.len(), 2 * count as usize);
    });
}

#[test]
fn many_wrong_index_entries_take_no_quadratic_time() {
    let mut writer = Writer::with_channels(1);
    writer.chunk(Packing::Zstd, &[message(1, 0, 5, b"x")]);
    let entry = writer.index[0].clone();
    for i in 0..50_000 {
        let mut wrong = entry.clone();
        wrong.offset = entry.offset + i % 100;
        wrong.end += i;
        writer.index.push(wrong);
    }
    let bytes = writer.finish();
    within(Duration::from_secs(8), "opening", || {
        assert_eq!(play(bytes, &options(false)).unwrap().messages.len(), 1);
    });
}

#[test]
fn chunks_of_nothing_but_broken_descriptions_cost_little() {
    let mut writer = Writer::with_channels(1);
    let empty: Vec<Vec<u8>> = (0..100_000).map(|i| record(3 + (i % 2) as u8, &[])).collect();
    let conflicting: Vec<Vec<u8>> = (0..20_000).map(|i| channel(1, 0, &format!("/{i}"))).collect();
    writer.chunk(Packing::Zstd, &empty).chunk(Packing::Zstd, &conflicting);
    writer.chunk(Packing::Zstd, &[message(1, 0, 5, b"x")]);
    let bytes = writer.finish();
    within(Duration::from_secs(8), "opening", || {
        let played = play(bytes, &scanning()).unwrap();
        assert_eq!(played.messages.len(), 1);
        assert!(played.problems.len() < 10);
    });
}

#[test]
fn random_bytes_after_the_magic_are_survived() {
    let mut state = 1u64;
    for _ in 0..2000 {
        let mut bytes = ::mcap::MAGIC.to_vec();
        for _ in 0..40 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            bytes.extend(&(state >> 20).to_le_bytes()[..(state >> 61) as usize]);
            bytes.extend([(state >> 40) as u8 % 16, (state >> 50) as u8, 0, 0, 0, 0, 0, 0, 0]);
        }
        survive(&bytes);
    }
}
