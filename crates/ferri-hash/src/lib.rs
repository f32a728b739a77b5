//! SHA-1 and SHA-256, one stream or many inputs at once, and Merkle trees ([BEP 52]).
//!
//! Everything that hashes goes through here, so that faster kernels reach all of it at once. One stream is hashed by
//! RustCrypto. Many at once go through [`kernels`] of our own, the fastest that this processor has. No files, no threads.
//!
//! [BEP 52]: https://www.bittorrent.org/beps/bep_0052.html

pub mod kernels;
pub mod merkle;
mod schedule;
mod stream;
mod stripes;

use kernels::{SHA1, SHA256};
use schedule::compress_all;
use stream::{Stream, digest_many};
pub use stripes::Stripes;

/// What SHA-1 makes of its input.
pub type Sha1Digest = [u8; 20];

/// What SHA-256 makes of its input.
pub type Sha256Digest = [u8; 32];

/// SHA-1 of bytes that come in parts.
#[derive(Clone, Debug)]
pub struct Sha1(Stream<5>);

impl Sha1 {
    /// Nothing hashed yet.
    #[must_use]
    pub fn new() -> Self {
        Self(Stream::new(&SHA1))
    }

    /// The next part.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(&SHA1, bytes);
    }

    /// The next part of each of several hashes, all at once, which takes less time than one after the other. The parts
    /// may have any lengths; those of many times 64 bytes, and of like length, gain most.
    pub fn update_many(parts: &mut [(&mut Self, &[u8])]) {
        compress_all(&SHA1, parts.iter_mut().filter_map(|(hash, bytes)| hash.0.begin(bytes)));
        parts.iter_mut().for_each(|(hash, bytes)| hash.0.end(bytes));
    }

    /// The digest of all parts.
    #[must_use]
    pub fn finish(self) -> Sha1Digest {
        sha1_digest(&self.0.finish(&SHA1))
    }
}

impl Default for Sha1 {
    fn default() -> Self {
        Self::new()
    }
}

/// SHA-256 of bytes that come in parts.
#[derive(Clone, Debug)]
pub struct Sha256(Stream<8>);

impl Sha256 {
    /// Nothing hashed yet.
    #[must_use]
    pub fn new() -> Self {
        Self(Stream::new(&SHA256))
    }

    /// The next part.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(&SHA256, bytes);
    }

    /// The next part of each of several hashes, as [`Sha1::update_many`].
    pub fn update_many(parts: &mut [(&mut Self, &[u8])]) {
        compress_all(&SHA256, parts.iter_mut().filter_map(|(hash, bytes)| hash.0.begin(bytes)));
        parts.iter_mut().for_each(|(hash, bytes)| hash.0.end(bytes));
    }

    /// The digest of all parts.
    #[must_use]
    pub fn finish(self) -> Sha256Digest {
        sha256_digest(&self.0.finish(&SHA256))
    }
}

impl Default for Sha256 {
    fn default() -> Self {
        Self::new()
    }
}

/// SHA-1 of bytes that are all there.
#[must_use]
pub fn sha1(bytes: &[u8]) -> Sha1Digest {
    let mut hash = Sha1::new();
    hash.update(bytes);
    hash.finish()
}

/// SHA-256 of bytes that are all there.
#[must_use]
pub fn sha256(bytes: &[u8]) -> Sha256Digest {
    let mut hash = Sha256::new();
    hash.update(bytes);
    hash.finish()
}

/// SHA-1 of each input. Inputs of equal length are what this is for; others are right too.
///
/// # Panics
/// Unless there is one place for each digest.
pub fn sha1_many(inputs: &[&[u8]], digests: &mut [Sha1Digest]) {
    assert_eq!(inputs.len(), digests.len(), "one digest for each input");
    let mut places = digests.iter_mut();
    digest_many(&SHA1, inputs, |state| {
        *places.next().expect("as many as inputs") = sha1_digest(state);
    });
}

/// SHA-256 of each input. Inputs of equal length are what this is for; others are right too.
///
/// # Panics
/// Unless there is one place for each digest.
pub fn sha256_many(inputs: &[&[u8]], digests: &mut [Sha256Digest]) {
    assert_eq!(inputs.len(), digests.len(), "one digest for each input");
    let mut places = digests.iter_mut();
    digest_many(&SHA256, inputs, |state| {
        *places.next().expect("as many as inputs") = sha256_digest(state);
    });
}

fn sha1_digest(state: &[u32; 5]) -> Sha1Digest {
    let mut digest = [0; 20];
    digest.as_chunks_mut().0.iter_mut().zip(state).for_each(|(bytes, word)| *bytes = word.to_be_bytes());
    digest
}

fn sha256_digest(state: &[u32; 8]) -> Sha256Digest {
    let mut digest = [0; 32];
    digest.as_chunks_mut().0.iter_mut().zip(state).for_each(|(bytes, word)| *bytes = word.to_be_bytes());
    digest
}

#[cfg(test)]
mod tests;
