//! Everything that hashes, beside RustCrypto and the standard's own examples.
#![allow(clippy::unwrap_used)]

use std::sync::{LazyLock, OnceLock};

use ::sha1::Digest as _;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::kernels::{Function, Kernel, LANES_MAX};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// FIPS 180-4 examples.
const VECTORS: [(&[u8], &str, &str); 3] = [
    (
        b"",
        "da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    ),
    (
        b"abc",
        "a9993e364706816aba3e25717850c26c9cd0d89d",
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    ),
    (
        b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
        "84983e441c3bd26ebaae4aa1f95129e5e54670f1",
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
    ),
];

/// The hash functions of this crate with one kernel for everything, so that each is seen alone.
fn only<const WORDS: usize>(function: &Function<WORDS>, kernel: Kernel<WORDS>) -> Function<WORDS> {
    Function { choice: OnceLock::from([kernel; LANES_MAX]), ..*function }
}

/// Each kernel alone with its lanes, and then the choice that is made here.
static ALL_SHA1: LazyLock<Vec<(Kernel<5>, Function<5>)>> =
    LazyLock::new(|| kernels::sha1().into_iter().map(|kernel| (kernel, only(&SHA1, kernel))).collect());

static ALL_SHA256: LazyLock<Vec<(Kernel<8>, Function<8>)>> =
    LazyLock::new(|| kernels::sha256().into_iter().map(|kernel| (kernel, only(&SHA256, kernel))).collect());

/// RustCrypto from end to end, without any of our code.
fn oracle(inputs: &[&[u8]]) -> (Vec<Sha1Digest>, Vec<Sha256Digest>) {
    let ones = inputs.iter().map(|input| ::sha1::Sha1::digest(input).into());
    let twos = inputs.iter().map(|input| ::sha2::Sha256::digest(input).into());
    (ones.collect(), twos.collect())
}

/// What is chosen here and each kernel alone, if it has as many lanes as `lanes_min`.
fn check_with(lanes_min: usize, inputs: &[&[u8]], what: &str) {
    let (ones, twos) = oracle(inputs);
    let mut found = vec![[0; 20]; inputs.len()];
    sha1_many(inputs, &mut found);
    assert!(found == ones, "SHA-1: {what}");
    for (kernel, function) in ALL_SHA1.iter().filter(|(kernel, _)| lanes_min <= kernel.lanes()) {
        let mut found = Vec::new();
        digest_many(function, inputs, |state| found.push(sha1_digest(state)));
        assert!(found == ones, "SHA-1 by {kernel:?}: {what}");
    }
    let mut found = vec![[0; 32]; inputs.len()];
    sha256_many(inputs, &mut found);
    assert!(found == twos, "SHA-256: {what}");
    for (kernel, function) in ALL_SHA256.iter().filter(|(kernel, _)| lanes_min <= kernel.lanes()) {
        let mut found = Vec::new();
        digest_many(function, inputs, |state| found.push(sha256_digest(state)));
        assert!(found == twos, "SHA-256 by {kernel:?}: {what}");
    }
}

fn check(inputs: &[&[u8]], what: &str) {
    check_with(1, inputs, what);
}

/// Bytes without a pattern that a mixed up lane or word could hide in.
fn bytes(count: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..count).map(next).collect()
}

#[test]
fn the_standards_own_examples_come_out() {
    for (input, one, two) in VECTORS {
        assert_eq!(hex(&sha1(input)), one);
        assert_eq!(hex(&sha256(input)), two);
        check(&[input; 5], "an example");
    }
}

#[test]
fn a_million_times_the_letter_a_in_all_lanes() {
    let input = vec![b'a'; 1_000_000];
    assert_eq!(hex(&sha1(&input)), "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
    check(&[input.as_slice(); 17], "a million a");
}

#[test]
fn every_length_in_every_number_of_lanes_at_every_alignment() {
    let data = bytes(40_000);
    for length in 0..300 {
        for count in 1..=33 {
            // Starts at offsets of all kinds, each input with other bytes.
            let inputs: Vec<&[u8]> = (0..count).map(|lane| &data[lane * 1117..][..length]).collect();
            // A kernel sees no more than twice its lanes are and one; beyond that there is nothing new for it.
            check_with(count / 2, &inputs, &format!("{count} inputs of {length} bytes"));
        }
    }
}

#[test]
fn unequal_lengths_take_turns_in_the_lanes() {
    let data = bytes(70_000);
    for count in [2, 3, 7, 9, 16, 17, 40, 300] {
        let inputs: Vec<&[u8]> =
            (0..count).map(|at| &data[at..][..at * 7919 % if count < 100 { 60_000 } else { 600 }]).collect();
        check(&inputs, &format!("{count} inputs of all lengths"));
    }
}

#[test]
fn no_input_makes_no_digest() {
    sha1_many(&[], &mut []);
    sha256_many(&[], &mut []);
    Sha1::update_many(&mut []);
}

#[test]
#[should_panic(expected = "one digest for each input")]
fn a_missing_place_for_a_digest_is_a_bug() {
    sha1_many(&[b"a", b"b"], &mut [[0; 20]]);
}

#[test]
fn parts_make_the_same_digests_as_the_whole() {
    let data = bytes(100_000);
    for cut in [0, 1, 63, 64, 65, 4096, 99_999, 100_000] {
        let (mut one, mut two) = (Sha1::new(), Sha256::new());
        for part in [&data[..cut], &data[cut..]] {
            one.update(part);
            two.update(part);
        }
        let (ones, twos) = oracle(&[&data]);
        assert_eq!((one.finish(), two.finish()), (ones[0], twos[0]), "cut at {cut}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Hashes of many streams, each advanced by parts of its own lengths and alignments.
    #[test]
    fn many_streams_advance_together(
        cuts in vec(vec(prop_oneof![0..200_usize, 3900..4200_usize, Just(64), Just(16384)], 0..6), 1..40),
        offset in 0..64_usize,
    ) {
        let data = bytes(120_000);
        let steps = cuts.iter().map(Vec::len).max().unwrap_or_default();
        let mut ones = vec![Sha1::new(); cuts.len()];
        let mut twos = vec![Sha256::new(); cuts.len()];
        let mut ends: Vec<usize> = (0..cuts.len()).map(|stream| offset + stream).collect();
        for step in 0..steps {
            let parts: Vec<&[u8]> = cuts.iter().zip(&mut ends).map(|(cuts, end)| {
                let begin = *end;
                *end += cuts.get(step).copied().unwrap_or_default();
                &data[begin..*end]
            }).collect();
            Sha1::update_many(&mut ones.iter_mut().zip(parts.iter().copied()).collect::<Vec<_>>());
            Sha256::update_many(&mut twos.iter_mut().zip(parts.iter().copied()).collect::<Vec<_>>());
        }
        let wholes: Vec<&[u8]> = ends.iter().enumerate().map(|(at, end)| &data[offset + at..*end]).collect();
        let expected = oracle(&wholes);
        let ones: Vec<_> = ones.into_iter().map(Sha1::finish).collect();
        let twos: Vec<_> = twos.into_iter().map(Sha256::finish).collect();
        prop_assert_eq!((ones, twos), expected);
    }

    #[test]
    fn random_inputs_are_hashed_right(lengths in vec(0..20_000_usize, 1..24), offset in 0..64_usize) {
        let data = bytes(21_000);
        let inputs: Vec<&[u8]> = lengths.iter().enumerate().map(|(at, length)| &data[offset + at..][..*length]).collect();
        check(&inputs, &format!("{lengths:?}"));
    }
}
