//! Services: what is advertised, called and answered.

use serde::Serialize;

use super::ClientMessageError;

const OPCODE_RESPONSE: u8 = 3;
const REQUEST: &str = "Service Call Request";

/// A service as it is advertised.
#[derive(Clone, Debug, Serialize)]
pub struct AdvertisedService<'a> {
    /// How calls name it.
    pub id: u32,
    /// Its name, such as `/map/reset`.
    pub name: &'a str,
    /// The name of its type, such as `std_srvs/srv/Empty`.
    #[serde(rename = "type")]
    pub service_type: &'a str,
    /// What it is called with.
    pub request: ServiceMessage<'a>,
    /// What it answers.
    pub response: ServiceMessage<'a>,
}

/// One side of a service: how requests, or responses, are written.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceMessage<'a> {
    /// The encoding of the messages: `json`, `cdr`, ...
    pub encoding: &'a str,
    /// The name of their schema.
    pub schema_name: &'a str,
    /// How the schema is written: `jsonschema`, `ros2msg`, ...
    pub schema_encoding: &'a str,
    /// The schema: text, or base64 where its encoding is a binary one.
    pub schema: &'a str,
}

/// A client calls a service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServiceCallRequest {
    /// The id of the service, as it was advertised.
    pub service: u32,
    /// The client's own choice; comes back with the answer.
    pub call: u32,
    /// How the payload is encoded.
    pub encoding: String,
    /// What the service is called with.
    pub payload: Vec<u8>,
}

impl ServiceCallRequest {
    /// Reads what stands after the opcode: u32 service id, u32 call id, u32 length of the encoding, encoding,
    /// payload.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ClientMessageError> {
        let bad = |reason: &str| ClientMessageError::BadFields { operation: REQUEST, reason: reason.into() };
        let short = || bad("it is too short");
        let (service, rest) = bytes.split_first_chunk().ok_or_else(short)?;
        let (call, rest) = rest.split_first_chunk().ok_or_else(short)?;
        let (length, rest) = rest.split_first_chunk().ok_or_else(short)?;
        let (encoding, payload) = rest
            .split_at_checked(u32::from_le_bytes(*length) as usize)
            .ok_or_else(|| bad("its encoding is longer than the message"))?;
        let encoding = std::str::from_utf8(encoding).map_err(|_| bad("its encoding is not UTF-8"))?;
        Ok(ServiceCallRequest {
            service: u32::from_le_bytes(*service),
            call: u32::from_le_bytes(*call),
            encoding: encoding.into(),
            payload: payload.into(),
        })
    }
}

/// What a service answered. A call that failed is answered with `serviceCallFailure` instead.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ServiceCallResponse<'a> {
    /// The id of the service, as in the request.
    pub service: u32,
    /// The id of the call, as in the request.
    pub call: u32,
    /// How the payload is encoded.
    pub encoding: &'a str,
    /// The answer.
    pub payload: &'a [u8],
}

impl ServiceCallResponse<'_> {
    /// The message: opcode, u32 service id, u32 call id, u32 length of the encoding, encoding, payload.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut message = vec![OPCODE_RESPONSE];
        message.extend_from_slice(&self.service.to_le_bytes());
        message.extend_from_slice(&self.call.to_le_bytes());
        message.extend_from_slice(&(self.encoding.len() as u32).to_le_bytes());
        message.extend_from_slice(self.encoding.as_bytes());
        message.extend_from_slice(self.payload);
        message
    }
}

#[cfg(test)]
mod tests {
    use foxglove::ws_protocol::BinaryMessage as _;
    use foxglove::ws_protocol::client as sdk_client;
    use foxglove::ws_protocol::server as sdk_server;

    use super::super::ClientMessage;
    use super::*;

    #[test]
    fn a_call_of_the_sdk_is_read() {
        for (encoding, payload) in [("json", &b"{\"a\":1}"[..]), ("", &[]), ("é", &[0, 0xff])] {
            let call = sdk_client::ServiceCallRequest {
                service_id: 0x0403_0201,
                call_id: 0xffff_fffe,
                encoding: encoding.into(),
                payload: payload.into(),
            };
            let expected = ServiceCallRequest {
                service: 0x0403_0201,
                call: 0xffff_fffe,
                encoding: encoding.into(),
                payload: payload.into(),
            };
            let read = ClientMessage::parse_binary(&call.to_bytes());
            assert_eq!(read, Ok(ClientMessage::ServiceCall(expected)));
        }
    }

    #[test]
    fn a_call_that_is_cut_off_or_no_text_is_refused() {
        let call = [1, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, b'o', b'k'];
        let expected = ServiceCallRequest { service: 1, call: 2, encoding: "ok".into(), payload: vec![] };
        assert_eq!(ServiceCallRequest::parse(&call), Ok(expected));
        for length in 0..call.len() {
            assert!(ServiceCallRequest::parse(&call[..length]).is_err(), "{length}");
        }
        for (place, value) in [(8, 3), (11, 0xff), (12, 0xff)] {
            let mut bytes = call;
            bytes[place] = value;
            let error = ServiceCallRequest::parse(&bytes).unwrap_err();
            assert!(matches!(error, ClientMessageError::BadFields { operation: REQUEST, .. }), "{place}");
        }
    }

    #[test]
    fn the_sdk_reads_a_response() {
        for (encoding, payload) in [("json", &b"{}"[..]), ("", &[]), ("é", &[0, 0xff])] {
            let response =
                ServiceCallResponse { service: 0x0403_0201, call: 0xffff_fffe, encoding, payload }.to_bytes();
            let expected = sdk_server::ServiceCallResponse {
                service_id: 0x0403_0201,
                call_id: 0xffff_fffe,
                encoding: encoding.into(),
                payload: payload.into(),
            };
            assert_eq!(response, expected.to_bytes());
            let read = sdk_server::ServerMessage::parse_binary(&response).unwrap();
            assert_eq!(read, sdk_server::ServerMessage::ServiceCallResponse(expected));
        }
    }
}
