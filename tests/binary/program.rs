//! Runs the built binary.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Output, Stdio};
use std::thread::JoinHandle;

/// A command that runs the built binary.
pub fn fgplay<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fgplay"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs it to its end. Gives its exit code, and what it said on stdout and stderr.
pub fn run<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = fgplay(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

/// A server that is ended with the test.
pub struct Server {
    child: Child,
    /// Where it listens.
    pub url: String,
    stderr: Option<JoinHandle<String>>,
}

impl Server {
    /// Starts it on a free port, and waits until it says that it takes connections.
    pub fn start<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Self {
        Server::spawn(fgplay(arguments))
    }

    /// As [`start`](Self::start), by a command that the options of the program can be added to.
    pub fn spawn(mut command: Command) -> Self {
        command.args(["--port", "0"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // Read all the time, so that it never waits for us.
        let mut stderr = child.stderr.take().unwrap();
        let stderr = std::thread::spawn(move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).unwrap();
            text
        });
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let Ok(ready) = serde_json::from_str::<serde_json::Value>(&line) else {
            child.wait().unwrap();
            panic!("not ready: {}", stderr.join().unwrap());
        };
        assert_eq!(ready["event"], "ready");
        Server { child, url: ready["url"].as_str().unwrap().to_owned(), stderr: Some(stderr) }
    }

    /// Waits for its end. Gives its exit code, and what it said on stderr.
    pub fn wait(mut self) -> (Option<i32>, String) {
        let status = self.child.wait().unwrap();
        (status.code(), self.stderr.take().unwrap().join().unwrap())
    }

    /// How much memory it has, in bytes.
    #[cfg(target_os = "linux")]
    pub fn resident_bytes(&self) -> usize {
        let statistics = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id())).unwrap();
        statistics.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    }

    /// Sends it a signal.
    #[cfg(unix)]
    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Where it has ended already, there is nothing to kill.
        self.child.kill().unwrap_or_default();
        self.child.wait().map(drop).unwrap_or_default();
    }
}
