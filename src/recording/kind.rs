//! What a file is, found by its content.

use std::fmt;
use std::io;

use super::Source;

/// The format of a recording.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// MCAP (<https://mcap.dev/spec>).
    Mcap,
    /// One JSON object a line.
    Jsonl,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Mcap => "MCAP",
            Kind::Jsonl => "JSONL",
        })
    }
}

/// How much of a file is looked at.
const HEAD: u64 = 64 * 1024;

/// First bytes of files that people take for recordings, and what to tell them.
const OTHERS: &[(&[u8], &str)] = &[
    (b"#ROSBAG V", "this is a ROS 1 bag; convert it with `mcap convert in.bag out.mcap`"),
    (
        b"SQLite format 3\0",
        "this is a SQLite database, as rosbag2 writes .db3 files; convert it with `mcap convert in.db3 out.mcap`",
    ),
    (b"ULog\x01\x12\x35", "this is a PX4 ULog; convert it to MCAP"),
    (b"\x1f\x8b", "this is gzip data; unpack it with gunzip"),
    (b"\x28\xb5\x2f\xfd", "this is Zstandard data; unpack it with `zstd -d`"),
    (b"\x04\x22\x4d\x18", "this is LZ4 data; unpack it with `lz4 -d`"),
    (b"BZh", "this is bzip2 data; unpack it with bunzip2"),
    (b"\xfd7zXZ\0", "this is xz data; unpack it with unxz"),
    (b"PK\x03\x04", "this is a ZIP archive; unpack it"),
    (b"\x7fELF", "this is a program"),
    (b"\x89PNG", "this is a PNG image"),
    (b"\xff\xd8\xff", "this is a JPEG image"),
    (b"%PDF", "this is a PDF document"),
    (b"\x89HDF", "this is HDF5 data; convert it to MCAP or JSONL"),
    (b"PAR1", "this is Parquet data; convert it to MCAP or JSONL"),
];

/// Finds out what `source` is. Where it is no recording, the error says what it looks like.
pub(super) fn detect(source: &dyn Source) -> io::Result<Result<Kind, String>> {
    if source.is_empty() {
        return Ok(Err("the file is empty".into()));
    }
    let head = source.read_at(0, source.len().min(HEAD) as usize)?;
    Ok(detect_head(&head))
}

fn detect_head(head: &[u8]) -> Result<Kind, String> {
    if head.starts_with(::mcap::MAGIC) {
        return Ok(Kind::Mcap);
    }
    if ::mcap::MAGIC.starts_with(head) {
        return Err("this is the start of an MCAP file, cut off within its first bytes".into());
    }
    if head.starts_with(b"\x89MCAP") {
        return Err("this is MCAP of a version other than 0, which is the only one known".into());
    }
    if let Some((_, what)) = OTHERS.iter().find(|(start, _)| head.starts_with(start)) {
        return Err((*what).into());
    }
    if head.iter().all(|&byte| byte == 0) {
        return Err(
            "the file holds nothing but zeros, as after a crash before its data reached the disk".into()
        );
    }
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let object = |line: &&[u8]| line.trim_ascii_start().first() == Some(&b'{');
    // Zeros may come later: a crash can leave them behind the last line that reached the disk.
    let mut lines = text.split(|&byte| byte == b'\n').take_while(|line| !line.contains(&0));
    if lines.any(|line| object(&line)) {
        return Ok(Kind::Jsonl);
    }
    if text.trim_ascii_start().first() == Some(&b'[') {
        return Err(
            "this looks like one JSON array; JSONL has one object a line (`jq -c '.[]'` makes it so)".into(),
        );
    }
    let what = if head.contains(&0) || std::str::from_utf8(&head[..head.len().min(512)]).is_err() {
        "binary data of no known kind"
    } else {
        "text without JSON objects"
    };
    Err(format!("this looks like {what}; a recording is MCAP or JSONL (one JSON object a line)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_is_known_by_its_first_bytes() {
        assert_eq!(detect_head(b"\x89MCAP0\r\n\x01"), Ok(Kind::Mcap));
        assert_eq!(detect_head(b"\xef\xbb\xbf\r\n {\"topic\""), Ok(Kind::Jsonl));
        assert_eq!(detect_head(b"{\"topic\": 1}\n\0\0\0"), Ok(Kind::Jsonl));
        assert_eq!(detect_head(b"starting recorder\n{\"topic\": 1}"), Ok(Kind::Jsonl));
    }

    #[test]
    fn what_is_no_recording_is_named() {
        for (head, word) in [
            (&b"#ROSBAG V2.0\n"[..], "ROS 1 bag"),
            (b"\x1f\x8b\x08", "gzip"),
            (b"SQLite format 3\0", "rosbag2"),
            (b"\x89MCAP1\r\n", "version"),
            (b"\x89MCAP", "cut off"),
            (b"\0\0\0\0", "zeros"),
            (b"[{\"topic\": 1}]", "array"),
            (b"hello\n", "text"),
            (b"\xff\xfe\x00\x01", "binary"),
        ] {
            let reason = detect_head(head).unwrap_err();
            assert!(reason.contains(word), "{reason}");
        }
        assert_eq!(detect(&bytes::Bytes::new()).unwrap(), Err("the file is empty".into()));
    }
}
