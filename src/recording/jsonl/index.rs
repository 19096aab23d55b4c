//! Where each message is, in the order in which the messages play.

use crate::time::Timestamp;

/// One message. There are as many of these in memory as there are messages, so they are kept small.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Entry {
    pub log_time: Timestamp,
    /// Where its data begins in the file, in bytes. It also tells which of two messages comes first there.
    pub offset: u64,
    /// How many bytes its data has.
    pub length: u32,
    /// Which of the file's channels it belongs to.
    pub channel: u32,
}

/// What few recordings have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Extra {
    pub publish_time: Timestamp,
    pub sequence: u32,
}

/// All messages of a file.
#[derive(Debug)]
pub(super) struct Index {
    entries: Entries,
    in_order: bool,
}

#[derive(Debug)]
enum Entries {
    Plain(Vec<Entry>),
    /// As soon as one message has an extra.
    Full(Vec<(Entry, Extra)>),
}

impl Entry {
    fn order(&self) -> (Timestamp, u64) {
        (self.log_time, self.offset)
    }

    fn without_extra(&self) -> Extra {
        Extra { publish_time: self.log_time, sequence: 0 }
    }
}

impl Default for Index {
    fn default() -> Self {
        Index { entries: Entries::Plain(Vec::new()), in_order: true }
    }
}

impl Index {
    /// Adds the message that follows in the file.
    pub fn push(&mut self, entry: Entry, publish_time: Option<Timestamp>, sequence: Option<u32>) {
        let last = self.len().checked_sub(1).map(|last| self.entry(last).log_time);
        self.in_order &= last.is_none_or(|last| last <= entry.log_time);
        if let Entries::Plain(entries) = &mut self.entries {
            if publish_time.is_none() && sequence.is_none() {
                entries.push(entry);
                return;
            }
            let entries = std::mem::take(entries);
            self.entries =
                Entries::Full(entries.into_iter().map(|entry| (entry, entry.without_extra())).collect());
        }
        if let Entries::Full(entries) = &mut self.entries {
            let Extra { publish_time: no_time, sequence: no_sequence } = entry.without_extra();
            let extra = Extra {
                publish_time: publish_time.unwrap_or(no_time),
                sequence: sequence.unwrap_or(no_sequence),
            };
            entries.push((entry, extra));
        }
    }

    /// Brings the messages into the order in which they play. To be called after the last message.
    pub fn finish(&mut self) {
        // No two messages have the same offset, so this keeps the file's order where log times are equal.
        match &mut self.entries {
            Entries::Plain(entries) => {
                if !self.in_order {
                    entries.sort_unstable_by_key(Entry::order);
                }
                entries.shrink_to_fit();
            }
            Entries::Full(entries) => {
                if !self.in_order {
                    entries.sort_unstable_by_key(|(entry, _)| entry.order());
                }
                entries.shrink_to_fit();
            }
        }
    }

    pub fn len(&self) -> usize {
        match &self.entries {
            Entries::Plain(entries) => entries.len(),
            Entries::Full(entries) => entries.len(),
        }
    }

    /// The message at `position`, which is below [`len`](Self::len).
    pub fn entry(&self, position: usize) -> Entry {
        match &self.entries {
            Entries::Plain(entries) => entries[position],
            Entries::Full(entries) => entries[position].0,
        }
    }

    /// What else is known of the message at `position`, which is below [`len`](Self::len).
    pub fn extra(&self, position: usize) -> Extra {
        match &self.entries {
            Entries::Plain(entries) => entries[position].without_extra(),
            Entries::Full(entries) => entries[position].1,
        }
    }

    /// The position of the first message at or after a log time.
    pub fn position_from(&self, from: Timestamp) -> usize {
        match &self.entries {
            Entries::Plain(entries) => entries.partition_point(|entry| entry.log_time < from),
            Entries::Full(entries) => entries.partition_point(|(entry, _)| entry.log_time < from),
        }
    }

    /// The log times of the first and the last message.
    pub fn time_range(&self) -> Option<(Timestamp, Timestamp)> {
        let last = self.len().checked_sub(1)?;
        Some((self.entry(0).log_time, self.entry(last).log_time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(log_time: u64, offset: u64) -> Entry {
        Entry { log_time: Timestamp::from_nanos(log_time), offset, length: 2, channel: 0 }
    }

    fn offsets(index: &Index) -> Vec<u64> {
        (0..index.len()).map(|position| index.entry(position).offset).collect()
    }

    #[test]
    fn an_entry_has_24_bytes() {
        assert_eq!(size_of::<Entry>(), 24);
    }

    #[test]
    fn messages_play_in_log_time_order_and_then_in_file_order() {
        for extra in [None, Some(9)] {
            let mut index = Index::default();
            for (offset, time) in [5, 3, 5, 1, 3, 5].into_iter().enumerate() {
                index.push(entry(time, offset as u64), None, extra.filter(|_| offset == 2));
            }
            index.finish();
            assert_eq!(offsets(&index), [3, 1, 4, 0, 2, 5]);
            assert_eq!(index.extra(4).sequence, extra.unwrap_or(0));
            assert_eq!(index.extra(3), Extra { publish_time: Timestamp::from_nanos(5), sequence: 0 });
            let times = [0, 1, 2, 3, 4, 5, 6].map(|from| index.position_from(Timestamp::from_nanos(from)));
            assert_eq!(times, [0, 0, 1, 1, 3, 3, 6]);
            assert_eq!(index.time_range(), Some((Timestamp::from_nanos(1), Timestamp::from_nanos(5))));
        }
        assert_eq!(Index::default().time_range(), None);
    }

    #[test]
    fn room_for_extras_is_taken_only_when_there_is_one() {
        let mut index = Index::default();
        index.push(entry(1, 0), None, None);
        assert!(matches!(index.entries, Entries::Plain(_)));
        index.push(entry(2, 1), Some(Timestamp::from_nanos(7)), None);
        assert!(matches!(index.entries, Entries::Full(_)));
        assert_eq!(index.extra(1), Extra { publish_time: Timestamp::from_nanos(7), sequence: 0 });
        assert_eq!(index.extra(0), Extra { publish_time: Timestamp::from_nanos(1), sequence: 0 });
    }
}
