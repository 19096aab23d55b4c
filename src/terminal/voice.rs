//! Writes to stderr from a thread of its own, so that nothing else waits for a terminal that stands still or a pipe
//! that nobody reads.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::time::Duration;

use indicatif::MultiProgress;

/// How much may wait to be written. What comes when there is more is lost, and counted.
const WAITING: usize = 4096;

/// How long the end waits for what is still to be written.
const PATIENCE: Duration = Duration::from_secs(1);

/// Says things on stderr, without waiting for it.
#[derive(Clone)]
pub(super) struct Voice(Arc<Inner>);

struct Inner {
    words: SyncSender<Word>,
    lost: Arc<AtomicU64>,
}

enum Word {
    /// A log line, above the bars.
    Line(Vec<u8>),
    /// A change of the bars.
    Draw(Box<dyn FnOnce() + Send>),
    /// Tells that all before it is written.
    Written(mpsc::Sender<()>),
}

impl Voice {
    /// Starts the thread.
    pub fn start(bars: MultiProgress) -> Self {
        let (words, said) = mpsc::sync_channel(WAITING);
        let lost = Arc::new(AtomicU64::new(0));
        let lines_lost = Arc::clone(&lost);
        // Without it, nothing is said, and everything else works.
        std::thread::Builder::new()
            .name("fgplay-stderr".into())
            .spawn(move || speak(&said, &lines_lost, &bars))
            .map(drop)
            .unwrap_or_default();
        Voice(Arc::new(Inner { words, lost }))
    }

    /// Writes a log line.
    pub fn line(&self, line: &[u8]) {
        if self.0.words.try_send(Word::Line(line.to_vec())).is_err() {
            self.0.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Changes the bars. Left out where much waits already.
    pub fn draw(&self, change: impl FnOnce() + Send + 'static) {
        self.0.words.try_send(Word::Draw(Box::new(change))).unwrap_or_default();
    }

    /// Waits until everything is written, not for long.
    pub fn flush(&self) {
        let (written, all_is_written) = mpsc::channel();
        if self.0.words.try_send(Word::Written(written)).is_ok() {
            all_is_written.recv_timeout(PATIENCE).unwrap_or_default();
        }
    }
}

fn speak(said: &Receiver<Word>, lost: &AtomicU64, bars: &MultiProgress) {
    // Where nobody hears it, there is nobody to tell.
    let write = |line: &[u8]| bars.suspend(|| io::stderr().write_all(line)).unwrap_or_default();
    for word in said {
        match word {
            Word::Line(line) => write(&line),
            Word::Draw(change) => change(),
            Word::Written(written) => written.send(()).unwrap_or_default(),
        }
        let lost = lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            write(format!("{lost} log lines are missing here: they were not read in time\n").as_bytes());
        }
    }
}

/// Says the last thing before the end. Where stderr takes nothing, the end does not wait for it for long.
pub(crate) fn last_words(text: String) {
    let (written, is_written) = mpsc::channel();
    let speaking = std::thread::Builder::new().spawn(move || {
        writeln!(io::stderr(), "{text}").unwrap_or_default();
        written.send(()).unwrap_or_default();
    });
    if speaking.is_ok() {
        is_written.recv_timeout(PATIENCE).unwrap_or_default();
    }
}
