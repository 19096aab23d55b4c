//! Files that are cut off, or broken in places: what is whole plays, and what is lost is told.

use std::io;

use super::super::testing::*;
use super::super::*;
use crate::recording::OpenOptions;

fn chunk_of(first: u32, count: u32) -> Vec<Vec<u8>> {
    (first..first + count).map(|i| message(1, i, u64::from(i) + 1, &[i as u8; 25])).collect()
}

fn chunked(packing: Packing) -> Writer {
    let mut writer = Writer::with_channels(1);
    for i in 0..3 {
        writer.chunk(packing, &chunk_of(i * 5, 5));
    }
    writer
}

fn lost(played: &Played) -> Vec<String> {
    played.told().into_iter().filter(|text| text.starts_with("! ")).collect()
}

#[test]
fn a_file_cut_off_at_any_byte_plays_its_front() {
    for packing in Packing::ALL {
        let mut writer = Writer::with_channels(1);
        writer.chunk(packing, &chunk_of(0, 4)).chunk(packing, &chunk_of(4, 4));
        writer.record(message(1, 8, 9, b"loose")).record(attachment("a", b"data"));
        let bytes = writer.finish();
        let whole = play(bytes.clone(), &OpenOptions::default()).unwrap().messages;
        let mut most = 0;
        for cut in 8..bytes.len() {
            for options in [OpenOptions::default(), scanning()] {
                let played = play(bytes[..cut].to_vec(), &options).unwrap();
                assert!(whole.starts_with(&played.messages), "{packing:?} cut at {cut}");
                assert!(!played.is_quiet(), "{packing:?} cut at {cut}");
                assert_eq!(played.summary.message_count, played.messages.len() as u64);
                assert!(played.messages.len() >= most, "{packing:?} cut at {cut}: less than before");
                most = played.messages.len();
            }
        }
        assert_eq!(most, 9);
    }
}

#[test]
fn the_end_of_a_recording_between_two_records_loses_nothing() {
    let writer = chunked(Packing::Zstd);
    let played = play(writer.bytes, &OpenOptions::default()).unwrap();
    assert_eq!((played.messages.len(), lost(&played).len(), played.problems.len()), (15, 0, 1));
}

#[test]
fn of_a_cut_chunk_the_whole_messages_play_each_time() {
    let writer = chunked(Packing::None);
    let cut = writer.bytes.len() - (9 + 6 + 5 * 16) - 100;
    let bytes = writer.bytes[..cut].to_vec();
    let (options, problems) = (OpenOptions::default(), Arc::new(Problems::default()));
    let context = OpenContext {
        path: "c.mcap".as_ref(),
        options: &options,
        problems,
        cache: Arc::default(),
        progress: &|_| {},
    };
    let reader = open_reader(Arc::new(bytes::Bytes::from(bytes)), &context).unwrap();
    for _ in 0..2 {
        let mut cursor = reader.cursor(Timestamp::MIN, vec![Some(crate::recording::ChannelId(0))].into());
        let count = std::iter::from_fn(|| cursor.next()).count();
        assert_eq!(count, 13);
    }
    let told = context.problems.list();
    let text = &told.iter().find(|problem| problem.data_lost).unwrap().text;
    assert!(text.starts_with("the file ends in the middle of a chunk, its last "), "{text}");
    assert!(text.ends_with(": 3 messages at its front can be played, though not checked, the rest is lost"));
}

#[test]
fn a_damaged_chunk_is_skipped_and_named() {
    for packing in Packing::ALL {
        let mut writer = chunked(packing);
        let middle = writer.index[1].clone();
        let last = (middle.offset + middle.length) as usize - 20;
        writer.bytes[last] ^= 0xff;
        let bytes = writer.finish();
        for options in [OpenOptions::default(), scanning()] {
            let played = play(bytes.clone(), &options).unwrap();
            assert_eq!(played.sequences(), [0, 1, 2, 3, 4, 10, 11, 12, 13, 14]);
            let lost = lost(&played);
            let place = format!("! test.mcap, byte {}: the chunk", middle.offset);
            assert!(lost.len() == 1 && lost[0].starts_with(&place), "{packing:?}: {lost:?}");
            assert!(lost[0].ends_with("so its 5 messages are skipped"), "{packing:?}: {lost:?}");
        }
    }
}

#[test]
fn strict_takes_damage_that_opening_meets_as_an_error() {
    let mut writer = chunked(Packing::None);
    let place = writer.index[1].offset as usize + 100;
    writer.bytes[place] ^= 1;
    let bytes = writer.finish();
    let options = OpenOptions { strict: true, ..scanning() };
    let error = play(bytes, &options).unwrap_err();
    assert!(matches!(&error, OpenError::Strict(problem) if problem.text.contains("CRC")), "{error}");
}

#[test]
fn a_chunk_with_records_that_do_not_fit_is_skipped() {
    for broken in
        [vec![5; 9], [message(1, 9, 4, b"x"), vec![5, 200, 0, 0, 0, 0, 0, 0, 0]].concat(), vec![0; 64]]
    {
        let mut writer = Writer::with_channels(1);
        writer.chunk(Packing::Zstd, &chunk_of(0, 2)).chunk(Packing::Zstd, &[broken]);
        writer.chunk(Packing::Zstd, &chunk_of(7, 1));
        let played = play(writer.finish(), &OpenOptions::default()).unwrap();
        assert_eq!(played.sequences(), [0, 1, 7]);
        assert!(lost(&played)[0].contains("something that is no record at byte"), "{:?}", played.told());
    }
}

#[test]
fn an_absurd_chunk_is_skipped() {
    for size in [(1u64 << 30) + 1, u64::MAX] {
        let mut writer = chunked(Packing::Zstd);
        let place = writer.index[1].offset as usize + 9 + 16;
        writer.bytes[place..place + 8].copy_from_slice(&size.to_le_bytes());
        writer.index[1].uncompressed = size;
        let bytes = writer.finish();
        for options in [OpenOptions::default(), scanning()] {
            let played = play(bytes.clone(), &options).unwrap();
            assert_eq!(played.messages.len(), 10);
            assert!(lost(&played)[0].contains("and the limit is 1073741824"), "{:?}", played.told());
        }
    }
}

#[test]
fn a_compression_that_nobody_knows_is_named_once() {
    let mut writer = chunked(Packing::Zstd);
    for i in [1, 2] {
        writer.index[i].compression = "brot".into();
        let place = writer.index[i].offset as usize + 9 + 32;
        writer.bytes[place..place + 4].copy_from_slice(b"brot");
    }
    let played = play_both(&writer.finish());
    assert_eq!((played.messages.len(), played.summary.message_count), (5, 5));
    let lost = lost(&played);
    assert!(lost.len() == 1 && lost[0].contains("compressed with 'brot'"), "{lost:?}");
    assert!(lost[0].ends_with("2 such chunks are skipped"));
    assert_eq!(played.summary.chunks.iter().map(|chunks| chunks.count).collect::<Vec<_>>(), [2, 1]);
}

#[test]
fn messages_of_a_channel_that_is_never_described_are_counted() {
    let mut writer = Writer::with_channels(1);
    writer.chunk(Packing::Zstd, &[message(1, 0, 1, b"x"), message(9, 1, 2, b"x")]);
    writer.record(message(9, 2, 3, b"x"));
    let played = play_both(&writer.finish());
    assert_eq!((played.sequences(), played.summary.message_count), (vec![0], 1));
    assert!(
        lost(&played)[0].contains("skipped: 2 messages from here on, of channel 9"),
        "{:?}",
        played.told()
    );
    assert_eq!(lost(&played).len(), 1);
}

#[test]
fn zeros_at_the_end_are_told_and_left_unread() {
    let mut writer = chunked(Packing::Zstd);
    let end = writer.at();
    writer.bytes.extend([0; 5000]);
    let played = play(writer.bytes, &OpenOptions::default()).unwrap();
    assert_eq!(played.messages.len(), 15);
    let text = format!(
        "! test.mcap, byte {end}: there are zeros where a record should be, so the rest of the data, 5000 bytes, is not read"
    );
    assert_eq!(lost(&played), [text]);
}

#[test]
fn behind_a_hole_the_index_shows_where_to_go_on() {
    let mut writer = Writer::with_channels(1);
    writer.chunk(Packing::Zstd, &chunk_of(0, 2));
    let hole = writer.at();
    writer.record(attachment("big", &[1; 300])).chunk(Packing::Lz4, &chunk_of(2, 2));
    let mut bytes = writer.finish();
    bytes[hole as usize..hole as usize + 50].fill(0);
    let played = play_both(&bytes);
    assert_eq!(played.sequences(), [0, 1, 2, 3]);
    let lost = lost(&played);
    assert!(lost.len() == 1 && lost[0].contains("up to the next chunk at byte "), "{lost:?}");
}

#[test]
fn a_length_beyond_the_file_is_no_record() {
    for op in [3, 5, 6, 9, 0x33, 0xee] {
        for length in [u64::MAX, u64::MAX - 8, 1 << 40] {
            let mut writer = chunked(Packing::Zstd);
            let mut odd = vec![op];
            odd.extend(u64::to_le_bytes(length));
            odd.extend([1; 60]);
            writer.bytes.extend(odd);
            let played = play(writer.bytes, &OpenOptions::default()).unwrap();
            assert_eq!(played.messages.len(), 15);
            assert_eq!(lost(&played).len(), 1, "{:?}", played.told());
        }
    }
}

/// A source that gives errors for some of its bytes.
struct Unreadable {
    bytes: Vec<u8>,
    hole: std::ops::Range<u64>,
}

impl Source for Unreadable {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset + buffer.len() as u64;
        if offset < self.hole.end && self.hole.start < end {
            return Err(io::Error::other("bad sector"));
        }
        buffer.copy_from_slice(&self.bytes[offset as usize..end as usize]);
        Ok(())
    }
}

#[test]
fn a_chunk_on_a_bad_sector_is_skipped() {
    let mut writer = chunked(Packing::Zstd);
    let start = writer.index[1].offset + 60;
    let bytes = writer.finish();
    for options in [OpenOptions::default(), scanning()] {
        let source = Arc::new(Unreadable { bytes: bytes.clone(), hole: start..start + 1 });
        let played = play_source(source, &options, 0, |_| true).unwrap();
        assert_eq!(played.sequences(), [0, 1, 2, 3, 4, 10, 11, 12, 13, 14]);
        assert!(lost(&played)[0].contains("the chunk can't be read (bad sector)"), "{:?}", played.told());
    }
}

#[test]
fn a_file_that_becomes_shorter_while_it_plays_is_told() {
    struct Shrunk(Vec<u8>, u64);
    impl Source for Shrunk {
        fn len(&self) -> u64 {
            self.0.len() as u64
        }
        fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
            let end = offset + buffer.len() as u64;
            // Only the summary is read at opening; later its neighbours are gone.
            if offset < self.1 && end > self.1 - 30 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            buffer.copy_from_slice(&self.0[offset as usize..end as usize]);
            Ok(())
        }
    }
    let mut writer = chunked(Packing::Zstd);
    let chunk_end = writer.index[1].offset + writer.index[1].length;
    let source = Arc::new(Shrunk(writer.finish(), chunk_end));
    let played = play_source(source, &OpenOptions::default(), 0, |_| true).unwrap();
    assert_eq!(played.messages.len(), 10);
    assert!(lost(&played)[0].contains("the file has become shorter"), "{:?}", played.told());
}

#[test]
fn what_does_not_begin_as_an_mcap_is_refused() {
    for bytes in [&b"\x89MCAP0\r"[..], b"", b"something else"] {
        assert!(matches!(play(bytes.to_vec(), &scanning()), Err(OpenError::NotARecording { .. })));
    }
}
