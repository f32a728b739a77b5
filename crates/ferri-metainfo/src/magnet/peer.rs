//! The address of a peer in a magnet link (`x.pe`, BEP 9). Names are kept as they are: resolving them is I/O.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// Where a peer listens. The port is never zero.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerAddress {
    /// An address that can be dialled as it is.
    Socket(SocketAddr),
    /// A host name (letters, digits, `-`, `_` and dots, at most 253 bytes) and a port.
    Host {
        /// The name, in lower case.
        name: String,
        /// The TCP and uTP port.
        port: u16,
    },
}

/// Says only that it was not one; the magnet's error says what should have been there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an address and a port")]
pub struct PeerAddressError;

impl FromStr for PeerAddress {
    type Err = PeerAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (host, port) = text.rsplit_once(':').ok_or(PeerAddressError)?;
        if !port.bytes().all(|b| b.is_ascii_digit()) {
            return Err(PeerAddressError);
        }
        let port: u16 = port.parse().map_err(|_| PeerAddressError)?;
        if port == 0 {
            return Err(PeerAddressError);
        }
        if let Some(v6) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            let ip = v6.parse().map_err(|_| PeerAddressError)?;
            return Ok(Self::Socket(SocketAddr::new(IpAddr::V6(ip), port)));
        }
        if let Ok(v4) = host.parse() {
            return Ok(Self::Socket(SocketAddr::new(IpAddr::V4(v4), port)));
        }
        let name_is_possible = !host.is_empty()
            && host.len() <= HOST_BYTES_MAX
            && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
            // Digits and dots that are no IPv4 address are a slip of the pen, and resolvers read them in odd ways.
            && host.bytes().any(|b| b.is_ascii_alphabetic());
        name_is_possible.then(|| Self::Host { name: host.to_ascii_lowercase(), port }).ok_or(PeerAddressError)
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(address) => address.fmt(f),
            Self::Host { name, port } => write!(f, "{name}:{port}"),
        }
    }
}

/// The DNS limit.
const HOST_BYTES_MAX: usize = 253;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_three_forms_are_read_and_printed() {
        for text in ["192.0.2.1:6881", "[2001:db8::1]:1", "peer.example:65535", "a-b_c:80"] {
            assert_eq!(text.parse::<PeerAddress>().unwrap().to_string(), text);
        }
        assert_eq!("Peer.Example:80".parse::<PeerAddress>().unwrap().to_string(), "peer.example:80");
        assert!(matches!("[::1]:5".parse(), Ok(PeerAddress::Socket(_))));
        assert!(matches!("host:5".parse(), Ok(PeerAddress::Host { .. })));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            ":",
            "host",
            "host:",
            ":80",
            "host:0",
            "host:65536",
            "host:+80",
            "host:-1",
            "host:8 0",
            "2001:db8::1:80",
            "[::1]",
            "[::1:80",
            "[1.2.3.4]:80",
            "1.2.3:80",
            "256.1.1.1:80",
            "ho st:80",
            "höst:80",
            "a/b:80",
            "\u{202e}a:80",
        ] {
            assert_eq!(text.parse::<PeerAddress>(), Err(PeerAddressError), "{text}");
        }
    }
}
