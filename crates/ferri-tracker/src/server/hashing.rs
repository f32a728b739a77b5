//! Keyed hashes for tables, fast enough for every announce.
//!
//! Clients choose info hashes and addresses, so tables are keyed: without the key no client can make entries collide.

/// Multiplies into 128 bits and folds them: each bit of the result depends on all bits of both factors.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product >> 64) as u64 ^ product as u64
}

/// The key of one registry's tables.
#[derive(Clone, Copy, Debug)]
pub(super) struct TableKey([u64; 4]);

impl TableKey {
    /// From four random numbers. Odd factors lose nothing in a product.
    pub(super) fn new(numbers: [u64; 4]) -> Self {
        let [a, b, c, d] = numbers;
        Self([a, b | 1, c, d | 1])
    }

    /// For tests, where anything random will do.
    #[cfg(test)]
    pub(super) fn of_seed(seed: u64) -> Self {
        let mut random = crate::random::Random::new(seed);
        Self::new(std::array::from_fn(|_| random.next_u64()))
    }

    /// The hash of a few bytes, at most 24.
    pub(super) fn hash(&self, bytes: &[u8]) -> u64 {
        let Self([a, b, c, d]) = *self;
        let (words, rest) = bytes.as_chunks::<8>();
        let mut hash = a ^ bytes.len() as u64;
        for word in words {
            hash = fold(hash ^ u64::from_le_bytes(*word), b);
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        // Twice: after one product addresses that follow each other still show it.
        fold(fold(hash ^ u64::from_le_bytes(last) ^ c, d) ^ a, b)
    }

    /// The hash of two hashes.
    pub(super) fn join(&self, first: u64, second: u64) -> u64 {
        fold(first ^ self.0[2], second ^ self.0[0])
    }
}

/// What is kept of a peer id and a key, so that their owner can be told from others at its address. The same in every
/// run, for it is saved; a client gains nothing by colliding with itself.
pub(super) fn identity(peer_id: &[u8; 20], key: u32) -> u32 {
    const KEY: TableKey = TableKey([
        0x9e37_79b9_7f4a_7c15,
        0xbf58_476d_1ce4_e5b9,
        0x94d0_49bb_1331_11eb,
        0xd6e8_feb8_6659_fd93,
    ]);
    (KEY.join(KEY.hash(peer_id), u64::from(key)) >> 32) as u32
}

/// What is kept of a key that is not a number.
pub(super) fn opaque_key(bytes: impl Iterator<Item = u8>) -> u32 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in bytes {
        hash = fold(hash ^ u64::from(byte), 0x9e37_79b9_7f4a_7c15);
    }
    (hash >> 32) as u32
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_part_of_a_hash_is_spread() {
        let key = TableKey::of_seed(1);
        // Addresses that differ by little, as those of one network.
        let hashes: Vec<u64> =
            (0..4096u16).map(|number| key.hash(&[10, 0, 0, 1, (number >> 8) as u8, number as u8])).collect();
        for shift in [0, 12, 26, 52] {
            let seen: HashSet<u64> = hashes.iter().map(|hash| hash >> shift & 0xfff).collect();
            // Of 4,096 places a random choice of as many hits 63 %.
            assert!(2_450 < seen.len(), "{} at {shift}", seen.len());
        }
    }

    #[test]
    fn an_identity_is_that_of_id_and_key() {
        let one = identity(&[1; 20], 5);
        assert_eq!(one, identity(&[1; 20], 5));
        assert_ne!(one, identity(&[1; 20], 6));
        assert_ne!(one, identity(&[2; 20], 5));
        assert_ne!(opaque_key(b"ab".iter().copied()), opaque_key(b"ba".iter().copied()));
    }
}
