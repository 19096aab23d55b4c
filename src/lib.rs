//! Replays MCAP and JSONL recordings to Foxglove and Lichtblick over WebSocket, at their original times.
//!
//! The rooms, from the top down: [`replay`] puts everything together, [`server`] has the sockets,
//! [`foxglove`] the protocol, [`playback`] the time, [`recording`] the files, and [`time`] the text forms of
//! times.

pub mod foxglove;
pub mod playback;
pub mod recording;
pub mod replay;
pub mod server;
pub mod time;
