//! What users type of the server.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use super::{Control, Session, byte_count, longer_than_nothing};
use crate::cli::Failure;
use fgplay::server::{Access, Limits, Origins, Token};
use fgplay::time::parse_duration;

#[derive(Debug, Args)]
#[command(next_help_heading = "Server")]
pub(in crate::cli) struct ServerArguments {
    /// The address to listen on; 0.0.0.0 for every address of this machine.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub host: String,

    /// The port to listen on; 0 for any free one, which is then told on stdout as a line of JSON.
    #[arg(long, default_value_t = 8765)]
    pub port: u16,

    /// A file that is written when viewers can connect, with the line of JSON that --port 0 prints.
    #[arg(long, value_name = "PATH")]
    pub ready_file: Option<PathBuf>,

    /// The name that viewers show for this source; by default that of the recording.
    #[arg(long)]
    pub name: Option<String>,

    /// Drop no messages for a slow client: playback waits for the slowest.
    #[arg(long)]
    pub lossless: bool,

    /// Who may pause, seek and change the speed: every viewer, or none.
    #[arg(long, value_name = "WHO", value_enum, default_value_t)]
    pub control: Control,

    /// What viewers watch: all the same, as if they looked at one robot, or each on its own, from its first
    /// subscription on.
    #[arg(long, value_name = "WHO", value_enum, default_value_t)]
    pub session: Session,

    /// A directory with files that viewers may fetch beside the recording's attachments: meshes, for
    /// instance, which robot models name as package://PACKAGE/PATH.
    #[arg(long, value_name = "DIR")]
    pub assets: Option<PathBuf>,

    /// How much may wait for one slow client before messages are dropped for it (bytes, or like 32MiB).
    #[arg(long, value_name = "BYTES", default_value = "32MiB", value_parser = byte_count)]
    pub client_buffer: usize,

    /// How long messages may wait for one slow client before some are dropped for it, down to what its connection
    /// takes in that time; for who is still too slow then, sooner. The newest of each topic is always sent.
    #[arg(long, value_name = "S", default_value = "2", value_parser = longer_than_nothing, allow_hyphen_values = true)]
    pub client_lag: Duration,

    /// How much of the recording is read before it is due (bytes, or like 16MiB). It is filled up again when half of it
    /// is left. One message that is larger than half of it, and up to eight times as large as all of it, comes on top,
    /// and the one that is read last may go beyond it; where several such messages are due at once, more is needed.
    /// With --rate max it is 2MiB at the most: what was read just before is still in the processor's caches when it is
    /// sent. With --session client each viewer's timeline has a quarter of it.
    #[arg(long, value_name = "BYTES", default_value = "8MiB", value_parser = byte_count)]
    pub read_ahead: usize,

    /// Serve with TLS (wss:// and https://): the certificate, and those that vouch for it, as PEM. Read again on
    /// SIGHUP.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// The key of the certificate, as PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// Let only those connect who know this token, as ?token=... in the address or as a bearer token. Other users of
    /// this machine can see it here; --token-file and the environment don't show it.
    #[arg(long, value_name = "TOKEN", env = "FGPLAY_TOKEN", hide_env_values = true)]
    pub token: Option<String>,

    /// The file with the token.
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    pub token_file: Option<PathBuf>,

    /// Let only pages of these sites connect, such as https://app.foxglove.dev or https://*.example.org (programs
    /// that are no browsers may always).
    #[arg(long, value_name = "PATTERN", num_args = 1..)]
    pub allow_origin: Vec<String>,

    #[command(flatten)]
    pub limits: LimitArguments,
}

#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Limits")]
pub(in crate::cli) struct LimitArguments {
    /// How many viewers may be connected.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_clients: u32,

    /// How many of them from one address; by default as many as in all.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_clients_per_address: Option<u32>,

    /// How much may wait for all viewers together before messages are dropped: each gets an equal share, of 1MiB at
    /// least and --client-buffer at the most (bytes, or like 512MiB).
    #[arg(long, value_name = "BYTES", default_value = "512MiB", value_parser = byte_count)]
    pub total_buffer: usize,

    /// How long a connection may take to say what it wants.
    #[arg(long, value_name = "S", default_value = "10", value_parser = longer_than_nothing, allow_hyphen_values = true)]
    pub handshake_timeout: Duration,

    /// The largest message that is taken from a viewer (bytes, or like 4MiB).
    #[arg(long, value_name = "BYTES", default_value = "4MiB", value_parser = byte_count)]
    pub max_message_size: usize,

    /// How many messages a viewer may send in a second, in the long run; five times as many at once.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_message_rate: u32,

    /// Ping a viewer that was silent for that long, and give it up after three pings without an answer; 0 for never.
    #[arg(long, value_name = "S", default_value = "20", value_parser = parse_duration, allow_hyphen_values = true)]
    pub ping: Duration,
}

impl LimitArguments {
    pub fn limits(self) -> Limits {
        Limits {
            clients: self.max_clients as usize,
            clients_per_address: self.max_clients_per_address.unwrap_or(self.max_clients) as usize,
            handshake: self.handshake_timeout,
            message_bytes: self.max_message_size,
            messages_per_second: self.max_message_rate,
            total_buffer: self.total_buffer,
            ping: self.ping,
        }
    }
}

impl ServerArguments {
    /// Who may connect.
    pub fn access(&self) -> Result<Access, Failure> {
        let token = match (&self.token, &self.token_file) {
            (Some(token), _) => Some(Token::new(token).context("--token or FGPLAY_TOKEN")),
            (None, Some(path)) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("can't read {} (--token-file)", path.display()))?;
                Some(Token::new(&text).with_context(|| format!("{} (--token-file)", path.display())))
            }
            (None, None) => None,
        };
        let origins = match &self.allow_origin[..] {
            [] => None,
            patterns => Some(origins(patterns)),
        };
        Ok(Access {
            token: token.transpose().map_err(Failure::WrongArguments)?,
            origins: origins.transpose().map_err(Failure::WrongArguments)?,
        })
    }
}

/// The sites of these patterns. Of one without a scheme nobody would ever be let in.
fn origins(patterns: &[String]) -> anyhow::Result<Origins> {
    let is_complete =
        |pattern: &&String| pattern.contains("://") || pattern.contains("**") || *pattern == "null";
    if let Some(pattern) = patterns.iter().find(|pattern| !is_complete(pattern)) {
        anyhow::bail!("--allow-origin {pattern}: a site has its scheme in front, as in https://{pattern}");
    }
    Origins::new(patterns).context("--allow-origin")
}
