//! What clients may not do, and what they are told then.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;
use tempfile::NamedTempFile;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{self, Message};

use crate::client::{Client, Received};
use crate::http::{ask, host};
use crate::program::Server;
use crate::recordings::ticks;

const PROTOCOL: &str = "foxglove.websocket.v1";

fn start(arguments: &[&str]) -> (NamedTempFile, Server) {
    let recording = ticks(1000);
    let path = recording.path().to_str().unwrap().to_owned();
    let server = Server::start([path.as_str()].iter().chain(arguments));
    (recording, server)
}

/// How the connection was closed.
async fn closed(mut client: Client) -> (u16, String) {
    match client.rest().await.pop() {
        Some(Received::Closed { code, reason }) => (code, reason),
        other => panic!("{other:?}"),
    }
}

async fn refused(url: &str) -> Option<(u16, String)> {
    match Client::connect_as(url, PROTOCOL).await {
        Ok(_) => None,
        Err(tungstenite::Error::Http(response)) => {
            let text = response.body().as_deref().unwrap_or_default();
            Some((response.status().as_u16(), String::from_utf8_lossy(text).into_owned()))
        }
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn there_are_no_more_clients_than_allowed() {
    let (_recording, server) = start(&["--max-clients", "2"]);
    let first = Client::connect(&server.url).await;
    let _second = Client::connect(&server.url).await;
    let (status, _) = refused(&server.url).await.unwrap();
    assert_eq!(status, 503);
    // The page still works, and a place that is given up can be taken.
    assert_eq!(ask(&server, "GET", "/healthz", &[], "").0, 200);
    drop(first);
    while refused(&server.url).await.is_some() {
        tokio::task::yield_now().await;
    }

    let (_recording, server) = start(&["--max-clients-per-address", "1"]);
    let _first = Client::connect(&server.url).await;
    assert_eq!(refused(&server.url).await.unwrap().0, 429);
}

#[test]
fn who_never_says_what_it_wants_is_cut_off() {
    let (_recording, server) = start(&["--handshake-timeout", "0.2"]);
    let mut silent = TcpStream::connect(host(&server)).unwrap();
    let mut slow = TcpStream::connect(host(&server)).unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ").unwrap();
    for stream in [&mut silent, &mut slow] {
        let mut answer = Vec::new();
        // The end, by a close or a reset, whatever was said before.
        stream.read_to_end(&mut answer).map(drop).unwrap_or_default();
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{answer:?}");
    }
}

#[tokio::test]
async fn a_message_that_is_too_large_ends_the_connection() {
    for message in [Message::text(" ".repeat(5000)), Message::binary(vec![2; 5000])] {
        let (_recording, server) = start(&["--max-message-size", "4kB"]);
        let mut client = Client::connect(&server.url).await;
        client.send_raw(message).await;
        assert_eq!(closed(client).await, (1009, "a message is larger than 4000 bytes".into()));
        // Nobody else is touched by it.
        let mut other = Client::connect(&server.url).await;
        other.subscribe(&["/tick"]).await;
        other.message().await;
    }
}

#[tokio::test]
async fn messages_that_are_never_finished_cost_bounded_memory() {
    let (_recording, server) = start(&[]);
    let mut others = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let mut client = Client::connect(&server.url).await;
        let begun = Frame::message(vec![b' '; 4_000_000], OpCode::Data(Data::Text), false);
        // The connection may be over before all is sent.
        client.try_send(Message::Frame(begun)).await.unwrap_or_default();
        others.spawn(closed_or_lost(client));
    }
    assert_eq!(others.join_next().await.unwrap().unwrap(), Some(1008));
    #[cfg(target_os = "linux")]
    assert!(server.resident_bytes() < 140_000_000, "{}", server.resident_bytes());
    // Who wants little is served all the same.
    let mut small = Client::connect(&server.url).await;
    small.subscribe(&["/tick"]).await;
    small.message().await;
}

#[tokio::test]
async fn a_message_of_empty_fragments_ends_the_connection() {
    let (_recording, server) = start(&["--max-message-size", "100kB"]);
    let mut client = Client::connect(&server.url).await;
    let part = |opcode| Message::Frame(Frame::message(Vec::new(), OpCode::Data(opcode), false));
    client.try_send(part(Data::Text)).await.unwrap();
    let mut sent = 0;
    while sent < 1_000_000 && client.try_send(part(Data::Continue)).await.is_ok() {
        sent += 1;
    }
    assert!((40_000..1_000_000).contains(&sent), "{sent}");
}

#[tokio::test]
async fn who_sends_too_many_messages_has_to_go() {
    let (_recording, server) = start(&["--max-message-rate", "100"]);
    let mut client = Client::connect(&server.url).await;
    for _ in 0..2000 {
        // The connection may be over before all is sent.
        let ping = Message::Ping(Vec::new().into());
        if client.try_send(ping).await.is_err() {
            break;
        }
    }
    let (code, reason) = closed(client).await;
    assert_eq!((code, reason.as_str()), (1008, "more than 100 messages a second"));
}

#[tokio::test]
async fn ten_thousand_subscriptions_are_answered_in_bounded_words() {
    let (_recording, server) = start(&["--at-end", "exit", "--rate", "10"]);
    let mut client = Client::connect(&server.url).await;
    let tick = client.channel("/tick");
    let wanted: Vec<_> = (0..10_000u64).map(|id| json!({"id": id, "channelId": tick + id})).collect();
    client.send(json!({"op": "subscribe", "subscriptions": wanted})).await;
    let received = client.rest().await;
    let count = |of: fn(&Received) -> bool| received.iter().filter(|item| of(item)).count();
    assert_eq!(count(|item| matches!(item, Received::Message { .. })), 1000);
    let statuses = count(|item| matches!(item, Received::Text(text) if text["op"] == "status"));
    assert!((1..20).contains(&statuses), "{statuses}");
    assert_eq!(server.wait().0, Some(0));

    // One by one they are too many messages.
    let (_recording, server) = start(&["--start-paused"]);
    let mut client = Client::connect(&server.url).await;
    for id in 0..10_000u64 {
        let wanted = json!({"op": "subscribe", "subscriptions": [{"id": id, "channelId": 70_000 + id}]});
        if client.try_send(Message::text(wanted.to_string())).await.is_err() {
            break;
        }
    }
    assert_eq!(closed_or_lost(client).await, Some(1008));
}

/// The code with which the connection was closed, unless it was lost: who goes on to send may not hear it.
async fn closed_or_lost(mut client: Client) -> Option<u16> {
    client.rest().await.into_iter().find_map(|item| match item {
        Received::Closed { code, .. } => Some(code),
        _ => None,
    })
}

#[tokio::test]
async fn who_answers_no_pings_is_given_up() {
    let (_recording, server) = start(&["--ping", "0.05", "--start-paused"]);
    // This client answers pings as long as it is read from.
    let mut answering = Client::connect(&server.url).await;
    let (mut dead, key) = (TcpStream::connect(host(&server)).unwrap(), "dGhlIHNhbXBsZSBub25jZQ==");
    write!(
        dead,
        "GET / HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: {PROTOCOL}\r\n\r\n",
        host(&server)
    )
    .unwrap();
    let over = tokio::task::spawn_blocking(move || {
        let mut all = Vec::new();
        dead.read_to_end(&mut all).unwrap();
        all
    });
    let over = async { tokio::time::timeout(Duration::from_secs(60), over).await.unwrap().unwrap() };
    let all = tokio::select! {
        all = over => all,
        () = async { loop { answering.next().await; } } => unreachable!(),
    };
    let text = String::from_utf8_lossy(&all);
    assert!(text.contains("it answers no pings"), "{text}");
    answering.subscribe(&["/tick"]).await;
}

#[tokio::test]
async fn who_fetches_files_and_reads_nothing_is_given_up_as_well() {
    let served = tempfile::tempdir().unwrap();
    std::fs::File::create(served.path().join("large")).unwrap().set_len(30_000_000).unwrap();
    let assets = served.path().to_str().unwrap();
    let (_recording, server) =
        start(&["--ping", "0.05", "--start-paused", "--max-clients", "1", "--assets", assets]);
    let mut stays = Client::connect(&server.url).await;
    // The first one is being written, the second one waits, and the others wait for that.
    for _ in 0..4 {
        stays.send(json!({"op": "fetchAsset", "uri": "large", "requestId": 5})).await;
    }
    let given_up = async {
        while refused(&server.url).await.is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), given_up).await.unwrap();
    drop(stays);
}

#[tokio::test]
async fn whose_request_takes_long_since_others_do_not_read_is_not_given_up() {
    let blob = "x".repeat(100_000);
    let lines: String = (0..1000)
        .map(|n| {
            let time = crate::recordings::START + n;
            format!("{{\"topic\":\"/big\",\"log_time\":{time},\"data\":{{\"blob\":\"{blob}\"}}}}\n")
        })
        .collect();
    let recording = crate::recordings::file(lines);
    let path = recording.path().to_str().unwrap();
    let server =
        Server::start([path, "--lossless", "--ping", "0.1", "--start-paused", "--client-buffer", "1MB"]);
    let mut waits = Client::connect(&server.url).await;
    let mut reads_little = Client::connect(&server.url).await;
    reads_little.subscribe(&["/big"]).await;
    let burst = waits.call(9, r#"{"num_messages": 1000}"#);
    let trickle = async {
        for _ in 0..200 {
            reads_little.message().await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        loop {
            reads_little.message().await;
        }
    };
    let answer = tokio::select! {
        answer = burst => answer,
        () = trickle => unreachable!(),
    };
    assert_eq!(answer.unwrap()["actually_burst"], 1000);
}

#[test]
fn paths_that_lead_elsewhere_lead_nowhere() {
    let (_recording, server) = start(&[]);
    for path in [
        "/../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/api/../../etc/passwd",
        "//etc/passwd",
        "/etc/passwd",
    ] {
        let (status, _, body) = ask(&server, "GET", path, &[], "");
        assert!([400, 404, 405].contains(&status), "{path}: {status}");
        assert!(!body.contains("root:"), "{path}");
    }
}

/// Lets this process have as many connections open as the system allows at the most.
#[cfg(unix)]
fn open_many_connections() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, rustix::process::Rlimit { current: limit.maximum, ..limit }).unwrap();
}

#[cfg(unix)]
#[test]
fn one_address_can_not_take_all_connections() {
    open_many_connections();
    let (_recording, server) = start(&["--start-paused"]);
    let connections: Vec<_> = (0..1024)
        .map(|_| {
            let mut stream = TcpStream::connect(host(&server)).unwrap();
            stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
            let mut answer = [0; 15];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"HTTP/1.1 200 OK");
            stream
        })
        .collect();
    // It is answered before it asks.
    let mut answer = String::new();
    TcpStream::connect(host(&server)).unwrap().read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 429 ") && answer.contains("from one address"), "{answer}");
    drop(connections);
}

#[test]
fn one_address_can_not_take_all_streams_of_events() {
    let (_recording, server) = start(&["--start-paused"]);
    let listen = || {
        let mut stream = TcpStream::connect(host(&server)).unwrap();
        stream.write_all(b"GET /api/events HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        (String::from_utf8(status.to_vec()).unwrap(), stream)
    };
    let streams: Vec<_> = (0..16).map(|_| listen()).collect();
    assert!(streams.iter().all(|(status, _)| status == "HTTP/1.1 200"));
    assert_eq!(listen().0, "HTTP/1.1 429");
    // All else still works.
    assert_eq!(ask(&server, "GET", "/api/state", &[], "").0, 200);
}

#[test]
fn a_connection_is_not_kept_for_ever_by_a_request_now_and_then() {
    let (_recording, server) = start(&["--start-paused", "--handshake-timeout", "0.2"]);
    let mut stream = TcpStream::connect(host(&server)).unwrap();
    let mut answer = [0; 1024];
    // It is closed by the server, although a request comes again and again.
    while stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").is_ok()
        && matches!(stream.read(&mut answer), Ok(1..))
    {}
}
