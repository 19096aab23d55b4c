//! What the file's index allows, and what happens where it is wrong.

use std::io;
use std::sync::Mutex;

use super::super::testing::*;
use super::super::*;
use crate::recording::OpenOptions;

fn indexed(bytes: &[u8]) -> Played {
    play(bytes.to_vec(), &OpenOptions::default()).unwrap()
}

/// Three zstd chunks of two messages on `/a` and `/b`.
fn three_chunks() -> Writer {
    let mut writer = Writer::with_channels(2);
    for i in 0..3u32 {
        let time = u64::from(i) * 10 + 5;
        let records = [message(1, i * 2, time, b"one"), message(2, i * 2 + 1, time + 1, b"two")];
        writer.chunk(Packing::ALL[i as usize], &records);
    }
    writer
}

/// Remembers which bytes were read.
struct Watched {
    bytes: Vec<u8>,
    reads: Mutex<Vec<(u64, usize)>>,
}

impl Source for Watched {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.reads.lock().unwrap().push((offset, buffer.len()));
        buffer.copy_from_slice(&self.bytes[offset as usize..offset as usize + buffer.len()]);
        Ok(())
    }
}

#[test]
fn both_ways_of_opening_give_the_same() {
    let played = play_both(&three_chunks().finish());
    assert!(played.summary.indexed && played.is_quiet());
    assert_eq!(played.sequences(), [0, 1, 2, 3, 4, 5]);
    assert_eq!(played.summary.message_count, 6);
    assert_eq!((&*played.summary.library, &*played.summary.profile), ("tests", "ros2"));
    let scanned = play(three_chunks().finish(), &scanning()).unwrap();
    assert!(!scanned.summary.indexed && scanned.is_quiet());
}

#[test]
fn with_an_index_only_the_ends_of_a_file_are_read() {
    let mut writer = Writer::with_channels(1);
    for i in 0..100 {
        writer.chunk(Packing::None, &[message(1, i, u64::from(i) + 1, &[7; 50_000])]);
    }
    let source = Arc::new(Watched { bytes: writer.finish(), reads: Mutex::default() });
    let (options, problems) = (OpenOptions::default(), Arc::new(Problems::default()));
    let context = OpenContext {
        cache: Arc::default(),
        path: "w.mcap".as_ref(),
        options: &options,
        problems,
        progress: &|_| panic!("no scan"),
    };
    let reader = open(Arc::clone(&source) as Arc<dyn Source>, &context).unwrap();
    assert_eq!(reader.summary().message_count, 100);
    let reads = source.reads.lock().unwrap();
    let total: usize = reads.iter().map(|read| read.1).sum();
    assert!(reads.len() < 10 && total < 40_000, "{reads:?}");
}

#[test]
fn a_seek_loads_only_what_comes_after_it() {
    let mut writer = Writer::with_channels(1);
    for i in 0..100 {
        writer.chunk(Packing::None, &[message(1, i, u64::from(i) + 1, &[7; 50_000])]);
    }
    let source = Arc::new(Watched { bytes: writer.finish(), reads: Mutex::default() });
    let played =
        play_source(Arc::clone(&source) as Arc<dyn Source>, &OpenOptions::default(), 99, |_| true).unwrap();
    assert_eq!(played.sequences(), [98, 99]);
    let total: usize = source.reads.lock().unwrap().iter().map(|read| read.1).sum();
    assert!(total < 150_000, "{total}");
}

#[test]
fn chunks_without_a_wanted_channel_are_not_loaded() {
    let mut writer = Writer::with_channels(2);
    for i in 0..100 {
        writer.chunk(Packing::None, &[message(1 + (i / 99) as u16, i, u64::from(i) + 1, &[7; 50_000])]);
    }
    let source = Arc::new(Watched { bytes: writer.finish(), reads: Mutex::default() });
    let watched = Arc::clone(&source) as Arc<dyn Source>;
    let played = play_source(watched, &OpenOptions::default(), 0, |place| place == 1).unwrap();
    assert_eq!(played.sequences(), [99]);
    let total: usize = source.reads.lock().unwrap().iter().map(|read| read.1).sum();
    assert!(total < 100_000, "{total}");
}

#[test]
fn messages_outside_chunks_play_although_there_is_an_index() {
    let mut writer = Writer::with_channels(2);
    writer.record(message(1, 0, 3, b"before"));
    writer.chunk(Packing::Zstd, &[message(1, 1, 4, b"in"), message(2, 2, 6, b"in")]);
    writer.record(message(2, 3, 5, b"between"));
    writer.chunk(Packing::Zstd, &[message(1, 4, 8, b"in")]);
    writer.record(message(2, 5, 9, b"after"));
    let played = play_both(&writer.finish());
    assert!(played.summary.indexed && played.is_quiet(), "{:?}", played.told());
    assert_eq!(played.sequences(), [0, 1, 3, 2, 4, 5]);
}

#[test]
fn a_chunk_indexed_twice_plays_once() {
    let mut writer = three_chunks();
    let entry = writer.index[1].clone();
    writer.index.push(entry);
    let played = play_both(&writer.finish());
    assert!(played.summary.indexed && played.is_quiet());
    assert_eq!(played.sequences(), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn a_chunk_that_the_index_leaves_out_plays() {
    for left_out in 0..3 {
        let mut writer = three_chunks();
        writer.index.remove(left_out);
        let played = play_both(&writer.finish());
        assert!(played.summary.indexed && played.is_quiet());
        assert_eq!(played.sequences(), [0, 1, 2, 3, 4, 5]);
    }
}

#[test]
fn a_wrong_index_is_not_used() {
    let lies: [fn(&mut Writer); 9] = [
        |writer| writer.index[1].length = 0,
        |writer| writer.index[1].length = u64::MAX,
        |writer| writer.index[1].length += 1,
        |writer| writer.index[1].offset += 1,
        |writer| writer.index[2].offset = u64::MAX,
        |writer| writer.index[1].index_length = u64::MAX - 100,
        |writer| writer.index[0].end = 7000,
        |writer| writer.index[2].uncompressed += 1,
        |writer| {
            let mut overlapping = writer.index[0].clone();
            overlapping.length += writer.index[1].length;
            writer.index.push(overlapping);
        },
    ];
    for (number, lie) in lies.into_iter().enumerate() {
        let mut writer = three_chunks();
        lie(&mut writer);
        let played = indexed(&writer.finish());
        assert_eq!(played.sequences(), [0, 1, 2, 3, 4, 5], "lie {number}");
        assert!(!played.summary.indexed, "lie {number}");
        let told = played.told();
        assert!(
            told.len() == 1 && told[0].contains(": the index is wrong at byte "),
            "lie {number}: {told:?}"
        );
        assert_eq!(played.summary.message_count, 6);
    }
}

#[test]
fn wrong_statistics_are_not_believed() {
    let lies: [fn(&mut Writer); 5] = [
        |writer| writer.times = Some((1, 2)),
        |writer| writer.statistics = false,
        |writer| *writer.counts.entry(77).or_default() += 5,
        |writer| *writer.counts.entry(1).or_default() = u64::MAX,
        |writer| {
            let first = writer.index.remove(0);
            writer.index.push(first.clone());
            writer.index.push(first);
        },
    ];
    for (number, lie) in lies.into_iter().enumerate() {
        let mut writer = three_chunks();
        lie(&mut writer);
        let played = play_both(&writer.finish());
        assert!(played.summary.indexed, "lie {number}");
        assert_eq!(played.summary.message_count, 6, "lie {number}");
        assert_eq!(played.summary.channels[1].message_count, 3, "lie {number}");
    }
}

#[test]
fn without_message_indexes_the_statistics_vouch_for_the_channels() {
    let mut writer = Writer::with_channels(1);
    writer.message_indexes = false;
    writer.chunk(Packing::Zstd, &[message(1, 0, 5, b"x")]).chunk(Packing::Zstd, &[message(1, 1, 6, b"x")]);
    assert!(play_both(&writer.finish()).summary.indexed);
    let mut writer = Writer::with_channels(1);
    (writer.message_indexes, writer.statistics) = (false, false);
    writer.chunk(Packing::Zstd, &[message(1, 0, 5, b"x")]).chunk(Packing::Zstd, &[message(1, 1, 6, b"x")]);
    let played = play_both(&writer.finish());
    assert!(!played.summary.indexed);
    assert_eq!((played.sequences(), played.summary.message_count), (vec![0, 1], 2));
}

#[test]
fn channels_that_the_summary_leaves_out_are_found_in_the_data() {
    // As writers do that put a channel into the chunk where it is first used, and nowhere else.
    let mut writer = Writer::new();
    writer.chunk(Packing::Zstd, &[definitions(1), message(1, 0, 5, b"x")]);
    writer.chunk(Packing::Zstd, &[message(1, 1, 6, b"x")]);
    writer.chunk(Packing::Lz4, &[channel(2, 1, "/b"), message(2, 2, 7, b"x")]);
    writer.chunk(Packing::Zstd, &[message(2, 3, 8, b"x")]);
    let bytes = writer.finish();
    let played = play_both(&bytes);
    assert_eq!(played.sequences(), [0, 1, 2, 3]);
    assert!(played.summary.indexed && played.is_quiet(), "{:?}", played.told());
    let schema = played.summary.channels[1].schema.as_ref().unwrap();
    assert_eq!((&*schema.name, &*schema.encoding, &schema.data[..]), ("T", "ros2msg", &b"int32 data"[..]));
}

#[test]
fn channels_without_messages_are_listed() {
    let mut writer = Writer::with_channels(3);
    writer.chunk(Packing::Zstd, &[message(2, 0, 5, b"x")]);
    let played = play_both(&writer.finish());
    let counts: Vec<_> = played.summary.channels.iter().map(|c| (&*c.topic, c.message_count)).collect();
    assert_eq!(counts, [("/a", 0), ("/b", 1), ("/c", 0)]);
}

#[test]
fn an_empty_chunk_or_an_attachment_does_not_begin_the_recording() {
    let mut writer = Writer::with_channels(1);
    writer.chunk(Packing::Zstd, &[]);
    writer.record(attachment("note.txt", b"hello")).record(metadata("info", "value"));
    writer.chunk(Packing::Zstd, &[message(1, 0, 500, b"x")]);
    writer.chunk(Packing::None, &[]);
    let bytes = writer.finish();
    let played = play_both(&bytes);
    let time = Timestamp::from_nanos(500);
    assert_eq!(played.summary.time_range, Some((time, time)));
    let attachment = &played.summary.attachments[0];
    assert_eq!((&*attachment.name, &*attachment.media_type, attachment.bytes), ("note.txt", "text/plain", 5));
    assert_eq!(&bytes[attachment.offset as usize..][..5], b"hello");
    assert_eq!(played.summary.metadata[0].entries["key"], "value");
}

#[test]
fn a_channel_with_an_unknown_schema_plays_without() {
    let mut writer = Writer::new();
    writer.record(channel(1, 5, "/a")).record(channel(2, 0, "/b"));
    writer.chunk(Packing::Zstd, &[message(1, 0, 5, b"x"), message(2, 1, 5, b"x")]);
    let played = play_both(&writer.finish());
    assert_eq!(played.sequences(), [0, 1]);
    assert!(played.summary.channels.iter().all(|channel| channel.schema.is_none()));
    let told = played.told();
    let about_schema: Vec<_> = told.iter().filter(|text| text.contains("schema")).collect();
    assert_eq!(
        about_schema,
        ["test.mcap, topic /a: its schema (id 5) is not in the file, so it plays without"]
    );
}

#[test]
fn of_two_descriptions_of_one_channel_the_first_counts() {
    let mut writer = Writer::new();
    writer.record(channel(1, 0, "/first")).record(channel(1, 0, "/second")).record(channel(1, 0, "/third"));
    writer.chunk(Packing::Zstd, &[message(1, 0, 5, b"x")]);
    let played = play_both(&writer.finish());
    assert_eq!(played.summary.channels[0].topic, "/first");
    let told = played.told();
    assert_eq!(told.iter().filter(|text| text.contains("in different ways")).count(), 1, "{told:?}");
}

#[test]
fn what_the_data_says_of_a_channel_counts_more_than_the_summary() {
    let mut writer = Writer::new();
    writer.definitions = channel(1, 0, "/summary");
    writer.record(channel(1, 0, "/data"));
    writer.chunk(Packing::Zstd, &[message(1, 0, 5, b"x")]);
    assert_eq!(play_both(&writer.finish()).summary.channels[0].topic, "/data");
}

#[test]
fn text_that_is_not_utf_8_is_shown_with_replacements() {
    let mut writer = Writer::new();
    let mut record = channel(1, 0, "/aXb");
    let place = record.iter().position(|&byte| byte == b'X').unwrap();
    record[place] = 0xff;
    writer.record(record).chunk(Packing::Zstd, &[message(1, 0, 5, b"x")]);
    let played = play_both(&writer.finish());
    assert_eq!(played.summary.channels[0].topic, "/a\u{fffd}b");
    assert!(played.told().iter().any(|text| text.contains("UTF-8")));
    assert!(played.problems.iter().all(|problem| !problem.data_lost));
}

#[test]
fn records_of_later_versions_and_padding_are_passed_over() {
    let mut writer = Writer::new();
    let mut padded = channel(1, 0, "/a");
    padded.extend([1, 2, 3]);
    let length = (padded.len() - 9) as u64;
    padded[1..9].copy_from_slice(&length.to_le_bytes());
    writer.record(record(0x42, b"later")).record(padded.clone()).record(record(0xf0, b"private"));
    writer.chunk(Packing::Zstd, &[record(0x42, b"later"), message(1, 0, 5, b"x"), padded]);
    writer.record(record(0x42, b"later")).record(message(1, 1, 6, b"x"));
    assert_eq!(play_both(&writer.finish()).sequences(), [0, 1]);
}

#[test]
fn a_summary_with_a_wrong_crc_is_not_used() {
    let mut bytes = three_chunks().finish();
    let place = bytes.len() - 60;
    bytes[place] ^= 1;
    let played = indexed(&bytes);
    assert_eq!(played.sequences(), [0, 1, 2, 3, 4, 5]);
    assert!(!played.summary.indexed);
    assert!(played.told()[0].ends_with("the CRC of the summary is wrong, so its index is not used"));
}

#[test]
fn a_file_without_an_index_says_so_once() {
    let mut writer = three_chunks();
    let finished = indexed(&writer.finish_with(&[]));
    let text = "test.mcap: it has no index, so it was read once from start to end";
    assert_eq!((finished.told(), finished.sequences().len()), (vec![text.to_owned()], 6));
    let stopped = indexed(&three_chunks().bytes);
    let text = "test.mcap: it has no index (the recorder may have been stopped), so it was read once from start to end";
    assert_eq!((stopped.told(), stopped.sequences().len()), (vec![text.to_owned()], 6));
}

#[test]
fn an_index_that_hides_a_channel_is_told_while_playing() {
    // The index says that the middle chunk has /a only; the data describes a third channel there.
    let mut writer = Writer::with_channels(2);
    writer.chunk(Packing::None, &[message(1, 0, 5, b"one")]);
    writer.chunk(Packing::None, &[channel(9, 1, "/z"), message(1, 1, 15, b"one"), message(9, 2, 16, b"z")]);
    writer.chunk(Packing::None, &[message(1, 3, 25, b"one")]);
    writer.index[1].channels.remove(&9);
    writer.counts.remove(&9);
    let played = indexed(&writer.finish());
    assert_eq!(played.sequences(), [0, 1, 3]);
    let told = played.told();
    assert!(told.len() == 1 && told[0].starts_with("! test.mcap, byte "), "{told:?}");
    assert!(
        told[0].ends_with(
            "skipped here: 1 message of channels that the file's index does not know (--rescan plays them)"
        ),
        "{told:?}"
    );
    assert_eq!(play(writer.bytes, &scanning()).unwrap().sequences(), [0, 1, 2, 3]);
}

#[test]
fn messages_earlier_than_the_index_says_play_if_it_is_not_too_late() {
    let build = |first: u64| {
        let mut writer = Writer::with_channels(1);
        writer.chunk(Packing::None, &[message(1, 0, 10, b"x"), message(1, 1, 20, b"x")]);
        writer.chunk(Packing::None, &[message(1, 2, first, b"x"), message(1, 3, 40, b"x")]);
        writer.chunk(Packing::None, &[message(1, 4, 50, b"x")]);
        (writer.index[1].start, writer.index[1].end) = (30, 30);
        indexed(&writer.finish())
    };
    let in_time = build(25);
    assert_eq!(in_time.sequences(), [0, 1, 2, 3, 4]);
    assert!(in_time.problems.iter().all(|problem| !problem.data_lost));
    let late = build(15);
    assert_eq!(late.sequences(), [0, 1, 3, 4]);
    assert!(late.told()[0].contains("skipped here: 1 message earlier than the file's index says"));
}

/// A file whose chunks of ten messages, in headers and index, claim the times of one of these; the times of
/// chunk `n` are `n` * 10 + 10 and on.
fn claiming(chunks: u64, claimed: u64) -> Vec<u8> {
    let mut writer = Writer::with_channels(1);
    for chunk in 0..chunks {
        let times = chunk * 10 + 10..chunk * 10 + 20;
        let at = writer.bytes.len() + 9;
        let records: Vec<_> = times.clone().map(|time| message(1, time as u32, time, b"x")).collect();
        writer.chunk(Packing::None, &records);
        let time = times.start + claimed;
        writer.bytes[at..at + 16].copy_from_slice(&[time.to_le_bytes(), time.to_le_bytes()].concat());
        let entry = writer.index.last_mut().unwrap();
        (entry.start, entry.end) = (time, time);
    }
    writer.times = Some((10 + claimed, chunks * 10 + claimed));
    writer.finish()
}

#[test]
fn chunks_that_end_later_than_header_and_index_say_play_and_it_is_noted_once() {
    let played = indexed(&claiming(3, 0));
    assert_eq!(played.sequences(), (10..40).collect::<Vec<_>>());
    let told = played.told();
    assert!(played.summary.indexed && told.len() == 1, "{told:?}");
    for part in [
        "test.mcap, byte ",
        "are from 1970-01-01T00:00:00.00000001Z to ",
        "to 1970-01-01T00:00:00.000000019Z; ",
        "--rescan",
    ] {
        assert!(told[0].contains(part), "{part}: {told:?}");
    }
}

#[test]
fn messages_before_the_start_that_header_and_index_say_are_told_as_lost() {
    let play_from = |from: u64| {
        let source = Arc::new(bytes::Bytes::from(claiming(2, 4)));
        play_source(source, &OpenOptions::default(), from, |_| true).unwrap()
    };
    // From the very start all of them come; from the start that the file claims, four can't.
    let all = play_from(0);
    assert_eq!(all.sequences(), (10..30).collect::<Vec<_>>());
    assert!(all.problems.iter().all(|problem| !problem.data_lost) && all.problems.len() == 1);
    let claimed = play_from(14);
    assert_eq!(claimed.sequences(), (14..30).collect::<Vec<_>>());
    let told = claimed.told();
    assert!(
        told[0].starts_with("! ")
            && told[0].ends_with(
                "skipped here: 4 messages earlier than the file's index says (--rescan plays them)"
            ),
        "{told:?}"
    );
}
