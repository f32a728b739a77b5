//! What is said of a torrent, as bytes.

use std::collections::{BTreeMap, HashSet};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use ferri_metainfo::FileIndex;

use crate::crc32c::crc32c;
use crate::register::Claim;

/// Of a torrent that lacks more files than this, the first are claimed: half a mebibyte of hashes. The others meet where they
/// are made.
const FILES_MAX: usize = 1 << 16;

/// Bytes of a head: those of the longest path that Linux takes and of a name, and some.
pub(super) const HEAD_LENGTH_MAX: usize = 8 << 10;

/// Bytes of a name that are told, for messages.
const NAME_MAX: usize = 255;

/// The length of a head and its checksum.
pub(super) const FRAME_LENGTH: usize = 8;

/// The paths of a claim.
pub(super) struct Paths {
    info_hash: [u8; 20],
    pub(super) base: PathBuf,
    name: String,
    files: Vec<(u64, FileIndex)>,
    /// All that these lie in, each with a file in it.
    folders: BTreeMap<u64, FileIndex>,
}

/// What is said of a torrent, without the paths.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub(super) info_hash: [u8; 20],
    /// The folder or only file that holds all of its files.
    pub(super) base: PathBuf,
    pub(super) name: String,
    files: u32,
    folders: u32,
    checksum: u32,
}

/// The paths of another process's torrent.
pub(super) struct Hashes {
    files: HashSet<u64>,
    folders: HashSet<u64>,
}

impl Paths {
    pub(super) fn of(claim: &Claim) -> Self {
        let mut paths = Self {
            info_hash: *claim.info.info_hashes().wire().as_bytes(),
            base: claim.base(),
            name: claim.info.name().to_owned(),
            files: Vec::new(),
            folders: BTreeMap::new(),
        };
        claim.each(|file, path| {
            paths.files.push((hash(&path), file));
            for folder in path.ancestors().skip(1) {
                // Those above it came with it.
                if paths.folders.insert(hash(folder), file).is_some() {
                    break;
                }
            }
            (FILES_MAX <= paths.files.len()).then_some(file)
        });
        paths
    }

    /// The first file that cannot be made beside those of a torrent that says this.
    pub(super) fn clash(&self, other: &Hashes) -> Option<FileIndex> {
        let is_met = |path: &u64| other.files.contains(path) || other.folders.contains(path);
        let file = self.files.iter().find(|(path, _)| is_met(path));
        let above = || self.folders.iter().find(|(folder, _)| other.files.contains(folder));
        file.map(|(_, file)| *file).or_else(|| above().map(|(_, file)| *file))
    }

    pub(super) fn record(&self) -> Vec<u8> {
        let mut hashes = Vec::with_capacity(8 * (self.files.len() + self.folders.len()));
        hashes.extend(self.files.iter().flat_map(|(path, _)| path.to_le_bytes()));
        hashes.extend(self.folders.keys().flat_map(|path| path.to_le_bytes()));
        let mut head = self.info_hash.to_vec();
        // Linux ends paths at 4096 bytes; what is longer could not have been opened.
        for (text, most) in [(self.base.as_os_str().as_bytes(), 4096), (self.name.as_bytes(), NAME_MAX)] {
            let text = &text[..text.len().min(most)];
            head.extend(u16::try_from(text.len()).unwrap_or(0).to_le_bytes());
            head.extend(text);
        }
        head.extend(u32::try_from(self.files.len()).unwrap_or(0).to_le_bytes());
        head.extend(u32::try_from(self.folders.len()).unwrap_or(0).to_le_bytes());
        head.extend(crc32c(0, &hashes).to_le_bytes());
        let mut record = u32::try_from(head.len()).unwrap_or(0).to_le_bytes().to_vec();
        record.extend(crc32c(0, &head).to_le_bytes());
        record.extend(head);
        record.extend(hashes);
        record
    }
}

impl Head {
    /// The length of a head, from what stands before it. `None`: there is none that long.
    pub(super) fn length(frame: [u8; FRAME_LENGTH]) -> Option<usize> {
        let [a, b, c, d, ..] = frame;
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        (length <= HEAD_LENGTH_MAX).then_some(length)
    }

    /// `None`: it is damaged.
    pub(super) fn parse(frame: [u8; FRAME_LENGTH], mut bytes: &[u8]) -> Option<Self> {
        let [.., a, b, c, d] = frame;
        if crc32c(0, bytes) != u32::from_le_bytes([a, b, c, d]) {
            return None;
        }
        let p = &mut bytes;
        let info_hash = take(p)?;
        let base = u16::from_le_bytes(take(p)?);
        let base = PathBuf::from(std::ffi::OsStr::from_bytes(take_slice(p, base.into())?));
        let name = u16::from_le_bytes(take(p)?);
        let name = String::from_utf8_lossy(take_slice(p, name.into())?).into_owned();
        let (files, folders) = (u32::from_le_bytes(take(p)?), u32::from_le_bytes(take(p)?));
        let checksum = u32::from_le_bytes(take(p)?);
        p.is_empty().then_some(Self { info_hash, base, name, files, folders, checksum })
    }

    /// Bytes of its hashes.
    pub(super) fn hashes_length(&self) -> u64 {
        8 * (u64::from(self.files) + u64::from(self.folders))
    }

    /// Its hashes; `None`: they are damaged.
    pub(super) fn hashes(&self, bytes: &[u8]) -> Option<Hashes> {
        if bytes.len() as u64 != self.hashes_length() || crc32c(0, bytes) != self.checksum {
            return None;
        }
        let (files, folders) = bytes.split_at_checked(self.files as usize * 8)?;
        let parsed =
            |bytes: &[u8]| bytes.as_chunks().0.iter().map(|hash| u64::from_le_bytes(*hash)).collect();
        Some(Hashes { files: parsed(files), folders: parsed(folders) })
    }
}

/// How many intact records these bytes begin with; for the fuzz target, since such bytes come from another process.
#[must_use]
pub fn intact_claims(mut bytes: &[u8]) -> usize {
    let next = || {
        let p = &mut bytes;
        let frame = take(p)?;
        let head = Head::parse(frame, take_slice(p, Head::length(frame)?)?)?;
        head.hashes(take_slice(p, usize::try_from(head.hashes_length()).ok()?)?)
    };
    std::iter::from_fn(next).count()
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (array, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*array)
}

fn take_slice<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (slice, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(slice)
}

/// The same in every process.
fn hash(path: &Path) -> u64 {
    let digest = ferri_hash::sha1(path.as_os_str().as_bytes());
    u64::from_le_bytes(*digest.first_chunk().expect("8 of 20 bytes"))
}
