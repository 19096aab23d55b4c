//! What viewers without a play bar have: parameters, services, the connection graph and assets.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::client::{Client, PATIENCE, Received};
use crate::program::Server;
use crate::recordings::ticks;

fn start(arguments: &[&str]) -> (tempfile::NamedTempFile, Server) {
    let recording = ticks(1000);
    let path = recording.path().to_str().unwrap().to_owned();
    let server = Server::start([path.as_str()].iter().chain(arguments));
    (recording, server)
}

async fn parameters(client: &mut Client) -> BTreeMap<String, Value> {
    client.send(json!({"op": "getParameters", "parameterNames": [], "id": "all"})).await;
    answer(client, "all").await
}

/// What is answered to the request with this id. Others may have changed something before that.
async fn answer(client: &mut Client, id: &str) -> BTreeMap<String, Value> {
    loop {
        let answer = client.text("parameterValues").await;
        if answer["id"] == id {
            return values(&answer);
        }
    }
}

fn values(answer: &Value) -> BTreeMap<String, Value> {
    let parameter =
        |parameter: &Value| (parameter["name"].as_str().unwrap().to_owned(), parameter["value"].clone());
    answer["parameters"].as_array().unwrap().iter().map(parameter).collect()
}

async fn set(client: &mut Client, name: &str, value: Value) -> Value {
    let parameters = [json!({"name": name, "value": value})];
    client.send(json!({"op": "setParameters", "parameters": parameters, "id": "set"})).await;
    answer(client, "set").await.remove(name).unwrap_or(Value::Null)
}

#[tokio::test]
async fn playback_is_read_and_set_as_parameters() {
    let (_recording, server) = start(&["--start-paused"]);
    let mut client = Client::connect(&server.url).await;
    let all = parameters(&mut client).await;
    let expected = [
        ("/fgplay/loop", json!(false)),
        ("/fgplay/paused", json!(true)),
        ("/fgplay/position", json!(0.0)),
        ("/fgplay/rate", json!(1.0)),
    ];
    assert_eq!(all, expected.map(|(name, value)| (name.to_owned(), value)).into());
    assert_eq!(set(&mut client, "/fgplay/rate", json!(2)).await, json!(2.0));
    assert_eq!(set(&mut client, "/fgplay/position", json!(0.25)).await, json!(0.25));
    assert_eq!(set(&mut client, "/fgplay/position", json!(99)).await, json!(0.999));
    assert_eq!(set(&mut client, "/fgplay/loop", json!(true)).await, json!(true));
    assert_eq!(set(&mut client, "/fgplay/paused", json!(false)).await, json!(false));
}

#[tokio::test]
async fn a_bad_value_is_refused_with_a_word_and_the_old_one_sent_back() {
    let (_recording, server) = start(&["--start-paused"]);
    let mut client = Client::connect(&server.url).await;
    for (name, value, old) in [
        ("/fgplay/rate", json!(0), json!(1.0)),
        ("/fgplay/rate", json!(-2), json!(1.0)),
        ("/fgplay/rate", json!("fast"), json!(1.0)),
        ("/fgplay/paused", json!(1), json!(true)),
        ("/fgplay/position", json!(null), json!(0.0)),
        ("/fgplay/other", json!(1), Value::Null),
    ] {
        // Without an id nothing is asked back, and it comes all the same.
        let parameters = [json!({"name": name, "value": value})];
        client.send(json!({"op": "setParameters", "parameters": parameters})).await;
        let (level, text) = client.status().await;
        assert_eq!((level, text.contains(name)), (2, true), "{text}");
        let answer = values(&client.text("parameterValues").await);
        assert_eq!(answer.get(name).cloned().unwrap_or(Value::Null), old, "{name}");
    }
    let long = format!("{{\"op\":\"setParameters\",\"parameters\":[],\"id\":\"{}\"}}", "x".repeat(2000));
    client.send_raw(tokio_tungstenite::tungstenite::Message::text(long)).await;
    assert!(client.status().await.1.contains("request id"));
}

#[tokio::test]
async fn who_subscribes_to_parameters_hears_of_every_change_and_of_time_passing() {
    let (_recording, server) = start(&["--start-paused", "--loop"]);
    let mut hears = Client::connect(&server.url).await;
    let mut sets = Client::connect(&server.url).await;
    hears.send(json!({"op": "subscribeParameterUpdates", "parameterNames": []})).await;
    assert_eq!(values(&hears.text("parameterValues").await).len(), 4);
    set(&mut sets, "/fgplay/rate", json!(0.5)).await;
    assert_eq!(values(&hears.text("parameterValues").await)["/fgplay/rate"], json!(0.5));
    set(&mut sets, "/fgplay/position", json!(0.5)).await;
    assert_eq!(values(&hears.text("parameterValues").await)["/fgplay/position"], json!(0.5));
    set(&mut sets, "/fgplay/loop", json!(false)).await;
    let mut seen = BTreeMap::new();
    while seen.get("/fgplay/loop") != Some(&json!(false)) {
        seen.extend(values(&hears.text("parameterValues").await));
    }
    set(&mut sets, "/fgplay/paused", json!(false)).await;
    // Its first subscription is what it waits for no more: it was told to play.
    // It arrives at the end, and then it stops there: that may be told in two.
    let end = async {
        while seen["/fgplay/position"].as_f64() < Some(0.999)
            || seen.get("/fgplay/paused") != Some(&json!(true))
        {
            seen.extend(values(&hears.text("parameterValues").await));
        }
    };
    // Where it plays on, the position is told again and again.
    tokio::time::timeout(PATIENCE, end).await.expect("it stops at the end");
    hears.send(json!({"op": "unsubscribeParameterUpdates", "parameterNames": []})).await;
    // What was asked for later is answered later.
    parameters(&mut hears).await;
    set(&mut sets, "/fgplay/rate", json!(3)).await;
    hears.send(json!({"op": "getParameters", "parameterNames": ["/fgplay/rate"], "id": "last"})).await;
    let answer = hears.text("parameterValues").await;
    assert_eq!((&answer["id"], &values(&answer)["/fgplay/rate"]), (&json!("last"), &json!(3.0)));
}

#[tokio::test]
async fn playback_is_controlled_by_services_as_rosbag2_has_them() {
    let (_recording, server) = start(&["--start-paused"]);
    let mut client = Client::connect(&server.url).await;
    let mut services = BTreeMap::new();
    for service in client.text("advertiseServices").await["services"].as_array().unwrap() {
        let name = service["name"].as_str().unwrap().trim_start_matches("/fgplay/").to_owned();
        services.insert(name, service["id"].as_u64().unwrap() as u32);
    }
    let names = [
        "burst",
        "get_rate",
        "is_paused",
        "pause",
        "play",
        "play_next",
        "resume",
        "seek",
        "set_rate",
        "stop",
        "toggle_paused",
    ];
    assert_eq!(services.keys().collect::<Vec<_>>(), names);
    client.subscribe(&["/tick"]).await;
    for (service, request, response) in [
        ("is_paused", "{}", json!({"paused": true})),
        ("get_rate", "", json!({"rate": 1.0})),
        ("set_rate", r#"{"rate": 0.001}"#, json!({"success": true})),
        ("get_rate", "{}", json!({"rate": 0.001})),
        ("play_next", "{}", json!({"success": true})),
        ("play_next", "{}", json!({"success": true})),
        ("burst", r#"{"num_messages": 10}"#, json!({"actually_burst": 10})),
        ("seek", r#"{"time": {"sec": 1700000000, "nanosec": 500000000}}"#, json!({"success": true})),
        ("burst", r#"{"num_messages": 100000}"#, json!({"actually_burst": 500})),
        ("play_next", "{}", json!({"success": false})),
        ("toggle_paused", "{}", json!({})),
        ("is_paused", "{}", json!({"paused": false})),
        ("pause", "{}", json!({})),
        ("is_paused", "{}", json!({"paused": true})),
        ("resume", "{}", json!({})),
        ("is_paused", "{}", json!({"paused": false})),
        ("stop", "{}", json!({})),
        ("is_paused", "{}", json!({"paused": true})),
        ("play", r#"{"start_offset": {"sec": 0, "nanosec": 700000000}}"#, json!({"success": true})),
        ("is_paused", "{}", json!({"paused": false})),
    ] {
        assert_eq!(client.call(services[service], request).await, Ok(response), "{service}");
    }
    for (service, encoding, request, word) in [
        (services["set_rate"], "json", &b"{\"rate\": 0}"[..], "old rate"),
        (services["set_rate"], "json", b"{", "JSON"),
        (services["seek"], "json", b"{}", "offset"),
        (services["pause"], "cdr", b"", "json"),
        (0, "json", b"{}", "no service"),
        (4_000_000_000, "json", b"{}", "no service"),
    ] {
        let failure = client.call_in(encoding, service, request).await.unwrap_err();
        assert!(failure.contains(word), "{failure}");
    }
}

#[tokio::test]
async fn where_nobody_may_control_playback_it_can_be_read_all_the_same() {
    let (_recording, server) = start(&["--control", "none"]);
    let mut client = Client::connect(&server.url).await;
    assert_eq!(parameters(&mut client).await["/fgplay/rate"], json!(1.0));
    assert_eq!(set(&mut client, "/fgplay/rate", json!(2)).await, json!(1.0));
    assert!(client.call(1, "{}").await.unwrap_err().contains("nobody"));
    assert!(
        !client
            .greeting
            .iter()
            .any(|item| matches!(item, Received::Text(text) if text["op"] == "advertiseServices"))
    );
}

#[tokio::test]
async fn the_connection_graph_tells_who_is_subscribed() {
    let (_recording, server) = start(&["--start-paused"]);
    let mut looks = Client::connect(&server.url).await;
    let mut other = Client::connect(&server.url).await;
    looks.subscribe(&["/once"]).await;
    looks.send(json!({"op": "subscribeConnectionGraph"})).await;
    let whole = looks.text("connectionGraphUpdate").await;
    let published: Vec<_> =
        whole["publishedTopics"].as_array().unwrap().iter().map(|topic| &topic["name"]).collect();
    assert_eq!(published, ["/once", "/tick"]);
    assert_eq!(whole["subscribedTopics"], json!([{"name": "/once", "subscriberIds": ["client-0"]}]));
    assert_eq!(whole["advertisedServices"].as_array().unwrap().len(), 11);
    other.subscribe(&["/once"]).await;
    let update = looks.text("connectionGraphUpdate").await;
    assert_eq!(
        update["subscribedTopics"],
        json!([{"name": "/once", "subscriberIds": ["client-0", "client-1"]}])
    );
    let channel = looks.channel("/once");
    looks.send(json!({"op": "unsubscribe", "subscriptionIds": [channel + 1000]})).await;
    let update = looks.text("connectionGraphUpdate").await;
    assert_eq!(update["subscribedTopics"], json!([{"name": "/once", "subscriberIds": ["client-1"]}]));
    drop(other);
    let update = looks.text("connectionGraphUpdate").await;
    assert_eq!(update["subscribedTopics"], json!([{"name": "/once", "subscriberIds": []}]));
}

#[tokio::test]
async fn files_below_a_directory_are_served_as_assets_and_no_others() {
    let directory = tempfile::tempdir().unwrap();
    let served = directory.path().join("served");
    std::fs::create_dir_all(served.join("arm/meshes")).unwrap();
    std::fs::write(served.join("arm/meshes/hand.stl"), b"solid hand").unwrap();
    std::fs::write(directory.path().join("secret"), b"secret").unwrap();
    let large = vec![7; 3_000_000];
    std::fs::write(served.join("large"), &large).unwrap();
    let (_recording, server) = start(&["--start-paused", "--assets", served.to_str().unwrap()]);
    let mut client = Client::connect(&server.url).await;
    assert_eq!(client.fetch("package://arm/meshes/hand.stl").await, Ok(b"solid hand".to_vec()));
    // Several that are asked for at once come one after the other.
    for _ in 0..3 {
        client.send(json!({"op": "fetchAsset", "uri": "large", "requestId": 5})).await;
    }
    for _ in 0..3 {
        while !matches!(client.next().await, Received::Asset { result: Ok(data), .. } if data == large) {}
    }
    for uri in
        ["package://../secret", "../secret", "file:///etc/passwd", "nothing", "", "https://example.com/a"]
    {
        let refused = client.fetch(uri).await.unwrap_err();
        assert!(refused.contains(uri), "{refused}");
    }
}
