//! Assets: what a `fetchAsset` is answered with.

const OPCODE_FETCH_ASSET_RESPONSE: u8 = 4;
const STATUS_SUCCESS: u8 = 0;
const STATUS_ERROR: u8 = 1;

/// Size of what stands before the asset in a Fetch Asset Response, in bytes.
pub const ASSET_HEADER: usize = 1 + 4 + 1 + 4;

/// What stands before the asset's bytes in the Fetch Asset Response that brings it: opcode, u32 request id,
/// u8 status, u32 length of the error text (0). The bytes themselves follow as they are.
pub fn asset_header(request: u32) -> [u8; ASSET_HEADER] {
    header(request, STATUS_SUCCESS, 0)
}

/// The Fetch Asset Response that says why there is no asset: opcode, u32 request id, u8 status, u32 length
/// of the error text, error text.
pub fn asset_error(request: u32, message: &str) -> Vec<u8> {
    let mut response = header(request, STATUS_ERROR, message.len() as u32).to_vec();
    response.extend_from_slice(message.as_bytes());
    response
}

fn header(request: u32, status: u8, error_length: u32) -> [u8; ASSET_HEADER] {
    let mut header = [0; ASSET_HEADER];
    header[0] = OPCODE_FETCH_ASSET_RESPONSE;
    header[1..5].copy_from_slice(&request.to_le_bytes());
    header[5] = status;
    header[6..].copy_from_slice(&error_length.to_le_bytes());
    header
}

#[cfg(test)]
mod tests {
    use foxglove::ws_protocol::BinaryMessage as _;
    use foxglove::ws_protocol::server::{FetchAssetResponse, ServerMessage};

    use super::*;

    #[test]
    fn the_sdk_reads_an_asset_after_its_header() {
        for data in [&b"solid robot"[..], &[]] {
            let response = [&asset_header(0x0403_0201)[..], data].concat();
            let expected = FetchAssetResponse::asset_data(0x0403_0201, data);
            assert_eq!(response, expected.to_bytes());
            let read = ServerMessage::parse_binary(&response).unwrap();
            assert_eq!(read, ServerMessage::FetchAssetResponse(expected));
        }
    }

    #[test]
    fn the_sdk_reads_why_there_is_no_asset() {
        let response = asset_error(7, "there is no 'é'");
        let expected = FetchAssetResponse::error_message(7, "there is no 'é'");
        assert_eq!(response, expected.to_bytes());
        let read = ServerMessage::parse_binary(&response).unwrap();
        assert_eq!(read, ServerMessage::FetchAssetResponse(expected));
    }
}
