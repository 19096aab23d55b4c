//! The messages of a loaded span: which of them are wanted, and in which order.

use ::mcap::records::op;
use bytes::Bytes;

use super::chunk::{Damage, Extent};
use super::fields::Records;
use super::records;
use crate::recording::{ChannelId, ChannelMap};

/// Where a message is in the bytes of its span.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Entry {
    /// Its log time, in nanoseconds.
    pub log_time: u64,
    /// Where the content of its record starts.
    pub at: u32,
    /// The length of that content.
    pub length: u32,
}

/// Where messages of a channel go, by its id in the file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Route {
    /// Nobody knows of such a channel.
    Unknown,
    /// Nobody wants them.
    Unwanted,
    To(ChannelId),
}

/// What becomes of the messages of each channel.
#[derive(Clone, Debug)]
pub struct Routes(Vec<Route>);

impl Routes {
    /// `ids` are the ids of the file's channels, in the order in which `map` has them. `undescribed` are ids
    /// that are known to be in the file, but without a channel.
    pub fn new(ids: &[u16], map: &ChannelMap, undescribed: &[u16]) -> Self {
        let last = ids.iter().chain(undescribed).max().map_or(0, |&id| usize::from(id) + 1);
        let mut routes = vec![Route::Unknown; last];
        for (place, &id) in ids.iter().enumerate() {
            let wanted = map.get(place).copied().flatten();
            routes[usize::from(id)] = wanted.map_or(Route::Unwanted, Route::To);
        }
        for &id in undescribed {
            routes[usize::from(id)] = Route::Unwanted;
        }
        Routes(routes)
    }

    #[inline]
    fn get(&self, id: u16) -> Route {
        self.0.get(usize::from(id)).copied().unwrap_or(Route::Unknown)
    }

    /// Where the messages of a channel go, if anywhere.
    #[inline]
    pub fn wanted(&self, id: u16) -> Option<ChannelId> {
        match self.get(id) {
            Route::To(channel) => Some(channel),
            Route::Unknown | Route::Unwanted => None,
        }
    }

    /// Whether one of the channels is wanted.
    pub fn wants_any(&self, ids: &[u16]) -> bool {
        ids.iter().any(|&id| self.wanted(id).is_some())
    }
}

/// The wanted messages of a span, by log time, and where log times are equal, in file order.
#[derive(Debug)]
pub struct Selected {
    pub entries: Vec<Entry>,
    /// Bytes of their records' contents.
    pub wanted_bytes: u64,
    /// How many messages belong to channels that nobody knows.
    pub unknown: u64,
    /// The log times of the earliest and the latest message, wanted or not.
    pub times: Option<(u64, u64)>,
}

/// Finds the wanted messages in the records of a span. `entries` is memory to use.
///
/// # Errors
/// Where something in the span is no record, unless just the front of it is there.
pub fn select(
    bytes: &[u8],
    extent: Extent,
    routes: &Routes,
    mut entries: Vec<Entry>,
) -> Result<Selected, Damage> {
    entries.clear();
    let (mut wanted_bytes, mut unknown, mut sorted, mut last) = (0, 0, true, 0);
    let (mut earliest, mut latest) = (u64::MAX, u64::MIN);
    let mut records = Records::new(bytes);
    for record in records.by_ref() {
        if record.op != op::MESSAGE {
            continue;
        }
        let (Ok(message), Ok(at), Ok(length)) =
            (records::message(record.content), u32::try_from(record.at), u32::try_from(record.content.len()))
        else {
            match extent {
                Extent::Front => break,
                Extent::Whole => return Err(Damage::Records { at: record.at }),
            }
        };
        let log_time = message.log_time;
        (earliest, latest) = (earliest.min(log_time), latest.max(log_time));
        match routes.get(message.channel_id) {
            Route::To(_) => {
                sorted &= log_time >= last;
                last = log_time;
                wanted_bytes += u64::from(length);
                entries.push(Entry { log_time, at, length });
            }
            Route::Unwanted => {}
            Route::Unknown => unknown += 1,
        }
    }
    if extent == Extent::Whole && !records.is_whole() {
        return Err(Damage::Records { at: records.position() });
    }
    if !sorted {
        entries.sort_by_key(|entry| entry.log_time);
    }
    let times = (earliest <= latest).then_some((earliest, latest));
    Ok(Selected { entries, wanted_bytes, unknown, times })
}

/// Copies the messages of `entries` to a place of their own, so that the span they are from need not be
/// kept, and makes the entries point there.
pub fn gather(bytes: &[u8], entries: &mut [Entry]) -> Bytes {
    let size: usize = entries.iter().map(|entry| entry.length as usize).sum();
    let mut gathered = Vec::with_capacity(size);
    for entry in entries {
        let start = entry.at as usize;
        // What is gathered is not larger than what it is from, so its places fit into 32 bits as well.
        let at = gathered.len() as u32;
        gathered.extend_from_slice(bytes.get(start..start + entry.length as usize).unwrap_or_default());
        entry.at = at;
    }
    gathered.into()
}
