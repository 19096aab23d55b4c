//! The terminal's mode: keys come one by one and are not echoed. All else stays as it is: Ctrl-C and Ctrl-Z
//! are signals, and what is printed is printed as before.

#[cfg(not(unix))]
pub(crate) use other::{Mode, Suspension, is_foreground};
#[cfg(unix)]
pub(crate) use unix::{Mode, Suspension, is_foreground};

#[cfg(unix)]
mod unix {
    use std::io::{IsTerminal as _, stdin};
    use std::sync::{Mutex, MutexGuard, Once, PoisonError};

    use rustix::process::{Signal, getpgrp, getpid, kill_process};
    use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};
    use tokio::signal::unix::{self, SignalKind, signal};

    /// How the terminal was, while it is not so.
    static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

    static RESTORE_ON_PANIC: Once = Once::new();

    /// The terminal is in this mode until this is dropped.
    pub(crate) struct Mode(());

    impl Mode {
        /// Sets the mode, where stdin is a terminal.
        pub fn start() -> Option<Self> {
            if !stdin().is_terminal() {
                return None;
            }
            RESTORE_ON_PANIC.call_once(|| {
                let hook = std::panic::take_hook();
                std::panic::set_hook(Box::new(move |info| {
                    restore();
                    hook(info);
                }));
            });
            set();
            Some(Mode(()))
        }
    }

    impl Drop for Mode {
        fn drop(&mut self) {
            restore();
        }
    }

    fn before() -> MutexGuard<'static, Option<Termios>> {
        BEFORE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the terminal is ours: who is in the background and touches it is stopped.
    pub(crate) fn is_foreground() -> bool {
        tcgetpgrp(stdin()).is_ok_and(|group| group == getpgrp())
    }

    /// In the background this is put off: who comes to the foreground hears of it.
    fn set() {
        if !is_foreground() {
            return;
        }
        let Ok(mut mode) = tcgetattr(stdin()) else { return };
        before().get_or_insert_with(|| mode.clone());
        mode.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
        if let Err(error) = tcsetattr(stdin(), OptionalActions::Now, &mode) {
            tracing::debug!("the terminal keeps its mode: {error}");
        }
    }

    fn restore() {
        if let Some(mode) = before().take()
            && is_foreground()
        {
            // Where the terminal is gone, so is its mode.
            tcsetattr(stdin(), OptionalActions::Now, &mode).unwrap_or_default();
        }
    }

    /// Takes care of the terminal when the program is stopped with Ctrl-Z and continued.
    pub(crate) struct Suspension {
        stop: unix::Signal,
        go_on: unix::Signal,
    }

    impl Suspension {
        /// Starts to listen for the signals.
        pub fn listen() -> std::io::Result<Self> {
            let kind = |signal: Signal| SignalKind::from_raw(signal.as_raw());
            Ok(Suspension { stop: signal(kind(Signal::TSTP))?, go_on: signal(kind(Signal::CONT))? })
        }

        /// Stops the program when that is asked for, and goes on when it is continued; for as long as it is
        /// polled.
        pub async fn follow(&mut self) {
            loop {
                tokio::select! {
                    _ = self.stop.recv() => {
                        restore();
                        if let Err(error) = kill_process(getpid(), Signal::STOP) {
                            tracing::debug!("can't be stopped: {error}");
                        }
                        set();
                    }
                    _ = self.go_on.recv() => set(),
                }
            }
        }
    }
}

#[cfg(not(unix))]
mod other {
    /// Keys are not known here.
    pub(crate) struct Mode(());

    impl Mode {
        pub fn start() -> Option<Self> {
            None
        }
    }

    pub(crate) fn is_foreground() -> bool {
        false
    }

    pub(crate) struct Suspension(());

    impl Suspension {
        pub fn listen() -> std::io::Result<Self> {
            Ok(Suspension(()))
        }

        pub async fn follow(&mut self) {
            std::future::pending().await
        }
    }
}
