//! A client that is fast enough not to be what is measured: it reads with large buffers, and of a frame it
//! looks at no more than its first bytes.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// How many bytes of a frame's payload are looked at: the header of a Message Data, and as many as it takes to find
/// the number that the messages of the benches begin with.
const LOOKED_AT: usize = 13 + 16;

const BUFFER: usize = 1 << 20;

/// How many bytes are read at once where not many come, and where many do: enough small messages, and of a large one
/// not much before it is known that nobody looks at the rest.
const READ_FEW: usize = 8 * 1024;
const READ_MANY: usize = 64 * 1024;

/// So many bytes and more, which nobody looks at, are passed over without being copied, where the system can.
const DISCARD: usize = 64 * 1024;

/// How often who does not read all that comes reads a little.
const READS_PER_SECOND: u32 = 20;

/// A frame as far as it was looked at.
pub struct Frame<'a> {
    /// The WebSocket opcode: 1 text, 2 binary, 8 close.
    pub kind: u8,
    /// The first bytes of the payload; of a text all of it.
    pub head: &'a [u8],
    /// How many bytes the payload has.
    pub length: usize,
}

pub struct Client {
    socket: TcpStream,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// How many bytes are read at once.
    read: usize,
    /// Bytes of the last frame that were not read yet and are not looked at.
    skip: usize,
    /// Bytes read from the socket in all.
    pub bytes: u64,
    /// How many bytes are read in a second, where not as many as come.
    pub bytes_per_second: Option<usize>,
    /// What time the server told before the client subscribed, in nanoseconds.
    pub greeted_time: Option<u64>,
}

impl Client {
    /// Connects to a server on this machine.
    pub fn connect(port: u16, subprotocol: &str) -> io::Result<Self> {
        let mut socket = TcpStream::connect(("127.0.0.1", port))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(Duration::from_secs(120)))?;
        write!(
            socket,
            "GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
             Sec-WebSocket-Protocol: {subprotocol}\r\n\r\n"
        )?;
        let mut client = Client {
            socket,
            buffer: vec![0; BUFFER],
            start: 0,
            end: 0,
            read: READ_FEW,
            skip: 0,
            bytes: 0,
            bytes_per_second: None,
            greeted_time: None,
        };
        loop {
            client.fill()?;
            let head = &client.buffer[client.start..client.end];
            if let Some(end) = head.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                if !head.starts_with(b"HTTP/1.1 101") {
                    return Err(io::Error::other(String::from_utf8_lossy(&head[..end]).into_owned()));
                }
                client.start += end + 4;
                return Ok(client);
            }
        }
    }

    /// Another handle to the socket, to write to while this one reads.
    pub fn writer(&self) -> io::Result<Writer> {
        Ok(Writer(self.socket.try_clone()?))
    }

    pub fn send_text(&mut self, text: &str) -> io::Result<()> {
        self.writer()?.send(1, text.as_bytes())
    }

    pub fn send_binary(&mut self, message: &[u8]) -> io::Result<()> {
        self.writer()?.send(2, message)
    }

    /// Subscribes to a channel under its own id.
    pub fn subscribe(&mut self, channels: &[u64]) -> io::Result<()> {
        if channels.is_empty() {
            return Ok(());
        }
        let subscriptions: Vec<_> =
            channels.iter().map(|id| serde_json::json!({"id": id, "channelId": id})).collect();
        self.send_text(&serde_json::json!({"op": "subscribe", "subscriptions": subscriptions}).to_string())
    }

    /// Asks to play at this speed (Playback Control Request of `foxglove.sdk.v1`).
    pub fn request_playing(&mut self, speed: f32) -> io::Result<()> {
        let mut request = vec![3, 0];
        request.extend(speed.to_le_bytes());
        // No seek, and no request id.
        request.extend([0; 1 + 8 + 4]);
        self.send_binary(&request)
    }

    /// Does not wait longer for bytes.
    pub fn set_patience(&mut self, patience: Duration) -> io::Result<()> {
        self.socket.set_read_timeout(Some(patience))
    }

    /// Takes channels from the first `advertise` on until there are so many, and subscribes to all of them, each
    /// under the channel's id. Gives their topics by id.
    pub fn subscribe_to_all(&mut self, channels: usize) -> io::Result<Vec<(u64, String)>> {
        let mut found = Vec::new();
        while found.len() < channels {
            let frame = self.next()?;
            if let (2, [2, time @ ..]) = (frame.kind, frame.head) {
                let time = time.first_chunk().map(|time| u64::from_le_bytes(*time));
                self.greeted_time = time;
                continue;
            }
            if frame.kind != 1 {
                continue;
            }
            let text: serde_json::Value = serde_json::from_slice(frame.head)?;
            if text["op"] == "advertise" {
                for channel in text["channels"].as_array().into_iter().flatten() {
                    let id = channel["id"].as_u64().unwrap_or(0);
                    found.push((id, channel["topic"].as_str().unwrap_or("").to_owned()));
                }
            }
        }
        let ids: Vec<u64> = found.iter().map(|(id, _)| *id).collect();
        self.subscribe(&ids)?;
        Ok(found)
    }

    /// The next frame.
    pub fn next(&mut self) -> io::Result<Frame<'_>> {
        self.skip_rest()?;
        self.have(2)?;
        let kind = self.buffer[self.start] & 0xf;
        let (header, length) = match self.buffer[self.start + 1] & 0x7f {
            126 => {
                self.have(4)?;
                let length = [self.buffer[self.start + 2], self.buffer[self.start + 3]];
                (4, u16::from_be_bytes(length) as usize)
            }
            127 => {
                self.have(10)?;
                let mut length = [0; 8];
                length.copy_from_slice(&self.buffer[self.start + 2..self.start + 10]);
                (10, u64::from_be_bytes(length) as usize)
            }
            length => (2, length as usize),
        };
        self.start += header;
        let looked_at = if kind == 1 { length } else { length.min(LOOKED_AT) };
        self.have(looked_at)?;
        let head = self.start..self.start + looked_at;
        self.start += looked_at;
        self.skip = length - looked_at;
        Ok(Frame { kind, head: &self.buffer[head], length })
    }

    /// Passes over what is left of the last frame. The kernel need not copy that.
    pub fn skip_rest(&mut self) -> io::Result<()> {
        let there = self.skip.min(self.end - self.start);
        self.start += there;
        self.skip -= there;
        while self.skip >= DISCARD && self.bytes_per_second.is_none() {
            let count = discard(&self.socket, &mut self.buffer[..], self.skip)?;
            self.skip -= count;
            self.bytes += count as u64;
        }
        while self.skip > 0 {
            self.fill()?;
            let there = self.skip.min(self.end - self.start);
            self.start += there;
            self.skip -= there;
        }
        Ok(())
    }

    /// Reads until there are so many bytes.
    fn have(&mut self, bytes: usize) -> io::Result<()> {
        while self.end - self.start < bytes {
            self.fill()?;
        }
        Ok(())
    }

    fn fill(&mut self) -> io::Result<()> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            if self.end == self.buffer.len() {
                self.buffer.resize(self.buffer.len() * 2, 0);
            }
        }
        let mut most = self.read;
        if let Some(bytes) = self.bytes_per_second {
            std::thread::sleep(Duration::from_secs(1) / READS_PER_SECOND);
            most = bytes / READS_PER_SECOND as usize;
        }
        let most = most.min(self.buffer.len() - self.end);
        let room = &mut self.buffer[self.end..][..most];
        let count = self.socket.read(room)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if count == most {
            // There is more to come.
            self.read = (self.read * 2).min(READ_MANY);
        } else if count < READ_FEW {
            self.read = READ_FEW;
        }
        self.end += count;
        self.bytes += count as u64;
        Ok(())
    }
}

/// Writes what a client says.
pub struct Writer(TcpStream);

impl Writer {
    fn send(&mut self, kind: u8, payload: &[u8]) -> io::Result<()> {
        let mut frame = vec![0x80 | kind];
        match payload.len() {
            length @ ..126 => frame.push(0x80 | length as u8),
            length @ ..0x10000 => {
                frame.push(0x80 | 126);
                frame.extend_from_slice(&(length as u16).to_be_bytes());
            }
            length => {
                frame.push(0x80 | 127);
                frame.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        // A mask of zeros.
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(payload);
        self.0.write_all(&frame)
    }
}

/// Takes bytes from a socket without copying them, `most` at most. Gives how many.
#[cfg(target_os = "linux")]
fn discard(socket: &TcpStream, buffer: &mut [u8], most: usize) -> io::Result<usize> {
    let most = most.min(buffer.len());
    let (_, count) = rustix::net::recv(socket, &mut buffer[..most], rustix::net::RecvFlags::TRUNC)?;
    if count == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(count) }
}

#[cfg(not(target_os = "linux"))]
fn discard(mut socket: &TcpStream, buffer: &mut [u8], most: usize) -> io::Result<usize> {
    let most = most.min(buffer.len());
    let count = socket.read(&mut buffer[..most])?;
    if count == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(count) }
}
