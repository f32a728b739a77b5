//! The filters that count a swarm (BEP 33).

use std::fmt;
use std::net::IpAddr;

use ferri_hash::sha1;

/// A set of addresses in 256 bytes, of which only the size can be told, and unions made.
#[derive(Clone, PartialEq, Eq)]
pub struct Bloom([u8; 256]);

/// Bits in a filter.
const BITS: usize = 2_048;

impl Bloom {
    /// No address.
    #[must_use]
    pub fn new() -> Self {
        Self([0; 256])
    }

    /// The bytes that go over the wire.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 256] {
        &self.0
    }

    /// Adds an address.
    pub fn insert(&mut self, ip: IpAddr) {
        for bit in places(ip) {
            self.0[bit / 8] |= 1 << (bit % 8);
        }
    }

    /// The address was added, or others that set the same bits.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        places(ip).iter().all(|bit| self.0[bit / 8] & (1 << (bit % 8)) != 0)
    }

    /// Adds all addresses of another filter.
    pub fn union(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(ours, theirs)| *ours |= theirs);
    }

    /// How many addresses were probably added. Good to a few per cent up to 6,000, useless beyond 8,000.
    #[must_use]
    pub fn estimate(&self) -> f64 {
        let zeros: u32 = self.0.iter().map(|byte| byte.count_zeros()).sum();
        let bits = BITS as f64;
        // BEP 33: c = min(m - 1, zero bits). A full filter counts as one with a single free bit, so that the
        // logarithm is finite.
        let zeros = f64::from(zeros).clamp(1.0, bits - 1.0);
        if self.0 == [0; 256] {
            return 0.0;
        }
        (zeros / bits).ln() / (2.0 * (1.0 - 1.0 / bits).ln())
    }
}

fn places(ip: IpAddr) -> [usize; 2] {
    let hash = match ip {
        IpAddr::V4(ip) => sha1(&ip.octets()),
        IpAddr::V6(ip) => sha1(&ip.octets()),
    };
    let place = |at: usize| usize::from(u16::from_le_bytes([hash[at], hash[at + 1]])) % BITS;
    [place(0), place(2)]
}

impl Default for Bloom {
    fn default() -> Self {
        Self::new()
    }
}

impl From<[u8; 256]> for Bloom {
    fn from(bytes: [u8; 256]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for Bloom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bloom(about {:.0})", self.estimate())
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    const VECTOR: &str = "F6C3F5EAA07FFD91BDE89F777F26FB2BFF37BDB8FB2BBAA2FD3DDDE7BACFFF75EE7CCBAE\
        FE5EEDB1FBFAFF67F6ABFF5E43DDBCA3FD9B9FFDF4FFD3E9DFF12D1BDF59DB53DBE9FA5B\
        7FF3B8FDFCDE1AFB8BEDD7BE2F3EE71EBBBFE93BCDEEFE148246C2BC5DBFF7E7EFDCF24F\
        D8DC7ADFFD8FFFDFDDFFF7A4BBEEDF5CB95CE81FC7FCFF1FF4FFFFDFE5F7FDCBB7FD79B3\
        FA1FC77BFE07FFF905B7B7FFC7FEFEFFE0B8370BB0CD3F5B7F2BD93FEB4386CFDD6F7FD5\
        BFAF2E9EBFFFFEECD67ADBF7C67F17EFD5D75EBA6FFEBA7FFF47A91EB1BFBB53E8ABFB57\
        62ABE8FF237279BFEFBFEEF5FFC5FEBFDFE5ADFFADFEE1FB737FFFFBFD9F6AEFFEEE76B6\
        FD8F72EF";

    #[test]
    fn the_vector_of_bep_33_comes_out() {
        let mut bloom = Bloom::new();
        for last in 0..=255 {
            bloom.insert(Ipv4Addr::new(192, 0, 2, last).into());
        }
        for last in 0..=0x3e7 {
            bloom.insert(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last).into());
        }
        let text: String = bloom.as_bytes().iter().map(|byte| format!("{byte:02X}")).collect();
        assert_eq!(text, VECTOR);
        assert!((bloom.estimate() - 1224.9308).abs() < 0.0001, "{}", bloom.estimate());
        assert!(bloom.contains(Ipv4Addr::new(192, 0, 2, 77).into()));
    }

    #[test]
    fn empty_and_full_filters_have_a_size() {
        assert!(Bloom::new().estimate().abs() < f64::EPSILON);
        let full = Bloom::from([0xff; 256]);
        assert!(full.estimate().is_finite());
        let mut one = Bloom::new();
        one.insert(Ipv4Addr::LOCALHOST.into());
        assert_eq!(one.estimate().round(), 1.0);
        let mut union = Bloom::new();
        union.union(&one);
        assert_eq!(union, one);
    }
}
