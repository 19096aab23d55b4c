//! Clients that each have a timeline of their own.

use crate::client::{Client, Received, messages};
use crate::program::Server;
use crate::recordings::{MILLISECOND, START, ticks};

const PLAY: u8 = 0;
const PAUSE: u8 = 1;

fn start(count: u64, arguments: &[&str]) -> (tempfile::NamedTempFile, Server) {
    let recording = ticks(count);
    let path = recording.path().to_str().unwrap().to_owned();
    let server = Server::start([path.as_str(), "--session", "client"].iter().chain(arguments));
    (recording, server)
}

/// The ticks among what was received, as their numbers.
fn tick_numbers(client: &Client, received: &[Received]) -> Vec<u64> {
    let tick = client.channel("/tick") as u32;
    let ticks = messages(received).into_iter().filter(|(channel, ..)| *channel == tick);
    ticks.map(|(_, time, _)| (time - START) / MILLISECOND).collect()
}

#[tokio::test]
async fn what_one_client_does_changes_nothing_for_another() {
    let (_recording, server) = start(1500, &["--at-end", "exit"]);
    let mut plays = Client::connect(&server.url).await;
    let mut controls = Client::connect(&server.url).await;
    plays.subscribe_to_all().await;
    controls.subscribe_to_all().await;
    for target in [900, 20, 1200, 500, 3] {
        controls.control(PAUSE, 0.5, Some(START + target * MILLISECOND)).await;
    }
    let mut controlled = controls.control(PLAY, 1000.0, Some(START + 1000 * MILLISECOND)).await;
    controlled.extend(controls.rest().await);
    let received = plays.rest().await;
    assert_eq!(tick_numbers(&plays, &received), (0..1500).collect::<Vec<_>>());
    let flow = tick_numbers(
        &controls,
        &controlled
            .into_iter()
            .filter(|item| !matches!(item, Received::Message { past: true, .. }))
            .collect::<Vec<_>>(),
    );
    assert_eq!(flow, (1000..1500).collect::<Vec<_>>());
    assert_eq!(server.wait().0, Some(0));
}

#[tokio::test]
async fn everyone_s_timeline_starts_with_the_first_subscription() {
    let (_recording, server) = start(300, &[]);
    for _ in 0..2 {
        let mut client = Client::connect_as(&server.url, "foxglove.sdk.v1").await.unwrap();
        client.subscribe_to_all().await;
        let mut received = Vec::new();
        while !matches!(received.last(), Some(Received::State { status: 3, .. })) {
            received.push(client.next().await);
        }
        assert_eq!(tick_numbers(&client, &received), (0..300).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_hundred_viewers_each_get_everything() {
    let (_recording, server) = start(400, &["--rate", "2"]);
    let clients = (0..100).map(async |_| {
        let mut client = Client::connect_as(&server.url, "foxglove.sdk.v1").await.unwrap();
        client.subscribe_to_all().await;
        let mut received = Vec::new();
        while !matches!(received.last(), Some(Received::State { status: 3, .. })) {
            received.push(client.next().await);
        }
        tick_numbers(&client, &received)
    });
    for numbers in futures_util::future::join_all(clients).await {
        assert_eq!(numbers, (0..400).collect::<Vec<_>>());
    }
}
