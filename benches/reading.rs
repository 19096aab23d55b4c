//! How fast recordings are read, each as a ratio to what other libraries need for the same in the same run.
//!
//! The files are made in a temporary folder. Figures are medians of five rounds, in which what is measured
//! and its reference take turns.

#[path = "support/file.rs"]
mod file;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fgplay::recording::{OpenOptions, Problems, Recording};
use fgplay::time::Timestamp;
use mcap::Compression;
use serde::de::IgnoredAny;

const ROUNDS: usize = 5;
const MEGABYTES: usize = 100;
const START: u64 = 1_700_000_000_000_000_000;

fn main() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    println!("{:<24} {:>10} {:>12}", "", "MB/s", "messages/s");
    jsonl(folder.path());
    for (name, compression) in
        [("none", None), ("lz4", Some(Compression::Lz4)), ("zstd", Some(Compression::Zstd))]
    {
        for (size, label) in [(100, "100B"), (1_000_000, "1MB")] {
            let path = mcap_file(folder.path(), compression, size);
            mcap_bench(&format!("mcap/read/{name}/{label}"), &path);
        }
    }
}

fn jsonl(folder: &Path) {
    let path = folder.join("bench.jsonl");
    let mut file = file::create(&path);
    let (mut bytes, mut lines) = (0, 0);
    while bytes < MEGABYTES * 1_000_000 {
        let time = START + lines * 5_000_000;
        let x = lines as f64 * 0.001;
        let line = format!(
            "{{\"topic\":\"/imu\",\"log_time\":{time},\"data\":{{\"header\":{{\"frame_id\":\"imu\",\"seq\":{lines}}},\
             \"orientation\":{{\"x\":{x:.6},\"y\":{:.6},\"z\":0.0,\"w\":1.0}},\"ok\":true,\"samples\":[1.0,2.5,{x:.3}]}}}}\n",
            x * 2.0
        );
        file.write_all(line.as_bytes()).expect("room on the disk");
        bytes += line.len();
        lines += 1;
    }
    file.into_inner().expect("room on the disk");
    file::sync(&path);
    let ours = || open(&path).message_count();
    let theirs = || {
        let text = std::fs::read(&path).expect("the file");
        let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.fold(0u64, |count, line| {
            serde_json::from_slice::<IgnoredAny>(line).expect("JSON");
            count + 1
        })
    };
    let (time, reference) = compare(ours, theirs);
    report("jsonl/open", bytes, lines, time, ("serde_json, each line ignored", reference));
    let recording = open(&path);
    let (time, reference) = compare(|| read_all(&recording), theirs);
    report("jsonl/read", bytes, lines, time, ("serde_json, each line ignored", reference));
}

/// An MCAP file with payloads of which half is noise.
fn mcap_file(folder: &Path, compression: Option<Compression>, size: usize) -> PathBuf {
    let path = folder.join("bench.mcap");
    let file = file::create(&path);
    let options = mcap::WriteOptions::new().compression(compression).chunk_size(Some(1024 * 1024));
    let mut writer = options.create(file).expect("a writer");
    let channel = writer.add_channel(0, "/bench", "cdr", &BTreeMap::new()).expect("a channel");
    let mut noise = 1u64;
    let mut payload = vec![0; size];
    for sequence in 0..(MEGABYTES * 1_000_000 / (size + 31)) as u32 {
        for bytes in payload[..size / 2].chunks_mut(8) {
            noise = noise.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            bytes.copy_from_slice(&noise.to_be_bytes()[..bytes.len()]);
        }
        let time = START + u64::from(sequence) * 100_000;
        let header = mcap::records::MessageHeader {
            channel_id: channel,
            sequence,
            log_time: time,
            publish_time: time,
        };
        writer.write_to_known_channel(&header, &payload).expect("room on the disk");
    }
    writer.finish().expect("room on the disk");
    drop(writer);
    file::sync(&path);
    path
}

fn mcap_bench(name: &str, path: &Path) {
    let recording = open(path);
    let theirs = || {
        let bytes = std::fs::read(path).expect("the file");
        mcap::MessageStream::new(&bytes)
            .expect("MCAP")
            .map(|message| message.expect("a message").data.len() as u64)
            .sum::<u64>()
    };
    let (time, reference) = compare(|| read_all(&recording), theirs);
    let messages = recording.message_count();
    let bytes = MEGABYTES * 1_000_000;
    report(name, bytes, messages, time, ("mcap crate, MessageStream", reference));
}

fn open(path: &Path) -> Recording {
    let problems = Arc::new(Problems::default());
    Recording::open(&[path], &OpenOptions::default(), problems, &|_| {}).expect("a recording")
}

/// Reads every message; gives their size so that nothing is optimised away.
fn read_all(recording: &Recording) -> u64 {
    let mut cursor = recording.cursor(Timestamp::MIN);
    let mut bytes = 0;
    while let Some(message) = cursor.next() {
        bytes += message.data.len() as u64;
    }
    bytes
}

/// The median times of two pieces of work that take turns.
fn compare<A, B>(mut ours: impl FnMut() -> A, mut theirs: impl FnMut() -> B) -> (Duration, Duration) {
    let mut times = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        times.0.push(time(&mut ours));
        times.1.push(time(&mut theirs));
    }
    times.0.sort();
    times.1.sort();
    (times.0[ROUNDS / 2], times.1[ROUNDS / 2])
}

fn time<T>(work: &mut impl FnMut() -> T) -> Duration {
    let start = Instant::now();
    std::hint::black_box(work());
    start.elapsed()
}

fn report(name: &str, bytes: usize, messages: u64, time: Duration, reference: (&str, Duration)) {
    let seconds = time.as_secs_f64();
    print!("{name:<24} {:>10.0} {:>12.0}", bytes as f64 / seconds / 1e6, messages as f64 / seconds);
    println!("   {:.2}x the speed of {}", reference.1.as_secs_f64() / seconds, reference.0);
}
