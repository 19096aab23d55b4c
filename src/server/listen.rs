//! Takes a port.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket, ToSocketAddrs, lookup_host};

/// How many connections the system keeps that were not accepted yet. Who comes when there are more tries again after
/// a second, so a crowd should not be too much.
const BACKLOG: u32 = 4096;

/// A port that is taken, and on which nobody can connect yet.
#[derive(Debug)]
pub struct Reserved(TcpSocket);

impl Reserved {
    /// Takes connections from now on. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// What the system says.
    pub fn listen(self) -> io::Result<TcpListener> {
        self.0.listen(BACKLOG)
    }
}

/// Takes the port of the first of these addresses where that is possible. Must be called inside a tokio runtime.
///
/// # Errors
/// What the system says to the last of them.
pub async fn reserve(addresses: impl ToSocketAddrs) -> io::Result<Reserved> {
    let mut refused = io::Error::new(io::ErrorKind::InvalidInput, "there is no such address");
    for address in lookup_host(addresses).await? {
        match bind(address) {
            Ok(socket) => return Ok(Reserved(socket)),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

/// Listens on the first of these addresses whose port can be taken. Must be called inside a tokio runtime.
///
/// # Errors
/// As [`reserve`] and [`Reserved::listen`].
pub async fn listen(addresses: impl ToSocketAddrs) -> io::Result<TcpListener> {
    reserve(addresses).await?.listen()
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Elsewhere it would let two programs share a port.
    #[cfg(not(windows))]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    if address.ip().is_loopback() {
        send_at_once(&socket);
    }
    Ok(socket)
}

/// Lets connections of this machine to itself send as soon as there is room. Where the system paces what it sends by
/// the speed that it has measured of the network (BBR), that makes messages late for nothing. Of a real network, who
/// runs the machine knows more.
///
/// It has to be said before connections come: those that began with pacing go on with it.
fn send_at_once(socket: &TcpSocket) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    // Reno is the one that every Linux has, and lets everybody choose.
    if let Err(error) = socket2::SockRef::from(socket).set_tcp_congestion(b"reno") {
        tracing::debug!("the system keeps its congestion control: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_first_address_that_is_free() {
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let any = "127.0.0.1:0".parse().unwrap();
            let first = listen(any).await.unwrap();
            let taken: SocketAddr = first.local_addr().unwrap();
            assert_eq!(listen(taken).await.unwrap_err().kind(), io::ErrorKind::AddrInUse);
            let second = listen(&[taken, any][..]).await.unwrap();
            assert_ne!(second.local_addr().unwrap(), taken);
        });
    }
}
