//! Links that open this server in a viewer.

use std::net::SocketAddr;

/// The address of a server on `host_port`, with or without TLS, as viewers take it.
pub fn ws_url(host_port: &str, tls: bool) -> String {
    format!("{}://{host_port}/", if tls { "wss" } else { "ws" })
}

/// Links that open a server in the viewers that people have.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Links {
    /// The address of the server.
    pub ws: String,
    /// The control page.
    pub page: String,
    /// Opens it in the Foxglove app (<https://docs.foxglove.dev/docs/visualization/shareable-links/>).
    pub foxglove: String,
    /// Opens it in the Lichtblick that its project hosts.
    pub lichtblick: String,
}

impl Links {
    /// The links for a server on `host_port` (`localhost:8765`), with or without TLS.
    pub fn new(host_port: &str, tls: bool) -> Self {
        let ws = ws_url(host_port, tls);
        let query = format!("ds=foxglove-websocket&ds.url={ws}");
        Links {
            foxglove: format!("https://app.foxglove.dev/~/view?{query}"),
            lichtblick: format!("https://lichtblick-suite.github.io/lichtblick/?{query}"),
            page: format!("{}://{host_port}/", if tls { "https" } else { "http" }),
            ws,
        }
    }

    /// The links for whoever is on the same machine. Browsers let a page that came by `https` connect
    /// without TLS to `localhost` only, so that name is preferred.
    pub fn local(address: SocketAddr, tls: bool) -> Self {
        if address.ip().is_loopback() || address.ip().is_unspecified() {
            Links::new(&format!("localhost:{}", address.port()), tls)
        } else {
            Links::new(&address.to_string(), tls)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_name_the_server() {
        let links = Links::local("127.0.0.1:8765".parse().unwrap(), false);
        assert_eq!(links.ws, "ws://localhost:8765/");
        assert!(links.foxglove.ends_with("?ds=foxglove-websocket&ds.url=ws://localhost:8765/"));
        assert_eq!(Links::local("192.168.1.5:80".parse().unwrap(), false).ws, "ws://192.168.1.5:80/");
        assert_eq!(Links::local("[::]:80".parse().unwrap(), true).ws, "wss://localhost:80/");
    }
}
