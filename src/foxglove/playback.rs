//! Playback control: what the play bar of the Foxglove app asks for, and what it is told.

use super::ClientMessageError;
use crate::time::Timestamp;

const OPCODE_PLAYBACK_STATE: u8 = 5;
const NAME: &str = "Playback Control Request";

/// What a client asks of playback. The seek is meant to be carried out before the command.
#[derive(Clone, Debug, PartialEq)]
pub struct PlaybackControlRequest {
    /// Play or pause.
    pub command: PlaybackCommand,
    /// How fast.
    pub speed: f32,
    /// Where to go, if anywhere.
    pub seek: Option<Timestamp>,
    /// Comes back with the state that answers it.
    pub id: String,
}

/// Play or pause.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PlaybackCommand {
    /// Let time pass.
    Play,
    /// Let it stand.
    Pause,
}

impl PlaybackControlRequest {
    /// Reads what stands after the opcode: u8 command, f32 speed, u8 had seek, u64 seek time (ns), u32 length
    /// of the request id, request id.
    pub(super) fn parse(payload: &[u8]) -> Result<Self, ClientMessageError> {
        let bad = |reason: &str| ClientMessageError::BadFields { operation: NAME, reason: reason.into() };
        let short = || bad("it is too short");
        let (&[command], rest) = payload.split_first_chunk().ok_or_else(short)?;
        let (speed, rest) = rest.split_first_chunk().ok_or_else(short)?;
        let (&[had_seek], rest) = rest.split_first_chunk().ok_or_else(short)?;
        let (seek, rest) = rest.split_first_chunk().ok_or_else(short)?;
        let (length, id) = rest.split_first_chunk().ok_or_else(short)?;
        if id.len() != u32::from_le_bytes(*length) as usize {
            return Err(bad("the request id has another length than it says"));
        }
        Ok(PlaybackControlRequest {
            command: match command {
                0 => PlaybackCommand::Play,
                1 => PlaybackCommand::Pause,
                _ => return Err(bad("its command is neither 0 (play) nor 1 (pause)")),
            },
            speed: f32::from_le_bytes(*speed),
            seek: (had_seek != 0).then(|| Timestamp::from_nanos(u64::from_le_bytes(*seek))),
            id: String::from_utf8(id.to_vec()).map_err(|_| bad("the request id is not UTF-8"))?,
        })
    }
}

/// What playback is doing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PlaybackStatus {
    /// Time passes.
    Playing,
    /// Time stands.
    Paused,
    /// Time would pass, but the data is not there yet.
    Buffering,
    /// It is over.
    Ended,
}

/// Where playback is and what it is doing.
#[derive(Clone, Debug, PartialEq)]
pub struct PlaybackState<'a> {
    /// What it is doing.
    pub status: PlaybackStatus,
    /// Where it is.
    pub time: Timestamp,
    /// How fast it goes.
    pub speed: f32,
    /// Whether time went to another place since the last state.
    pub did_seek: bool,
    /// Which request it answers; empty where it answers none.
    pub request_id: &'a str,
}

impl PlaybackState<'_> {
    /// The message: opcode, u8 status, u64 time (ns), f32 speed, u8 did seek, u32 length of the request id,
    /// request id.
    pub fn to_bytes(&self) -> Vec<u8> {
        let status = match self.status {
            PlaybackStatus::Playing => 0,
            PlaybackStatus::Paused => 1,
            PlaybackStatus::Buffering => 2,
            PlaybackStatus::Ended => 3,
        };
        let mut message = vec![OPCODE_PLAYBACK_STATE, status];
        message.extend_from_slice(&self.time.as_nanos().to_le_bytes());
        message.extend_from_slice(&self.speed.to_le_bytes());
        message.push(self.did_seek.into());
        message.extend_from_slice(&(self.request_id.len() as u32).to_le_bytes());
        message.extend_from_slice(self.request_id.as_bytes());
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &[u8] = &[1, 0, 0, 0xc0, 0x3f, 1, 8, 7, 6, 5, 4, 3, 2, 1, 2, 0, 0, 0, b'i', b'd'];

    #[test]
    fn a_request_is_read_field_by_field() {
        let request = PlaybackControlRequest {
            command: PlaybackCommand::Pause,
            speed: 1.5,
            seek: Some(Timestamp::from_nanos(0x0102_0304_0506_0708)),
            id: "id".into(),
        };
        assert_eq!(PlaybackControlRequest::parse(REQUEST), Ok(request.clone()));
        let mut no_seek = REQUEST.to_vec();
        no_seek[5] = 0;
        let request = PlaybackControlRequest { seek: None, ..request };
        assert_eq!(PlaybackControlRequest::parse(&no_seek), Ok(request));
    }

    #[test]
    fn what_is_cut_off_or_unknown_is_refused() {
        for length in 0..REQUEST.len() {
            assert!(PlaybackControlRequest::parse(&REQUEST[..length]).is_err(), "{length}");
        }
        for (place, value) in [(0, 2), (14, 3), (17, 0xff), (18, 0xff)] {
            let mut bytes = REQUEST.to_vec();
            bytes[place] = value;
            assert!(PlaybackControlRequest::parse(&bytes).is_err(), "{place}");
        }
    }

    #[test]
    fn a_state_is_written_field_by_field() {
        let state = PlaybackState {
            status: PlaybackStatus::Buffering,
            time: Timestamp::from_nanos(1),
            speed: 1.5,
            did_seek: true,
            request_id: "id",
        };
        let bytes = [5, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xc0, 0x3f, 1, 2, 0, 0, 0, b'i', b'd'];
        assert_eq!(state.to_bytes(), bytes);
    }
}
