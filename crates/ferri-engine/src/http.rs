//! The HTTP clients, and reading from it without trusting the server.
//!
//! A tracker or a web server may be slow, dead, endless, compressed a thousandfold or a circle of redirects: it
//! costs at most [`TIMEOUT`] and the caller's limit of bytes, counted after decompression. TLS is verified; nothing
//! here can turn that off. Proxies from the environment are not used, since they would carry traffic elsewhere
//! than the user bound it to.

use std::net::IpAddr;
use std::sync::OnceLock;
use std::time::Duration;

use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, ClientBuilder, Response, StatusCode, Url};

/// From the first packet to the last byte.
const TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Connections kept for the next announce of another torrent, for as long as below.
const IDLE_PER_HOST: usize = 8;
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);
const REDIRECTS_MAX: usize = 5;

/// What a server is told that asks who we are.
pub const USER_AGENT: &str = concat!("ferriswarm/", env!("CARGO_PKG_VERSION"));

/// Why a document did not arrive.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(crate) struct HttpError {
    pub(crate) text: String,
    /// The name did not resolve.
    pub(crate) dns: bool,
    /// The server cannot have seen the request.
    pub(crate) unseen: bool,
    /// The deadline passed.
    pub(crate) timeout: bool,
    /// The body went on beyond the limit.
    pub(crate) too_long: bool,
}

impl HttpError {
    fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), dns: false, unseen: false, timeout: false, too_long: false }
    }
}

/// What asks servers. Reading the system's root certificates takes longer than everything else at the start of a
/// process, so that is left to the first address that needs them.
#[derive(Debug)]
pub(crate) struct Http {
    bind: Option<IpAddr>,
    plain: OnceLock<Client>,
    verified: OnceLock<Client>,
}

impl Http {
    /// Connects from `bind`, when given.
    pub(crate) fn new(bind: Option<IpAddr>) -> Self {
        Self { bind, plain: OnceLock::new(), verified: OnceLock::new() }
    }

    /// Gets `url`: the status and at most `limit` bytes of the body, whatever the status.
    pub(crate) async fn get(&self, url: &str, limit: usize) -> Result<(StatusCode, Vec<u8>), HttpError> {
        let url =
            Url::parse(url).map_err(|error| HttpError::new(format!("not a usable address: {error}")))?;
        let mut response = match url.scheme() {
            "http" => send(self.plain()?, &url).await?,
            "https" => send(self.verified()?, &url).await?,
            other => {
                return Err(HttpError::new(format!("addresses of the kind {other}: cannot be fetched")));
            }
        };
        if url.scheme() == "http" && response.status().is_redirection() {
            // Only a hop to https is not followed by the plain client.
            response = send(self.verified()?, &url).await?;
        }
        Ok((response.status(), read_body(response, limit).await?))
    }

    /// For http alone: it trusts no certificate.
    fn plain(&self) -> Result<&Client, HttpError> {
        let stop_at_tls = |attempt: Attempt<'_>| match attempt.url().scheme() {
            "https" => attempt.stop(),
            _ => follow(attempt),
        };
        made(&self.plain, || self.builder().tls_certs_only([]).redirect(Policy::custom(stop_at_tls)))
    }

    fn verified(&self) -> Result<&Client, HttpError> {
        made(&self.verified, || self.builder().redirect(Policy::custom(follow)))
    }

    fn builder(&self) -> ClientBuilder {
        Client::builder()
            .user_agent(USER_AGENT)
            .no_proxy()
            .timeout(TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(IDLE_PER_HOST)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .http1_only()
            .http1_ignore_invalid_headers_in_responses(true)
            .http1_allow_spaces_after_header_name_in_responses(true)
            .local_address(self.bind)
    }
}

fn made(cell: &OnceLock<Client>, builder: impl FnOnce() -> ClientBuilder) -> Result<&Client, HttpError> {
    if let Some(client) = cell.get() {
        return Ok(client);
    }
    let client = builder().build();
    let client = client.map_err(|error| HttpError::new(format!("cannot set up HTTP: {}", cause(&error))))?;
    // Two tasks may have made one at once; the first stays.
    Ok(cell.get_or_init(|| client))
}

async fn send(client: &Client, url: &Url) -> Result<Response, HttpError> {
    client.get(url.clone()).send().await.map_err(|error| describe(&error))
}

async fn read_body(mut response: Response, limit: usize) -> Result<Vec<u8>, HttpError> {
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await.map_err(|error| describe(&error))? {
        if limit < body.len() + part.len() {
            let text = format!("the answer is longer than {} KiB", limit >> 10);
            return Err(HttpError { too_long: true, ..HttpError::new(text) });
        }
        body.extend_from_slice(&part);
    }
    Ok(body)
}

/// At most five hops, never from a public server to this machine or its network.
fn follow(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    if REDIRECTS_MAX < attempt.previous().len() {
        return attempt.error("too many redirects");
    }
    let from_local = attempt.previous().last().is_some_and(is_local);
    if !from_local && is_local(attempt.url()) {
        return attempt.error("the server redirects into the local network");
    }
    attempt.follow()
}

fn is_local(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return true };
    match host.trim_start_matches('[').trim_end_matches(']').parse() {
        Ok(IpAddr::V4(ip)) => {
            ip.is_loopback()
                || ip.is_private()
                || ip.is_link_local()
                || ip.is_unspecified()
                || ip.is_broadcast()
        }
        Ok(IpAddr::V6(ip)) => match ip.to_ipv4_mapped() {
            Some(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local() || ip.is_unspecified(),
            None => {
                ip.is_loopback() || ip.is_unspecified() || ip.is_unique_local() || ip.is_unicast_link_local()
            }
        },
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

fn describe(error: &reqwest::Error) -> HttpError {
    let text = cause(error);
    let dns = text.contains("dns error") || text.contains("failed to lookup");
    let text = if error.is_timeout() {
        "no answer in time".to_owned()
    } else if dns {
        "the server's name does not resolve".to_owned()
    } else {
        text
    };
    let unseen = error.is_connect() || error.is_builder();
    HttpError { dns, unseen, timeout: error.is_timeout() && !unseen, ..HttpError::new(text) }
}

/// The innermost cause: the outer ones repeat the address, which may hold a passkey.
fn cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn addresses_of_this_machine_and_its_network_are_local() {
        for url in [
            "http://127.0.0.1/",
            "http://127.1.2.3:80/",
            "http://localhost/",
            "http://a.localhost/",
            "http://10.0.0.1/",
            "http://192.168.1.1/",
            "http://169.254.169.254/latest",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[fe80::1]/",
            "http://[fc00::1]/",
            "http://0.0.0.0/",
            "http://2130706433/",
            "http://0x7f000001/",
            "http://0177.0.0.1/",
        ] {
            assert!(is_local(&Url::parse(url).unwrap()), "{url}");
        }
        for url in
            ["http://example.org/", "http://8.8.8.8/", "http://[2001:db8::1]/", "http://localhost.example/"]
        {
            assert!(!is_local(&Url::parse(url).unwrap()), "{url}");
        }
    }
}
