//! What clients ask for, and what they are answered.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite::Message;

use super::{End, Session};
use crate::foxglove::{
    self, ClientMessage, Parameter, PlaybackControlRequest, ServerMessage, ServiceCallRequest,
    ServiceCallResponse, StatusLevel, shortened,
};
use crate::playback::{Command, Position};
use crate::server::assets::AssetError;
use crate::server::control;
use crate::server::frame::{self, CloseCode};
use crate::server::parameters::{self, Properties};
use crate::server::services::{self, Service};

/// How many mistakes in one message a client is told one by one.
const MISTAKES_TOLD: usize = 10;

/// The longest id of a request that is taken, in bytes. It has to be sent back.
const REQUEST_ID_LIMIT: usize = 1024;

/// What a client is told that asks for a change where that is not granted.
const NO_CONTROL: &str = "this server lets nobody control its playback";

impl Session<'_> {
    /// Does what a message asks for. A reason to end, if it is one.
    ///
    /// The client's next message is read only after that, so that no client can queue up requests.
    pub(super) async fn hear(&self, message: Message) -> Option<End> {
        let wanted = match message {
            Message::Text(text) => ClientMessage::parse_text(&text),
            Message::Binary(bytes) => ClientMessage::parse_binary(&bytes),
            Message::Close(_) => {
                // It will read no message any more, only the answer to its close frame.
                self.outbox.stop_messages();
                return None;
            }
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => return None,
        };
        let result = match wanted {
            Ok(wanted) => self.carry_out(wanted).await,
            Err(error) => self.complain(StatusLevel::Error, &error.to_string()),
        };
        result.err()
    }

    async fn carry_out(&self, wanted: ClientMessage) -> Result<(), End> {
        match wanted {
            ClientMessage::Subscribe(subscriptions) => {
                self.guest.show().stands().await;
                self.complain_of_all(
                    StatusLevel::Error,
                    subscriptions.into_iter().filter_map(|wanted| self.guest.subscribe(wanted).err()),
                )
            }
            ClientMessage::Unsubscribe(ids) => self.complain_of_all(
                StatusLevel::Warning,
                ids.into_iter()
                    .filter(|id| !self.guest.unsubscribe(*id))
                    .map(|id| format!("there is no subscription with id {id}")),
            ),
            ClientMessage::PlaybackControl(request) => self.control(request).await,
            ClientMessage::GetParameters { names, id } => self.get_parameters(&names, id.as_deref()),
            ClientMessage::SetParameters { parameters, id } => {
                self.set_parameters(&parameters, id.as_deref()).await
            }
            ClientMessage::SubscribeParameterUpdates(names) => {
                taken(self.guest.subscribe_parameters(Properties::named(&names)))
            }
            ClientMessage::UnsubscribeParameterUpdates(names) => {
                self.guest.unsubscribe_parameters(Properties::named(&names));
                Ok(())
            }
            ClientMessage::ServiceCall(call) => self.call(call).await,
            ClientMessage::SubscribeConnectionGraph => taken(self.guest.subscribe_graph()),
            ClientMessage::UnsubscribeConnectionGraph => {
                self.guest.unsubscribe_graph();
                Ok(())
            }
            ClientMessage::FetchAsset { uri, request } => self.fetch_asset(uri, request).await,
        }
    }

    /// Does what a client asks of playback, and answers with the state that follows from it.
    async fn control(&self, request: PlaybackControlRequest) -> Result<(), End> {
        if self.guest.remote().is_none() {
            return self.complain(StatusLevel::Error, NO_CONTROL);
        }
        if !self.check_id(Some(&request.id))? {
            return Ok(());
        }
        let (commands, refused) = control::commands(&request, self.guest.show().remote().position().rate);
        if let Some(error) = refused {
            self.complain(StatusLevel::Error, &format!("the old speed is kept: {error}"))?;
        }
        let did_seek = request.seek.is_some();
        self.command(commands, move |position| Some(control::state(position, did_seek, &request.id))).await
    }

    /// Commands the timeline, and answers with what it does since then. The answer is queued at once when that is
    /// known, so that no later news comes before it.
    async fn command(
        &self,
        commands: Vec<Command>,
        answer: impl FnOnce(&Position) -> Option<Bytes> + Send + 'static,
    ) -> Result<(), End> {
        let (done, carried_out) = oneshot::channel();
        let outbox = Arc::clone(self.guest.outbox());
        let tell = Box::new(move |position: &Position| {
            let taken = answer(position).is_none_or(|frame| outbox.push_answer(frame));
            // Where nobody waits any more, the client is gone.
            done.send(taken).unwrap_or_default();
        });
        self.guest.show().remote().request(commands, tell);
        // Without an answer there is no timeline any more, and soon no server.
        taken(carried_out.await.unwrap_or(true))
    }

    fn get_parameters(&self, names: &[String], id: Option<&str>) -> Result<(), End> {
        if self.check_id(id)? {
            return taken(self.guest.show().push_parameters(self.outbox, Properties::named(names), id));
        }
        Ok(())
    }

    /// Sets what can be set. A client that asked for it, and one that asked for something that can't be set,
    /// gets the values that hold since then.
    async fn set_parameters(&self, parameters: &[Parameter], id: Option<&str>) -> Result<(), End> {
        if !self.check_id(id)? {
            return Ok(());
        }
        let (commands, mistakes) = match self.guest.remote() {
            Some(_) => parameters::commands(parameters, self.guest.range()),
            None => (Vec::new(), vec![NO_CONTROL.to_owned()]),
        };
        let refused = !mistakes.is_empty();
        self.complain_of_all(StatusLevel::Error, mistakes.into_iter())?;
        let names: Vec<String> = parameters.iter().map(|parameter| parameter.name.clone()).collect();
        // Of parameters that do not exist there is nothing to tell, but a request is answered.
        let set = if names.is_empty() { Properties::default() } else { Properties::named(&names) };
        let (range, id) = (self.guest.range(), id.map(str::to_owned));
        self.command(commands, move |position| {
            (id.is_some() || refused).then(|| set.frame(position, range, id.as_deref()))
        })
        .await
    }

    async fn call(&self, call: ServiceCallRequest) -> Result<(), End> {
        let commands = match Service::with_id(call.service) {
            None => Err(format!("there is no service with id {}", call.service)),
            Some(_) if self.guest.remote().is_none() => Err(NO_CONTROL.to_owned()),
            Some(_) if call.encoding != services::ENCODING => {
                Err(format!("services are called in json, not in '{}'", shortened(&call.encoding)))
            }
            Some(service) => service
                .commands(&call.payload, self.guest.range())
                .map(|commands| (service, commands))
                .map_err(|mistake| format!("{}: {mistake}", service.name())),
        };
        let (service, commands) = match commands {
            Ok(commands) => commands,
            Err(message) => return self.fail_call(&call, &message),
        };
        self.command(commands, move |position| {
            let payload = service.response(position).to_string();
            let response = ServiceCallResponse {
                service: call.service,
                call: call.call,
                encoding: services::ENCODING,
                payload: payload.as_bytes(),
            };
            Some(frame::binary(&response.to_bytes()))
        })
        .await
    }

    fn fail_call(&self, call: &ServiceCallRequest, message: &str) -> Result<(), End> {
        tracing::debug!("client {}: {message}", self.guest.address());
        let failure =
            ServerMessage::ServiceCallFailure { service_id: call.service, call_id: call.call, message };
        self.answer(frame::text(&failure.to_json()))
    }

    /// Sends a file, once the client has taken the one before.
    async fn fetch_asset(&self, uri: String, request: u32) -> Result<(), End> {
        // Who reads nothing should not take the room of others.
        self.outbox.large_are_taken().await;
        let assets = Arc::clone(self.guest.assets());
        let room = assets.room().await;
        let message = match room {
            None => {
                Err("other clients are sent so many files that there is no room for it now; try again"
                    .to_owned())
            }
            Some(room) => match tokio::task::spawn_blocking(move || assets.fetch(&uri, room)).await {
                Ok(fetched) => fetched.map_err(|error| AssetError::to_string(&error)),
                Err(_) => Err("reading it failed by a fault in fgplay".to_owned()),
            },
        };
        let message = match message {
            Ok(asset) => {
                let head = foxglove::asset_header(request);
                let mut frame = Vec::new();
                frame::push_binary_header(&mut frame, head.len() + asset.len());
                frame.extend_from_slice(&head);
                self.outbox.push_large([Bytes::from(frame), asset]).await;
                return Ok(());
            }
            Err(message) => message,
        };
        tracing::debug!("client {}: {message}", self.guest.address());
        self.answer(frame::binary(&foxglove::asset_error(request, &message)))
    }

    /// Whether the id of a request can be sent back. Where not, the client is told.
    fn check_id(&self, id: Option<&str>) -> Result<bool, End> {
        if id.is_none_or(|id| id.len() <= REQUEST_ID_LIMIT) {
            return Ok(true);
        }
        let message = format!("a request id may have {REQUEST_ID_LIMIT} bytes at the most");
        self.complain(StatusLevel::Error, &message)?;
        Ok(false)
    }

    /// Who asks for more than it reads the answers to has to go.
    fn answer(&self, frame: Bytes) -> Result<(), End> {
        taken(self.outbox.push_answer(frame))
    }

    /// Tells the client what is wrong with what it said: the first few mistakes, and how many there are.
    fn complain_of_all(
        &self,
        level: StatusLevel,
        mistakes: impl Iterator<Item = impl ToString>,
    ) -> Result<(), End> {
        let mut count = 0;
        for mistake in mistakes {
            count += 1;
            if count <= MISTAKES_TOLD {
                self.complain(level, &mistake.to_string())?;
            }
        }
        if count <= MISTAKES_TOLD {
            return Ok(());
        }
        self.complain(level, &format!("and {} more mistakes in the same message", count - MISTAKES_TOLD))
    }

    /// Tells the client what is wrong with what it said.
    fn complain(&self, level: StatusLevel, message: &str) -> Result<(), End> {
        tracing::debug!("client {}: {message}", self.guest.address());
        let status = ServerMessage::Status { level, message, id: None };
        self.answer(frame::text(&status.to_json()))
    }
}

/// Who takes no answers has to go.
fn taken(taken: bool) -> Result<(), End> {
    if taken {
        Ok(())
    } else {
        Err(End::Refused(CloseCode::Policy, "too many requests without reading the answers".into()))
    }
}
