//! Messages from clients, text and binary, with the calls and parameters in them.

#![no_main]

use fgplay::foxglove::{ClientMessage, Subprotocol};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(message) = ClientMessage::parse_binary(data) {
        fgplay::server::fuzzing::take(&message);
    }
    if let Ok(text) = std::str::from_utf8(data) {
        if let Ok(message) = ClientMessage::parse_text(text) {
            fgplay::server::fuzzing::take(&message);
        }
        Subprotocol::choose([text]);
    }
});
