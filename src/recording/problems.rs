//! What a recording holds that can't be played: told once, counted, and remembered for the end.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
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

/// What sort of thing a [`Problem`] is.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum ProblemKind {
    /// Something is broken, cut off, or beyond a limit.
    Damage,
    /// A checksum is wrong.
    Crc,
    /// Messages belong to a channel that the file does not describe.
    Channel,
    /// The file's index contradicts the data, or itself.
    Index,
    /// The file does not end as it should.
    Unfinished,
    /// There is no index, or none that helps.
    NoIndex,
    /// A schema is missing.
    Schema,
    /// Lines are no messages, or not all of a message.
    Line,
    /// It plays, but hardly as it was meant.
    Doubt,
    /// Something else is odd.
    Other,
}

/// One thing that is not as it should be, in words for the user: what, where, and what follows.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Problem {
    /// The file.
    pub path: PathBuf,
    /// Where in it.
    pub place: Place,
    /// What sort of thing it is.
    pub kind: ProblemKind,
    /// What is wrong and what follows, as a sentence without a full stop:
    /// "the chunk's CRC is wrong, so its 312 messages are skipped".
    pub text: String,
    /// Whether data of the recording is lost by it. If not, it is good to know and no more.
    pub data_lost: bool,
}

impl Problem {
    pub(super) fn sort(&self) -> Sort {
        (self.kind, self.data_lost)
    }
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
/// memory with them; those beyond are only counted. The first one of each [`Sort`] is remembered in any case, so
/// that none hides behind many of another.
const REMEMBERED: usize = 1000;

/// Collects the problems of a recording, while it is opened and while it is played.
///
/// The same problem (same file, same place, same words) is taken once, so that a loop does not repeat its
/// warnings.
pub struct Problems {
    state: Mutex<State>,
    unread: AtomicU64,
    listener: Box<dyn Fn(&Problem) + Send + Sync>,
}

/// How many problems beyond those are told from each other by a hash, so that the same one is counted once.
/// It takes 8 bytes for each of them.
const HASHED: usize = 100_000;

/// What sort of thing a problem is, and whether data of the recording is lost by it.
pub(super) type Sort = (ProblemKind, bool);

#[derive(Default)]
struct State {
    seen: HashSet<Problem>,
    list: Vec<Problem>,
    /// The sorts of those in the list.
    listed: HashSet<Sort>,
    /// The hashes of problems that are only counted.
    beyond: HashSet<u64>,
    /// How many those are of each sort.
    beyond_of: BTreeMap<Sort, u64>,
    hasher: RandomState,
    data_lost: bool,
}

impl State {
    /// Counts a problem that there is no room for, unless it is counted already.
    fn count(&mut self, problem: &Problem) {
        if self.beyond.len() < HASHED && self.beyond.insert(self.hasher.hash_one(problem)) {
            *self.beyond_of.entry(problem.sort()).or_default() += 1;
        }
    }
}

impl Problems {
    /// Collects problems, and tells each new one to `listener` as it comes.
    pub fn new(listener: impl Fn(&Problem) + Send + Sync + 'static) -> Self {
        Problems { state: Mutex::default(), unread: AtomicU64::new(0), listener: Box::new(listener) }
    }

    /// Takes a problem, unless it is known already.
    pub fn report(&self, problem: Problem) {
        {
            let mut state = self.state();
            state.data_lost |= problem.data_lost;
            if state.seen.contains(&problem) {
                return;
            }
            if state.list.len() >= REMEMBERED && state.listed.contains(&problem.sort()) {
                state.count(&problem);
                return;
            }
            state.listed.insert(problem.sort());
            state.seen.insert(problem.clone());
            state.list.push(problem.clone());
        }
        (self.listener)(&problem);
    }

    /// Takes a problem by which data of the recording is lost. `text` is as in [`Problem::text`].
    pub(crate) fn lost(&self, path: &Path, place: Place, text: impl Into<String>) {
        self.lost_by(ProblemKind::Damage, path, place, text);
    }

    /// Takes a problem of some kind, by which data of the recording is lost.
    pub(crate) fn lost_by(&self, kind: ProblemKind, path: &Path, place: Place, text: impl Into<String>) {
        self.report(Problem { path: path.into(), place, kind, text: text.into(), data_lost: true });
    }

    /// Takes a problem that is good to know, but loses nothing.
    pub(crate) fn note(&self, path: &Path, place: Place, text: impl Into<String>) {
        self.note_of(ProblemKind::Other, path, place, text);
    }

    /// Takes a problem of some kind that is good to know, but loses nothing.
    pub(crate) fn note_of(&self, kind: ProblemKind, path: &Path, place: Place, text: impl Into<String>) {
        self.report(Problem { path: path.into(), place, kind, text: text.into(), data_lost: false });
    }

    /// Counts messages that were to be played, and could not be read. That it is so is told as a problem. Who calls
    /// it counts each place of a file once.
    pub(crate) fn count_unread(&self, messages: u64) {
        self.unread.fetch_add(messages, Ordering::Relaxed);
    }

    /// How many messages were to be played so far and could not be read, each counted once, however often it was to
    /// be played. Of a chunk that can't be read all messages count, and where nothing says how many those are, one.
    pub fn unread(&self) -> u64 {
        self.unread.load(Ordering::Relaxed)
    }

    /// The problems so far, in the order in which they were met.
    pub fn list(&self) -> Vec<Problem> {
        self.state().list.clone()
    }

    /// How many different problems there were beyond those that [`list`](Self::list) holds. It is counted up
    /// to 100,000.
    pub fn beyond(&self) -> u64 {
        self.state().beyond.len() as u64
    }

    /// How many of each sort those are.
    pub(super) fn beyond_of(&self) -> Vec<(Sort, u64)> {
        self.state().beyond_of.iter().map(|(sort, count)| (*sort, *count)).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_counted_once_however_often_a_loop_meets_them() {
        let problems = Problems::default();
        for _ in 0..3 {
            (0..1500).for_each(|at| problems.note("a.mcap".as_ref(), Place::Offset(at), "x"));
        }
        assert_eq!((problems.list().len(), problems.beyond()), (1000, 500));
    }

    #[test]
    fn a_hostile_number_of_problems_is_bounded() {
        let problems = Problems::default();
        (0..102_000).for_each(|at| problems.lost("a.mcap".as_ref(), Place::Offset(at), "x"));
        assert_eq!((problems.list().len(), problems.beyond()), (1000, 100_000));
        assert!(problems.data_lost());
    }

    #[test]
    fn no_number_of_notes_hides_that_something_is_lost() {
        let (problems, path) = (Problems::default(), Path::new("a.mcap"));
        (0..102_000).for_each(|at| problems.note(path, Place::Offset(at), "x"));
        (0..5).for_each(|at| problems.lost_by(ProblemKind::Crc, path, Place::Offset(at), "y"));
        let lost = problems.list().into_iter().filter(|problem| problem.data_lost);
        assert_eq!(lost.map(|problem| problem.place).collect::<Vec<_>>(), [Place::Offset(0)]);
    }

    #[test]
    fn what_is_beyond_is_counted_by_sort() {
        let (problems, path) = (Problems::default(), Path::new("a.mcap"));
        (0..1500).for_each(|at| problems.note(path, Place::Offset(at), "x"));
        (0..5).for_each(|at| problems.lost_by(ProblemKind::Crc, path, Place::Offset(at), "y"));
        let counts = problems.beyond_of();
        assert_eq!(counts, [((ProblemKind::Crc, true), 4), ((ProblemKind::Other, false), 500)]);
    }
}
