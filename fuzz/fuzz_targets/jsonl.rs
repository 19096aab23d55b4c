//! JSONL files: scanned, read, sought and looked back in.

#![no_main]

use std::sync::Arc;

use bytes::Bytes;
use fgplay::recording::{OpenOptions, Problems, Recording, Source};
use fgplay::time::Timestamp;
use libfuzzer_sys::fuzz_target;

/// Enough to see what a file can do.
const MESSAGES: usize = 20_000;

fn read(data: &Bytes, ignore_index: bool) {
    let options = OpenOptions { ignore_index, max_chunk_bytes: 16 << 20, ..OpenOptions::default() };
    let source: Arc<dyn Source> = Arc::new(data.clone());
    let sources = vec![("input".into(), source)];
    let Ok(recording) = Recording::from_sources(sources, &options, Arc::new(Problems::default()), &|_| {}) else {
        return;
    };
    let mut last = Timestamp::MIN;
    let mut middle = None;
    let mut cursor = recording.cursor(Timestamp::MIN);
    for read in 0..MESSAGES {
        let Some(message) = cursor.next() else { break };
        assert!(message.log_time >= last, "messages come in log time order");
        assert!((message.channel.0 as usize) < recording.channels().len(), "every message has a channel");
        last = message.log_time;
        if read == 5 {
            middle = Some(last);
        }
    }
    if let Some(middle) = middle {
        let mut cursor = recording.cursor(middle);
        assert!(cursor.next().is_none_or(|message| message.log_time >= middle));
        let mut search = recording.state_before(middle);
        while search.step() {}
        assert!(search.take_certain().iter().all(|message| message.log_time < middle));
    }
    if let Some(range) = recording.time_range() {
        recording.density(range, 16, &|| false);
    }
    for (_, summary) in recording.files() {
        for attachment in &summary.attachments {
            recording.attachment(&attachment.name).map(drop).unwrap_or_default();
        }
    }
}

fuzz_target!(|data: &[u8]| read(&Bytes::copy_from_slice(data), false));
