//! The stream cipher RC4, as MSE uses it.

use std::fmt;

/// The first bytes of the key stream are thrown away, because they tell of the key (MSE, "Encryption").
const DISCARDED: usize = 1024;

/// One direction of an encrypted stream.
#[derive(Clone)]
pub struct Rc4 {
    state: [u8; 256],
    i: u8,
    j: u8,
}

impl Rc4 {
    /// With this key, and the first 1024 bytes of the key stream behind it.
    pub(super) fn new(key: &[u8; 20]) -> Self {
        let mut rc4 = Self::from_the_start(key);
        rc4.apply(&mut [0; DISCARDED]);
        rc4
    }

    fn from_the_start(key: &[u8]) -> Self {
        let mut state = std::array::from_fn(|i| i as u8);
        let mut j = 0_u8;
        for (i, key) in (0..=255_u8).zip(key.iter().cycle()) {
            j = j.wrapping_add(state[usize::from(i)]).wrapping_add(*key);
            state.swap(usize::from(i), usize::from(j));
        }
        Self { state, i: 0, j: 0 }
    }

    /// Encrypts or decrypts, which is the same thing, the next bytes of the stream in place.
    pub fn apply(&mut self, bytes: &mut [u8]) {
        let Self { state, i, j } = self;
        for byte in bytes {
            *i = i.wrapping_add(1);
            let a = state[usize::from(*i)];
            *j = j.wrapping_add(a);
            let b = state[usize::from(*j)];
            state[usize::from(*i)] = b;
            state[usize::from(*j)] = a;
            *byte ^= state[usize::from(a.wrapping_add(b))];
        }
    }
}

impl fmt::Debug for Rc4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rc4").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key stream at an offset (RFC 6229, section 2).
    fn check(key: &[u8], offset: usize, expected: [u8; 16]) {
        let mut stream = vec![0; offset + 16];
        Rc4::from_the_start(key).apply(&mut stream);
        assert_eq!(stream[offset..], expected, "{key:x?} at {offset}");
    }

    #[test]
    fn the_key_stream_is_that_of_rfc_6229() {
        let first = 0xb239_6305_f03d_c027_ccc3_524a_0a11_18a8_u128;
        check(&[1, 2, 3, 4, 5], 0, first.to_be_bytes());
        check(&[1, 2, 3, 4, 5], 1024, 0x30ab_bcc7_c20b_0160_9f23_ee2d_5f6b_b7df_u128.to_be_bytes());
        let key: Vec<u8> = (1..=16).collect();
        check(&key, 0, 0x9ac7_cc9a_609d_1ef7_b293_2899_cde4_1b97_u128.to_be_bytes());
        check(&key, 1024, 0xbdf0_324e_6083_dcc6_d3ce_dd3c_a8c5_3c16_u128.to_be_bytes());
    }

    #[test]
    fn a_stream_in_parts_is_the_stream_as_a_whole_and_begins_after_1024_bytes() {
        let key = [7; 20];
        let mut whole = vec![0; 1024 + 1000];
        Rc4::from_the_start(&key).apply(&mut whole);
        for cut in [0, 1, 15, 16, 500, 999, 1000] {
            let mut parts = vec![0; 1000];
            let mut rc4 = Rc4::new(&key);
            let (first, second) = parts.split_at_mut(cut);
            rc4.apply(first);
            rc4.apply(second);
            assert_eq!(parts, whole[1024..], "{cut}");
        }
    }
}
