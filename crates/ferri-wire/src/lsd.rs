//! Local service discovery ([BEP 14]): who on this network has which torrents, said to a multicast group.
//!
//! One datagram, in the dress of an HTTP request, names a port and some info hashes. Bytes in, an announce out, and the
//! way back; when to send and which senders to believe is not decided here.
//!
//! [BEP 14]: https://www.bittorrent.org/beps/bep_0014.html

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ferri_metainfo::InfoHash;

/// The group of IPv4 (BEP 14, "Protocol").
pub const GROUP_V4: Ipv4Addr = Ipv4Addr::new(239, 192, 152, 143);
/// The group of IPv6.
pub const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff15, 0, 0, 0, 0, 0, 0xefc0, 0x988f);
/// The port of both groups.
pub const PORT: u16 = 6771;

/// No datagram is longer, so that none is cut into fragments (BEP 14, "Protocol"); bytes.
pub const PACKET_MAX: usize = 1400;
/// As many info hashes as fit a datagram of [`PACKET_MAX`] whose other headers are as long as they can be.
pub const INFO_HASHES_MAX: usize = 24;
/// A longer cookie is left out of what is read, and must not be written; bytes.
pub const COOKIE_MAX: usize = 64;

const REQUEST: &str = "BT-SEARCH * HTTP/1.1";

/// What one datagram says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announce {
    /// Where the sender takes connections, at the address the datagram came from. Never 0.
    pub port: u16,
    /// The torrents it has; at least one, at most [`INFO_HASHES_MAX`].
    pub info_hashes: Vec<InfoHash>,
    /// Whatever the sender recognizes its own datagrams by; printable ASCII, at most [`COOKIE_MAX`] bytes.
    pub cookie: Option<String>,
}

/// Why a datagram is no announce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LsdError {
    /// Longer than [`PACKET_MAX`].
    #[error("a datagram of {0} bytes")]
    TooLong(usize),
    /// Something other than text.
    #[error("not ASCII text")]
    NotText,
    /// Another protocol, as SSDP is, whose groups may be shared.
    #[error("not a BT-SEARCH request")]
    NotSearch,
    /// The port is missing, twice there, or no port.
    #[error("no port")]
    Port,
    /// Nothing is announced, or something that is no info hash.
    #[error("no info hash")]
    InfoHash,
}

impl Announce {
    /// Reads a datagram. Headers that are not known are passed over (BEP 14), and so are info hashes beyond
    /// [`INFO_HASHES_MAX`].
    ///
    /// # Errors
    /// [`LsdError`]; the sender does not speak the protocol, or does not speak it well.
    pub fn decode(datagram: &[u8]) -> Result<Self, LsdError> {
        if PACKET_MAX < datagram.len() {
            return Err(LsdError::TooLong(datagram.len()));
        }
        let text = std::str::from_utf8(datagram).ok().filter(|text| text.is_ascii());
        let mut lines = text.ok_or(LsdError::NotText)?.split('\n').map(str::trim);
        if !lines.next().is_some_and(|line| line.eq_ignore_ascii_case(REQUEST)) {
            return Err(LsdError::NotSearch);
        }
        let (mut port, mut info_hashes, mut cookie) = (None, Vec::new(), None);
        for (name, value) in lines.take_while(|line| !line.is_empty()).filter_map(|line| line.split_once(':'))
        {
            let (name, value) = (name.trim(), value.trim());
            if name.eq_ignore_ascii_case("Port") {
                let number = value.parse().ok().filter(|port| *port != 0);
                if port.is_some() || number.is_none() {
                    return Err(LsdError::Port);
                }
                port = number;
            } else if name.eq_ignore_ascii_case("Infohash") {
                if info_hashes.len() < INFO_HASHES_MAX {
                    info_hashes.push(info_hash(value)?);
                }
            } else if name.eq_ignore_ascii_case("cookie") {
                cookie = Some(value).filter(|cookie| is_cookie(cookie)).map(str::to_owned);
            }
        }
        if info_hashes.is_empty() {
            return Err(LsdError::InfoHash);
        }
        Ok(Self { port: port.ok_or(LsdError::Port)?, info_hashes, cookie })
    }

    /// The datagram for one of the groups.
    ///
    /// # Panics
    /// When a field is not as its documentation says: that is an error of the caller's.
    pub fn encode(&self, group: IpAddr) -> Vec<u8> {
        assert!(self.port != 0, "nobody listens on port 0");
        assert!((1..=INFO_HASHES_MAX).contains(&self.info_hashes.len()), "the caller cuts its list");
        let mut text =
            format!("{REQUEST}\r\nHost: {}\r\nPort: {}\r\n", SocketAddr::new(group, PORT), self.port);
        for info_hash in &self.info_hashes {
            write!(text, "Infohash: {info_hash}\r\n").expect("memory takes any text");
        }
        if let Some(cookie) = &self.cookie {
            assert!(is_cookie(cookie), "a cookie is short and printable");
            write!(text, "cookie: {cookie}\r\n").expect("memory takes any text");
        }
        text.push_str("\r\n\r\n");
        assert!(text.len() <= PACKET_MAX, "INFO_HASHES_MAX of them fit");
        text.into_bytes()
    }
}

/// 40 hex digits; the base32 of magnet links is no form of it here.
fn info_hash(text: &str) -> Result<InfoHash, LsdError> {
    if text.len() != 40 {
        return Err(LsdError::InfoHash);
    }
    text.parse().map_err(|_| LsdError::InfoHash)
}

fn is_cookie(text: &str) -> bool {
    text.len() <= COOKIE_MAX && text.trim() == text && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const HASH: &str = "0123456789abcdef0123456789abcdef01234567";

    fn announce(count: usize) -> Announce {
        Announce {
            port: 65535,
            info_hashes: (0..count).map(|n| InfoHash::from([n as u8; 20])).collect(),
            cookie: Some("c".repeat(COOKIE_MAX)),
        }
    }

    fn check(lines: &[&str], expected: Result<(u16, usize, Option<&str>), LsdError>) {
        let text = format!("{}\r\n\r\n\r\n", lines.join("\r\n"));
        let read = Announce::decode(text.as_bytes());
        let found = read.as_ref().map(|read| (read.port, read.info_hashes.len(), read.cookie.as_deref()));
        assert_eq!(found.map_err(|error| *error), expected, "{lines:?}");
    }

    #[test]
    fn an_announce_is_written_as_the_bep_has_it() {
        let one =
            Announce { port: 6881, info_hashes: vec![HASH.parse().unwrap()], cookie: Some("x1".into()) };
        let text = "BT-SEARCH * HTTP/1.1\r\nHost: 239.192.152.143:6771\r\nPort: 6881\r\n\
                    Infohash: 0123456789abcdef0123456789abcdef01234567\r\ncookie: x1\r\n\r\n\r\n";
        assert_eq!(String::from_utf8(one.encode(GROUP_V4.into())).unwrap(), text);
        let v6 = String::from_utf8(one.encode(GROUP_V6.into())).unwrap();
        assert!(v6.contains("\r\nHost: [ff15::efc0:988f]:6771\r\n"), "{v6}");
        assert_eq!(Announce::decode(v6.as_bytes()), Ok(one));
    }

    #[test]
    fn as_many_info_hashes_as_allowed_fit_a_datagram_and_one_more_might_not() {
        for group in [IpAddr::from(GROUP_V4), GROUP_V6.into()] {
            let datagram = announce(INFO_HASHES_MAX).encode(group);
            assert!(datagram.len() <= PACKET_MAX);
            assert_eq!(Announce::decode(&datagram), Ok(announce(INFO_HASHES_MAX)));
        }
        let line = "Infohash: \r\n".len() + 40;
        assert!(PACKET_MAX < announce(INFO_HASHES_MAX).encode(GROUP_V6.into()).len() + line);
    }

    #[test]
    fn names_of_headers_come_in_any_case_and_order_and_unknown_ones_are_passed_over() {
        let hash = format!("iNFOHASH:{HASH}");
        check(&["bt-search * http/1.1", &hash, "X-New: thing", "no header", "PORT: 7"], Ok((7, 1, None)));
        let upper = format!("Infohash: {}", HASH.to_uppercase());
        check(&["BT-SEARCH * HTTP/1.1", "Port: 1", &upper, "cookie: a b"], Ok((1, 1, Some("a b"))));
        let bare = format!("BT-SEARCH * HTTP/1.1\nPort: 1\nInfohash: {HASH}");
        assert!(Announce::decode(bare.as_bytes()).is_ok());
    }

    #[test]
    fn what_is_no_announce_is_refused_and_said_why() {
        let hash = format!("Infohash: {HASH}");
        check(&["M-SEARCH * HTTP/1.1", "Port: 1", &hash], Err(LsdError::NotSearch));
        check(&["BT-SEARCH * HTTP/1.1", &hash], Err(LsdError::Port));
        for port in ["Port: 0", "Port: 65536", "Port: -1", "Port:", "Port: 1\r\nPort: 2"] {
            check(&["BT-SEARCH * HTTP/1.1", port, &hash], Err(LsdError::Port));
        }
        check(&["BT-SEARCH * HTTP/1.1", "Port: 1"], Err(LsdError::InfoHash));
        let base32 = "Infohash: ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        for hash in ["Infohash: 00", base32, &format!("{hash}0"), &hash.replace('0', "g")] {
            check(&["BT-SEARCH * HTTP/1.1", "Port: 1", hash], Err(LsdError::InfoHash));
        }
        assert_eq!(Announce::decode(b"BT-SEARCH * HTTP/1.1\r\n\xff"), Err(LsdError::NotText));
        assert_eq!(Announce::decode(&[b'B'; 1401]), Err(LsdError::TooLong(1401)));
        assert_eq!(Announce::decode(b""), Err(LsdError::NotSearch));
    }

    #[test]
    fn too_many_info_hashes_are_cut_and_a_cookie_that_is_too_long_is_none() {
        let hashes = format!("Infohash: {HASH}\n").repeat(25);
        let text = format!("BT-SEARCH * HTTP/1.1\nPort: 1\n{hashes}\n");
        assert_eq!(Announce::decode(text.as_bytes()).unwrap().info_hashes.len(), INFO_HASHES_MAX);
        let cookie = format!("cookie: {}", "c".repeat(COOKIE_MAX + 1));
        check(&["BT-SEARCH * HTTP/1.1", "Port: 1", &format!("Infohash: {HASH}"), &cookie], Ok((1, 1, None)));
    }
}
