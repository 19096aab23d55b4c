//! Who may change something over HTTP: a page of this server itself, and whoever is no browser.

use axum::http::{HeaderMap, HeaderName, header};
use std::net::SocketAddr;

use crate::server::access::{is_same_site, is_this_machine};

/// Why a request may not change anything, as a sentence for whoever sent it.
pub(super) const OTHER_SITE: &str = "only this server's own page, or a program that is no browser, may control playback: the request's \
     Origin is not the Host that it was sent to";
pub(super) const OTHER_HOST: &str = "this server listens on this machine only, and so takes commands only under the name localhost or by \
     its address; the request's Host is another name";

/// Checks that a request that changes something comes from where it may.
///
/// A browser says from which site a page comes, and a page can't make it say otherwise. A page of another site
/// could still point its own name to this machine (DNS rebinding), and so a server that listens on this machine
/// only takes commands only under names that always mean it.
pub(super) fn check(headers: &HeaderMap, listening: SocketAddr) -> Result<(), &'static str> {
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or(""));
    let host = text(header::HOST).unwrap_or("");
    if listening.ip().is_loopback() && !is_this_machine(host) {
        return Err(OTHER_HOST);
    }
    if text(HeaderName::from_static("sec-fetch-site")).is_some_and(|site| site == "cross-site") {
        return Err(OTHER_SITE);
    }
    match text(header::ORIGIN) {
        None => Ok(()),
        Some(origin) if is_same_site(origin, host) => Ok(()),
        Some(_) => Err(OTHER_SITE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(listening: &str, headers: &[(&'static str, &str)]) -> bool {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect();
        check(&headers, listening.parse().unwrap()).is_ok()
    }

    #[test]
    fn the_own_page_and_programs_may_and_other_sites_may_not() {
        let local = "127.0.0.1:8765";
        let host = ("host", "localhost:8765");
        assert!(verdict(local, &[host]));
        assert!(verdict(local, &[host, ("origin", "http://localhost:8765")]));
        assert!(!verdict(local, &[host, ("origin", "http://localhost:9999")]));
        assert!(!verdict(local, &[host, ("origin", "https://evil.example")]));
        assert!(!verdict(local, &[host, ("origin", "null")]));
        assert!(!verdict(local, &[host, ("origin", "")]));
        assert!(!verdict(local, &[host, ("sec-fetch-site", "cross-site")]));
        assert!(verdict(local, &[host, ("sec-fetch-site", "same-origin")]));
    }

    #[test]
    fn a_name_that_was_pointed_to_this_machine_is_refused() {
        let origin = ("origin", "http://evil.example:8765");
        assert!(!verdict("127.0.0.1:8765", &[("host", "evil.example:8765"), origin]));
        assert!(!verdict("[::1]:8765", &[("host", "evil.example:8765"), origin]));
        assert!(!verdict("127.0.0.1:8765", &[]));
        for host in ["127.0.0.1:8765", "[::1]:8765", "[::1]", "localhost", "LOCALHOST:1"] {
            assert!(verdict("127.0.0.1:8765", &[("host", host)]), "{host}");
        }
        // Who listens for others is known to them by many names.
        assert!(verdict(
            "0.0.0.0:8765",
            &[("host", "robot.local:8765"), ("origin", "http://robot.local:8765")]
        ));
        assert!(!verdict("0.0.0.0:8765", &[("host", "robot.local:8765"), origin]));
    }
}
