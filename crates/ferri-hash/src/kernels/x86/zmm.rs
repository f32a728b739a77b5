//! Sixteen words in an AVX-512 register.

use std::arch::x86_64::*;

use crate::kernels::Block;

pub(super) const LANES: usize = 16;

/// One word of each message.
pub(super) type Words = __m512i;

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn splat(word: u32) -> Words {
    _mm512_set1_epi32(word.cast_signed())
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn from_words(words: [u32; LANES]) -> Words {
    // SAFETY: reads the 64 bytes of the array, which is alive.
    unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn to_words(words: Words) -> [u32; LANES] {
    let mut array = [0; LANES];
    // SAFETY: writes the 64 bytes of the array, which no other code can see.
    unsafe { _mm512_storeu_si512(array.as_mut_ptr().cast(), words) };
    array
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn add(a: Words, b: Words) -> Words {
    _mm512_add_epi32(a, b)
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn xor(a: Words, b: Words) -> Words {
    _mm512_xor_si512(a, b)
}

/// Rotated left by `LEFT`, which is `32 - RIGHT`.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn rotate<const LEFT: i32, const RIGHT: i32>(a: Words) -> Words {
    const { assert!(LEFT + RIGHT == 32) }
    _mm512_rol_epi32::<LEFT>(a)
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn shift_right<const BITS: u32>(a: Words) -> Words {
    _mm512_srli_epi32::<BITS>(a)
}

/// Whether one or three are set; Parity in FIPS 180-4.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn parity(a: Words, b: Words, c: Words) -> Words {
    _mm512_ternarylogic_epi32::<0b1001_0110>(a, b, c)
}

/// `b` where `a` is set, else `c`; Ch in FIPS 180-4.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn choose(a: Words, b: Words, c: Words) -> Words {
    _mm512_ternarylogic_epi32::<0b1100_1010>(a, b, c)
}

/// Whether two or three are set; Maj in FIPS 180-4.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn majority(a: Words, b: Words, c: Words) -> Words {
    _mm512_ternarylogic_epi32::<0b1110_1000>(a, b, c)
}

/// Block number `at` of each lane, turned so that register `t` holds word `t` of all of them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn load(blocks: &[&[Block]; LANES], at: usize) -> [Words; 16] {
    // Two buffers, from one to the other and back. Below, a quarter is 128 bits.
    let (mut one, mut two) = ([splat(0); 16], [splat(0); 16]);
    for lane in 0..LANES {
        let block: &Block = &blocks[lane][at];
        // SAFETY: reads the 64 bytes that the reference is for; they need no alignment.
        one[lane] = unsafe { _mm512_loadu_si512(block.as_ptr().cast()) };
    }
    // Quarter q of 4 l + t will hold word 4 q + t of lanes 4 l to 4 l + 3.
    for l in (0..16).step_by(2) {
        two[l] = _mm512_unpacklo_epi32(one[l], one[l + 1]);
        two[l + 1] = _mm512_unpackhi_epi32(one[l], one[l + 1]);
    }
    for l in (0..16).step_by(4) {
        one[l] = _mm512_unpacklo_epi64(two[l], two[l + 2]);
        one[l + 1] = _mm512_unpackhi_epi64(two[l], two[l + 2]);
        one[l + 2] = _mm512_unpacklo_epi64(two[l + 1], two[l + 3]);
        one[l + 3] = _mm512_unpackhi_epi64(two[l + 1], two[l + 3]);
    }
    // The even quarters of both, and then the odd ones: words t and t + 8 of lanes 8 l to 8 l + 7; t + 4 and t + 12.
    for t in 0..4 {
        for l in [0, 8] {
            two[l + t] = _mm512_shuffle_i32x4::<EVEN>(one[l + t], one[l + 4 + t]);
            two[l + 4 + t] = _mm512_shuffle_i32x4::<ODD>(one[l + t], one[l + 4 + t]);
        }
    }
    let order = _mm512_set4_epi32(0x0c0d_0e0f, 0x0809_0a0b, 0x0405_0607, 0x0001_0203);
    for t in 0..8 {
        one[t] = _mm512_shuffle_epi8(_mm512_shuffle_i32x4::<EVEN>(two[t], two[8 + t]), order);
        one[8 + t] = _mm512_shuffle_epi8(_mm512_shuffle_i32x4::<ODD>(two[t], two[8 + t]), order);
    }
    one
}

/// Quarters 0 and 2 of the first register, then of the second.
const EVEN: i32 = 0b10_00_10_00;

/// Quarters 1 and 3 of the first register, then of the second.
const ODD: i32 = 0b11_01_11_01;
