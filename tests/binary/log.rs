//! What is logged of clients.

use serde_json::{Value, json};

use crate::client::Client;
use crate::program::Server;
use crate::recordings::ticks;

/// What the log says of a client that takes everything, without the times in front.
async fn log_of_a_client(format: &str) -> Vec<String> {
    let recording = ticks(20);
    let path = recording.path().to_str().unwrap();
    let server = Server::start([path, "--at-end", "exit", "--rate", "max", "--log-format", format]);
    let mut client = Client::connect(&format!("{}?token=secret", server.url)).await;
    client.subscribe_to_all().await;
    client.rest().await;
    let (code, stderr) = server.wait();
    assert_eq!(code, Some(0));
    assert!(!stderr.contains("secret"), "{stderr}");
    stderr.lines().filter(|line| line.contains("client 127.0.0.1:")).map(str::to_owned).collect()
}

#[tokio::test]
async fn the_log_says_of_a_client_in_fields_what_it_says_in_words() {
    let lines = log_of_a_client("json").await;
    let [came, left] =
        &lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()[..]
    else {
        panic!("{lines:?}")
    };
    assert_eq!((&came["event"], &left["event"]), (&json!("client_connected"), &json!("client_left")));
    assert_eq!(came["protocol"], "foxglove.websocket.v1");
    assert_eq!(came["address"], left["address"]);
    assert_eq!((&left["sent"], &left["dropped"], &left["undelivered"]), (&json!(21), &json!(0), &json!(0)));
    assert_eq!(left["reason"], "the recording is over");
    assert!(left["seconds"].as_f64().unwrap() > 0.0);
    let words = format!(
        "client {} left (the recording is over): 21 messages sent, 0 dropped, 0 not delivered",
        left["address"].as_str().unwrap()
    );
    assert_eq!(left["message"], words);
}

#[tokio::test]
async fn as_text_the_log_has_words_alone() {
    let lines = log_of_a_client("text").await;
    assert!(lines[0].ends_with(" connected (foxglove.websocket.v1)"), "{lines:?}");
    assert!(
        lines[1].ends_with(" left (the recording is over): 21 messages sent, 0 dropped, 0 not delivered"),
        "{lines:?}"
    );
}
