//! Replays MCAP and JSONL recordings to Foxglove and Lichtblick over WebSocket, at their original times.

pub mod foxglove;
pub mod playback;
pub mod recording;
pub mod time;
