//! What clients can do to playback.

use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::client::{Client, Received};
use crate::program::Server;
use crate::recordings::{MILLISECOND, START, ticks};

const PLAY: u8 = 0;
const PAUSE: u8 = 1;

const PLAYING: u8 = 0;
const PAUSED: u8 = 1;
const BUFFERING: u8 = 2;
const ENDED: u8 = 3;

fn state(received: &[Received]) -> (u8, u64, f32, bool) {
    match received.last() {
        Some(Received::State { status, time, speed, did_seek, .. }) => (*status, *time, *speed, *did_seek),
        other => panic!("no state but {other:?}"),
    }
}

/// The topics' channels and times of the messages, those of the past and those of the flow.
fn stamps(received: &[Received], of_the_past: bool) -> Vec<(u32, u64)> {
    let stamp = |item: &Received| match item {
        Received::Message { subscription, log_time, past, .. } if *past == of_the_past => {
            Some((subscription - 1000, log_time - START))
        }
        _ => None,
    };
    received.iter().filter_map(stamp).collect()
}

#[tokio::test]
async fn after_a_seek_come_the_state_before_it_and_then_the_flow_without_a_gap() {
    let recording = ticks(1000);
    let server = Server::start([recording.path().to_str().unwrap(), "--start-paused"]);
    let mut client = Client::connect(&server.url).await;
    client.subscribe_to_all().await;
    let (once, tick) = (client.channel("/once") as u32, client.channel("/tick") as u32);
    for target in [600, 100, 900] {
        let received = client.control(PAUSE, 1.0, Some(START + target * MILLISECOND)).await;
        assert_eq!(state(&received), (PAUSED, START + target * MILLISECOND, 1.0, true));
        // The state before the position comes as soon as it is found, also while paused.
        let mut all = received;
        while stamps(&all, true).len() < 2 {
            all.push(client.next().await);
        }
        assert!(all.contains(&Received::Time(START + target * MILLISECOND)));
        assert_eq!(stamps(&all, true), [(once, 0), (tick, (target - 1) * MILLISECOND)]);
        assert_eq!(stamps(&all, false), []);
    }
    let mut received = client.control(PLAY, 1.0, None).await;
    assert!(matches!(state(&received).0, PLAYING | BUFFERING));
    while stamps(&received, false).len() < 100 {
        received.push(client.next().await);
    }
    let expected: Vec<_> = (900..1000).map(|n| (tick, n * MILLISECOND)).collect();
    assert_eq!(stamps(&received, false), expected);
}

#[tokio::test]
async fn seeks_beyond_the_recording_are_clamped_and_play_after_the_end_starts_over() {
    let recording = ticks(50);
    let server = Server::start([recording.path().to_str().unwrap(), "--rate", "10"]);
    let mut client = Client::connect_as(&server.url, "foxglove.sdk.v1").await.unwrap();
    client.subscribe(&["/tick"]).await;
    let end = START + 49 * MILLISECOND;
    let ended = |item: &Received| matches!(item, Received::State { status: ENDED, time, .. } if *time == end);
    while !ended(&client.next().await) {}
    let received = client.control(PAUSE, 10.0, Some(0)).await;
    assert_eq!(state(&received), (PAUSED, START, 10.0, true));
    let received = client.control(PAUSE, 10.0, Some(u64::MAX)).await;
    assert_eq!(state(&received).1, end);
    let mut received = client.control(PLAY, 10.0, None).await;
    while !received.last().is_some_and(ended) {
        received.push(client.next().await);
    }
    assert_eq!(stamps(&received, false).last().map(|stamp| stamp.1), Some(49 * MILLISECOND));
    let mut received = client.control(PLAY, 10.0, None).await;
    while !received.last().is_some_and(ended) {
        received.push(client.next().await);
    }
    assert_eq!(stamps(&received, false).len(), 50);
}

#[tokio::test]
async fn a_speed_that_makes_no_sense_is_refused_and_the_old_one_kept() {
    let recording = ticks(50);
    let server = Server::start([recording.path().to_str().unwrap(), "--rate", "3"]);
    let mut client = Client::connect(&server.url).await;
    for speed in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        let received = client.control(PAUSE, speed, None).await;
        assert_eq!(state(&received), (PAUSED, START, 3.0, false));
        let refused = |item: &Received| matches!(item, Received::Text(text) if text["message"].as_str().unwrap_or_default().contains("old speed is kept"));
        assert!(received.iter().any(refused), "{speed}: {received:?}");
    }
    assert_eq!(state(&client.control(PAUSE, 0.5, None).await).2, 0.5);
}

#[tokio::test]
async fn every_viewer_of_the_sdk_protocol_hears_of_what_another_one_did() {
    let recording = ticks(50);
    let server = Server::start([recording.path().to_str().unwrap(), "--start-paused"]);
    let mut hears = Client::connect_as(&server.url, "foxglove.sdk.v1").await.unwrap();
    let mut asks = Client::connect(&server.url).await;
    asks.control(PAUSE, 2.0, Some(START + MILLISECOND)).await;
    loop {
        if let Received::State { status, speed, did_seek, request, .. } = hears.next().await
            && did_seek
        {
            assert_eq!((status, speed, request.as_str()), (PAUSED, 2.0, ""));
            break;
        }
    }
}

#[tokio::test]
async fn requests_that_can_not_be_read_change_nothing() {
    let recording = ticks(50);
    let server = Server::start([recording.path().to_str().unwrap(), "--start-paused"]);
    let mut client = Client::connect(&server.url).await;
    for request in [&[3][..], &[3, 0], &[3, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[3; 18]] {
        client.send_raw(Message::binary(request.to_vec())).await;
        let (level, text) = client.status().await;
        assert_eq!(level, 2);
        assert!(text.contains("Playback Control Request"), "{text}");
    }
    assert_eq!(state(&client.control(PAUSE, 1.0, None).await), (PAUSED, START, 1.0, false));
}

#[tokio::test]
async fn where_nobody_may_control_playback_it_is_not_offered_and_refused() {
    let recording = ticks(50);
    let server = Server::start([recording.path().to_str().unwrap(), "--control", "none"]);
    let mut client = Client::connect_as(&server.url, "foxglove.sdk.v1").await.unwrap();
    let Received::Text(info) = &client.greeting[0] else { panic!() };
    assert_eq!(
        info["capabilities"],
        json!(["time", "parameters", "parametersSubscribe", "connectionGraph", "assets"])
    );
    assert_eq!(info["dataStartTime"], json!(null));
    let mut request = vec![3, PLAY];
    request.extend(1f32.to_le_bytes());
    request.extend([0; 13]);
    client.send_raw(Message::binary(request)).await;
    let (level, text) = client.status().await;
    assert_eq!((level, text.contains("nobody")), (2, true), "{text}");
}

#[tokio::test]
async fn without_lookback_a_step_back_shows_the_message_that_it_goes_to() {
    let recording = ticks(20);
    let server = Server::start([recording.path().to_str().unwrap(), "--no-lookback", "--start-paused"]);
    let mut client = Client::connect(&server.url).await;
    client.subscribe(&["/tick"]).await;
    // Of /once, which is first, nothing is sent.
    client.send_raw(crate::client::service_call("json", 9, br#"{"num_messages": 6}"#)).await;
    for tick in 0..5 {
        assert_eq!(client.message().await.0, START + tick * MILLISECOND);
    }
    let (status, _, _) = crate::http::ask(&server, "POST", "/api/step", &[], "{\"count\": -1}");
    assert_eq!(status, 200);
    // The message before, and nothing of the state of others.
    assert_eq!(client.message().await.0, START + 3 * MILLISECOND);
}
