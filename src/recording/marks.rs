//! What has happened at which places of a file, however often it happens there.

use std::sync::{Mutex, PoisonError};

/// A mark for each of many places, which are numbered from 0. It takes a bit for each, up to the last one that is
/// marked.
#[derive(Debug, Default)]
pub(super) struct Marks(Mutex<Vec<u64>>);

impl Marks {
    /// Marks a place. Whether it was not marked before.
    pub fn mark(&self, place: usize) -> bool {
        // A mark is set as a whole or not at all, so a panic elsewhere spoils nothing.
        let mut words = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (word, bit) = (place / 64, 1 << (place % 64));
        if words.len() <= word {
            words.resize(word + 1, 0);
        }
        let is_new = words[word] & bit == 0;
        words[word] |= bit;
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_is_new_once() {
        let marks = Marks::default();
        let new = [0, 64, 63, 0, 1000, 64, 1000, 1].map(|place| marks.mark(place));
        assert_eq!(new, [true, true, true, false, true, false, false, true]);
    }
}
