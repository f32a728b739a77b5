//! What a torrent sent and received in all its sessions: a small file beside its journal.
//!
//! ```text
//! "ferritot"  version u16  number u64  uploaded u64  downloaded u64  wasted u64  seeding u64  active u64  checksum u32
//! ```
//! All numbers are little-endian, times are in milliseconds, and the checksum is the CRC-32C of what comes before it. The
//! file has two such slots, each in a sector of its own, which are written in turn, in place: the one with the higher number
//! counts, and a write that is cut off leaves the one before. Nothing is synced for it: what was written survives the death
//! of the process, and a power cut takes what the kernel had not written back yet.
//!
//! It says nothing about what is on disk, so that it gives no torrent a right to any file.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::atomic::{PRIVATE_FILE, read_whole, write_all};
use crate::crc32c::crc32c;
use crate::error::StorageError;
use crate::faults::Op;
use crate::resume::set_aside;
use crate::storage::Storage;
use crate::witness::{Change, errno};

const MAGIC: &[u8; 8] = b"ferritot";
const VERSION: u16 = 1;
/// Bytes of a slot.
const SLOT: usize = 8 + 2 + 6 * 8 + 4;
/// Where the second slot is. A disk writes a sector whole or not at all.
const SECTOR: usize = 512;

/// What was done for a torrent, in all its sessions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Payload bytes sent.
    pub uploaded: u64,
    /// Payload bytes received, useful or not.
    pub downloaded: u64,
    /// Payload bytes received in vain.
    pub wasted: u64,
    /// How long it was complete and served.
    pub seeding: Duration,
    /// How long it was at work, complete or not.
    pub active: Duration,
}

impl Totals {
    /// The larger of both in each: totals only grow.
    #[must_use]
    pub fn or_more(&self, other: &Self) -> Self {
        Self {
            uploaded: self.uploaded.max(other.uploaded),
            downloaded: self.downloaded.max(other.downloaded),
            wasted: self.wasted.max(other.wasted),
            seeding: self.seeding.max(other.seeding),
            active: self.active.max(other.active),
        }
    }
}

impl Storage {
    /// What was noted last; zeros when nothing was, or without a state folder. Call after [`Storage::resume`], which keeps
    /// other processes away. A damaged file is renamed to `totals.aside-N`, and the second value says so.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn read_totals(&self) -> Result<(Totals, Option<String>), StorageError> {
        let Some(path) = self.state_folder().map(|folder| folder.join("totals")) else {
            return Ok((Totals::default(), None));
        };
        let bytes = match read(&path) {
            Ok(bytes) => bytes,
            Err(Errno::NOENT) => return Ok((Totals::default(), None)),
            // A folder or a link: whatever it is, it is not ours.
            Err(Errno::LOOP | Errno::ISDIR) => vec![0],
            Err(errno) => return Err(StorageError::reading(&path, errno)),
        };
        // A process that died before its first word left it.
        if bytes.is_empty() {
            return Ok((Totals::default(), None));
        }
        if let Some((number, totals)) = newest(&bytes) {
            *self.last_slot() = number;
            return Ok((totals, None));
        }
        let aside = set_aside(&path, self.hooks())?;
        let note = format!(
            "what was sent and received before is not known: it was damaged, and set aside as {}",
            aside.display()
        );
        Ok((Totals::default(), Some(note)))
    }

    /// Notes totals in place of those before. Nothing is noted without a state folder.
    ///
    /// # Errors
    /// When the file cannot be written; what was noted before stands.
    pub fn write_totals(&self, totals: &Totals) -> Result<(), StorageError> {
        let Some(path) = self.state_folder().map(|folder| folder.join("totals")) else { return Ok(()) };
        // Held meanwhile: two writers would take the same slot.
        let mut last = self.last_slot();
        let number = *last + 1;
        let written = self.put_totals(&path, number, totals);
        written.map_err(|errno| StorageError::writing(&path, errno))?;
        *last = number;
        Ok(())
    }

    fn last_slot(&self) -> MutexGuard<'_, u64> {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put_totals(&self, path: &Path, number: u64, totals: &Totals) -> Result<(), Errno> {
        let hooks = self.hooks();
        let mut is_new = false;
        let file = hooks.call(Op::JournalOpen, path, || match options().write(true).open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                is_new = true;
                options().write(true).create_new(true).open(path).map_err(errno)
            }
            opened => opened.map_err(errno),
        })?;
        if is_new {
            hooks.tell(Change::FileCreated(path));
        }
        let offset = number % 2 * SECTOR as u64;
        write_all(&file, path, offset, &encode(number, totals), hooks)
    }
}

/// A link in its place is not followed.
fn options() -> OpenOptions {
    let mut options = File::options();
    options
        .mode(PRIVATE_FILE)
        .custom_flags((OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK).bits().cast_signed());
    options
}

fn read(path: &Path) -> Result<Vec<u8>, Errno> {
    let file = options().read(true).open(path).map_err(errno)?;
    // More than this is not ours, and is not read.
    read_whole(&file, (2 * SECTOR) as u64, (2 * SECTOR) as u64).map_err(errno)
}

/// The slot that was written last.
fn newest(bytes: &[u8]) -> Option<(u64, Totals)> {
    let slots = [0, SECTOR].into_iter().filter_map(|at| decode(bytes.get(at..at + SLOT)?));
    slots.max_by_key(|(number, _)| *number)
}

fn encode(number: u64, totals: &Totals) -> Vec<u8> {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let Totals { uploaded, downloaded, wasted, seeding, active } = *totals;
    let mut bytes = Vec::with_capacity(SLOT);
    bytes.extend(MAGIC);
    bytes.extend(VERSION.to_le_bytes());
    for value in [number, uploaded, downloaded, wasted, millis(seeding), millis(active)] {
        bytes.extend(value.to_le_bytes());
    }
    bytes.extend(crc32c(0, &bytes).to_le_bytes());
    bytes
}

fn decode(slot: &[u8]) -> Option<(u64, Totals)> {
    let (content, checksum) = slot.split_last_chunk::<4>()?;
    let (values, _) = content.strip_prefix(MAGIC)?.strip_prefix(&VERSION.to_le_bytes())?.as_chunks::<8>();
    let &[number, uploaded, downloaded, wasted, seeding, active] = values else { return None };
    if u32::from_le_bytes(*checksum) != crc32c(0, content) {
        return None;
    }
    let [uploaded, downloaded, wasted] = [uploaded, downloaded, wasted].map(u64::from_le_bytes);
    let [seeding, active] = [seeding, active].map(|time| Duration::from_millis(u64::from_le_bytes(time)));
    Some((u64::from_le_bytes(number), Totals { uploaded, downloaded, wasted, seeding, active }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOME: Totals = Totals {
        uploaded: 1,
        downloaded: 0x0203_0405_0607_0809,
        wasted: 3,
        seeding: Duration::from_millis(4),
        active: Duration::from_millis(5),
    };

    #[test]
    fn a_slot_is_what_the_head_of_this_file_says() {
        let slot = encode(7, &SOME);
        assert_eq!(slot.len(), SLOT);
        let expected = b"ferritot\x01\0\x07\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x09\x08\x07\x06\x05\x04\x03\x02\
            \x03\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0";
        assert_eq!(&slot[..SLOT - 4], expected);
        assert_eq!(decode(&slot), Some((7, SOME)));
    }

    #[test]
    fn one_wrong_bit_anywhere_spoils_a_slot() {
        let slot = encode(7, &SOME);
        for bit in 0..8 * SLOT {
            let mut damaged = slot.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&damaged), None, "bit {bit}");
        }
        (0..SLOT).for_each(|length| assert_eq!(decode(&slot[..length]), None));
    }

    #[test]
    fn the_newer_of_two_whole_slots_counts() {
        let file = |first: &[u8], second: &[u8]| {
            let mut bytes = first.to_vec();
            bytes.resize(SECTOR, 0);
            bytes.extend(second);
            bytes
        };
        let (old, new) = (encode(8, &Totals::default()), encode(9, &SOME));
        assert_eq!(newest(&file(&old, &new)), Some((9, SOME)));
        assert_eq!(newest(&file(&new, &old)), Some((9, SOME)));
        assert_eq!(newest(&file(&old, &new[..SLOT - 1])), Some((8, Totals::default())));
        assert_eq!(newest(&file(&[], &new)), Some((9, SOME)));
        assert_eq!(newest(&file(&[], &[])), None);
    }
}
