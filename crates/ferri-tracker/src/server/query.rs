//! The query of an announce or a scrape over HTTP ([BEP 3], [7], [23], [52]). Reads where the bytes are and allocates nothing.
//!
//! [BEP 3]: https://www.bittorrent.org/beps/bep_0003.html
//! [7]: https://www.bittorrent.org/beps/bep_0007.html
//! [23]: https://www.bittorrent.org/beps/bep_0023.html
//! [52]: https://www.bittorrent.org/beps/bep_0052.html

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ferri_metainfo::InfoHash;

use super::hashing::opaque_key;
use crate::announce::Event;
use crate::limits::SCRAPE_MAX;

/// Parameters looked at in one query: those of an announce several times over, or a full scrape.
const PARAMETERS_MAX: usize = 100;

/// Bytes of an address in a parameter: the longest IPv6 address in text.
const IP_BYTES_MAX: usize = 45;

/// What an announce over HTTP says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) info_hash: InfoHash,
    pub(super) peer_id: [u8; 20],
    pub(super) port: u16,
    /// `None` when it does not know yet.
    pub(super) left: Option<u64>,
    pub(super) event: Option<Event>,
    pub(super) numwant: Option<u32>,
    pub(super) key: u32,
    pub(super) ip: Option<IpAddr>,
    pub(super) ipv4: Option<Ipv4Addr>,
    pub(super) ipv6: Option<Ipv6Addr>,
    pub(super) form: Form,
}

/// How the asker wants peers written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// BEP 23 and BEP 7, the usual one.
    Compact,
    /// `compact=0`. Without peer ids, whether wanted or not: nothing uses them, and they would take more memory than all else
    /// that is known of a peer.
    Listed,
}

/// What is wrong with a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Missing(&'static str),
    Twice(&'static str),
    Length { name: &'static str, is: usize },
    Encoding(&'static str),
    Number(&'static str),
    Port,
    NoInfoHash,
    TooLong,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(name) => write!(f, "{name} is missing"),
            Self::Twice(name) => write!(f, "more than one {name}"),
            Self::Length { name, is } => write!(f, "{name} must be 20 bytes, not {is}"),
            Self::Encoding(name) => write!(f, "{name} is not percent-encoded properly"),
            Self::Number(name) => write!(f, "{name} must be a number"),
            Self::Port => f.write_str("port must be a number up to 65535"),
            Self::NoInfoHash => f.write_str("a scrape must name at least one info_hash"),
            Self::TooLong => f.write_str("the request is too long"),
        }
    }
}

impl Query {
    pub(super) fn parse(query: &[u8]) -> Result<Self, Fault> {
        let (mut info_hash, mut peer_id, mut port) = (None, None, None);
        let mut parsed = Self {
            info_hash: InfoHash::from([0; 20]),
            peer_id: [0; 20],
            port: 0,
            left: None,
            event: None,
            numwant: None,
            key: 0,
            ip: None,
            ipv4: None,
            ipv6: None,
            form: Form::Compact,
        };
        for (name, value) in parameters(query) {
            match name {
                b"info_hash" if info_hash.is_some() => return Err(Fault::Twice("info_hash")),
                b"info_hash" => info_hash = Some(parse_info_hash(value)?),
                b"peer_id" => peer_id = Some(twenty_bytes("peer_id", value)?),
                b"port" => {
                    port = Some(number(value).and_then(|port| port.try_into().ok()).ok_or(Fault::Port)?);
                }
                b"uploaded" => drop(amount("uploaded", value)?),
                b"downloaded" => drop(amount("downloaded", value)?),
                // A client that does not know yet says nothing, or -1.
                b"left" if value.is_empty() || value.starts_with(b"-") => {}
                b"left" => parsed.left = Some(amount("left", value)?),
                b"event" => parsed.event = Event::from_name(value),
                b"numwant" => {
                    parsed.numwant = number(value).map(|number| number.try_into().unwrap_or(u32::MAX));
                }
                b"key" => parsed.key = key(value)?,
                b"compact" if value == b"0" => parsed.form = Form::Listed,
                b"ip" => parsed.ip = address("ip", value)?,
                b"ipv4" => parsed.ipv4 = address("ipv4", value)?,
                b"ipv6" => parsed.ipv6 = address("ipv6", value)?,
                _ => {}
            }
        }
        parsed.info_hash = info_hash.ok_or(Fault::Missing("info_hash"))?;
        parsed.peer_id = peer_id.ok_or(Fault::Missing("peer_id"))?;
        parsed.port = port.ok_or(Fault::Missing("port"))?;
        Ok(parsed)
    }
}

/// The torrents that a scrape asks about.
#[derive(Debug)]
pub(super) struct Scraped {
    info_hashes: [InfoHash; SCRAPE_MAX],
    count: usize,
}

impl Scraped {
    /// Torrents beyond [`SCRAPE_MAX`] are left out.
    pub(super) fn parse(query: &[u8]) -> Result<Self, Fault> {
        let mut scraped = Self { info_hashes: [InfoHash::from([0; 20]); SCRAPE_MAX], count: 0 };
        for (name, value) in parameters(query) {
            if name == b"info_hash" && scraped.count < SCRAPE_MAX {
                scraped.info_hashes[scraped.count] = parse_info_hash(value)?;
                scraped.count += 1;
            }
        }
        if scraped.count == 0 {
            return Err(Fault::NoInfoHash);
        }
        // A dictionary has its keys in order.
        scraped.info_hashes[..scraped.count].sort_unstable();
        Ok(scraped)
    }

    /// Each once, in order.
    pub(super) fn info_hashes(&self) -> impl Iterator<Item = &InfoHash> {
        self.info_hashes[..self.count].chunk_by(|a, b| a == b).filter_map(|same| same.first())
    }
}

/// Names and values, still percent-encoded. A plus sign is a plus sign: queries of trackers are no forms.
fn parameters(query: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let parameters = query.split(|byte| *byte == b'&').filter(|part| !part.is_empty()).take(PARAMETERS_MAX);
    parameters.map(|part| match part.iter().position(|byte| *byte == b'=') {
        Some(at) => (&part[..at], &part[at + 1..]),
        None => (part, &[][..]),
    })
}

/// `None` for anything but digits. Saturates.
fn number(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = value.iter().map(|digit| u64::from(digit - b'0'));
    Some(digits.fold(0_u64, |number, digit| number.saturating_mul(10).saturating_add(digit)))
}

fn amount(name: &'static str, value: &[u8]) -> Result<u64, Fault> {
    number(value).ok_or(Fault::Number(name))
}

/// A key of eight hexadecimal digits is the number that the same client sends over UDP. Others are opaque.
fn key(value: &[u8]) -> Result<u32, Fault> {
    let mut digits = [0; 8];
    if decode("key", value, &mut digits)? == digits.len() && digits.iter().all(u8::is_ascii_hexdigit) {
        let number = std::str::from_utf8(&digits).ok().and_then(|text| u32::from_str_radix(text, 16).ok());
        return Ok(number.unwrap_or(0));
    }
    Ok(opaque_key(decoded(value).flatten()))
}

/// 20 bytes, or the 32 of a v2 torrent, of which trackers know the first 20 (BEP 52).
fn parse_info_hash(value: &[u8]) -> Result<InfoHash, Fault> {
    let mut bytes = [0; 32];
    match decode("info_hash", value, &mut bytes)? {
        20 | 32 => Ok(InfoHash::from(*bytes.first_chunk().expect("32 bytes begin with 20"))),
        is => Err(Fault::Length { name: "info_hash", is }),
    }
}

fn twenty_bytes(name: &'static str, value: &[u8]) -> Result<[u8; 20], Fault> {
    let mut bytes = [0; 20];
    match decode(name, value, &mut bytes)? {
        20 => Ok(bytes),
        is => Err(Fault::Length { name, is }),
    }
}

/// `None` for names of hosts and other text: those are not looked up.
fn address<T: std::str::FromStr>(name: &'static str, value: &[u8]) -> Result<Option<T>, Fault> {
    let mut bytes = [0; IP_BYTES_MAX];
    let length = decode(name, value, &mut bytes)?;
    let text = bytes.get(..length).and_then(|text| std::str::from_utf8(text).ok());
    Ok(text.and_then(|text| text.parse().ok()))
}

/// Undoes percent-encoding, and takes no half ones: an info hash read wrongly would be another torrent. Says how many bytes
/// there are, also when `out` has no room for all of them.
fn decode(name: &'static str, value: &[u8], out: &mut [u8]) -> Result<usize, Fault> {
    let mut length = 0;
    for byte in decoded(value) {
        let byte = byte.ok_or(Fault::Encoding(name))?;
        if let Some(place) = out.get_mut(length) {
            *place = byte;
        }
        length += 1;
    }
    Ok(length)
}

/// The bytes that are meant; `None` for a percent sign without two digits.
fn decoded(value: &[u8]) -> impl Iterator<Item = Option<u8>> {
    let mut rest = value;
    std::iter::from_fn(move || {
        let (&byte, behind) = rest.split_first()?;
        rest = behind;
        if byte != b'%' {
            return Some(Some(byte));
        }
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let meant = rest.split_first_chunk::<2>().and_then(|([high, low], behind)| {
            rest = behind;
            u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()
        });
        Some(meant)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const QUERY: &str = "info_hash=aaaaaaaaaaaaaaaaaaaa&peer_id=bbbbbbbbbbbbbbbbbbbb&port=6881";

    fn parse(more: &str) -> Query {
        Query::parse(format!("{QUERY}{more}").as_bytes()).unwrap()
    }

    #[test]
    fn odd_values_are_taken_as_they_are_meant() {
        let query = parse("&left=-1&numwant=-1&event=&ip=host&ipv6=%3A%3A1&ipv4=10.0.0.1&compact=");
        assert_eq!((query.left, query.numwant, query.event, query.ip), (None, None, None, None));
        assert_eq!((query.ipv6, query.ipv4), (Some(Ipv6Addr::LOCALHOST), Some([10, 0, 0, 1].into())));
        assert_eq!(query.form, Form::Compact);
        let query = parse("&left=&numwant=0&compact=0&event=completed&uploaded=148");
        assert_eq!((query.left, query.numwant, query.form), (None, Some(0), Form::Listed));
        assert_eq!(query.event, Some(Event::Completed));
        let plus = Query::parse(QUERY.replace("aaaaaaaaaaaaaaaaaaaa", "a+a%20aaaaaaaaaaaaaaa%Ff").as_bytes());
        assert_eq!(plus.unwrap().info_hash, InfoHash::from(*b"a+a aaaaaaaaaaaaaaa\xff"));
    }

    #[test]
    fn an_info_hash_of_32_bytes_is_known_by_its_first_20() {
        let query = QUERY.replace("aaaaaaaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaaaaaaabbbbbbbbbbbb");
        assert_eq!(Query::parse(query.as_bytes()).unwrap().info_hash, InfoHash::from([b'a'; 20]));
    }

    #[test]
    fn keys_are_opaque() {
        // The last bytes of its peer id, as aria2 sends them.
        let raw = parse("&key=%00%ff%80abcde").key;
        assert_ne!(raw, parse("&key=%00%ff%80abcdf").key);
        assert_eq!(raw, parse("&key=%00%FF%80abcde").key);
        assert_eq!(parse("&key=0102aaBB").key, 0x0102_aabb);
        assert_ne!(parse("&key=1").key, parse("&key=01").key);
        assert_ne!(parse("&key=secret!").key, 0);
    }

    #[test]
    fn a_scrape_asks_about_each_torrent_once_in_order() {
        let hash = |byte: char| format!("info_hash={}", byte.to_string().repeat(20));
        let query = format!("{}&x=y&{}&{}", hash('c'), hash('a'), hash('c'));
        let scraped = Scraped::parse(query.as_bytes()).unwrap();
        let expected = [InfoHash::from([b'a'; 20]), InfoHash::from([b'c'; 20])];
        assert_eq!(scraped.info_hashes().copied().collect::<Vec<_>>(), expected);
        let many = vec![hash('z'); PARAMETERS_MAX + 9].join("&");
        assert_eq!(Scraped::parse(many.as_bytes()).unwrap().count, SCRAPE_MAX);
    }
}
