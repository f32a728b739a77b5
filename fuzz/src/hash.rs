//! Hashes of many messages at once, beside RustCrypto.

use ferri_hash::kernels::{self, Block, Kernel, LANES_MAX, Lane};
use ferri_hash::{Sha1, Sha256, sha1_many, sha256_many};
use sha1::Digest as _;

/// Messages at once: more than two rows of lanes.
const MESSAGES_MAX: usize = 40;

/// Bytes of all messages together.
const BYTES_MAX: usize = 256 << 10;

/// The first byte says how many messages there are and how they are aligned; every later one how many bytes the next
/// message gains in this turn. After each turn the messages advance together. In the end all must be as RustCrypto has
/// them, also when they are hashed as wholes, and by each kernel alone.
pub fn hash(data: &[u8]) {
    let Some((&first, script)) = data.split_first() else { return };
    let count = 1 + usize::from(first) % MESSAGES_MAX;
    let offset = usize::from(first) / MESSAGES_MAX;
    let payload = payload();
    let mut messages = vec![0..0; count];
    for (number, message) in messages.iter_mut().enumerate() {
        *message = offset + number..offset + number;
    }
    let mut ones = vec![Sha1::new(); count];
    let mut twos = vec![Sha256::new(); count];
    let mut total = 0;
    for turn in script.chunks(count) {
        let mut parts = Vec::new();
        for (message, code) in messages.iter_mut().zip(turn) {
            let length = gain(*code).min(BYTES_MAX - total).min(payload.len() - message.end);
            total += length;
            parts.push(&payload[message.end..message.end + length]);
            message.end += length;
        }
        Sha1::update_many(&mut ones.iter_mut().zip(parts.iter().copied()).collect::<Vec<_>>());
        Sha256::update_many(&mut twos.iter_mut().zip(parts.iter().copied()).collect::<Vec<_>>());
    }
    let messages: Vec<&[u8]> = messages.into_iter().map(|range| &payload[range]).collect();
    let mut wholes = (vec![[0; 20]; count], vec![[0; 32]; count]);
    sha1_many(&messages, &mut wholes.0);
    sha256_many(&messages, &mut wholes.1);
    for (at, (one, two)) in ones.into_iter().zip(twos).enumerate() {
        let expected: ([u8; 20], [u8; 32]) =
            (sha1::Sha1::digest(messages[at]).into(), sha2::Sha256::digest(messages[at]).into());
        assert_eq!((one.finish(), two.finish()), expected, "message {at} in parts");
        assert_eq!((wholes.0[at], wholes.1[at]), expected, "message {at} as a whole");
    }
    kernels::sha1().iter().for_each(|kernel| alone(kernel, &messages, sha1::block_api::compress));
    kernels::sha256().iter().for_each(|kernel| alone(kernel, &messages, sha2::block_api::compress256));
}

/// How many bytes a message gains: few, some blocks and a little more or less, or many blocks.
fn gain(code: u8) -> usize {
    let low = usize::from(code % 64);
    match code / 64 {
        0 => low,
        1 => 64 * low,
        2 => 64 * (1 + low / 8) + low % 8 - 4,
        _ => 512 * low,
    }
}

/// As many messages as a kernel has lanes, or as there are, for as many whole blocks as all of them have.
fn alone<const WORDS: usize>(
    kernel: &Kernel<WORDS>,
    messages: &[&[u8]],
    compress: fn(&mut [u32; WORDS], &[Block]),
) {
    let blocks: Vec<&[Block]> =
        messages.iter().take(kernel.lanes()).map(|bytes| bytes.as_chunks().0).collect();
    let count = blocks.iter().map(|blocks| blocks.len()).min().unwrap_or_default();
    let mut states = [[0x0123_4567; WORDS]; LANES_MAX];
    let mut expected = states;
    let mut lanes: Vec<_> =
        states.iter_mut().zip(&blocks).map(|(state, blocks)| Lane { state, blocks }).collect();
    kernel.compress(&mut lanes, count);
    expected.iter_mut().zip(&blocks).for_each(|(state, blocks)| compress(state, &blocks[..count]));
    assert_eq!(states, expected, "{kernel:?}");
}

/// Bytes without a pattern in which a lane that was taken for another could hide.
fn payload() -> Vec<u8> {
    let mut state = 1_u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(BYTES_MAX / 4).collect()
}
