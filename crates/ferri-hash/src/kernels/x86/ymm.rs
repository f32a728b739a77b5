//! Eight words in an AVX2 register, with the operations of [`super::zmm`].

use std::arch::x86_64::*;

use crate::kernels::Block;

pub(super) const LANES: usize = 8;

/// One word of each message.
pub(super) type Words = __m256i;

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn splat(word: u32) -> Words {
    _mm256_set1_epi32(word.cast_signed())
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn from_words(words: [u32; LANES]) -> Words {
    // SAFETY: reads the 32 bytes of the array, which is alive.
    unsafe { _mm256_loadu_si256(words.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn to_words(words: Words) -> [u32; LANES] {
    let mut array = [0; LANES];
    // SAFETY: writes the 32 bytes of the array, which no other code can see.
    unsafe { _mm256_storeu_si256(array.as_mut_ptr().cast(), words) };
    array
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn add(a: Words, b: Words) -> Words {
    _mm256_add_epi32(a, b)
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn xor(a: Words, b: Words) -> Words {
    _mm256_xor_si256(a, b)
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn rotate<const LEFT: i32, const RIGHT: i32>(a: Words) -> Words {
    const { assert!(LEFT + RIGHT == 32) }
    _mm256_or_si256(_mm256_slli_epi32::<LEFT>(a), _mm256_srli_epi32::<RIGHT>(a))
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn shift_right<const BITS: i32>(a: Words) -> Words {
    _mm256_srli_epi32::<BITS>(a)
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn parity(a: Words, b: Words, c: Words) -> Words {
    _mm256_xor_si256(_mm256_xor_si256(a, b), c)
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn choose(a: Words, b: Words, c: Words) -> Words {
    _mm256_xor_si256(c, _mm256_and_si256(a, _mm256_xor_si256(b, c)))
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn majority(a: Words, b: Words, c: Words) -> Words {
    _mm256_or_si256(_mm256_and_si256(a, b), _mm256_and_si256(c, _mm256_or_si256(a, b)))
}

/// Block number `at` of each lane, turned so that register `t` holds word `t` of all of them.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn load(blocks: &[&[Block]; LANES], at: usize) -> [Words; 16] {
    let (mut one, mut two) = ([splat(0); 16], [splat(0); 16]);
    for lane in 0..LANES {
        let (halves, _) = blocks[lane][at].as_chunks::<32>();
        for half in 0..2 {
            // SAFETY: reads the 32 bytes that the reference is for; they need no alignment.
            one[8 * half + lane] = unsafe { _mm256_loadu_si256(halves[half].as_ptr().cast()) };
        }
    }
    // Both halves of 8 h + 4 l + t will hold words 8 h + t and 8 h + t + 4 of lanes 4 l to 4 l + 3.
    for l in (0..16).step_by(2) {
        two[l] = _mm256_unpacklo_epi32(one[l], one[l + 1]);
        two[l + 1] = _mm256_unpackhi_epi32(one[l], one[l + 1]);
    }
    for l in (0..16).step_by(4) {
        one[l] = _mm256_unpacklo_epi64(two[l], two[l + 2]);
        one[l + 1] = _mm256_unpackhi_epi64(two[l], two[l + 2]);
        one[l + 2] = _mm256_unpacklo_epi64(two[l + 1], two[l + 3]);
        one[l + 3] = _mm256_unpackhi_epi64(two[l + 1], two[l + 3]);
    }
    let order =
        _mm256_broadcastsi128_si256(_mm_set_epi32(0x0c0d_0e0f, 0x0809_0a0b, 0x0405_0607, 0x0001_0203));
    for t in 0..4 {
        for h in [0, 8] {
            let (low, high) = (one[h + t], one[h + 4 + t]);
            two[h + t] = _mm256_shuffle_epi8(_mm256_permute2x128_si256::<0x20>(low, high), order);
            two[h + 4 + t] = _mm256_shuffle_epi8(_mm256_permute2x128_si256::<0x31>(low, high), order);
        }
    }
    two
}
