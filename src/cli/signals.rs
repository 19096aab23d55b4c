//! The signals that end a run.

use std::time::{Duration, Instant};

#[cfg(unix)]
use anyhow::Context as _;

/// Signals that come so soon after each other count as one.
const SAME_SIGNAL: Duration = Duration::from_millis(250);

/// The signals that ask a program to end.
pub(super) struct Signals {
    /// When the last one came that counted.
    last: Option<Instant>,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    hang_up: Option<tokio::signal::unix::Signal>,
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Asked {
    /// To end at once: somebody sits in front of it.
    Interrupt,
    /// To end: the system wants it so.
    #[cfg_attr(not(unix), expect(dead_code, reason = "only Unix has such a signal"))]
    Terminate,
}

/// Whether the end of the terminal is to be ignored, as whoever started this has said. Known of Linux only.
#[cfg(unix)]
fn ignores_hang_up() -> bool {
    /// SIGHUP has the number 1, and the first place.
    const HANG_UP: u64 = 1;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask & HANG_UP != 0)
}

impl Signals {
    #[cfg(unix)]
    pub fn listen(reloads: bool) -> anyhow::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let listen = |kind| signal(kind).context("can't listen for signals");
        Ok(Signals {
            last: None,
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            // With a certificate it says that there is a new one. Who started this with nohup wants it to go on.
            hang_up: if reloads || ignores_hang_up() { None } else { Some(listen(SignalKind::hangup())?) },
        })
    }

    #[cfg(not(unix))]
    pub fn listen(_: bool) -> anyhow::Result<Self> {
        Ok(Signals { last: None })
    }

    /// Waits for the next one. What comes right after another one is the same: `timeout` and terminals send a
    /// signal to a program, and to the group that it is in.
    pub async fn next(&mut self) -> Asked {
        loop {
            let asked = self.any().await;
            let now = Instant::now();
            if self.last.is_none_or(|last| now.duration_since(last) > SAME_SIGNAL) {
                self.last = Some(now);
                return asked;
            }
        }
    }

    async fn any(&mut self) -> Asked {
        #[cfg(unix)]
        let hung_up = async {
            match &mut self.hang_up {
                Some(signal) => signal.recv().await,
                None => std::future::pending().await,
            }
        };
        #[cfg(unix)]
        tokio::select! {
            _ = self.interrupt.recv() => Asked::Interrupt,
            _ = self.terminate.recv() => Asked::Terminate,
            _ = hung_up => Asked::Interrupt,
        }
        #[cfg(not(unix))]
        match tokio::signal::ctrl_c().await {
            Ok(()) => Asked::Interrupt,
            Err(_) => std::future::pending().await,
        }
    }
}
