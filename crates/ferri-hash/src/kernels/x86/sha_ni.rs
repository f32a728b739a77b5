//! Two messages on the SHA instructions. With one message they wait for each other; a second one fills the gaps.

use std::arch::x86_64::*;

use super::{SHA256_K, blocks_of, states_of};
use crate::kernels::{Block, Lane};

/// Messages at once. More do not fit the registers.
const LANES: usize = 2;

/// The SHA-1 of up to two messages, four rounds an instruction.
#[target_feature(enable = "sha,sse4.1")]
pub(super) fn sha1(lanes: &mut [Lane<'_, 5>], count: usize) {
    let [ones, others]: [_; LANES] = blocks_of(lanes, count);
    let states: [_; LANES] = states_of(lanes);
    // The instructions want a in the highest word, and e in the highest word of another register.
    let mut abcd = states.map(|[a, b, c, d, _]| words([a, b, c, d]));
    let mut e = states.map(|[.., e]| words([e, 0, 0, 0]));
    for (one, other) in ones.iter().zip(others) {
        let start = (abcd, e);
        let order = _mm_set_epi64x(0x0001_0203_0405_0607, 0x0809_0a0b_0c0d_0e0f);
        let mut w = [load(one, order), load(other, order)];
        let mut before = abcd;
        macro_rules! rounds {
            ($f:literal: $($t:literal)*) => { $( for lane in 0..LANES {
                let w = &mut w[lane];
                if 4 <= $t {
                    let partial = _mm_xor_si128(_mm_sha1msg1_epu32(w[$t % 4], w[($t + 1) % 4]), w[($t + 2) % 4]);
                    w[$t % 4] = _mm_sha1msg2_epu32(partial, w[($t + 3) % 4]);
                }
                let e_and_w = if $t == 0 {
                    _mm_add_epi32(e[lane], w[0])
                } else {
                    _mm_sha1nexte_epu32(before[lane], w[$t % 4])
                };
                before[lane] = abcd[lane];
                abcd[lane] = _mm_sha1rnds4_epu32::<$f>(abcd[lane], e_and_w);
            } )* };
        }
        rounds!(0: 0 1 2 3 4);
        rounds!(1: 5 6 7 8 9);
        rounds!(2: 10 11 12 13 14);
        rounds!(3: 15 16 17 18 19);
        for lane in 0..LANES {
            e[lane] = _mm_sha1nexte_epu32(before[lane], start.1[lane]);
            abcd[lane] = _mm_add_epi32(abcd[lane], start.0[lane]);
        }
    }
    for (at, lane) in lanes.iter_mut().enumerate() {
        let ([a, b, c, d], [e, ..]) = (unpacked(abcd[at]), unpacked(e[at]));
        *lane.state = [a, b, c, d, e];
    }
}

/// The SHA-256 of up to two messages, two rounds an instruction.
#[target_feature(enable = "sha,sse4.1,ssse3")]
pub(super) fn sha256(lanes: &mut [Lane<'_, 8>], count: usize) {
    let [ones, others]: [_; LANES] = blocks_of(lanes, count);
    let states: [_; LANES] = states_of(lanes);
    let mut abef = states.map(|[a, b, _, _, e, f, _, _]| words([a, b, e, f]));
    let mut cdgh = states.map(|[_, _, c, d, _, _, g, h]| words([c, d, g, h]));
    for (one, other) in ones.iter().zip(others) {
        let start = (abef, cdgh);
        let order = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
        let mut w = [load(one, order), load(other, order)];
        macro_rules! rounds {
            ($($t:literal)*) => { $(
                let [k0, k1, k2, k3] = SHA256_K[$t];
                let k = words([k3, k2, k1, k0]);
                for lane in 0..LANES {
                    let w = &mut w[lane];
                    if 4 <= $t {
                        let middle = _mm_alignr_epi8::<4>(w[($t + 3) % 4], w[($t + 2) % 4]);
                        let partial = _mm_add_epi32(_mm_sha256msg1_epu32(w[$t % 4], w[($t + 1) % 4]), middle);
                        w[$t % 4] = _mm_sha256msg2_epu32(partial, w[($t + 3) % 4]);
                    }
                    let sum = _mm_add_epi32(w[$t % 4], k);
                    cdgh[lane] = _mm_sha256rnds2_epu32(cdgh[lane], abef[lane], sum);
                    let sum = _mm_shuffle_epi32::<0b1110>(sum);
                    abef[lane] = _mm_sha256rnds2_epu32(abef[lane], cdgh[lane], sum);
                }
            )* };
        }
        rounds!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
        for lane in 0..LANES {
            abef[lane] = _mm_add_epi32(abef[lane], start.0[lane]);
            cdgh[lane] = _mm_add_epi32(cdgh[lane], start.1[lane]);
        }
    }
    for (at, lane) in lanes.iter_mut().enumerate() {
        let ([a, b, e, f], [c, d, g, h]) = (unpacked(abef[at]), unpacked(cdgh[at]));
        *lane.state = [a, b, c, d, e, f, g, h];
    }
}

/// A block's sixteen words, four to a register.
#[inline]
#[target_feature(enable = "ssse3")]
fn load(block: &Block, order: __m128i) -> [__m128i; 4] {
    let (quads, _) = block.as_chunks::<16>();
    let mut words = [order; 4];
    for at in 0..4 {
        // SAFETY: reads the 16 bytes that the reference is for; they need no alignment.
        let bytes = unsafe { _mm_loadu_si128(quads[at].as_ptr().cast()) };
        words[at] = _mm_shuffle_epi8(bytes, order);
    }
    words
}

/// The first one in the highest place.
#[inline]
#[target_feature(enable = "sse2")]
fn words([a, b, c, d]: [u32; 4]) -> __m128i {
    _mm_set_epi32(a.cast_signed(), b.cast_signed(), c.cast_signed(), d.cast_signed())
}

/// What [`words`] was made of.
#[inline]
#[target_feature(enable = "sse4.1")]
fn unpacked(words: __m128i) -> [u32; 4] {
    [
        _mm_extract_epi32::<3>(words).cast_unsigned(),
        _mm_extract_epi32::<2>(words).cast_unsigned(),
        _mm_extract_epi32::<1>(words).cast_unsigned(),
        _mm_extract_epi32::<0>(words).cast_unsigned(),
    ]
}
