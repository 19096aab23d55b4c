//! Replays MCAP and JSONL recordings to Foxglove and Lichtblick over WebSocket, at their original times.
//!
//! This is the program `fgplay` as a library: a test replays a recording inside its own process, connects
//! what it tests to it, and knows when everything was sent.
//!
//! ```
//! use fgplay::{Rate, Replay};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), fgplay::Error> {
//! let server = Replay::open("testdata/demo.mcap")?
//!     .rate(Rate::Max)
//!     .topics(["/pose", "/tf*"])?
//!     .serve("127.0.0.1:0")
//!     .await?;
//! println!("connect to {}", server.url());
//! # server.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! What is public is what such a test needs, and has no types of other crates in it, but needs a tokio
//! runtime around it.

mod embed;

pub use embed::{Counts, Error, Event, Events, Rate, Replay, Server, State, Status, Topic};

// The rooms below, for the program itself, its benches and tests. They change without notice.
#[doc(hidden)]
pub mod foxglove;
#[doc(hidden)]
pub mod playback;
#[doc(hidden)]
pub mod recording;
#[doc(hidden)]
pub mod replay;
#[doc(hidden)]
pub mod server;
#[doc(hidden)]
pub mod time;
