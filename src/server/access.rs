//! Who may connect: those who know the token, and pages of certain sites.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, StatusCode, Uri, header};
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use percent_encoding::percent_decode_str;
use subtle::ConstantTimeEq as _;

/// A secret that clients have to know. It is never printed.
#[derive(Clone, Eq, PartialEq)]
pub struct Token(String);

/// A token that can't be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the token is empty")]
pub struct EmptyToken;

impl Token {
    /// A token of this text, without the white space around it, such as the end of a line.
    ///
    /// # Errors
    /// Where nothing is left.
    pub fn new(text: &str) -> Result<Self, EmptyToken> {
        match text.trim() {
            "" => Err(EmptyToken),
            text => Ok(Token(text.to_owned())),
        }
    }

    /// Whether somebody gave this token. Takes as long for a token that is nearly right as for any other one of
    /// the same length.
    fn is(&self, given: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(given).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(...)")
    }
}

/// The sites whose pages may connect, by patterns such as `https://*.example.org`.
#[derive(Clone, Debug)]
pub struct Origins(GlobSet);

impl Origins {
    /// The sites that one of these globs matches.
    ///
    /// # Errors
    /// Where one can't be read.
    pub fn new<S: AsRef<str>>(patterns: &[S]) -> Result<Self, globset::Error> {
        let mut set = GlobSetBuilder::new();
        for pattern in patterns {
            let pattern = pattern.as_ref().trim_end_matches('/').to_ascii_lowercase();
            set.add(GlobBuilder::new(&pattern).literal_separator(true).build()?);
        }
        Ok(Origins(set.build()?))
    }

    fn allow(&self, origin: &str) -> bool {
        self.0.is_match(origin.to_ascii_lowercase())
    }
}

/// Who may connect; by default everybody.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// What clients have to know.
    pub token: Option<Token>,
    /// The sites whose pages may open WebSocket connections, beside the server's own; all where it is not set.
    /// Programs that are no browsers name no site, and are not kept out by it.
    pub origins: Option<Origins>,
}

/// Why somebody may not have what was asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Refused {
    NoToken,
    WrongToken,
    OtherSite,
}

impl Refused {
    pub const ALL: [Refused; 3] = [Refused::NoToken, Refused::WrongToken, Refused::OtherSite];

    pub fn status(self) -> StatusCode {
        match self {
            Refused::NoToken | Refused::WrongToken => StatusCode::UNAUTHORIZED,
            Refused::OtherSite => StatusCode::FORBIDDEN,
        }
    }

    /// In words for whoever asked.
    pub fn reason(self) -> &'static str {
        match self {
            Refused::NoToken => {
                "this server wants a token: put ?token=... behind its address, or send it as a bearer token in the \
                 Authorization header"
            }
            Refused::WrongToken => "the token is wrong",
            Refused::OtherSite => "this server does not let pages of this site connect (--allow-origin)",
        }
    }
}

impl Access {
    /// Checks a request that wants to know or change something, sent to where the server is `listening`. `upgrades`
    /// where it wants to become a WebSocket connection.
    pub(super) fn check(
        &self,
        uri: &Uri,
        headers: &HeaderMap,
        upgrades: bool,
        listening: SocketAddr,
    ) -> Result<(), Refused> {
        if upgrades {
            self.check_origin(headers, listening)?;
        }
        let Some(token) = &self.token else { return Ok(()) };
        let given = bearer(headers).map(<[u8]>::to_vec).or_else(|| query(uri));
        match given {
            None => Err(Refused::NoToken),
            Some(given) if token.is(&given) => Ok(()),
            Some(_) => Err(Refused::WrongToken),
        }
    }

    /// A page says from which site it comes, and can't say anything else. One that points its own name to this
    /// machine (DNS rebinding) is not the server's own.
    fn check_origin(&self, headers: &HeaderMap, listening: SocketAddr) -> Result<(), Refused> {
        let (Some(origins), Some(origin)) = (&self.origins, headers.get(header::ORIGIN)) else {
            return Ok(());
        };
        let origin = origin.to_str().unwrap_or("");
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("");
        let own = is_same_site(origin, host) && (!listening.ip().is_loopback() || is_this_machine(host));
        if own || origins.allow(origin) { Ok(()) } else { Err(Refused::OtherSite) }
    }
}

/// Whether an Origin header names the site that the Host header of the same request names.
pub(super) fn is_same_site(origin: &str, host: &str) -> bool {
    let site = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    site.is_some_and(|site| !site.is_empty() && site.eq_ignore_ascii_case(host))
}

/// Whether a Host header names this machine: `localhost`, or an address that only it has.
pub(super) fn is_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(""),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The token of an Authorization header (RFC 6750, section 2.1).
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(token.trim_ascii())
}

/// The token of a query.
fn query(uri: &Uri) -> Option<Vec<u8>> {
    let pairs = uri.query()?.split('&');
    let token = pairs.filter_map(|pair| pair.strip_prefix("token=")).next()?;
    Some(percent_decode_str(token).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTENING: &str = "127.0.0.1:8765";

    fn verdict(access: &Access, uri: &str, headers: &[(header::HeaderName, &str)]) -> Option<Refused> {
        let headers = headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
        access.check(&uri.parse().unwrap(), &headers, true, LISTENING.parse().unwrap()).err()
    }

    #[test]
    fn a_token_is_taken_from_the_query_and_from_the_header() {
        let access = Access { token: Some(Token::new("se cret\n").unwrap()), origins: None };
        assert_eq!(verdict(&access, "/", &[]), Some(Refused::NoToken));
        assert_eq!(verdict(&access, "/?token=se%20cret", &[]), None);
        assert_eq!(verdict(&access, "/?a=b&token=se%20cret&c", &[]), None);
        for wrong in ["/?token=", "/?token=se%20cre", "/?token=se%20cret2", "/?token=SE%20CRET"] {
            assert_eq!(verdict(&access, wrong, &[]), Some(Refused::WrongToken), "{wrong}");
        }
        assert_eq!(verdict(&access, "/", &[(header::AUTHORIZATION, "Bearer se cret")]), None);
        assert_eq!(verdict(&access, "/", &[(header::AUTHORIZATION, "bearer se cret")]), None);
        assert_eq!(verdict(&access, "/", &[(header::AUTHORIZATION, "Bearer x")]), Some(Refused::WrongToken));
        assert_eq!(
            verdict(&access, "/", &[(header::AUTHORIZATION, "Basic se cret")]),
            Some(Refused::NoToken)
        );
        assert_eq!(verdict(&Access::default(), "/", &[]), None);
        assert_eq!(Token::new(" \n"), Err(EmptyToken));
        assert_eq!(format!("{access:?}").find("cret"), None);
    }

    #[test]
    fn pages_of_other_sites_are_kept_out_where_sites_are_named() {
        let origins = Origins::new(&["https://app.foxglove.dev/", "https://*.example.org"]).unwrap();
        let access = Access { token: None, origins: Some(origins) };
        let from = |origin: &str| {
            verdict(&access, "/", &[(header::ORIGIN, origin), (header::HOST, "localhost:8765")])
        };
        for origin in ["https://app.foxglove.dev", "https://A.example.org", "http://localhost:8765"] {
            assert_eq!(from(origin), None, "{origin}");
        }
        let others = [
            "https://example.org",
            "https://app.foxglove.dev.evil",
            "https://evil.example/.example.org",
            "http://localhost:1",
            "null",
            "",
        ];
        for origin in others {
            assert_eq!(from(origin), Some(Refused::OtherSite), "{origin}");
        }
        let pointed = [(header::ORIGIN, "http://evil.example:8765"), (header::HOST, "evil.example:8765")];
        assert_eq!(
            verdict(&access, "/", &pointed),
            Some(Refused::OtherSite),
            "a name pointed to this machine"
        );
        let everywhere = "0.0.0.0:8765".parse().unwrap();
        let own = [(header::ORIGIN, "http://robot:8765"), (header::HOST, "robot:8765")];
        let own = own.map(|(name, value)| (name, value.parse().unwrap())).into_iter().collect();
        assert_eq!(access.check(&"/".parse().unwrap(), &own, true, everywhere), Ok(()));
        assert_eq!(verdict(&access, "/", &[]), None, "a program that is no browser");
    }
}
