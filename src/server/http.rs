//! Plain HTTP, and the way from it to WebSocket.

mod api;
mod commands;
mod describe;
mod guard;
mod patient;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Instant;

use axum::body::Body;
use axum::http::header::{CONNECTION, UPGRADE};
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tower_service::Service as _;

use patient::Patient;

use super::access::Refused;
use super::complaint::Complaint;
use super::limits::Full;
use super::tls::Tls;
use super::wire::Connection;
use super::{Door, session};
use crate::foxglove::Subprotocol;

/// What is said to somebody who speaks plain HTTP where TLS is spoken.
const SPEAK_TLS: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n\
    This port speaks TLS: connect with wss:// or https://.\n";

/// For how many times as long as a request may take to come its connection is kept, and an answer may take to be
/// taken. Connections are few, and who sends a request now and then would have one for ever.
const PATIENCES: u32 = 6;

/// How many bytes the system takes for a connection before the last ones are sent. What waits there can't be left
/// out any more when it is too old, so this is little; but it is a whole batch.
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNSENT: u32 = 256 * 1024;

/// Serves one connection, until it is closed or becomes a session.
pub(super) async fn serve(socket: TcpStream, address: SocketAddr, door: Door) {
    let options = door.hub.options();
    if let Err(error) = tune(&socket, options.lossless || options.rate.is_max()) {
        tracing::debug!("{address}: the system does not let its connection be tuned: {error}");
    }
    let mut stop = door.stop.clone();
    tokio::select! {
        () = secure(socket, address, door) => {}
        _ = stop.wait_for(|shutdown| *shutdown != super::Shutdown::No) => {}
    }
}

/// Sends what is written at once, and lets little wait in the system where it may have to be left out.
fn tune(socket: &TcpStream, lossless: bool) -> io::Result<()> {
    // A message that waits to be sent together with the next one is late.
    socket.set_nodelay(true)?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if !lossless {
        socket2::SockRef::from(socket).set_tcp_notsent_lowat(UNSENT)?;
    }
    Ok(())
}

/// Does the handshake of TLS first, where that is spoken.
async fn secure(mut socket: TcpStream, address: SocketAddr, door: Door) {
    let Some(tls) = door.tls.clone() else { return answer(socket, address, door).await };
    let patience = door.hub.options().limits.handshake;
    let handshake = async {
        if Tls::is_spoken(&socket).await? {
            return tls.accept(socket).await.map(Some);
        }
        socket.write_all(SPEAK_TLS).await?;
        // Without reading what it says, the system would reset the connection, and the answer with it.
        socket.shutdown().await?;
        let mut rest = [0; 1024];
        while socket.read(&mut rest).await? > 0 {}
        Ok(None)
    };
    match timeout(patience, handshake).await {
        Ok(Ok(Some(socket))) => answer(socket, address, door).await,
        Ok(Ok(None)) => tracing::debug!("{address}: speaks no TLS"),
        Ok(Err(error)) => tracing::debug!("{address}: no TLS connection: {error}"),
        Err(_) => tracing::debug!("{address}: the TLS handshake took too long"),
    }
}

/// Answers the requests of one connection, until it is closed or becomes a session.
async fn answer<S: Socket>(socket: S, address: SocketAddr, door: Door) {
    let patience = door.hub.options().limits.handshake;
    let pages = api::routes(door.clone(), address.ip());
    let service = service_fn(|request: Request<Incoming>| {
        let (door, mut pages) = (door.clone(), pages.clone());
        async move {
            let upgrades = wants_websocket(request.headers());
            // Whether it lives is no secret.
            let open = !upgrades && request.uri().path() == "/healthz";
            let access = door.access.check(request.uri(), request.headers(), upgrades, door.listening);
            let response = if let (Err(refused), false) = (access, open) {
                keep_out(refused, address, &door.refusals[refused as usize])
            } else if upgrades {
                upgrade::<S>(request, address, door)
            } else {
                let response = pages.call(request).await;
                api::harden(response.unwrap_or_else(|never: Infallible| match never {}))
            };
            Ok::<_, Infallible>(response)
        }
    });
    let age = patience.saturating_mul(PATIENCES);
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(Patient::new(socket, age)), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let ended = match timeout(age, connection.as_mut()).await {
        Ok(ended) => ended,
        Err(_) => {
            // What is being answered is still answered, such as a stream of events, but nothing more.
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("{address}: HTTP connection ended: {error}");
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
fn upgrade<S: Socket>(mut request: Request<Incoming>, address: SocketAddr, door: Door) -> Response<Body> {
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
    let place = match door.places.take(address.ip()) {
        Ok(place) => place,
        Err(full) => return no_place(full),
    };
    let accept = derive_accept_key(key.as_bytes());
    let upgrading = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        match upgrading.await {
            Ok(upgraded) => match upgraded.downcast::<TokioIo<Patient<S>>>() {
                Ok(parts) => {
                    let connection = parts.io.into_inner().into_inner().into_connection();
                    session::run(connection, parts.read_buf, protocol, address, door, place).await;
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
fn refuse(reason: &str) -> Response<Body> {
    plain(StatusCode::BAD_REQUEST, reason.to_owned())
}

/// There are too many clients.
fn no_place(full: Full) -> Response<Body> {
    let (status, reason) = match full {
        Full::All(most) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("all {most} places are taken (--max-clients); try again later"),
        ),
        Full::Address(most) => (
            StatusCode::TOO_MANY_REQUESTS,
            format!("all {most} places for clients from one address are taken (--max-clients-per-address)"),
        ),
    };
    let mut response = plain(status, reason);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("10"));
    response
}

/// The one who asks may not have it.
fn keep_out(refused: Refused, address: SocketAddr, complaint: &Complaint) -> Response<Body> {
    let reason = refused.reason();
    match complaint.is_due(Instant::now()) {
        Some(0) => tracing::info!("client {address} was refused: {reason}"),
        Some(others) => {
            tracing::info!(
                "client {address} was refused: {reason}; and before it {others} more requests were"
            );
        }
        None => tracing::debug!("client {address} was refused: {reason}"),
    }
    let mut response = plain(refused.status(), reason.to_owned());
    if refused.status() == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static("Bearer realm=\"fgplay\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

fn plain(status: StatusCode, reason: String) -> Response<Body> {
    tracing::debug!("refused a connection: {reason}");
    let mut response = Response::new(Body::from(reason + "\n"));
    *response.status_mut() = status;
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    api::harden(response)
}

/// What HTTP is spoken over, and what it becomes when it is spoken no more.
trait Socket: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    fn into_connection(self) -> Connection;
}

impl Socket for TcpStream {
    fn into_connection(self) -> Connection {
        Connection::Plain(self)
    }
}

impl Socket for TlsStream<TcpStream> {
    fn into_connection(self) -> Connection {
        let (socket, tls) = self.into_inner();
        Connection::Tls(socket, Box::new(tls))
    }
}
