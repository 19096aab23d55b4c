use std::sync::Arc;

use foxglove::ws_protocol::JsonMessage;
use foxglove::ws_protocol::schema as sdk_schema;
use foxglove::ws_protocol::server as sdk;
use serde_json::Value;

use super::*;
use crate::foxglove::ServiceMessage;
use crate::foxglove::parameter::tests as parameters;

/// That a message has the same fields as the SDK writes, and that the SDK reads it.
fn assert_same(own: &ServerMessage<'_>, theirs: &impl JsonMessage) {
    let value = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let (own, theirs) = (own.to_json(), theirs.to_string());
    assert_eq!(value(&own), value(&theirs));
    assert_eq!(
        sdk::ServerMessage::parse_json(&own).unwrap(),
        sdk::ServerMessage::parse_json(&theirs).unwrap()
    );
}

fn channel(encoding: &str, schema_encoding: &str, data: &'static [u8]) -> Channel {
    let schema = Schema { name: "pkg.T".into(), encoding: schema_encoding.into(), data: data.into() };
    Channel {
        topic: "/t".into(),
        message_encoding: encoding.into(),
        schema: Some(Arc::new(schema)),
        ..Channel::default()
    }
}

#[test]
fn server_info_is_what_the_protocol_says() {
    let metadata = BTreeMap::from([("ROS_DISTRO".to_owned(), "humble".to_owned())]);
    let info = ServerMessage::ServerInfo {
        name: "run.mcap",
        capabilities: &[Capability::Time],
        supported_encodings: &[],
        metadata: &metadata,
        session_id: "5",
        data_start_time: None,
        data_end_time: None,
    };
    assert_eq!(
        info.to_json(),
        r#"{"op":"serverInfo","name":"run.mcap","capabilities":["time"],"metadata":{"ROS_DISTRO":"humble"},"sessionId":"5"}"#
    );
    let info = ServerMessage::ServerInfo {
        name: "",
        capabilities: &[Capability::Time, Capability::PlaybackControl],
        supported_encodings: &["json", "cdr"],
        metadata: &BTreeMap::new(),
        session_id: "5",
        data_start_time: Some(Timestamp::from_nanos(1_000_000_002).into()),
        data_end_time: Some(Timestamp::MAX.into()),
    };
    assert_eq!(
        info.to_json(),
        r#"{"op":"serverInfo","name":"","capabilities":["time","playbackControl"],"supportedEncodings":["json","cdr"],"metadata":{},"sessionId":"5","dataStartTime":{"sec":1,"nsec":2},"dataEndTime":{"sec":4294967295,"nsec":709551615}}"#
    );
}

#[test]
fn statuses_have_numbers_for_levels() {
    let status = ServerMessage::Status { level: StatusLevel::Error, message: "no \"x\"", id: None };
    assert_eq!(status.to_json(), r#"{"op":"status","level":2,"message":"no \"x\""}"#);
    let status = ServerMessage::Status { level: StatusLevel::Info, message: "", id: Some("a") };
    assert_eq!(status.to_json(), r#"{"op":"status","level":0,"message":"","id":"a"}"#);
    let gone = ServerMessage::RemoveStatus { status_ids: &["a"] };
    assert_eq!(gone.to_json(), r#"{"op":"removeStatus","statusIds":["a"]}"#);
}

#[test]
fn binary_schemas_go_as_base64_and_the_others_as_text() {
    let text = |encoding: &str, data: &'static [u8]| {
        schema_text(channel("x", encoding, data).schema.as_deref().unwrap())
    };
    assert_eq!(text("protobuf", b"abc"), "YWJj");
    assert_eq!(text("flatbuffer", b"abc"), "YWJj");
    assert_eq!(text("ros2msg", b"int32 x"), "int32 x");
    assert_eq!(text("own", b"int32 x"), "int32 x");
    assert_eq!(text("own", b"\xff"), "/w==");
}

#[test]
fn a_channel_without_schema_is_advertised_with_an_empty_one() {
    let with = channel("cdr", "ros2msg", b"int32 x");
    let without = Channel { schema: None, ..channel("json", "", b"") };
    let channels =
        [AdvertisedChannel::new(ChannelId(1), &with), AdvertisedChannel::new(ChannelId(2), &without)];
    assert_eq!(
        ServerMessage::Advertise { channels: &channels }.to_json(),
        concat!(
            r#"{"op":"advertise","channels":["#,
            r#"{"id":1,"topic":"/t","encoding":"cdr","schemaName":"pkg.T","schema":"int32 x","schemaEncoding":"ros2msg"},"#,
            r#"{"id":2,"topic":"/t","encoding":"json","schemaName":"","schema":""}]}"#
        )
    );
}

#[test]
fn server_info_has_the_fields_of_the_sdk() {
    let metadata = BTreeMap::from([("ROS_DISTRO".to_owned(), "humble".to_owned())]);
    let (start, end) = (Timestamp::from_nanos(1_000_000_002), Timestamp::from_nanos(3_000_000_004));
    let own = ServerMessage::ServerInfo {
        name: "run.mcap",
        capabilities: &[
            Capability::Time,
            Capability::PlaybackControl,
            Capability::Parameters,
            Capability::ParametersSubscribe,
            Capability::Services,
            Capability::ConnectionGraph,
            Capability::Assets,
        ],
        supported_encodings: &["json", "cdr"],
        metadata: &metadata,
        session_id: "5",
        data_start_time: Some(start.into()),
        data_end_time: Some(end.into()),
    };
    let theirs = sdk::ServerInfo::new("run.mcap")
        .with_capabilities([
            sdk::server_info::Capability::Time,
            sdk::server_info::Capability::PlaybackControl,
            sdk::server_info::Capability::Parameters,
            sdk::server_info::Capability::ParametersSubscribe,
            sdk::server_info::Capability::Services,
            sdk::server_info::Capability::ConnectionGraph,
            sdk::server_info::Capability::Assets,
        ])
        .with_supported_encodings(["json", "cdr"])
        .with_metadata(metadata.clone().into_iter().collect())
        .with_session_id("5")
        .with_playback_time_range(Some((start.as_nanos(), end.as_nanos())));
    assert_same(&own, &theirs);
}

#[test]
fn parameter_values_have_the_fields_of_the_sdk() {
    let (theirs, own): (Vec<_>, Vec<_>) = parameters::examples().into_iter().unzip();
    let theirs = sdk::ParameterValues::new(theirs);
    assert_same(&ServerMessage::ParameterValues { parameters: &own, id: None }, &theirs);
    let own = ServerMessage::ParameterValues { parameters: &own, id: Some("7") };
    assert_same(&own, &theirs.with_id("7"));
}

#[test]
fn services_have_the_fields_of_the_sdk() {
    let message = |schema_name| ServiceMessage {
        encoding: "json",
        schema_name,
        schema_encoding: "jsonschema",
        schema: r#"{"type":"object"}"#,
    };
    let service = AdvertisedService {
        id: 3,
        name: "/seek",
        service_type: "fgplay/Seek",
        request: message("Request"),
        response: message("Response"),
    };
    let schema = |name| sdk_schema::Schema::new(name, "jsonschema", br#"{"type":"object"}"#);
    let theirs = sdk::advertise_services::Service::new(3, "/seek", "fgplay/Seek")
        .with_request("json", schema("Request"))
        .unwrap()
        .with_response("json", schema("Response"))
        .unwrap();
    let own = ServerMessage::AdvertiseServices { services: &[service] };
    assert_same(&own, &sdk::AdvertiseServices::new([theirs]));
}

#[test]
fn a_failed_call_has_the_fields_of_the_sdk() {
    let own = ServerMessage::ServiceCallFailure { service_id: 1, call_id: 2, message: "no" };
    assert_same(&own, &sdk::ServiceCallFailure::new(1, 2, "no"));
}

#[test]
fn the_connection_graph_has_the_fields_of_the_sdk() {
    use sdk::connection_graph_update as sdk_graph;
    let own = ServerMessage::ConnectionGraphUpdate {
        published_topics: &[PublishedTopic { name: "/a", publisher_ids: vec!["p", "q"] }],
        subscribed_topics: &[SubscribedTopic { name: "/b", subscriber_ids: vec![] }],
        advertised_services: &[ProvidedService { name: "/c", provider_ids: vec!["r"] }],
        removed_topics: &["/d"],
        removed_services: &["/e", "/f"],
    };
    let theirs = sdk::ConnectionGraphUpdate {
        published_topics: vec![sdk_graph::PublishedTopic::new("/a", ["p", "q"])],
        subscribed_topics: vec![sdk_graph::SubscribedTopic::new("/b", [""; 0])],
        advertised_services: vec![sdk_graph::AdvertisedService::new("/c", ["r"])],
        removed_topics: vec!["/d".into()],
        removed_services: vec!["/e".into(), "/f".into()],
    };
    assert_same(&own, &theirs);
}
