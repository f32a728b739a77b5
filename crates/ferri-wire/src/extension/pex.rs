//! Addresses of other peers ([BEP 11]): the payloads of `ut_pex` messages.
//!
//! Each list is a string of fixed-size entries, with a string of flags beside those that were added. What is taken from one
//! message is bounded; whether the addresses make sense is for those who would dial them.
//!
//! [BEP 11]: https://www.bittorrent.org/beps/bep_0011.html

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ferri_bencode::{Dict, Document, Encoder};

use super::{Error, UT_PEX};

/// Addresses that are written into one message, added and dropped each, and taken from each of its lists (BEP 11: 50).
pub const PEX_ENTRIES_MAX: usize = 50;

/// The longest payload, in bytes: all lists with 200 entries, which is what the first message of some programs comes to.
pub const PEX_PAYLOAD_MAX: usize = 16 << 10;

/// What a peer says about another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PexFlags(u8);

impl PexFlags {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// It prefers encrypted connections.
    pub const PREFERS_ENCRYPTION: Self = Self(0x01);
    /// It has everything, or wants nothing more.
    pub const SEED: Self = Self(0x02);
    /// It speaks uTP.
    pub const UTP: Self = Self(0x04);
    /// It takes part in hole punching (BEP 55).
    pub const HOLEPUNCH: Self = Self(0x08);
    /// The sender has dialled it, so it can be reached.
    pub const REACHABLE: Self = Self(0x10);

    /// Whether all of `flags` are set.
    pub const fn has(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// These and those.
    #[must_use]
    pub const fn with(self, flags: Self) -> Self {
        Self(self.0 | flags.0)
    }

    /// The byte as it is sent. Bits unknown to us are kept.
    pub const fn bits(self) -> u8 {
        self.0
    }
}

impl From<u8> for PexFlags {
    fn from(bits: u8) -> Self {
        Self(bits)
    }
}

/// The payload of a `ut_pex` message: peers that the sender got to know since the last one, and peers that it lost.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pex {
    /// New ones, IPv4 before IPv6.
    pub added: Vec<(SocketAddr, PexFlags)>,
    /// Gone ones, IPv4 before IPv6.
    pub dropped: Vec<SocketAddr>,
}

impl Pex {
    /// The payload that is sent, of the first [`PEX_ENTRIES_MAX`] in each list.
    pub fn encode(&self) -> Vec<u8> {
        let added = &self.added[..self.added.len().min(PEX_ENTRIES_MAX)];
        let dropped = &self.dropped[..self.dropped.len().min(PEX_ENTRIES_MAX)];
        let (mut v4, mut v6) = (Compact::default(), Compact::default());
        for (addr, flags) in added {
            let list = if addr.is_ipv4() { &mut v4 } else { &mut v6 };
            put(&mut list.added, *addr);
            list.flags.push(flags.bits());
        }
        for addr in dropped {
            put(if addr.is_ipv4() { &mut v4.dropped } else { &mut v6.dropped }, *addr);
        }
        let mut out = Encoder::new();
        out.begin_dict();
        // The lists of IPv4 are there even when they are empty: old programs look for them.
        out.key(b"added").bytes(&v4.added);
        out.key(b"added.f").bytes(&v4.flags);
        if !v6.added.is_empty() {
            out.key(b"added6").bytes(&v6.added);
            out.key(b"added6.f").bytes(&v6.flags);
        }
        out.key(b"dropped").bytes(&v4.dropped);
        if !v6.dropped.is_empty() {
            out.key(b"dropped6").bytes(&v6.dropped);
        }
        out.end();
        out.into_bytes()
    }

    /// Reads a payload. At most [`PEX_ENTRIES_MAX`] of each list are taken; entries without a port are left out, flags of the
    /// wrong number overlooked.
    ///
    /// # Errors
    /// It is too long, not a bencoded dictionary, or a list does not consist of whole entries.
    pub fn decode(payload: &[u8]) -> Result<Self, Error> {
        if PEX_PAYLOAD_MAX < payload.len() {
            let (message, length) = (UT_PEX, payload.len());
            return Err(Error::MessageTooLong { message, length, limit: PEX_PAYLOAD_MAX });
        }
        let (document, _) = Document::parse_prefix(payload)?;
        let root = document.root().as_dict().ok_or(Error::NotADictionary)?;
        let mut pex = Self::default();
        for (list, flags, read) in [
            (&b"added"[..], &b"added.f"[..], entries::<6> as Reader),
            (b"added6", b"added6.f", entries::<18>),
        ] {
            let addrs = read(root, list)?;
            let flags = root.get(flags).and_then(|flags| flags.as_bytes());
            for (at, addr) in addrs {
                let bits = flags.and_then(|flags| flags.get(at)).copied().unwrap_or(0);
                pex.added.push((addr, bits.into()));
            }
        }
        for (list, read) in [(&b"dropped"[..], entries::<6> as Reader), (b"dropped6", entries::<18>)] {
            pex.dropped.extend(read(root, list)?.into_iter().map(|(_, addr)| addr));
        }
        Ok(pex)
    }
}

/// Lists of one address family on their way out.
#[derive(Default)]
struct Compact {
    added: Vec<u8>,
    flags: Vec<u8>,
    dropped: Vec<u8>,
}

fn put(out: &mut Vec<u8>, addr: SocketAddr) {
    match addr.ip() {
        IpAddr::V4(ip) => out.extend(ip.octets()),
        IpAddr::V6(ip) => out.extend(ip.octets()),
    }
    out.extend(addr.port().to_be_bytes());
}

/// Addresses and their places in the list.
type Reader = fn(Dict<'_>, &[u8]) -> Result<Vec<(usize, SocketAddr)>, Error>;

/// The entries of one list, each of `N` bytes: an address and a port.
fn entries<const N: usize>(root: Dict<'_>, name: &[u8]) -> Result<Vec<(usize, SocketAddr)>, Error> {
    let bytes = root.get(name).and_then(|list| list.as_bytes()).unwrap_or_default();
    let (entries, rest) = bytes.as_chunks::<N>();
    if !rest.is_empty() {
        let (length, expected) = (bytes.len(), entries.len() * N);
        return Err(Error::WrongLength { message: UT_PEX, length, expected });
    }
    Ok(entries
        .iter()
        .take(PEX_ENTRIES_MAX)
        .enumerate()
        .filter_map(|(at, entry)| Some((at, addr(entry)?)))
        .collect())
}

fn addr(entry: &[u8]) -> Option<SocketAddr> {
    let (ip, port) = entry.split_last_chunk::<2>()?;
    let ip = match <[u8; 4]>::try_from(ip) {
        Ok(v4) => IpAddr::V4(Ipv4Addr::from(v4)),
        Err(_) => Ipv6Addr::from(<[u8; 16]>::try_from(ip).ok()?).to_canonical(),
    };
    let port = u16::from_be_bytes(*port);
    (port != 0).then(|| SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn v4(n: u8) -> SocketAddr {
        ([10, 0, 0, n], 6881).into()
    }

    fn v6(n: u16) -> SocketAddr {
        ([0x2001, 0xdb8, 0, 0, 0, 0, 0, n], 6881).into()
    }

    #[test]
    fn both_families_are_written_in_order_and_read_back() {
        let pex = Pex {
            added: vec![
                (v4(1), PexFlags::SEED.with(PexFlags::REACHABLE)),
                (v4(2), PexFlags::NONE),
                (v6(1), PexFlags::UTP),
            ],
            dropped: vec![v4(3), v6(2)],
        };
        let bytes = pex.encode();
        Document::parse(&bytes).unwrap();
        assert_eq!(Pex::decode(&bytes), Ok(pex));
        assert_eq!(Pex::default().encode(), b"d5:added0:7:added.f0:7:dropped0:e");
    }

    #[test]
    fn flags_are_bits() {
        let flags = PexFlags::from(0x12);
        assert!(flags.has(PexFlags::SEED) && flags.has(PexFlags::REACHABLE) && !flags.has(PexFlags::UTP));
        assert_eq!(PexFlags::PREFERS_ENCRYPTION.with(PexFlags::HOLEPUNCH).bits(), 9);
    }

    #[test]
    fn lists_of_broken_entries_are_refused() {
        for bytes in [
            &b"d5:added5:\0\0\0\0\0e"[..],
            b"d7:dropped1:xe",
            b"d6:added66:\x0a\0\0\x01\x1a\xe1e",
            b"le",
            b"",
        ] {
            assert!(Pex::decode(bytes).is_err(), "{}", bytes.escape_ascii());
        }
        assert!(matches!(Pex::decode(&vec![b'd'; PEX_PAYLOAD_MAX + 1]), Err(Error::MessageTooLong { .. })));
    }

    #[test]
    fn missing_lists_wrong_flags_and_ports_of_zero_are_overlooked() {
        assert_eq!(Pex::decode(b"de"), Ok(Pex::default()));
        let got =
            Pex::decode(b"d5:added12:\x0a\0\0\x01\0\0\x0a\0\0\x02\x1a\xe17:added.f2:\x01\x02e").unwrap();
        assert_eq!(got.added, [(v4(2), PexFlags::SEED)]);
        let got = Pex::decode(b"d5:added6:\x0a\0\0\x02\x1a\xe17:added.f0:e").unwrap();
        assert_eq!(got.added, [(v4(2), PexFlags::NONE)]);
    }

    #[test]
    fn no_more_than_fifty_of_a_list_are_written_or_taken() {
        let many = |count: u8| (0..count).map(|n| (v4(n), PexFlags::NONE)).collect::<Vec<_>>();
        let pex = Pex { added: many(200), dropped: (0..200).map(v4).collect() };
        let got = Pex::decode(&pex.encode()).unwrap();
        assert_eq!((got.added.len(), got.dropped.len()), (50, 50));
        let mut out = Encoder::new();
        out.begin_dict().key(b"added").bytes(&[7; 6 * 200]).end();
        assert_eq!(Pex::decode(out.as_bytes()).unwrap().added.len(), 50);
    }
}
