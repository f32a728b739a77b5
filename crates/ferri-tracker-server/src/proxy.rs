//! Reverse proxies that are believed when they say which client they ask for. No I/O.
//!
//! Only requests that come from their addresses may say so, and only in the one header that they are known to write: another one
//! may have been written by the client, which the proxy hands on as it came.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// Addresses with a common beginning: `10.0.0.0/8`, `2001:db8::/32`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    ip: IpAddr,
    bits: u8,
}

/// Why a text is no [`Cidr`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// No address before the slash.
    #[error("write an address, or a network such as 10.0.0.0/8")]
    Address,
    /// Not a number behind the slash, or too large a one.
    #[error("behind the slash stands a number of bits, at most 32 for IPv4 and 128 for IPv6")]
    Bits,
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let (ip, bits) = text.split_once('/').map_or((text, None), |(ip, bits)| (ip, Some(bits)));
        let ip: IpAddr = ip.parse().map_err(|_| CidrError::Address)?;
        let most = if ip.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), |bits| bits.parse().map_err(|_| CidrError::Bits))?;
        if most < bits {
            return Err(CidrError::Bits);
        }
        Ok(Self { ip, bits })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.bits)
    }
}

impl Cidr {
    fn contains(&self, ip: IpAddr) -> bool {
        match (self.ip, ip.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(ip)) => {
                let different = network.to_bits() ^ ip.to_bits();
                different.checked_shr(32 - u32::from(self.bits)).unwrap_or(0) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(ip)) => {
                let different = network.to_bits() ^ ip.to_bits();
                different.checked_shr(128 - u32::from(self.bits)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// The header in which proxies say which client they ask for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ProxyHeader {
    /// `X-Forwarded-For: CLIENT, PROXY`, where each adds the address it was asked from. nginx, Apache, HAProxy, Caddy,
    /// Traefik.
    #[default]
    XForwardedFor,
    /// `X-Real-IP: CLIENT`.
    XRealIp,
    /// `Forwarded: for=CLIENT;proto=https` (RFC 7239).
    Forwarded,
}

impl ProxyHeader {
    /// Its name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::XForwardedFor => "X-Forwarded-For",
            Self::XRealIp => "X-Real-IP",
            Self::Forwarded => "Forwarded",
        }
    }
}

/// The client that a proxy asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    At(IpAddr),
    /// The header is not there, or says nothing that can be read.
    Unknown,
}

/// The proxies that are believed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Proxies {
    networks: Vec<Cidr>,
    header: ProxyHeader,
}

impl Proxies {
    pub(crate) fn new(networks: Vec<Cidr>, header: ProxyHeader) -> Self {
        Self { networks, header }
    }

    pub(crate) fn trust(&self, ip: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(ip))
    }

    /// The header that says which client a request from `ip` is made for, if that may be said from there.
    pub(crate) fn header_for(&self, ip: IpAddr) -> Option<&'static str> {
        self.trust(ip).then(|| self.header.name())
    }

    /// The last address that is none of the proxies', since everything before it may be the client's invention. `values` are
    /// those of all headers of the name, the last one first.
    pub(crate) fn client<'a>(&self, values: impl Iterator<Item = &'a [u8]>) -> Client {
        let elements = values.flat_map(|value| value.rsplit(|byte| *byte == b','));
        let mut nearest = Client::Unknown;
        for element in elements.take(HOPS_MAX) {
            let Some(ip) = self.address(element) else { return nearest };
            if !self.trust(ip) {
                return Client::At(ip);
            }
            // If all are proxies, the request began at the first one.
            nearest = Client::At(ip);
        }
        nearest
    }

    fn address(&self, element: &[u8]) -> Option<IpAddr> {
        let text = std::str::from_utf8(element).ok()?.trim();
        if self.header != ProxyHeader::Forwarded {
            return address(text);
        }
        let pair = |part: &'_ str| {
            let (name, value) = part.split_once('=')?;
            name.trim().eq_ignore_ascii_case("for").then(|| address(value.trim().trim_matches('"')))
        };
        text.split(';').find_map(pair).flatten()
    }
}

/// Proxies in a row; beyond that the header is a joke.
const HOPS_MAX: usize = 16;

/// An address, with a port or without: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.split_once(']')).map(|(ip, _)| ip);
    let bare = bare.or_else(|| Some(text.split_once(':')?.0).filter(|_| text.matches(':').count() == 1));
    let ip: IpAddr = bare.unwrap_or(text).parse().ok()?;
    Some(ip.to_canonical())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_contains_what_begins_like_it() {
        let contains = |network: &str, ip: &str| cidr(network).contains(ip.parse().unwrap());
        assert!(contains("10.0.0.0/8", "10.255.1.2") && !contains("10.0.0.0/8", "11.0.0.0"));
        assert!(contains("10.1.2.3", "10.1.2.3") && !contains("10.1.2.3", "10.1.2.2"));
        assert!(contains("0.0.0.0/0", "1.2.3.4") && !contains("0.0.0.0/0", "::1"));
        assert!(contains("2001:db8::/32", "2001:db8:1::1") && !contains("2001:db8::/32", "2001:db9::1"));
        assert!(contains("::/0", "::1") && contains("127.0.0.1", "::ffff:127.0.0.1"));
        assert_eq!("10.0.0.0/33".parse::<Cidr>(), Err(CidrError::Bits));
        assert_eq!("host/8".parse::<Cidr>(), Err(CidrError::Address));
    }

    fn client(header: ProxyHeader, values: &[&str]) -> Option<String> {
        let proxies = Proxies::new(vec![cidr("127.0.0.0/8"), cidr("10.0.0.0/8")], header);
        match proxies.client(values.iter().rev().map(|value| value.as_bytes())) {
            Client::At(ip) => Some(ip.to_string()),
            Client::Unknown => None,
        }
    }

    fn check(header: ProxyHeader, values: &[&str], expected: &str) {
        assert_eq!(client(header, values).as_deref(), Some(expected), "{values:?}");
    }

    #[test]
    fn the_last_address_that_is_no_proxy_counts() {
        use ProxyHeader::{Forwarded, XForwardedFor, XRealIp};
        check(XForwardedFor, &["192.0.2.1"], "192.0.2.1");
        check(XForwardedFor, &["203.0.113.9, 192.0.2.1, 10.0.0.2"], "192.0.2.1");
        // What the client invented comes first, in the same header or in one of its own.
        check(XForwardedFor, &["10.9.9.9,192.0.2.1"], "192.0.2.1");
        check(XForwardedFor, &["198.51.100.7", "192.0.2.1", "10.0.0.2"], "192.0.2.1");
        check(XForwardedFor, &["nonsense, 192.0.2.1"], "192.0.2.1");
        check(XForwardedFor, &["10.0.0.3, 10.0.0.2"], "10.0.0.3");
        check(XForwardedFor, &["192.0.2.1:1234"], "192.0.2.1");
        check(XForwardedFor, &["[2001:db8::1]:1234"], "2001:db8::1");
        check(XForwardedFor, &["2001:db8::1"], "2001:db8::1");
        check(XForwardedFor, &["::ffff:192.0.2.1"], "192.0.2.1");
        check(XRealIp, &["192.0.2.1"], "192.0.2.1");
        check(Forwarded, &["for=198.51.100.7, For=\"[2001:db8::1]:80\";proto=https;by=x"], "2001:db8::1");
        check(Forwarded, &["proto=http;for=192.0.2.1"], "192.0.2.1");
    }

    #[test]
    fn a_proxy_that_does_not_say_for_whom_it_asks_is_noticed() {
        for values in [&["unknown"][..], &[""], &[], &["192.0.2.1, _hidden"]] {
            assert_eq!(client(ProxyHeader::XForwardedFor, values), None, "{values:?}");
        }
        assert_eq!(client(ProxyHeader::Forwarded, &["for=_secret"]), None);
        assert_eq!(client(ProxyHeader::Forwarded, &["by=192.0.2.1"]), None);
    }

    #[test]
    fn nobody_else_may_say_for_whom_he_asks() {
        let proxies = Proxies::new(vec![cidr("10.0.0.0/8")], ProxyHeader::default());
        assert_eq!(proxies.header_for([192, 0, 2, 1].into()), None);
        assert_eq!(proxies.header_for([10, 0, 0, 1].into()), Some("X-Forwarded-For"));
    }
}
