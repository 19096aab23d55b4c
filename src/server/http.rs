//! Plain HTTP, and the way from it to WebSocket.

mod api;
mod commands;
mod describe;
mod guard;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONNECTION, UPGRADE};
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tower_service::Service as _;

use super::{Door, session};
use crate::foxglove::Subprotocol;

/// How long a client may take to send the header of a request.
const HEADER_TIME: Duration = Duration::from_secs(10);

/// Answers the requests of one connection, until it is closed or becomes a session.
pub(super) async fn serve(socket: TcpStream, address: SocketAddr, door: Door) {
    // A message that waits to be sent together with the next one is late.
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!("{address}: the system keeps Nagle's algorithm on: {error}");
    }
    let pages = api::routes(door.clone());
    let service = service_fn(|request: Request<Incoming>| {
        let (door, mut pages) = (door.clone(), pages.clone());
        async move {
            let response = if wants_websocket(request.headers()) {
                upgrade(request, address, door)
            } else {
                let response = pages.call(request).await;
                api::harden(response.unwrap_or_else(|never: Infallible| match never {}))
            };
            Ok::<_, Infallible>(response)
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(socket), service)
        .with_upgrades();
    let mut stop = door.stop.clone();
    tokio::select! {
        result = connection => if let Err(error) = result {
            tracing::debug!("{address}: HTTP connection ended: {error}");
        },
        _ = stop.wait_for(|shutdown| *shutdown != super::Shutdown::No) => {}
    }
}

fn wants_websocket(headers: &HeaderMap) -> bool {
    let has = |name, word: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(word)))
    };
    has(UPGRADE, "websocket") && has(CONNECTION, "upgrade")
}

/// Answers an upgrade request (RFC 6455, section 4.2), and starts the session.
fn upgrade(mut request: Request<Incoming>, address: SocketAddr, door: Door) -> Response<Body> {
    let headers = request.headers();
    if request.version() < Version::HTTP_11 {
        return refuse("a WebSocket connection needs HTTP/1.1");
    }
    if request.method() != Method::GET {
        return refuse("a WebSocket connection is opened with GET");
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        let mut response = refuse("this server speaks WebSocket version 13");
        response.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        return response;
    }
    let Some(key) = headers.get(header::SEC_WEBSOCKET_KEY) else {
        return refuse("the Sec-WebSocket-Key header is missing");
    };
    let offers =
        headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|offer| offer.to_str().ok());
    let Some(protocol) = Subprotocol::choose(offers) else {
        return refuse(
            "this server speaks the Foxglove WebSocket protocol: offer the sub-protocol foxglove.websocket.v1 \
             or foxglove.sdk.v1 in Sec-WebSocket-Protocol",
        );
    };
    let accept = derive_accept_key(key.as_bytes());
    let upgrading = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        match upgrading.await {
            Ok(upgraded) => match upgraded.downcast::<TokioIo<TcpStream>>() {
                Ok(parts) => {
                    session::run(parts.io.into_inner(), parts.read_buf, protocol, address, door).await
                }
                Err(_) => {
                    tracing::error!("{address}: the upgraded connection is none that this server opened")
                }
            },
            Err(error) => tracing::debug!("{address}: left before the session began: {error}"),
        }
    });
    let response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_ACCEPT, accept)
        .header(header::SEC_WEBSOCKET_PROTOCOL, protocol.name())
        .body(Body::empty());
    response.unwrap_or_else(|_| refuse("the Sec-WebSocket-Key header can't be answered"))
}

/// Reads a body as every command would.
#[cfg(fuzzing)]
pub(super) fn fuzz(body: &[u8], position: &crate::playback::Position, range: crate::playback::Range) {
    if let Ok(body) = serde_json::from_slice(body) {
        for (_, action) in commands::Action::ALL {
            action.command(&body, position, range).map(drop).unwrap_or_default();
        }
    }
}

/// Reads headers as they are read before a command or an upgrade.
#[cfg(fuzzing)]
pub(super) fn fuzz_headers(headers: &HeaderMap) {
    guard::check(headers, SocketAddr::from(([127, 0, 0, 1], 8765))).unwrap_or_default();
    wants_websocket(headers);
}

/// The request is not what it should be, and this is what it should be.
fn refuse(reason: &'static str) -> Response<Body> {
    tracing::debug!("refused a connection: {reason}");
    let mut response = Response::new(Body::from(format!("{reason}\n")));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response
}
