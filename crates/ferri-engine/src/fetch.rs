//! Fetching a .torrent file over HTTP, or the magnet link that an indexer sends instead.

use std::net::IpAddr;
use std::sync::Arc;

use ferri_metainfo::display::redact_words;
use ferri_metainfo::limits::TORRENT_BYTES_MAX;
use ferri_metainfo::magnet::Magnet;
use hyper::StatusCode;

use crate::Error;
use crate::address_policy::Named;
use crate::egress::Egress;
use crate::feature::{Feature, NotBuilt};
use crate::fetch_error::FetchError;
use crate::http::{Answer, Ask, Fault, Http, HttpError};

/// What is behind an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched {
    /// Bytes, which should be those of a .torrent file.
    Torrent(Vec<u8>),
    /// The server redirects to this magnet link.
    Magnet(String),
}

/// Gets the .torrent file at `url`, connecting from `bind` when given. Limits: 64 MiB, 30 seconds, 5 redirects.
///
/// # Errors
/// [`Error::Fetch`] says why, and whether the name, the document or the network was missing.
pub async fn torrent(url: &str, bind: Option<IpAddr>) -> Result<Fetched, Error> {
    let answer = get(url, bind, TORRENT_BYTES_MAX).await?;
    if answer.status.is_success() {
        return Ok(Fetched::Torrent(answer.body));
    }
    if let Some(link) = answer.location.filter(|location| Magnet::is_meant(location)) {
        return Ok(Fetched::Magnet(link));
    }
    Err(refused(url, answer.status))
}

/// Gets what is at `url`, which the user named, of at most `limit` bytes, connecting from `bind` when given. Limits: 30 seconds,
/// 5 redirects.
///
/// # Errors
/// [`Error::Fetch`] says why, and whether the name, the document or the network was missing.
pub async fn document(url: &str, bind: Option<IpAddr>, limit: usize) -> Result<Vec<u8>, Error> {
    let answer = get(url, bind, limit).await?;
    if answer.status.is_success() { Ok(answer.body) } else { Err(refused(url, answer.status)) }
}

async fn get(url: &str, bind: Option<IpAddr>, limit: usize) -> Result<Answer, Error> {
    let ask = Ask { url, limit, named: Named::ByUser, family: None };
    let answer = Http::new(Arc::new(Egress::new(bind))).get(ask).await;
    answer.map_err(|HttpError { text, fault }| {
        let words = redact_words(&text, url);
        let reason = match fault {
            Fault::Name => FetchError::Name(words),
            Fault::NoWay | Fault::Unseen => FetchError::Unreachable(words),
            Fault::TimedOut => FetchError::TimedOut,
            Fault::TooLong => FetchError::TooLong(words),
            Fault::HungUp | Fault::Useless => FetchError::Useless(words),
            Fault::NoTls => FetchError::NotBuilt(NotBuilt(Feature::Tls)),
        };
        Error::Fetch { url: url.to_owned(), reason }
    })
}

fn refused(url: &str, status: StatusCode) -> Error {
    let status = status.as_u16();
    let reason = match status {
        404 | 410 => FetchError::NotFound { status },
        _ => FetchError::Status { status },
    };
    Error::Fetch { url: url.to_owned(), reason }
}
