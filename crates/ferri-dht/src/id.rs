//! Ids of nodes: distance (BEP 5) and the tie between id and address (BEP 42).

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ferri_metainfo::InfoHash;

/// Bits in an id.
pub(crate) const BITS: usize = 160;

/// The id of a node, or a place in the space of ids: info hashes and keys of items lie in the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId([u8; 20]);

impl NodeId {
    /// The 20 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }

    /// How far apart two ids are: their exclusive or, as a number with the first byte foremost.
    #[must_use]
    pub fn distance(self, other: Self) -> Self {
        Self(std::array::from_fn(|at| self.0[at] ^ other.0[at]))
    }

    /// Leading bits that both have in common, 0 to 160.
    #[must_use]
    pub fn shared_prefix(self, other: Self) -> usize {
        let distance = self.distance(other).0;
        let zeros = distance.iter().take_while(|byte| **byte == 0).count();
        zeros * 8 + distance.get(zeros).map_or(0, |byte| byte.leading_zeros() as usize)
    }

    /// An id that belongs to `ip` (BEP 42), from 20 random bytes.
    #[must_use]
    pub fn for_address(ip: IpAddr, random: [u8; 20]) -> Self {
        let mut id = random;
        let [first, second, third, _] = prefix(ip, random[19]).to_be_bytes();
        id[0] = first;
        id[1] = second;
        id[2] = (third & PREFIX_MASK) | (random[2] & !PREFIX_MASK);
        Self(id)
    }

    /// The id belongs to `ip` (BEP 42). Any id does for addresses of local networks, which others cannot see.
    #[must_use]
    pub fn fits(self, ip: IpAddr) -> bool {
        if is_local(ip) {
            return true;
        }
        let [first, second, third, _] = prefix(ip, self.0[19]).to_be_bytes();
        self.0[0] == first && self.0[1] == second && (self.0[2] ^ third) & PREFIX_MASK == 0
    }

    /// An id that shares exactly the first `bits` bits with this one, or at least that many if `bits` is 160; the
    /// others come from 20 random bytes.
    pub(crate) fn sibling(self, bits: usize, random: [u8; 20]) -> Self {
        let mut id = random;
        for bit in 0..bits.min(BITS) {
            copy_bit(&mut id, &self.0, bit);
        }
        if bits < BITS {
            copy_bit(&mut id, &self.0, bits);
            id[bits / 8] ^= 0x80 >> (bits % 8);
        }
        Self(id)
    }

    /// The first 64 bits as a number, to reckon with distances.
    pub(crate) fn leading(self) -> u64 {
        self.leading_after(0)
    }

    /// The 64 bits behind the first `bits`; zeros follow the last one.
    pub(crate) fn leading_after(self, bits: usize) -> u64 {
        let mut bytes = [0; 9];
        let from = (bits / 8).min(self.0.len());
        let length = bytes.len().min(self.0.len() - from);
        bytes[..length].copy_from_slice(&self.0[from..from + length]);
        let (words, last) = bytes.split_at(8);
        let word = u64::from_be_bytes(words.try_into().expect("8 bytes"));
        match bits % 8 {
            0 => word,
            shift => word << shift | u64::from(last[0]) >> (8 - shift),
        }
    }
}

fn copy_bit(to: &mut [u8; 20], from: &[u8; 20], bit: usize) {
    let mask = 0x80 >> (bit % 8);
    to[bit / 8] = (to[bit / 8] & !mask) | (from[bit / 8] & mask);
}

/// Of the third byte of an id, BEP 42 fixes five bits: 21 in all.
const PREFIX_MASK: u8 = 0xf8;

/// What the first 21 bits of ids at `ip` are (BEP 42); `chance` is the last byte of the id.
fn prefix(ip: IpAddr, chance: u8) -> u32 {
    let chance = (chance & 7) << 5;
    match ip {
        IpAddr::V4(ip) => {
            let mut bytes = (u32::from(ip) & 0x030f_3fff).to_be_bytes();
            bytes[0] |= chance;
            crc32c(&bytes)
        }
        IpAddr::V6(ip) => {
            let high = (u128::from(ip) >> 64) as u64;
            let mut bytes = (high & 0x0103_070f_1f3f_7fff).to_be_bytes();
            bytes[0] |= chance;
            crc32c(&bytes)
        }
    }
}

/// CRC-32C (Castagnoli). Eight bytes at most, so that a table would be read more often from memory than it saves.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & 0u32.wrapping_sub(crc & 1));
        }
    }
    !crc
}

/// An address that says nothing about who has it: loopback, link-local and private networks. BEP 42 exempts the nodes
/// there.
pub(crate) fn is_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.is_loopback() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// Whether a node there can know nodes here: a node outside knows nothing about our local network, nor a neighbour
/// about this host, and would have us send to our own neighbours.
pub(crate) fn may_name(node: IpAddr, named: IpAddr) -> bool {
    // IPv4 in IPv6 notation is dialled as what it is.
    let (node, named) = (node.to_canonical(), named.to_canonical());
    if named.is_loopback() { node.is_loopback() } else { is_local(node) || !is_local(named) }
}

/// An address that a node can have. IPv4 in IPv6 notation would be the other network; no node has port 0.
pub(crate) fn is_node_address(addr: SocketAddr) -> bool {
    let ip_is_fine = match addr.ip() {
        IpAddr::V4(ip) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast(),
        IpAddr::V6(ip) => !ip.is_unspecified() && !ip.is_multicast() && ip.to_ipv4_mapped().is_none(),
    };
    ip_is_fine && addr.port() != 0
}

impl From<[u8; 20]> for NodeId {
    fn from(bytes: [u8; 20]) -> Self {
        Self(bytes)
    }
}

impl From<InfoHash> for NodeId {
    fn from(info_hash: InfoHash) -> Self {
        Self(*info_hash.as_bytes())
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({self})")
    }
}

impl FromStr for NodeId {
    type Err = NodeIdError;

    /// 40 hex digits of either case.
    fn from_str(text: &str) -> Result<Self, NodeIdError> {
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if pairs.len() != 20 || !rest.is_empty() {
            return Err(NodeIdError);
        }
        let mut id = [0; 20];
        for (byte, [high, low]) in id.iter_mut().zip(pairs) {
            *byte = hex_digit(*high)? << 4 | hex_digit(*low)?;
        }
        Ok(Self(id))
    }
}

fn hex_digit(digit: u8) -> Result<u8, NodeIdError> {
    let value = char::from(digit).to_digit(16).ok_or(NodeIdError)?;
    Ok(u8::try_from(value).expect("a hex digit is below 16"))
}

/// The text is not an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id is 40 hexadecimal digits")]
pub struct NodeIdError;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn check_vector(ip: &str, chance: u8, id: &str) {
        let ip: IpAddr = ip.parse().unwrap();
        let id: NodeId = id.parse().unwrap();
        assert_eq!(id.0[19], chance);
        assert!(id.fits(ip));
        assert_eq!(NodeId::for_address(ip, id.0), id);
        let mut other = id.0;
        other[1] ^= 1;
        assert!(!NodeId(other).fits(ip));
    }

    #[test]
    fn the_vectors_of_bep_42_come_out() {
        check_vector("124.31.75.21", 1, "5fbfbff10c5d6a4ec8a88e4c6ab4c28b95eee401");
        check_vector("21.75.31.124", 86, "5a3ce9c14e7a08645677bbd1cfe7d8f956d53256");
        check_vector("65.23.51.170", 22, "a5d43220bc8f112a3d426c84764f8c2a1150e616");
        check_vector("84.124.73.14", 65, "1b0321dd1bb1fe518101ceef99462b947a01ff41");
        check_vector("43.213.53.83", 90, "e56f6cbf5b7c4be0237986d5243b87aa6d51305a");
    }

    #[test]
    fn ids_for_an_address_fit_it_and_hardly_any_other() {
        for (n, ip) in ["2001:db8:1:2:3::4", "198.51.100.7"].iter().enumerate() {
            let ip: IpAddr = ip.parse().unwrap();
            let id = NodeId::for_address(ip, [n as u8 + 7; 20]);
            assert!(id.fits(ip));
            assert!(!id.fits("203.0.113.9".parse().unwrap()));
        }
        assert!(NodeId([0; 20]).fits("192.168.1.7".parse().unwrap()));
        assert!(NodeId([0; 20]).fits("fd00::1".parse().unwrap()));
    }

    #[test]
    fn prefixes_are_counted_in_bits() {
        let zero = NodeId([0; 20]);
        assert_eq!(zero.shared_prefix(zero), 160);
        for bits in [0, 1, 7, 8, 9, 100, 159] {
            assert_eq!(zero.sibling(bits, [0xff; 20]).shared_prefix(zero), bits);
            assert_eq!(NodeId([0xa5; 20]).sibling(bits, [0; 20]).shared_prefix(NodeId([0xa5; 20])), bits);
        }
        assert_eq!(NodeId([3; 20]).sibling(160, [0; 20]), NodeId([3; 20]));
    }

    #[test]
    fn bits_are_read_from_anywhere() {
        let id = NodeId(std::array::from_fn(|at| at as u8 + 1));
        assert_eq!(id.leading(), 0x0102_0304_0506_0708);
        assert_eq!(id.leading_after(4), 0x1020_3040_5060_7080);
        assert_eq!(id.leading_after(13), 0x0203_0405_0607_0809 << 5 | 0x0a >> 3);
        assert_eq!(id.leading_after(152), 20 << 56);
        assert_eq!(id.leading_after(160), 0);
    }

    #[test]
    fn text_is_40_hex_digits() {
        let id: NodeId = "0123456789abcdef0123456789ABCDEF01234567".parse().unwrap();
        assert_eq!(id.to_string(), "0123456789abcdef0123456789abcdef01234567");
        assert_eq!("01".parse::<NodeId>(), Err(NodeIdError));
        assert_eq!("zz23456789abcdef0123456789abcdef01234567".parse::<NodeId>(), Err(NodeIdError));
    }

    #[test]
    fn addresses_that_no_node_has_are_told_apart() {
        for addr in [
            "0.0.0.0:1",
            "224.0.0.1:1",
            "255.255.255.255:1",
            "1.2.3.4:0",
            "[::ffff:1.2.3.4]:1",
            "[ff02::1]:1",
        ] {
            assert!(!is_node_address(addr.parse().unwrap()), "{addr}");
        }
        for addr in ["127.0.0.1:1", "[fe80::1]:1", "8.8.8.8:53"] {
            assert!(is_node_address(addr.parse().unwrap()), "{addr}");
        }
    }

    #[test]
    fn who_is_outside_names_nobody_inside() {
        let check = |node: &str, named: &str, expected: bool| {
            assert_eq!(may_name(node.parse().unwrap(), named.parse().unwrap()), expected, "{node} {named}");
        };
        check("8.8.8.8", "9.9.9.9", true);
        check("8.8.8.8", "10.0.0.1", false);
        check("8.8.8.8", "127.0.0.1", false);
        check("2a00::1", "::ffff:127.0.0.1", false);
        check("2a00::1", "::ffff:10.0.0.1", false);
        check("10.0.0.1", "10.0.0.2", true);
        check("10.0.0.1", "8.8.8.8", true);
        check("10.0.0.1", "127.0.0.1", false);
        check("fe80::1", "::1", false);
        check("127.0.0.1", "127.0.0.2", true);
        check("::1", "::1", true);
    }
}
