//! Pieces of a check that are read and hashed together, a stripe of each at a time.

use ferri_hash::{Sha1, Sha1Digest, Sha256Digest, Stripes, merkle};
use ferri_metainfo::{PieceIndex, PieceTree};
use std::collections::BTreeSet;
use std::io::IoSliceMut;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::beneath::Access;
use crate::disk;
use crate::error::StorageError;
use crate::reader::Reader;
use crate::storage::{Location, Storage, Target};

/// The kernel is asked to read this much at a time; of longer requests it reads only the beginning.
const READ_AHEAD: usize = 128 << 10;

/// Of so many files at a time the device is asked for bytes ahead. More would be closed again before they are read, and
/// opening each of a crowd of tiny files twice costs more than the device wins.
pub(super) const FILES_AHEAD_MAX: usize = 64;

/// Whether the page cache has this much is told by its first byte.
const CACHED_TOGETHER: usize = 1 << 20;

/// Pieces that are hashed together.
#[derive(Debug)]
pub(super) struct Group {
    lanes: Vec<Lane>,
    /// Bytes done of every piece that has so many.
    position: usize,
}

/// One piece of a group.
#[derive(Debug)]
struct Lane {
    piece: PieceIndex,
    length: usize,
    hash: Hash,
}

/// What is known of a piece so far.
#[derive(Debug)]
enum Hash {
    V1 {
        hash: Sha1,
        expected: Sha1Digest,
    },
    V2 {
        leaves: Vec<Sha256Digest>,
        tree: PieceTree,
    },
    /// Some of it is not there, or nothing can be said of it (v2 without its piece layers).
    Wrong,
}

/// A stripe of one lane.
#[derive(Debug, Clone, Copy)]
struct Stripe {
    lane: usize,
    piece: PieceIndex,
    begin: usize,
    length: usize,
    /// Where its bytes go in the buffer.
    at: usize,
}

impl Group {
    pub(super) fn new(storage: &Storage, pieces: &[PieceIndex]) -> Self {
        let lane = |&piece| {
            let info = storage.info();
            let hash = match (info.piece_hash_v1(piece), info.piece_tree_v2(piece)) {
                (Some(expected), _) => Hash::V1 { hash: Sha1::new(), expected },
                (None, Some(tree)) => Hash::V2 { leaves: Vec::new(), tree },
                (None, None) => Hash::Wrong,
            };
            Lane { piece, length: storage.layout().piece_len(piece) as usize, hash }
        };
        Self { lanes: pieces.iter().map(lane).collect(), position: 0 }
    }

    /// Whether every piece has been read to its end.
    pub(super) fn is_done(&self) -> bool {
        self.lanes.iter().all(|lane| lane.length <= self.position)
    }

    /// Reads and hashes the next stripe of every piece. How far that brings the check, in bytes.
    pub(super) fn round(
        &mut self,
        storage: &Storage,
        shape: Stripes,
        scratch: &mut Vec<u8>,
        cancel: &AtomicBool,
    ) -> Result<u64, StorageError> {
        let length = shape.length;
        let stripes = self.stripes(shape);
        let needed = stripes.last().map_or(0, |last| last.at + last.length);
        if scratch.len() < needed {
            scratch.resize(needed, 0);
        }
        let buffer = &mut scratch[..needed];
        for missing in read(storage, &stripes, buffer, cancel)? {
            self.lanes[missing].hash = Hash::Wrong;
        }
        self.update(&stripes, buffer);
        let done = self.lanes.iter().map(|lane| lane.length.saturating_sub(self.position).min(length) as u64);
        let done = done.sum();
        self.position += length;
        Ok(done)
    }

    fn stripes(&self, shape: Stripes) -> Vec<Stripe> {
        let begin = self.position;
        let open = self.lanes.iter().enumerate().filter(|(_, lane)| !matches!(lane.hash, Hash::Wrong));
        let mut at = 0;
        let stripe = |(number, lane): (usize, &Lane)| {
            let length = lane.length.checked_sub(begin)?.min(shape.length);
            let stripe = Stripe { lane: number, piece: lane.piece, begin, length, at };
            at += if length == 0 { 0 } else { length + shape.gap };
            (length != 0).then_some(stripe)
        };
        open.filter_map(stripe).collect()
    }

    fn update(&mut self, stripes: &[Stripe], buffer: &[u8]) {
        let (mut v1, mut v2) = (Vec::new(), Vec::new());
        let mut stripes = stripes.iter().peekable();
        for (at, lane) in self.lanes.iter_mut().enumerate() {
            let Some(stripe) = stripes.next_if(|stripe| stripe.lane == at) else { continue };
            let now = &buffer[stripe.at..stripe.at + stripe.length];
            match &mut lane.hash {
                Hash::V1 { hash, .. } => v1.push((hash, now)),
                Hash::V2 { leaves, .. } => v2.push((leaves, now)),
                Hash::Wrong => {}
            }
        }
        Sha1::update_many(&mut v1);
        merkle::leaves_many(&mut v2);
    }

    /// Which pieces match, when all were read to their ends.
    pub(super) fn finish(self) -> Vec<(PieceIndex, bool)> {
        let matches = |hash| match hash {
            Hash::V1 { hash, expected } => hash.finish() == expected,
            Hash::V2 { leaves, tree } => {
                leaves.len() <= tree.width && merkle::root(&leaves, tree.width) == tree.root
            }
            Hash::Wrong => false,
        };
        self.lanes.into_iter().map(|lane| (lane.piece, matches(lane.hash))).collect()
    }
}

/// A read of neighbouring bytes, which may be those of several stripes.
struct Run {
    target: Target,
    /// Where its bytes go in the buffer.
    at: usize,
    /// The first and the last stripe.
    stripes: (usize, usize),
}

/// Reads the stripes into `buffer`; the lanes whose bytes are not there.
///
/// One absent file decides about its piece, and what else the piece needs is not asked for: a piece may lie over a million
/// files.
fn read(
    storage: &Storage,
    stripes: &[Stripe],
    buffer: &mut [u8],
    cancel: &AtomicBool,
) -> Result<BTreeSet<usize>, StorageError> {
    let placement = storage.placement();
    let root = storage.root_of_many();
    let mut reading =
        Reading { reader: storage.reader(root.as_ref()), stripes, missing: BTreeSet::new(), cancel };
    let mut run: Option<Run> = None;
    for (number, stripe) in stripes.iter().enumerate() {
        let mut at = stripe.at;
        for target in storage.targets(&placement, stripe.piece, as_u32(stripe.begin), as_u32(stripe.length)) {
            match &mut run {
                Some(run) if continues(&run.target, &target) && run.at + run.target.length == at => {
                    run.target.length += target.length;
                    run.stripes.1 = number;
                }
                _ => {
                    let next = Run { target, at, stripes: (number, number) };
                    if let Some(run) = run.replace(next) {
                        reading.read(&run, buffer)?;
                    }
                    if reading.missing.contains(&stripe.lane) {
                        // Nothing more of this piece is needed.
                        run = None;
                        break;
                    }
                }
            }
            at += target.length;
        }
    }
    if let Some(run) = run {
        reading.read(&run, buffer)?;
    }
    reading.reader.end();
    Ok(reading.missing)
}

struct Reading<'a> {
    reader: Reader<'a>,
    stripes: &'a [Stripe],
    /// Lanes whose bytes are not all there.
    missing: BTreeSet<usize>,
    cancel: &'a AtomicBool,
}

impl Reading<'_> {
    fn read(
        &mut self,
        &Run { target, at, stripes: (first, last) }: &Run,
        buffer: &mut [u8],
    ) -> Result<(), StorageError> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(StorageError::Halted);
        }
        self.reader.check_halt()?;
        let stripes = &self.stripes[first..=last];
        if stripes.iter().all(|stripe| self.missing.contains(&stripe.lane)) {
            return Ok(());
        }
        if self.reader.read(target, &mut buffer[at..at + target.length])? {
            return Ok(());
        }
        if let [stripe] = stripes {
            self.missing.insert(stripe.lane);
            return Ok(());
        }
        // Some of it is not there: which stripes are there nevertheless? This run lies in one file, and so do their shares
        // of it.
        for stripe in stripes {
            if self.missing.contains(&stripe.lane) {
                continue;
            }
            let (from, to) = (stripe.at.max(at), (stripe.at + stripe.length).min(at + target.length));
            let share = Target { offset: target.offset + (from - at) as u64, length: to - from, ..target };
            if !self.reader.read(share, &mut buffer[from..to])? {
                self.missing.insert(stripe.lane);
            }
        }
        Ok(())
    }
}

fn continues(last: &Target, next: &Target) -> bool {
    last.location == next.location
        && (last.location == Location::Pad || last.offset + last.length as u64 == next.offset)
}

/// Asks the device for what the page cache lacks of these pieces, in their order. Only a hint: errors come when the
/// bytes are read.
pub(super) fn read_ahead(storage: &Storage, pieces: &[PieceIndex]) {
    let placement = storage.placement();
    let targets = pieces
        .iter()
        .flat_map(|&piece| storage.targets(&placement, piece, 0, storage.layout().piece_len(piece)));
    let mut runs: Vec<Target> = Vec::new();
    for target in targets {
        match runs.last_mut() {
            Some(last) if continues(last, &target) => last.length += target.length,
            _ => runs.push(target),
        }
        if FILES_AHEAD_MAX < runs.len() {
            break;
        }
    }
    for run in runs {
        let Ok(Some(file)) = storage.open(run.location, Access::Read) else { continue };
        for start in (0..run.length).step_by(CACHED_TOGETHER) {
            let offset = run.offset + start as u64;
            if disk::read_cached(&file, &mut [IoSliceMut::new(&mut [0])], offset).unwrap_or(true) {
                continue;
            }
            for part in (0..CACHED_TOGETHER.min(run.length - start)).step_by(READ_AHEAD) {
                let length = READ_AHEAD.min(run.length - start - part);
                disk::will_need(&file, offset + part as u64, length as u64);
            }
        }
    }
}

fn as_u32(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("a piece length is a u32")
}
