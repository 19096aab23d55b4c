//! What stands between a TCP connection and the WebSocket library.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite::Message;

use super::courtesy;
use super::outbox::{LARGE, Outbox, Wrote};
use super::unfinished::Begun;
use super::wire::{Hearing, Wire};

/// What the WebSocket library takes for its connection. It reads from the socket; what it writes (answers
/// to pings and to close frames, each in one piece) goes into the outbox, behind what waits there already.
pub(super) struct Ear {
    /// Bytes that came together with the handshake.
    first: Bytes,
    socket: Hearing,
    outbox: Arc<Outbox>,
    begun: Begun,
}

impl Ear {
    pub fn new(first: Bytes, socket: Hearing, outbox: Arc<Outbox>, begun: Begun) -> Self {
        Ear { first, socket, outbox, begun }
    }

    /// The WebSocket library has given out a message, and so has it in memory no more.
    pub fn heard(&mut self, message: &Message) {
        match message {
            Message::Ping(payload) | Message::Pong(payload) => self.begun.take_control(payload.len()),
            _ => self.begun.finish(),
        }
    }
}

impl AsyncRead for Ear {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if self.first.is_empty() {
            ready!(Pin::new(&mut self.socket).poll_read(context, buffer))?;
        } else {
            let count = self.first.len().min(buffer.remaining());
            buffer.put_slice(&self.first[..count]);
            self.first.advance(count);
        }
        let count = buffer.filled().len() - before;
        Poll::Ready(self.begun.add(count).map_err(io::Error::other))
    }
}

impl AsyncWrite for Ear {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, frames: &[u8]) -> Poll<io::Result<usize>> {
        self.outbox.poll_push_answer(context, frames).map(|()| Ok(frames.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Writes what comes into the outbox to the socket, until the outbox is finished or the connection broken.
pub(super) async fn drain(outbox: Arc<Outbox>, socket: Arc<Wire>) -> io::Result<()> {
    outbox.connect(Arc::clone(&socket));
    loop {
        let before = outbox.written();
        let wrote = outbox.write_some()?;
        if outbox.written() - before > LARGE as u64 && !outbox.loses_nothing() {
            courtesy::give_way();
        }
        match wrote {
            Wrote::Everything => outbox.filled().await,
            Wrote::Some => {
                tokio::select! {
                    writable = socket.writable() => writable?,
                    never = outbox.queue_in_rounds() => match never {},
                }
                // So that others get their turn also where the socket takes everything.
                tokio::task::yield_now().await;
            }
            Wrote::AllThereWillBe => break,
        }
    }
    // With the last one who has it, the sending half of the connection is shut down.
    outbox.disconnect();
    Ok(())
}
