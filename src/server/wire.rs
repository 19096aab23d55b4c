//! The halves of a connection, with and without TLS: the writing one takes as much as it can at once, from
//! whoever has it.

use std::io::{self, IoSlice, Read as _, Write};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio_rustls::rustls::ServerConnection;

/// How many bytes TLS may keep that the socket has not taken yet.
const TLS_BUFFER: usize = 256 * 1024;

/// A connection after its handshake.
pub(super) enum Connection {
    Plain(TcpStream),
    Tls(TcpStream, Box<ServerConnection>),
}

impl Connection {
    /// The half that reads, and the half that writes. The sending half of the connection is shut down with the
    /// end of the latter.
    pub fn into_split(self) -> (Hearing, Arc<Wire>) {
        match self {
            Connection::Plain(socket) => {
                let (read, write) = socket.into_split();
                (Hearing::Plain(read), Arc::new(Wire::Plain(write)))
            }
            Connection::Tls(socket, mut tls) => {
                tls.set_buffer_limit(Some(TLS_BUFFER));
                let (read, socket) = socket.into_split();
                let tls: Session = Arc::new(Mutex::new(*tls));
                let wire = Arc::new(Wire::Tls(Writing { tls: Arc::clone(&tls), socket }));
                (Hearing::Tls(Reading { tls, socket: read, wire: Arc::downgrade(&wire) }), wire)
            }
        }
    }
}

type Session = Arc<Mutex<ServerConnection>>;

fn lock(session: &Session) -> MutexGuard<'_, ServerConnection> {
    // Nothing that holds it panics.
    session.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The writing half.
pub(super) enum Wire {
    Plain(OwnedWriteHalf),
    Tls(Writing),
}

/// The writing half of a connection with TLS.
pub(super) struct Writing {
    tls: Session,
    socket: OwnedWriteHalf,
}

impl Wire {
    /// Writes what it takes without waiting, and says how many bytes that is.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] where it takes nothing now; any other where the connection is broken.
    pub fn try_write_vectored(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Wire::Plain(socket) => match parts {
                // Costs the system less.
                [part] => socket.try_write(part),
                parts => socket.try_write_vectored(parts),
            },
            Wire::Tls(Writing { tls, socket }) => {
                let mut tls = lock(tls);
                flush(&mut tls, socket)?;
                let taken = tls.writer().write_vectored(parts)?;
                match flush(&mut tls, socket) {
                    Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
                    _ => Ok(taken),
                }
            }
        }
    }

    /// Writes what was taken, but could not be written yet.
    ///
    /// # Errors
    /// As [`try_write_vectored`](Self::try_write_vectored).
    pub fn try_flush(&self) -> io::Result<()> {
        match self {
            Wire::Plain(_) => Ok(()),
            Wire::Tls(Writing { tls, socket }) => flush(&mut lock(tls), socket),
        }
    }

    /// Waits until it may take something again.
    pub async fn writable(&self) -> io::Result<()> {
        match self {
            Wire::Plain(socket) | Wire::Tls(Writing { socket, .. }) => socket.writable().await,
        }
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        let mut tls = lock(&self.tls);
        tls.send_close_notify();
        // Where the socket does not take it, the client sees that the connection is closed all the same.
        flush(&mut tls, &self.socket).unwrap_or_default();
    }
}

fn flush(tls: &mut ServerConnection, socket: &OwnedWriteHalf) -> io::Result<()> {
    while tls.wants_write() {
        tls.write_tls(&mut TryWrite(socket))?;
    }
    Ok(())
}

/// A socket as what it takes without waiting.
struct TryWrite<'a>(&'a OwnedWriteHalf);

impl Write for TryWrite<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(parts)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A socket as what it has without waiting.
struct TryRead<'a>(&'a OwnedReadHalf);

impl io::Read for TryRead<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

/// The reading half.
pub(super) enum Hearing {
    Plain(OwnedReadHalf),
    Tls(Reading),
}

/// The reading half of a connection with TLS.
pub(super) struct Reading {
    tls: Session,
    socket: OwnedReadHalf,
    /// For what TLS itself has to answer.
    wire: Weak<Wire>,
}

impl AsyncRead for Hearing {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Hearing::Plain(socket) => Pin::new(socket).poll_read(context, buffer),
            Hearing::Tls(reading) => reading.poll_read(context, buffer),
        }
    }
}

impl Reading {
    fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let read = lock(&self.tls).reader().read(buffer.initialize_unfilled());
            match read {
                Ok(count) => {
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                // A connection that was cut off without TLS's own end is over all the same.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Poll::Ready(Ok(())),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Poll::Ready(Err(error)),
                Err(_) => {}
            }
            ready!(self.socket.as_ref().poll_read_ready(context))?;
            let mut tls = lock(&self.tls);
            match tls.read_tls(&mut TryRead(&self.socket)) {
                // It was ready for nothing; now it tells when it is ready again.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Poll::Ready(Err(error)),
                Ok(_) => {}
            }
            let state = tls.process_new_packets();
            if let Some(wire) = self.wire.upgrade()
                && let Wire::Tls(Writing { socket, .. }) = &*wire
            {
                // What the socket does not take now goes with the next message.
                flush(&mut tls, socket).unwrap_or_default();
            }
            drop(tls);
            if let Err(error) = state {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
            }
        }
    }
}

#[cfg(test)]
pub(super) mod testing {
    use tokio::net::TcpListener;

    use super::*;

    /// A connection: what the client has of it, and what the server writes to.
    pub async fn connection() -> (TcpStream, Arc<Wire>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (_, wire) = Connection::Plain(listener.accept().await.unwrap().0).into_split();
        wire.writable().await.unwrap();
        (client, wire)
    }
}
