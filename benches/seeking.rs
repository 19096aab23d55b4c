//! How long it takes to open a recording of 2 GB, with an index and without, and to jump in it: from the request to
//! the state before the new position and to the first message after it.

#[expect(dead_code, reason = "the bench of serving uses the rest")]
#[path = "support/client.rs"]
mod client;
#[path = "support/decompress.rs"]
mod decompress;
#[path = "support/file.rs"]
mod file;
#[expect(dead_code, reason = "the bench of serving uses the rest")]
#[path = "support/program.rs"]
mod program;
#[expect(dead_code, reason = "the bench of serving uses the rest")]
#[path = "support/shapes.rs"]
mod shapes;

use std::path::Path;
use std::time::{Duration, Instant};

use client::Client;
use decompress::decompress;
use mcap::Compression;
use program::Fgplay;
use shapes::{ROBOT, START};

/// 14 MB a second, of which half is noise: 2 GB as zstd leaves it.
const SECONDS: u64 = 288;
const SEEKS: usize = 100;
const OPENINGS: usize = 20;
/// Of what takes seconds.
const SCANS: usize = 5;

fn main() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("robot.mcap");
    ROBOT.write(&path, SECONDS, Some(Compression::Zstd));
    let size = std::fs::metadata(&path).expect("the file").len();
    // Into the page cache.
    std::io::copy(&mut std::fs::File::open(&path).expect("the file"), &mut std::io::sink())
        .expect("the file");
    println!("{} of {SECONDS} s, {:.2} GB (zstd)", ROBOT.name, size as f64 / 1e9);
    opening(&path);
    scanning(&path, &folder.path().join("cut.mcap"));
    println!("{SEEKS} random seeks");

    let server = Fgplay::start([path.to_str().expect("a path"), "--start-paused"]);
    let mut client = Client::connect(server.port, "foxglove.websocket.v1").expect("a connection");
    client.subscribe_to_all(ROBOT.topics.len()).expect("the channels");
    let mut random = 1u64;
    let (mut states, mut flows) = (Vec::new(), Vec::new());
    for _ in 0..SEEKS {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let target =
            START + 1_000_000_000 + (random >> 33) % (SECONDS - 2) * 1_000_000_000 + random % 1_000_000_000;
        let (state, flow) = seek(&mut client, target).expect("a stream");
        states.push(state);
        flows.push(flow);
        pause(&mut client).expect("a stream");
    }
    report("state of all topics", states);
    report("first message after", flows);
    let (_, memory) = server.usage();
    println!("memory at most: {:.1} MB", memory as f64 / 1e6);
}

/// With an index: until a client is connected, and from its subscription to the first message.
fn opening(path: &Path) {
    let (mut connected, mut first) = (Vec::new(), Vec::new());
    for _ in 0..OPENINGS {
        let started = Instant::now();
        let server = Fgplay::start([path.to_str().expect("a path")]);
        let mut client = Client::connect(server.port, "foxglove.websocket.v1").expect("a connection");
        connected.push(started.elapsed());
        client.subscribe_to_all(ROBOT.topics.len()).expect("the channels");
        let subscribed = Instant::now();
        loop {
            let frame = client.next().expect("a stream");
            if frame.kind == 2 && frame.head[0] == 1 {
                break;
            }
        }
        first.push(subscribed.elapsed());
    }
    report("connected after", connected);
    report("then first message", first);
}

/// Without an index: how long the scan takes, as a ratio to reading and decompressing all chunks on one thread.
fn scanning(path: &Path, cut: &Path) {
    let bytes = std::fs::read(path).expect("the recording");
    let summary = mcap::read::footer(&bytes).expect("a footer").summary_start as usize;
    std::fs::write(cut, &bytes[..summary]).expect("room on the disk");
    drop(bytes);
    let (mut scans, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..SCANS {
        bare.push(decompress(path));
        let started = Instant::now();
        let _server = Fgplay::start([cut.to_str().expect("a path")]);
        scans.push(started.elapsed());
    }
    report("without an index", scans.clone());
    let median = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        times[times.len() / 2].as_secs_f64()
    };
    println!("{:.2} times as long as reading and decompressing", median(&mut scans) / median(&mut bare));
}

/// Goes to `target` and plays. Gives how long it took until the last message before it was there for every
/// topic, and until the first one from then on.
fn seek(client: &mut Client, target: u64) -> std::io::Result<(Duration, Duration)> {
    let asked = Instant::now();
    client.send_binary(&request(0, Some(target)))?;
    let mut before = vec![false; ROBOT.topics.len()];
    let mut state = None;
    let mut arrived = false;
    loop {
        let frame = client.next()?;
        if frame.kind != 2 {
            continue;
        }
        let time_at = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&frame.head[at..at + 8]);
            u64::from_le_bytes(bytes)
        };
        match frame.head[0] {
            2 => arrived |= time_at(1) == target,
            1 if arrived && time_at(5) < target => {
                before[frame.head[1] as usize] = true;
                if before.iter().all(|before| *before) {
                    state = Some(asked.elapsed());
                }
            }
            1 if arrived => {
                let state = state.expect("the state of every topic before the first message after it");
                return Ok((state, asked.elapsed()));
            }
            _ => {}
        }
    }
}

/// Stands still, and takes what was on its way.
fn pause(client: &mut Client) -> std::io::Result<()> {
    client.send_binary(&request(1, None))?;
    while client.next()?.head.first() != Some(&5) {}
    Ok(())
}

/// A Playback Control Request.
fn request(command: u8, seek: Option<u64>) -> Vec<u8> {
    let mut request = vec![3, command];
    request.extend(1f32.to_le_bytes());
    request.push(seek.is_some().into());
    request.extend(seek.unwrap_or(0).to_le_bytes());
    request.extend(0u32.to_le_bytes());
    request
}

fn report(name: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: usize| times[(times.len() - 1) * share / 100].as_secs_f64() * 1e3;
    println!("{name:<22} median {:.1} ms, p95 {:.1} ms, longest {:.1} ms", at(50), at(95), at(100));
}
