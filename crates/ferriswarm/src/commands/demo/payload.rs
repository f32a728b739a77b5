//! The demo's payload: the same bytes for the same number, and hashed while they are made.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};

use ferri_metainfo::Version;
use ferri_metainfo::create::{Builder, Content, Hasher, Plan};
use sha2::{Digest, Sha256};

use super::NAME;
use crate::exit::{Exit, Failure};
use crate::work::Progress;

/// A payload on disk and what is known of it.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) path: PathBuf,
    pub(crate) size: u64,
    /// SHA-256 of all of it.
    pub(crate) digest: [u8; 32],
    hashes: Vec<ferri_metainfo::create::PieceHash>,
}

impl Made {
    /// The .torrent file, with these trackers.
    pub(crate) fn torrent(&self, trackers: Vec<Vec<String>>) -> Result<Vec<u8>, Failure> {
        let mut builder = builder(self.size);
        builder.trackers = trackers;
        let mut hasher = Hasher::new(builder.plan().map_err(internal)?.into());
        for (piece, hash) in (0..).zip(&self.hashes) {
            hasher.set(piece, *hash).map_err(internal)?;
        }
        hasher.finish().map_err(internal)
    }

    pub(crate) fn digest_text(&self) -> String {
        self.digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

fn builder(size: u64) -> Builder {
    Builder::new(Version::V1, NAME, Content::File { length: size, executable: false })
}

/// Writes `size` bytes made from `seed` to `path`.
pub(crate) fn make(path: &Path, size: u64, seed: u64, progress: &Progress) -> Result<Made, Failure> {
    let failed = |error: std::io::Error| {
        Failure::file("write", path, &error).hint("TMPDIR chooses another folder, --size a smaller payload")
    };
    let plan: Plan = builder(size)
        .plan()
        .map_err(|error| Failure::usage(format!("--size: {error}")).hint("give a size such as --size 64M"))?;
    let mut file = File::create_new(path).map_err(failed)?;
    let mut numbers = Numbers(seed);
    let mut whole = Sha256::new();
    let mut hashes = Vec::new();
    for piece in 0..plan.piece_count() {
        if progress.is_cancelled() {
            break;
        }
        let mut bytes = vec![0; plan.piece_bytes(piece) as usize];
        numbers.fill(&mut bytes);
        whole.update(&bytes);
        hashes.push(plan.hash_piece(piece, &bytes).map_err(internal)?);
        file.write_all(&bytes).map_err(failed)?;
        progress.add(bytes.len() as u64);
    }
    Ok(Made { path: path.to_owned(), size, digest: whole.finalize().into(), hashes })
}

/// SHA-256 of the file at `path`.
pub(crate) fn digest(path: &Path, progress: &Progress) -> Result<[u8; 32], Failure> {
    let failed = |error: std::io::Error| Failure::file("read", path, &error);
    let mut reader = BufReader::new(File::open(path).map_err(failed)?);
    let mut buffer = vec![0; 1 << 20];
    let mut whole = Sha256::new();
    loop {
        let n = reader.read(&mut buffer).map_err(failed)?;
        if n == 0 || progress.is_cancelled() {
            return Ok(whole.finalize().into());
        }
        whole.update(&buffer[..n]);
        progress.add(n as u64);
    }
}

fn internal(error: ferri_metainfo::create::CreateError) -> Failure {
    Failure::new(Exit::Internal, format!("the demo's torrent cannot be made: {error}"))
}

/// SplitMix64, by Sebastiano Vigna (public domain): the same on every machine and in every version, which no
/// library's generator promises.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for eight in bytes.chunks_mut(8) {
            let number = self.next().to_le_bytes();
            eight.copy_from_slice(&number[..eight.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_same_number_makes_the_same_torrent() {
        let folder = tempfile::tempdir().unwrap();
        let make =
            |name: &str, seed| make(&folder.path().join(name), 100_001, seed, &Progress::new(0)).unwrap();
        let (first, again, other) = (make("a", 1), make("b", 1), make("c", 2));
        assert_eq!(first.torrent(Vec::new()).unwrap(), again.torrent(Vec::new()).unwrap());
        assert_ne!(first.digest, other.digest);
        assert_eq!(digest(&first.path, &Progress::new(0)).unwrap(), first.digest);
        assert_eq!(std::fs::metadata(&first.path).unwrap().len(), 100_001);
    }

    #[test]
    fn the_numbers_are_those_of_the_paper() {
        let mut numbers = Numbers(1_234_567);
        assert_eq!(numbers.next(), 6_457_827_717_110_365_317);
        assert_eq!(numbers.next(), 3_203_168_211_198_807_973);
    }
}
