//! Binary messages. All integers are little-endian; the first byte is the opcode.

use crate::time::Timestamp;

const OPCODE_MESSAGE_DATA: u8 = 1;
const OPCODE_TIME: u8 = 2;

/// Size of what stands before the payload in a Message Data message, in bytes.
pub const MESSAGE_DATA_HEADER: usize = 1 + 4 + 8;

/// What stands before the payload in a Message Data message: opcode, subscription id, log time (ns).
pub fn message_data_header(subscription: u32, log_time: Timestamp) -> [u8; MESSAGE_DATA_HEADER] {
    let mut header = [0; MESSAGE_DATA_HEADER];
    header[0] = OPCODE_MESSAGE_DATA;
    header[1..5].copy_from_slice(&subscription.to_le_bytes());
    header[5..].copy_from_slice(&log_time.as_nanos().to_le_bytes());
    header
}

/// A Time message: opcode, time (ns).
pub fn time(time: Timestamp) -> [u8; 9] {
    let mut message = [0; 9];
    message[0] = OPCODE_TIME;
    message[1..].copy_from_slice(&time.as_nanos().to_le_bytes());
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_data_starts_with_opcode_subscription_and_log_time() {
        let header = message_data_header(0x0403_0201, Timestamp::from_nanos(0x0c0b_0a09_0807_0605));
        assert_eq!(header, [1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    }

    #[test]
    fn time_is_opcode_and_nanoseconds() {
        assert_eq!(time(Timestamp::from_nanos(258)), [2, 2, 1, 0, 0, 0, 0, 0, 0]);
    }
}
