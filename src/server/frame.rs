//! WebSocket frames of a server (RFC 6455, section 5.2): unmasked, never fragmented.

use bytes::Bytes;

const FIN: u8 = 0x80;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;

/// Codes with which a connection is closed (RFC 6455, section 7.4.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u16)]
pub(super) enum CloseCode {
    /// What the connection was for is done.
    Normal = 1000,
    /// The server ends.
    GoingAway = 1001,
    /// The client broke the WebSocket protocol.
    Protocol = 1002,
    /// The client sent a text that is no UTF-8.
    NotUtf8 = 1007,
    /// The client does something else that the server does not put up with.
    Policy = 1008,
    /// The client sent a message that is too large.
    TooBig = 1009,
}

/// Appends the header of a binary frame whose payload has `length` bytes.
pub(super) fn push_binary_header(frames: &mut Vec<u8>, length: usize) {
    push_header(frames, BINARY, length);
}

/// A whole frame with a text.
pub(super) fn text(text: &str) -> Bytes {
    let mut frame = Vec::with_capacity(text.len() + 10);
    push_header(&mut frame, TEXT, text.len());
    frame.extend_from_slice(text.as_bytes());
    frame.into()
}

/// A whole frame with a binary message.
pub(super) fn binary(message: &[u8]) -> Bytes {
    let mut frame = Vec::with_capacity(message.len() + 10);
    push_header(&mut frame, BINARY, message.len());
    frame.extend_from_slice(message);
    frame.into()
}

/// A whole frame that asks the client whether it is there.
pub(super) fn ping() -> Bytes {
    let mut frame = Vec::with_capacity(2);
    push_header(&mut frame, PING, 0);
    frame.into()
}

/// A whole frame that closes the connection.
pub(super) fn close(code: CloseCode, reason: &str) -> Bytes {
    // A control frame carries at most 125 bytes, 2 of them the code.
    let mut end = reason.len().min(123);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let mut frame = Vec::with_capacity(4 + end);
    push_header(&mut frame, CLOSE, 2 + end);
    frame.extend_from_slice(&(code as u16).to_be_bytes());
    frame.extend_from_slice(&reason.as_bytes()[..end]);
    frame.into()
}

fn push_header(frames: &mut Vec<u8>, opcode: u8, length: usize) {
    frames.push(FIN | opcode);
    if length < 126 {
        frames.push(length as u8);
    } else if let Ok(length) = u16::try_from(length) {
        frames.push(126);
        frames.extend_from_slice(&length.to_be_bytes());
    } else {
        frames.push(127);
        frames.extend_from_slice(&(length as u64).to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_takes_one_three_or_nine_bytes() {
        let header = |length| {
            let mut bytes = Vec::new();
            push_binary_header(&mut bytes, length);
            bytes
        };
        assert_eq!(header(0), [0x82, 0]);
        assert_eq!(header(125), [0x82, 125]);
        assert_eq!(header(126), [0x82, 126, 0, 126]);
        assert_eq!(header(65_535), [0x82, 126, 0xff, 0xff]);
        assert_eq!(header(65_536), [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn a_close_frame_has_a_code_and_at_most_123_bytes_of_reason() {
        assert_eq!(close(CloseCode::GoingAway, "bye"), &b"\x88\x05\x03\xe9bye"[..]);
        let long = close(CloseCode::Policy, &"é".repeat(100));
        assert_eq!(long.len(), 2 + 2 + 122);
        assert!(std::str::from_utf8(&long[4..]).is_ok());
    }
}
