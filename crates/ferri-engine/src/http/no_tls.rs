//! A build without TLS: an address that needs it is asked nothing.

use tokio::net::TcpStream;

use super::HttpError;
use super::dial::Place;

/// What TLS would be spoken with.
#[derive(Debug, Default)]
pub(super) struct Tls(());

impl Tls {
    pub(super) async fn handshake(&self, _: &Place, _: TcpStream) -> Result<TcpStream, HttpError> {
        Err(HttpError::no_tls())
    }
}
