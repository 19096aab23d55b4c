//! A bare server: it writes the frames of a recording, encoded beforehand, to its clients.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

/// When frames are written.
#[derive(Clone, Copy)]
pub enum Pace {
    /// All of them as fast as they go, in large writes.
    AtOnce,
    /// Each when it is due, and those that are due together in one write.
    OnTime,
}

/// How much is written at once.
const WRITE: usize = 256 * 1024;

/// Serves a recording to the first clients, so many, once all of them have subscribed. Prints its port before.
pub fn serve(path: &Path, pace: Pace, clients: usize) -> io::Result<()> {
    let (advertise, frames, ends) = encode(path).expect("a recording");
    let listener = TcpListener::bind("127.0.0.1:0")?;
    // Where the system would pace what it sends (BBR), this would be no limit.
    #[cfg(target_os = "linux")]
    socket2::SockRef::from(&listener).set_tcp_congestion(b"reno")?;
    println!("{}", listener.local_addr()?.port());
    let mut request = [0; 4096];
    let mut sockets = Vec::new();
    for _ in 0..clients {
        let (socket, _) = listener.accept()?;
        let mut socket = upgrade(socket)?;
        socket.write_all(&advertise)?;
        sockets.push(socket);
    }
    for socket in &mut sockets {
        // What it subscribes to is everything.
        let _: usize = socket.read(&mut request)?;
    }
    match pace {
        Pace::AtOnce => {
            for bytes in frames.chunks(WRITE) {
                write_to_all(&mut sockets, bytes)?;
            }
        }
        Pace::OnTime => on_time(&mut sockets, &frames, &ends)?,
    }
    write_to_all(&mut sockets, &[0x88, 0])?;
    // Until the clients are gone.
    for socket in &mut sockets {
        while socket.read(&mut request)? > 0 {}
    }
    Ok(())
}

fn write_to_all(sockets: &mut [TcpStream], bytes: &[u8]) -> io::Result<()> {
    sockets.iter_mut().try_for_each(|socket| socket.write_all(bytes))
}

/// Writes each message when it is due. `ends` has log times and where the message's frames end.
fn on_time(sockets: &mut [TcpStream], frames: &[u8], ends: &[(u64, usize)]) -> io::Result<()> {
    rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1))?;
    std::thread::sleep(Duration::from_millis(100));
    let start = Instant::now();
    let first = ends.first().map_or(0, |(time, _)| *time);
    let (mut written, mut next) = (0, 0);
    while next < ends.len() {
        let due = start + Duration::from_nanos(ends[next].0 - first);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let now = first + start.elapsed().as_nanos() as u64;
        while next < ends.len() && ends[next].0 <= now {
            next += 1;
        }
        if next > 0 {
            write_to_all(sockets, &frames[written..ends[next - 1].1])?;
            written = ends[next - 1].1;
        }
    }
    Ok(())
}

fn upgrade(socket: TcpStream) -> io::Result<TcpStream> {
    socket.set_nodelay(true)?;
    let mut reader = BufReader::new(socket.try_clone()?);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
    }
    let mut socket = socket;
    socket.write_all(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
          Sec-WebSocket-Protocol: foxglove.websocket.v1\r\n\r\n",
    )?;
    Ok(socket)
}

type Encoded = (Vec<u8>, Vec<u8>, Vec<(u64, usize)>);

/// The frame that advertises the channels, and the frames of all messages with a Time before each.
fn encode(path: &Path) -> anyhow::Result<Encoded> {
    let bytes = std::fs::read(path)?;
    let (mut frames, mut ends, mut time) = (Vec::new(), Vec::new(), 0);
    let mut channels = std::collections::BTreeMap::new();
    for message in mcap::MessageStream::new(&bytes)? {
        let message = message?;
        let id = u32::from(message.channel.id);
        channels.entry(id).or_insert_with(|| message.channel.topic.clone());
        if message.log_time != time {
            time = message.log_time;
            header(&mut frames, 2, 9);
            frames.push(2);
            frames.extend(time.to_le_bytes());
        }
        header(&mut frames, 2, 13 + message.data.len());
        frames.push(1);
        frames.extend(id.to_le_bytes());
        frames.extend(time.to_le_bytes());
        frames.extend_from_slice(&message.data);
        ends.push((time, frames.len()));
    }
    let list: Vec<_> = channels
        .iter()
        .map(|(id, topic)| {
            serde_json::json!({"id": id, "topic": topic, "encoding": "cdr", "schemaName": "", "schema": ""})
        })
        .collect();
    let text = serde_json::json!({"op": "advertise", "channels": list}).to_string();
    let mut advertise = Vec::new();
    header(&mut advertise, 1, text.len());
    advertise.extend_from_slice(text.as_bytes());
    Ok((advertise, frames, ends))
}

fn header(frames: &mut Vec<u8>, kind: u8, length: usize) {
    frames.push(0x80 | kind);
    match length {
        ..126 => frames.push(length as u8),
        126..0x10000 => {
            frames.push(126);
            frames.extend((length as u16).to_be_bytes());
        }
        _ => {
            frames.push(127);
            frames.extend((length as u64).to_be_bytes());
        }
    }
}
