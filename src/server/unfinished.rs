//! What clients have sent of messages that are not whole yet: it waits in memory until they are.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many bytes a client may have begun in any case: the small messages of any number of clients are taken.
const FREE: usize = 64 * 1024;

/// How many bytes all clients together may have begun beyond that. The buffers that these are in may have twice the
/// size.
const ALL: usize = 32 * 1024 * 1024;

/// Framing of a control frame of a client: opcode, length and mask (RFC 6455, section 5.2).
const CONTROL_HEADER: usize = 6;

/// Why no more of a message is taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum TooMuch {
    #[error("a message has too many fragments")]
    Fragments,
    #[error("clients have begun too many large messages; send this one again later")]
    Together,
}

/// How much all clients have begun, beyond what each may in any case.
#[derive(Clone, Debug, Default)]
pub(super) struct Unfinished(Arc<AtomicUsize>);

/// What one client has begun: all that came since its last whole message.
#[derive(Debug)]
pub(super) struct Begun {
    bytes: usize,
    /// More than this is no message, but frames with nothing in them.
    most: usize,
    all: Unfinished,
}

impl Begun {
    /// Nothing yet, of a client whose messages may be so large.
    pub fn new(message_bytes: usize, all: Unfinished) -> Self {
        Begun { bytes: 0, most: message_bytes.saturating_mul(2).saturating_add(FREE), all }
    }

    /// So many bytes came.
    ///
    /// # Errors
    /// Where that is more than may be begun. Then it is to be forgotten, and so counts no more.
    pub fn add(&mut self, bytes: usize) -> Result<(), TooMuch> {
        let all = self.set(self.bytes + bytes);
        let why = if self.bytes > self.most {
            TooMuch::Fragments
        } else if self.bytes > FREE && all > ALL {
            TooMuch::Together
        } else {
            return Ok(());
        };
        self.finish();
        Err(why)
    }

    /// A message is whole.
    pub fn finish(&mut self) {
        self.set(0);
    }

    /// What came was a control frame with so many bytes in it, which may be between the parts of a message.
    pub fn take_control(&mut self, bytes: usize) {
        self.set(self.bytes.saturating_sub(bytes + CONTROL_HEADER));
    }

    /// Gives what all clients have begun since.
    fn set(&mut self, bytes: usize) -> usize {
        let (before, after) = (self.bytes.saturating_sub(FREE), bytes.saturating_sub(FREE));
        self.bytes = bytes;
        let all = &self.all.0;
        if after >= before {
            all.fetch_add(after - before, Ordering::Relaxed) + (after - before)
        } else {
            all.fetch_sub(before - after, Ordering::Relaxed) - (before - after)
        }
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.finish();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEGABYTE: usize = 1024 * 1024;

    #[test]
    fn all_clients_together_may_begin_only_so_much() {
        let all = Unfinished::default();
        let begin = || Begun::new(4 * MEGABYTE, all.clone());
        let mut clients: Vec<Begun> = (0..8).map(|_| begin()).collect();
        assert!(clients.iter_mut().all(|client| client.add(4 * MEGABYTE).is_ok()));
        let mut late = begin();
        assert_eq!(late.add(FREE), Ok(()));
        assert_eq!(late.add(2 * MEGABYTE), Err(TooMuch::Together));
        clients.pop();
        assert_eq!(late.add(2 * MEGABYTE), Ok(()));
        drop((clients, late));
        assert_eq!(all.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_message_has_not_more_frames_than_bytes_without_end() {
        let mut client = Begun::new(MEGABYTE, Unfinished::default());
        let empty_frames = (0..MEGABYTE).take_while(|_| client.add(6).is_ok()).count();
        assert!((350_000..400_000).contains(&empty_frames), "{empty_frames}");
    }

    #[test]
    fn answers_to_pings_are_no_part_of_a_message() {
        let mut client = Begun::new(1000, Unfinished::default());
        for _ in 0..100_000 {
            assert_eq!(client.add(CONTROL_HEADER + 4), Ok(()));
            client.take_control(4);
        }
        assert_eq!(client.bytes, 0);
    }
}
