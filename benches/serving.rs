//! How fast and how exactly recordings are served, side by side with a bare server that writes the same frames,
//! encoded beforehand (`limit`), a bare pacer, and other players where they are installed.
//!
//! Another player is run where the environment names its command, with `{file}` and `{port}` in it:
//! `FGPLAY_BENCH_SDK` (`ws_stream_mcap` of the Foxglove SDK), `FGPLAY_BENCH_TS` (`mcap-play` of
//! `@foxglove/ws-protocol-examples`), `FGPLAY_BENCH_PY` (playback control example of the SDK for Python).
//! Words on the command line choose what is measured: `throughput`, `pacing`, `fanout`.

#[allow(dead_code, reason = "each bench uses a part of it")]
#[path = "support/client.rs"]
mod client;
#[path = "support/limit.rs"]
mod limit;
#[allow(dead_code, reason = "each bench uses a part of it")]
#[path = "support/program.rs"]
mod program;
#[allow(dead_code, reason = "each bench uses a part of it")]
#[path = "support/shapes.rs"]
mod shapes;

use std::path::{Path, PathBuf};
use std::time::Instant;

use client::Client;
use mcap::Compression;
use program::{Fgplay, Peer};
use shapes::{BIG, IMU1K, ROBOT, SMALL, START, Shape};

const ROUNDS: usize = 5;
const PROTOCOL: &str = "foxglove.websocket.v1";
const PEERS: [(&str, &str); 3] =
    [("sdk", "FGPLAY_BENCH_SDK"), ("ts", "FGPLAY_BENCH_TS"), ("py", "FGPLAY_BENCH_PY")];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wanted = |word: &str| words.is_empty() || words.iter().any(|wanted| wanted == word);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    for (name, variable) in PEERS {
        if std::env::var_os(variable).is_none() {
            println!("{name} is not measured: {variable} does not name its command");
        }
    }
    if wanted("throughput") {
        println!("\nas fast as it goes, one client, medians of {ROUNDS}");
        throughput(folder, SMALL, 60, None);
        throughput(folder, ROBOT, 60, Some(Compression::Zstd));
        throughput(folder, BIG, 15, None);
    }
    if wanted("pacing") {
        println!("\nlateness at rate 1, one client, in us (of {ROUNDS} runs the median of each)");
        pacing(folder, IMU1K, 10, None);
        pacing(folder, ROBOT, 10, Some(Compression::Zstd));
    }
    if wanted("fanout") {
        println!("\nrobot at rate 1 for 10 s");
        fan_out(folder);
    }
}

fn recording(folder: &Path, shape: Shape, seconds: u64, compression: Option<Compression>) -> PathBuf {
    let path = folder.join(format!("{}-{seconds}.mcap", shape.name));
    if !path.exists() {
        shape.write(&path, seconds, compression);
    }
    path
}

/// What a client got.
struct Run {
    messages: u64,
    bytes: u64,
    seconds: f64,
    lost: u64,
    /// How much later than the earliest one each message came, in nanoseconds, by its log time.
    lateness: Vec<u64>,
    /// Messages that did not come right after a Time with their log time.
    mistimed: u64,
}

/// Subscribes to everything, and takes what comes until the server closes or `expected` messages are there.
fn take(mut client: Client, shape: Shape, expected: u64, rate: f64) -> Run {
    client.subscribe_to_all(shape.topics.len()).expect("the channels");
    let mut run = Run { messages: 0, bytes: 0, seconds: 0.0, lost: 0, lateness: Vec::new(), mistimed: 0 };
    let mut came: Vec<(Instant, u64)> =
        Vec::with_capacity(if rate.is_finite() { expected as usize } else { 0 });
    let (mut first, mut next, mut time) = (None, 0, 0);
    let eight = |bytes: &[u8]| u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"));
    while run.messages < expected {
        let Ok(frame) = client.next() else { break };
        match (frame.kind, frame.head.first()) {
            (2, Some(1)) => {
                first.get_or_insert_with(Instant::now);
                let (log_time, number) = (eight(&frame.head[5..]), eight(&frame.head[13..]));
                run.messages += 1;
                run.bytes += frame.length as u64;
                run.lost += number.saturating_sub(next);
                next = number + 1;
                run.mistimed += u64::from(time != log_time);
                if rate.is_finite() {
                    came.push((Instant::now(), log_time));
                }
            }
            (2, Some(2)) => time = eight(&frame.head[1..]),
            (8, _) => break,
            _ => {}
        }
    }
    let first = first.unwrap_or_else(Instant::now);
    run.seconds = first.elapsed().as_secs_f64();
    let late = |(at, log_time): &(Instant, u64)| {
        at.duration_since(first).as_nanos() as i64 - ((log_time - START) as f64 / rate) as i64
    };
    let earliest = came.iter().map(late).min().unwrap_or(0);
    run.lateness = came.iter().map(|came| (late(came) - earliest) as u64).collect();
    run.lateness.sort_unstable();
    run
}

fn throughput(folder: &Path, shape: Shape, seconds: u64, compression: Option<Compression>) {
    let path = recording(folder, shape, seconds, compression);
    let file = path.to_str().expect("a path");
    let expected = shape.messages(seconds);
    let connect = |port| Client::connect(port, PROTOCOL).expect("a connection");
    let mut rows: Vec<(&str, Vec<Run>)> = Vec::new();
    for _ in 0..ROUNDS {
        let server = limit::serve(&path, limit::Pace::AtOnce);
        push(&mut rows, "limit", take(connect(server), shape, expected, f64::INFINITY));
        let server = Fgplay::start([file, "--rate", "max"]);
        push(&mut rows, "fgplay", take(connect(server.port), shape, expected, f64::INFINITY));
    }
    let median = |runs: &[Run]| {
        let mut rates: Vec<f64> = runs.iter().map(|run| run.messages as f64 / run.seconds).collect();
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    };
    let limit = median(&rows[0].1);
    for (name, runs) in &rows {
        let rate = median(runs);
        let run = &runs[0];
        println!(
            "{:<7} {name:<7} {:>12.0} messages/s {:>8.0} MB/s {:>7.1} % of limit  {} lost, {} with another Time",
            shape.name,
            rate,
            rate * run.bytes as f64 / run.messages as f64 / 1e6,
            100.0 * rate / limit,
            expected - run.messages + run.lost,
            run.mistimed,
        );
    }
}

fn push<'a>(rows: &mut Vec<(&'a str, Vec<Run>)>, name: &'a str, run: Run) {
    match rows.iter_mut().find(|(other, _)| *other == name) {
        Some((_, runs)) => runs.push(run),
        None => rows.push((name, vec![run])),
    }
}

fn pacing(folder: &Path, shape: Shape, seconds: u64, compression: Option<Compression>) {
    let path = recording(folder, shape, seconds, compression);
    let file = path.to_str().expect("a path");
    let expected = shape.messages(seconds);
    let connect = |port| Client::connect(port, PROTOCOL).expect("a connection");
    let mut rows: Vec<(&str, Vec<Run>)> = Vec::new();
    for _ in 0..ROUNDS {
        let server = limit::serve(&path, limit::Pace::OnTime);
        push(&mut rows, "pacer", take(connect(server), shape, expected, 1.0));
        let server = Fgplay::start([file]);
        push(&mut rows, "fgplay", take(connect(server.port), shape, expected, 1.0));
        for (name, variable) in PEERS {
            if let Some(peer) = Peer::start(variable, file) {
                push(&mut rows, name, take(peer.connect(PROTOCOL), shape, expected, 1.0));
            }
        }
    }
    for (name, runs) in &rows {
        let at = |share: f64| {
            let mut values: Vec<u64> = runs
                .iter()
                .filter_map(|run| run.lateness.get((run.lateness.len() as f64 * share) as usize).copied())
                .collect();
            values.sort_unstable();
            values.get(values.len() / 2).copied().unwrap_or(0) as f64 / 1e3
        };
        println!(
            "{:<7} {name:<7} p50 {:>8.0}  p99 {:>8.0}  p99.9 {:>8.0}   {} lost, {} with another Time",
            shape.name,
            at(0.5),
            at(0.99),
            at(0.999),
            expected - runs[0].messages + runs[0].lost,
            runs[0].mistimed,
        );
    }
}

fn fan_out(folder: &Path) {
    const SECONDS: u64 = 10;
    let path = recording(folder, ROBOT, SECONDS, Some(Compression::Zstd));
    let file = path.to_str().expect("a path");
    let expected = ROBOT.messages(SECONDS);
    for clients in [1, 10, 50] {
        // Paused until all are there, since who comes late would miss what was before.
        let server = Fgplay::start([file, "--delay", "1"]);
        let port = server.port;
        let threads: Vec<_> = (0..clients)
            .map(|_| {
                std::thread::spawn(move || {
                    let client = Client::connect(port, PROTOCOL).expect("a connection");
                    take(client, ROBOT, expected, 1.0)
                })
            })
            .collect();
        let runs: Vec<Run> = threads.into_iter().map(|thread| thread.join().expect("a client")).collect();
        let mut lateness: Vec<u64> = runs.iter().flat_map(|run| run.lateness.iter().copied()).collect();
        lateness.sort_unstable();
        let (cpu, memory) = server.usage();
        println!(
            "{clients:>3} clients  fgplay  CPU {cpu:.2} s  memory at most {:.1} MB  lateness p50 {:.0} us, p99 {:.0} us  {} lost",
            memory as f64 / 1e6,
            lateness[lateness.len() / 2] as f64 / 1e3,
            lateness[lateness.len() * 99 / 100] as f64 / 1e3,
            runs.iter().map(|run| expected - run.messages + run.lost).sum::<u64>(),
        );
    }
}
