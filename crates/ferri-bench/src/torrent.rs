//! The torrent as the load needs it: one file, its pieces and their hashes.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use anyhow::{Context, Result, ensure};
use ferri_metainfo::{Info, Metainfo};

/// One torrent of one file.
#[derive(Debug)]
pub(crate) struct Torrent {
    metainfo: Metainfo,
    /// What handshakes carry.
    pub(crate) info_hash: [u8; 20],
}

impl Torrent {
    /// Reads a .torrent file.
    ///
    /// # Errors
    /// When it is not one, or has more than one file.
    pub(crate) fn load(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        let metainfo = Metainfo::parse(&bytes).with_context(|| format!("parsing {}", path.display()))?;
        ensure!(!metainfo.info().is_multi_file(), "{}: a torrent of one file, please", path.display());
        let info_hash = *metainfo.info().info_hashes().wire().as_bytes();
        Ok(Self { metainfo, info_hash })
    }

    /// How many pieces.
    pub(crate) fn piece_count(&self) -> u32 {
        self.info().layout().piece_count()
    }

    /// Bytes of a piece; zero when there is no such piece.
    pub(crate) fn piece_len(&self, piece: u32) -> u32 {
        let layout = self.info().layout();
        layout.piece(piece).map_or(0, |piece| layout.piece_len(piece))
    }

    /// Where a piece begins in the file.
    pub(crate) fn piece_offset(&self, piece: u32) -> u64 {
        u64::from(piece) * u64::from(self.info().piece_length())
    }

    /// Hashes these pieces together.
    ///
    /// # Errors
    /// Names the first that is wrong.
    pub(crate) fn ensure_match(&self, pieces: &[(u32, Vec<u8>)]) -> Result<()> {
        let inputs: Vec<&[u8]> = pieces.iter().map(|(_, bytes)| bytes.as_slice()).collect();
        let mut digests = vec![[0; 20]; inputs.len()];
        ferri_hash::sha1_many(&inputs, &mut digests);
        for ((piece, _), digest) in pieces.iter().zip(digests) {
            let wanted =
                self.info().layout().piece(*piece).and_then(|piece| self.info().piece_hash_v1(piece));
            ensure!(wanted == Some(digest), "piece {piece} is wrong");
        }
        Ok(())
    }

    /// The bitfield of a seed, as the wire has it.
    pub(crate) fn full_bitfield(&self) -> Vec<u8> {
        let count = self.piece_count();
        let mut bits = vec![0xff; count.div_ceil(8) as usize];
        if let (Some(last), spare @ 1..) = (bits.last_mut(), count.next_multiple_of(8) - count) {
            *last <<= spare;
        }
        bits
    }

    /// Hashes the whole file on all cores, several pieces together.
    ///
    /// # Errors
    /// When it cannot be read or a piece is wrong.
    pub(crate) fn check(&self, path: &Path) -> Result<()> {
        /// Pieces that are read and hashed together: as many as fill this much.
        const TOGETHER: u32 = 4 << 20;
        let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        let next = AtomicU32::new(0);
        let step = (TOGETHER / self.piece_len(0).max(1)).max(1);
        let worker = || -> Result<()> {
            let mut pieces = vec![(0, Vec::new()); step as usize];
            loop {
                let first = next.fetch_add(step, Ordering::Relaxed);
                let last = self.piece_count().min(first.saturating_add(step));
                if first >= last {
                    return Ok(());
                }
                pieces.truncate((last - first) as usize);
                for ((number, bytes), piece) in pieces.iter_mut().zip(first..last) {
                    *number = piece;
                    bytes.resize(self.piece_len(piece) as usize, 0);
                    file.read_exact_at(bytes, self.piece_offset(piece))?;
                }
                self.ensure_match(&pieces).with_context(|| path.display().to_string())?;
            }
        };
        thread::scope(|scope| {
            let cores = thread::available_parallelism().map_or(1, usize::from);
            let workers: Vec<_> = (0..cores).map(|_| scope.spawn(worker)).collect();
            workers.into_iter().try_for_each(|worker| worker.join().expect("a worker does not panic"))
        })
    }

    fn info(&self) -> &Info {
        self.metainfo.info()
    }
}
