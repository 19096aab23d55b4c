//! What comes out of the queue, and when.

use std::io::Write as _;
use std::sync::mpsc;

use super::reader::{BATCH_BYTES, HURRIED_LIMIT, LARGEST_BESIDE, OVERHEAD};
use super::*;
use crate::recording::{OpenOptions, Problems};

/// A recording of `count` messages, a microsecond apart.
fn recording(count: u64) -> Arc<Recording> {
    recording_of(count, |_| 0)
}

/// The same, where each message has at least so many bytes.
fn recording_of(count: u64, bytes: impl Fn(u64) -> usize) -> Arc<Recording> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    for time in 0..count {
        let (nanos, text) = (time * 1000, "x".repeat(bytes(time)));
        writeln!(file, r#"{{"topic": "/t", "log_time": {nanos}, "data": {{"n": {time}, "x": "{text}"}}}}"#)
            .unwrap();
    }
    let problems = Arc::new(Problems::default());
    Arc::new(Recording::open(&[file.path()], &OpenOptions::default(), problems, &|_| {}).unwrap())
}

/// A recording of `topics` topics with one message each, at 0, 1, ... microseconds, and after them `count` messages,
/// one a microsecond, in turn on the even ones of these topics.
fn recording_with_states(topics: u64, count: u64) -> Arc<Recording> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    for time in 0..topics + count {
        let topic = if time < topics { time } else { (time * 2) % topics };
        writeln!(file, r#"{{"topic": "/t{topic}", "log_time": {}, "data": {{}}}}"#, time * 1000).unwrap();
    }
    let problems = Arc::new(Problems::default());
    Arc::new(Recording::open(&[file.path()], &OpenOptions::default(), problems, &|_| {}).unwrap())
}

struct Fixture {
    feed: ReadAhead,
    fed: mpsc::Receiver<()>,
    /// The last lookback.
    state: Vec<Message>,
}

impl Fixture {
    fn new(count: u64, limit: usize) -> Self {
        Self::of(recording(count), limit, Duration::MAX)
    }

    fn of(recording: Arc<Recording>, limit: usize, patience: Duration) -> Self {
        let (sender, fed) = mpsc::channel();
        let range = Range { start: Timestamp::MIN, end: Timestamp::MAX };
        let options = ReadAheadOptions { range, open_end: false, limit, lookback: true, patience };
        let fed_again = move || sender.send(()).unwrap_or_default();
        Fixture {
            feed: ReadAhead::start(ReadPool::new(2).unwrap(), recording, options, fed_again),
            fed,
            state: Vec::new(),
        }
    }

    /// Waits until it is known what comes next.
    fn peek(&mut self) -> Peek {
        loop {
            match self.feed.peek() {
                Peek::Pending => self.fed.recv().unwrap(),
                Peek::Lookback => self.state = self.feed.take_lookback().messages,
                known => return known,
            }
        }
    }

    fn times_to_end_of_pass(&mut self) -> Vec<u64> {
        let mut times = Vec::new();
        while let Peek::Message(time) = self.peek() {
            assert_eq!(self.feed.take().unwrap().log_time, time);
            times.push(time.as_nanos() / 1000);
        }
        times
    }

    /// How many bytes are ready when no thread reads.
    fn at_rest(&self) -> usize {
        while self.feed.reader.state().reading {
            std::thread::yield_now();
        }
        self.feed.reader.state().bytes
    }

    /// Takes messages until fewer bytes are ready, and gives how many.
    fn take_down_to(&mut self, bytes: usize) -> usize {
        while self.at_rest() >= bytes {
            self.peek();
            self.feed.take().unwrap();
        }
        self.at_rest()
    }

    /// How many bytes are ready after what was taken is passed on, or a part of it.
    fn pass_on(&mut self, everything: bool) -> usize {
        self.feed.passed_on(&|| everything);
        self.at_rest()
    }
}

#[test]
fn every_pass_brings_every_message_in_order() {
    let mut fixture = Fixture::new(2000, 10_000);
    for _ in 0..3 {
        assert_eq!(fixture.times_to_end_of_pass(), (0..2000).collect::<Vec<_>>());
        fixture.feed.next_pass();
    }
}

#[test]
fn what_is_ready_is_told_up_to_a_time() {
    let mut fixture = Fixture::new(2000, 10_000_000);
    // The first batches are small.
    for _ in 0..600 {
        fixture.peek();
        fixture.feed.take().unwrap();
    }
    let micros = |time: u64| Timestamp::from_nanos(time * 1000);
    for _ in 0..2 {
        assert_eq!(fixture.peek(), Peek::Message(micros(600)));
        assert_eq!(fixture.feed.last_ready_up_to(micros(599)), None);
        assert_eq!(fixture.feed.last_ready_up_to(micros(600)), Some(micros(600)));
        let between = Timestamp::from_nanos(603_999);
        assert_eq!(fixture.feed.last_ready_up_to(between), Some(micros(603)));
        assert!(fixture.feed.last_ready_up_to(Timestamp::MAX) > Some(micros(603)));
    }
}

#[test]
fn after_a_seek_nothing_from_before_it_comes() {
    let mut fixture = Fixture::new(2000, 10_000);
    for target in [1500, 3, 1999, 0, 700] {
        fixture.peek();
        fixture.feed.seek(Timestamp::from_nanos(target * 1000), false);
        fixture.peek();
        let state: Vec<u64> = fixture.state.iter().map(|m| m.log_time.as_nanos() / 1000).collect();
        assert_eq!(state, target.checked_sub(1).into_iter().collect::<Vec<_>>());
        assert_eq!(fixture.times_to_end_of_pass(), (target..2000).collect::<Vec<_>>());
    }
}

#[test]
fn what_is_read_ahead_is_bounded_in_bytes() {
    let mut fixture = Fixture::new(20_000, 100_000);
    fixture.peek();
    // The reader is at rest once there is no room; until then it may only come closer to the limit.
    let mut state = fixture.feed.reader.state();
    while state.bytes < 100_000 {
        drop(state);
        std::thread::yield_now();
        state = fixture.feed.reader.state();
    }
    assert!(state.bytes < 100_000 + BATCH_BYTES + OVERHEAD, "{}", state.bytes);
}

#[test]
fn less_is_read_ahead_while_messages_are_taken_as_they_come() {
    let limit = HURRIED_LIMIT + 4 * BATCH_BYTES;
    let mut fixture = Fixture::new(2 * (limit / OVERHEAD) as u64, limit);
    for (hurries, limit) in [(true, HURRIED_LIMIT), (false, limit), (true, HURRIED_LIMIT)] {
        fixture.feed.hurry(hurries);
        fixture.feed.seek(Timestamp::MIN, false);
        fixture.peek();
        let bytes = fixture.at_rest();
        assert!((limit..limit + BATCH_BYTES + OVERHEAD).contains(&bytes), "{limit}: {bytes}");
    }
}

#[test]
fn while_a_large_message_waits_what_comes_after_it_is_read() {
    const LARGE: usize = 2 * BATCH_BYTES;
    // One of ten is as large as all that may be kept ready.
    let bytes = |time| if time % 10 == 5 { LARGE } else { 0 };
    let mut fixture = Fixture::of(recording_of(100, bytes), LARGE, Duration::MAX);
    for time in 0..80 {
        assert_eq!(fixture.peek(), Peek::Message(Timestamp::from_nanos(time * 1000)));
        // This one and the next, or the next two.
        let ready = fixture.pass_on(true);
        assert!((2 * LARGE..2 * LARGE + BATCH_BYTES).contains(&ready), "{time}: {ready}");
        fixture.feed.take().unwrap();
    }
}

#[test]
fn one_item_comes_on_top_where_it_is_large_and_not_too_large() {
    const LIMIT: usize = 3 * BATCH_BYTES;
    let fills = |bytes: usize| {
        let mut fixture = Fixture::of(recording_of(5, move |_| bytes), LIMIT, Duration::MAX);
        fixture.peek();
        fixture.at_rest() / bytes
    };
    assert_eq!(fills(LIMIT / 2 - OVERHEAD - 100), 3, "they fit");
    assert_eq!(fills(LIMIT / 2 + 1), 3, "two, and one on top");
    assert_eq!(fills(LIMIT + 1), 2);
    assert_eq!(fills(LARGEST_BESIDE * LIMIT - OVERHEAD - 100), 2);
    assert_eq!(fills(LARGEST_BESIDE * LIMIT + 1), 1);
}

#[test]
fn a_large_message_that_waits_does_not_look_like_much_that_is_ready() {
    const LARGE: usize = 2 * BATCH_BYTES;
    let bytes = |time| if time == 2000 { LARGE } else { 100 };
    let mut fixture = Fixture::of(recording_of(20_000, bytes), LARGE, Duration::MAX);
    fixture.peek();
    fixture.at_rest();
    for _ in 0..1600 {
        fixture.peek();
        fixture.feed.take().unwrap();
    }
    let ready = fixture.at_rest();
    assert!(fixture.pass_on(false) > ready, "{ready}");
}

/// The log time, in microseconds, of the last message of each channel before `time`.
fn expected_state(topics: u64, time: u64) -> Vec<u64> {
    let last = |topic| (0..time).rfind(|&at| topic == if at < topics { at } else { (at * 2) % topics });
    let mut state: Vec<u64> = (0..topics).filter_map(last).collect();
    state.sort_unstable();
    state
}

#[test]
fn state_that_takes_long_to_find_comes_late_but_whole_while_nothing_is_played() {
    let mut fixture = Fixture::of(recording_with_states(40, 1000), 100_000, Duration::ZERO);
    for target in [1000, 500, 39, 1] {
        fixture.feed.seek(Timestamp::from_nanos(target * 1000), false);
        let mut state = Vec::new();
        let mut is_late = Vec::new();
        while state.len() < expected_state(40, target).len() {
            match fixture.feed.peek() {
                Peek::Lookback => {
                    let lookback = fixture.feed.take_lookback();
                    is_late.push(lookback.late);
                    state.extend(lookback.messages.iter().map(|message| message.log_time.as_nanos() / 1000));
                }
                // What plays next is known; what is late is told all the same.
                _ => fixture.fed.recv().unwrap(),
            }
        }
        state.sort_unstable();
        assert_eq!(state, expected_state(40, target));
        assert!(!is_late[0] && is_late[1..].iter().all(|late| *late), "{is_late:?}");
    }
}

#[test]
fn late_state_never_follows_a_message_of_its_channel() {
    let (topics, count) = (40, 3000);
    // The smallest limit makes reading wait for playing.
    for limit in [0, 1, 1000, 1_000_000] {
        let mut fixture = Fixture::of(recording_with_states(topics, count), limit, Duration::ZERO);
        fixture.feed.seek(Timestamp::from_nanos(2000 * 1000), false);
        for pass in 0..3 {
            let start = if pass == 0 { 2000 } else { 0 };
            let (mut states, mut played, mut times) = (Vec::new(), HashSet::new(), Vec::new());
            loop {
                match fixture.feed.peek() {
                    Peek::Pending => fixture.fed.recv().unwrap(),
                    Peek::Lookback => {
                        for message in fixture.feed.take_lookback().messages {
                            assert!(!played.contains(&message.channel));
                            states.push((message.channel, message.log_time.as_nanos() / 1000));
                        }
                    }
                    Peek::Message(_) => {
                        let message = fixture.feed.take().unwrap();
                        played.insert(message.channel);
                        times.push(message.log_time.as_nanos() / 1000);
                    }
                    Peek::EndOfPass => break,
                }
            }
            fixture.feed.next_pass();
            assert_eq!(times, (start..topics + count).collect::<Vec<_>>());
            let expected = expected_state(topics, start);
            let found: HashSet<u64> = states.iter().map(|(_, time)| *time).collect();
            assert_eq!(found.len(), states.len(), "nothing comes twice");
            assert!(found.iter().all(|time| expected.contains(time)));
            // Odd topics have no message in the flow.
            assert!(
                expected
                    .iter()
                    .filter(|time| **time < topics && **time % 2 == 1)
                    .all(|time| found.contains(time))
            );
        }
    }
}

#[test]
fn a_search_for_state_gives_way_to_a_newer_seek() {
    let mut fixture = Fixture::of(recording_with_states(40, 1000), 100_000, Duration::ZERO);
    for target in (1..1000).rev() {
        fixture.feed.seek(Timestamp::from_nanos(target * 1000), target % 2 == 0);
    }
    fixture.feed.seek(Timestamp::from_nanos(5000), true);
    let mut state = Vec::new();
    while state.len() < 5 {
        match fixture.feed.peek() {
            Peek::Lookback => state.extend(fixture.feed.take_lookback().messages),
            _ => fixture.fed.recv().unwrap(),
        }
    }
    let times: HashSet<u64> = state.iter().map(|message| message.log_time.as_nanos() / 1000).collect();
    assert_eq!(times, (0..5).collect());
}

/// How many bytes [`stock`] keeps ready.
const LIMIT: usize = 400_000;

/// A feed that has read what it keeps ready, or soon will have.
fn stock(hurries: bool) -> Fixture {
    let mut fixture = Fixture::new(20_000, LIMIT);
    fixture.feed.hurry(hurries);
    fixture.peek();
    // Tells of what room there is now, so that only what is taken from here on counts.
    fixture.feed.passed_on(&|| true);
    fixture
}

#[test]
fn reading_goes_on_when_half_is_taken() {
    let mut stock = stock(false);
    let left = stock.take_down_to(LIMIT - LIMIT / ROOM_PARTS + LIMIT / 10);
    assert_eq!(stock.pass_on(true), left);
    // Where not much is left, nothing is waited for.
    stock.take_down_to(LIMIT - LIMIT / ROOM_PARTS);
    assert!(stock.pass_on(false) >= LIMIT);
}

#[test]
fn in_a_hurry_reading_goes_on_when_what_was_taken_is_passed_on() {
    let mut stock = stock(true);
    // A batch, which is too little to wake a thread for.
    let left = stock.take_down_to(LIMIT);
    assert_eq!(stock.pass_on(true), left);
    // Enough, and less than half.
    let left = stock.take_down_to(LIMIT - 2 * (LIMIT / HURRIED_ROOM_PARTS));
    assert_eq!(stock.pass_on(false), left, "others still pass it on");
    assert!(stock.pass_on(true) >= LIMIT);
    // Where not much is left, nothing is waited for.
    stock.take_down_to(LIMIT / 2);
    assert!(stock.pass_on(false) >= LIMIT);
}
