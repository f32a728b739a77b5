//! Fetching a .torrent file over HTTP.

use std::net::IpAddr;

use ferri_metainfo::limits::TORRENT_BYTES_MAX;

use crate::Error;
use crate::http::Http;

/// Gets the .torrent file at `url`, connecting from `bind` when given. Limits: 64 MiB, 30 seconds, 5 redirects.
///
/// # Errors
/// [`Error::Fetch`] says why, and whether the name, the document or the network was missing.
pub async fn torrent(url: &str, bind: Option<IpAddr>) -> Result<Vec<u8>, Error> {
    let failed =
        |reason: String, dns, not_found| Error::Fetch { url: url.to_owned(), reason, dns, not_found };
    let (status, body) = Http::new(bind)
        .get(url, TORRENT_BYTES_MAX)
        .await
        .map_err(|error| failed(error.text, error.dns, false))?;
    if status.is_success() {
        return Ok(body);
    }
    Err(failed(format!("the server answered {status}"), false, matches!(status.as_u16(), 404 | 410)))
}
