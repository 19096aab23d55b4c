//! What a show's clients hear of its timeline.

use std::sync::Arc;
use std::time::Instant;

use super::House;
use crate::playback::{Audience, Event, Position, Rate, State as PlaybackState};
use crate::server::control;
use crate::server::happenings::Happening;
use crate::server::parameters::{Properties, Property, is_paused};

/// A house as the scheduler sees it.
pub(super) struct Listener {
    house: Arc<House>,
    /// Whether nothing is to be lost at any rate.
    always_lossless: bool,
    /// Whether nothing is lost now.
    lossless: bool,
    /// What playback was last said to do.
    told: Option<(PlaybackState, Rate)>,
    /// Whether time went to another place since then.
    jumped: bool,
    /// Whether playback was last said to be paused, how fast it goes, and whether it loops.
    parameters: Option<(bool, Rate, bool)>,
}

impl Listener {
    /// For a timeline that has done nothing yet.
    pub fn new(house: Arc<House>, lossless: bool) -> Self {
        Listener { house, always_lossless: lossless, lossless, told: None, jumped: false, parameters: None }
    }

    /// Tells the parameters that have changed.
    fn tell_parameters(&mut self, position: &Position) {
        let now = (is_paused(position), position.rate, position.repeats);
        let before = self.parameters.replace(now);
        let stands = position.state == PlaybackState::Paused || position.state == PlaybackState::Ended;
        let changes = [
            (Property::Paused, before.is_none_or(|before| before.0 != now.0)),
            (Property::Rate, before.is_none_or(|before| before.1 != now.1)),
            (Property::Loop, before.is_none_or(|before| before.2 != now.2)),
            // While time passes, it is told from time to time.
            (Property::Position, self.jumped || stands),
        ];
        let changed: Properties =
            changes.into_iter().filter_map(|(property, changed)| changed.then_some(property)).collect();
        if !changed.is_empty() {
            self.house.tell_parameters(changed, &|| *position);
        }
    }

    /// Tells what playback does, if that has changed.
    fn tell_state(&mut self, position: &Position) {
        let told = Some((position.state, position.rate));
        let jumped = std::mem::take(&mut self.jumped);
        if !self.house.control || (self.told == told && !jumped) {
            return;
        }
        self.told = told;
        let frame = control::state(position, jumped, "");
        for viewer in self.house.lock().viewers.values_mut().filter(|viewer| viewer.hears_states) {
            viewer.tell_state(frame.clone(), jumped);
        }
    }
}

impl Audience for Listener {
    fn changed(&mut self, position: &Position) {
        self.tell_parameters(position);
        self.tell_state(position);
        // Last, since then connections may be closed.
        if position.state == PlaybackState::Ended {
            self.house.endings.send_modify(|endings| *endings += 1);
        }
    }

    fn takes_more(&mut self, rate: Rate) -> bool {
        let lossless = self.always_lossless || rate.is_max();
        if std::mem::replace(&mut self.lossless, lossless) != lossless {
            self.house.lose_nothing(lossless);
        }
        // Asks each of them, so that each that can't tells when it can.
        !lossless
            || self.house.lock().viewers.values().fold(true, |all, viewer| viewer.outbox.has_room() & all)
    }

    fn has_passed_on(&self) -> bool {
        self.house.lock().shares.is_written()
    }

    fn deliver(&mut self, events: &[Event], due: Instant, until_due: &mut dyn FnMut()) {
        for event in events {
            if let Event::Message(message, _) = event {
                self.house.catalog.count(message);
            }
        }
        self.jumped |= events.iter().any(|event| matches!(event, Event::Jumped(_) | Event::Looped(_)));
        let mut state = self.house.lock();
        let before = state.time;
        for event in events.iter().rev() {
            state.time = match event {
                Event::Message(message, _) => message.log_time,
                Event::Jumped(time) | Event::Looped(time) | Event::Tick(time) | Event::Ended(time) => *time,
                Event::Lookback(_) | Event::Stalled(_) | Event::Skipped(_) => continue,
            };
            break;
        }
        state.deliver(events, before, due, until_due);
        // Nobody asks for the last messages where these are not wanted.
        if self.house.lookback {
            state.remember(events);
        }
        drop(state);
        for event in events {
            match event {
                Event::Jumped(time) => self.house.happenings.tell(Happening::Jumped(*time)),
                Event::Looped(_) => self.house.happenings.tell(Happening::Looped),
                Event::Ended(_) => self.house.happenings.tell(Happening::Ended),
                Event::Stalled(time) => tracing::debug!("playback stood for {time:?}"),
                Event::Skipped(time) => tracing::debug!("a silence is cut short by {time:?}"),
                Event::Message(..) | Event::Lookback(_) | Event::Tick(_) => {}
            }
        }
        if events.iter().any(|event| matches!(event, Event::Lookback(_))) {
            self.house.stands.send_if_modified(|stands| !std::mem::replace(stands, true));
        }
    }
}
