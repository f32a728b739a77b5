//! The parts of a tracker's URL that we need: how it is spoken to, and for UDP where.
//!
//! Not a URL library: HTTP URLs go on to the HTTP client, which has one. What stands in torrents is often not quite a
//! URL, so the original text is kept and only looked at.

use std::net::IpAddr;

use crate::announce::TrackerError;
use crate::limits::URL_BYTES_MAX;

/// How a tracker is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// HTTP or HTTPS (BEP 3).
    Http,
    /// UDP (BEP 15).
    Udp,
}

impl Transport {
    /// The transport of a URL.
    ///
    /// # Errors
    /// [`TrackerError::BadUrl`] for other schemes, and for text that is no URL, is too long or holds control
    /// characters.
    pub fn of(url: &str) -> Result<Self, TrackerError> {
        parts(url).map(|parts| parts.transport)
    }
}

/// Where a UDP tracker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UdpTarget {
    /// A name or an address, an IPv6 address without its brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Path and query, for BEP 41. Empty when the URL has neither.
    pub url_data: Vec<u8>,
}

impl UdpTarget {
    /// Reads a `udp://` URL.
    ///
    /// # Errors
    /// [`TrackerError::BadUrl`] for other URLs, and those without a host or a port: UDP has no usual one.
    pub fn parse(url: &str) -> Result<Self, TrackerError> {
        let parts = parts(url)?;
        if parts.transport != Transport::Udp {
            return Err(bad("not a udp:// URL"));
        }
        let (host, port) = match parts.authority.strip_prefix('[') {
            Some(rest) => rest.split_once("]:"),
            None => parts.authority.rsplit_once(':').filter(|(host, _)| !host.contains(':')),
        }
        .ok_or_else(|| bad("a UDP tracker needs a port"))?;
        // Only digits: `parse` would take a sign.
        let port =
            port.parse().ok().filter(|&number| number != 0 && port.bytes().all(|byte| byte.is_ascii_digit()));
        let port = port.ok_or_else(|| bad("the port must be between 1 and 65535"))?;
        if host.is_empty() {
            return Err(bad("it names no host"));
        }
        Ok(Self { host: host.to_owned(), port, url_data: parts.path_and_query.as_bytes().to_vec() })
    }
}

/// Host and port of a tracker's URL, as they stand there and without user name and password. `None` for what is no URL
/// of a tracker.
pub fn authority(url: &str) -> Option<&str> {
    parts(url).ok().map(|parts| parts.authority)
}

/// The address that a tracker's URL names itself, without a name to be looked up.
pub fn literal_ip(url: &str) -> Option<IpAddr> {
    let authority = authority(url)?;
    match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0.parse().ok().map(IpAddr::V6),
        None => authority.split(':').next()?.parse().ok().map(IpAddr::V4),
    }
}

pub(crate) struct Parts<'a> {
    pub(crate) transport: Transport,
    /// Host and port, without user name and password.
    pub(crate) authority: &'a str,
    /// Without the fragment. May be empty.
    pub(crate) path_and_query: &'a str,
    /// All but the fragment.
    pub(crate) whole: &'a str,
}

pub(crate) fn parts(url: &str) -> Result<Parts<'_>, TrackerError> {
    if URL_BYTES_MAX < url.len() {
        return Err(bad("it is too long"));
    }
    // A line break here would otherwise be dropped in silence by the HTTP client, or split a log line.
    if url.contains(|c: char| c.is_control() || c == ' ') {
        return Err(bad("it contains blanks or control characters"));
    }
    let (scheme, _) = url.split_once("://").ok_or_else(|| bad("it has no scheme such as http://"))?;
    let transport = match scheme.to_ascii_lowercase().as_str() {
        "http" | "https" => Transport::Http,
        "udp" => Transport::Udp,
        "ws" | "wss" => return Err(bad("WebTorrent trackers are not supported")),
        _ => return Err(bad("only http, https and udp trackers are supported")),
    };
    let (whole, _) = url.split_once('#').unwrap_or((url, ""));
    let rest = whole.get(scheme.len() + 3..).unwrap_or("");
    let path_at = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path_and_query) = rest.split_at(path_at);
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if authority.is_empty() || authority.starts_with(':') {
        return Err(bad("it names no host"));
    }
    Ok(Parts { transport, authority, path_and_query, whole })
}

fn bad(why: &str) -> TrackerError {
    TrackerError::BadUrl { why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn check_target(url: &str, host: &str, port: u16, url_data: &str) {
        let expected = UdpTarget { host: host.to_owned(), port, url_data: url_data.as_bytes().to_vec() };
        assert_eq!(UdpTarget::parse(url), Ok(expected), "{url}");
    }

    #[test]
    fn udp_urls_are_taken_apart() {
        check_target("udp://tracker.example.com:80/dir?a=b&c=d", "tracker.example.com", 80, "/dir?a=b&c=d");
        check_target("UDP://tracker.example.com:6969", "tracker.example.com", 6969, "");
        check_target("udp://[2001:db8::1]:6969/announce#top", "2001:db8::1", 6969, "/announce");
        check_target("udp://user@192.0.2.1:1?key", "192.0.2.1", 1, "?key");
    }

    fn check_bad(url: &str) {
        assert!(matches!(UdpTarget::parse(url), Err(TrackerError::BadUrl { .. })), "{url}");
    }

    #[test]
    fn urls_that_cannot_be_meant_are_refused() {
        check_bad("");
        check_bad("udp://");
        check_bad("udp://tracker.example.com");
        check_bad("udp://tracker.example.com:");
        check_bad("udp://tracker.example.com:0");
        check_bad("udp://tracker.example.com:+80");
        check_bad("udp://tracker.example.com:65536");
        check_bad("udp://:80");
        check_bad("udp://2001:db8::1:80");
        check_bad("udp://[]:80");
        check_bad("udp://[::1]");
        check_bad("udp://a b:80");
        check_bad("udp#://a:80");
        check_bad("http://tracker.example.com:80");
        check_bad(&format!("udp://a:80/{}", "x".repeat(URL_BYTES_MAX)));
    }

    #[test]
    fn addresses_are_told_from_names() {
        let literal = |url| literal_ip(url).map(|ip| ip.to_string());
        assert_eq!(literal("http://192.0.2.1/announce").as_deref(), Some("192.0.2.1"));
        assert_eq!(literal("udp://me@192.0.2.1:80").as_deref(), Some("192.0.2.1"));
        assert_eq!(literal("https://[2001:db8::1]:80/").as_deref(), Some("2001:db8::1"));
        for url in ["http://tracker.example/", "http://192.0.2.1.example/", "http://[::1/", "x"] {
            assert_eq!(literal(url), None, "{url}");
        }
    }

    #[test]
    fn schemes_are_told_apart() {
        assert_eq!(Transport::of("http://a/announce"), Ok(Transport::Http));
        assert_eq!(Transport::of("HTTPS://a/announce"), Ok(Transport::Http));
        assert_eq!(Transport::of("udp://a:1"), Ok(Transport::Udp));
        for url in
            ["wss://a/announce", "file:///etc/passwd", "dht://", "announce", "http:///x", "http://a\n/x"]
        {
            assert!(Transport::of(url).is_err(), "{url}");
        }
    }
}
