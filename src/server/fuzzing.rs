//! Doors for `fuzz/`: what strangers send, up to the commands that it becomes. Not part of other builds.

use std::io;
use std::path::Path;
use std::sync::OnceLock;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri};
use bytes::Bytes;

use super::access::{Access, Origins, Token};
use super::assets::{Assets, Attachments};
use super::parameters::{self, Properties};
use super::services::Service;
use super::{Links, http};
use crate::foxglove::ClientMessage;
use crate::playback::{Position, Range};
use crate::time::Timestamp;

const RANGE: Range =
    Range { start: Timestamp::from_nanos(1_000_000_000), end: Timestamp::from_nanos(100_000_000_000) };

struct Nothing;

impl Attachments for Nothing {
    fn size(&self, _: &str) -> Option<u64> {
        None
    }

    fn read(&self, _: &str) -> io::Result<Bytes> {
        Err(io::ErrorKind::NotFound.into())
    }
}

fn assets() -> Option<&'static Assets> {
    static ASSETS: OnceLock<Option<Assets>> = OnceLock::new();
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata"));
    ASSETS.get_or_init(|| Assets::new(Box::new(Nothing), Some(folder)).ok()).as_ref()
}

/// Does what a session does with a message, short of commanding a timeline.
pub fn take(message: &ClientMessage) {
    let position = Position::standing(RANGE);
    match message {
        ClientMessage::GetParameters { names, id } => {
            Properties::named(names).frame(&position, RANGE, id.as_deref());
        }
        ClientMessage::SetParameters { parameters, .. } => {
            parameters::commands(parameters, RANGE);
        }
        ClientMessage::ServiceCall(call) => {
            if let Some(service) = Service::with_id(call.service) {
                service.commands(&call.payload, RANGE).map(drop).unwrap_or_default();
            }
        }
        ClientMessage::FetchAsset { uri, .. } => {
            assets().map(|assets| assets.read(uri).map(drop).unwrap_or_default()).unwrap_or_default();
        }
        _ => {}
    }
}

/// Takes the body of a command, and the headers of a request that brings it, one in each line; the first line is also its
/// address.
pub fn http(data: &[u8]) {
    http::fuzz(data, &Position::standing(RANGE), RANGE);
    let mut headers = HeaderMap::new();
    for line in data.split(|&byte| byte == b'\n').take(8) {
        let mut parts = line.splitn(2, |&byte| byte == b':');
        if let (Some(name), Some(value)) = (parts.next(), parts.next())
            && let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        {
            if let Ok(host) = value.to_str() {
                Links::new(host, true);
            }
            headers.insert(name, value);
        }
    }
    http::fuzz_headers(&headers);
    let line = data.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let access =
        Access { token: Token::new("t").ok(), origins: Origins::new(&["https://*.example.org"]).ok() };
    if let Ok(uri) = Uri::try_from(line) {
        for upgrades in [true, false] {
            access.check(&uri, &headers, upgrades, ([127, 0, 0, 1], 8765).into()).unwrap_or_default();
        }
    }
}
