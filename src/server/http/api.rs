//! What is served beside WebSocket: the control page, the API, health and metrics.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::{Path, Request, State};
use axum::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout};

use super::commands::Action;
use super::{describe, guard};
use crate::playback::Position;
use crate::recording::Density;
use crate::server::limits::{Full, Place};
use crate::server::show::Show;
use crate::server::{Door, Links, Shutdown};

/// The control page: all of it, with its styles and scripts.
const PAGE: &str = include_str!("page.html");

/// What the control page may do: nothing but talk to this server.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The largest body that is taken, in bytes.
const BODY_LIMIT: usize = 16 * 1024;

/// How long a command may take to be carried out.
const PATIENCE: Duration = Duration::from_secs(10);

/// How soon after each other events are sent at the most.
const PAUSE: Duration = Duration::from_millis(100);

/// A request that is not carried out: status, and a sentence that says why.
struct Refusal(StatusCode, String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(json!({"error": self.1}))).into_response()
    }
}

/// Who asks.
#[derive(Clone, Copy)]
struct Peer(IpAddr);

/// All that is served to somebody at this address.
pub(super) fn routes(door: Door, address: IpAddr) -> Router {
    Router::new()
        .route("/", get(home))
        .route("/healthz", get(health))
        .route("/metrics", get(metrics))
        .route("/api/recording", get(recording))
        .route("/api/density", get(density))
        .route("/api/state", get(state))
        .route("/api/clients", get(clients))
        .route("/api/events", get(events))
        .route("/api/{action}", post(command).fallback(no_command))
        .fallback(nothing)
        .method_not_allowed_fallback(other_method)
        .layer(Extension(Peer(address)))
        .with_state(door)
}

fn host(headers: &HeaderMap) -> &str {
    headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost:8765")
}

/// The control page for browsers, and for all others where to connect.
async fn home(State(door): State<Door>, headers: HeaderMap) -> Response {
    let accepts = headers.get(ACCEPT).and_then(|accepts| accepts.to_str().ok()).unwrap_or("");
    if accepts.contains("text/html") {
        let headers = [
            (CONTENT_TYPE, "text/html; charset=utf-8"),
            (CONTENT_SECURITY_POLICY, POLICY),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (X_FRAME_OPTIONS, "DENY"),
            // Its address may have a token.
            (REFERRER_POLICY, "no-referrer"),
            (CACHE_CONTROL, "no-store"),
        ];
        return (headers, PAGE).into_response();
    }
    let Links { ws, page, foxglove, lichtblick } = Links::new(host(&headers), door.tls.is_some());
    let name = &door.hub.catalog().name;
    format!(
        "fgplay plays {name}\n\nOpen a Foxglove WebSocket connection to {ws}\nControl it in a browser: {page}\nFoxglove:   {foxglove}\nLichtblick: {lichtblick}\n"
    )
    .into_response()
}

async fn health(State(door): State<Door>) -> Response {
    if door.hub.is_broken() {
        return (StatusCode::SERVICE_UNAVAILABLE, "playback broke off by a fault\n").into_response();
    }
    "ok\n".into_response()
}

async fn metrics(State(door): State<Door>) -> Response {
    let text = describe::metrics(&door);
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

fn json_response(value: Value) -> Response {
    ([(CACHE_CONTROL, "no-store")], Json(value)).into_response()
}

async fn recording(State(door): State<Door>, headers: HeaderMap) -> Response {
    json_response(describe::recording(&door.hub, host(&headers)))
}

async fn state(State(door): State<Door>) -> Response {
    json_response(describe::state(&door.hub))
}

async fn clients(State(door): State<Door>) -> Response {
    json_response(describe::clients(&door.hub))
}

/// Counted at the first request, which may read a little of every chunk. Whoever asks meanwhile waits for the same
/// count, and it goes on when nobody waits any more.
async fn density(State(door): State<Door>) -> Response {
    let mut counted = door.density.get_or_init(|| count(&door)).clone();
    match counted.wait_for(Option::is_some).await.map(|density| density.clone()) {
        Ok(Some(density)) => json_response(json!({
            "exact": density.is_exact(),
            "topics": density.counts(),
        })),
        _ => Refusal(StatusCode::INTERNAL_SERVER_ERROR, "counting failed by a fault".into()).into_response(),
    }
}

/// Starts to count, until the server ends.
fn count(door: &Door) -> watch::Receiver<Option<Arc<Density>>> {
    let (tell, counted) = watch::channel(None);
    let (archive, stop) = (Arc::clone(&door.archive), door.stop.clone());
    tokio::task::spawn_blocking(move || {
        let density = archive.density(describe::PARTS, &|| *stop.borrow() != Shutdown::No);
        tell.send_replace(Some(Arc::new(density)));
    });
    counted
}

/// The state whenever it changes, and from time to time, as server-sent events.
async fn events(State(door): State<Door>, Extension(Peer(address)): Extension<Peer>) -> Response {
    let place = match door.streams.take(address) {
        Ok(place) => place,
        Err(full) => {
            let (status, whose) = match full {
                Full::All(_) => (StatusCode::SERVICE_UNAVAILABLE, ""),
                Full::Address(_) => (StatusCode::TOO_MANY_REQUESTS, " to your address"),
            };
            let reason =
                format!("too many streams of events are open{whose}; GET /api/state tells the same once");
            return Refusal(status, reason).into_response();
        }
    };
    let position = door.hub.shared().map(|show| show.remote().watch());
    let stream = Stream { door, position, told: None, _place: place };
    let events = stream::unfold(stream, |mut stream| async move {
        let event = Event::default().event("state").data(stream.next().await?);
        Some((Ok::<_, Infallible>(event), stream))
    });
    Sse::new(events).keep_alive(KeepAlive::default()).into_response()
}

/// A stream of events, and what it told last.
struct Stream {
    door: Door,
    /// Hears of changes, where all watch the same.
    position: Option<watch::Receiver<Position>>,
    told: Option<String>,
    _place: Place,
}

impl Stream {
    /// The next state that is another one than the last. `None` where the server ends.
    async fn next(&mut self) -> Option<String> {
        loop {
            if self.told.is_some() {
                self.wait().await?;
            }
            // What changes from here on is heard of in the next round.
            if let Some(position) = &mut self.position {
                position.mark_unchanged();
            }
            let state = describe::state(&self.door.hub).to_string();
            if self.told.as_ref() != Some(&state) {
                self.told = Some(state.clone());
                return Some(state);
            }
        }
    }

    /// Waits for a change, or until it is time to look for what nobody tells of. `None` where the server ends.
    async fn wait(&mut self) -> Option<()> {
        let soonest = Instant::now() + PAUSE;
        let position = &mut self.position;
        let changed = async {
            let changed = match position {
                Some(position) => position.changed().await.is_ok(),
                None => false,
            };
            // Who will tell of no change is not asked again at once.
            if !changed {
                std::future::pending().await
            }
        };
        tokio::select! {
            _ = timeout(describe::BEAT, changed) => {}
            _ = self.door.stop.wait_for(|stop| *stop != Shutdown::No) => return None,
        }
        tokio::time::sleep_until(soonest).await;
        Some(())
    }
}

/// Carries out a command, and answers with where playback is since then.
async fn command(
    State(door): State<Door>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    let (Parts { headers, .. }, body) = request.into_parts();
    let action = Action::ALL.into_iter().find(|(action, _)| *action == name).map(|(_, action)| action);
    let action = action.ok_or_else(|| no_such("/api/", &name))?;
    if !door.hub.control() {
        let reason = "this server lets nobody control its playback (--control none)";
        return Err(Refusal(StatusCode::FORBIDDEN, reason.into()));
    }
    guard::check(&headers, door.listening).map_err(|reason| Refusal(StatusCode::FORBIDDEN, reason.into()))?;
    let wrong = |reason: String| Refusal(StatusCode::BAD_REQUEST, reason);
    let body = match timeout(PATIENCE, to_bytes(body, BODY_LIMIT)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => {
            let reason = format!("a body may have {BODY_LIMIT} bytes at the most");
            return Err(Refusal(StatusCode::PAYLOAD_TOO_LARGE, reason));
        }
        Err(_) => {
            return Err(Refusal(StatusCode::REQUEST_TIMEOUT, "the body did not come".into()));
        }
    };
    let body: Value = if body.is_empty() { Ok(json!({})) } else { serde_json::from_slice(&body) }
        .map_err(|error| wrong(format!("the body can't be read as JSON: {error}")))?;
    let show = chosen(&door, &body)?;
    let before = show.remote().position();
    let command = action.command(&body, &before, door.hub.catalog().range).map_err(wrong)?;
    let (done, carried_out) = oneshot::channel();
    // Where nobody waits any more, the one who asked is gone.
    let tell = Box::new(move |position: &Position| done.send(*position).unwrap_or_default());
    show.remote().request(vec![command], tell);
    match timeout(PATIENCE, carried_out).await {
        Ok(Ok(position)) => Ok(json_response(describe::timeline(&door.hub, &position, show.is_waiting()))),
        _ => {
            let reason =
                "the command was given, but is not carried out yet: reading the recording takes long";
            Err(Refusal(StatusCode::SERVICE_UNAVAILABLE, reason.into()))
        }
    }
}

/// The timeline that a command is for.
fn chosen(door: &Door, body: &Value) -> Result<Arc<Show>, Refusal> {
    if let Some(shared) = door.hub.shared() {
        return Ok(Arc::clone(shared));
    }
    let Some(id) = body["client"].as_u64() else {
        let reason = "every client has a timeline of its own here: \"client\" has to say whose, by its id in /api/state";
        return Err(Refusal(StatusCode::CONFLICT, reason.into()));
    };
    let client = door.hub.clients().into_iter().find(|client| client.id == id);
    let client = client.ok_or_else(|| Refusal(StatusCode::NOT_FOUND, format!("there is no client {id}")))?;
    Ok(client.show)
}

async fn nothing(uri: Uri) -> Refusal {
    no_such("", uri.path())
}

/// Another method than that of commands: wrong for a command, and for all else there is nothing.
async fn no_command(Path(name): Path<String>) -> Refusal {
    match Action::ALL.iter().any(|(action, _)| *action == name) {
        true => other_method().await,
        false => no_such("/api/", &name),
    }
}

async fn other_method() -> Refusal {
    let reason = "this address takes another method: what tells something GET, what changes something POST";
    Refusal(StatusCode::METHOD_NOT_ALLOWED, reason.into())
}

fn no_such(before: &str, name: &str) -> Refusal {
    let name = crate::foxglove::shortened(name);
    Refusal(StatusCode::NOT_FOUND, format!("there is nothing at {before}{name}; the control page is at /"))
}

/// No page may be read as something that it does not say it is.
pub(super) fn harden(mut response: Response) -> Response {
    response.headers_mut().entry(X_CONTENT_TYPE_OPTIONS).or_insert(HeaderValue::from_static("nosniff"));
    response
}
