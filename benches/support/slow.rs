//! A client that reads little of what is played, and what it gets all the same.

use crate::client::Client;
use crate::shapes::Shape;

/// What a slow client got.
#[derive(Debug, Default)]
pub struct Got {
    /// How many messages.
    pub messages: u64,
    /// How many messages of each topic did not come.
    pub missing: Vec<u64>,
    /// How many were dropped for it, by the last status that told it.
    pub told: u64,
    /// Messages that came out of order.
    pub disordered: u64,
}

impl Got {
    /// How many messages did not come.
    pub fn all_missing(&self) -> u64 {
        self.missing.iter().sum()
    }
}

/// Subscribes to everything, and reads so many bytes a second until the last message is there.
pub fn take_slowly(mut client: Client, shape: Shape, seconds: u64, bytes_per_second: usize) -> Got {
    client.subscribe_to_all(shape.topics.len()).expect("the channels");
    client.bytes_per_second = Some(bytes_per_second);
    let topics: Vec<usize> = shape.order(seconds).map(|(place, _)| place).collect();
    let mut got = Got { missing: vec![0; shape.topics.len()], ..Got::default() };
    topics.iter().for_each(|&place| got.missing[place] += 1);
    let mut last = None;
    while last != Some(topics.len() - 1) {
        let Ok(frame) = client.next() else { break };
        match (frame.kind, frame.head) {
            (2, [1, header @ ..]) if header.len() >= 12 + 8 => {
                let number =
                    header[12..].first_chunk().map_or(0, |number| u64::from_le_bytes(*number)) as usize;
                got.disordered += u64::from(last.is_some_and(|last| number <= last));
                last = Some(number);
                got.messages += 1;
                got.missing[topics[number]] -= 1;
            }
            (1, text) => got.told = dropped(text).unwrap_or(got.told),
            (8, _) => break,
            _ => {}
        }
    }
    // The status about what was dropped last.
    client.set_patience(std::time::Duration::from_secs(2)).expect("a socket");
    while let Ok(frame) = client.next() {
        if frame.kind == 1 {
            got.told = dropped(frame.head).unwrap_or(got.told);
        }
    }
    got
}

/// The number of messages that a status says were dropped so far, if it is one that does.
fn dropped(text: &[u8]) -> Option<u64> {
    let text: serde_json::Value = serde_json::from_slice(text).ok()?;
    let message = text["message"].as_str().filter(|message| message.contains("were dropped"))?;
    message.split(' ').next()?.parse().ok()
}
