//! Keys that control playback.

mod mode;

use std::time::{Duration, Instant};

use crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::sync::mpsc;

use fgplay::playback::{Command, Position, Range, Rate};

pub(crate) use mode::Suspension;
use mode::{Mode, is_foreground};

/// The rates that the arrow keys go through.
const RATES: [f64; 12] = [0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0];

/// How far the page keys go.
const JUMP: Duration = Duration::from_secs(10);

/// How often it is asked whether anybody still wants keys.
const LOOK: Duration = Duration::from_millis(250);

/// What the keys do, for the user.
pub(crate) const HELP: &str = "\
keys:  space       pause, play on
       right left  next message, back to the time before
       up down     faster, slower
       page up/down, shift + right/left  10 s ahead, back
       0 to 9      to that tenth of the recording
       l           loop
       ?           this list
       q           quit";

/// What is left of them where every viewer has a timeline of its own.
pub(crate) const HELP_WITHOUT_TIMELINE: &str = "\
keys:  ?           this list
       q           quit";

/// A key that was pressed, by what it means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Key {
    Toggle,
    Next,
    Previous,
    Faster,
    Slower,
    Ahead,
    Back,
    Tenth(u8),
    Loop,
    Help,
    Quit,
}

/// The keys that are pressed, for as long as this lives. Then the terminal is as it was.
pub(crate) struct Keys {
    pressed: mpsc::Receiver<Key>,
    _mode: Mode,
}

impl Keys {
    /// Starts to listen to the terminal on stdin. `None` where there is none.
    pub fn start() -> Option<Self> {
        let mode = Mode::start()?;
        let (sender, pressed) = mpsc::channel(64);
        let listening = std::thread::Builder::new().name("fgplay-keys".into()).spawn(move || listen(&sender));
        match listening {
            Ok(_) => Some(Keys { pressed, _mode: mode }),
            Err(error) => {
                tracing::debug!("no keys, since the system gives no thread: {error}");
                None
            }
        }
    }

    /// Waits for the next key. For ever, where the terminal is gone.
    pub async fn next(&mut self) -> Key {
        match self.pressed.recv().await {
            Some(key) => key,
            None => std::future::pending().await,
        }
    }
}

/// Tells what is pressed, until nobody wants to hear it or the terminal is gone.
fn listen(sender: &mpsc::Sender<Key>) {
    while !sender.is_closed() {
        // What is typed meanwhile is for somebody else, and who reads it is stopped.
        if !is_foreground() {
            std::thread::sleep(LOOK);
            continue;
        }
        let event = match event::poll(LOOK) {
            Ok(true) => event::read(),
            Ok(false) => continue,
            Err(error) => Err(error),
        };
        match event {
            Ok(Event::Key(event)) => {
                // Where so many wait already, one more makes no difference.
                if let Some(key) = meaning(event)
                    && let Err(mpsc::error::TrySendError::Closed(_)) = sender.try_send(key)
                {
                    return;
                }
            }
            Ok(_) => {}
            Err(error) => return tracing::debug!("no keys any more: {error}"),
        }
    }
}

fn meaning(event: KeyEvent) -> Option<Key> {
    let shift = event.modifiers.contains(KeyModifiers::SHIFT);
    let plain = event.modifiers.difference(KeyModifiers::SHIFT).is_empty();
    if event.kind == KeyEventKind::Release || !plain {
        return None;
    }
    Some(match event.code {
        KeyCode::Char(' ') => Key::Toggle,
        KeyCode::Right if shift => Key::Ahead,
        KeyCode::Left if shift => Key::Back,
        KeyCode::Right => Key::Next,
        KeyCode::Left => Key::Previous,
        KeyCode::Up => Key::Faster,
        KeyCode::Down => Key::Slower,
        KeyCode::PageUp => Key::Ahead,
        KeyCode::PageDown => Key::Back,
        KeyCode::Char(digit @ '0'..='9') => Key::Tenth(digit as u8 - b'0'),
        KeyCode::Char('l' | 'L') => Key::Loop,
        KeyCode::Char('?' | 'h') => Key::Help,
        KeyCode::Char('q' | 'Q') => Key::Quit,
        _ => return None,
    })
}

impl Key {
    /// What the key asks of the timeline, if anything.
    pub fn command(self, position: &Position, range: Range, now: Instant) -> Option<Command> {
        let at = position.time_at(now);
        let rate = position.rate.factor();
        Some(match self {
            Key::Toggle => Command::Toggle,
            Key::Next => Command::Step(1),
            Key::Previous => Command::StepBack,
            Key::Faster => Command::SetRate(next_rate(RATES.into_iter(), |other| other > rate)?),
            Key::Slower => Command::SetRate(next_rate(RATES.into_iter().rev(), |other| other < rate)?),
            Key::Ahead => Command::Seek(at.saturating_add(JUMP)),
            Key::Back => {
                let played = at.since(range.start);
                Command::Seek(range.start.saturating_add(played.saturating_sub(JUMP)))
            }
            Key::Tenth(tenth) => {
                let length = range.end.since(range.start);
                Command::Seek(range.start.saturating_add(length / 10 * u32::from(tenth)))
            }
            Key::Loop => Command::SetLoop(!position.repeats),
            Key::Help | Key::Quit => return None,
        })
    }
}

/// The first of the rates that is on the right side of the one that holds.
fn next_rate(mut rates: impl Iterator<Item = f64>, wanted: impl Fn(f64) -> bool) -> Option<Rate> {
    Rate::new(rates.find(|rate| wanted(*rate))?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pressed(code: KeyCode, modifiers: KeyModifiers) -> Option<Key> {
        meaning(KeyEvent::new(code, modifiers))
    }

    #[test]
    fn keys_mean_what_the_help_says() {
        let plain = |code| pressed(code, KeyModifiers::NONE);
        assert_eq!(plain(KeyCode::Char(' ')), Some(Key::Toggle));
        assert_eq!(plain(KeyCode::Right), Some(Key::Next));
        assert_eq!(pressed(KeyCode::Right, KeyModifiers::SHIFT), Some(Key::Ahead));
        assert_eq!(pressed(KeyCode::Left, KeyModifiers::SHIFT), Some(Key::Back));
        assert_eq!(plain(KeyCode::PageUp), Some(Key::Ahead));
        assert_eq!(plain(KeyCode::Char('7')), Some(Key::Tenth(7)));
        assert_eq!(pressed(KeyCode::Char('?'), KeyModifiers::SHIFT), Some(Key::Help));
        assert_eq!(plain(KeyCode::Char('x')), None);
        assert_eq!(pressed(KeyCode::Char('l'), KeyModifiers::CONTROL), None);
    }

    #[test]
    fn rates_go_to_the_next_step_also_from_in_between() {
        let up = |rate: f64| next_rate(RATES.into_iter(), |other| other > rate).map(Rate::factor);
        let down = |rate: f64| next_rate(RATES.into_iter().rev(), |other| other < rate).map(Rate::factor);
        assert_eq!((up(1.0), down(1.0)), (Some(1.5), Some(0.5)));
        assert_eq!((up(1.2), down(1.2)), (Some(1.5), Some(1.0)));
        assert_eq!((up(100.0), down(0.1)), (None, None));
        assert_eq!((up(0.01), down(1e9)), (Some(0.1), Some(100.0)));
    }
}
