//! How fast and how exactly recordings are served, side by side with a bare server that writes the same frames,
//! encoded beforehand (`limit`, and with the frames on time `pacer`), and with other players where they are
//! installed.
//!
//! Another player is run where the environment names its command, with `{file}` and `{port}` in it:
//! `FGPLAY_BENCH_SDK` (`ws_stream_mcap` of the Foxglove SDK), `FGPLAY_BENCH_TS` (`mcap-play` of
//! `@foxglove/ws-protocol-examples`, made to take its port from outside; `FGPLAY_BENCH_TS_FAST` a copy that does
//! not wait), `FGPLAY_BENCH_PY` (the playback control example of the SDK for Python).
//! Each is measured five times, or as often as `FGPLAY_BENCH_ROUNDS` says.
//! Words on the command line choose what is measured: `throughput`, `shapes`, `pacing`, `drift`, `fanout`, `longer`,
//! `slow`, `far`; and of `throughput` and `pacing`, which recordings: `small`, `robot`, `big`, `json`, `imu1k`.
//! The figures are written to `target/bench/serving.json` as well.

#[path = "support/client.rs"]
mod client;
#[path = "support/decompress.rs"]
mod decompress;
#[path = "support/file.rs"]
mod file;
#[path = "support/limit.rs"]
mod limit;
#[path = "support/program.rs"]
mod program;
#[path = "support/run.rs"]
mod run;
#[path = "support/shapes.rs"]
mod shapes;
#[path = "support/slow.rs"]
mod slow;

use std::path::{Path, PathBuf};
use std::time::Duration;

use decompress::decompress;
use mcap::Compression;
use program::{Fgplay, Peer, connect};
use run::{Manner, Run, median, quantile, take};
use serde_json::{Value, json};
use shapes::{BIG, CLOUD, Encoding, IMU1K, JSON, ROBOT, SMALL, Shape};

/// How often each is measured, where `FGPLAY_BENCH_ROUNDS` does not say how often.
const ROUNDS: usize = 5;
/// Some players know only the one, some only the other.
const PROTOCOLS: &str = "foxglove.sdk.v1, foxglove.websocket.v1";

/// Another player: its name, the variables with its command, also as fast as it goes, and how it is made to play.
struct Other {
    name: &'static str,
    variable: &'static str,
    fast: &'static str,
    on_request: bool,
}

const OTHERS: [Other; 3] = [
    Other { name: "sdk", variable: "FGPLAY_BENCH_SDK", fast: "FGPLAY_BENCH_SDK", on_request: true },
    Other { name: "ts", variable: "FGPLAY_BENCH_TS", fast: "FGPLAY_BENCH_TS_FAST", on_request: false },
    Other { name: "py", variable: "FGPLAY_BENCH_PY", fast: "FGPLAY_BENCH_PY", on_request: true },
];

impl Other {
    fn manner(&self, speed: f32) -> Manner {
        if self.on_request { Manner::OnRequest { speed } } else { Manner::ByItself }
    }
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    if let [word, path, pace, clients] = &words[..]
        && word == "limit"
    {
        let pace = if pace == "on-time" { limit::Pace::OnTime } else { limit::Pace::AtOnce };
        // Its clients may leave before all is written.
        limit::serve(Path::new(path), pace, clients.parse().expect("a number")).unwrap_or_default();
        return;
    }
    let is_shape = |word: &str| [SMALL, ROBOT, BIG, IMU1K, JSON].iter().any(|shape| shape.name == word);
    let (shapes, parts): (Vec<_>, Vec<_>) = words.into_iter().partition(|word| is_shape(word));
    let wanted = |word: &str| parts.is_empty() || parts.iter().any(|wanted| wanted == word);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let rounds = std::env::var("FGPLAY_BENCH_ROUNDS");
    let rounds = rounds.map_or(ROUNDS, |rounds| rounds.parse().expect("FGPLAY_BENCH_ROUNDS is a number"));
    let mut bench = Bench { folder: folder.path().to_owned(), rounds, shapes, figures: Vec::new() };
    for other in OTHERS {
        if std::env::var_os(other.variable).is_none() {
            println!("{} is not measured: {} does not name its command", other.name, other.variable);
        }
    }
    if wanted("throughput") {
        bench.heading(&format!("as fast as it goes, one client, medians of {rounds}"));
        bench.throughput(SMALL, 60, None, true);
        bench.throughput(ROBOT, 60, Some(Compression::Zstd), true);
        bench.throughput(BIG, 15, None, true);
        bench.throughput(JSON, 300, None, true);
    }
    if wanted("shapes") {
        bench.heading(&format!("as fast as it goes, one client, other compressions, medians of {rounds}"));
        for compression in [Some(Compression::Lz4), Some(Compression::Zstd)] {
            bench.throughput(SMALL, 60, compression, false);
        }
        for compression in [None, Some(Compression::Lz4)] {
            bench.throughput(ROBOT, 60, compression, false);
        }
        for compression in [Some(Compression::Lz4), Some(Compression::Zstd)] {
            bench.throughput(BIG, 15, compression, false);
            bench.throughput(JSON, 300, compression, false);
        }
    }
    if wanted("pacing") {
        bench
            .heading(&format!("lateness at rate 1, one client, in us (of {rounds} runs the median of each)"));
        bench.pacing(IMU1K, 10, None);
        bench.pacing(ROBOT, 10, Some(Compression::Zstd));
    }
    if wanted("drift") {
        bench
            .heading("drift in 60 s (cloud: 2 s): median lateness of the first and of the last tenth, in us");
        bench.drift();
    }
    if wanted("fanout") {
        bench.heading(&format!("robot at rate 1 for 10 s, medians of {rounds}"));
        for clients in [1, 10, 50] {
            bench.fan_out(clients, 10, Some(Compression::Zstd));
        }
        // What serving costs, without what unpacking costs every player.
        bench.fan_out(1, 10, None);
    }
    if wanted("longer") {
        // Of what is measured above for one client, starting is a part.
        bench.heading(&format!("robot at rate 1 for 30 s, medians of {rounds}"));
        bench.fan_out(1, 30, Some(Compression::Zstd));
    }
    if wanted("slow") {
        bench.heading(&format!(
            "robot at rate 1 for 20 s: beside a client that takes 100 kB/s, {rounds} rounds"
        ));
        bench.slow();
    }
    if wanted("far") {
        bench.heading("robot at rate 1 for 10 s: with how many clients the first message is dropped");
        bench.far();
    }
    bench.save();
}

struct Bench {
    folder: PathBuf,
    rounds: usize,
    /// The names of the recordings that are wanted, if not all are.
    shapes: Vec<String>,
    figures: Vec<Value>,
}

/// The runs of one player.
struct Row<T> {
    name: &'static str,
    runs: Vec<T>,
}

fn row<'a, T>(rows: &'a mut Vec<Row<T>>, name: &'static str) -> &'a mut Vec<T> {
    let place = rows.iter().position(|row| row.name == name).unwrap_or_else(|| {
        rows.push(Row { name, runs: Vec::new() });
        rows.len() - 1
    });
    &mut rows[place].runs
}

/// What several clients got at once, and what that cost the server.
struct Crowd {
    /// CPU time in seconds.
    cpu: f64,
    /// The most memory that it had, in bytes.
    memory: u64,
    /// How late messages were, over all clients, in nanoseconds.
    p50: u64,
    p99: u64,
    lost: u64,
    missed: u64,
}

impl Crowd {
    fn new(runs: &[Run], (cpu, memory): (f64, u64)) -> Self {
        let all: Vec<u64> = runs.iter().flat_map(|run| run.lateness.iter().copied()).collect();
        let [p50, p99] = [0.5, 0.99].map(|share| quantile(&all, share));
        let lost = runs.iter().map(|run| run.lost).sum();
        Crowd { cpu, memory, p50, p99, lost, missed: runs.iter().map(|run| run.missed).sum() }
    }
}

fn compression_name(compression: Option<Compression>) -> &'static str {
    match compression {
        Some(Compression::Zstd) => "zstd",
        Some(Compression::Lz4) => "lz4",
        _ => "none",
    }
}

fn limit(path: &str, pace: &str, clients: usize) -> Peer {
    Peer::this_program(&["limit", path, pace, &clients.to_string()])
}

/// What a client gets of a recording at a rate, with these options.
fn play_at(rate: f64, path: &Path, shape: Shape, seconds: u64, options: &[&str]) -> Run {
    let rate_option = rate.to_string();
    let arguments =
        [path.to_str().expect("a path"), "--rate", &rate_option].into_iter().chain(options.iter().copied());
    let server = Fgplay::start(arguments);
    take(connect(server.port, PROTOCOLS), shape, seconds, Manner::ByItself, Some(rate))
}

impl Bench {
    fn heading(&self, text: &str) {
        println!("\n{text}");
    }

    fn wants(&self, shape: Shape) -> bool {
        self.shapes.is_empty() || self.shapes.iter().any(|name| name == shape.name)
    }

    fn recording(&self, shape: Shape, seconds: u64, compression: Option<Compression>) -> PathBuf {
        let name = format!("{}-{seconds}-{}.mcap", shape.name, compression_name(compression));
        let path = self.folder.join(name);
        if !path.exists() {
            shape.write(&path, seconds, compression);
        }
        path
    }

    fn throughput(&mut self, shape: Shape, seconds: u64, compression: Option<Compression>, others: bool) {
        if !self.wants(shape) {
            return;
        }
        let path = self.recording(shape, seconds, compression);
        let file = path.to_str().expect("a path");
        let lines = path.with_extension("jsonl");
        if shape.encoding == Encoding::Json && compression.is_none() && !lines.exists() {
            shape.write_lines(&lines, seconds);
        }
        // The others don't read JSONL.
        let ours = if lines.exists() { lines.to_str().expect("a path") } else { file };
        let mut rows = Vec::new();
        let mut decompressing = Vec::new();
        for _ in 0..self.rounds {
            let server = limit(file, "at-once", 1);
            let client = connect(server.port, PROTOCOLS);
            row(&mut rows, "limit").push(take(client, shape, seconds, Manner::ByItself, None));
            decompressing.push(decompress(&path));
            let server = Fgplay::start([ours, "--rate", "max"]);
            let client = connect(server.port, PROTOCOLS);
            row(&mut rows, "fgplay").push(take(client, shape, seconds, Manner::ByItself, None));
            for other in OTHERS.iter().filter(|_| others) {
                if let Some(peer) = Peer::start(other.fast, file) {
                    let client = connect(peer.port, PROTOCOLS);
                    row(&mut rows, other.name).push(take(client, shape, seconds, other.manner(1e9), None));
                }
            }
        }
        let rate = |run: &Run| run.messages as f64 / run.seconds;
        let limit = median(&rows[0].runs, rate);
        let packing = compression_name(compression);
        for Row { name, runs } in &rows {
            let (messages, megabytes) =
                (median(runs, rate), median(runs, |run| run.bytes as f64 / run.seconds / 1e6));
            let lost = median(runs, |run| run.lost as f64);
            let missed = median(runs, |run| run.missed as f64);
            let mistimed = median(runs, |run| run.mistimed as f64);
            println!(
                "{:<6} {packing:<5} {name:<7} {messages:>11.0} messages/s {megabytes:>7.0} MB/s {:>6.1} % of limit   \
                 {lost:.0} lost, {missed:.0} before the first, {mistimed:.0} with another Time",
                shape.name,
                100.0 * messages / limit,
            );
            self.figures.push(json!({
                "what": "throughput", "shape": shape.name, "compression": packing, "who": name,
                "messages_per_second": messages, "megabytes_per_second": megabytes, "of_limit": messages / limit,
                "lost": lost, "missed": missed, "mistimed": mistimed,
            }));
        }
        if compression.is_some() {
            let bare = median(&decompressing, Duration::as_secs_f64);
            let fgplay = median(&rows[1].runs, |run| run.seconds);
            println!(
                "{:<6} {packing:<5} fgplay takes {:.2} times as long as just decompressing",
                shape.name,
                fgplay / bare
            );
            self.figures.push(json!({
                "what": "decompressing", "shape": shape.name, "compression": packing, "times": fgplay / bare,
            }));
        }
    }

    fn pacing(&mut self, shape: Shape, seconds: u64, compression: Option<Compression>) {
        if !self.wants(shape) {
            return;
        }
        let path = self.recording(shape, seconds, compression);
        let file = path.to_str().expect("a path");
        let mut rows = Vec::new();
        let one = Some(1.0);
        for _ in 0..self.rounds {
            let server = limit(file, "on-time", 1);
            let client = connect(server.port, PROTOCOLS);
            row(&mut rows, "pacer").push(take(client, shape, seconds, Manner::ByItself, one));
            let server = Fgplay::start([file]);
            let client = connect(server.port, PROTOCOLS);
            row(&mut rows, "fgplay").push(take(client, shape, seconds, Manner::ByItself, one));
            for other in &OTHERS {
                if let Some(peer) = Peer::start(other.variable, file) {
                    let client = connect(peer.port, PROTOCOLS);
                    row(&mut rows, other.name).push(take(client, shape, seconds, other.manner(1.0), one));
                }
            }
        }
        for Row { name, runs } in &rows {
            let [p50, p99, p999] = [0.5, 0.99, 0.999]
                .map(|share| median(runs, |run| quantile(&run.lateness, share) as f64 / 1e3));
            let lost = median(runs, |run| run.lost as f64);
            let missed = median(runs, |run| run.missed as f64);
            let mistimed = median(runs, |run| run.mistimed as f64);
            println!(
                "{:<6} {name:<7} p50 {p50:>7.0}  p99 {p99:>7.0}  p99.9 {p999:>7.0}   \
                 {lost:.0} lost, {missed:.0} before the first, {mistimed:.0} with another Time",
                shape.name,
            );
            self.figures.push(json!({
                "what": "lateness", "shape": shape.name, "who": name, "p50_us": p50, "p99_us": p99,
                "p99.9_us": p999, "lost": lost, "missed": missed, "mistimed": mistimed,
            }));
        }
    }

    /// All rates at the same time: what is compared is the start and the end of each.
    fn drift(&mut self) {
        let threads: Vec<_> = [0.1, 1.0, 50.0]
            .into_iter()
            .map(|rate| {
                let seconds = (60.0 * rate) as u64;
                let path = self.recording(IMU1K, seconds, None);
                std::thread::spawn(move || (rate, play_at(rate, &path, IMU1K, seconds, &[])))
            })
            .collect();
        for thread in threads {
            let (rate, run) = thread.join().expect("a client");
            self.report_drift(IMU1K, rate, &run);
        }
        // Large messages, where least is read ahead.
        let (rate, seconds) = (10.0, 20);
        let path = self.recording(CLOUD, seconds, Some(Compression::Zstd));
        self.report_drift(CLOUD, rate, &play_at(rate, &path, CLOUD, seconds, &["--session", "client"]));
    }

    fn report_drift(&mut self, shape: Shape, rate: f64, run: &Run) {
        let tenth = run.lateness.len() / 10;
        let first = quantile(&run.lateness[..tenth], 0.5) as f64 / 1e3;
        let last = quantile(&run.lateness[run.lateness.len() - tenth..], 0.5) as f64 / 1e3;
        println!(
            "{:<6} rate {rate:<4} first {first:>6.0}  last {last:>6.0}   {} messages, {} lost",
            shape.name, run.messages, run.lost
        );
        self.figures.push(json!({
            "what": "drift", "shape": shape.name, "rate": rate, "first_us": first, "last_us": last, "lost": run.lost,
        }));
    }

    fn fan_out(&mut self, clients: usize, seconds: u64, compression: Option<Compression>) {
        let path = self.recording(ROBOT, seconds, compression);
        let file = path.to_str().expect("a path");
        let mut rows = Vec::new();
        for _ in 0..self.rounds {
            let server = limit(file, "on-time", clients);
            let runs = crowd(server.port, clients, seconds, Manner::ByItself);
            row(&mut rows, "limit").push(Crowd::new(&runs, server.usage()));
            // Playback waits until all are there, since who comes late would miss what was before.
            let server = Fgplay::start([file, "--delay", "1"]);
            let runs = crowd(server.port, clients, seconds, Manner::ByItself);
            row(&mut rows, "fgplay").push(Crowd::new(&runs, server.usage()));
            for other in &OTHERS {
                if let Some(peer) = Peer::start(other.variable, file) {
                    let runs = crowd(peer.port, clients, seconds, other.manner(1.0));
                    row(&mut rows, other.name).push(Crowd::new(&runs, peer.usage()));
                }
            }
        }
        for Row { name, runs } in &rows {
            self.report_crowds(name, clients, seconds, compression, runs);
        }
    }

    fn report_crowds(
        &mut self,
        who: &str,
        clients: usize,
        seconds: u64,
        compression: Option<Compression>,
        crowds: &[Crowd],
    ) {
        let packing = compression_name(compression);
        let [cpu, memory] = [median(crowds, |crowd| crowd.cpu), median(crowds, |crowd| crowd.memory as f64)];
        let [p50, p99] = [median(crowds, |crowd| crowd.p50 as f64), median(crowds, |crowd| crowd.p99 as f64)]
            .map(|nanos| nanos / 1e3);
        // Of the worst run.
        let lost = crowds.iter().map(|crowd| crowd.lost).max().unwrap_or(0);
        let missed = crowds.iter().map(|crowd| crowd.missed).max().unwrap_or(0);
        println!(
            "{clients:>3} clients  {packing:<4}  {who:<7} CPU {cpu:>5.2} s  memory at most {:>6.1} MB  lateness p50 {p50:>6.0} us, p99 {p99:>7.0} us  \
             {lost} lost, {missed} before the first",
            memory / 1e6,
        );
        self.figures.push(json!({
            "what": "fanout", "who": who, "clients": clients, "seconds": seconds, "compression": packing, "cpu_seconds": cpu, "memory_bytes": memory,
            "p50_us": p50, "p99_us": p99, "lost": lost, "missed": missed,
        }));
    }

    /// A fast client by itself, and then beside a slow one.
    fn slow(&mut self) {
        const SECONDS: u64 = 20;
        let path = self.recording(ROBOT, SECONDS, Some(Compression::Zstd));
        let file = path.to_str().expect("a path");
        let p99 = |run: &Run| quantile(&run.lateness, 0.99) as f64 / 1e3;
        let (mut alone, mut beside) = (Vec::new(), Vec::new());
        for _ in 0..self.rounds {
            let server = Fgplay::start([file, "--delay", "0.5"]);
            let fast = connect(server.port, PROTOCOLS);
            let quiet = p99(&take(fast, ROBOT, SECONDS, Manner::ByItself, Some(1.0)));
            let (_, memory) = server.usage();
            drop(server);

            let server = Fgplay::start([file, "--delay", "0.5", "--linger", "120"]);
            let (fast, slow) = (connect(server.port, PROTOCOLS), connect(server.port, PROTOCOLS));
            let slow = std::thread::spawn(move || slow::take_slowly(slow, ROBOT, SECONDS, 100_000));
            let run = take(fast, ROBOT, SECONDS, Manner::ByItself, Some(1.0));
            let (_, with_slow) = server.usage();
            let got = slow.join().expect("a client");
            let topics = ROBOT.topics.iter().zip(&got.missing);
            let missing: Vec<String> =
                topics.map(|(topic, missing)| format!("{} {missing}", topic.name)).collect();
            println!(
                "the fast one's p99 alone {quiet:.0} us, beside {:.0} us, {} lost; memory {:.1} and {:.1} MB\n  \
                 the slow one got {} messages, {} out of order; {} are missing ({}), its status says {}",
                p99(&run),
                run.lost,
                memory as f64 / 1e6,
                with_slow as f64 / 1e6,
                got.messages,
                got.disordered,
                got.all_missing(),
                missing.join(", "),
                got.told,
            );
            self.figures.push(json!({
                "what": "slow", "alone_p99_us": quiet, "beside_p99_us": p99(&run), "fast_lost": run.lost,
                "memory_bytes": memory, "memory_with_slow_bytes": with_slow, "slow_messages": got.messages,
                "slow_missing": got.all_missing(), "slow_told": got.told,
            }));
            alone.push(quiet);
            beside.push(p99(&run));
        }
        let [alone, beside] = [alone, beside].map(|values| median(&values, |value| *value));
        println!(
            "medians of p99: alone {alone:.0} us, beside the slow one {beside:.0} us: {:.2}",
            beside / alone
        );
    }

    /// More and more clients, until one of them loses a message.
    fn far(&mut self) {
        const SECONDS: u64 = 10;
        let compression = Some(Compression::Zstd);
        let path = self.recording(ROBOT, SECONDS, compression);
        let file = path.to_str().expect("a path").to_owned();
        let mut players: Vec<(&'static str, &'static str, Manner)> = vec![("fgplay", "", Manner::ByItself)];
        players.extend(OTHERS.iter().map(|other| (other.name, other.variable, other.manner(1.0))));
        for (name, variable, manner) in players {
            for clients in [10, 25, 50, 100, 150, 200, 300, 400] {
                let result = if variable.is_empty() {
                    let server = Fgplay::start([&*file, "--delay", "2"]);
                    Crowd::new(&crowd(server.port, clients, SECONDS, manner), server.usage())
                } else {
                    let Some(peer) = Peer::start(variable, &file) else { break };
                    Crowd::new(&crowd(peer.port, clients, SECONDS, manner), peer.usage())
                };
                let lost = result.lost;
                self.report_crowds(name, clients, SECONDS, compression, &[result]);
                if lost > 0 {
                    break;
                }
            }
        }
    }

    fn save(&self) {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench");
        std::fs::create_dir_all(&folder).expect("a folder for the figures");
        let file = folder.join("serving.json");
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let all = json!({"cores": cores, "rounds": self.rounds, "figures": self.figures});
        std::fs::write(&file, format!("{all:#}\n")).expect("a file for the figures");
        println!("\nwritten to {}", file.display());
    }
}

/// So many clients at once. The first one makes the server play, where it has to be asked.
fn crowd(port: u16, clients: usize, seconds: u64, manner: Manner) -> Vec<Run> {
    let all: Vec<_> = (0..clients).map(|_| connect(port, PROTOCOLS)).collect();
    let threads = all
        .into_iter()
        .map(|client| std::thread::spawn(move || take(client, ROBOT, seconds, manner, Some(1.0))));
    let threads: Vec<_> = threads.collect();
    threads.into_iter().map(|thread| thread.join().expect("a client")).collect()
}
