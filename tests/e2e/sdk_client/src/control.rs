//! What the script that started this client asks for: one JSON object per line on stdin.

use std::collections::HashMap;
use std::io;
use std::net::TcpStream;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use foxglove::ws_protocol::client::{
    GetParameters, PlaybackCommand, PlaybackControlRequest, ServiceCallRequest, SetParameters,
};
use foxglove::ws_protocol::parameter::Parameter;
use foxglove::ws_protocol::server::advertise_services::Service;
use serde::Deserialize;
use serde_json::{Value, json};
use tungstenite::stream::MaybeTlsStream;
use tungstenite::{Message, WebSocket};

use crate::{Client, Result};

/// How long reading waits before it looks for commands.
const LOOK_FOR_COMMANDS: Duration = Duration::from_millis(5);

#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "camelCase")]
pub enum Command {
    Subscribe,
    GetParameters {
        names: Vec<String>,
        id: String,
    },
    SetParameters {
        parameters: Vec<Parameter>,
        id: String,
    },
    Call {
        service: String,
        request: Value,
        id: u32,
    },
    Playback {
        command: String,
        speed: f32,
        /// In nanoseconds. As text, since not every reader of JSON takes such numbers.
        seek: Option<String>,
        id: String,
    },
    Close,
}

/// What was asked for, or what could not be read.
pub type Commands = Receiver<std::result::Result<Command, String>>;

/// The ids of the services that are offered, by their names.
#[derive(Default)]
pub struct Services(HashMap<String, u32>);

impl Services {
    /// Remembers services, and gives them as the event log has them.
    pub fn take(&mut self, services: &[Service<'_>]) -> Vec<Value> {
        self.0.extend(services.iter().map(|service| (service.name.to_string(), service.id)));
        services.iter().map(|service| json!({ "id": service.id, "name": service.name })).collect()
    }
}

/// Reads commands from stdin from now on, and lets the socket wait for messages only for a moment.
pub fn commands(socket: &WebSocket<MaybeTlsStream<TcpStream>>) -> Result<Commands> {
    if let MaybeTlsStream::Plain(stream) = socket.get_ref() {
        stream.set_read_timeout(Some(LOOK_FOR_COMMANDS))?;
    }
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in io::stdin().lines().map_while(io::Result::ok) {
            let command = serde_json::from_str(&line).map_err(|error| format!("{line}: {error}"));
            if sender.send(command).is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}

impl Client {
    /// Does what was asked for since the last time.
    pub fn carry_out_commands(&mut self) -> Result<()> {
        while let Some(Ok(command)) = self.commands.as_ref().map(Receiver::try_recv) {
            self.carry_out(command?)?;
        }
        Ok(())
    }

    fn carry_out(&mut self, command: Command) -> Result<()> {
        let request = match command {
            Command::Subscribe => return self.subscribe(0),
            Command::Close => return Ok(self.socket.close(None)?),
            Command::GetParameters { names, id } => Message::from(&GetParameters::new(names).with_id(id)),
            Command::SetParameters { parameters, id } => {
                Message::from(&SetParameters::new(parameters).with_id(id))
            }
            Command::Call { service, request, id } => Message::from(&ServiceCallRequest {
                service_id: *self.services.0.get(&service).ok_or_else(|| format!("no service {service}"))?,
                call_id: id,
                encoding: "json".into(),
                payload: request.to_string().into_bytes().into(),
            }),
            Command::Playback { command, speed, seek, id } => Message::from(&PlaybackControlRequest {
                playback_command: match command.as_str() {
                    "play" => PlaybackCommand::Play,
                    "pause" => PlaybackCommand::Pause,
                    other => return Err(format!("no playback command {other}").into()),
                },
                playback_speed: speed,
                seek_time: seek.map(|time| time.parse()).transpose()?,
                request_id: id,
            }),
        };
        self.socket.send(request)?;
        Ok(())
    }
}
