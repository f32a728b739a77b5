//! SHA-1 and SHA-256 of as many messages as a register has words, round by round as FIPS 180-4 has them.

use std::array::from_fn;

use super::{SHA256_K, blocks_of, states_of, ymm, zmm};
use crate::kernels::Lane;

/// FIPS 180-4, section 6.1.2, with the registers of the module `$v`.
macro_rules! sha1 {
    ($name:ident, $features:literal, $v:ident) => {
        #[target_feature(enable = $features)]
        pub(super) fn $name(lanes: &mut [Lane<'_, 5>], count: usize) {
            let blocks: [_; $v::LANES] = blocks_of(lanes, count);
            let states: [_; $v::LANES] = states_of(lanes);
            let mut state = [$v::splat(0); 5];
            for word in 0..5 {
                state[word] = $v::from_words(from_fn(|lane| states[lane][word]));
            }
            for at in 0..count {
                let mut w = $v::load(&blocks, at);
                let mut s = state;
                sha1_rounds!($v s w choose 0x5a82_7999: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19);
                sha1_rounds!($v s w parity 0x6ed9_eba1: 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39);
                sha1_rounds!($v s w majority 0x8f1b_bcdc: 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59);
                sha1_rounds!($v s w parity 0xca62_c1d6: 60 61 62 63 64 65 66 67 68 69 70 71 72 73 74 75 76 77 78 79);
                for word in 0..5 {
                    state[word] = $v::add(state[word], s[word]);
                }
            }
            for word in 0..5 {
                let words = $v::to_words(state[word]);
                lanes.iter_mut().zip(words).for_each(|(lane, value)| lane.state[word] = value);
            }
        }
    };
}

/// Each word of the schedule takes the place of the one that is used for the last time.
macro_rules! sha1_rounds {
    ($v:ident $s:ident $w:ident $f:ident $k:literal: $($t:literal)*) => {
        let k = $v::splat($k);
        $(
            if 16 <= $t {
                let three = $v::parity($w[($t + 2) % 16], $w[($t + 8) % 16], $w[($t + 13) % 16]);
                $w[$t % 16] = $v::rotate::<1, 31>($v::xor(three, $w[$t % 16]));
            }
            let [a, b, c, d, e] = $s;
            let sum = $v::add($v::add($v::add(e, k), $w[$t % 16]), $v::$f(b, c, d));
            $s = [$v::add(sum, $v::rotate::<5, 27>(a)), a, $v::rotate::<30, 2>(b), c, d];
        )*
    };
}

/// FIPS 180-4, section 6.2.2, with the registers of the module `$v`.
macro_rules! sha256 {
    ($name:ident, $features:literal, $v:ident) => {
        #[target_feature(enable = $features)]
        pub(super) fn $name(lanes: &mut [Lane<'_, 8>], count: usize) {
            let blocks: [_; $v::LANES] = blocks_of(lanes, count);
            let states: [_; $v::LANES] = states_of(lanes);
            let mut state = [$v::splat(0); 8];
            for word in 0..8 {
                state[word] = $v::from_words(from_fn(|lane| states[lane][word]));
            }
            for at in 0..count {
                let mut w = $v::load(&blocks, at);
                let mut s = state;
                for sixteen in 0..4 {
                    sha256_rounds!($v s w sixteen: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
                }
                for word in 0..8 {
                    state[word] = $v::add(state[word], s[word]);
                }
            }
            for word in 0..8 {
                let words = $v::to_words(state[word]);
                lanes.iter_mut().zip(words).for_each(|(lane, value)| lane.state[word] = value);
            }
        }
    };
}

macro_rules! sha256_rounds {
    ($v:ident $s:ident $w:ident $sixteen:ident: $($t:literal)*) => { $(
        if $sixteen != 0 {
            let (near, far) = ($w[($t + 14) % 16], $w[($t + 1) % 16]);
            let sigma1 = $v::parity($v::rotate::<15, 17>(near), $v::rotate::<13, 19>(near), $v::shift_right::<10>(near));
            let sigma0 = $v::parity($v::rotate::<25, 7>(far), $v::rotate::<14, 18>(far), $v::shift_right::<3>(far));
            $w[$t] = $v::add($v::add(sigma1, $w[($t + 9) % 16]), $v::add(sigma0, $w[$t]));
        }
        let [a, b, c, d, e, f, g, h] = $s;
        let k = $v::splat(SHA256_K[4 * $sixteen + $t / 4][$t % 4]);
        let sum1 = $v::parity($v::rotate::<26, 6>(e), $v::rotate::<21, 11>(e), $v::rotate::<7, 25>(e));
        let t1 = $v::add($v::add($v::add(h, k), $v::add($w[$t], $v::choose(e, f, g))), sum1);
        let sum0 = $v::parity($v::rotate::<30, 2>(a), $v::rotate::<19, 13>(a), $v::rotate::<10, 22>(a));
        let t2 = $v::add(sum0, $v::majority(a, b, c));
        $s = [$v::add(t1, t2), a, b, c, $v::add(d, t1), e, f, g];
    )* };
}

sha1!(sha1_avx2, "avx2", ymm);
sha1!(sha1_avx512, "avx512f,avx512bw", zmm);
sha256!(sha256_avx2, "avx2", ymm);
sha256!(sha256_avx512, "avx512f,avx512bw", zmm);
