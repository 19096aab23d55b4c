//! Who may connect: tokens, sites, and TLS.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tempfile::NamedTempFile;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::client::{Client, messages};
use crate::http::{ask, host};
use crate::program::{Server, fgplay, run};
use crate::recordings::{file, ticks};

const PROTOCOL: &str = "foxglove.websocket.v1";

fn start(count: u64, arguments: &[&str]) -> (NamedTempFile, Server) {
    let recording = ticks(count);
    let path = recording.path().to_str().unwrap().to_owned();
    let server = Server::start([path.as_str()].iter().chain(arguments));
    (recording, server)
}

/// The HTTP status with which a connection was refused.
fn status(result: Result<Client, tungstenite::Error>) -> Option<u16> {
    match result {
        Err(tungstenite::Error::Http(response)) => Some(response.status().as_u16()),
        Err(other) => panic!("{other}"),
        Ok(_) => None,
    }
}

#[tokio::test]
async fn without_the_token_nothing_is_told() {
    let secret = file("very secret\n");
    let (_recording, server) =
        start(20, &["-v", "--at-end", "exit", "--token-file", secret.path().to_str().unwrap()]);
    let url = &server.url;
    assert_eq!(status(Client::connect_as(url, PROTOCOL).await), Some(401));
    assert_eq!(status(Client::connect_as(&format!("{url}?token=very%20wrong"), PROTOCOL).await), Some(401));
    for path in
        ["/", "/api/state", "/api/recording", "/api/clients", "/api/density", "/api/events", "/metrics"]
    {
        let (status, headers, body) = ask(&server, "GET", path, &[], "");
        assert_eq!(status, 401, "{path}: {body}");
        assert!(headers.contains("www-authenticate: bearer"), "{headers}");
    }
    assert_eq!(ask(&server, "POST", "/api/pause", &[], "").0, 401);
    assert_eq!(ask(&server, "POST", "/api/pause?token=very", &[], "").0, 401);
    assert_eq!(ask(&server, "GET", "/healthz", &[], "").0, 200);
    assert_eq!(ask(&server, "GET", "/api/state?token=very%20secret", &[], "").0, 200);
    assert_eq!(ask(&server, "GET", "/", &[("Authorization", "Bearer very secret")], "").0, 200);
    let mut client = Client::connect_as(&format!("{url}?token=very%20secret"), PROTOCOL).await.unwrap();
    client.subscribe_to_all().await;
    assert_eq!(messages(&client.rest().await).len(), 21);
    let (code, stderr) = server.wait();
    assert_eq!(code, Some(0));
    assert!(!stderr.contains("very"), "{stderr}");
    assert!(stderr.contains("was refused: the token is wrong"), "{stderr}");
}

#[tokio::test]
async fn strangers_do_not_fill_the_log() {
    let (_recording, server) = start(1, &["--token", "very", "--at-end", "exit", "--rate", "max"]);
    for _ in 0..50 {
        assert_eq!(ask(&server, "GET", "/api/state", &[], "").0, 401);
    }
    let mut client = Client::connect(&format!("{}?token=very", server.url)).await;
    client.subscribe_to_all().await;
    client.rest().await;
    let (_, stderr) = server.wait();
    // Some of them, where the machine is slow.
    assert!((1..10).contains(&stderr.matches("was refused").count()), "{stderr}");
}

#[tokio::test]
async fn a_token_may_come_from_the_environment() {
    let recording = ticks(5);
    let mut command = fgplay([recording.path().to_str().unwrap(), "--help"]);
    let help = command.env("FGPLAY_TOKEN", "hidden").output().unwrap();
    assert!(!String::from_utf8(help.stdout).unwrap().contains("hidden"));
    let (_recording, server) = start(5, &["--token", "abc"]);
    assert_eq!(status(Client::connect_as(&server.url, PROTOCOL).await), Some(401));
    assert_eq!(status(Client::connect_as(&format!("{}?token=abc", server.url), PROTOCOL).await), None);
    let path = recording.path().to_str().unwrap();
    assert_eq!(run([path, "--token", " "]).0, Some(2));
    let (code, _, stderr) = run([path, "--token-file", "/no/such/file"]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("/no/such/file (--token-file)"), "{stderr}");
}

/// Connects as a page of a site does.
async fn from_site(server: &Server, origin: &str) -> Option<u16> {
    let mut request = server.url.as_str().into_client_request().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", PROTOCOL.parse().unwrap());
    request.headers_mut().insert("Origin", origin.parse().unwrap());
    let stream = tokio::net::TcpStream::connect(host(server)).await.unwrap();
    match tokio_tungstenite::client_async(request, stream).await {
        Ok(_) => None,
        Err(tungstenite::Error::Http(response)) => Some(response.status().as_u16()),
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn pages_of_other_sites_may_be_kept_out() {
    let (_recording, server) =
        start(5, &["--allow-origin", "https://app.foxglove.dev", "https://*.example.org"]);
    assert_eq!(from_site(&server, "https://app.foxglove.dev").await, None);
    assert_eq!(from_site(&server, "https://a.example.org").await, None);
    assert_eq!(from_site(&server, &format!("http://{}", host(&server))).await, None);
    assert_eq!(from_site(&server, "https://evil.example").await, Some(403));
    assert_eq!(status(Client::connect_as(&server.url, PROTOCOL).await), None, "it is no page");
    let (_recording, server) = start(5, &[]);
    assert_eq!(from_site(&server, "https://any.example").await, None);
    assert_eq!(run(["a.mcap", "--allow-origin", "https://[", "--port", "0"]).0, Some(1), "no such file");
}

/// A certificate for localhost, signed by itself, and its key, in files.
struct Certificate {
    certificate: NamedTempFile,
    key: NamedTempFile,
    der: CertificateDer<'static>,
}

fn certificate() -> Certificate {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    Certificate {
        certificate: file(made.cert.pem()),
        key: file(made.signing_key.serialize_pem()),
        der: made.cert.der().clone(),
    }
}

impl Certificate {
    fn arguments(&self) -> [&str; 4] {
        let [certificate, key] = [&self.certificate, &self.key].map(|file| file.path().to_str().unwrap());
        ["--tls-cert", certificate, "--tls-key", key]
    }
}

/// Connects with TLS, trusting this certificate only, takes everything, and gives how many messages and bytes of
/// them came.
async fn take_all(address: &str, trusted: &CertificateDer<'static>) -> std::io::Result<(usize, usize)> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = tokio::net::TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let mut request = "wss://localhost/".into_client_request().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", PROTOCOL.parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    let (mut count, mut bytes) = (0, 0);
    while let Some(Ok(message)) = socket.next().await {
        match message {
            Message::Text(text) => {
                let text: serde_json::Value = serde_json::from_str(&text).unwrap();
                if text["op"] == "advertise" {
                    let channels = text["channels"].as_array().unwrap().iter();
                    let wanted: Vec<_> = channels
                        .map(|channel| json!({"id": channel["id"], "channelId": channel["id"]}))
                        .collect();
                    let subscribe = json!({"op": "subscribe", "subscriptions": wanted}).to_string();
                    socket.send(Message::text(subscribe)).await.unwrap();
                }
            }
            Message::Binary(data) if data[0] == 1 => {
                count += 1;
                bytes += data.len() - 13;
            }
            _ => {}
        }
    }
    Ok((count, bytes))
}

#[tokio::test]
async fn tls_is_served_to_who_checks_the_certificate() {
    let made = certificate();
    let lines: String = (0..200u64)
        .map(|line| {
            let data = "x".repeat(if line % 2 == 0 { 300_000 } else { 10 });
            format!(
                "{{\"topic\": \"/a\", \"log_time\": {}, \"data\": {{\"x\": \"{data}\"}}}}\n",
                1_000 + line
            )
        })
        .collect();
    let recording = file(lines);
    let path = recording.path().to_str().unwrap();
    let mut arguments = vec![path, "--rate", "max", "--at-end", "exit"];
    arguments.extend(made.arguments());
    let server = Server::start(arguments);
    assert!(server.url.starts_with("wss://127.0.0.1:"), "{}", server.url);
    let address = server.url.trim_start_matches("wss://").trim_end_matches('/').to_owned();

    // Who trusts somebody else does not connect.
    assert!(take_all(&address, &certificate().der).await.is_err());
    // Who speaks no TLS is told so.
    let mut plain = TcpStream::connect(&address).unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = String::new();
    plain.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("wss://"), "{answer}");

    let (count, bytes) = take_all(&address, &made.der).await.unwrap();
    assert_eq!(count, 200);
    assert_eq!(bytes, 100 * (300_000 + 9) + 100 * (10 + 9));
    assert_eq!(server.wait().0, Some(0));
}

#[cfg(unix)]
#[tokio::test]
async fn a_new_certificate_is_taken_without_a_restart() {
    let (old, new) = (certificate(), certificate());
    let recording = ticks(5);
    let mut arguments = vec![recording.path().to_str().unwrap(), "--loop", "2", "--start-paused"];
    arguments.extend(old.arguments());
    let server = Server::start(arguments);
    let address = server.url.trim_start_matches("wss://").trim_end_matches('/').to_owned();
    let connects = async |der: &CertificateDer<'static>| {
        let mut roots = RootCertStore::empty();
        roots.add(der.clone()).unwrap();
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = tokio::net::TcpStream::connect(&address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.is_ok()
    };
    assert!(connects(&old.der).await);
    std::fs::write(old.certificate.path(), "no certificate").unwrap();
    server.signal("HUP");
    // A bad one changes nothing; it can't be seen from outside when it was looked at, so it is not waited for.
    assert!(connects(&old.der).await);
    std::fs::copy(&new.certificate, &old.certificate).unwrap();
    std::fs::copy(&new.key, &old.key).unwrap();
    server.signal("HUP");
    while !connects(&new.der).await {
        tokio::task::yield_now().await;
    }
    assert!(!connects(&old.der).await);
}

#[test]
fn files_that_are_no_certificate_are_named() {
    let (made, other) = (certificate(), certificate());
    let recording = ticks(5);
    let path = recording.path().to_str().unwrap();
    let [certificate, key, other] =
        [&made.certificate, &made.key, &other.key].map(|file| file.path().to_str().unwrap());
    for (certificate, key, words) in [
        ("/no/such/file", key, "/no/such/file: there is no such file"),
        (path, key, "there is no certificate in it"),
        (certificate, path, "there is no private key in it"),
        (certificate, other, "does not fit the certificate"),
    ] {
        let (code, _, stderr) = run([path, "--port", "0", "--tls-cert", certificate, "--tls-key", key]);
        assert_eq!(code, Some(1), "{stderr}");
        assert!(stderr.contains(words), "{stderr}");
    }
    assert_eq!(run([path, "--tls-cert", certificate]).0, Some(2));
}
