//! What a client gets of a recording, and figures made of it.

use std::io;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::shapes::{START, Shape, number};

/// How many bytes stand between the opcode of a Message Data and the payload: subscription id and log time.
const MESSAGE_HEADER: usize = 4 + 8;

/// A server from which nothing comes for so long is done.
const PATIENCE: Duration = Duration::from_secs(3);

/// How a client makes a server play.
#[derive(Clone, Copy)]
pub enum Manner {
    /// It plays by itself once somebody has subscribed.
    ByItself,
    /// It has to be asked, and perhaps tells of its channels only when it plays.
    OnRequest {
        /// At this speed.
        speed: f32,
    },
}

/// What a client got.
#[derive(Default)]
pub struct Run {
    pub messages: u64,
    pub bytes: u64,
    /// From the first to the last message.
    pub seconds: f64,
    /// By the numbers in the messages, without those before the first one.
    pub lost: u64,
    /// Messages before the first one that came.
    pub missed: u64,
    /// How much later than the earliest one each message was there, in nanoseconds, in the order of log times.
    pub lateness: Vec<u64>,
    /// Messages that did not come after a Time with their log time.
    pub mistimed: u64,
}

/// Subscribes to everything, and takes what comes until the last message, or until nothing comes any more.
/// `rate` is at which rate messages are due, if at any.
pub fn take(mut client: Client, shape: Shape, seconds: u64, manner: Manner, rate: Option<f64>) -> Run {
    let expected = shape.messages(seconds);
    match manner {
        Manner::ByItself => {
            client.subscribe_to_all(shape.topics.len()).expect("the channels");
        }
        Manner::OnRequest { speed } => request(&mut client, speed).expect("a connection"),
    }
    client.set_patience(PATIENCE).expect("a socket");
    let mut run = Run::default();
    let mut came: Vec<(Instant, u64)> = Vec::with_capacity(rate.map_or(0, |_| expected as usize));
    let mut begun = None;
    let (mut first, mut last, mut next, mut time) = (None, Instant::now(), 0, client.greeted_time);
    let eight = |bytes: &[u8]| u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"));
    while next < expected {
        let Ok(frame) = client.next() else { break };
        // Some servers send a message's header and its payload as two fragments.
        let message = match (frame.kind, frame.head) {
            (2, [1, header @ ..]) if header.len() >= MESSAGE_HEADER => {
                Some((eight(&header[4..]), &header[MESSAGE_HEADER..]))
            }
            (0, payload) => begun.take().map(|log_time| (log_time, payload)),
            _ => None,
        };
        let Some((log_time, payload)) = message else {
            match (frame.kind, frame.head.first()) {
                (2, Some(2)) => time = Some(eight(&frame.head[1..])),
                (1, _) if matches!(manner, Manner::OnRequest { .. }) => {
                    let channels = advertised(frame.head);
                    client.subscribe(&channels).expect("a connection");
                }
                (8, _) => break,
                _ => {}
            }
            continue;
        };
        let Some(number) = number(payload) else {
            begun = Some(log_time);
            continue;
        };
        run.bytes += frame.length as u64;
        run.messages += 1;
        if first.is_none() {
            first = Some(Instant::now());
            run.missed = number;
        } else {
            run.lost += number.saturating_sub(next);
        }
        next = number + 1;
        run.mistimed += u64::from(time != Some(log_time));
        if rate.is_some() {
            // A message is there when its last byte is.
            if client.skip_rest().is_err() {
                break;
            }
            last = Instant::now();
            came.push((last, log_time));
        }
    }
    if rate.is_none() {
        client.skip_rest().unwrap_or_default();
        last = Instant::now();
    }
    let first = first.unwrap_or(last);
    run.seconds = (last - first).as_secs_f64();
    run.lateness = lateness(&came, first, rate.unwrap_or(1.0));
    run
}

/// Subscribes to what is advertised within a moment, and asks to play.
fn request(client: &mut Client, speed: f32) -> io::Result<()> {
    client.set_patience(Duration::from_millis(300))?;
    while let Ok(frame) = client.next() {
        let channels = if frame.kind == 1 { advertised(frame.head) } else { Vec::new() };
        client.subscribe(&channels)?;
    }
    client.request_playing(speed)
}

/// The channels that a message advertises, if it is one that does.
fn advertised(text: &[u8]) -> Vec<u64> {
    let text: serde_json::Value = serde_json::from_slice(text).unwrap_or_default();
    let channels = text["channels"].as_array().filter(|_| text["op"] == "advertise");
    channels.into_iter().flatten().filter_map(|channel| channel["id"].as_u64()).collect()
}

fn lateness(came: &[(Instant, u64)], first: Instant, rate: f64) -> Vec<u64> {
    let late = |(at, log_time): &(Instant, u64)| {
        at.duration_since(first).as_nanos() as i64 - ((log_time - START) as f64 / rate) as i64
    };
    let earliest = came.iter().map(late).min().unwrap_or(0);
    came.iter().map(|came| (late(came) - earliest) as u64).collect()
}

/// The value below which this share of them lies; 0 where there is none.
pub fn quantile(values: &[u64], share: f64) -> u64 {
    let mut values = values.to_vec();
    values.sort_unstable();
    let place = (values.len() as f64 * share) as usize;
    values.get(place.min(values.len().saturating_sub(1))).copied().unwrap_or(0)
}

/// The median of what is made of each of several runs.
pub fn median<T>(runs: &[T], figure: impl Fn(&T) -> f64) -> f64 {
    let mut values: Vec<f64> = runs.iter().map(figure).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
