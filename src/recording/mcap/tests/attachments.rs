//! Files that a recording carries with it.

use super::super::testing::*;
use super::super::*;
use crate::recording::OpenOptions;

fn reader(bytes: Vec<u8>) -> McapReader {
    let (options, problems) = (OpenOptions::default(), Arc::new(Problems::default()));
    let context = OpenContext {
        path: "o.mcap".as_ref(),
        options: &options,
        problems,
        cache: Arc::default(),
        progress: &|_| {},
    };
    open_reader(Arc::new(Bytes::from(bytes)), &context).unwrap()
}

/// A file with one attachment, with this checksum instead of none.
fn file(crc: impl Fn(&[u8]) -> u32) -> Vec<u8> {
    let mut attached = attachment("map.png", b"pixels");
    let end = attached.len() - 4;
    let crc = crc(&attached[9..end]);
    attached[end..].copy_from_slice(&crc.to_le_bytes());
    [MAGIC, &record(::mcap::records::op::HEADER, &[0; 8]), &attached].concat()
}

#[test]
fn an_attachment_is_read_and_its_checksum_checked() {
    for crc in [|_: &[u8]| 0, |checked: &[u8]| crc32fast::hash(checked)] {
        let reader = reader(file(crc));
        let [attachment] = &reader.summary.attachments[..] else { panic!() };
        assert_eq!(reader.attachment(attachment).unwrap(), &b"pixels"[..]);
    }
    let reader = reader(file(|_| 7));
    let error = reader.attachment(&reader.summary.attachments[0]).unwrap_err();
    assert!(error.to_string().contains("CRC"), "{error}");
}

#[test]
fn an_attachment_that_is_not_there_any_more_is_an_error() {
    let whole = reader(file(|_| 0));
    let mut gone = whole.summary.attachments[0].clone();
    gone.bytes = u64::MAX - 9;
    assert!(whole.attachment(&gone).is_err());
    gone.bytes = 1000;
    assert_eq!(whole.attachment(&gone).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}
