//! Recordings of several files.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::merge::MergeCursor;
use super::*;

/// Files in a folder of their own, which is gone when this is.
struct Files {
    folder: tempfile::TempDir,
    paths: Vec<PathBuf>,
}

impl Files {
    fn new() -> Self {
        Files { folder: tempfile::tempdir().unwrap(), paths: Vec::new() }
    }

    fn add(mut self, name: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        self.paths.push(path);
        self
    }

    fn open(&self) -> Recording {
        Recording::open(&self.paths, &OpenOptions::default(), Arc::default(), &|_| {}).unwrap()
    }
}

/// What was told, with file names instead of paths.
fn told(recording: &Recording) -> Vec<String> {
    let problems = recording.problems().list();
    let name =
        |problem: &Problem| problem.path.file_name().map_or(String::new(), |n| n.display().to_string());
    problems.iter().map(|problem| format!("{}: {}", name(problem), problem.text)).collect()
}

fn topics(recording: &Recording) -> Vec<&str> {
    recording.channels().iter().map(|channel| channel.topic.as_str()).collect()
}

#[test]
fn what_is_to_be_known_of_topics_is_told_of_those_that_are_selected() {
    let line = |topic: &str, time: u32| format!(r#"{{"topic":"{topic}","log_time":{time},"data":{{}}}}"#);
    let typed = |topic: &str, kind: &str| {
        format!(r#"{{"topic":"{topic}","schema_name":"{kind}","schema":{{"type":"object"}}}}"#)
    };
    let file = |kind: &str| [typed("/a", kind), typed("/b", kind), line("/a", 1), line("/b", 1)].join("\n");
    let files = Files::new().add("one.jsonl", file("One")).add("two.jsonl", file("Two"));
    let mut recording = files.open();
    assert_eq!(topics(&recording), ["/a", "/b", "/a (Two)", "/b (Two)"]);
    assert!(told(&recording).is_empty());
    let selection = TopicSelection::default().including(&["/b"]).unwrap().renaming(&["/b:=/c"]).unwrap();
    recording.select(&selection).unwrap();
    assert_eq!(topics(&recording), ["/c", "/c (Two)"]);
    let [only] = &told(&recording)[..] else { panic!("{:?}", told(&recording)) };
    assert!(only.starts_with("two.jsonl: ") && only.ends_with("play as '/c (Two)'"), "{only}");
}

/// A file of messages of `/imu`.
fn imu(data: &[&str]) -> String {
    let line = |data: &&str| format!(r#"{{"topic":"/imu","log_time":1,"data":{data}}}"#);
    data.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn schemas_are_inferred_from_all_messages_of_a_topic_in_all_files() {
    let (one, two) = ([r#"{"x":1,"y":1}"#, r#"{"x":1,"y":"s"}"#], [r#"{"x":2,"y":1,"z":true}"#]);
    let apart = Files::new().add("one.jsonl", imu(&one)).add("two.jsonl", imu(&two));
    let whole = Files::new().add("both.jsonl", imu(&[&one[..], &two[..]].concat()));
    let (mut apart, whole) = (apart.open(), whole.open());
    apart.select(&TopicSelection::default()).unwrap();
    assert_eq!(apart.channels(), whole.channels());
    assert!(told(&apart).is_empty());
    let schema = apart.channels()[0].schema.clone().unwrap();
    assert_eq!(
        (&*schema.name, str::from_utf8(&schema.data).unwrap()),
        (
            "imu",
            r#"{"type":"object","properties":{"x":{"type":"number"},"z":{"type":"boolean"}},"required":["x"]}"#
        )
    );
}

#[test]
fn the_name_that_one_file_gives_an_inferred_schema_is_that_of_all() {
    let line = |name: &str| format!("{{\"topic\":\"/imu\",\"schema_name\":\"{name}\"}}\n");
    let messages = imu(&[r#"{"x":1}"#]);
    let files = Files::new()
        .add("one.jsonl", &messages)
        .add("two.jsonl", line("sensor.Imu") + &messages)
        .add("three.jsonl", line("other.Imu") + &messages)
        .add("four.jsonl", line("sensor.Imu"));
    let recording = files.open();
    let channel = |channel: &Channel| (channel.schema_name().to_owned(), channel.message_count);
    let channels: Vec<_> = recording.channels().iter().map(channel).collect();
    assert_eq!(channels, [("sensor.Imu".to_owned(), 2), ("other.Imu".to_owned(), 1)]);
    assert_eq!(topics(&recording), ["/imu", "/imu (other.Imu)"]);
}

#[test]
fn a_name_made_up_for_a_schema_is_nobody_else_s_in_any_file() {
    let messages = imu(&[r#"{"x":1}"#]);
    let files = Files::new()
        .add("one.jsonl", &messages)
        .add("two.jsonl", messages.replace("/imu", "imu"))
        .add("three.jsonl", r#"{"topic":"/a","schema_name":"imu_2","schema":{"type":"object"}}"#);
    let recording = files.open();
    let names: Vec<_> = recording.channels().iter().map(Channel::schema_name).collect();
    assert_eq!(names, ["imu", "imu_3", "imu_2"]);
}

/// Messages of one file, which remembers from when on it was opened.
struct Part {
    summary: Summary,
    messages: Vec<Message>,
    opened: Mutex<Vec<u64>>,
}

impl Part {
    /// Messages at these times. The file says that it begins at `start`.
    fn new(start: u64, times: &[u64]) -> Arc<Self> {
        let time = Timestamp::from_nanos;
        let last = times.iter().max().copied().unwrap_or(start);
        let message = |&log_time: &u64| Message {
            channel: ChannelId(0),
            sequence: 0,
            log_time: time(log_time),
            publish_time: time(log_time),
            data: Bytes::new(),
            memory: Memory::default(),
        };
        let summary = Summary {
            kind: Kind::Mcap,
            bytes: 0,
            library: String::new(),
            profile: String::new(),
            channels: vec![Channel { topic: "/x".into(), ..Channel::default() }],
            time_range: Some((time(start), time(last))),
            message_count: times.len() as u64,
            chunks: Vec::new(),
            attachments: Vec::new(),
            metadata: Vec::new(),
            indexed: true,
        };
        Arc::new(Part { summary, messages: times.iter().map(message).collect(), opened: Mutex::default() })
    }

    fn opened(&self) -> Vec<u64> {
        self.opened.lock().unwrap().clone()
    }
}

/// A search that finds one message a step, from the end.
struct Found(Vec<Message>);

impl Search for Found {
    fn latest(&self) -> Option<Timestamp> {
        self.0.iter().map(|message| message.log_time).max()
    }

    fn step(&mut self, is_open: &dyn Fn(ChannelId, Timestamp) -> bool, found: &mut Vec<Message>) {
        let last = self.0.iter().enumerate().max_by_key(|(_, message)| message.log_time);
        let Some((place, _)) = last else { return };
        let message = self.0.remove(place);
        found.extend(is_open(message.channel, message.log_time).then_some(message));
    }
}

impl Reader for Part {
    fn summary(&self) -> &Summary {
        &self.summary
    }

    fn cursor(&self, from: Timestamp, channels: ChannelMap) -> Box<dyn Cursor> {
        struct Given(std::vec::IntoIter<Message>);
        impl Cursor for Given {
            fn next(&mut self) -> Option<Message> {
                self.0.next()
            }
        }
        self.opened.lock().unwrap().push(from.as_nanos());
        let mut messages = self.messages.clone();
        messages.retain(|message| message.log_time >= from);
        messages.iter_mut().for_each(|message| message.channel = channels[0].unwrap());
        Box::new(Given(messages.into_iter()))
    }

    fn density(&self, channels: &ChannelMap, density: &mut Density, _: &dyn Fn() -> bool) {
        self.messages.iter().for_each(|message| density.add(channels[0].unwrap(), message.log_time, 1));
    }

    fn search(&self, before: Timestamp, channels: ChannelMap) -> Box<dyn Search> {
        let mut messages = self.messages.clone();
        messages.retain(|message| message.log_time < before);
        messages.iter_mut().for_each(|message| message.channel = channels[0].unwrap());
        Box::new(Found(messages))
    }
}

/// What a cursor counts in the same parts of the range.
fn counted(recording: &Recording, range: (Timestamp, Timestamp), parts: usize) -> Density {
    let mut density = Density::new(range, recording.channels().len(), parts);
    let mut cursor = recording.cursor(Timestamp::MIN);
    while let Some(message) = cursor.next() {
        density.add(message.channel, message.log_time, 1);
    }
    density
}

#[test]
fn the_density_is_what_a_cursor_counts() {
    for name in ["demo.mcap", "demo.jsonl", "ros2.mcap"] {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name);
        let problems = Arc::new(Problems::default());
        let files = [path.clone(), path];
        let mut recording = Recording::open(&files, &OpenOptions::default(), problems, &|_| {}).unwrap();
        let topic = recording.channels()[1].topic.clone();
        for _ in 0..2 {
            let (first, last) = recording.time_range().unwrap();
            let middle = first.saturating_add(last.since(first) / 2);
            for range in [(first, last), (first, middle), (middle, middle)] {
                let density = recording.density(range, 50, &|| false);
                assert_eq!(density, counted(&recording, range, 50), "{name}");
                assert!(density.is_exact());
            }
            // And of one topic only.
            let selection = TopicSelection::default().including(&[&topic]).unwrap();
            recording.select(&selection).unwrap();
        }
        let nothing = recording.density(recording.time_range().unwrap(), 50, &|| true);
        assert_eq!(nothing.counts()[0].iter().sum::<u32>(), 0, "it was cancelled");
    }
}

/// The merged messages of parts, as pairs of time and part.
fn merged(from: u64, parts: &[Arc<Part>]) -> impl Iterator<Item = (u64, u32)> {
    let files = parts.iter().zip(0..).map(|(part, place)| {
        (Arc::clone(part) as Arc<dyn Reader>, ChannelMap::from([Some(ChannelId(place))]))
    });
    let mut cursor = MergeCursor::new(Timestamp::from_nanos(from), files.collect::<Vec<_>>().into_iter());
    std::iter::from_fn(move || cursor.next()).map(|message| (message.log_time.as_nanos(), message.channel.0))
}

#[test]
fn a_file_is_opened_when_its_first_message_is_due() {
    let parts = [Part::new(10, &[10, 20]), Part::new(20, &[20, 30]), Part::new(40, &[40])];
    let opened = || parts.each_ref().map(|part| part.opened().len());
    let mut messages = merged(0, &parts);
    assert_eq!(opened(), [0, 0, 0]);
    assert_eq!(messages.next(), Some((10, 0)));
    assert_eq!(opened(), [1, 0, 0]);
    assert_eq!(messages.by_ref().take(3).collect::<Vec<_>>(), [(20, 0), (20, 1), (30, 1)]);
    assert_eq!(opened(), [1, 1, 0]);
    assert_eq!(messages.collect::<Vec<_>>(), [(40, 2)]);
}

#[test]
fn a_file_that_begins_earlier_than_it_says_does_not_break_the_order() {
    let parts = [Part::new(10, &[10, 30, 60]), Part::new(50, &[20, 30, 40, 55])];
    let times = [(10, 0), (30, 0), (30, 1), (40, 1), (55, 1), (60, 0)];
    assert_eq!(merged(0, &parts).collect::<Vec<_>>(), times);
    assert_eq!(parts[1].opened(), [30]);
}

proptest! {
    #[test]
    fn merged_files_come_in_order_from_any_time(
        files in prop::collection::vec(prop::collection::vec(0u64..40, 0..8), 1..6),
        from in 0u64..45,
    ) {
        let parts: Vec<_> = files
            .iter()
            .map(|times| {
                let mut times = times.clone();
                times.sort_unstable();
                Part::new(times.first().copied().unwrap_or(7), &times)
            })
            .collect();
        let places = files.iter().zip(0..).flat_map(|(times, place)| times.iter().map(move |&t| (t, place)));
        let mut expected: Vec<(u64, u32)> = places.filter(|&(time, _)| time >= from).collect();
        expected.sort_unstable();
        prop_assert_eq!(merged(from, &parts).collect::<Vec<_>>(), expected);
    }
}

/// The log times of what is certain after so many steps.
fn certain_after(parts: &[(&Arc<Part>, u32)], before: u64, steps: usize) -> Vec<u64> {
    let channels = parts.iter().map(|(_, channel)| channel + 1).max().unwrap() as usize;
    let search = |(part, channel): &(&Arc<Part>, u32)| {
        part.search(Timestamp::from_nanos(before), [Some(ChannelId(*channel))].into())
    };
    let mut search = StateSearch::new(parts.iter().map(search).collect(), channels);
    for _ in 0..steps {
        search.step();
    }
    search.take_certain().iter().map(|message| message.log_time.as_nanos()).collect()
}

#[test]
fn what_is_certain_is_known_before_all_is_found() {
    let (late, early, none) = (Part::new(0, &[50, 90, 110]), Part::new(0, &[10, 95]), Part::new(0, &[200]));
    let parts = [(&late, 0), (&early, 1), (&none, 2)];
    assert!(certain_after(&parts, 100, 0).is_empty());
    assert_eq!(certain_after(&parts, 100, 1), [95], "nothing else can be as late");
    assert_eq!(certain_after(&parts, 100, 2), [90, 95]);
    assert!(certain_after(&parts, 5, 1).is_empty());
}

#[test]
fn of_equal_times_the_message_of_the_later_file_is_the_last() {
    let (first, second) = (Part::new(0, &[20, 30]), Part::new(0, &[30]));
    let maps = |first: Arc<Part>, second: Arc<Part>| {
        let search = |part: &Arc<Part>| part.search(Timestamp::from_nanos(50), [Some(ChannelId(0))].into());
        let mut messages = StateSearch::new(vec![search(&first), search(&second)], 1).finish();
        messages.pop().map(|message| message.sequence)
    };
    let marked = |part: &Arc<Part>, sequence| {
        let mut part =
            Part { summary: part.summary.clone(), messages: part.messages.clone(), opened: Mutex::default() };
        part.messages.iter_mut().for_each(|message| message.sequence = sequence);
        Arc::new(part)
    };
    assert_eq!(maps(marked(&first, 1), marked(&second, 2)), Some(2));
    assert_eq!(maps(marked(&second, 1), marked(&first, 2)), Some(2));
}

/// A disk that can't be read any more from some place on, from some time on.
struct FailingDisk {
    bytes: Bytes,
    from: u64,
    fails: AtomicBool,
}

impl Source for FailingDisk {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        if self.fails.load(Ordering::Relaxed) && offset + buffer.len() as u64 > self.from {
            // EIO, on every Unix.
            return Err(io::Error::from_raw_os_error(5));
        }
        Source::read_exact_at(&self.bytes, buffer, offset)
    }
}

#[test]
fn of_a_file_that_becomes_unreadable_the_front_plays_and_the_rest_is_told_once() {
    const COUNT: u64 = 4000;
    let line = |number| format!("{{\"topic\":\"/a\",\"log_time\":{number},\"data\":{{\"n\":{number}}}}}\n");
    let jsonl: String = (1..=COUNT).map(line).collect();
    let mut file = std::io::Cursor::new(Vec::new());
    let mut writer = ::mcap::WriteOptions::new().chunk_size(Some(1000)).create(&mut file).unwrap();
    let channel = writer.add_channel(0, "/a", "json", &BTreeMap::new()).unwrap();
    for log_time in 1..=COUNT {
        let header = ::mcap::records::MessageHeader {
            channel_id: channel,
            sequence: 0,
            log_time,
            publish_time: log_time,
        };
        writer.write_to_known_channel(&header, b"{}").unwrap();
    }
    writer.finish().unwrap();
    drop(writer);
    for (name, content) in [("a.jsonl", jsonl.into_bytes()), ("a.mcap", file.into_inner())] {
        let from = content.len() as u64 / 2;
        let disk = Arc::new(FailingDisk { bytes: content.into(), from, fails: AtomicBool::new(false) });
        let sources = vec![(PathBuf::from(name), Arc::clone(&disk) as Arc<dyn Source>)];
        let problems = Arc::new(Problems::default());
        let recording =
            Recording::from_sources(sources, &OpenOptions::default(), Arc::clone(&problems), &|_| {})
                .unwrap();
        assert_eq!(recording.message_count(), COUNT, "{name}");
        disk.fails.store(true, Ordering::Relaxed);
        let mut cursor = recording.cursor(Timestamp::MIN);
        let times: Vec<u64> =
            std::iter::from_fn(|| cursor.next()).map(|message| message.log_time.as_nanos()).collect();
        let unread = problems.unread();
        assert_eq!(times, (1..=times.len() as u64).collect::<Vec<_>>(), "{name}");
        assert!((COUNT / 4..COUNT * 3 / 4).contains(&(times.len() as u64)), "{name}: {}", times.len());
        // How many messages an unreadable chunk has is not known, since that is written behind it.
        let missing = COUNT - times.len() as u64;
        let known = if name == "a.jsonl" { missing..=missing } else { 1..=missing };
        assert!(known.contains(&unread), "{name}: {unread}");
        // What is played again is not missing twice.
        assert!(recording.cursor(Timestamp::from_nanos(COUNT - 100)).next().is_none());
        assert_eq!(problems.unread(), unread, "{name}");
        let [only] = &told(&recording)[..] else { panic!("{:?}", told(&recording)) };
        assert!(only.contains("input/output error"), "{only}");
    }
}
