//! What opening a file finds out that a user should know.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::recording::problems::Sort;
use crate::recording::{Place, Problem, ProblemKind, Problems};

/// Findings kept beyond what is told one by one.
const KEPT: usize = 2000;

/// Problems that are told only once the file is open: an attempt with an index that turns out to be wrong
/// must not leave its findings behind.
#[derive(Debug)]
pub struct Findings {
    path: PathBuf,
    list: Vec<Problem>,
    /// The sorts of those in the list.
    listed: HashSet<Sort>,
}

impl Findings {
    pub fn new(path: &Path) -> Self {
        Findings { path: path.to_owned(), list: Vec::new(), listed: HashSet::new() }
    }

    /// Data of the recording is lost.
    pub fn lost(&mut self, place: Place, text: impl Into<String>) {
        self.lost_by(ProblemKind::Damage, place, text);
    }

    /// Data of the recording is lost by a problem of some kind.
    pub fn lost_by(&mut self, kind: ProblemKind, place: Place, text: impl Into<String>) {
        self.take(kind, place, text.into(), true);
    }

    /// Good to know, and no more.
    pub fn note(&mut self, place: Place, text: impl Into<String>) {
        self.note_of(ProblemKind::Other, place, text);
    }

    /// Good to know, and of some kind.
    pub fn note_of(&mut self, kind: ProblemKind, place: Place, text: impl Into<String>) {
        self.take(kind, place, text.into(), false);
    }

    fn take(&mut self, kind: ProblemKind, place: Place, text: String, data_lost: bool) {
        // Of a hostile number of findings the first ones tell enough, as long as every sort is among them.
        if self.listed.insert((kind, data_lost)) || self.list.len() < KEPT {
            self.list.push(Problem { path: self.path.clone(), place, kind, text, data_lost });
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Takes over what another collection holds.
    pub fn append(&mut self, other: Findings) {
        self.list.extend(other.list);
        self.listed.extend(other.listed);
    }

    /// The first finding by which data is lost.
    pub fn first_lost(&self) -> Option<&Problem> {
        self.list.iter().find(|problem| problem.data_lost)
    }

    /// Tells all of them.
    pub fn report(self, problems: &Problems) {
        self.list.into_iter().for_each(|problem| problems.report(problem));
    }
}

/// `1 message`, `2 messages`.
pub fn counted(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}
