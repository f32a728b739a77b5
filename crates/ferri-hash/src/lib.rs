//! SHA-1 and SHA-256, one stream or many inputs at once, and Merkle trees ([BEP 52]).
//!
//! Everything that hashes goes through here, so that faster kernels reach all of it at once. No files, no threads.
//!
//! [BEP 52]: https://www.bittorrent.org/beps/bep_0052.html

pub mod merkle;

use sha1::Digest as _;

/// What SHA-1 makes of its input.
pub type Sha1Digest = [u8; 20];

/// What SHA-256 makes of its input.
pub type Sha256Digest = [u8; 32];

/// SHA-1 of bytes that come in parts.
#[derive(Clone, Debug, Default)]
pub struct Sha1(sha1::Sha1);

impl Sha1 {
    /// Nothing hashed yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next part.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all parts.
    pub fn finish(self) -> Sha1Digest {
        self.0.finalize().into()
    }
}

/// SHA-256 of bytes that come in parts.
#[derive(Clone, Debug, Default)]
pub struct Sha256(sha2::Sha256);

impl Sha256 {
    /// Nothing hashed yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next part.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all parts.
    pub fn finish(self) -> Sha256Digest {
        self.0.finalize().into()
    }
}

/// SHA-1 of bytes that are all there.
pub fn sha1(bytes: &[u8]) -> Sha1Digest {
    sha1::Sha1::digest(bytes).into()
}

/// SHA-256 of bytes that are all there.
pub fn sha256(bytes: &[u8]) -> Sha256Digest {
    sha2::Sha256::digest(bytes).into()
}

/// SHA-1 of each input. Inputs of equal length are what this is for; others are right too.
///
/// # Panics
/// Unless there is one place for each digest.
pub fn sha1_many(inputs: &[&[u8]], digests: &mut [Sha1Digest]) {
    assert_eq!(inputs.len(), digests.len(), "one digest for each input");
    for (input, digest) in inputs.iter().zip(digests) {
        *digest = sha1(input);
    }
}

/// SHA-256 of each input. Inputs of equal length are what this is for; others are right too.
///
/// # Panics
/// Unless there is one place for each digest.
pub fn sha256_many(inputs: &[&[u8]], digests: &mut [Sha256Digest]) {
    assert_eq!(inputs.len(), digests.len(), "one digest for each input");
    for (input, digest) in inputs.iter().zip(digests) {
        *digest = sha256(input);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn the_standards_own_examples_come_out() {
        for (input, one, two) in VECTORS {
            assert_eq!(hex(&sha1(input)), one);
            assert_eq!(hex(&sha256(input)), two);
        }
    }

    #[test]
    fn parts_and_many_make_the_same_digests_as_the_whole() {
        let data: Vec<u8> = (0..100_000_u32).map(|n| ((n * 7) >> 3) as u8).collect();
        for cut in [0, 1, 63, 64, 65, 4096, 99_999, 100_000] {
            let (mut one, mut two) = (Sha1::new(), Sha256::new());
            for part in [&data[..cut], &data[cut..]] {
                one.update(part);
                two.update(part);
            }
            assert_eq!((one.finish(), two.finish()), (sha1(&data), sha256(&data)), "cut at {cut}");
        }
        let inputs: Vec<&[u8]> = data.chunks(1000).chain([&data[..0], &data[..7]]).collect();
        let mut ones = vec![[0; 20]; inputs.len()];
        let mut twos = vec![[0; 32]; inputs.len()];
        sha1_many(&inputs, &mut ones);
        sha256_many(&inputs, &mut twos);
        for (index, input) in inputs.iter().enumerate() {
            assert_eq!((ones[index], twos[index]), (sha1(input), sha256(input)));
        }
    }
}
