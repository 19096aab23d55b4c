//! Files that are read from start to end, and held against what they say of themselves.

use super::super::testing::*;
use super::super::*;
use crate::recording::watch::Watch;
use crate::recording::{OpenOptions, Problem};

/// Remembers the messages.
#[derive(Default)]
struct Heard(Vec<(u64, usize, u64)>);

impl Watch for Heard {
    fn message(&mut self, place: Place, channel: usize, log_time: Timestamp) {
        let Place::Offset(offset) = place else { panic!("{place:?}") };
        self.0.push((offset, channel, log_time.as_nanos()));
    }

    fn lines_skipped(&mut self, _: u64, reason: String, _: u64) {
        panic!("{reason}");
    }

    fn lines_odd(&mut self, _: u64, key: &'static str, _: u64) {
        panic!("{key}");
    }
}

fn inspected(bytes: Vec<u8>) -> (Vec<(u64, usize, u64)>, Vec<Problem>) {
    let problems = Arc::new(Problems::default());
    let context = OpenContext {
        cache: Arc::default(),
        path: "test.mcap".as_ref(),
        options: &OpenOptions::default(),
        problems: Arc::clone(&problems),
        progress: &|_| {},
    };
    let mut heard = Heard::default();
    inspect(Arc::new(Bytes::from(bytes)), &context, &mut heard).unwrap();
    (heard.0, problems.list())
}

/// Three chunks of two messages each on /a and /b, out of order in the second.
fn three_chunks() -> Writer {
    let mut writer = Writer::with_channels(2);
    for times in [[1, 2], [6, 5], [7, 8]] {
        writer.chunk(Packing::Zstd, &[message(1, 0, times[0], b"x"), message(2, 0, times[1], b"x")]);
    }
    writer
}

fn kinds(problems: &[Problem]) -> Vec<ProblemKind> {
    problems.iter().map(|problem| problem.kind).collect()
}

#[test]
fn messages_are_told_in_the_order_of_the_file() {
    let mut writer = three_chunks();
    let chunks: Vec<u64> = writer.index.iter().map(|entry| entry.offset).collect();
    let loose = writer.at();
    let bytes = writer.record(message(2, 0, 3, b"x")).finish();
    let (heard, problems) = inspected(bytes);
    let [a, b, c] = chunks[..] else { panic!() };
    assert_eq!(heard, [(a, 0, 1), (a, 1, 2), (b, 0, 6), (b, 1, 5), (c, 0, 7), (c, 1, 8), (loose, 1, 3)]);
    assert!(problems.is_empty(), "{problems:?}");
}

#[test]
fn an_index_with_other_times_than_the_data_is_told() {
    let mut writer = three_chunks();
    let offset = writer.index[1].offset;
    writer.index[1].end = 5;
    let (heard, problems) = inspected(writer.finish());
    assert_eq!(heard.len(), 6);
    let [problem] = &problems[..] else { panic!("{problems:?}") };
    assert_eq!((problem.kind, &problem.place), (ProblemKind::Index, &Place::Offset(offset)));
    assert!(problem.text.contains("000000006Z"), "{}", problem.text);
}

#[test]
fn an_index_that_leaves_out_a_channel_is_told() {
    let mut writer = three_chunks();
    writer.index[1].channels.remove(&2);
    let (_, problems) = inspected(writer.finish());
    assert_eq!(kinds(&problems), [ProblemKind::Index]);
    assert!(problems[0].text.contains("does not name all channels"), "{}", problems[0].text);
}

#[test]
fn statistics_that_count_other_messages_are_told() {
    let mut writer = three_chunks();
    writer.counts.insert(1, 4);
    let (_, problems) = inspected(writer.finish());
    assert_eq!(kinds(&problems), [ProblemKind::Index]);
    assert!(problems[0].text.contains("tell 7 messages, but there are 6"), "{}", problems[0].text);
}

#[test]
fn the_crc_of_the_data_section_is_checked() {
    let mut writer = three_chunks();
    let crc = crc32fast::hash(&writer.bytes);
    let at = writer.bytes.len();
    let mut bytes = writer.finish();
    bytes[at + 9..at + 13].copy_from_slice(&crc.to_le_bytes());
    assert!(inspected(bytes.clone()).1.is_empty());
    bytes[at + 9] ^= 1;
    let (heard, problems) = inspected(bytes);
    assert_eq!((heard.len(), kinds(&problems)), (6, vec![ProblemKind::Crc]));
    assert_eq!(problems[0].place, Place::Offset(at as u64));
}

#[test]
fn the_crc_of_an_attachment_is_checked() {
    let mut record = attachment("notes.txt", b"some notes");
    let length = record.len();
    let crc = crc32fast::hash(&record[9..length - 4]);
    record[length - 4..].copy_from_slice(&crc.to_le_bytes());
    assert!(inspected(three_chunks().record(record.clone()).finish()).1.is_empty());
    record[length - 8] ^= 1;
    let (_, problems) = inspected(three_chunks().record(record).finish());
    assert_eq!(kinds(&problems), [ProblemKind::Crc]);
    assert!(problems[0].text.contains("'notes.txt'"), "{}", problems[0].text);
}

#[test]
fn damage_is_told_for_what_it_is() {
    let bytes = three_chunks().finish();
    let second = three_chunks().index[1].clone();
    let mut broken = bytes.clone();
    // The CRC of the chunk's records, behind its frame, two times, and a size.
    broken[second.offset as usize + 9 + 24] ^= 1;
    let (heard, problems) = inspected(broken);
    assert_eq!((heard.len(), kinds(&problems)), (4, vec![ProblemKind::Crc]));
    assert!(problems[0].data_lost);

    let mut summary = bytes.clone();
    let place = bytes.len() - 60;
    summary[place] ^= 1;
    assert!(kinds(&inspected(summary).1).contains(&ProblemKind::Crc));

    let undescribed = Writer::with_channels(1).chunk(Packing::None, &[message(7, 0, 1, b"x")]).finish();
    // An index that names a channel which is nowhere described helps nobody.
    assert_eq!(kinds(&inspected(undescribed).1), [ProblemKind::NoIndex, ProblemKind::Channel]);
}

#[test]
fn a_file_with_any_byte_missing_or_changed_is_read_without_panic() {
    let bytes = three_chunks().record(attachment("a", b"data")).finish();
    for at in 8..bytes.len() {
        inspected(bytes[..at].to_vec());
        for change in [1, 0x80, 0xff] {
            let mut changed = bytes.clone();
            changed[at] ^= change;
            inspected(changed);
        }
    }
}
