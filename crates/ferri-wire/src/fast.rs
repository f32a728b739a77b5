//! The pieces that a choked peer may ask for all the same ([BEP 6]): which they are follows from its address.
//!
//! Sending and honouring them is the swarm's business.
//!
//! [BEP 6]: https://www.bittorrent.org/beps/bep_0006.html

use std::net::IpAddr;

use ferri_metainfo::InfoHash;

/// The largest set that is made. BEP 6 proposes 10; far more would be a second way to unchoke.
pub const ALLOWED_FAST_MAX: usize = 64;

/// The allowed fast set of the peer at `ip`, in the order of BEP 6, without duplicates.
///
/// `count` is how many pieces are wanted; there are fewer when the torrent has fewer, and never more than
/// [`ALLOWED_FAST_MAX`]. BEP 6 knows only IPv4; for IPv6 the network part (64 bits) stands for the address.
pub fn allowed_fast_set(ip: IpAddr, info_hash: &InfoHash, piece_count: u32, count: usize) -> Vec<u32> {
    let count = count.min(ALLOWED_FAST_MAX);
    if piece_count as usize <= count {
        // Also what the loop below would find in the end, in another order.
        return (0..piece_count).collect();
    }
    let mut seed = match ip.to_canonical() {
        // BEP 6: three bytes, so that a peer with many addresses of a network has one set.
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            vec![a, b, c, 0]
        }
        IpAddr::V6(ip) => ip.octets()[..8].to_vec(),
    };
    seed.extend_from_slice(info_hash.as_bytes());
    let mut hash = ferri_hash::sha1(&seed);
    let mut set = Vec::with_capacity(count);
    loop {
        for number in hash.chunks_exact(4) {
            if set.len() == count {
                return set;
            }
            let piece = u32::from_be_bytes([number[0], number[1], number[2], number[3]]) % piece_count;
            if !set.contains(&piece) {
                set.push(piece);
            }
        }
        hash = ferri_hash::sha1(&hash);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const EXAMPLE: [u32; 9] = [1059, 431, 808, 1217, 287, 376, 1188, 353, 508];

    fn set(ip: &str, piece_count: u32, count: usize) -> Vec<u32> {
        allowed_fast_set(ip.parse().unwrap(), &InfoHash::from([0xaa; 20]), piece_count, count)
    }

    #[test]
    fn the_example_of_bep_6_comes_out() {
        assert_eq!(set("80.4.4.200", 1313, 7), &EXAMPLE[..7]);
        assert_eq!(set("80.4.4.200", 1313, 9), EXAMPLE);
    }

    #[test]
    fn neighbours_have_the_same_set() {
        assert_eq!(set("80.4.4.1", 1313, 9), EXAMPLE);
        assert_eq!(set("::ffff:80.4.4.1", 1313, 9), EXAMPLE);
        assert_ne!(set("80.4.5.1", 1313, 9), EXAMPLE);
        assert_eq!(set("2001:db8::1", 1313, 9), set("2001:db8::2", 1313, 9));
    }

    #[test]
    fn a_small_torrent_has_a_small_set() {
        assert!(set("80.4.4.200", 0, 10).is_empty());
        assert_eq!(set("80.4.4.200", 3, 10), [0, 1, 2]);
        assert!(set("80.4.4.200", 1313, 0).is_empty());
    }

    #[test]
    fn the_set_is_bounded_and_found_even_in_the_smallest_torrent_that_is_larger() {
        assert_eq!(set("80.4.4.200", u32::MAX, usize::MAX).len(), ALLOWED_FAST_MAX);
        let mut nearly_all = set("80.4.4.200", 65, 64);
        nearly_all.sort_unstable();
        nearly_all.dedup();
        assert_eq!(nearly_all.len(), 64);
    }
}
