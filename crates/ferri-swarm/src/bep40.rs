//! Canonical peer priority ([BEP 40]): a number that both ends of a connection compute alike. So connections are spread
//! evenly over a swarm, and an attacker cannot choose them. And the CRC32-C it needs.
//!
//! [BEP 40]: https://www.bittorrent.org/beps/bep_0040.html

use std::net::{IpAddr, SocketAddr};

/// The priority of a connection between two addresses; the higher, the better. 0 for addresses of different families.
pub(crate) fn priority(a: SocketAddr, b: SocketAddr) -> u32 {
    match (a.ip().to_canonical(), b.ip().to_canonical()) {
        (x, y) if x == y => {
            let (low, high) = (a.port().min(b.port()), a.port().max(b.port()));
            crc32c(&[low.to_be_bytes(), high.to_be_bytes()].concat())
        }
        (IpAddr::V4(x), IpAddr::V4(y)) => of_octets(&x.octets(), &y.octets(), 2),
        (IpAddr::V6(x), IpAddr::V6(y)) => of_octets(&x.octets(), &y.octets(), 6),
        _ => 0,
    }
}

/// Keeps the first `whole` bytes, one more for each of the following that both share, and every other bit of the rest:
/// one who owns a whole network cannot pick among many priorities.
fn of_octets(a: &[u8], b: &[u8], whole: usize) -> u32 {
    let shared = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let kept = if shared < whole { whole } else { shared + 1 };
    let mask = |octets: &[u8]| -> Vec<u8> {
        octets.iter().enumerate().map(|(i, octet)| if i < kept { *octet } else { octet & 0x55 }).collect()
    };
    let (x, y) = (mask(a), mask(b));
    crc32c(&if x < y { [x, y] } else { [y, x] }.concat())
}

/// CRC with the Castagnoli polynomial. Bit by bit: it sees 32 bytes at most, when an address is learned.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (POLYNOMIAL & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

/// Castagnoli's polynomial, lowest bit first.
const POLYNOMIAL: u32 = 0x82f6_3b78;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn check(a: &str, b: &str, expected: u32) {
        let (a, b) = (a.parse().unwrap(), b.parse().unwrap());
        assert_eq!(priority(a, b), expected, "{a} {b}");
        assert_eq!(priority(b, a), expected, "{b} {a}");
    }

    #[test]
    fn the_check_value_of_crc32c() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn the_examples_of_bep_40() {
        check("123.213.32.10:1", "98.76.54.32:2", 0xec2d_7224);
        check("123.213.32.10:1", "123.213.32.234:2", 0x9956_8189);
    }

    #[test]
    fn each_shared_network_keeps_one_more_byte() {
        check("10.1.2.3:1", "10.1.9.4:1", crc32c(&[10, 1, 2, 1, 10, 1, 9, 4]));
        check("10.1.2.3:1", "10.2.9.4:1", crc32c(&[10, 1, 0, 1, 10, 2, 1, 4]));
    }

    #[test]
    fn the_same_address_goes_by_ports() {
        check("10.1.2.3:6881", "10.1.2.3:80", crc32c(&[0, 80, 0x1a, 0xe1]));
    }

    #[test]
    fn version_six_addresses_start_from_six_bytes() {
        let a = [0x20, 1, 0xd, 0xb8, 0, 1, 5, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let b = [0x20, 1, 0xd, 0xb8, 0, 1, 0x45, 0, 0, 0, 0, 0, 0, 0, 0, 4];
        check("[2001:db8:1:500::1]:1", "[2001:db8:1:4500::4]:1", crc32c(&[a, b].concat()));
        check("[2001:db8::1]:1", "1.2.3.4:1", 0);
    }
}
