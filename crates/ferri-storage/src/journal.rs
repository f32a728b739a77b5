//! The resume journal as bytes: records in, records out. No files here.
//!
//! ```text
//! "ferrijnl"  version u16          the head
//! kind u8  length u16  payload  checksum u32      a record, again and again
//! ```
//! All numbers are little-endian. A checksum is the CRC-32C of the record and, through its seed, of everything before
//! it, so a record counts only in its place. Reading ends at the first record that is cut off, damaged or makes no
//! sense; what came before stands. The first record says whose journal it is.
//!
//! A piece is nothing, *unsure* (bytes of ours may be on disk; look before claiming it) or *durable* (its hash
//! matched and its bytes were synced). [`State`] is what the records add up to; the running program applies the same
//! records to the same `State` as the next start will, so there is one meaning only.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use ferri_metainfo::limits::{FILES_MAX, PIECES_MAX};
use ferri_metainfo::{Bitfield, InfoHashV2, InfoHashes};

use crate::crc32c::crc32c;

mod moves;
mod stamps;

pub(crate) use self::moves::{Birth, Former, MoveRecord, Moves, UnderWay};
pub(crate) use self::stamps::Stamps;

const MAGIC: &[u8; 8] = b"ferrijnl";
/// Version 1 knew no `ctime`; it is read and not gone on with.
const VERSION: u16 = 2;

/// Pieces in one record of bits: 1 KiB.
const BITS_PER_RECORD: u32 = 8 << 10;

/// Bytes of a torrent's name that are kept: as many as a name on disk has.
const NAME_MAX: usize = 255;

/// Whose journal it is. One that differs in anything says nothing about this torrent in this place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The v1 info hash, or the first 20 bytes of the v2 one.
    pub info_hash: [u8; 20],
    /// The v2 info hash, zeros for a v1 torrent.
    pub info_hash_v2: [u8; 32],
    /// Pieces of the torrent, at most `PIECES_MAX`.
    pub piece_count: u32,
    /// Files of the torrent, at most `FILES_MAX`.
    pub file_count: u32,
    /// A digest of the local paths, which depend on the mapping of names.
    pub paths: [u8; 8],
    /// The download folder, absolute.
    pub root: PathBuf,
}

impl Identity {
    /// What the torrent is known by on the wire, each once.
    pub(crate) fn hashes(&self) -> InfoHashes {
        let v2 = (self.info_hash_v2 != [0; 32]).then(|| InfoHashV2::from(self.info_hash_v2));
        let is_v1 = v2.is_none() || !self.info_hash_v2.starts_with(&self.info_hash);
        InfoHashes { v1: is_v1.then(|| self.info_hash.into()), v2 }
    }
}

/// What is remembered of a file to notice a change by another program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Bytes.
    pub size: u64,
    /// Nanoseconds since 1970.
    pub mtime: i64,
    /// Inode number.
    pub inode: u64,
    /// Nanoseconds since 1970 at which the inode was changed last, which no program can set; 0 where that is not known.
    pub ctime: i64,
}

/// Why a file is ours to write to, and which one it is: numbers of inodes are used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// How it came to be ours.
    pub origin: Origin,
    /// Inode number.
    pub inode: u64,
    /// Nanoseconds since 1970, 0 where the file system does not tell.
    pub born: i64,
}

/// How a file came to be ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// We made it, or the user gave it up.
    Made,
    /// It was there, and held nothing but bytes of this torrent as far as could be told: what differs from the torrent
    /// nevertheless is the user's.
    Found,
    /// It was complete, and another program changed it since: it is the user's, whatever it holds, and not to be taken
    /// for a download that was broken off.
    Theirs,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Record {
    Identity(Identity),
    /// We start to write: until `Closed`, files may differ from their stamps through us.
    Session {
        boot: [u8; 16],
        time: i64,
    },
    /// Bytes of this piece are about to be written.
    Intent {
        piece: u32,
        time: i64,
    },
    /// They are written (not synced). The stamps of the files came just before.
    Written {
        piece: u32,
    },
    /// What this file looks like after our last write; `None`: it is not there.
    Stamp {
        file: u32,
        stamp: Option<Stamp>,
    },
    Durable {
        first: u32,
        count: u32,
    },
    Unsure {
        first: u32,
        count: u32,
    },
    Gone {
        first: u32,
        count: u32,
    },
    DurableBits {
        first: u32,
        bits: Vec<u8>,
    },
    UnsureBits {
        first: u32,
        bits: Vec<u8>,
    },
    /// Everything is synced and stamped.
    Closed,
    /// Whose this file is; `None`: not ours, as far as we know.
    Owner {
        file: u32,
        owner: Option<Owner>,
    },
    /// Files that are not there and that this session may make.
    Claim {
        first: u32,
        count: u32,
    },
    /// The bytes of this file in this piece are in the parts file.
    Parted {
        file: u32,
        piece: u32,
    },
    /// They are in the file itself.
    Joined {
        file: u32,
        piece: u32,
    },
    /// What the torrent is called, for messages about its files to others.
    Name(String),
    /// This file of ours was complete, whatever became of pieces that it shares: what changes in it is the user's.
    Whole {
        file: u32,
    },
    /// A file is moved or renamed.
    Move(MoveRecord),
}

/// When a session began, and its last word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Began {
    /// The boot of the machine in which it ran.
    pub(crate) boot: [u8; 16],
    /// ns since 1970.
    pub(crate) time: i64,
    /// The latest time in any record, ns since 1970.
    pub(crate) last: i64,
}

/// What a journal says.
#[derive(Debug, Clone)]
pub struct State {
    pub(crate) durable: Bitfield,
    pub(crate) unsure: Bitfield,
    /// By file; the parts file has the number after the last file.
    pub(crate) stamps: Stamps,
    /// Unsure pieces that are so because the session wrote them.
    pub(crate) written: BTreeSet<u32>,
    /// Writes that began and did not end, with their time (ns since 1970).
    pub(crate) intents: BTreeMap<u32, i64>,
    /// The last session.
    pub(crate) session: Began,
    pub(crate) closed: bool,
    /// Files that changed since the last session ended in order, as they were then: as long as their times are not
    /// synced, a power cut may bring these back.
    pub(crate) before: BTreeMap<u32, Stamp>,
    /// Files that are ours to write to.
    pub(crate) owners: BTreeMap<u32, Owner>,
    /// Files that were not there when the session began and that it may have made.
    pub(crate) claims: BTreeSet<u32>,
    /// File and piece of bytes that are in the parts file.
    pub(crate) parted: BTreeSet<(u32, u32)>,
    /// Files that were complete and lack a piece; only as long as they are the same inode.
    pub(crate) whole: BTreeSet<u32>,
    /// What the torrent is called; empty where the caller did not say.
    pub(crate) name: String,
    /// Files that were moved or renamed, or are about to be.
    pub(crate) moves: Moves,
    file_count: u32,
}

impl State {
    pub(crate) fn new(piece_count: u32, file_count: u32) -> Self {
        Self {
            durable: Bitfield::new(piece_count),
            unsure: Bitfield::new(piece_count),
            stamps: Stamps::new(file_count),
            written: BTreeSet::new(),
            intents: BTreeMap::new(),
            session: Began { boot: [0; 16], time: 0, last: 0 },
            closed: false,
            before: BTreeMap::new(),
            owners: BTreeMap::new(),
            claims: BTreeSet::new(),
            parted: BTreeSet::new(),
            whole: BTreeSet::new(),
            name: String::new(),
            moves: Moves::default(),
            file_count,
        }
    }

    /// Pieces whose hash matched and whose bytes were synced.
    #[must_use]
    pub fn durable(&self) -> &Bitfield {
        &self.durable
    }

    /// Pieces that may be on disk and have to be looked at.
    #[must_use]
    pub fn unsure(&self) -> &Bitfield {
        &self.unsure
    }

    /// Whether the last session ended in order.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// `false`: the record makes no sense for this torrent, nothing was changed.
    pub(crate) fn apply(&mut self, record: &Record) -> bool {
        let pieces = self.durable.len();
        let fits = |first: u32, count: u32| first.checked_add(count).is_some_and(|end| end <= pieces);
        match *record {
            Record::Identity(_) => return false,
            Record::Session { boot, time } => {
                if self.closed || self.session.boot != boot {
                    self.before.clear();
                    self.claims.clear();
                }
                self.session = Began { boot, time, last: self.session.last.max(time) };
            }
            Record::Intent { piece, time } if fits(piece, 1) => {
                self.intents.insert(piece, time);
                self.mark_unsure(piece);
                self.written.insert(piece);
                self.session.last = self.session.last.max(time);
            }
            Record::Written { piece } if fits(piece, 1) => {
                self.intents.remove(&piece);
                self.mark_unsure(piece);
                self.written.insert(piece);
            }
            Record::Stamp { file, stamp } if file <= self.file_count => {
                let old = match stamp {
                    Some(stamp) => self.stamps.insert(file, stamp),
                    None => self.stamps.remove(file),
                };
                if old.map(|old| old.inode) != stamp.map(|stamp| stamp.inode) {
                    self.whole.remove(&file);
                }
                if let Some(old) = old.filter(|old| Some(*old) != stamp) {
                    self.before.entry(file).or_insert(old);
                }
            }
            Record::Durable { first, count } if fits(first, count) => {
                (first..first + count).for_each(|piece| self.mark_durable(piece));
            }
            Record::Unsure { first, count } if fits(first, count) => {
                (first..first + count).for_each(|piece| self.mark_unsure(piece));
            }
            Record::Gone { first, count } if fits(first, count) => {
                (first..first + count).for_each(|piece| self.mark_gone(piece));
            }
            Record::DurableBits { first, ref bits } if bits_fit(first, bits, pieces) => {
                ones(first, bits).for_each(|piece| self.mark_durable(piece));
            }
            Record::UnsureBits { first, ref bits } if bits_fit(first, bits, pieces) => {
                ones(first, bits).for_each(|piece| self.mark_unsure(piece));
            }
            Record::Name(ref name) => self.name.clone_from(name),
            Record::Closed => {}
            _ if self.apply_to_files(record) => {}
            _ => return false,
        }
        self.closed = matches!(record, Record::Closed);
        true
    }

    /// Whose files are, and where bytes of them lie.
    fn apply_to_files(&mut self, record: &Record) -> bool {
        let pieces = self.durable.len();
        match *record {
            Record::Owner { file, owner } if file < self.file_count => {
                match owner {
                    Some(owner) => self.owners.insert(file, owner),
                    None => self.owners.remove(&file),
                };
            }
            Record::Claim { first, count }
                if first.checked_add(count).is_some_and(|end| end <= self.file_count) =>
            {
                self.claims.extend(first..first + count);
            }
            Record::Parted { file, piece } if file < self.file_count && piece < pieces => {
                self.parted.insert((file, piece));
            }
            Record::Joined { file, piece } if file < self.file_count && piece < pieces => {
                self.parted.remove(&(file, piece));
            }
            Record::Whole { file } if file < self.file_count => {
                self.whole.insert(file);
            }
            Record::Move(ref record) => return self.moves.apply(record, self.file_count),
            _ => return false,
        }
        true
    }

    fn mark_durable(&mut self, piece: u32) {
        self.durable.set(piece);
        self.unsure.clear(piece);
        self.written.remove(&piece);
    }

    fn mark_unsure(&mut self, piece: u32) {
        self.unsure.set(piece);
        self.durable.clear(piece);
        self.written.remove(&piece);
    }

    fn mark_gone(&mut self, piece: u32) {
        self.unsure.clear(piece);
        self.written.remove(&piece);
        self.durable.clear(piece);
        self.intents.remove(&piece);
    }

    /// How a process begins to write. A session that did not end in order goes on, for the times of its files may not
    /// be synced; a new boot found on the disk what is there.
    pub(crate) fn next_session(&self, boot: [u8; 16], now: i64) -> Record {
        let goes_on = !self.closed && self.session.boot == boot;
        Record::Session { boot, time: if goes_on { self.session.time } else { now } }
    }

    /// The fewest records that add up to this state.
    pub(crate) fn records(&self) -> Vec<Record> {
        let stamped = |(file, stamp)| Record::Stamp { file, stamp: Some(stamp) };
        let mut records = Vec::new();
        if !self.name.is_empty() {
            records.push(Record::Name(self.name.clone()));
        }
        records.extend(self.moves.records().into_iter().map(Record::Move));
        if !self.closed {
            records.extend(self.before.iter().map(|(&file, &stamp)| stamped((file, stamp))));
        }
        records.push(Record::Session { boot: self.session.boot, time: self.session.time });
        records.extend(self.stamps.iter().map(stamped));
        records.extend(self.owners.iter().map(|(&file, &owner)| Record::Owner { file, owner: Some(owner) }));
        records.extend(self.whole.iter().map(|&file| Record::Whole { file }));
        records.extend(self.parted.iter().map(|&(file, piece)| Record::Parted { file, piece }));
        if !self.closed {
            let claims: Vec<u32> = self.claims.iter().copied().collect();
            records.extend(runs(&claims).map(|(first, count)| Record::Claim { first, count }));
            let gone = self.before.keys().filter(|file| !self.stamps.contains(**file));
            records.extend(gone.map(|&file| Record::Stamp { file, stamp: None }));
        }
        records.extend(packed(&self.durable).map(|(first, bits)| Record::DurableBits { first, bits }));
        records.extend(packed(&self.unsure).map(|(first, bits)| Record::UnsureBits { first, bits }));
        let ended = self.written.iter().filter(|piece| !self.intents.contains_key(piece));
        records.extend(ended.map(|&piece| Record::Written { piece }));
        records.extend(self.intents.iter().map(|(&piece, &time)| Record::Intent { piece, time }));
        if self.closed {
            records.push(Record::Closed);
        }
        records
    }
}

/// A bitfield in pieces of at most [`BITS_PER_RECORD`]; parts without a set bit are left out.
fn packed(bitfield: &Bitfield) -> impl Iterator<Item = (u32, Vec<u8>)> + '_ {
    let mut parts: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    for piece in bitfield.iter_ones() {
        let first = piece / BITS_PER_RECORD * BITS_PER_RECORD;
        let part = parts.entry(first).or_default();
        let byte = ((piece - first) / 8) as usize;
        if part.len() <= byte {
            part.resize(byte + 1, 0);
        }
        part[byte] |= 1 << (piece % 8);
    }
    parts.into_iter()
}

/// Ascending numbers as runs: first and count.
pub(crate) fn runs(numbers: &[u32]) -> impl Iterator<Item = (u32, u32)> + '_ {
    numbers.chunk_by(|a, b| a + 1 == *b).map(|run| (run[0], run.len() as u32))
}

fn ones(first: u32, bits: &[u8]) -> impl Iterator<Item = u32> + '_ {
    let positions = (0u32..)
        .zip(bits)
        .flat_map(|(at, &byte)| (0..8).filter(move |bit| byte >> bit & 1 == 1).map(move |bit| at * 8 + bit));
    positions.map(move |position| first + position)
}

fn bits_fit(first: u32, bits: &[u8], pieces: u32) -> bool {
    first <= pieces && first.is_multiple_of(8) && ones(0, bits).all(|position| position < pieces - first)
}

/// A journal that could be read.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// Whose it is.
    pub identity: Identity,
    /// What it adds up to.
    pub state: State,
    /// Bytes that count; less than the file when its tail is torn or damaged.
    pub valid_length: usize,
    /// Whether something after `valid_length` had to be ignored.
    pub is_torn: bool,
    /// The checksum that the next record is chained to.
    pub(crate) chain: u32,
    /// Whether this program writes such journals: records may be appended.
    pub(crate) is_current: bool,
}

/// Why bytes are no journal at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// Nothing is there, or not even the head.
    #[error("it is empty or cut off before its first record")]
    Empty,
    /// It begins with something else.
    #[error("it is not a resume journal")]
    NotAJournal,
    /// Written by a newer (or broken) program.
    #[error("its version {0} is not known here")]
    Version(u16),
    /// The first record does not hold.
    #[error("its first record is damaged")]
    Damaged,
}

/// Reads a journal. Never panics, allocates no more than a small multiple of what the bytes and the limits of a
/// torrent allow, and claims only what an intact run of records from the start says.
///
/// # Errors
/// When not even the identity can be read.
pub fn parse(bytes: &[u8]) -> Result<Parsed, JournalError> {
    let (identity, mut rest, mut chain) = take_identity(bytes)?;
    let mut state = State::new(identity.piece_count, identity.file_count);
    let mut valid_length = bytes.len() - rest.len();
    let mut valid_chain = chain;
    while let Some(record) = take_record(&mut rest, &mut chain) {
        if !state.apply(&record) {
            break;
        }
        (valid_length, valid_chain) = (bytes.len() - rest.len(), chain);
    }
    let is_torn = valid_length < bytes.len();
    let is_current = version_of(bytes) == Some(VERSION);
    Ok(Parsed { identity, state, valid_length, is_torn, chain: valid_chain, is_current })
}

/// Hands out the intact records of a journal one by one, without a state in memory; whose it is.
///
/// # Errors
/// As for [`parse`].
pub(crate) fn each_record(bytes: &[u8], mut each: impl FnMut(Record)) -> Result<Identity, JournalError> {
    let (identity, mut rest, mut chain) = take_identity(bytes)?;
    while let Some(record) = take_record(&mut rest, &mut chain) {
        each(record);
    }
    Ok(identity)
}

fn version_of(bytes: &[u8]) -> Option<u16> {
    let version = bytes.get(MAGIC.len()..)?.first_chunk::<2>()?;
    Some(u16::from_le_bytes(*version))
}

/// The head and the first record; what comes after, and what that is chained to.
fn take_identity(bytes: &[u8]) -> Result<(Identity, &[u8], u32), JournalError> {
    let Some((head, mut rest)) = bytes.split_at_checked(MAGIC.len() + 2) else {
        return Err(if MAGIC.starts_with(&bytes[..bytes.len().min(MAGIC.len())]) {
            JournalError::Empty
        } else {
            JournalError::NotAJournal
        });
    };
    if !head.starts_with(MAGIC) {
        return Err(JournalError::NotAJournal);
    }
    let version = version_of(head).unwrap_or(0);
    if !(1..=VERSION).contains(&version) {
        return Err(JournalError::Version(version));
    }
    let mut chain = crc32c(0, head);
    let first = take_record(&mut rest, &mut chain);
    let Some(Record::Identity(identity)) = first else {
        return Err(if rest.is_empty() { JournalError::Empty } else { JournalError::Damaged });
    };
    Ok((identity, rest, chain))
}

fn take_record(bytes: &mut &[u8], chain: &mut u32) -> Option<Record> {
    let (&[kind, low, high], _) = bytes.split_first_chunk::<3>()?;
    let length = usize::from(u16::from_le_bytes([low, high]));
    let (framed, rest) = bytes.split_at_checked(3 + length)?;
    let (checksum, rest) = rest.split_first_chunk::<4>()?;
    let expected = crc32c(*chain, framed);
    if u32::from_le_bytes(*checksum) != expected {
        return None;
    }
    let record = decode(kind, &framed[3..])?;
    *bytes = rest;
    *chain = expected;
    Some(record)
}

/// Turns records into bytes, chained to what came before.
#[derive(Debug)]
pub(crate) struct Encoder {
    pub(crate) bytes: Vec<u8>,
    pub(crate) chain: u32,
}

impl Encoder {
    /// The beginning of a new journal.
    pub(crate) fn begin(identity: &Identity) -> Self {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        let mut encoder = Self { chain: crc32c(0, &bytes), bytes };
        encoder.push(&Record::Identity(identity.clone()));
        encoder
    }

    /// The continuation of a journal.
    pub(crate) fn resume(chain: u32) -> Self {
        Self { bytes: Vec::new(), chain }
    }

    pub(crate) fn push(&mut self, record: &Record) {
        let start = self.bytes.len();
        self.bytes.extend([kind(record), 0, 0]);
        encode_payload(record, &mut self.bytes);
        let length = u16::try_from(self.bytes.len() - start - 3).expect("every payload is below 64 KiB");
        self.bytes[start + 1..start + 3].copy_from_slice(&length.to_le_bytes());
        self.chain = crc32c(self.chain, &self.bytes[start..]);
        self.bytes.extend(self.chain.to_le_bytes());
    }
}

const fn kind(record: &Record) -> u8 {
    match record {
        Record::Identity(_) => 1,
        Record::Session { .. } => 2,
        Record::Intent { .. } => 3,
        Record::Written { .. } => 4,
        Record::Stamp { .. } => 5,
        Record::Durable { .. } => 6,
        Record::Unsure { .. } => 7,
        Record::Gone { .. } => 8,
        Record::DurableBits { .. } => 9,
        Record::UnsureBits { .. } => 10,
        Record::Closed => 11,
        Record::Owner { .. } => 12,
        Record::Claim { .. } => 13,
        Record::Parted { .. } => 14,
        Record::Joined { .. } => 15,
        Record::Name(_) => 16,
        Record::Whole { .. } => 17,
        Record::Move(record) => moves::kind(record),
    }
}

fn encode_payload(record: &Record, out: &mut Vec<u8>) {
    match record {
        Record::Identity(identity) => {
            out.extend(identity.info_hash);
            out.extend(identity.info_hash_v2);
            out.extend(identity.piece_count.to_le_bytes());
            out.extend(identity.file_count.to_le_bytes());
            out.extend(identity.paths);
            // Linux ends paths at 4096 bytes; what is longer could not have been opened.
            let root = identity.root.as_os_str().as_bytes();
            out.extend(&root[..root.len().min(usize::from(u16::MAX) - 100)]);
        }
        Record::Session { boot, time } => {
            out.extend(boot);
            out.extend(time.to_le_bytes());
        }
        Record::Intent { piece, time } => {
            out.extend(piece.to_le_bytes());
            out.extend(time.to_le_bytes());
        }
        Record::Written { piece: number } | Record::Whole { file: number } => {
            out.extend(number.to_le_bytes());
        }
        Record::Stamp { file, stamp } => {
            out.extend(file.to_le_bytes());
            if let Some(stamp) = stamp {
                out.extend(stamp.size.to_le_bytes());
                out.extend(stamp.mtime.to_le_bytes());
                out.extend(stamp.inode.to_le_bytes());
                out.extend(stamp.ctime.to_le_bytes());
            }
        }
        Record::Durable { first, count }
        | Record::Unsure { first, count }
        | Record::Gone { first, count }
        | Record::Claim { first, count } => {
            out.extend(first.to_le_bytes());
            out.extend(count.to_le_bytes());
        }
        Record::DurableBits { first, bits } | Record::UnsureBits { first, bits } => {
            out.extend(first.to_le_bytes());
            out.extend(bits);
        }
        Record::Closed => {}
        Record::Owner { file, owner } => {
            out.extend(file.to_le_bytes());
            if let Some(owner) = owner {
                out.push(match owner.origin {
                    Origin::Made => 0,
                    Origin::Found => 1,
                    Origin::Theirs => 2,
                });
                out.extend(owner.inode.to_le_bytes());
                out.extend(owner.born.to_le_bytes());
            }
        }
        Record::Parted { file, piece } | Record::Joined { file, piece } => {
            out.extend(file.to_le_bytes());
            out.extend(piece.to_le_bytes());
        }
        Record::Name(name) => out.extend(name.as_bytes().iter().take(NAME_MAX)),
        Record::Move(record) => moves::encode(record, out),
    }
}

fn decode(kind: u8, mut payload: &[u8]) -> Option<Record> {
    let p = &mut payload;
    let record = match kind {
        1 => {
            let identity = Identity {
                info_hash: take(p)?,
                info_hash_v2: take(p)?,
                piece_count: u32::from_le_bytes(take(p)?),
                file_count: u32::from_le_bytes(take(p)?),
                paths: take(p)?,
                root: PathBuf::from(std::ffi::OsString::from_vec(std::mem::take(p).to_vec())),
            };
            // Checked before anything is allocated for them.
            if PIECES_MAX < identity.piece_count || FILES_MAX < identity.file_count as usize {
                return None;
            }
            Record::Identity(identity)
        }
        2 => Record::Session { boot: take(p)?, time: i64::from_le_bytes(take(p)?) },
        3 => Record::Intent { piece: u32::from_le_bytes(take(p)?), time: i64::from_le_bytes(take(p)?) },
        4 => Record::Written { piece: u32::from_le_bytes(take(p)?) },
        5 => Record::Stamp { file: u32::from_le_bytes(take(p)?), stamp: take_stamp(p)? },
        6..=8 | 13 => {
            let (first, count) = (u32::from_le_bytes(take(p)?), u32::from_le_bytes(take(p)?));
            match kind {
                6 => Record::Durable { first, count },
                7 => Record::Unsure { first, count },
                13 => Record::Claim { first, count },
                _ => Record::Gone { first, count },
            }
        }
        9 | 10 => {
            let (first, bits) = (u32::from_le_bytes(take(p)?), std::mem::take(p).to_vec());
            if kind == 9 { Record::DurableBits { first, bits } } else { Record::UnsureBits { first, bits } }
        }
        11 => Record::Closed,
        12 => Record::Owner { file: u32::from_le_bytes(take(p)?), owner: take_owner(p)? },
        14 | 15 => {
            let (file, piece) = (u32::from_le_bytes(take(p)?), u32::from_le_bytes(take(p)?));
            if kind == 14 { Record::Parted { file, piece } } else { Record::Joined { file, piece } }
        }
        17 => Record::Whole { file: u32::from_le_bytes(take(p)?) },
        16 if p.len() <= NAME_MAX => Record::Name(String::from_utf8_lossy(std::mem::take(p)).into_owned()),
        _ => Record::Move(moves::decode(kind, p)?),
    };
    p.is_empty().then_some(record)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (array, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*array)
}

fn take_owner(bytes: &mut &[u8]) -> Option<Option<Owner>> {
    if bytes.is_empty() {
        return Some(None);
    }
    let origin = match take(bytes)? {
        [0] => Origin::Made,
        [1] => Origin::Found,
        [2] => Origin::Theirs,
        _ => return None,
    };
    let inode = u64::from_le_bytes(take(bytes)?);
    Some(Some(Owner { origin, inode, born: i64::from_le_bytes(take(bytes)?) }))
}

fn take_stamp(bytes: &mut &[u8]) -> Option<Option<Stamp>> {
    if bytes.is_empty() {
        return Some(None);
    }
    let size = u64::from_le_bytes(take(bytes)?);
    let mtime = i64::from_le_bytes(take(bytes)?);
    let inode = u64::from_le_bytes(take(bytes)?);
    let ctime = if bytes.is_empty() { 0 } else { i64::from_le_bytes(take(bytes)?) };
    Some(Some(Stamp { size, mtime, inode, ctime }))
}

#[cfg(test)]
pub(crate) mod tests;
