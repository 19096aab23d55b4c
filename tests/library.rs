//! The library, used as a test of another project would use it.

use std::time::Duration;

use fgplay::{Counts, Event, Events, Rate, Replay, Server, Status};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/demo.mcap");

/// Subscribes to everything, and gives how many messages came until the server closed the connection.
async fn count_messages(url: String) -> usize {
    count_messages_after(url, std::future::ready(())).await
}

/// As [`count_messages`], but reads nothing of what follows on the subscription before something else is over.
async fn count_messages_after(url: String, before: impl Future<Output = ()>) -> usize {
    let mut before = Some(before);
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", "foxglove.websocket.v1".parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::client_async(
        request.clone(),
        tokio::net::TcpStream::connect(request.uri().authority().unwrap().as_str()).await.unwrap(),
    )
    .await
    .unwrap();
    let mut count = 0;
    while let Some(Ok(message)) = socket.next().await {
        match message {
            Message::Text(text) => {
                let text: Value = serde_json::from_str(&text).unwrap();
                if text["op"] == "advertise" {
                    let channels = text["channels"].as_array().unwrap().iter();
                    let wanted: Vec<_> = channels
                        .map(|channel| json!({"id": channel["id"], "channelId": channel["id"]}))
                        .collect();
                    let subscribe = json!({"op": "subscribe", "subscriptions": wanted}).to_string();
                    socket.send(Message::text(subscribe)).await.unwrap();
                    if let Some(before) = before.take() {
                        before.await;
                    }
                }
            }
            Message::Binary(data) if data[0] == 1 => count += 1,
            _ => {}
        }
    }
    count
}

async fn until(events: &mut Events, wanted: impl Fn(&Event) -> bool) -> Vec<Event> {
    let mut seen = Vec::new();
    while let Some(event) = events.next().await {
        let found = wanted(&event);
        seen.push(event);
        if found {
            return seen;
        }
    }
    panic!("it did not come: {seen:?}")
}

#[tokio::test]
async fn a_test_gets_all_messages_and_knows_it() {
    let replay = Replay::open(DEMO).unwrap().topics(["/pose"]).unwrap().rate(Rate::Max);
    let [topic] = &replay.topic_list()[..] else { panic!("{:?}", replay.topic_list()) };
    let recorded = topic.messages;
    let server: Server = replay.wait_for_clients(2).serve("127.0.0.1:0").await.unwrap();
    let mut events = server.events();
    assert_eq!(server.state().status, Status::Waiting);
    let clients = [(); 2].map(|()| tokio::spawn(count_messages(server.url())));
    let seen = until(&mut events, |event| *event == Event::Ended).await;
    assert_eq!(seen.iter().filter(|event| matches!(event, Event::ClientCame { .. })).count(), 2);
    assert_eq!(seen.iter().filter(|event| **event == Event::Subscribed("/pose".into())).count(), 1);
    server.ended().await.unwrap();
    assert_eq!(server.state().status, Status::Ended);
    assert_eq!(server.warnings(), [""; 0]);
    let counts: Vec<Counts> = server.finish().await;
    assert_eq!(
        counts.iter().map(|counts| (&counts.topic[..], counts.sent)).collect::<Vec<_>>(),
        [("/pose", 2 * recorded)]
    );
    for client in clients {
        assert_eq!(client.await.unwrap() as u64, recorded);
    }
    until(&mut events, |event| *event == Event::Unsubscribed("/pose".into())).await;
    until(&mut events, |event| matches!(event, Event::ClientLeft { .. })).await;
}

#[tokio::test]
async fn who_speeds_up_to_the_greatest_rate_later_gets_everything_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let recording = folder.path().join("large.jsonl");
    let line = |n: u64| format!(r#"{{"topic":"/a","log_time":{n}000000,"data":{{"x":"{:060000}"}}}}"#, n);
    std::fs::write(&recording, (1..=1000).map(line).collect::<Vec<_>>().join("\n")).unwrap();
    let server = Replay::open(&recording).unwrap().start_paused().serve("127.0.0.1:0").await.unwrap();
    let mut events = server.events();
    let (go_on, goes_on) = tokio::sync::oneshot::channel::<()>();
    let wait = async { goes_on.await.unwrap() };
    let client = tokio::spawn(count_messages_after(server.url(), wait));
    until(&mut events, |event| *event == Event::Subscribed("/a".into())).await;
    server.set_rate(Rate::Max).await.unwrap();
    server.play().await.unwrap();
    // More than may wait for a client that is to lose something: it would be over at once.
    let ended = tokio::time::timeout(Duration::from_millis(500), server.ended()).await;
    assert!(ended.is_err(), "nobody has read it yet");
    go_on.send(()).unwrap();
    server.ended().await.unwrap();
    server.finish().await;
    assert_eq!(client.await.unwrap(), 1000);
}

#[tokio::test]
async fn a_test_can_control_playback() {
    let server = Replay::open(DEMO)
        .unwrap()
        .start_paused()
        .looping()
        .no_client_control()
        .serve("127.0.0.1:0")
        .await
        .unwrap();
    let mut events = server.events();
    server.seek(Duration::from_secs(3)).await.unwrap();
    let state = server.state();
    assert_eq!(
        (state.status, state.offset, state.rate),
        (Status::Paused, Duration::from_secs(3), Rate::RealTime)
    );
    assert_eq!(events.next().await, Some(Event::Sought(Duration::from_secs(3))));
    server.set_rate(Rate::Times(1000.0)).await.unwrap();
    assert!(server.set_rate(Rate::Times(f64::NAN)).await.is_err());
    server.step(5).await.unwrap();
    server.play().await.unwrap();
    until(&mut events, |event| *event == Event::Looped).await;
    server.pause().await.unwrap();
    assert_eq!(server.state().status, Status::Paused);
    assert!(server.state().pass >= 2);
    server.stop().await;
    // Nothing that can still be heard of is lost, and then there is nothing more.
    while events.next().await.is_some() {}
}

#[tokio::test]
async fn a_server_that_is_dropped_is_gone() {
    let server = Replay::open(DEMO).unwrap().rate(Rate::Times(0.001)).serve("127.0.0.1:0").await.unwrap();
    let mut events = server.events();
    let client = tokio::spawn(count_messages(server.url()));
    until(&mut events, |event| matches!(event, Event::Subscribed(_))).await;
    let address = server.address();
    drop(server);
    client.await.unwrap();
    while tokio::net::TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_can_not_be_done_is_told() {
    let text = |error: fgplay::Error| error.to_string();
    assert!(
        text(Replay::open("/no/such.mcap").unwrap_err()).contains("/no/such.mcap: there is no such file")
    );
    let open = || Replay::open(DEMO).unwrap();
    assert!(text(open().topics(["/nothing"]).unwrap_err()).contains("no topic"));
    assert!(text(open().rate(Rate::Times(0.0)).serve("127.0.0.1:0").await.unwrap_err()).contains("positive"));
    assert!(text(open().serve("nowhere").await.unwrap_err()).contains("can't listen on nowhere"));
    let late = open().start_offset(Duration::from_secs(99)).serve("127.0.0.1:0").await.unwrap_err();
    assert!(text(late).contains("past the end"));
    let server = open().session_per_client().serve("127.0.0.1:0").await.unwrap();
    assert!(text(server.play().await.unwrap_err()).contains("timeline of its own"));
}

#[tokio::test]
async fn who_has_a_timeline_of_its_own_can_not_wait_for_others() {
    let alone = || Replay::open(DEMO).unwrap().session_per_client();
    for replay in [alone().wait_for_clients(2), alone().wait_for_topics(["/pose"])] {
        let error = replay.serve("127.0.0.1:0").await.unwrap_err();
        assert!(error.to_string().contains("none waits for others"), "{error}");
    }
}
