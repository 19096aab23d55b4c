//! A connection whose other end has to take what is written within some time.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// A connection that breaks when its other end takes too long. Otherwise who reads no answers, or a byte of them now
/// and then, could hold it for ever.
pub(super) struct Patient<S> {
    socket: S,
    patience: Duration,
    /// Runs from when something could not be written until all is written.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    /// One on which what is written has to be taken within this time.
    pub fn new(socket: S, patience: Duration) -> Self {
        Patient { socket, patience, waiting: None }
    }

    /// The connection without that.
    pub fn into_inner(self) -> S {
        self.socket
    }

    /// Turns waiting into an error where it takes too long.
    fn bound<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            return written;
        }
        let patience = self.patience;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(patience)));
        waiting
            .as_mut()
            .poll(context)
            .map(|()| Err(io::Error::new(io::ErrorKind::TimedOut, "what was written was not taken in time")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.socket).poll_write(context, bytes);
        this.bound(context, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.socket).poll_write_vectored(context, parts);
        this.bound(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    /// Comes after everything was written, and only then is the waiting over.
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.socket).poll_flush(context);
        if flushed.is_ready() {
            this.waiting = None;
        }
        this.bound(context, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let shut = Pin::new(&mut this.socket).poll_shutdown(context);
        this.bound(context, shut)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn who_takes_nothing_is_waited_for_only_so_long() {
        let (server, _client) = duplex(16);
        let mut server = Patient::new(server, Duration::from_millis(20));
        let error = server.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn who_takes_a_byte_now_and_then_is_waited_for_only_so_long() {
        let (server, mut client) = duplex(16);
        let mut server = Patient::new(server, Duration::from_millis(20));
        let writing = async {
            loop {
                if let Err(error) = server.write_all(&[0; 64]).await {
                    return error.kind();
                }
            }
        };
        let reading = async {
            loop {
                client.read_u8().await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            kind = writing => assert_eq!(kind, io::ErrorKind::TimedOut),
            () = reading => {}
        }
    }

    #[tokio::test]
    async fn what_is_taken_in_time_starts_the_time_again() {
        let (server, mut client) = duplex(16);
        let mut server = Patient::new(server, Duration::from_secs(600));
        let reading = tokio::spawn(async move { client.read_exact(&mut [0; 64]).await.map(drop) });
        server.write_all(&[0; 64]).await.unwrap();
        assert!(server.waiting.is_some());
        server.flush().await.unwrap();
        assert!(server.waiting.is_none());
        reading.await.unwrap().unwrap();
    }
}
