//! How much memory messages keep in use that are slices of it, for who sets a bound to that.

use std::collections::HashMap;

use crate::recording::Memory;

/// The memory that messages are slices of. Many are slices of the same: it counts once.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// How much of it there is in all, in bytes.
    bytes: usize,
    /// How many bytes the payloads of these messages have.
    payload: usize,
    /// By where it begins, without the piece that was touched last.
    pieces: HashMap<usize, Piece>,
    /// That one, since the next message is mostly a slice of the same.
    last: (usize, Piece),
}

#[derive(Clone, Copy, Debug, Default)]
struct Piece {
    bytes: usize,
    /// How many messages are slices of it.
    slices: usize,
}

impl Held {
    /// How much would be held with another message, in bytes.
    pub fn bytes_with(&self, memory: Memory) -> usize {
        let last = self.last.0 == memory.place && self.last.1.slices > 0;
        let held = last || self.pieces.contains_key(&memory.place);
        if held { self.bytes } else { self.bytes.saturating_add(memory.bytes) }
    }

    /// How much would be held beyond the payloads themselves with another message, in bytes.
    pub fn beyond_payloads_with(&self, memory: Memory, payload: usize) -> usize {
        self.bytes_with(memory).saturating_sub(self.payload + payload)
    }

    /// How much is held beyond the payloads themselves, in bytes.
    pub fn beyond_payloads(&self) -> usize {
        self.bytes.saturating_sub(self.payload)
    }

    /// Another message, with a payload of so many bytes, is a slice of this memory.
    pub fn add(&mut self, memory: Memory, payload: usize) {
        self.payload += payload;
        let piece = self.piece(memory.place);
        piece.slices += 1;
        if piece.slices == 1 {
            piece.bytes = memory.bytes;
            self.bytes += memory.bytes;
        }
    }

    /// A message is gone that was a slice of the memory that begins here, with a payload of so many bytes.
    pub fn remove(&mut self, place: usize, payload: usize) {
        self.payload -= payload;
        let piece = self.piece(place);
        piece.slices -= 1;
        if piece.slices == 0 {
            self.bytes -= std::mem::take(&mut piece.bytes);
        }
    }

    fn piece(&mut self, place: usize) -> &mut Piece {
        if self.last.0 != place {
            let piece = self.pieces.remove(&place).unwrap_or_default();
            let (before, last) = std::mem::replace(&mut self.last, (place, piece));
            if last.slices > 0 {
                self.pieces.insert(before, last);
            }
        }
        &mut self.last.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_counts_once_and_as_long_as_there_is_a_slice_of_it() {
        let [one, other] = [(0x1000, 100), (0x2000, 30)].map(|(place, bytes)| Memory { place, bytes });
        let mut held = Held::default();
        assert_eq!(held.bytes_with(one), 100);
        held.add(one, 10);
        held.add(one, 20);
        assert_eq!((held.bytes, held.bytes_with(one), held.bytes_with(other)), (100, 100, 130));
        assert_eq!(held.beyond_payloads(), 70);
        assert_eq!((held.beyond_payloads_with(one, 10), held.beyond_payloads_with(other, 5)), (60, 95));
        held.add(other, 5);
        assert_eq!((held.bytes, held.bytes_with(one), held.bytes_with(other)), (130, 130, 130));
        assert_eq!(held.beyond_payloads(), 95);
        held.remove(one.place, 20);
        held.remove(other.place, 5);
        assert_eq!(held.beyond_payloads(), 90);
        assert_eq!((held.bytes, held.bytes_with(other)), (100, 130));
        held.remove(one.place, 10);
        assert_eq!((held.bytes, held.payload, held.bytes_with(one)), (0, 0, 100));
        assert!(held.pieces.is_empty());
    }
}
