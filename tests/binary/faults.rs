//! What goes wrong around the program while it plays: files, disks, descriptors, streams, clients.

use std::fmt::Write as _;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::{NamedTempFile, TempDir};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::client::{Client, Received, messages};
use crate::http::{ask, host};
use crate::program::{Server, fgplay};
use crate::recordings::{MILLISECOND, START, Topic, file, mcap, ticks};

/// How many messages the large recordings have. With 300 kB each it is far more than what is read ahead and waits
/// in sockets, and chunks that hold one are large enough to be read past the page cache.
const COUNT: u64 = 100;
const PAYLOAD: usize = 300_000;

/// Bytes that can't be compressed, as text.
fn noise(seed: u64) -> String {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut text = String::with_capacity(PAYLOAD);
    while text.len() < PAYLOAD {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        write!(text, "{state:016x}").unwrap();
    }
    text
}

fn payload(number: u64) -> String {
    format!("{{\"n\":{number},\"noise\":\"{}\"}}", noise(number))
}

/// A large recording, and the offset after each of its messages.
fn jsonl() -> (Vec<u8>, Vec<u64>) {
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    for number in 0..COUNT {
        let time = START + number * MILLISECOND;
        let line = format!("{{\"topic\":\"/big\",\"log_time\":{time},\"data\":{}}}", payload(number));
        bytes.extend_from_slice(line.as_bytes());
        ends.push(bytes.len() as u64);
        bytes.push(b'\n');
    }
    (bytes, ends)
}

fn large_mcap() -> Vec<u8> {
    let topic = Topic {
        name: "/big",
        encoding: "json",
        schema: Some(("big", "jsonschema", b"{\"type\":\"object\"}")),
        messages: (0..COUNT).map(|number| (number * MILLISECOND, payload(number).into_bytes())).collect(),
    };
    mcap("", &[topic])
}

/// What came of a run.
struct Outcome {
    /// The log times of the messages, as numbers of milliseconds from the start.
    numbers: Vec<u64>,
    /// The metrics when all was played.
    metrics: String,
    code: Option<i32>,
    stderr: String,
    report: Value,
}

/// Plays a large recording in a folder of its own as fast as it is taken, and lets `happen` happen to the file
/// after the first message.
async fn play_while(recording: Vec<u8>, happen: impl FnOnce(&Path)) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let (path, report) = (folder.path().join("recording"), folder.path().join("report.json"));
    std::fs::write(&path, recording).unwrap();
    let (path_text, report_text) = (path.to_str().unwrap(), report.to_str().unwrap());
    let server = Server::start([
        path_text,
        "--rate",
        "max",
        "--client-buffer",
        "1MB",
        "--read-ahead",
        "64kB",
        "--chunk-cache",
        "1",
        "--report",
        report_text,
        "--at-end",
        "exit",
        "--wait-for-clients",
        "1",
    ]);
    // Asked again on the connection that is there: at the end no more are accepted.
    let mut http = TcpStream::connect(host(&server)).await.unwrap();
    let mut client = Client::connect(&server.url).await;
    client.subscribe(&["/big"]).await;
    let mut numbers = vec![client.message().await.0];
    happen(&path);
    // The last messages that are there are taken only when the metrics were asked for.
    let mut metrics = String::new();
    loop {
        match client.next().await {
            Received::Message { log_time, .. } => numbers.push(log_time),
            Received::Closed { code, .. } => {
                assert_eq!(code, 1000);
                break;
            }
            _ => {}
        }
        if metrics.is_empty() && numbers.len() as u64 == COUNT / 2 {
            metrics = metrics_on(&mut http).await;
        }
    }
    let (code, stderr) = server.wait();
    let report = serde_json::from_str(&std::fs::read_to_string(&report).unwrap()).unwrap();
    let numbers = numbers.into_iter().map(|time| (time - START) / MILLISECOND).collect();
    Outcome { numbers, metrics, code, stderr, report }
}

/// Asks for the metrics on a connection that stays open.
async fn metrics_on(http: &mut TcpStream) -> String {
    http.write_all(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    loop {
        assert_ne!(http.read_buf(&mut answer).await.unwrap(), 0, "the connection is closed");
        let text = String::from_utf8_lossy(&answer);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head
            .lines()
            .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if length == Some(body.len()) {
            return body.to_owned();
        }
    }
}

/// A metric's value.
fn metric(metrics: &str, name: &str) -> u64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {metrics}")).parse().unwrap()
}

impl Outcome {
    /// Asserts that the messages of these numbers were played, that all others are counted as unread, and that it
    /// was told once, with these words.
    fn lost_all_but(&self, numbers: impl Iterator<Item = u64>, words: &str) {
        assert_eq!(self.numbers, numbers.collect::<Vec<_>>());
        assert_eq!(self.code, Some(3), "{}", self.stderr);
        assert_eq!(self.stderr.matches(words).count(), 1, "{}", self.stderr);
        let unread = COUNT - self.numbers.len() as u64;
        assert_eq!(self.report["unread_messages"], unread);
        assert!(self.stderr.contains(&format!("{unread} messages of the recording could not be read")));
        assert_eq!(self.report["warnings"].as_array().unwrap().len(), 1, "{}", self.report);
        assert_eq!(self.report["exit_code"], 3);
    }

    /// Asserts that nothing was lost or told.
    fn is_whole(&self) {
        assert_eq!(self.numbers, (0..COUNT).collect::<Vec<_>>());
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        assert_eq!(
            (&self.report["warnings"], &self.report["unread_messages"]),
            (&Value::Array(vec![]), &0.into())
        );
        assert_eq!(metric(&self.metrics, "fgplay_unread_messages_total"), 0);
    }
}

#[tokio::test]
async fn of_a_file_that_shrinks_what_is_left_plays_and_the_rest_is_told_once() {
    let (recording, ends) = jsonl();
    let cut = ends[COUNT as usize * 3 / 4] + 5;
    let shrink = |path: &Path| std::fs::File::options().write(true).open(path).unwrap().set_len(cut).unwrap();
    let outcome = play_while(recording, shrink).await;
    outcome.lost_all_but(0..COUNT * 3 / 4 + 1, "the file has become shorter since it was opened");

    let recording = large_mcap();
    let cut = recording.len() as u64 * 3 / 4;
    let shrink = |path: &Path| std::fs::File::options().write(true).open(path).unwrap().set_len(cut).unwrap();
    let outcome = play_while(recording, shrink).await;
    let whole = outcome.numbers.len() as u64;
    assert!((COUNT * 3 / 4 - 2..=COUNT * 3 / 4).contains(&whole), "{whole}");
    outcome.lost_all_but(0..whole, "the file has become shorter since it was opened");
}

#[tokio::test]
async fn of_a_file_that_is_written_over_nothing_else_plays() {
    let (recording, ends) = jsonl();
    let (from, to) = (ends[COUNT as usize * 3 / 4], ends[COUNT as usize - 1]);
    let write_over = |path: &Path| {
        // In place: a file that is written anew is empty for a moment.
        let mut file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        file.seek(SeekFrom::Start(from)).unwrap();
        file.write_all(&vec![b'#'; (to - from) as usize]).unwrap();
    };
    let outcome = play_while(recording, write_over).await;
    outcome.lost_all_but(0..COUNT * 3 / 4 + 1, "the file has changed since it was opened");
}

#[tokio::test]
async fn a_file_that_is_deleted_or_replaced_plays_to_its_end() {
    let (recording, _) = jsonl();
    play_while(recording, |path| std::fs::remove_file(path).unwrap()).await.is_whole();
    play_while(large_mcap(), |path| {
        let other = path.with_extension("other");
        std::fs::write(&other, "something else").unwrap();
        std::fs::rename(&other, path).unwrap();
    })
    .await
    .is_whole();
}

#[cfg(unix)]
#[tokio::test]
async fn a_process_that_was_stopped_goes_on_where_it_was() {
    const TICKS: u64 = 2000;
    let recording = ticks(TICKS);
    let server = Server::start([recording.path().to_str().unwrap(), "--at-end", "exit"]);
    let mut client = Client::connect(&server.url).await;
    client.subscribe(&["/tick"]).await;
    let mut times = Vec::new();
    while times.len() < 200 {
        times.push(client.message().await.0);
    }
    server.signal("STOP");
    // What was under way when it was stopped.
    while let Ok((time, _)) = tokio::time::timeout(Duration::from_millis(200), client.message()).await {
        times.push(time);
    }
    assert!(times.len() < TICKS as usize, "it does not stop");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let left = Duration::from_nanos(START + TICKS * MILLISECOND - times.last().unwrap());
    server.signal("CONT");
    let went_on = Instant::now();
    times.extend(messages(&client.rest().await).iter().map(|message| message.1));
    // What would have been due meanwhile does not come at once.
    assert!(went_on.elapsed() > left / 2, "{:?} for {left:?}", went_on.elapsed());
    assert_eq!(times, (0..TICKS).map(|tick| START + tick * MILLISECOND).collect::<Vec<_>>());
    let (code, stderr) = server.wait();
    assert_eq!(code, Some(0), "{stderr}");
    assert!(!stderr.contains("WARN"), "{stderr}");
}

/// Upgrades a connection to WebSocket, and subscribes to nothing.
async fn upgraded(server: &Server) -> TcpStream {
    let mut socket = TcpStream::connect(host(server)).await.unwrap();
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: foxglove.websocket.v1\r\n\r\n",
        host(server)
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
        assert_ne!(socket.read_buf(&mut answer).await.unwrap(), 0);
    }
    assert!(answer.starts_with(b"HTTP/1.1 101 "));
    socket
}

#[tokio::test]
async fn clients_that_vanish_or_send_rubbish_do_not_disturb_another() {
    let recording = ticks(2000);
    let server = Server::start([recording.path().to_str().unwrap(), "--at-end", "exit"]);
    let mut healthy = Client::connect(&server.url).await;
    healthy.subscribe_to_all().await;
    let mut received = vec![healthy.next().await];
    for round in 0..20u8 {
        // Before and after the upgrade: gone with a reset, or with rubbish on the way.
        let early = TcpStream::connect(host(&server)).await.unwrap();
        early.set_zero_linger().unwrap();
        drop(early);
        let reset = upgraded(&server).await;
        reset.set_zero_linger().unwrap();
        drop(reset);
        let mut rubbish = TcpStream::connect(host(&server)).await.unwrap();
        let bytes: Vec<u8> = (0..500u32).map(|at| (at * 31) as u8 ^ round).collect();
        rubbish.write_all(&bytes).await.unwrap();
        let mut rubbish = upgraded(&server).await;
        rubbish.write_all(&bytes).await.unwrap();
        received.push(healthy.next().await);
    }
    received.extend(healthy.rest().await);
    assert_eq!(messages(&received).len(), 2001);
    assert!(matches!(received.last(), Some(Received::Closed { code: 1000, .. })));
    let (code, stderr) = server.wait();
    assert_eq!(code, Some(0), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
}

/// Runs the program from a shell that does `before` first.
#[cfg(unix)]
fn after(before: &str, arguments: &[&str]) -> Command {
    let program = fgplay([""; 0]);
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{before}; exec \"$0\" \"$@\"")]).arg(program.get_program()).args(arguments);
    command
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn without_descriptors_it_waits_and_serves_again_when_there_are_some() {
    let recording = ticks(1000);
    let path = recording.path().to_str().unwrap();
    let arguments = [path, "--loop", "--start", "now", "--handshake-timeout", "300"];
    let server = Server::spawn(after("ulimit -n 40", &arguments));
    let mut healthy = Client::connect(&server.url).await;
    healthy.subscribe_to_all().await;
    let mut http = TcpStream::connect(host(&server)).await.unwrap();
    let failed = |metrics: &str| metric(metrics, "fgplay_failed_accepts_total");
    assert_eq!(failed(&metrics_on(&mut http).await), 0);
    for _ in 0..2 {
        let before = failed(&metrics_on(&mut http).await);
        let mut idle = Vec::new();
        for _ in 0..60 {
            idle.push(TcpStream::connect(host(&server)).await.unwrap());
        }
        let began = Instant::now();
        let mut tries = before;
        while tries < before + 5 {
            // Who is connected is served on.
            healthy.message().await;
            tries = failed(&metrics_on(&mut http).await);
        }
        // It does not try all the time.
        let possible = began.elapsed().as_millis() as u64 / 100 + 2;
        assert!(tries - before <= possible, "{} of {possible}", tries - before);
        drop(idle);
        let mut new = Client::connect(&server.url).await;
        new.subscribe_to_all().await;
        new.message().await;
    }
    server.signal("TERM");
    let (code, stderr) = server.wait();
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(stderr.matches("no more connections can be accepted").count(), 1, "{stderr}");
    assert!(stderr.contains("ulimit -n"), "{stderr}");
}

/// Waits until a run says where to connect, and gives that.
#[cfg(unix)]
fn ready(file: &Path) -> String {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !file.exists() {
        assert!(Instant::now() < deadline, "it does not become ready");
        std::thread::sleep(Duration::from_millis(10));
    }
    let ready: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    ready["url"].as_str().unwrap().to_owned()
}

#[cfg(unix)]
#[tokio::test]
async fn without_stdin_stdout_and_stderr_it_serves() {
    use std::process::Stdio;

    let recording = ticks(50);
    let folder = TempDir::new().unwrap();
    let (ready_file, report) = (folder.path().join("ready"), folder.path().join("report"));
    let arguments = [
        recording.path().to_str().unwrap(),
        "--port",
        "0",
        "--at-end",
        "exit",
        "-v",
        "--ready-file",
        ready_file.to_str().unwrap(),
        "--report",
        report.to_str().unwrap(),
    ];
    for closed in [true, false] {
        let mut command = after(if closed { "exec <&- >&- 2>&-" } else { ":" }, &arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // Nobody reads what it says, and it finds out when it says something.
        drop((child.stdout.take(), child.stderr.take()));
        let mut client = Client::connect(&ready(&ready_file)).await;
        client.subscribe_to_all().await;
        assert_eq!(messages(&client.rest().await).len(), 51);
        let status = tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap();
        assert_eq!(status.code(), Some(0));
        let told: Value = serde_json::from_str(&std::fs::read_to_string(&report).unwrap()).unwrap();
        assert_eq!((&told["messages"]["sent"], &told["exit_code"]), (&51.into(), &0.into()));
        assert!(!ready_file.exists());
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_port_that_can_not_be_told_on_stdout_is_told_on_stderr() {
    let recording = ticks(1);
    let path = recording.path().to_str().unwrap();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = fgplay([path, "--quiet", "--port", "0", "--start", "now", "--at-end", "exit"]);
    let output = command.stdout(full).stderr(std::process::Stdio::piped()).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(stderr.contains("WARN can't tell the port on stdout") && stderr.contains("; it is "), "{stderr}");
}

#[test]
fn the_metrics_have_what_could_not_be_read_and_accepted() {
    let recording: NamedTempFile = file("{\"topic\":\"/a\",\"log_time\":1,\"data\":{}}\n");
    let server = Server::start([recording.path().to_str().unwrap()]);
    let (_, _, metrics) = ask(&server, "GET", "/metrics", &[], "");
    for name in ["fgplay_unread_messages_total", "fgplay_failed_accepts_total"] {
        assert_eq!(metric(&metrics, name), 0);
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn who_ignores_the_end_of_its_terminal_goes_on() {
    const TICKS: u64 = 500;
    let recording = ticks(TICKS);
    let path = recording.path().to_str().unwrap();
    // As nohup does.
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "trap '' HUP; exec \"$0\" \"$@\"",
        env!("CARGO_BIN_EXE_fgplay"),
        path,
        "--at-end",
        "exit",
    ]);
    let server = Server::spawn(command);
    let mut client = Client::connect(&server.url).await;
    client.subscribe_to_all().await;
    client.message().await;
    server.signal("HUP");
    assert_eq!(messages(&client.rest().await).len() as u64, TICKS);
    assert_eq!(server.wait().0, Some(0));
}
