//! What clients get.

use std::time::Duration;

use serde_json::json;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::client::{Client, Received, messages};
use crate::program::Server;
use crate::recordings::{MILLISECOND, START, Topic, file, mcap, ticks};

fn path(file: &tempfile::NamedTempFile) -> &str {
    file.path().to_str().unwrap()
}

#[tokio::test]
async fn every_message_comes_once_in_order_after_a_time_that_equals_its_log_time() {
    let recording = ticks(500);
    let server = Server::start([path(&recording), "--rate", "10", "--at-end", "exit"]);
    let mut client = Client::connect(&server.url).await;
    client.subscribe(&["/tick", "/once"]).await;
    let received = client.rest().await;
    assert_eq!(
        received.last(),
        Some(&Received::Closed { code: 1000, reason: "the recording is over".into() })
    );
    let (once, tick) = (client.channel("/once") as u32, client.channel("/tick") as u32);
    let mut expected = vec![(once, START, b"{}".to_vec())];
    expected
        .extend((0..500).map(|n| (tick, START + n * MILLISECOND, format!("{{\"tick\": {n}}}").into_bytes())));
    assert_eq!(messages(&received), expected);
    assert_eq!(server.wait().0, Some(0));
}

#[tokio::test]
async fn the_greeting_is_server_info_then_time_then_channels() {
    let recording = ticks(10);
    let server = Server::start([path(&recording), "--name", "my robot", "--start-offset", "0.005"]);
    let client = Client::connect(&server.url).await;
    let [Received::Text(info), Received::Time(time), Received::Text(advertise)] = &client.greeting[..] else {
        panic!("{:?}", client.greeting);
    };
    assert_eq!(info["op"], "serverInfo");
    assert_eq!(info["name"], "my robot");
    assert_eq!(
        info["capabilities"],
        json!([
            "time",
            "parameters",
            "parametersSubscribe",
            "connectionGraph",
            "assets",
            "playbackControl",
            "services"
        ])
    );
    assert_eq!(info["dataStartTime"], json!({"sec": START / 1_000_000_000, "nsec": 5_000_000}));
    assert_eq!(*time, START + 5 * MILLISECOND);
    assert_eq!(advertise["op"], "advertise");
    let other = Server::start([path(&recording)]);
    let other = Client::connect(&other.url).await;
    let Received::Text(other) = &other.greeting[0] else { panic!() };
    assert_ne!(info["sessionId"], other["sessionId"]);
}

#[tokio::test]
async fn both_names_of_the_protocol_are_spoken_on_any_path() {
    let recording = ticks(10);
    let server = Server::start([path(&recording)]);
    for (offer, chosen) in [
        ("foxglove.websocket.v1", "foxglove.websocket.v1"),
        ("foxglove.sdk.v1", "foxglove.sdk.v1"),
        ("foxglove.websocket.v1, foxglove.sdk.v1", "foxglove.sdk.v1"),
    ] {
        let client = Client::connect_as(&format!("{}some/where?x=1", server.url), offer).await.unwrap();
        assert_eq!(client.protocol, chosen);
    }
    let Err(Error::Http(response)) = Client::connect_as(&server.url, "chat").await else { panic!() };
    assert_eq!(response.status(), 400);
    let body = String::from_utf8(response.into_body().unwrap()).unwrap();
    assert!(body.contains("foxglove.websocket.v1"), "{body}");
}

#[tokio::test]
async fn a_loop_goes_back_to_the_start() {
    let recording = ticks(20);
    let server = Server::start([path(&recording), "--loop", "3", "--at-end", "exit"]);
    let mut client = Client::connect(&server.url).await;
    client.subscribe_to_all().await;
    let received = client.rest().await;
    assert_eq!(messages(&received).len(), 3 * 21);
    let times: Vec<u64> = received
        .iter()
        .filter_map(|item| if let Received::Time(time) = item { Some(*time) } else { None })
        .collect();
    assert_eq!(times.windows(2).filter(|pair| pair[1] < pair[0]).count(), 2);
    assert_eq!(times.windows(2).filter(|pair| pair[1] == pair[0]).count(), 0);
    assert_eq!(times.iter().filter(|time| **time == START).count(), 2);
}

#[tokio::test]
async fn only_the_chosen_part_of_the_chosen_topics_is_played() {
    let recording = ticks(1000);
    let until = format!("{}.400", START / 1_000_000_000);
    for (arguments, first, last) in [
        (&["--start-offset", "100ms", "--playback-duration", "0.2"][..], 100, 300),
        (&["--start-offset", "0.1", "--playback-until-sec", &until], 100, 400),
    ] {
        let remap = [
            "--no-lookback",
            "--topics",
            "/ti*",
            "--remap",
            "/tick:=/tock",
            "--rate",
            "5",
            "--at-end",
            "exit",
        ];
        let server = Server::start([&[path(&recording)], arguments, &remap].concat());
        let mut client = Client::connect(&server.url).await;
        assert_eq!(client.channels.len(), 1);
        client.subscribe(&["/tock"]).await;
        let times: Vec<u64> = messages(&client.rest().await).iter().map(|message| message.1).collect();
        assert_eq!(times.first(), Some(&(START + first * MILLISECOND)));
        assert_eq!(times.last(), Some(&(START + last * MILLISECOND)));
        assert_eq!(times.len() as u64, last - first + 1);
        assert_eq!(server.wait().0, Some(0));
    }
}

#[tokio::test]
async fn several_recordings_play_on_one_timeline() {
    let line = |topic: &str, time: u64, n: u32| {
        format!("{{\"topic\":\"{topic}\",\"log_time\":{time},\"data\":{{\"n\":{n}}}}}\n")
    };
    let first = file([line("/a", 1, 1), line("/b", 5, 3)].concat());
    let second = file([line("/a", 3, 2), line("/a", 5, 4)].concat());
    let server = Server::start([path(&first), path(&second), "--at-end", "exit"]);
    let mut client = Client::connect(&server.url).await;
    assert_eq!(client.channels.len(), 2);
    client.subscribe_to_all().await;
    let received = messages(&client.rest().await);
    let data: Vec<_> = received.iter().map(|message| String::from_utf8_lossy(&message.2)).collect();
    assert_eq!(data, [r#"{"n":1}"#, r#"{"n":2}"#, r#"{"n":3}"#, r#"{"n":4}"#]);
}

#[tokio::test]
async fn channels_of_every_kind_are_advertised_as_viewers_need_them() {
    let topics = [
        Topic {
            name: "/twice",
            encoding: "cdr",
            schema: Some(("pkg/msg/A", "ros2msg", b"int32 x")),
            messages: vec![(0, vec![1]), (2, vec![3])],
        },
        Topic {
            name: "/twice",
            encoding: "cdr",
            schema: Some(("pkg/msg/A", "ros2msg", b"int32 x")),
            messages: vec![(1, vec![2])],
        },
        Topic {
            name: "/twice",
            encoding: "protobuf",
            schema: Some(("pkg.B", "protobuf", b"\xff\x00")),
            messages: vec![(3, vec![4; 3000])],
        },
        Topic { name: "/bare", encoding: "json", schema: None, messages: vec![(4, b"{}".to_vec())] },
        Topic { name: "/odd", encoding: "smoke", schema: None, messages: vec![] },
    ];
    let recording = file(mcap("ros2", &topics));
    let server = Server::start([path(&recording), "--at-end", "exit"]);
    let mut client = Client::connect(&server.url).await;
    let Received::Text(info) = &client.greeting[0] else { panic!() };
    assert!(info["metadata"]["ROS_DISTRO"].is_string());
    let mut channels = client.channels.clone();
    for channel in &mut channels {
        channel.as_object_mut().unwrap().remove("id");
    }
    channels.sort_by_key(|channel| channel["topic"].as_str().unwrap().to_owned());
    assert_eq!(
        json!(channels),
        json!([
            {"topic": "/bare", "encoding": "json", "schemaName": "", "schema": ""},
            {"topic": "/odd", "encoding": "smoke", "schemaName": "", "schema": ""},
            {"topic": "/twice", "encoding": "cdr", "schemaName": "pkg/msg/A", "schema": "int32 x", "schemaEncoding": "ros2msg"},
            {"topic": "/twice (pkg.B)", "encoding": "protobuf", "schemaName": "pkg.B", "schema": "/wA=", "schemaEncoding": "protobuf"},
        ])
    );
    client.subscribe_to_all().await;
    let (level, text) = client.status().await;
    assert_eq!(level, 0);
    assert!(text.contains("/twice (pkg.B)"), "{text}");
    let data: Vec<_> = messages(&client.rest().await).into_iter().map(|message| message.2).collect();
    assert_eq!(data, [vec![1], vec![2], vec![3], vec![4; 3000], b"{}".to_vec()]);
}

#[tokio::test]
async fn thousands_of_channels_are_advertised_in_batches() {
    let lines: String = (0..5000)
        .map(|n| format!("{{\"topic\":\"/t{n}\",\"log_time\":{n},\"data\":{{\"some_field\":{n}}}}}\n"))
        .collect();
    let recording = file(lines);
    let server = Server::start([path(&recording)]);
    let mut client = Client::connect(&server.url).await;
    let mut batches = 1;
    while client.channels.len() < 5000 {
        let Received::Text(text) = client.next().await else { panic!() };
        assert_eq!(text["op"], "advertise");
        client.channels.extend(text["channels"].as_array().unwrap().iter().cloned());
        batches += 1;
    }
    assert!((2..=50).contains(&batches), "{batches}");
}

#[tokio::test]
async fn what_a_client_says_wrong_is_explained_and_nobody_else_notices() {
    let recording = ticks(2000);
    let server = Server::start([path(&recording), "--at-end", "exit"]);
    let mut good = Client::connect(&server.url).await;
    let mut bad = Client::connect(&server.url).await;
    good.subscribe_to_all().await;
    for (message, words) in [
        (Message::text("{"), "JSON"),
        (Message::text("{\"op\":\"dance\"}"), "dance"),
        (Message::text("{\"op\":\"advertise\",\"channels\":[]}"), "does not offer"),
        (
            Message::text("{\"op\":\"subscribe\",\"subscriptions\":[{\"id\":1,\"channelId\":77}]}"),
            "channel 77",
        ),
        (Message::text("{\"op\":\"unsubscribe\",\"subscriptionIds\":[5]}"), "id 5"),
        (Message::binary(vec![9, 9]), "opcode 9"),
        (Message::binary(vec![]), "empty"),
    ] {
        bad.send_raw(message).await;
        let (_, text) = bad.status().await;
        assert!(text.contains(words), "{text}");
    }
    // The server may hang up before it has read it all.
    bad.try_send(Message::text("x".repeat(5 * 1024 * 1024))).await.unwrap_or_default();
    let received = bad.rest().await;
    assert!(matches!(received.last(), Some(Received::Closed { code: 1009, .. })), "{received:?}");
    assert_eq!(messages(&good.rest().await).len(), 2001);
    assert_eq!(server.wait().0, Some(0));
}

#[tokio::test]
async fn a_client_that_leaves_or_unsubscribes_does_not_disturb_another() {
    let recording = ticks(1000);
    let server = Server::start([path(&recording), "--at-end", "exit"]);
    let mut stays = Client::connect(&server.url).await;
    let mut leaves = Client::connect(&server.url).await;
    let mut changes = Client::connect(&server.url).await;
    for client in [&mut stays, &mut leaves, &mut changes] {
        client.subscribe_to_all().await;
    }
    leaves.message().await;
    drop(leaves);
    changes.message().await;
    let id = changes.channel("/tick") + 1000;
    changes.send(json!({"op": "unsubscribe", "subscriptionIds": [id]})).await;
    assert_eq!(messages(&stays.rest().await).len(), 1001);
    assert!(messages(&changes.rest().await).len() < 1000);
}

#[tokio::test]
async fn many_mistakes_in_one_message_are_told_in_a_few_statuses() {
    let recording = ticks(10);
    let server = Server::start([path(&recording)]);
    let mut client = Client::connect(&server.url).await;
    let unknown: Vec<_> = (0..50_000).map(|id| json!({"id": id, "channelId": id + 100})).collect();
    client.send(json!({"op": "subscribe", "subscriptions": unknown})).await;
    for _ in 0..10 {
        client.status().await;
    }
    let (_, text) = client.status().await;
    assert!(text.contains("49990 more"), "{text}");
    client.subscribe(&["/tick"]).await;
    client.message().await;
}

#[tokio::test]
async fn what_a_client_does_not_take_at_the_end_is_counted_as_lost() {
    let blob = "x".repeat(1_000_000);
    let lines: String = (0..30)
        .map(|n| {
            format!("{{\"topic\":\"/big\",\"log_time\":{},\"data\":{{\"blob\":\"{blob}\"}}}}\n", START + n)
        })
        .collect();
    let recording = file(lines);
    let server = Server::start([path(&recording), "--at-end", "exit"]);
    let mut client = Client::connect(&server.url).await;
    client.subscribe_to_all().await;
    let (code, stderr) = server.wait();
    assert_eq!(code, Some(3), "{stderr}");
    assert!(stderr.contains("did not take them in time"), "{stderr}");
    drop(client);
}

#[tokio::test]
async fn what_a_client_did_not_take_that_left_is_not_lost() {
    let blob = "x".repeat(1_000_000);
    // More than a client is sent that does not read, and then time for it to go.
    let lines: String = (0..30)
        .chain([2000 * MILLISECOND])
        .map(|n| {
            format!("{{\"topic\":\"/big\",\"log_time\":{},\"data\":{{\"blob\":\"{blob}\"}}}}\n", START + n)
        })
        .collect();
    let recording = file(lines);
    let server = Server::start([path(&recording), "--client-lag", "60", "--at-end", "exit"]);
    let mut client = Client::connect(&server.url).await;
    client.subscribe_to_all().await;
    client.message().await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    client.say_no_more().await;
    let (code, stderr) = server.wait();
    assert_eq!(code, Some(0), "{stderr}");
    drop(client);
}

#[cfg(unix)]
#[tokio::test]
async fn a_signal_does_not_wait_until_who_takes_little_has_everything() {
    const SIZE: usize = 30_000_000;
    let recording = ticks(10);
    let served = tempfile::tempdir().unwrap();
    std::fs::File::create(served.path().join("large")).unwrap().set_len(SIZE as u64).unwrap();
    let server = Server::start([path(&recording), "--assets", served.path().to_str().unwrap()]);
    let mut client = Client::connect(&server.url).await;
    client.send(json!({"op": "fetchAsset", "uri": "large", "requestId": 5})).await;
    let mut taken = 0;
    while taken < 1_000_000 {
        taken += client.take_some().await;
    }
    server.signal("TERM");
    let mut ended = tokio::task::spawn_blocking(|| server.wait());
    let (code, stderr) = loop {
        tokio::select! {
            ended = &mut ended => break ended.unwrap(),
            () = tokio::time::sleep(Duration::from_millis(100)) => taken += client.take_some().await,
        }
    };
    assert_eq!(code, Some(0), "{stderr}");
    // What is still on its way.
    loop {
        match client.take_some().await {
            0 => break,
            more => taken += more,
        }
    }
    assert!(taken < SIZE, "it was waited for");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_flood_of_pings_from_a_client_that_does_not_read_costs_little_memory() {
    let recording = ticks(10);
    let server = Server::start([path(&recording)]);
    let mut client = Client::connect(&server.url).await;
    let before = server.resident_bytes();
    // 125 MB. The server may hang up on the way.
    for _ in 0..1_000_000 {
        if client.try_send(Message::Ping(vec![0; 125].into())).await.is_err() {
            break;
        }
    }
    let mut other = Client::connect(&server.url).await;
    other.subscribe(&["/tick"]).await;
    other.message().await;
    let more = server.resident_bytes().saturating_sub(before);
    assert!(more < 20_000_000, "{more}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_signal_ends_it_with_a_close_frame_and_success() {
    for signal in ["INT", "TERM"] {
        let recording = ticks(100_000);
        let server = Server::start([path(&recording), "--loop"]);
        let mut client = Client::connect(&server.url).await;
        client.subscribe_to_all().await;
        client.message().await;
        server.signal(signal);
        let received = client.rest().await;
        assert_eq!(
            received.last(),
            Some(&Received::Closed { code: 1001, reason: "fgplay was stopped".into() })
        );
        assert_eq!(server.wait().0, Some(0));
    }
}

/// A server that has played 20 MB, and waits for a client that has not read them.
#[cfg(unix)]
async fn finishing() -> (Server, Client) {
    let blob = "x".repeat(1_000_000);
    let lines: String = (0..20)
        .map(|n| {
            let time = START + n * MILLISECOND;
            format!("{{\"topic\":\"/big\",\"log_time\":{time},\"data\":{{\"blob\":\"{blob}\"}}}}\n")
        })
        .collect();
    let recording = file(lines);
    let server = Server::start([path(&recording), "--at-end", "exit"]);
    let mut client = Client::connect(&server.url).await;
    client.subscribe_to_all().await;
    // At the end it takes no more connections.
    let address = server.url.trim_start_matches("ws://").trim_end_matches('/');
    while tokio::net::TcpStream::connect(address).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    (server, client)
}

#[cfg(unix)]
#[tokio::test]
async fn a_signal_at_the_end_closes_what_a_slow_client_still_takes_with_success() {
    let (server, mut client) = finishing().await;
    server.signal("INT");
    // Time to end, if it were not to wait for the client's close frame.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let received = client.rest().await;
    assert!(matches!(received.last(), Some(Received::Closed { .. })));
    assert_eq!(server.wait().0, Some(0));
}

#[cfg(unix)]
#[tokio::test]
async fn the_next_signal_waits_for_nobody() {
    let (server, _client) = finishing().await;
    // Signals that come too close to each other are one.
    for _ in 0..5 {
        server.signal("TERM");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(server.wait().0, Some(130));
}

#[tokio::test]
async fn a_client_that_does_not_read_costs_only_its_own_messages_and_is_told() {
    // 40 MB in 2 s, of which a client that does not read gets what fits into its buffer and the sockets'.
    let blob = "x".repeat(100_000);
    let lines: String = (0..400)
        .map(|n| {
            let time = START + n * MILLISECOND;
            format!("{{\"topic\":\"/big\",\"log_time\":{time},\"data\":{{\"n\":{n},\"blob\":\"{blob}\"}}}}\n")
                + &format!("{{\"topic\":\"/small\",\"log_time\":{time},\"data\":{{\"n\":{n}}}}}\n")
        })
        .collect();
    let recording = file(lines);
    let server =
        Server::start([path(&recording), "--client-buffer", "4MB", "--rate", "0.2", "--at-end", "exit"]);
    let mut fast = Client::connect(&server.url).await;
    let mut slow = Client::connect(&server.url).await;
    fast.subscribe_to_all().await;
    slow.subscribe_to_all().await;
    assert_eq!(messages(&fast.rest().await).len(), 800);
    let received = slow.rest().await;
    let (big, small) = (slow.channel("/big") as u32, slow.channel("/small") as u32);
    let sent = messages(&received);
    let of = |channel| {
        sent.iter().filter(|message| message.0 == channel).map(|message| message.1).collect::<Vec<_>>()
    };
    assert_eq!(of(small).len(), 400);
    assert!(of(big).len() < 400);
    assert_eq!(of(big).last(), Some(&(START + 399 * MILLISECOND)));
    let (code, stderr) = server.wait();
    assert_eq!(code, Some(3), "{stderr}");
    let dropped = 400 - of(big).len();
    assert!(stderr.contains(&format!("{dropped} messages were dropped")), "{stderr}");
    // What it was told last is what was dropped, or a part of it where more was dropped after that.
    let told = received.iter().rev().find_map(|item| match item {
        Received::Text(status) if status["id"] == "fgplay/dropped" && status["op"] == "status" => {
            status["message"].as_str()?.split(' ').next()?.parse::<usize>().ok()
        }
        _ => None,
    });
    assert!(told.is_none_or(|told| 0 < told && told <= dropped), "{told:?} of {dropped}");
}

/// A message's channel id and log time.
type Stamp = (u32, u64);

/// Splits what was received into messages of the past and of the flow.
fn past_and_flow(received: &[Received]) -> (Vec<Stamp>, Vec<Stamp>) {
    let (mut pasts, mut flow) = (Vec::new(), Vec::new());
    for item in received {
        if let Received::Message { subscription, log_time, past, .. } = item {
            let list = if *past { &mut pasts } else { &mut flow };
            list.push((subscription - 1000, *log_time));
        }
    }
    (pasts, flow)
}

#[tokio::test]
async fn after_a_start_offset_the_last_message_before_it_comes_first() {
    let recording = ticks(300);
    let arguments = [path(&recording), "--start-offset", "0.1", "--at-end", "exit"];
    let server = Server::start(arguments);
    let mut client = Client::connect(&server.url).await;
    client.subscribe(&["/once", "/tick"]).await;
    let (past, flow) = past_and_flow(&client.rest().await);
    let (once, tick) = (client.channel("/once") as u32, client.channel("/tick") as u32);
    assert_eq!(past, [(once, START), (tick, START + 99 * MILLISECOND)]);
    assert_eq!(flow, (100..300).map(|n| (tick, START + n * MILLISECOND)).collect::<Vec<_>>());

    let server = Server::start([&arguments[..], &["--no-lookback"]].concat());
    let mut client = Client::connect(&server.url).await;
    client.subscribe(&["/once", "/tick"]).await;
    let (past, flow) = past_and_flow(&client.rest().await);
    assert_eq!((past.len(), flow.len()), (0, 200));
}

#[tokio::test]
async fn who_subscribes_late_gets_the_last_message_and_then_the_flow_without_a_gap() {
    let recording = ticks(2000);
    let server = Server::start([path(&recording), "--at-end", "exit"]);
    let mut early = Client::connect(&server.url).await;
    early.subscribe_to_all().await;
    early.message().await;
    let mut late = Client::connect(&server.url).await;
    while early.message().await.0 < START + 200 * MILLISECOND {}
    late.subscribe(&["/once", "/tick"]).await;
    let (past, flow) = past_and_flow(&late.rest().await);
    let (once, tick) = (late.channel("/once") as u32, late.channel("/tick") as u32);
    assert_eq!(past[0], (once, START));
    // Where the position is just at a message, that message is not of the past.
    let all: Vec<u64> = past[1..]
        .iter()
        .chain(&flow)
        .map(|(channel, time)| {
            assert_eq!(*channel, tick);
            *time
        })
        .collect();
    assert!(all[0] >= START + 150 * MILLISECOND);
    assert_eq!(all, (0..all.len() as u64).map(|n| all[0] + n * MILLISECOND).collect::<Vec<_>>());
    assert_eq!(all.last(), Some(&(START + 1999 * MILLISECOND)));
}

#[tokio::test]
async fn after_the_end_a_viewer_still_gets_how_things_stand() {
    let recording = ticks(20);
    let server = Server::start([path(&recording), "--start", "now"]);
    let mut watcher = Client::connect(&server.url).await;
    while watcher.next().await != Received::Time(START + 19 * MILLISECOND) {}
    let mut client = Client::connect(&server.url).await;
    client.subscribe(&["/once", "/tick"]).await;
    assert_eq!(client.message().await, (START, b"{}".to_vec()));
    assert_eq!(client.message().await, (START + 19 * MILLISECOND, b"{\"tick\": 19}".to_vec()));
}

#[tokio::test]
async fn as_fast_as_it_goes_everybody_gets_everything_however_small_the_buffer() {
    let recording = ticks(20_000);
    let arguments = ["--rate", "max", "--client-buffer", "16kB", "--at-end", "exit", "--start-paused"];
    let server = Server::start([path(&recording)].iter().chain(&arguments));
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = Client::connect(&server.url).await;
        client.subscribe_to_all().await;
        clients.push(client);
    }
    // Once one is answered, the server has heard of all that it said before.
    for client in &mut clients {
        client.control(1, 1e9, None).await;
    }
    let first = clients[0].control(0, 1e9, None).await;
    let mut received = futures_util::future::join_all(clients.iter_mut().map(Client::rest)).await;
    received[0].splice(0..0, first);
    for received in received {
        let times: Vec<u64> = received
            .iter()
            .filter_map(|item| match item {
                Received::Message { subscription: 1001, log_time, .. } => Some(*log_time),
                _ => None,
            })
            .collect();
        assert_eq!(times, (0..20_000).map(|tick| START + tick * MILLISECOND).collect::<Vec<_>>());
    }
    let (code, stderr) = server.wait();
    assert_eq!(code, Some(0), "{stderr}");
}

#[cfg(unix)]
#[tokio::test]
async fn where_nobody_reads_stderr_viewers_are_served_and_signals_work() {
    use std::io::BufRead as _;
    use std::process::Stdio;

    let recording = ticks(100);
    let mut command =
        crate::program::fgplay([path(&recording), "--port", "0", "-v", "--loop", "--start", "now"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    std::io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
    let url = ready["url"].as_str().unwrap();
    // Each is told of in more than a hundred bytes, and a pipe takes 64 kB.
    for _ in 0..700 {
        Client::connect(url).await;
    }
    let mut client = Client::connect(url).await;
    client.subscribe_to_all().await;
    client.message().await;
    let id = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-s", "TERM", &id]).status().unwrap().success());
    assert!(matches!(client.rest().await.last(), Some(Received::Closed { code: 1001, .. })));
    let status = tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap();
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn who_vanishes_in_the_middle_of_a_request_holds_nobody_up() {
    let blob = "x".repeat(100_000);
    let lines: String = (0..2000u64)
        .map(|n| {
            format!("{{\"topic\":\"/big\",\"log_time\":{},\"data\":{{\"blob\":\"{blob}\"}}}}\n", START + n)
        })
        .collect();
    let recording = file(lines);
    let server = Server::start([path(&recording), "--lossless", "--start-paused", "--client-buffer", "1MB"]);
    let mut bursts = Client::connect(&server.url).await;
    bursts.subscribe_to_all().await;
    // More than it can be sent before it reads, and so this never ends.
    let burst = crate::client::service_call("json", 9, br#"{"num_messages": 2000}"#);
    bursts.send_raw(burst).await;
    let mut other = Client::connect(&server.url).await;
    bursts.message().await;
    drop(bursts);
    assert_eq!(other.call(6, "{}").await.unwrap()["rate"], 1.0);
    assert!(other.call(8, "{}").await.is_ok());
}
