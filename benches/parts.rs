//! Micro-benchmarks of the parts that every message passes. What they cost together, and beside others, is measured by
//! `reading` and `serving`.

use std::collections::{BTreeMap, VecDeque};
use std::io::Cursor;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use divan::Bencher;
use divan::counter::ItemsCount;
use fgplay::playback::{Clock, Command, Event, Feed, Lookback, Peek, Range, Rate, Timeline, TimelineOptions};
use fgplay::recording::{ChannelId, Memory, Message, OpenOptions, Problems, Recording, Source};
use fgplay::server::measuring::Queue;
use fgplay::time::Timestamp;

const START: u64 = 1_700_000_000_000_000_000;
const MESSAGES: u64 = 10_000;
const CHANNELS: u32 = 8;

fn main() {
    divan::main();
}

fn at(number: u64) -> Timestamp {
    Timestamp::from_nanos(START + number * 1_000_000)
}

fn message(number: u64, size: usize) -> Message {
    let data = Bytes::from(vec![number as u8; size]);
    Message {
        channel: ChannelId(number as u32 % CHANNELS),
        sequence: number as u32,
        log_time: at(number),
        publish_time: at(number),
        memory: Memory::of(&data),
        data,
    }
}

fn open(name: &str, bytes: Vec<u8>) -> Recording {
    let source: Arc<dyn Source> = Arc::new(Bytes::from(bytes));
    // What was decoded is not kept, so that it is decoded every time.
    let options = OpenOptions { chunk_cache_bytes: 0, ..OpenOptions::default() };
    let sources = vec![(PathBuf::from(name), source)];
    Recording::from_sources(sources, &options, Arc::new(Problems::default()), &|_| {}).expect("a recording")
}

fn mcap_file(compression: Option<mcap::Compression>) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    let mut writer = mcap::WriteOptions::new().compression(compression).create(&mut file).expect("a writer");
    for number in 0..MESSAGES {
        let topic = format!("/topic{}", number % u64::from(CHANNELS));
        let channel = writer.add_channel(0, &topic, "cdr", &BTreeMap::new()).expect("a channel");
        let log_time = at(number).as_nanos();
        let header = mcap::records::MessageHeader {
            channel_id: channel,
            sequence: 0,
            log_time,
            publish_time: log_time,
        };
        writer.write_to_known_channel(&header, &message(number, 100).data).expect("memory");
    }
    writer.finish().expect("memory");
    drop(writer);
    file.into_inner()
}

/// Chunks to messages: decompression, checksums, order.
#[divan::bench(args = ["none", "lz4", "zstd"])]
fn mcap_messages(bencher: Bencher, compression: &str) {
    let compression = match compression {
        "lz4" => Some(mcap::Compression::Lz4),
        "zstd" => Some(mcap::Compression::Zstd),
        _ => None,
    };
    let recording = open("bench.mcap", mcap_file(compression));
    bencher.counter(ItemsCount::new(MESSAGES)).bench(|| read_all(&recording));
}

/// Lines to messages.
#[divan::bench]
fn jsonl_messages(bencher: Bencher) {
    let line = |number| {
        let (topic, time) = (number % u64::from(CHANNELS), at(number).as_nanos());
        format!(
            "{{\"topic\":\"/topic{topic}\",\"log_time\":{time},\"data\":{{\"x\":{number}.5,\"frame\":\"map\"}}}}\n"
        )
    };
    let text: String = (0..MESSAGES).map(line).collect();
    let recording = open("bench.jsonl", text.into_bytes());
    bencher.counter(ItemsCount::new(MESSAGES)).bench(|| read_all(&recording));
}

fn read_all(recording: &Recording) -> usize {
    let mut cursor = recording.cursor(Timestamp::MIN);
    std::iter::from_fn(|| cursor.next()).map(|message| message.data.len()).sum()
}

/// When a message is due, and what time it is.
#[divan::bench]
fn clock(bencher: Bencher) {
    let start = Instant::now();
    let clock = Clock::new(start, at(0), Rate::new(1.5).expect("a rate"));
    let mut number = 0;
    bencher.bench_local(|| {
        number += 1;
        (clock.instant_of(divan::black_box(at(number))), clock.time_at(start + Duration::from_micros(number)))
    });
}

/// A recording in memory.
struct Shelf {
    messages: VecDeque<Message>,
    begun: bool,
}

impl Feed for Shelf {
    fn peek(&mut self) -> Peek {
        match self.messages.front() {
            _ if !self.begun => Peek::Lookback,
            Some(message) => Peek::Message(message.log_time),
            None => Peek::EndOfPass,
        }
    }

    fn take_lookback(&mut self) -> Lookback {
        self.begun = true;
        Lookback::default()
    }

    fn take(&mut self) -> Option<Message> {
        self.messages.pop_front()
    }

    fn next_pass(&mut self) {}

    fn seek(&mut self, _: Timestamp, _: bool) {}

    fn hurry(&mut self, _: bool) {}

    fn passed_on(&mut self, _: &dyn Fn() -> bool) {}
}

/// A poll for each message, as when they are due one after the other.
#[divan::bench]
fn timeline(bencher: Bencher) {
    let messages: VecDeque<Message> = (0..MESSAGES).map(|number| message(number, 100)).collect();
    let range = Range { start: at(0), end: at(MESSAGES) };
    let start = Instant::now();
    let feed = || Shelf { messages: messages.clone(), begun: false };
    let polls = bencher.counter(ItemsCount::new(MESSAGES)).with_inputs(feed);
    polls.bench_local_values(|shelf| {
        let mut timeline = Timeline::new(shelf, TimelineOptions::new(range));
        let mut events = Vec::new();
        timeline.apply(Command::Play, start, &mut events);
        for number in 0..MESSAGES {
            timeline.poll(start + Duration::from_millis(number), &mut events);
            divan::black_box(&events);
            events.clear();
        }
    });
}

/// From the queue of a client to the bytes that its socket gets: messages of this size, each with its own time.
#[divan::bench(args = [100, 1_000, 100_000])]
fn frames(bencher: Bencher, size: usize) {
    const COUNT: u64 = 1000;
    let events: Vec<Event> = (0..COUNT).map(|number| Event::Message(message(number, size), None)).collect();
    bencher.counter(ItemsCount::new(COUNT)).bench_local(|| {
        let queue = Queue::new(CHANNELS, usize::MAX);
        queue.deliver(&events);
        while queue.take() > 0 {}
    });
}

/// One thread puts messages in, another takes them out at the same time.
#[divan::bench]
fn outbox_under_contention(bencher: Bencher) {
    let events: Vec<Event> = (0..MESSAGES).map(|number| Event::Message(message(number, 100), None)).collect();
    bencher.counter(ItemsCount::new(MESSAGES)).bench_local(|| {
        let queue = Queue::new(CHANNELS, usize::MAX);
        std::thread::scope(|scope| {
            scope.spawn(|| events.chunks(10).for_each(|due| queue.deliver(due)));
            let mut taken = 0;
            while taken < MESSAGES {
                queue.take();
                taken = queue.taken();
            }
        });
    });
}
