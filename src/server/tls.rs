//! TLS: certificates, and the handshake.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{TlsAcceptor, rustls::crypto::ring};

/// The first byte of a TLS connection: a record of the handshake (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;

/// A certificate and its key, from files that can be read again.
#[derive(Debug)]
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    config: RwLock<Arc<ServerConfig>>,
}

/// Why TLS can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read, or is not what it should be.
    #[error("{}: {reason}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The key is not that of the certificate.
    #[error("the key in {} does not fit the certificate in {}: {reason}", .key.display(), .certificate.display())]
    Mismatch {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// What does not fit.
        reason: String,
    },
}

impl Tls {
    /// Reads a certificate, with those that vouch for it, and its key. Both are PEM.
    ///
    /// # Errors
    /// Where a file can't be read, or they do not belong together.
    pub fn open(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let config = RwLock::new(config(certificate, key)?);
        Ok(Tls { certificate: certificate.to_owned(), key: key.to_owned(), config })
    }

    /// Reads the files again, for connections that come from now on.
    ///
    /// # Errors
    /// As [`open`](Self::open); then what was read before goes on to be used.
    pub fn reload(&self) -> Result<(), TlsError> {
        let new = config(&self.certificate, &self.key)?;
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    /// Whether a connection begins as TLS does. Waits for its first byte.
    pub(super) async fn is_spoken(socket: &TcpStream) -> io::Result<bool> {
        let mut first = [0];
        Ok(socket.peek(&mut first).await? == 0 || first == [HANDSHAKE])
    }

    /// The handshake.
    pub(super) async fn accept(&self, socket: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let config = Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner));
        TlsAcceptor::from(config).accept(socket).await
    }
}

fn config(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let wrong = |path: &Path, reason: String| TlsError::File { path: path.to_owned(), reason };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|error| wrong(certificate, describe(error, "certificate")))?;
    if chain.is_empty() {
        return Err(wrong(certificate, "there is no certificate in it (PEM is expected)".into()));
    }
    let private =
        PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, describe(error, "private key")))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map(|builder| builder.with_no_client_auth())
        .and_then(|builder| builder.with_single_cert(chain, private))
        .map_err(|error| TlsError::Mismatch {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            reason: error.to_string(),
        })?;
    // WebSocket begins with HTTP/1.1.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn describe(error: rustls::pki_types::pem::Error, what: &str) -> String {
    use rustls::pki_types::pem::Error;
    match error {
        Error::NoItemsFound => format!("there is no {what} in it (PEM is expected)"),
        Error::Io(error) if error.kind() == io::ErrorKind::NotFound => "there is no such file".into(),
        Error::Io(error) => {
            let text = error.to_string();
            text.split(" (os error").next().unwrap_or(&text).to_lowercase()
        }
        error => format!("it can't be read as PEM: {error}"),
    }
}
