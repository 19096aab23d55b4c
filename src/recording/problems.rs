//! What a recording holds that can't be played: told once, counted, and remembered for the end.

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Where in a file something is.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Place {
    /// In the file as a whole.
    File,
    /// At a byte, counted from 0.
    Offset(u64),
    /// In a line, counted from 1.
    Line(u64),
    /// In a topic.
    Topic(String),
}

/// One thing that is not as it should be, in words for the user: what, where, and what follows.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Problem {
    /// The file.
    pub path: PathBuf,
    /// Where in it.
    pub place: Place,
    /// What is wrong and what follows, as a sentence without a full stop:
    /// "the chunk's CRC is wrong, so its 312 messages are skipped".
    pub text: String,
    /// Whether data of the recording is lost by it. If not, it is good to know and no more.
    pub data_lost: bool,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        match &self.place {
            Place::File => {}
            Place::Offset(offset) => write!(f, ", byte {offset}")?,
            Place::Line(line) => write!(f, ", line {line}")?,
            Place::Topic(topic) => write!(f, ", topic {topic}")?,
        }
        write!(f, ": {}", self.text)
    }
}

/// How many different problems are remembered and told one by one. A hostile file could otherwise fill the
/// memory with them; those beyond are only counted.
const REMEMBERED: usize = 1000;

/// Collects the problems of a recording, while it is opened and while it is played.
///
/// The same problem (same file, same place, same words) is taken once, so that a loop does not repeat its
/// warnings.
pub struct Problems {
    state: Mutex<State>,
    listener: Box<dyn Fn(&Problem) + Send + Sync>,
}

#[derive(Default)]
struct State {
    seen: HashSet<Problem>,
    list: Vec<Problem>,
    beyond: u64,
    data_lost: bool,
}

impl Problems {
    /// Collects problems, and tells each new one to `listener` as it comes.
    pub fn new(listener: impl Fn(&Problem) + Send + Sync + 'static) -> Self {
        Problems { state: Mutex::default(), listener: Box::new(listener) }
    }

    /// Takes a problem, unless it is known already.
    pub fn report(&self, problem: Problem) {
        {
            let mut state = self.state();
            state.data_lost |= problem.data_lost;
            if state.seen.contains(&problem) {
                return;
            }
            if state.list.len() >= REMEMBERED {
                state.beyond += 1;
                return;
            }
            state.seen.insert(problem.clone());
            state.list.push(problem.clone());
        }
        (self.listener)(&problem);
    }

    /// Takes a problem by which data of the recording is lost. `text` is as in [`Problem::text`].
    pub(crate) fn lost(&self, path: &Path, place: Place, text: impl Into<String>) {
        self.report(Problem { path: path.into(), place, text: text.into(), data_lost: true });
    }

    /// Takes a problem that is good to know, but loses nothing.
    pub(crate) fn note(&self, path: &Path, place: Place, text: impl Into<String>) {
        self.report(Problem { path: path.into(), place, text: text.into(), data_lost: false });
    }

    /// The problems so far, in the order in which they were met.
    pub fn list(&self) -> Vec<Problem> {
        self.state().list.clone()
    }

    /// How many problems there were beyond those that [`list`](Self::list) holds.
    pub fn beyond(&self) -> u64 {
        self.state().beyond
    }

    /// Whether data of the recording was skipped or lost.
    pub fn data_lost(&self) -> bool {
        self.state().data_lost
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two statements that change it, so a panic elsewhere spoils nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Problems {
    /// Collects problems silently.
    fn default() -> Self {
        Problems::new(|_| {})
    }
}

impl fmt::Debug for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.list()).finish()
    }
}
