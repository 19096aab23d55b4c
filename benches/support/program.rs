//! The built program as a server.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::client::Client;

/// A running fgplay, ended when dropped.
pub struct Fgplay {
    child: Child,
    pub port: u16,
}

impl Fgplay {
    /// Starts it on a free port, and waits until it takes connections.
    pub fn start<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fgplay"));
        command.args(arguments).args(["--port", "0", "--quiet"]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("fgplay");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("its stdout");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let ready: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        Fgplay { child, port: ready["port"].as_u64().expect("a port") as u16 }
    }

    /// CPU time used so far, in seconds, and the most memory that it had, in bytes.
    pub fn usage(&self) -> (f64, u64) {
        usage(self.child.id())
    }
}

impl Drop for Fgplay {
    fn drop(&mut self) {
        self.child.kill().expect("that it can be killed");
        self.child.wait().expect("its end");
    }
}

/// Another server, ended when dropped: a player that is installed, or this program itself.
pub struct Peer {
    child: Child,
    pub port: u16,
}

impl Peer {
    /// Starts the player whose command the environment has under this name; `None` where there is none.
    pub fn start(variable: &str, file: &str) -> Option<Self> {
        let command = std::env::var(variable).ok()?;
        let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its number");
        let command = command.replace("{file}", file).replace("{port}", &free.port().to_string());
        let child = Command::new("sh")
            .args(["-c", &format!("exec {command}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Some(Peer { child: child.expect("the player"), port: free.port() })
    }

    /// Starts this program with other arguments, in a process of its own. It prints its port.
    pub fn this_program(arguments: &[&str]) -> Self {
        let program = std::env::current_exe().expect("the path of this program");
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("this program");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("its stdout");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        Peer { child, port: line.trim().parse().expect("a port") }
    }

    /// CPU time used so far, in seconds, and the most memory that it had, in bytes.
    pub fn usage(&self) -> (f64, u64) {
        usage(self.child.id())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().unwrap_or_default();
        self.child.wait().expect("its end");
    }
}

/// Connects as soon as somebody takes connections on the port.
pub fn connect(port: u16, protocol: &str) -> Client {
    for _ in 0..1000 {
        match Client::connect(port, protocol) {
            Ok(client) => return client,
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
    panic!("the player takes no connection on port {port}");
}

/// CPU time of a process, in seconds, and the most memory that it had, in bytes (Linux; else zeros).
pub fn usage(process: u32) -> (f64, u64) {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or("").split(' ').collect();
    let ticks = |place: usize| fields.get(place).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = peak.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    // Hundredths of a second on every Linux there is.
    ((ticks(11) + ticks(12)) / 100.0, kilobytes.unwrap_or(0) * 1000)
}
