//! The certificate for HTTPS, which can be read again while connections go on.

use std::fmt;
use std::io::BufReader;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, version};

use crate::lists::Stamp;
use crate::plain::open_plain;

/// Where the certificate is.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The certificate and those that lead to a root, in PEM, the server's own first.
    pub certificate: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
}

/// A certificate in use.
pub(crate) struct Certificate {
    files: TlsFiles,
    stamps: RwLock<[Option<Stamp>; 2]>,
    shown: RwLock<Arc<CertifiedKey>>,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Certificate {
    pub(crate) fn read(files: TlsFiles) -> Result<Self, String> {
        let stamps = RwLock::new(stamps(&files));
        let shown = RwLock::new(Arc::new(load(&files)?));
        Ok(Self { files, stamps, shown })
    }

    /// Whether its files are others than were read last, and seem not to be written to.
    pub(crate) fn is_changed(&self, calendar: SystemTime) -> bool {
        let stamps = stamps(&self.files);
        let is_settled = stamps.iter().flatten().all(|stamp| stamp.is_settled(calendar));
        is_settled && *self.stamps.read().unwrap_or_else(PoisonError::into_inner) != stamps
    }

    /// Reads it again. The old one stays when that fails.
    pub(crate) fn read_again(&self) -> Result<(), String> {
        *self.stamps.write().unwrap_or_else(PoisonError::into_inner) = stamps(&self.files);
        let loaded = Arc::new(load(&self.files)?);
        *self.shown.write().unwrap_or_else(PoisonError::into_inner) = loaded;
        Ok(())
    }
}

/// How connections with this certificate begin.
pub(crate) fn config(certificate: Arc<Certificate>) -> Result<Arc<ServerConfig>, String> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.shown.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

fn stamps(files: &TlsFiles) -> [Option<Stamp>; 2] {
    [Stamp::of(&files.certificate), Stamp::of(&files.key)]
}

fn load(files: &TlsFiles) -> Result<CertifiedKey, String> {
    let (certificate, key) = (files.certificate.display(), files.key.display());
    let file = open_plain(&files.certificate)
        .map_err(|error| format!("cannot read the certificate {certificate}: {error}"))?;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_reader_iter(BufReader::new(file))
        .collect::<Result<_, _>>()
        .map_err(|error| format!("cannot read the certificate {certificate}: {error}"))?;
    if chain.is_empty() {
        return Err(format!("{certificate} holds no certificate in PEM"));
    }
    let file =
        open_plain(&files.key).map_err(|error| format!("cannot read the private key {key}: {error}"))?;
    let secret = PrivateKeyDer::from_pem_reader(BufReader::new(file))
        .map_err(|error| format!("cannot read the private key {key}: {error}"))?;
    let provider = aws_lc_rs::default_provider();
    CertifiedKey::from_der(chain, secret, &provider).map_err(|error| {
        format!("the certificate {certificate} and the key {key} cannot be used together: {error}")
    })
}
