use foxglove::ws_protocol::JsonMessage;
use foxglove::ws_protocol::client as sdk;
use serde_json::json;

use super::*;
use crate::foxglove::parameter::tests as parameters;

fn read(message: &impl JsonMessage) -> ClientMessage {
    ClientMessage::parse_text(&message.to_string()).unwrap()
}

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).into()).collect()
}

#[test]
fn subscriptions_are_read() {
    let text = r#"{"op":"subscribe","subscriptions":[{"id":0,"channelId":3},{"id":9,"channelId":0,"x":1}]}"#;
    let expected =
        [(0, 3), (9, 0)].map(|(id, channel)| Subscription { id, channel: ChannelId(channel) }).to_vec();
    assert_eq!(ClientMessage::parse_text(text), Ok(ClientMessage::Subscribe(expected)));
    let text = r#"{"subscriptionIds":[1,2],"op":"unsubscribe"}"#;
    assert_eq!(ClientMessage::parse_text(text), Ok(ClientMessage::Unsubscribe(vec![1, 2])));
}

#[test]
fn what_can_not_be_taken_is_explained() {
    let error = |text: &str| ClientMessage::parse_text(text).unwrap_err();
    for text in ["", "{", "[]", "1", r#"{"op":5}"#, r#"{"subscriptions":[]}"#, "\u{0}"] {
        assert!(matches!(error(text), ClientMessageError::NotAnOperation(_)), "{text:?}");
    }
    assert_eq!(error(r#"{"op":"fly"}"#), ClientMessageError::UnknownOperation("fly".into()));
    for op in ["advertise", "unadvertise"] {
        assert_eq!(error(&format!(r#"{{"op":"{op}"}}"#)), ClientMessageError::NotOffered(op));
    }
    for text in [
        r#"{"op":"subscribe"}"#,
        r#"{"op":"subscribe","subscriptions":[{"id":-1,"channelId":3}]}"#,
        r#"{"op":"subscribe","subscriptions":[{"id":1}]}"#,
        r#"{"op":"unsubscribe","subscriptionIds":[4294967296]}"#,
        r#"{"op":"getParameters"}"#,
        r#"{"op":"getParameters","parameterNames":[],"id":5}"#,
        r#"{"op":"setParameters","parameters":[{"value":1}]}"#,
        r#"{"op":"setParameters","parameters":[{"name":"a","value":1,"type":2}]}"#,
        r#"{"op":"subscribeParameterUpdates","parameterNames":"a"}"#,
        r#"{"op":"unsubscribeParameterUpdates","parameterNames":[null]}"#,
        r#"{"op":"fetchAsset","uri":"x"}"#,
        r#"{"op":"fetchAsset","uri":"x","requestId":-1}"#,
    ] {
        assert!(matches!(error(text), ClientMessageError::BadFields { .. }), "{text}");
    }
    let long = format!(r#"{{"op":"{}"}}"#, "é".repeat(1000));
    assert!(error(&long).to_string().len() < 400);
    let long = format!(r#"{{"op":"subscribe","subscriptions":"{}"}}"#, "x".repeat(1000));
    assert!(error(&long).to_string().len() < 400);
}

#[test]
fn binary_messages_are_refused_by_name() {
    let error = |bytes: &[u8]| ClientMessage::parse_binary(bytes).unwrap_err().to_string();
    assert!(error(&[3, 0]).contains("Playback Control Request"));
    assert!(error(&[1, 0]).contains("Client Message Data"));
    assert!(error(&[2, 0]).contains("Service Call Request"));
    assert!(error(&[77]).contains("opcode 77"));
    assert!(error(&[]).contains("empty"));
}

#[test]
fn subscriptions_of_the_sdk_are_read() {
    let subscribe = sdk::Subscribe::new([sdk::Subscription::new(1, 2)]);
    let expected = vec![Subscription { id: 1, channel: ChannelId(2) }];
    assert_eq!(read(&subscribe), ClientMessage::Subscribe(expected));
    assert_eq!(read(&sdk::Unsubscribe::new([5, 6])), ClientMessage::Unsubscribe(vec![5, 6]));
}

#[test]
fn what_the_sdk_asks_of_parameters_is_read() {
    let get = sdk::GetParameters::new(["a", "b"]);
    let names = strings(&["a", "b"]);
    assert_eq!(read(&get), ClientMessage::GetParameters { names: names.clone(), id: None });
    let id = Some("1".to_owned());
    assert_eq!(
        read(&get.with_id("1")),
        ClientMessage::GetParameters { names: names.clone(), id: id.clone() }
    );
    let all = sdk::GetParameters::new([""; 0]);
    assert_eq!(read(&all), ClientMessage::GetParameters { names: vec![], id: None });

    let (theirs, parameters): (Vec<_>, Vec<_>) = parameters::examples().into_iter().unzip();
    let set = sdk::SetParameters::new(theirs);
    let expected = |id| ClientMessage::SetParameters { parameters: parameters.clone(), id };
    assert_eq!(read(&set), expected(None));
    assert_eq!(read(&set.with_id("1")), expected(id));

    let subscribe = sdk::SubscribeParameterUpdates::new(["a", "b"]);
    assert_eq!(read(&subscribe), ClientMessage::SubscribeParameterUpdates(names.clone()));
    let unsubscribe = sdk::UnsubscribeParameterUpdates::new(["a", "b"]);
    assert_eq!(read(&unsubscribe), ClientMessage::UnsubscribeParameterUpdates(names));
}

#[test]
fn what_the_sdk_asks_of_the_connection_graph_and_assets_is_read() {
    assert_eq!(read(&sdk::SubscribeConnectionGraph {}), ClientMessage::SubscribeConnectionGraph);
    assert_eq!(read(&sdk::UnsubscribeConnectionGraph {}), ClientMessage::UnsubscribeConnectionGraph);
    let uri = "package://robot/é.stl";
    let expected = ClientMessage::FetchAsset { uri: uri.into(), request: u32::MAX };
    assert_eq!(read(&sdk::FetchAsset::new(u32::MAX, uri)), expected);
}

#[test]
fn the_name_of_an_operation_is_the_one_that_the_client_wrote() {
    let fields = json!({
        "subscriptions": [], "subscriptionIds": [], "parameterNames": [], "parameters": [],
        "uri": "", "requestId": 0,
    });
    for name in [
        "subscribe",
        "unsubscribe",
        "getParameters",
        "setParameters",
        "subscribeParameterUpdates",
        "unsubscribeParameterUpdates",
        "subscribeConnectionGraph",
        "unsubscribeConnectionGraph",
        "fetchAsset",
    ] {
        let mut message = fields.clone();
        message["op"] = name.into();
        assert_eq!(ClientMessage::parse_text(&message.to_string()).unwrap().operation(), name);
    }
}
