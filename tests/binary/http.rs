//! Plain HTTP: the control page, the API, events, health and metrics.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::client::Client;
use crate::program::Server;
use crate::recordings::{START, ticks};

fn start(arguments: &[&str]) -> (tempfile::NamedTempFile, Server) {
    let recording = ticks(1000);
    let path = recording.path().to_str().unwrap().to_owned();
    let server = Server::start([path.as_str()].iter().chain(arguments));
    (recording, server)
}

pub fn host(server: &Server) -> &str {
    server.url.trim_start_matches("ws://").trim_end_matches('/')
}

/// Sends a request with these headers, and gives the status, the headers and the body.
pub fn ask(
    server: &Server,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (u16, String, String) {
    let mut stream = TcpStream::connect(host(server)).unwrap();
    let mut request =
        format!("{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    if !headers.iter().any(|(name, _)| *name == "Host") {
        request += &format!("Host: {}\r\n", host(server));
    }
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    write!(stream, "{request}\r\n{body}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_ascii_lowercase(), body.to_owned())
}

fn get(server: &Server, path: &str) -> Value {
    let (status, _, body) = ask(server, "GET", path, &[], "");
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

fn post(server: &Server, path: &str, body: Value) -> (u16, Value) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let (status, _, body) = ask(server, "POST", path, &[], &body);
    (status, serde_json::from_str(&body).unwrap())
}

#[test]
fn the_recording_is_described() {
    let (_recording, server) = start(&["--start-paused", "--name", "test"]);
    let recording = get(&server, "/api/recording");
    assert_eq!(recording["name"], "test");
    assert_eq!(recording["start"], START.to_string());
    assert_eq!(recording["duration"], 0.999);
    assert_eq!((&recording["session"], &recording["control"]), (&json!("shared"), &json!(true)));
    assert_eq!(recording["topics"][1]["topic"], "/tick");
    assert_eq!(recording["topics"][1]["messages"], 1000);
    assert_eq!(recording["links"]["ws"], format!("ws://{}/", host(&server)));
    let density = get(&server, "/api/density");
    assert_eq!(density["exact"], true);
    let sum = |topic: usize| {
        density["topics"][topic].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!((sum(0), sum(1)), (1, 1000));
}

#[test]
fn playback_is_controlled_and_every_command_answers_with_the_state() {
    let (_recording, server) = start(&["--start-paused"]);
    for (path, body, field, expected) in [
        ("/api/seek", json!({"offset": 0.5}), "offset", json!(0.5)),
        ("/api/seek", json!({"by": -0.25}), "offset", json!(0.25)),
        ("/api/seek", json!({"time": (START + 100_000_000).to_string()}), "offset", json!(0.1)),
        ("/api/seek", json!({"offset": 99}), "offset", json!(0.999)),
        ("/api/seek", json!({"offset": -1}), "offset", json!(0.0)),
        ("/api/rate", json!({"rate": 0.001}), "rate", json!(0.001)),
        ("/api/loop", json!({"loop": true}), "loop", json!(true)),
        ("/api/step", json!({"count": 12}), "offset", json!(0.01)),
        ("/api/step", json!({"count": -1}), "offset", json!(0.009)),
        ("/api/step", json!(null), "offset", json!(0.01)),
        ("/api/play", json!(null), "state", json!("playing")),
        ("/api/pause", json!(null), "state", json!("paused")),
        ("/api/toggle", json!(null), "state", json!("playing")),
    ] {
        let (status, state) = post(&server, path, body.clone());
        // What comes next may not be read yet.
        let told = if state[field] == "buffering" { json!("playing") } else { state[field].clone() };
        assert_eq!((status, told), (200, expected), "{path} {body}");
    }
}

#[test]
fn what_makes_no_sense_is_refused_with_a_sentence_and_changes_nothing() {
    let (_recording, server) = start(&["--start-paused"]);
    for (path, body, word) in [
        ("/api/rate", "{\"rate\": 0}", "old rate"),
        ("/api/rate", "{\"rate\": -3}", "old rate"),
        ("/api/rate", "{", "JSON"),
        ("/api/rate", "\u{7f}", "JSON"),
        ("/api/seek", "{}", "offset"),
        ("/api/step", "{\"count\": 0}", "count"),
        ("/api/loop", "{\"loop\": 7}", "loop"),
    ] {
        let (status, _, body) = ask(&server, "POST", path, &[], body);
        assert_eq!((status, body.contains(word)), (400, true), "{path}: {body}");
    }
    let state = get(&server, "/api/state");
    assert_eq!((&state["rate"], &state["offset"], &state["loop"]), (&json!(1.0), &json!(0.0), &json!(false)));
    assert_eq!(ask(&server, "POST", "/api/fly", &[], "").0, 404);
    assert_eq!(ask(&server, "GET", "/api/play", &[], "").0, 405);
    assert_eq!(ask(&server, "GET", "/api/fly", &[], "").0, 404);
    assert_eq!(ask(&server, "GET", "/nothing", &[], "").0, 404);
    assert_eq!(ask(&server, "POST", "/api/rate", &[], &" ".repeat(100_000)).0, 413);
}

#[test]
fn a_page_of_another_site_changes_nothing() {
    let (_recording, server) = start(&["--start-paused"]);
    let port = host(&server).split(':').next_back().unwrap().to_owned();
    let own = format!("http://{}", host(&server));
    let evil = format!("evil.example:{port}");
    let try_with = |headers: &[(&str, &str)]| ask(&server, "POST", "/api/rate", headers, "{\"rate\": 5}").0;
    assert_eq!(try_with(&[("Origin", "https://evil.example")]), 403);
    assert_eq!(try_with(&[("Origin", "null")]), 403);
    assert_eq!(try_with(&[("Origin", &own), ("Sec-Fetch-Site", "cross-site")]), 403);
    // A name that somebody has pointed to this machine.
    assert_eq!(try_with(&[("Host", &evil), ("Origin", &format!("http://{evil}"))]), 403);
    assert_eq!(get(&server, "/api/state")["rate"], 1.0);
    assert_eq!(try_with(&[("Origin", &own)]), 200);
}

#[test]
fn where_nobody_may_control_playback_every_command_is_refused() {
    let (_recording, server) = start(&["--control", "none"]);
    for action in ["play", "pause", "toggle", "seek", "rate", "step", "loop"] {
        let (status, answer) = post(&server, &format!("/api/{action}"), json!({}));
        assert_eq!((status, answer["error"].as_str().unwrap().contains("nobody")), (403, true));
    }
    assert_eq!(get(&server, "/api/recording")["control"], false);
}

#[tokio::test]
async fn clients_and_topics_are_told_of() {
    let (_recording, server) = start(&["--rate", "0.5"]);
    let mut client = Client::connect(&server.url).await;
    client.subscribe_to_all().await;
    client.message().await;
    let state = get(&server, "/api/state");
    assert_eq!(state["clients"][0]["protocol"], "foxglove.websocket.v1");
    assert_eq!(state["clients"][0]["subscriptions"], 2);
    assert!(state["clients"][0]["address"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert_eq!(state["topics"][0]["messages"], 1);
}

#[tokio::test]
async fn where_every_client_has_a_timeline_a_command_says_whose() {
    let (_recording, server) = start(&["--session", "client", "--start-paused"]);
    let _first = Client::connect(&server.url).await;
    let _second = Client::connect(&server.url).await;
    assert_eq!(post(&server, "/api/rate", json!({"rate": 2})).0, 409);
    assert_eq!(post(&server, "/api/rate", json!({"rate": 2, "client": 9})).0, 404);
    assert_eq!(post(&server, "/api/rate", json!({"rate": 2, "client": 1})).1["rate"], 2.0);
    let state = get(&server, "/api/state");
    assert_eq!(state["clients"][0]["timeline"]["rate"], 1.0);
    assert_eq!(state["clients"][1]["timeline"]["rate"], 2.0);
}

#[test]
fn changes_come_as_events() {
    let (_recording, server) = start(&["--start-paused"]);
    let mut stream = TcpStream::connect(host(&server)).unwrap();
    write!(stream, "GET /api/events HTTP/1.1\r\nHost: {}\r\n\r\n", host(&server)).unwrap();
    let mut events = BufReader::new(stream)
        .lines()
        .map(Result::unwrap)
        .filter_map(|line| Some(serde_json::from_str::<Value>(line.strip_prefix("data: ")?).unwrap()));
    assert_eq!(events.next().unwrap()["rate"], 1.0);
    post(&server, "/api/rate", json!({"rate": 4}));
    assert_eq!(events.next().unwrap()["rate"], 4.0);
    post(&server, "/api/seek", json!({"offset": 0.5}));
    assert_eq!(events.next().unwrap()["offset"], 0.5);
}

#[test]
fn browsers_get_the_control_page_and_programs_a_text() {
    let (_recording, server) = start(&[]);
    let (status, headers, page) = ask(&server, "GET", "/", &[("Accept", "text/html,*/*")], "");
    assert_eq!(status, 200);
    assert!(headers.contains("content-security-policy: default-src 'none'"), "{headers}");
    assert!(headers.contains("x-frame-options: deny"), "{headers}");
    assert!(page.contains("</html>"));
    // Nothing comes from elsewhere.
    assert!(!page.contains("src=\"http") && !page.contains("@import") && !page.contains("url("));
    let (_, _, text) = ask(&server, "GET", "/", &[], "");
    assert!(text.contains(&server.url), "{text}");
    let (status, _, body) = ask(&server, "HEAD", "/", &[], "");
    assert_eq!((status, body.as_str()), (200, ""));
}

#[test]
fn health_and_metrics_are_told() {
    let (_recording, server) = start(&["--name", "a \"name\""]);
    assert_eq!(ask(&server, "GET", "/healthz", &[], "").2, "ok\n");
    let (status, headers, metrics) = ask(&server, "GET", "/metrics", &[], "");
    assert_eq!(status, 200);
    assert!(headers.contains("text/plain; version=0.0.4"), "{headers}");
    for line in [
        "fgplay_clients 0",
        "fgplay_rate 1",
        "fgplay_played_messages_total{topic=\"/tick\"} 0",
        "# TYPE fgplay_dropped_messages_total counter",
        "# TYPE fgplay_topic_dropped_messages_total counter",
        "# TYPE fgplay_lateness_seconds summary",
    ] {
        assert!(metrics.lines().any(|other| other == line), "{line}\n{metrics}");
    }
    assert!(metrics.contains("recording=\"a \\\"name\\\"\""), "{metrics}");
}
