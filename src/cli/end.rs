//! How playing ends, and what the user is told then.

use std::time::Duration;

use super::{Failure, Outcome};
use crate::terminal::count;
use fgplay::recording::Problems;
use fgplay::replay::{BrokenOff, WaitedTooLong};
use fgplay::server::Traffic;
use fgplay::time::format_duration;

/// Says what was sent and lost, and how that is to be taken.
pub(super) fn sum_up(end: &End, problems: &Problems, traffic: Traffic) -> Result<Outcome, Failure> {
    tracing::info!("{}", counts(traffic));
    if let Some(places) = lost_places(problems) {
        tracing::warn!("data of the recording was skipped or lost in {places}; see the warnings above");
    }
    if problems.unread() > 0 {
        tracing::warn!(
            "at least {} messages of the recording could not be read when it played",
            count(problems.unread())
        );
    }
    if traffic.undelivered > 0 {
        tracing::warn!(
            "{} messages were not delivered to clients that did not take them in time",
            count(traffic.undelivered)
        );
    }
    if traffic.dropped > 0 {
        tracing::warn!(
            "{} messages were dropped for clients that took less than was played",
            count(traffic.dropped)
        );
    }
    match end {
        End::Damaged => Err(Failure::Failed(anyhow::anyhow!(
            "stopped, since data is lost and --strict takes that as an error"
        ))),
        End::BrokenOff(error) => Err(Failure::Failed((*error).into())),
        End::WaitedTooLong(error) => Err(Failure::Failed(error.clone().into())),
        End::TimedOut(timeout) => Err(Failure::Failed(anyhow::anyhow!(
            "stopped: it was not over after {} (--timeout)",
            format_duration(*timeout)
        ))),
        End::Stopped | End::Drained => Ok(Outcome::Done),
        End::Abandoned => Ok(Outcome::Abandoned),
        End::CutOff => Ok(Outcome::DataLost),
        End::Over if problems.data_lost() || traffic.dropped + traffic.undelivered > 0 => {
            Ok(Outcome::DataLost)
        }
        End::Over => Ok(Outcome::Done),
    }
}

/// "858 messages sent, 14,695 dropped, 668 not delivered", or where nothing was lost "3,381 messages sent, none dropped".
fn counts(traffic: Traffic) -> String {
    let dropped = if traffic.dropped == 0 { "none".into() } else { count(traffic.dropped) };
    let undelivered = match traffic.undelivered {
        0 => String::new(),
        undelivered => format!(", {} not delivered", count(undelivered)),
    };
    format!("{} messages sent, {dropped} dropped{undelivered}", count(traffic.sent))
}

/// "3 places", where data is lost. Of the problems that are only counted nobody knows what they cost, so
/// beside them it is "at least 3 places".
fn lost_places(problems: &Problems) -> Option<String> {
    let listed = problems.list().iter().filter(|problem| problem.data_lost).count().max(1) as u64;
    let at_least = if problems.beyond() > 0 { "at least " } else { "" };
    let places = if listed == 1 { "place" } else { "places" };
    problems.data_lost().then(|| format!("{at_least}{} {places}", count(listed)))
}

/// Why playing ends.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum End {
    /// The recording is over.
    Over,
    /// The recording is over, and some clients did not get all of it in time.
    CutOff,
    /// The system asked for it, and the clients get what waits for them.
    Drained,
    /// Those that playback waits for did not come.
    WaitedTooLong(WaitedTooLong),
    /// It took longer than the user allowed.
    TimedOut(Duration),
    /// The user asked for it.
    Stopped,
    /// The user asked for it twice.
    Abandoned,
    /// Data is lost, and the user wanted none lost.
    Damaged,
    /// The program has a fault.
    BrokenOff(BrokenOff),
}

impl End {
    /// In a word, for a report.
    pub fn name(&self) -> &'static str {
        match self {
            End::Over => "over",
            End::CutOff => "cut off",
            End::Drained | End::Stopped => "stopped",
            End::Abandoned => "abandoned",
            End::WaitedTooLong(_) => "waited too long",
            End::TimedOut(_) => "timed out",
            End::Damaged => "damaged",
            End::BrokenOff(_) => "broken off",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::exit_code;
    use super::*;
    use fgplay::recording::{Place, Problem, ProblemKind};

    fn report(problems: &Problems, lines: std::ops::Range<u64>, data_lost: bool) {
        for line in lines {
            let (path, text) = ("a.jsonl".into(), "it is odd".into());
            problems.report(Problem {
                path,
                place: Place::Line(line),
                kind: ProblemKind::Line,
                text,
                data_lost,
            });
        }
    }

    #[test]
    fn only_places_known_to_lose_data_are_counted_as_such() {
        let problems = Problems::default();
        report(&problems, 0..700, false);
        assert_eq!(lost_places(&problems), None);
        report(&problems, 700..701, true);
        assert_eq!(lost_places(&problems).as_deref(), Some("1 place"));
        report(&problems, 701..703, true);
        assert_eq!(lost_places(&problems).as_deref(), Some("3 places"));
        report(&problems, 703..5000, false);
        assert!(problems.beyond() > 0);
        assert_eq!(lost_places(&problems).as_deref(), Some("at least 3 places"));
    }

    #[test]
    fn what_became_of_messages_is_told_in_numbers_for_people() {
        let told =
            |sent, dropped, undelivered| counts(Traffic { sent, dropped, undelivered, ..Traffic::default() });
        assert_eq!(told(3381, 0, 0), "3,381 messages sent, none dropped");
        assert_eq!(told(858, 14_695, 668), "858 messages sent, 14,695 dropped, 668 not delivered");
    }

    #[test]
    fn a_place_that_is_not_remembered_is_one_at_least() {
        let problems = Problems::default();
        report(&problems, 0..5000, false);
        report(&problems, 5000..5001, true);
        assert_eq!(lost_places(&problems).as_deref(), Some("at least 1 place"));
    }

    #[test]
    fn how_it_ended_decides_the_exit_code() {
        let code = |end, data_lost, dropped| {
            let problems = Problems::default();
            report(&problems, 0..1, data_lost);
            exit_code(&sum_up(&end, &problems, Traffic { dropped, ..Traffic::default() }))
        };
        assert_eq!(code(End::Over, false, 0), 0);
        assert_eq!(code(End::Over, true, 0), 3);
        assert_eq!(code(End::Over, false, 1), 3);
        assert_eq!(code(End::CutOff, false, 0), 3);
        assert_eq!(code(End::Stopped, true, 1), 0);
        assert_eq!(code(End::Drained, true, 1), 0);
        assert_eq!(code(End::Abandoned, true, 1), 130);
        assert_eq!(code(End::TimedOut(Duration::ZERO), false, 0), 1);
        assert_eq!(code(End::Damaged, true, 0), 1);
        assert_eq!(code(End::BrokenOff(BrokenOff), false, 0), 1);
    }
}
