//! What clients ask of playback, and what they are told of it.

use std::time::Instant;

use bytes::Bytes;

use super::frame;
use crate::foxglove::{PlaybackCommand, PlaybackControlRequest, PlaybackState, PlaybackStatus};
use crate::playback::{Command, Position, Rate, RateError, State};

/// What a request asks for, in the order in which it is to be done. A speed that makes no sense is left out
/// and given back. `now` is the speed at which it plays: every request names one, most of them that.
pub(super) fn commands(request: &PlaybackControlRequest, now: Rate) -> (Vec<Command>, Option<RateError>) {
    let mut commands = Vec::from_iter(request.seek.map(Command::Seek));
    // Through its text: 0.1 as it was meant, not as 32 bits hold it.
    let speed = request.speed.to_string().parse().unwrap_or(f64::NAN);
    let refused = match Rate::asked(speed) {
        Err(_) if request.speed == now.factor() as f32 => None,
        Ok(rate) => {
            commands.push(Command::SetRate(rate));
            None
        }
        Err(error) => Some(error),
    };
    commands.push(match request.command {
        PlaybackCommand::Play => Command::Play,
        PlaybackCommand::Pause => Command::Pause,
    });
    (commands, refused)
}

/// A frame that tells where playback is.
pub(super) fn state(position: &Position, did_seek: bool, request_id: &str) -> Bytes {
    let status = match position.state {
        State::Playing => PlaybackStatus::Playing,
        State::Buffering => PlaybackStatus::Buffering,
        State::Paused => PlaybackStatus::Paused,
        State::Ended => PlaybackStatus::Ended,
    };
    let state = PlaybackState {
        status,
        time: position.time_at(Instant::now()),
        speed: position.rate.factor() as f32,
        did_seek,
        request_id,
    };
    frame::binary(&state.to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    fn request(speed: f32, seek: Option<u64>) -> PlaybackControlRequest {
        let seek = seek.map(Timestamp::from_nanos);
        PlaybackControlRequest { command: PlaybackCommand::Play, speed, seek, id: String::new() }
    }

    #[test]
    fn the_seek_comes_first_and_the_speed_is_as_it_was_meant() {
        let expected = vec![
            Command::Seek(Timestamp::from_nanos(7)),
            Command::SetRate(Rate::new(0.1).unwrap()),
            Command::Play,
        ];
        assert_eq!(commands(&request(0.1, Some(7)), Rate::REAL_TIME), (expected, None));
    }

    #[test]
    fn a_speed_that_makes_no_sense_changes_nothing_else() {
        for speed in [0.0, -1.0, f32::NAN, f32::INFINITY, 1e9] {
            let (commands, refused) = commands(&request(speed, None), Rate::REAL_TIME);
            assert_eq!(commands, [Command::Play]);
            assert!(refused.is_some(), "{speed}");
        }
    }

    #[test]
    fn who_leaves_the_speed_as_it_is_changes_nothing() {
        assert_eq!(commands(&request(1e9, None), Rate::MAX), (vec![Command::Play], None));
    }
}
