//! Takes connections in, for as long as the system gives any.

use std::io::{self, Write as _};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};

use super::complaint::Complaint;
use super::limits::Full;
use super::{Door, http};

/// How long to wait before connections are accepted again where the system gives none.
const PAUSE: Duration = Duration::from_millis(100);

/// How long nothing more is said of connections that can't be accepted: where there is no room for one, the next
/// one often finds none either.
const SILENCE: Duration = Duration::from_secs(600);

/// Accepts connections until the task is ended.
pub(super) async fn accept(listener: TcpListener, door: Door) {
    let complaint = Complaint::new(SILENCE);
    loop {
        match listener.accept().await {
            Ok((socket, address)) => match door.connections.take(address.ip()) {
                Ok(place) => {
                    let serving = http::serve(socket, address, door.clone());
                    tokio::spawn(async move {
                        serving.await;
                        drop(place);
                    });
                }
                Err(full) => send_away(socket, full, door.tls.is_some()),
            },
            Err(error) if is_gone(&error) => tracing::debug!("a client left before it was accepted: {error}"),
            Err(error) => {
                door.not_accepted.fetch_add(1, Ordering::Relaxed);
                if complaint.is_due(Instant::now()).is_some() {
                    tracing::warn!("{}", describe(&error));
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Closes a connection that there is no place for. It is told why where the system takes the words at once: nobody
/// waits here.
fn send_away(socket: TcpStream, full: Full, speaks_tls: bool) {
    tracing::debug!("a connection was closed at once: {full:?}");
    if speaks_tls {
        return;
    }
    let answer = match full {
        Full::All(_) => {
            "503 Service Unavailable\r\nRetry-After: 10\r\nConnection: close\r\n\r\n\
             there are too many connections; try again later\n"
        }
        Full::Address(_) => {
            "429 Too Many Requests\r\nRetry-After: 10\r\nConnection: close\r\n\r\n\
             there are too many connections from one address; try again later\n"
        }
    };
    let written =
        socket.into_std().and_then(|mut socket| socket.write(format!("HTTP/1.1 {answer}").as_bytes()));
    written.map(drop).unwrap_or_default();
}

/// Whether only this one connection is meant.
fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

fn describe(error: &io::Error) -> String {
    let remedy = if is_out_of_descriptors(error) {
        "; allow it more open files (ulimit -n, or LimitNOFILE= of a systemd unit), or fewer clients (--max-clients)"
    } else {
        ""
    };
    format!(
        "no more connections can be accepted for now ({error}): who is connected is served on, and others as soon \
         as it is possible again{remedy}"
    )
}

#[cfg(unix)]
fn is_out_of_descriptors(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

#[cfg(not(unix))]
fn is_out_of_descriptors(_: &io::Error) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn who_has_no_descriptors_left_is_told_where_to_get_more() {
        let text = describe(&rustix::io::Errno::MFILE.into());
        assert!(text.contains("ulimit -n") && text.contains("LimitNOFILE"), "{text}");
        assert!(!describe(&io::Error::other("odd")).contains("ulimit"));
    }
}
