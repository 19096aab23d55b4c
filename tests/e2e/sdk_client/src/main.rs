//! Records what a server sends to a client of `foxglove.sdk.v1` that subscribes to every channel. Every
//! message is read, and every request written, by the Foxglove SDK's own protocol types.
//!
//! ```text
//! fgplay-e2e-sdk-client URL OUTPUT [--wait | --pause SPEED | --control]
//! ```
//!
//! With `--pause` it asks for a pause at this speed after some messages, and to play on once it is told that
//! playback is paused.
//!
//! Output, stdout, `--wait` and `--control` are those of `ws_protocol_client.mjs` beside this crate.

mod control;

use std::error::Error;
use std::fs::File;
use std::io::{self, Write};
use std::net::TcpStream;
use std::time::Instant;

use base64::prelude::{BASE64_STANDARD, Engine};
use foxglove::ws_protocol::client::{PlaybackCommand, PlaybackControlRequest, Subscribe, Subscription};
use foxglove::ws_protocol::server::advertise::Channel;
use foxglove::ws_protocol::server::{Advertise, MessageData, PlaybackState, ServerInfo, ServerMessage};
use serde_json::{Value, json};
use tungstenite::stream::MaybeTlsStream;
use tungstenite::{ClientRequestBuilder, Message, WebSocket};

use control::{Commands, Services};

/// After how many messages a pause is asked for.
const PAUSE_AFTER: u64 = 200;

const SUBPROTOCOL: &str = "foxglove.sdk.v1";

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// One connection, and what is known of it.
struct Client {
    socket: WebSocket<MaybeTlsStream<TcpStream>>,
    log: EventLog,
    /// Which channel a subscription is of: subscription ids are indices into this, plus one.
    channels: Vec<u64>,
    /// Whether a line on stdin has to come before the first subscription.
    wait: bool,
    messages: u64,
    /// The speed at which a pause is asked for.
    pause: Option<f32>,
    /// The services that are offered.
    services: Services,
    /// What is asked for on stdin, with `--control`.
    commands: Option<Commands>,
}

/// The file that gets one JSON object per event.
struct EventLog {
    file: File,
    start: Instant,
    /// Whether stdout gets the same.
    aloud: bool,
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().ok_or("the first argument is the URL")?;
    let output = arguments.next().ok_or("the second argument is the output file")?;
    let option = arguments.next();
    let wait = option.as_deref() == Some("--wait");
    let pause = match option.as_deref() {
        Some("--pause") => Some(arguments.next().ok_or("--pause takes a speed")?.parse()?),
        _ => None,
    };

    let aloud = option.as_deref() == Some("--control");
    let mut log = EventLog { file: File::create(output)?, start: Instant::now(), aloud };
    let request = ClientRequestBuilder::new(url.parse()?).with_sub_protocol(SUBPROTOCOL);
    let (socket, response) = tungstenite::connect(request)?;
    let protocol = response.headers().get("sec-websocket-protocol").and_then(|name| name.to_str().ok());
    log.write("open", json!({ "protocol": protocol }))?;
    let commands = if aloud { Some(control::commands(&socket)?) } else { None };
    let services = Services::default();
    Client { socket, log, channels: Vec::new(), wait, messages: 0, pause, services, commands }.run()
}

impl Client {
    /// Records events until the connection ends.
    fn run(mut self) -> Result<()> {
        let mut close = json!({ "code": 1006, "reason": "no close frame" });
        loop {
            self.carry_out_commands()?;
            match self.socket.read() {
                Ok(Message::Close(frame)) => {
                    let code = frame.as_ref().map_or(1005, |frame| u16::from(frame.code));
                    let reason = frame.as_ref().map_or("", |frame| frame.reason.as_str());
                    close = json!({ "code": code, "reason": reason });
                }
                Ok(message @ (Message::Text(_) | Message::Binary(_))) => self.take(&message)?,
                Ok(_) => {}
                Err(tungstenite::Error::ConnectionClosed) => break,
                // Time to look for commands.
                Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    self.log.write("error", json!({ "message": error.to_string() }))?;
                    break;
                }
            }
        }
        self.log.write("close", close)
    }

    fn take(&mut self, message: &Message) -> Result<()> {
        match ServerMessage::try_from(message) {
            Ok(ServerMessage::MessageData(data)) => self.take_data(&data),
            Ok(ServerMessage::Time(time)) => {
                self.log.write("time", json!({ "time": time.timestamp.to_string() }))
            }
            Ok(ServerMessage::ServerInfo(info)) => self.log.write("serverInfo", server_info(&info)),
            Ok(ServerMessage::Advertise(advertise)) => self.take_channels(&advertise),
            Ok(ServerMessage::Status(status)) => {
                self.log.write("status", json!({ "level": status.level as u8, "message": status.message }))
            }
            Ok(ServerMessage::PlaybackState(state)) => self.take_state(&state),
            Ok(ServerMessage::AdvertiseServices(advertised)) => {
                let services = self.services.take(&advertised.services);
                self.log.write("advertiseServices", json!({ "services": services }))
            }
            Ok(ServerMessage::ParameterValues(values)) => {
                self.log.write("parameterValues", json!({ "parameters": values.parameters, "id": values.id }))
            }
            Ok(ServerMessage::ServiceCallResponse(response)) => self.log.write(
                "serviceCallResponse",
                json!({
                    "callId": response.call_id,
                    "encoding": response.encoding,
                    "response": std::str::from_utf8(&response.payload)?,
                }),
            ),
            Ok(ServerMessage::ServiceCallFailure(failure)) => self.log.write(
                "serviceCallFailure",
                json!({ "callId": failure.call_id, "message": failure.message }),
            ),
            Ok(other) => self.log.write("error", json!({ "message": format!("unexpected: {other:?}") })),
            Err(error) => self.log.write("error", json!({ "message": error.to_string() })),
        }
    }

    fn take_data(&mut self, message: &MessageData<'_>) -> Result<()> {
        let index = message.subscription_id.checked_sub(1).and_then(|index| usize::try_from(index).ok());
        let channel = index.and_then(|index| self.channels.get(index));
        self.log.write(
            "message",
            json!({
                "channel": channel,
                "logTime": message.log_time.to_string(),
                "data": BASE64_STANDARD.encode(&message.data),
            }),
        )?;
        self.messages += 1;
        if self.messages == 1 {
            self.say("playing")?;
        }
        match self.pause {
            Some(speed) if self.messages == PAUSE_AFTER => self.ask(PlaybackCommand::Pause, speed, "pause"),
            _ => Ok(()),
        }
    }

    fn take_state(&mut self, state: &PlaybackState) -> Result<()> {
        self.log.write(
            "playbackState",
            json!({
                "status": format!("{:?}", state.status),
                "time": state.current_time.to_string(),
                "speed": state.playback_speed,
                "didSeek": state.did_seek,
                "requestId": state.request_id,
            }),
        )?;
        match (self.pause, state.request_id.as_deref()) {
            (Some(speed), Some("pause")) => self.ask(PlaybackCommand::Play, speed, "play"),
            _ => Ok(()),
        }
    }

    fn ask(&mut self, command: PlaybackCommand, speed: f32, id: &str) -> Result<()> {
        let request = PlaybackControlRequest {
            playback_command: command,
            playback_speed: speed,
            seek_time: None,
            request_id: id.to_owned(),
        };
        self.socket.send(Message::from(&request))?;
        Ok(())
    }

    fn take_channels(&mut self, advertise: &Advertise<'_>) -> Result<()> {
        for channel in advertise.channels.iter().filter(|channel| channel.schema_encoding.is_some()) {
            if let Err(error) = channel.decode_schema() {
                let message = format!("the schema of {}: {error}", channel.topic);
                self.log.write("error", json!({ "message": message }))?;
            }
        }
        let channels: Vec<Value> = advertise.channels.iter().map(channel_info).collect();
        self.log.write("advertise", json!({ "channels": channels }))?;

        if self.channels.is_empty() {
            self.say("advertised")?;
        }
        if std::mem::take(&mut self.wait) {
            io::stdin().read_line(&mut String::new())?;
        }
        let known = self.channels.len();
        self.channels.extend(advertise.channels.iter().map(|channel| channel.id));
        if self.commands.is_none() { self.subscribe(known) } else { Ok(()) }
    }

    /// Subscribes to all channels from this place in the list on.
    fn subscribe(&mut self, first: usize) -> Result<()> {
        let mut subscriptions = Vec::new();
        for (number, channel) in (1..).zip(&self.channels).skip(first) {
            subscriptions.push(Subscription::new(number, *channel));
        }
        self.socket.send(Message::from(&Subscribe::new(subscriptions)))?;
        Ok(())
    }

    /// Tells the script that started this client how far it is.
    fn say(&self, word: &str) -> Result<()> {
        if !self.log.aloud {
            print(word)?;
        }
        Ok(())
    }
}

impl EventLog {
    fn write(&mut self, event: &str, fields: Value) -> Result<()> {
        let mut object = json!({ "event": event, "at": self.start.elapsed().as_secs_f64() });
        if let (Value::Object(object), Value::Object(fields)) = (&mut object, fields) {
            object.extend(fields);
        }
        writeln!(self.file, "{object}")?;
        if self.aloud {
            print(&object.to_string())?;
        }
        Ok(())
    }
}

fn server_info(info: &ServerInfo) -> Value {
    json!({
        "name": info.name,
        "capabilities": info.capabilities,
        "metadata": info.metadata,
        "sessionId": info.session_id,
    })
}

fn channel_info(channel: &Channel<'_>) -> Value {
    json!({
        "id": channel.id,
        "topic": channel.topic,
        "encoding": channel.encoding,
        "schemaName": channel.schema_name,
        "schemaEncoding": channel.schema_encoding,
        "schema": channel.schema,
    })
}

/// Prints a line at once.
fn print(line: &str) -> Result<()> {
    let mut stdout = io::stdout();
    writeln!(stdout, "{line}")?;
    stdout.flush()?;
    Ok(())
}
