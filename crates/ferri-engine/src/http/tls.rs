//! TLS with the certificates that the system trusts, and refusals in words.

use std::io;
use std::sync::{Arc, OnceLock};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig, Error, PeerIncompatible};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::dial::Place;
use super::link::innermost;
use super::{Fault, HttpError};

/// What TLS is spoken with. Reading the system's root certificates takes longer than everything else at the start of a process,
/// so that is left to the first address that needs them.
#[derive(Debug, Default)]
pub(super) struct Tls(OnceLock<Arc<ClientConfig>>);

impl Tls {
    /// With these instead of the system's root certificates.
    #[cfg(test)]
    pub(super) fn with(config: Arc<ClientConfig>) -> Self {
        Self(OnceLock::from(config))
    }

    /// Makes the connection one to `place` that cannot be read on the way.
    pub(super) async fn handshake(
        &self,
        place: &Place,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, HttpError> {
        let unseen = |text: String| HttpError::new(Fault::Unseen, text);
        let config = match self.0.get() {
            Some(config) => config,
            None => {
                let made = verified().map_err(|error| unseen(format!("cannot set up TLS: {error}")))?;
                // Two tasks may have made one at once; the first stays.
                self.0.get_or_init(|| Arc::new(made))
            }
        };
        let name = ServerName::try_from(place.name().to_owned())
            .map_err(|_| unseen("its name cannot stand in a certificate".to_owned()))?;
        let connector = TlsConnector::from(config.clone());
        connector.connect(name, stream).await.map_err(|error| unseen(words(&error, place.name())))
    }
}

fn verified() -> Result<ClientConfig, Error> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_platform_verifier()?
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// What went wrong, and what that means.
fn words(error: &io::Error, name: &str) -> String {
    let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof => "it hung up while TLS was set up".to_owned(),
            _ => format!("TLS could not be set up: {}", innermost(error)),
        };
    };
    match error {
        Error::InvalidCertificate(error) => certificate_words(error, name),
        Error::InvalidMessage(_) => {
            "it does not speak TLS; perhaps the address should begin with http://".to_owned()
        }
        Error::AlertReceived(alert) => format!("it refuses TLS with us: {alert:?}"),
        Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13) => {
            "it knows only versions of TLS that are not safe".to_owned()
        }
        Error::PeerIncompatible(_) => "it and we have no way of TLS in common".to_owned(),
        other => format!("TLS could not be set up: {other}"),
    }
}

fn certificate_words(error: &CertificateError, name: &str) -> String {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired, or the clock of this machine is wrong".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet, or the clock of this machine is wrong".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("its certificate is for another name, not for {name}")
        }
        CertificateError::UnknownIssuer => {
            "its certificate is signed by no authority that this machine trusts".to_owned()
        }
        CertificateError::Revoked => "its certificate was revoked".to_owned(),
        other => format!("its certificate is not accepted: {other}"),
    }
}
