//! What is probably not meant where several recordings play on one timeline.

use std::path::{Path, PathBuf};
use std::time::Duration;

use fgplay::playback::Range;
use fgplay::recording::Recording;
use fgplay::time::{Timestamp, format_duration};

/// Recordings of one drive are not as far apart as this.
const LONG: Duration = Duration::from_secs(3600);

/// Warns of files that are given twice, and of silences between files that nobody will wait for.
pub(super) fn warn(paths: &[PathBuf], recording: &Recording, range: Range, skip_gaps: Option<Duration>) {
    for path in twice(paths) {
        tracing::warn!("{} is given twice, so each of its messages plays twice", path.display());
    }
    if skip_gaps.is_some() {
        return;
    }
    let files = recording.files().filter_map(|(path, summary)| Some((path, summary.time_range?)));
    for silence in silences(files.collect(), range) {
        tracing::warn!(
            "between the end of {} and the start of {} nothing plays for {}; --skip-gaps plays over it",
            silence.after.display(),
            silence.before.display(),
            format_duration(silence.length)
        );
    }
}

/// Files that stand there before, perhaps by another name.
fn twice(paths: &[PathBuf]) -> Vec<&PathBuf> {
    let real: Vec<Option<PathBuf>> = paths.iter().map(|path| path.canonicalize().ok()).collect();
    let is_known = |place: &usize| real[*place].is_some() && real[..*place].contains(&real[*place]);
    (0..paths.len()).filter(is_known).map(|place| &paths[place]).collect()
}

/// A time in which there is nothing to play.
#[derive(Debug, Eq, PartialEq)]
struct Silence<'a> {
    after: &'a Path,
    before: &'a Path,
    length: Duration,
}

/// Long silences between files, as far as they are played.
fn silences(mut files: Vec<(&Path, (Timestamp, Timestamp))>, range: Range) -> Vec<Silence<'_>> {
    files.sort_by_key(|(_, times)| *times);
    let mut found = Vec::new();
    let mut latest: Option<(&Path, Timestamp)> = None;
    for (path, (first, last)) in files {
        if let Some((after, end)) = latest
            && first.since(end) > LONG
            && range.start < first
            && end < range.end
        {
            found.push(Silence { after, before: path, length: first.since(end) });
        }
        if latest.is_none_or(|(_, end)| end < last) {
            latest = Some((path, last));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: u64) -> Timestamp {
        Timestamp::MIN.saturating_add(Duration::from_secs(hours * 3600))
    }

    #[test]
    fn a_long_silence_between_files_is_found_where_it_is_played() {
        let (a, b, c) = (Path::new("a"), Path::new("b"), Path::new("c"));
        // The second one lies within the first one.
        let files = || vec![(c, (at(50), at(51))), (a, (at(0), at(10))), (b, (at(2), at(3)))];
        let found = |start, end| silences(files(), Range { start: at(start), end: at(end) });
        let silence = Silence { after: a, before: c, length: Duration::from_secs(40 * 3600) };
        assert_eq!(found(0, 51), [silence]);
        assert_eq!((found(0, 10), found(50, 51)), (vec![], vec![]));
        assert_eq!(
            silences(vec![(a, (at(0), at(1))), (b, (at(2), at(3)))], Range { start: at(0), end: at(3) }),
            []
        );
    }

    #[test]
    fn a_file_that_is_given_twice_is_found_by_any_name() {
        let directory = tempfile::tempdir().unwrap();
        let (a, b) = (directory.path().join("a"), directory.path().join("b"));
        std::fs::write(&a, "").unwrap();
        std::fs::write(&b, "").unwrap();
        let other = directory.path().join(".").join("a");
        assert_eq!(twice(&[a.clone(), b.clone(), other.clone()]), [&other]);
        assert!(twice(&[a, b]).is_empty());
    }
}
