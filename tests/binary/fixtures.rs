//! Recordings as fixtures of tests: runs that repeat, begin when all are there, and end in bounded time.

use std::io::Write as _;
use std::time::Duration;

use crate::client::{Client, Received, messages};
use crate::program::{Server, fgplay, run};
use crate::recordings::{START, ticks};

fn demo() -> String {
    format!("{}/testdata/demo.mcap", env!("CARGO_MANIFEST_DIR"))
}

/// What a client gets of times and messages, from a server that plays once two clients are there. With `slow` it
/// takes its time.
async fn stream(url: String, slow: bool) -> Vec<Received> {
    let mut client = Client::connect(&url).await;
    client.subscribe_to_all().await;
    let mut received = Vec::new();
    loop {
        if slow && received.len() % 100 == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        match client.next().await {
            Received::Closed { .. } => return received,
            item @ (Received::Time(_) | Received::Message { .. }) => received.push(item),
            _ => {}
        }
    }
}

/// Plays it without waiting for anybody, and ends.
const AT_ONCE: [&str; 6] = ["--start", "now", "--rate", "max", "--at-end", "exit"];

/// What runs before have left.
const OLD_READY_FILE: &str = r#"{"event":"ready","port":1,"url":"ws://127.0.0.1:1/"}"#;
const OLD_REPORT: &str = r#"{"exit_code":0,"outcome":"over","version":"0.1.0"}"#;

#[tokio::test]
async fn runs_give_every_client_the_same_in_the_same_order() {
    let mut first: Option<Vec<Received>> = None;
    for _ in 0..5 {
        let demo = demo();
        let arguments =
            [&demo, "--rate", "max", "--wait-for-clients", "2", "--at-end", "exit", "--start-offset", "3"];
        let server = Server::start(arguments);
        let [fast, slow] = [false, true].map(|slow| tokio::spawn(stream(server.url.clone(), slow)));
        let (fast, slow) = (fast.await.unwrap(), slow.await.unwrap());
        assert_eq!(server.wait().0, Some(0));
        assert!(fast == slow, "the slow client got something else");
        assert!(fast.len() > 3000);
        assert!(first.get_or_insert_with(|| fast.clone()) == &fast, "a run gave something else");
    }
}

#[tokio::test]
async fn playback_begins_when_all_wanted_topics_are_subscribed() {
    let recording = ticks(20);
    let path = recording.path().to_str().unwrap();
    let server = Server::start([&[path, "--wait-for-topics", "/tick", "/on*"], &AT_ONCE[..]].concat());
    let mut first = Client::connect(&server.url).await;
    first.subscribe(&["/tick"]).await;
    let mut second = Client::connect(&server.url).await;
    // A topic that was given up again does not count.
    second.subscribe(&["/once"]).await;
    second
        .send(serde_json::json!({"op": "unsubscribe", "subscriptionIds": [second.channel("/once") + 1000]}))
        .await;
    second.subscribe(&["/once"]).await;
    let (first, second) = (first.rest().await, second.rest().await);
    assert_eq!(messages(&first).len(), 20);
    assert_eq!(messages(&first)[0].1, START);
    assert!(!messages(&second).is_empty());
    assert_eq!(server.wait().0, Some(0));
}

#[tokio::test]
async fn who_does_not_come_in_time_is_told() {
    let recording = ticks(20);
    let path = recording.path().to_str().unwrap();
    let server = Server::start([path, "--wait-for-clients", "2", "--wait-timeout", "0.3"]);
    let mut client = Client::connect(&server.url).await;
    client.subscribe(&["/tick"]).await;
    assert_eq!(messages(&client.rest().await), []);
    let (code, stderr) = server.wait();
    assert_eq!(code, Some(1));
    assert!(
        stderr.contains("playback did not begin within 0.3 s: 1 of 2 clients has subscribed\n"),
        "{stderr}"
    );

    let server = Server::start([path, "--wait-for-topics", "/**", "--wait-timeout", "0.1"]);
    let (code, stderr) = server.wait();
    assert_eq!(code, Some(1));
    assert!(stderr.contains("no client has subscribed to anything, and nobody to /"), "{stderr}");
}

#[test]
fn waiting_for_what_can_never_come_is_refused() {
    let recording = ticks(20);
    let path = recording.path().to_str().unwrap();
    let (code, _, stderr) = run([path, "--wait-for-topics", "/nothing"]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("no topic that is played matches '/nothing'"), "{stderr}");
    let (code, _, stderr) = run([path, "--wait-for-clients", "2", "--session", "client"]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("need --session shared"), "{stderr}");
    assert_eq!(run([path, "--wait-timeout", "0"]).0, Some(2));
}

#[test]
fn it_does_not_take_longer_than_allowed() {
    let recording = ticks(20);
    let (code, _, stderr) = run([recording.path().to_str().unwrap(), "--port", "0", "--timeout", "0.2"]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("it was not over after 0.2s (--timeout)"), "{stderr}");
}

#[cfg(unix)]
#[test]
fn the_ready_file_says_where_to_connect() {
    let recording = ticks(20);
    let folder = tempfile::tempdir().unwrap();
    let ready = folder.path().join("ready.json");
    std::fs::write(&ready, OLD_READY_FILE).unwrap();
    let path = recording.path().to_str().unwrap();
    let server = Server::start([path, "--ready-file", ready.to_str().unwrap()]);
    // It may be written a moment after the line on stdout.
    let text = loop {
        match std::fs::read_to_string(&ready) {
            Ok(text) => break text,
            Err(_) => std::thread::yield_now(),
        }
    };
    let told: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(told["url"], server.url);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left there");

    server.signal("TERM");
    assert_eq!(server.wait().0, Some(0));
    assert!(!ready.exists(), "nobody is there any more");

    for option in ["--ready-file", "--report"] {
        let (code, stdout, stderr) = run([path, "--port", "0", option, "/no/such/folder/file"]);
        assert_eq!((code, stdout.as_str()), (Some(1), ""));
        assert!(stderr.contains(&format!("/no/such/folder/file ({option})")), "{stderr}");
    }
    std::fs::write(&ready, OLD_READY_FILE).unwrap();
    let ready = ready.to_str().unwrap();
    assert_eq!(run(["/no/such/recording", "--port", "0", "--ready-file", ready]).0, Some(1));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn the_ready_file_of_another_fgplay_stays() {
    let recording = ticks(20);
    let folder = tempfile::tempdir().unwrap();
    let ready = folder.path().join("ready.json");
    let (path, ready_text) = (recording.path().to_str().unwrap(), ready.to_str().unwrap());
    let server = Server::start([path, "--ready-file", ready_text]);
    let port = server.url.trim_end_matches('/').rsplit(':').next().unwrap();
    while !ready.exists() {
        std::thread::yield_now();
    }
    let (code, _, stderr) = run([path, "--port", port, "--ready-file", ready_text]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("in use"), "{stderr}");
    assert!(ready.exists());
}

#[test]
fn a_report_takes_the_place_of_no_recording() {
    let recording = ticks(20);
    let path = recording.path().to_str().unwrap();
    let before = std::fs::read(path).unwrap();
    let (code, _, stderr) = run([path, "--port", "0", "--timeout", "0.1", "--report", path]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("--report") && stderr.contains("recording"), "{stderr}");
    assert_eq!(std::fs::read(path).unwrap(), before);
}

#[cfg(unix)]
#[test]
fn what_is_no_regular_file_is_written_to_as_it_is() {
    let recording = ticks(20);
    let path = recording.path().to_str().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let [target, link, null] = ["target", "link", "null"].map(|name| folder.path().join(name));
    std::fs::write(&target, "").unwrap();
    std::os::unix::fs::symlink(&target, &link).unwrap();
    std::os::unix::fs::symlink("/dev/null", &null).unwrap();
    for report in [&link, &null] {
        let report = report.to_str().unwrap();
        run([&[path, "--port", "0", "--report", report], &AT_ONCE[..]].concat());
    }
    assert!(link.symlink_metadata().unwrap().is_symlink() && null.symlink_metadata().unwrap().is_symlink());
    let told: serde_json::Value = serde_json::from_slice(&std::fs::read(&target).unwrap()).unwrap();
    assert_eq!(told["exit_code"], 0);
    assert!(!std::path::Path::new("/dev/null").is_file());
}

#[test]
fn what_somebody_else_has_written_is_not_replaced() {
    let recording = ticks(20);
    let folder = tempfile::tempdir().unwrap();
    let (notes, path) = (folder.path().join("notes"), recording.path().to_str().unwrap());
    for text in ["{}", "a note\n", OLD_READY_FILE, OLD_REPORT] {
        std::fs::write(&notes, text).unwrap();
        for (option, own) in [("--ready-file", OLD_READY_FILE), ("--report", OLD_REPORT)] {
            if text == own {
                continue;
            }
            let (code, _, stderr) = run([path, "--port", "0", option, notes.to_str().unwrap()]);
            assert_eq!(code, Some(2), "{stderr}");
            assert!(stderr.contains(option) && stderr.contains("is there already"), "{stderr}");
            assert_eq!(std::fs::read_to_string(&notes).unwrap(), text);
        }
    }
    let (code, _, stderr) = run([path, "--port", "0", "--ready-file", folder.path().to_str().unwrap()]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("this is a directory"), "{stderr}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_report_to_stdout_comes_behind_what_is_there() {
    let recording = ticks(2);
    let mut stdout = tempfile::NamedTempFile::new().unwrap();
    writeln!(stdout, "before").unwrap();
    let status = fgplay(
        [&[recording.path().to_str().unwrap(), "--port", "0", "--report", "/dev/stdout"], &AT_ONCE[..]]
            .concat(),
    )
    .stdout(std::fs::OpenOptions::new().append(true).open(stdout.path()).unwrap())
    .status()
    .unwrap();
    assert_eq!(status.code(), Some(0));
    let text = std::fs::read_to_string(stdout.path()).unwrap();
    assert!(text.starts_with("before\n") && text.contains("\"outcome\": \"over\""), "{text}");
}

#[tokio::test]
async fn lingering_ends() {
    let demo = demo();
    let server = Server::start([&demo, "--rate", "50", "--at-end", "exit", "--linger", "0.1"]);
    let mut client = Client::connect(&server.url).await;
    client.subscribe_to_all().await;
    // It takes nothing from here on.
    let (code, stderr) = tokio::task::spawn_blocking(|| server.wait()).await.unwrap();
    assert_eq!(code, Some(3), "{stderr}");
    assert!(stderr.contains("--linger is over"), "{stderr}");
    // It does not take the goodbye either, and who waits is told what for.
    assert!(stderr.contains("waiting up to 2.0s for 1 viewer; Ctrl-C ends it at once"), "{stderr}");
    drop(client);
}

#[cfg(unix)]
#[tokio::test]
async fn who_terminates_it_lets_clients_take_what_waits_for_them() {
    let recording = ticks(1000);
    let path = recording.path().to_str().unwrap();
    let server = Server::start([path, "--linger", "30"]);
    let mut client = Client::connect(&server.url).await;
    client.subscribe(&["/tick"]).await;
    client.message().await;
    server.signal("TERM");
    let rest = client.rest().await;
    assert!(matches!(rest.last(), Some(Received::Closed { code: 1001, .. })), "{:?}", rest.last());
    assert_eq!(server.wait().0, Some(0));
}

#[tokio::test]
async fn a_report_says_what_became_of_every_message() {
    let recording = ticks(50);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.json");
    let server = Server::start([
        recording.path().to_str().unwrap(),
        "--wait-for-clients",
        "2",
        "--at-end",
        "exit",
        "--report",
        path.to_str().unwrap(),
    ]);
    let mut both = Client::connect(&server.url).await;
    both.subscribe(&["/tick", "/once"]).await;
    let mut one = Client::connect(&server.url).await;
    one.subscribe(&["/tick"]).await;
    let (both, one) = (both.rest().await, one.rest().await);
    assert_eq!((messages(&both).len(), messages(&one).len()), (51, 50));
    assert_eq!(server.wait().0, Some(0));

    let report: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!((&report["outcome"], &report["exit_code"]), (&"over".into(), &0.into()));
    assert_eq!(report["messages"]["sent"], 101);
    assert_eq!(report["warnings"], serde_json::json!([]));
    // The first messages are due when the clock starts; /once is one of them.
    assert_eq!(report["lateness_ms"]["count"], 101);
    let sent = |topics: &serde_json::Value| -> Vec<(String, u64)> {
        let topic = |topic: &serde_json::Value| {
            (topic["topic"].as_str().unwrap().to_owned(), topic["sent"].as_u64().unwrap())
        };
        topics.as_array().unwrap().iter().map(topic).collect()
    };
    let mut topics = sent(&report["topics"]);
    topics.sort();
    assert_eq!(topics, [("/once".to_owned(), 1), ("/tick".to_owned(), 100)]);
    let clients = report["clients"].as_array().unwrap();
    let mut totals: Vec<_> =
        clients.iter().map(|client| client["messages"]["sent"].as_u64().unwrap()).collect();
    totals.sort_unstable();
    assert_eq!(totals, [50, 51]);
    assert!(clients.iter().all(|client| client["left"] == "the recording is over"), "{clients:?}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left there");
}

#[test]
fn a_report_says_why_it_failed() {
    let recording = ticks(5);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.json");
    std::fs::write(&path, OLD_REPORT).unwrap();
    let report = path.to_str().unwrap();
    let recording = recording.path().to_str().unwrap();
    let (code, ..) = run([recording, "--port", "0", "--timeout", "0.1", "--report", report]);
    assert_eq!(code, Some(1));
    let told: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!((&told["outcome"], &told["exit_code"]), (&"timed out".into(), &1.into()));
    assert!(told["error"].as_str().unwrap().contains("--timeout"), "{told}");

    let (code, _, stderr) =
        run([recording, "--port", "0", "--timeout", "0.1", "--report", "/no/such/folder/report"]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("/no/such/folder/report (--report)"), "{stderr}");
}
