//! A client that notes all it gets.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{self, Message};

/// No test waits longer than this for what has to come.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What a client got.
#[derive(Clone, Debug, PartialEq)]
pub enum Received {
    Text(Value),
    Time(u64),
    /// `past`: from before the last Time. Any other equals it.
    Message {
        subscription: u32,
        log_time: u64,
        past: bool,
        data: Vec<u8>,
    },
    State {
        status: u8,
        time: u64,
        speed: f32,
        did_seek: bool,
        request: String,
    },
    /// The answer to a service call.
    Service {
        service: u32,
        call: u32,
        encoding: String,
        payload: Value,
    },
    /// The answer to a fetch of an asset.
    Asset {
        request: u32,
        result: Result<Vec<u8>, String>,
    },
    Closed {
        code: u16,
        reason: String,
    },
}

pub struct Client {
    socket: WebSocketStream<TcpStream>,
    /// The channels that were advertised, as the server wrote them.
    pub channels: Vec<Value>,
    /// What the server said before and with the channels.
    pub greeting: Vec<Received>,
    pub protocol: String,
    /// The last Time.
    time: Option<u64>,
}

/// How many bytes the system keeps for a client that does not read.
const RECEIVE_BUFFER: u32 = 256 * 1024;

impl Client {
    /// Connects, and takes what the server says first, up to all channels.
    pub async fn connect(url: &str) -> Self {
        Self::connect_as(url, "foxglove.websocket.v1").await.unwrap()
    }

    /// Connects with these names of the protocol.
    pub async fn connect_as(url: &str, protocols: &str) -> Result<Self, tungstenite::Error> {
        let mut request = url.into_client_request()?;
        request.headers_mut().insert("Sec-WebSocket-Protocol", protocols.parse().unwrap());
        let address = url.trim_start_matches("ws://").split('/').next().unwrap();
        let socket = TcpSocket::new_v4()?;
        // Little waits in the system, so that what is not read yet is not sent yet.
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        let stream = socket.connect(address.parse().unwrap()).await?;
        stream.set_nodelay(true)?;
        let (socket, response) = tokio_tungstenite::client_async(request, stream).await?;
        let protocol = response.headers()["Sec-WebSocket-Protocol"].to_str().unwrap().to_owned();
        let mut client = Client { socket, channels: Vec::new(), greeting: Vec::new(), protocol, time: None };
        while client.channels.is_empty() {
            let received = client.next().await;
            if let Received::Text(text) = &received
                && text["op"] == "advertise"
            {
                client.channels.extend(text["channels"].as_array().unwrap().iter().cloned());
            }
            client.greeting.push(received);
        }
        Ok(client)
    }

    /// The topic's channel id.
    pub fn channel(&self, topic: &str) -> u64 {
        let channel = self.channels.iter().find(|channel| channel["topic"] == topic);
        channel.unwrap_or_else(|| panic!("no {topic} in {:?}", self.channels))["id"].as_u64().unwrap()
    }

    pub async fn send(&mut self, message: Value) {
        self.send_raw(Message::text(message.to_string())).await;
    }

    pub async fn send_raw(&mut self, message: Message) {
        self.try_send(message).await.unwrap();
    }

    pub async fn try_send(&mut self, message: Message) -> Result<(), tungstenite::Error> {
        self.socket.send(message).await
    }

    /// Subscribes to topics, in one message: on a busy machine a second one may come after playback has begun. The
    /// subscription ids are the channel ids plus 1000.
    pub async fn subscribe(&mut self, topics: &[&str]) {
        let channels = topics.iter().map(|topic| self.channel(topic));
        let subscriptions: Vec<_> =
            channels.map(|channel| json!({"id": channel + 1000, "channelId": channel})).collect();
        self.send(json!({"op": "subscribe", "subscriptions": subscriptions})).await;
    }

    /// Subscribes to every topic.
    pub async fn subscribe_to_all(&mut self) {
        let topics: Vec<String> =
            self.channels.iter().map(|channel| channel["topic"].as_str().unwrap().to_owned()).collect();
        self.subscribe(&topics.iter().map(String::as_str).collect::<Vec<_>>()).await;
    }

    /// What comes next. Asserts that no message is from after the last Time.
    pub async fn next(&mut self) -> Received {
        let mut received = self.receive().await;
        match &mut received {
            Received::Time(time) => self.time = Some(*time),
            Received::Message { log_time, past, .. } => {
                assert!(Some(*log_time) <= self.time);
                *past = Some(*log_time) < self.time;
            }
            _ => {}
        }
        received
    }

    async fn receive(&mut self) -> Received {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.socket.next());
            match next.await.expect("the server says nothing any more") {
                Some(Ok(Message::Text(text))) => return Received::Text(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Binary(bytes))) => return parse(&bytes),
                Some(Ok(Message::Close(frame))) => {
                    let CloseFrame { code, reason } = frame.unwrap();
                    // Answers the close frame.
                    while self.socket.next().await.is_some() {}
                    return Received::Closed { code: code.into(), reason: reason.to_string() };
                }
                Some(Ok(_)) => {}
                end => panic!("the connection ended without a close frame: {end:?}"),
            }
        }
    }

    /// Everything up to the close frame.
    pub async fn rest(&mut self) -> Vec<Received> {
        let mut all = Vec::new();
        loop {
            all.push(self.next().await);
            if matches!(all.last(), Some(Received::Closed { .. })) {
                return all;
            }
        }
    }

    /// Asks something of playback, and gives all that came up to the state that answers it.
    pub async fn control(&mut self, command: u8, speed: f32, seek: Option<u64>) -> Vec<Received> {
        let mut request = vec![3, command];
        request.extend(speed.to_le_bytes());
        request.push(seek.is_some().into());
        request.extend(seek.unwrap_or(0).to_le_bytes());
        request.extend(4u32.to_le_bytes());
        request.extend(b"mine");
        self.send_raw(Message::binary(request)).await;
        let mut received = Vec::new();
        loop {
            received.push(self.next().await);
            if matches!(received.last(), Some(Received::State { request, .. }) if request == "mine") {
                return received;
            }
        }
    }

    /// The next text message with this `op`.
    pub async fn text(&mut self, op: &str) -> Value {
        loop {
            if let Received::Text(text) = self.next().await
                && text["op"] == op
            {
                return text;
            }
        }
    }

    /// Calls a service, by its name in what was advertised. Gives its answer, or why it failed.
    pub async fn call(&mut self, service: u32, request: &str) -> Result<Value, String> {
        self.call_in("json", service, request.as_bytes()).await
    }

    /// As [`call`](Self::call), in an encoding.
    pub async fn call_in(&mut self, encoding: &str, service: u32, request: &[u8]) -> Result<Value, String> {
        self.send_raw(service_call(encoding, service, request)).await;
        loop {
            match self.next().await {
                Received::Service { service: answered, call, encoding, payload } => {
                    assert_eq!((answered, call, encoding.as_str()), (service, 77, "json"));
                    return Ok(payload);
                }
                Received::Text(text) if text["op"] == "serviceCallFailure" => {
                    assert_eq!((&text["serviceId"], &text["callId"]), (&json!(service), &json!(77)));
                    return Err(text["message"].as_str().unwrap().to_owned());
                }
                _ => {}
            }
        }
    }

    /// Fetches an asset.
    pub async fn fetch(&mut self, uri: &str) -> Result<Vec<u8>, String> {
        self.send(json!({"op": "fetchAsset", "uri": uri, "requestId": 5})).await;
        loop {
            if let Received::Asset { request, result } = self.next().await {
                assert_eq!(request, 5);
                return result;
            }
        }
    }

    /// Ends its half of the connection, without reading what is on its way.
    pub async fn say_no_more(&mut self) {
        self.socket.get_mut().shutdown().await.unwrap();
    }

    /// Takes a few bytes as they come. Says how many; none once the connection is over.
    pub async fn take_some(&mut self) -> usize {
        let mut bytes = vec![0; 64 * 1024];
        self.socket.get_mut().read(&mut bytes).await.unwrap_or(0)
    }

    /// The next status' level and text.
    pub async fn status(&mut self) -> (u64, String) {
        loop {
            if let Received::Text(text) = self.next().await
                && text["op"] == "status"
            {
                return (text["level"].as_u64().unwrap(), text["message"].as_str().unwrap().to_owned());
            }
        }
    }

    /// The next message's log time and bytes.
    pub async fn message(&mut self) -> (u64, Vec<u8>) {
        loop {
            if let Received::Message { log_time, data, .. } = self.next().await {
                return (log_time, data);
            }
        }
    }
}

/// A call of a service, with the call id 77.
pub fn service_call(encoding: &str, service: u32, request: &[u8]) -> Message {
    let mut message = vec![2];
    message.extend(service.to_le_bytes());
    message.extend(77u32.to_le_bytes());
    message.extend((encoding.len() as u32).to_le_bytes());
    message.extend(encoding.as_bytes());
    message.extend(request);
    Message::binary(message)
}

fn parse(bytes: &[u8]) -> Received {
    let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    match bytes[0] {
        1 => Received::Message {
            subscription: u32::from_le_bytes(bytes[1..5].try_into().unwrap()),
            log_time: u64_at(5),
            past: false,
            data: bytes[13..].to_vec(),
        },
        2 => {
            assert_eq!(bytes.len(), 9);
            Received::Time(u64_at(1))
        }
        3 => {
            let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
            let (encoding, payload) = bytes[13..].split_at(u32_at(9) as usize);
            Received::Service {
                service: u32_at(1),
                call: u32_at(5),
                encoding: String::from_utf8(encoding.to_vec()).unwrap(),
                payload: serde_json::from_slice(payload).unwrap(),
            }
        }
        4 => {
            let length = u32::from_le_bytes(bytes[6..10].try_into().unwrap()) as usize;
            let (error, data) = bytes[10..].split_at(length);
            let error = String::from_utf8(error.to_vec()).unwrap();
            let request = u32::from_le_bytes(bytes[1..5].try_into().unwrap());
            Received::Asset { request, result: if bytes[5] == 0 { Ok(data.to_vec()) } else { Err(error) } }
        }
        5 => Received::State {
            status: bytes[1],
            time: u64_at(2),
            speed: f32::from_le_bytes(bytes[10..14].try_into().unwrap()),
            did_seek: bytes[14] != 0,
            request: String::from_utf8(bytes[19..].to_vec()).unwrap(),
        },
        opcode => panic!("unknown opcode {opcode}"),
    }
}

/// The messages of what was received: channel id, log time, bytes. Asserts that none is from the past.
pub fn messages(received: &[Received]) -> Vec<(u32, u64, Vec<u8>)> {
    let message = |item: &Received| match item {
        Received::Message { subscription, log_time, past, data } => {
            assert!(!past, "{item:?}");
            Some((subscription - 1000, *log_time, data.clone()))
        }
        _ => None,
    };
    received.iter().filter_map(message).collect()
}
