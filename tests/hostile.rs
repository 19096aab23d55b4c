//! Damaged and hostile input: it gives its messages or a clear error, in bounded time and memory.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use fgplay::foxglove::ClientMessage;
use fgplay::recording::{OpenOptions, Problems, Recording, Source};
use fgplay::time::Timestamp;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// No recording here has more; who gives more, repeats itself.
const MOST_MESSAGES: usize = 100_000;

fn corpus(kind: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(kind);
    files(&folder)
}

fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = entries.filter(|path| path.is_file()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

/// Opens, reads, seeks and looks back. Gives how many messages there are, or why there are none.
fn read(data: &Bytes, ignore_index: bool) -> Result<usize, String> {
    let options = OpenOptions { ignore_index, max_chunk_bytes: 16 << 20, ..OpenOptions::default() };
    let sources = vec![("input".into(), Arc::new(data.clone()) as Arc<dyn Source>)];
    let recording = Recording::from_sources(sources, &options, Arc::new(Problems::default()), &|_| {})
        .map_err(|error| error.to_string())?;
    let mut times = Vec::new();
    let mut cursor = recording.cursor(Timestamp::MIN);
    while let Some(message) = cursor.next() {
        assert!((message.channel.0 as usize) < recording.channels().len());
        times.push(message.log_time);
        assert!(times.len() <= MOST_MESSAGES, "it does not end");
    }
    assert!(times.is_sorted());
    if let Some(&middle) = times.get(times.len() / 2) {
        let mut cursor = recording.cursor(middle);
        assert!(cursor.next().is_none_or(|message| message.log_time >= middle));
        let state = recording.state_before(middle).finish();
        assert!(state.iter().all(|message| message.log_time < middle));
    }
    if let Some(range) = recording.time_range() {
        recording.density(range, 16, &|| false);
    }
    for (_, summary) in recording.files() {
        for attachment in &summary.attachments {
            recording.attachment(&attachment.name).map(drop).unwrap_or_default();
        }
    }
    Ok(times.len())
}

/// Both ways of opening. An error has words.
fn survives(data: Vec<u8>) {
    let data = Bytes::from(data);
    for ignore_index in [false, true] {
        if let Err(error) = read(&data, ignore_index) {
            assert!(error.len() > 20, "{error}");
        }
    }
}

/// A way to damage a file.
#[derive(Clone, Debug)]
enum Damage {
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    /// Replaces eight bytes by such a number, as a length or an offset could be.
    Number(prop::sample::Index, u64),
    /// Repeats a part at another place.
    Copy(prop::sample::Index, prop::sample::Index, usize),
    Remove(prop::sample::Index, usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    let place = any::<prop::sample::Index>;
    prop_oneof![
        4 => (place(), 1..=255u8).prop_map(|(at, bits)| Damage::Flip(at, bits)),
        1 => place().prop_map(Damage::Cut),
        3 => (place(), prop_oneof![
            Just(0), Just(1), Just(u64::MAX), Just(u64::MAX - 8), Just(1 << 31), Just(u64::from(u32::MAX)), any::<u64>(),
        ])
        .prop_map(|(at, number)| Damage::Number(at, number)),
        1 => (place(), place(), 1..200usize).prop_map(|(from, to, length)| Damage::Copy(from, to, length)),
        1 => (place(), 1..60usize).prop_map(|(at, length)| Damage::Remove(at, length)),
    ]
}

fn damaged(mut data: Vec<u8>, damages: &[Damage]) -> Vec<u8> {
    for damage in damages {
        if data.len() < 16 {
            break;
        }
        match damage {
            Damage::Flip(at, bits) => {
                let at = at.index(data.len());
                data[at] ^= bits;
            }
            Damage::Cut(at) => data.truncate(at.index(data.len())),
            Damage::Number(at, number) => {
                let at = at.index(data.len() - 8);
                data[at..at + 8].copy_from_slice(&number.to_le_bytes());
            }
            Damage::Copy(from, to, length) => {
                let (from, to) = (from.index(data.len()), to.index(data.len()));
                let part = data[from..(from + length).min(data.len())].to_vec();
                data.splice(to..to, part);
            }
            Damage::Remove(at, length) => {
                let at = at.index(data.len());
                data.drain(at..(at + length).min(data.len()));
            }
        }
    }
    data
}

/// Damages files in many ways, the same ones in every run of the tests.
fn damage_all(seeds: &[(PathBuf, Vec<u8>)], cases: u32, check: impl Fn(Vec<u8>)) {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(
        config,
        prop::test_runner::TestRng::deterministic_rng(prop::test_runner::RngAlgorithm::ChaCha),
    );
    let strategy = (0..seeds.len(), prop::collection::vec(damage(), 1..6));
    runner
        .run(&strategy, |(seed, damages)| {
            let (path, data) = &seeds[seed];
            let data = damaged(data.clone(), &damages);
            let outcome = catch_unwind(AssertUnwindSafe(|| check(data)));
            prop_assert!(outcome.is_ok(), "{}", path.display());
            Ok(())
        })
        .unwrap();
}

#[test]
fn kept_inputs_are_read_or_refused() {
    let mut read_whole = 0;
    for (_, data) in corpus("mcap").into_iter().chain(corpus("jsonl")) {
        read_whole += usize::from(read(&Bytes::from(data.clone()), false).is_ok());
        survives(data);
    }
    assert!(read_whole >= 5, "only {read_whole} can be read at all");
}

#[test]
fn damaged_mcap_files_are_read_or_refused() {
    damage_all(&corpus("mcap"), 3000, survives);
}

#[test]
fn damaged_jsonl_files_are_read_or_refused() {
    damage_all(&corpus("jsonl"), 2000, survives);
}

#[test]
fn damaged_conformance_files_are_read_or_refused() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/mcap-conformance"));
    if !root.exists() {
        println!("skipped: {} is not there", root.display());
        return;
    }
    let folders = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let seeds: Vec<_> = folders
        .filter(|path| path.is_dir())
        .flat_map(|folder| files(&folder))
        .filter(|(path, _)| path.extension().is_some_and(|extension| extension == "mcap"))
        .collect();
    assert!(seeds.len() > 100);
    damage_all(&seeds, 3000, survives);
}

#[test]
fn damaged_client_messages_are_read_or_refused() {
    let check = |data: Vec<u8>| {
        let text = String::from_utf8_lossy(&data);
        for error in [ClientMessage::parse_text(&text).err(), ClientMessage::parse_binary(&data).err()] {
            // What comes back to a client is short, whatever it sent.
            assert!(error.is_none_or(|error| error.to_string().len() < 1000));
        }
    };
    for (_, data) in corpus("client_message") {
        check(data);
    }
    damage_all(&corpus("client_message"), 5000, check);
}
