//! What is said to a thread that sleeps until something is due.

use std::fmt;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::{self, Thread};
use std::time::Instant;

/// Says something to the thread. Cheap to clone.
pub struct Voice<T> {
    sender: Sender<T>,
    thread: Thread,
}

/// Where the thread hears it. The channel's own way to wait with a timeout takes locks and looks at the clock several
/// times, which for each message is more than the rest of the wait.
#[derive(Debug)]
pub struct Inbox<T>(Receiver<T>);

/// What the thread has heard.
#[derive(Debug, Eq, PartialEq)]
pub enum Heard<T> {
    /// This.
    Said(T),
    /// Nothing until the instant up to which it waited. Now it is this instant.
    Nothing(Instant),
    /// Nobody can say anything any more.
    Over,
}

/// An inbox for a thread that is about to be started, and what is needed for a [`Voice`] besides the thread.
pub fn inbox<T>() -> (Sender<T>, Inbox<T>) {
    let (sender, receiver) = channel();
    (sender, Inbox(receiver))
}

impl<T> Voice<T> {
    /// For the `thread` that has the inbox.
    pub fn new(sender: Sender<T>, thread: Thread) -> Self {
        Voice { sender, thread }
    }

    /// Says it, and wakes the thread if it sleeps. Where the thread is gone, nobody hears it.
    pub fn say(&self, what: T) {
        if self.sender.send(what).is_ok() {
            self.thread.unpark();
        }
    }
}

impl<T> Clone for Voice<T> {
    fn clone(&self) -> Self {
        Voice { sender: self.sender.clone(), thread: self.thread.clone() }
    }
}

impl<T> fmt::Debug for Voice<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Voice").field("thread", &self.thread).finish_non_exhaustive()
    }
}

impl<T> Inbox<T> {
    /// Waits until something is said.
    pub fn hear(&self) -> Heard<T> {
        loop {
            match self.0.try_recv() {
                Ok(said) => return Heard::Said(said),
                Err(TryRecvError::Disconnected) => return Heard::Over,
                // Wakes up at once where something was said since then, and perhaps for nothing.
                Err(TryRecvError::Empty) => thread::park(),
            }
        }
    }

    /// Waits until something is said, no longer than `until`; `now` is when it is. What was said before is heard in any
    /// case.
    pub fn hear_until(&self, until: Instant, mut now: Instant) -> Heard<T> {
        loop {
            match self.0.try_recv() {
                Ok(said) => return Heard::Said(said),
                Err(TryRecvError::Disconnected) => return Heard::Over,
                Err(TryRecvError::Empty) if now >= until => return Heard::Nothing(now),
                Err(TryRecvError::Empty) => thread::park_timeout(until - now),
            }
            now = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn everything_is_heard_in_order_by_a_thread_that_sleeps_and_by_one_that_does_not() {
        let (sender, inbox) = inbox();
        let voice = Voice::new(sender, thread::current());
        let speakers: Vec<_> = (0..4)
            .map(|speaker| {
                let voice = voice.clone();
                thread::spawn(move || (0..1000).for_each(|number| voice.say((speaker, number))))
            })
            .collect();
        let mut next = [0; 4];
        for _ in 0..4000 {
            let Heard::Said((speaker, number)) = inbox.hear() else { panic!("it is over") };
            let speaker: usize = speaker;
            assert_eq!(number, next[speaker]);
            next[speaker] += 1;
        }
        speakers.into_iter().for_each(|speaker| speaker.join().unwrap());
        let now = Instant::now();
        assert_eq!(inbox.hear_until(now, now), Heard::Nothing(now));
    }

    #[test]
    fn nothing_is_over_before_its_time_and_what_was_said_is_heard_after_it() {
        let (sender, inbox) = inbox();
        let voice = Voice::new(sender, thread::current());
        let now = Instant::now();
        let until = now + Duration::from_millis(2);
        // Wakes it up once for nothing.
        thread::current().unpark();
        let Heard::Nothing(now) = inbox.hear_until(until, now) else { panic!("nothing was said") };
        assert!(now >= until);
        voice.say(1);
        assert_eq!(inbox.hear_until(until, now), Heard::Said(1));
        drop(voice);
        assert_eq!(inbox.hear(), Heard::Over);
        assert_eq!(inbox.hear_until(until, now), Heard::Over);
    }
}
