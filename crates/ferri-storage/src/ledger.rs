//! What we know of our pieces on disk, and the journal file that remembers it.
//!
//! **Own writes and changes by others.** Every own write is announced (`Intent`) before its first byte and ended
//! (`Written`) with the size, time and inode its files then have, taken under the same lock that orders the journal.
//! So, as long as no write is under way, the last stamp in the journal is exactly what a file looks like if no other
//! program touched it: before the next own write and at the next start a difference is a change by another program, and
//! the file's pieces become unsure. After a crash in the middle of a write the file's time may only lie between the
//! last stamp and shortly after the `Intent`; see `resume`. A program that sets the old time again is seen by the
//! `ctime`, which no program can set; what we do to the inode ourselves (mode, name) is stamped too. What this cannot see
//! is a change made during our own write of the same file.
//!
//! **Cost.** Two small appends and two `fstat` a piece. The journal is synced by [`Ledger::commit`], and before the first
//! write to files that the session makes or takes, once for all of them.

mod moves;
mod places;
mod touched;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ferri_metainfo::{Bitfield, FileIndex, Layout, PieceIndex};
use rustix::io::Errno;

use crate::atomic::{self, PRIVATE_FILE};
use crate::clock::{boot_id, now};
use crate::disk::OpenFile;
use crate::error::StorageError;
use crate::faults::Op;
use crate::journal::{Encoder, Identity, Owner, Record, Stamp, State, runs};
use crate::lock::{LockOwner, TorrentLock};
use crate::stamp::Likeness;
use crate::witness::{Change, Hooks, Synced, errno};

pub(crate) use places::{InParts, losing};
pub(crate) use touched::Retouched;

/// It is rewritten when it is this many times what the rewritten one would be.
const COMPACT_FACTOR: u64 = 4;

/// The time of a file may differ from that of the record about it by this much (ns): clocks of files are coarse, and
/// the kernel sets them when the write begins.
pub(crate) const WRITE_DELAY: i64 = 2_000_000_000;

/// A file to be written, by its number in the journal.
pub(crate) type Numbered<'a> = (u32, &'a OpenFile);

/// Shared by all threads that work on a torrent.
#[derive(Debug)]
pub(crate) struct Ledger {
    layout: Layout,
    /// A journal below this length is not worth rewriting.
    compact_length: u64,
    hooks: Hooks,
    /// How many runs of bytes are in the parts file. Written with `inner` locked.
    parted_count: AtomicUsize,
    /// What was removed after a move may be there again after a power cut, so the journal goes on to name it.
    may_come_back: AtomicBool,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: State,
    journal: Option<Journal>,
    /// Writes under way, by file. Never 0.
    flights: BTreeMap<u32, u32>,
    /// Pieces that are verified and on their way to the disk, with the number of their last write. All are unsure.
    pending: BTreeMap<u32, u64>,
    writes: u64,
    /// When the session that is to be opened began, if before its first write.
    session_since: Option<i64>,
    /// Pieces that were durable or pending until the sync of their file failed or another program changed it, and that
    /// were not looked at since. All are unsure.
    doubtful: BTreeSet<u32>,
    /// Files with bytes that were not synced.
    dirty: BTreeSet<u32>,
    /// Files that were written since the last close: their times may not be synced.
    touched: BTreeSet<u32>,
    /// Folders (beneath the root) with entries that were not synced.
    dirty_folders: BTreeSet<PathBuf>,
    /// Files of which only the inode changed since the last stamp, until their bytes were looked at.
    retouched: BTreeMap<u32, Retouched>,
    /// Files that are not there and may be made...
    claims: BTreeSet<u32>,
    /// ...of which the session is to say so.
    is_claim_due: bool,
}

/// What a sync has to do, as of its beginning.
#[derive(Debug, Default)]
pub(crate) struct Dirty {
    pub(crate) files: BTreeSet<u32>,
    pub(crate) folders: BTreeSet<PathBuf>,
    pending: BTreeMap<u32, u64>,
}

impl Ledger {
    /// Knows nothing and remembers nothing, until [`Self::start`].
    pub(crate) fn new(layout: Layout, compact_length: u64, hooks: Hooks) -> Self {
        let inner = Inner {
            state: State::new(layout.piece_count(), parts_number(&layout)),
            journal: None,
            flights: BTreeMap::new(),
            pending: BTreeMap::new(),
            writes: 0,
            session_since: None,
            doubtful: BTreeSet::new(),
            dirty: BTreeSet::new(),
            touched: BTreeSet::new(),
            dirty_folders: BTreeSet::new(),
            retouched: BTreeMap::new(),
            claims: BTreeSet::new(),
            is_claim_due: false,
        };
        let (parted_count, may_come_back) = (AtomicUsize::new(0), AtomicBool::new(false));
        Self { layout, compact_length, hooks, parted_count, may_come_back, inner: Mutex::new(inner) }
    }

    /// A file may be made before the first write is announced, and a slow disk takes its time for that. The session began
    /// before, or the file would seem to be older than the session after a power cut.
    pub(crate) fn about_to_create(&self) {
        let mut inner = self.lock();
        if inner.journal.as_ref().is_some_and(|journal| !journal.in_session) {
            inner.session_since.get_or_insert_with(now);
        }
    }

    /// Takes over what a journal said, and goes on writing to it. `retouched` are files whose stamp is the old one.
    pub(crate) fn start(&self, state: State, journal: Option<Journal>, retouched: BTreeMap<u32, Retouched>) {
        let mut inner = self.lock();
        inner.retouched = retouched;
        if !state.closed {
            // Who wrote these died before it synced their times.
            let since = state.session.time.saturating_sub(WRITE_DELAY);
            let of_session = state.stamps.iter().filter(|(_, stamp)| since <= stamp.mtime);
            inner.touched = of_session.map(|(number, _)| number).collect();
        }
        self.parted_count.store(state.parted.len(), Ordering::Release);
        inner.state = state;
        inner.journal = journal;
        inner.pending.clear();
    }

    /// Pieces that are on disk as far as we know, synced or not.
    pub(crate) fn on_disk(&self) -> Bitfield {
        let inner = self.lock();
        let mut have = inner.state.durable.clone();
        inner.pending.keys().for_each(|&piece| {
            have.set(piece);
        });
        have
    }

    /// A write is about to begin. With `piece`, it is the first of the writes that make up this piece.
    ///
    /// # Errors
    /// [`StorageError::Missing`] when a file was removed or replaced while we hold it open; an error of the journal,
    /// and then nothing must be written, for it could not be told from a stranger's change.
    pub(crate) fn begin(&self, piece: Option<u32>, files: &[Numbered<'_>]) -> Result<(), StorageError> {
        let mut inner = self.lock();
        // Also for bytes of no piece: the files change.
        inner.open_session(&self.hooks);
        inner.flush(&self.hooks)?;
        inner.sync_announced(&self.hooks)?;
        let mut records = Vec::new();
        for &(number, file) in files {
            let now = Stamp::of_open(file)?;
            let known = inner.state.stamps.get(number);
            let is_same = |known: Stamp| now.is_some_and(|now| now.compare(&known) == Likeness::Same);
            if !inner.flights.contains_key(&number) && known.is_some_and(|known| !is_same(known)) {
                tracing::warn!(path = %file.path().display(), "changed by another program; its pieces are to be checked again");
                records.extend(self.doubt(&mut inner, number));
                records.push(Record::Stamp { file: number, stamp: now });
                inner.retouched.remove(&number);
            }
            if now.is_none() {
                inner.append(&records, &self.hooks)?;
                return Err(StorageError::Missing { path: file.path().into() });
            }
        }
        if let Some(piece) = piece {
            records.push(Record::Intent { piece, time: now() });
            inner.pending.remove(&piece);
            inner.doubtful.remove(&piece);
        }
        inner.append(&records, &self.hooks)?;
        for &(number, _) in files {
            *inner.flights.entry(number).or_default() += 1;
        }
        Ok(())
    }

    /// The write has ended; `record` is what is to be said of the piece when it was the last one.
    pub(crate) fn end(&self, record: Option<Ended>, files: &[Numbered<'_>]) {
        let mut inner = self.lock();
        let mut records = Vec::with_capacity(files.len() + 1);
        for &(number, file) in files {
            inner.land(number);
            inner.mark_dirty(number);
            inner.retouched.remove(&number);
            if let Ok(stamp) = Stamp::of_open(file) {
                records.push(Record::Stamp { file: number, stamp });
            }
        }
        match record {
            Some(Ended::Written(piece)) => {
                records.push(Record::Written { piece });
                inner.writes += 1;
                let write = inner.writes;
                inner.pending.insert(piece, write);
            }
            Some(Ended::Failed(piece)) => records.push(Record::Gone { first: piece, count: 1 }),
            None => {}
        }
        // The data is written whether or not the journal took it: what it did not take waits, and the next
        // `begin`, `commit` or `probe` reports the error.
        let _ = inner.append(&records, &self.hooks);
    }

    /// We made, cut, grew or took a file: its look before (`None`: it was not there) and after, and whose it is from here on,
    /// if that changed.
    pub(crate) fn own_change(
        &self,
        number: u32,
        before: Option<Stamp>,
        owner: Option<Owner>,
        file: &OpenFile,
    ) -> Result<(), StorageError> {
        let after = Stamp::of_open(file)?;
        let mut inner = self.lock();
        let mut records = Vec::new();
        let known = inner.state.stamps.get(number);
        // In a file that was not there is nothing, whatever was known of its pieces.
        let is_as_known = before.zip(known).is_none_or(|(now, known)| now.compare(&known) == Likeness::Same);
        if before.is_none() || !is_as_known {
            records.extend(self.doubt(&mut inner, number));
        }
        records.push(Record::Stamp { file: number, stamp: after });
        inner.mark_dirty(number);
        inner.retouched.remove(&number);
        match owner {
            Some(owner) => inner.append_owner(records, number, Some(owner), &self.hooks),
            None => inner.append(&records, &self.hooks),
        }
    }

    /// What is known of a file's pieces no longer holds: its bytes are about to move, or it is not in its place.
    pub(crate) fn distrust(&self, number: u32) -> Result<(), StorageError> {
        let mut inner = self.lock();
        let records = self.doubt(&mut inner, number);
        inner.append(&records, &self.hooks)
    }

    /// Before a check reads a file that has no stamp yet: what is found holds for the file as it is now.
    pub(crate) fn stamp_before_check(&self, number: u32, file: &OpenFile) {
        let mut inner = self.lock();
        if !inner.state.stamps.contains(number)
            && let Ok(Some(stamp)) = Stamp::of_open(file)
        {
            let _ = inner.append(&[Record::Stamp { file: number, stamp: Some(stamp) }], &self.hooks);
        }
    }

    /// The same for many at once.
    pub(crate) fn stamp_all_before_check(&self, seen: &[(u32, Stamp)]) {
        let mut inner = self.lock();
        let known = &inner.state.stamps;
        let unknown = seen.iter().filter(|(number, _)| !known.contains(*number));
        let records: Vec<_> =
            unknown.map(|&(file, stamp)| Record::Stamp { file, stamp: Some(stamp) }).collect();
        if !records.is_empty() {
            let _ = inner.append(&records, &self.hooks);
        }
    }

    pub(crate) fn has_stamp(&self, number: u32) -> bool {
        self.lock().state.stamps.contains(number)
    }

    /// What a file looked like when we last wrote to it or looked at it.
    pub(crate) fn stamp(&self, number: u32) -> Option<Stamp> {
        self.lock().state.stamps.get(number)
    }

    /// Whether anything is known to be in the download folder.
    pub(crate) fn has_stamps(&self) -> bool {
        self.lock().state.stamps.files().next().is_some()
    }

    /// A check read these pieces from the disk, and their hashes matched or did not. `files` hold their bytes.
    pub(crate) fn checked(&self, results: &[(PieceIndex, bool)], files: impl Iterator<Item = u32>) {
        let mut inner = self.lock();
        let mut records: Vec<_> =
            self.about_to_lose(&inner, results).into_iter().map(|file| Record::Whole { file }).collect();
        records.extend(self.looked_into(&mut inner, results));
        for &(piece, matched) in results {
            let piece = piece.get();
            inner.doubtful.remove(&piece);
            let (durable, unsure) = (inner.state.durable.get(piece), inner.state.unsure.get(piece));
            if matched && !durable {
                if !unsure {
                    records.push(Record::Unsure { first: piece, count: 1 });
                }
                inner.writes += 1;
                let write = inner.writes;
                inner.pending.insert(piece, write);
            } else if !matched && (durable || unsure) && !inner.state.intents.contains_key(&piece) {
                inner.pending.remove(&piece);
                records.push(Record::Gone { first: piece, count: 1 });
            }
        }
        if results.iter().any(|(piece, _)| inner.pending.contains_key(&piece.get())) {
            // Verified bytes may still be on their way to the disk.
            inner.dirty.extend(files);
        }
        // What the journal cannot take waits, and is told by the next sync.
        if !records.is_empty() {
            let _ = inner.append(&records, &self.hooks);
        }
    }

    pub(crate) fn add_dirty_folders<'a>(&self, folders: impl Iterator<Item = &'a Path>) {
        let mut inner = self.lock();
        for folder in folders {
            if !inner.dirty_folders.contains(folder) {
                inner.dirty_folders.insert(folder.to_path_buf());
            }
        }
    }

    /// The beginning of a sync: what has to be synced before [`Self::commit`].
    pub(crate) fn take_dirty(&self) -> Dirty {
        let mut inner = self.lock();
        Dirty {
            files: std::mem::take(&mut inner.dirty),
            folders: std::mem::take(&mut inner.dirty_folders),
            pending: inner.pending.clone(),
        }
    }

    /// The same for the last sync: with all files whose times may not be synced.
    pub(crate) fn take_touched(&self) -> Dirty {
        let mut dirty = self.take_dirty();
        dirty.files.append(&mut self.lock().touched);
        dirty
    }

    /// A sync did not succeed: the files are dirty still. The pieces in `failed` files can no longer be trusted to
    /// reach the disk (the kernel may have thrown the bytes away), so they stay unsure until they are checked.
    pub(crate) fn put_back(&self, dirty: Dirty, failed: &BTreeSet<u32>) {
        let mut inner = self.lock();
        // Their times are not synced either.
        inner.touched.extend(dirty.files.iter().copied());
        inner.dirty.extend(dirty.files);
        inner.dirty_folders.extend(dirty.folders);
        self.doubt_pending(&mut inner, failed);
    }

    /// Compares a file with what is known of it, and with a change by another program that was `accepted`. Pieces of a
    /// file that another program changed are in doubt from here on; its stamp stays, so that the next start sees the
    /// change too.
    ///
    /// # Errors
    /// Those of `stat`, and of the journal.
    pub(crate) fn look(
        &self,
        number: u32,
        accepted: Option<Stamp>,
        stat: impl FnOnce() -> Result<Option<Stamp>, StorageError>,
    ) -> Result<Looked, StorageError> {
        // Under the lock, or a write of ours between the two would look like a stranger's.
        let mut inner = self.lock();
        if inner.flights.contains_key(&number) {
            return Ok(Looked::Busy);
        }
        let Some(now) = stat()? else { return Ok(Looked::Gone) };
        let Some(known) = inner.state.stamps.get(number) else { return Ok(Looked::Unknown) };
        if now.compare(&known) == Likeness::Same || Some(now) == accepted {
            return Ok(Looked::Same(now));
        }
        if (now.size, now.mtime) == (known.size, known.mtime) {
            return Ok(Looked::Inode(now));
        }
        let records = self.doubt(&mut inner, number);
        inner.append(&records, &self.hooks)?;
        Ok(Looked::Changed(now))
    }

    /// A piece that was there turned out not to be.
    pub(crate) fn doubt_piece(&self, piece: PieceIndex) -> Result<(), StorageError> {
        let mut inner = self.lock();
        let piece = piece.get();
        inner.pending.remove(&piece);
        inner.doubtful.insert(piece);
        let is_durable = inner.state.durable.get(piece);
        let record = Record::Unsure { first: piece, count: 1 };
        inner.append(if is_durable { std::slice::from_ref(&record) } else { &[] }, &self.hooks)
    }

    pub(crate) fn is_doubtful(&self, piece: PieceIndex) -> bool {
        self.lock().doubtful.contains(&piece.get())
    }

    pub(crate) fn has_doubts(&self) -> bool {
        !self.lock().doubtful.is_empty()
    }

    /// Pieces to be checked again.
    pub(crate) fn doubtful(&self) -> Vec<PieceIndex> {
        self.lock().doubtful.iter().filter_map(|&piece| self.layout.piece(piece)).collect()
    }

    /// The end of a sync: the data is safe, so the pieces that were pending at its beginning are durable, and the
    /// journal is synced to say so.
    pub(crate) fn commit(&self, dirty: &Dirty) -> Result<(), StorageError> {
        let (file, length) = {
            let mut inner = self.lock();
            let inner = &mut *inner;
            let mut durable = Vec::new();
            for (&piece, write) in &dirty.pending {
                // Written again meanwhile? Then the bytes that were synced are not the bytes that will be there.
                if inner.pending.get(&piece) == Some(write) {
                    inner.pending.remove(&piece);
                    durable.push(piece);
                }
            }
            let records: Vec<_> =
                runs(&durable).map(|(first, count)| Record::Durable { first, count }).collect();
            inner.append(&records, &self.hooks)?;
            inner.compact_when_large(self.compact_length, &self.hooks);
            let Some(journal) = &mut inner.journal else { return Ok(()) };
            if journal.length == journal.synced_length {
                journal.rest();
                return Ok(());
            }
            let length = journal.length;
            let Some(file) = journal.open(&self.hooks)? else {
                // It was removed or replaced since the last append.
                return journal.rewrite(&inner.state, &self.hooks);
            };
            (file.try_clone().map_err(|error| StorageError::writing_io(&journal.path, error))?, length)
        };
        // Not under the lock: a slow disk must not hold up the writers.
        let path = self.journal_path();
        let synced = self.hooks.sync((Op::JournalSync, &path, Synced::Data), || rustix::fs::fdatasync(&file));
        if let Some(journal) = &mut self.lock().journal {
            match synced {
                Ok(()) => journal.synced_length = journal.synced_length.max(length),
                // The kernel may have thrown away what was appended, and never says so again.
                Err(_) => journal.is_doubtful = true,
            }
            journal.rest();
        }
        synced.map_err(|errno| StorageError::writing(&path, errno))
    }

    /// Says that everything is in order; the next start will need no check. Call after a full sync.
    pub(crate) fn close(&self) -> Result<(), StorageError> {
        let mut inner = self.lock();
        if inner.journal.as_ref().is_some_and(|journal| journal.in_session) && inner.flights.is_empty() {
            inner.append(&[Record::Closed], &self.hooks)?;
            if let Some(journal) = &mut inner.journal {
                (journal.in_session, journal.announced_synced) = (false, false);
            }
        }
        drop(inner);
        self.commit(&Dirty::default())?;
        if let Some(journal) = &mut self.lock().journal {
            journal.lock = None;
        }
        Ok(())
    }

    /// Closes the journal's file, if nothing would be lost by that.
    pub(crate) fn rest(&self) {
        if let Some(journal) = &mut self.lock().journal {
            journal.rest();
        }
    }

    /// Writes what the journal could not take earlier.
    pub(crate) fn flush(&self) -> Result<(), StorageError> {
        self.lock().flush(&self.hooks)
    }

    /// Pieces of a file, synced or not, are no longer what we wrote.
    fn doubt(&self, inner: &mut Inner, number: u32) -> Vec<Record> {
        let durable: Vec<u32> = if number == parts_number(&self.layout) {
            inner.state.durable.iter_ones().collect()
        } else {
            let pieces = self.layout.file_pieces(FileIndex(number));
            // What is in the parts file is not in this one.
            let is_here = |piece: &u32| !inner.state.parted.contains(&(number, *piece));
            pieces.filter(|&piece| inner.state.durable.get(piece)).filter(is_here).collect()
        };
        inner.doubtful.extend(&durable);
        self.doubt_pending(inner, &BTreeSet::from([number]));
        runs(&durable).map(|(first, count)| Record::Unsure { first, count }).collect()
    }

    fn doubt_pending(&self, inner: &mut Inner, files: &BTreeSet<u32>) {
        let doubtful: Vec<u32> =
            inner.pending.keys().copied().filter(|&piece| self.lies_in(inner, piece, files)).collect();
        doubtful.iter().for_each(|piece| {
            inner.pending.remove(piece);
        });
        inner.doubtful.extend(doubtful);
    }

    fn lies_in(&self, inner: &Inner, piece: u32, files: &BTreeSet<u32>) -> bool {
        // What lies in the parts file is not looked up: any piece might.
        if files.contains(&parts_number(&self.layout)) {
            return true;
        }
        let Some(piece) = self.layout.piece(piece) else { return false };
        let is_parted = |file: FileIndex| inner.state.parted.contains(&(file.0, piece.get()));
        let mut spans = self.layout.file_spans(piece, 0, u32::MAX);
        spans.any(|span| files.contains(&span.file.0) && !is_parted(span.file))
    }

    fn journal_path(&self) -> PathBuf {
        self.lock().journal.as_ref().map(|journal| journal.path.clone()).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A thread that panicked with the lock held may have left a record half told, but never a false claim:
        // claims are made by the last statement that touches the state.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a look at a file showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Looked {
    /// We write to it just now, and the end of that says how it looks.
    Busy,
    /// It was not looked at before.
    Unknown,
    /// No other program changed it.
    Same(Stamp),
    /// Only its inode is another one or was changed. That is a copy with the old time, a file system that gives numbers anew,
    /// a hard link or another mode, or an edit whose time was set back.
    Inode(Stamp),
    /// Another program did, to this.
    Changed(Stamp),
    /// It is not there, or no file.
    Gone,
}

/// How the writes of a piece ended.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ended {
    /// All of it is written.
    Written(u32),
    /// It is not there.
    Failed(u32),
}

impl Inner {
    fn mark_dirty(&mut self, number: u32) {
        self.dirty.insert(number);
        self.touched.insert(number);
    }

    fn land(&mut self, number: u32) {
        if let Some(flights) = self.flights.get_mut(&number) {
            *flights -= 1;
            if *flights == 0 {
                self.flights.remove(&number);
            }
        }
    }

    /// Applies the records and appends them to the journal; on an error they wait in memory.
    fn append(&mut self, records: &[Record], hooks: &Hooks) -> Result<(), StorageError> {
        if records.is_empty() {
            return self.flush(hooks);
        }
        self.open_session(hooks);
        for record in records {
            let record = match *record {
                // A simulated disk has no times of inodes: the simulation gives files second names at any time.
                Record::Stamp { file, stamp: Some(mut stamp) } if hooks.witness.is_some() => {
                    stamp.forget_ctime();
                    &Record::Stamp { file, stamp: Some(stamp) }
                }
                _ => record,
            };
            if let Some(journal) = &mut self.journal {
                journal.push(record);
            }
            let applied = self.state.apply(record);
            debug_assert!(applied, "our own record makes sense: {record:?}");
        }
        self.flush(hooks)
    }

    /// Says that this process writes, unless that is said already.
    fn open_session(&mut self, hooks: &Hooks) {
        if let Some(journal) = self.journal.as_mut().filter(|journal| !journal.in_session) {
            journal.in_session = true;
            let since = self.session_since.take().unwrap_or_else(now);
            let session = self.state.next_session(hooks.boot_id().unwrap_or_else(boot_id), since);
            self.state.apply(&session);
            journal.push(&session);
            self.is_claim_due = true;
        }
        self.tell_claims();
    }

    fn flush(&mut self, hooks: &Hooks) -> Result<(), StorageError> {
        self.journal.as_mut().map_or(Ok(()), |journal| journal.flush(&self.state, hooks))
    }

    /// What the next write relies on after a power cut: that the session runs, and whose the files are.
    fn sync_announced(&mut self, hooks: &Hooks) -> Result<(), StorageError> {
        self.journal.as_mut().map_or(Ok(()), |journal| journal.sync_announced(hooks))
    }

    /// Rewrites a journal that has grown. That it fails is no harm: the long one is as good.
    fn compact_when_large(&mut self, at_least: u64, hooks: &Hooks) {
        let Some(journal) = &mut self.journal else { return };
        if journal.length < journal.compact_at.max(at_least) || !journal.backlog.is_empty() {
            return;
        }
        let written = journal.rewrite(&self.state, hooks);
        journal.compact_at = journal.length * COMPACT_FACTOR;
        if let Err(error) = written {
            tracing::debug!(%error, "the journal could not be compacted");
        }
    }
}

/// The journal file. Open from an append to the end of the next sync, so that an idle torrent holds no descriptor.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    identity: Identity,
    /// Opened again when needed.
    file: Option<File>,
    /// Held while there may be something to write; keeps a second process away.
    pub(crate) lock: Option<TorrentLock>,
    chain: u32,
    /// Bytes of the file.
    length: u64,
    /// Bytes of it that survive a power cut.
    synced_length: u64,
    compact_at: u64,
    /// Records that the file did not take yet.
    backlog: Vec<u8>,
    /// Whether this process has said that it writes...
    in_session: bool,
    /// ...and a power cut cannot make that unsaid, nor which files the session may make or has taken: else what it did to them
    /// would look like a stranger's work.
    announced_synced: bool,
    /// The file may not hold what was written to it: it is to be written anew before anything else.
    is_doubtful: bool,
}

impl Journal {
    /// Goes on with a journal of `length` intact bytes, of which the last may not be synced.
    pub(crate) fn unsynced(path: PathBuf, identity: Identity, chain: u32, length: u64) -> Self {
        Self { synced_length: 0, ..Self::resume(path, identity, chain, length) }
    }

    /// Goes on with a journal of `length` intact bytes.
    pub(crate) fn resume(mut path: PathBuf, mut identity: Identity, chain: u32, length: u64) -> Self {
        // Joined paths have room for as much again, and thousands of torrents keep theirs.
        path.shrink_to_fit();
        identity.root.shrink_to_fit();
        Self {
            path,
            identity,
            file: None,
            lock: None,
            chain,
            length,
            synced_length: length,
            compact_at: length.saturating_mul(2),
            backlog: Vec::new(),
            in_session: false,
            announced_synced: false,
            is_doubtful: false,
        }
    }

    /// Replaces the file by the shortest one that says `state`.
    pub(crate) fn rewrite(&mut self, state: &State, hooks: &Hooks) -> Result<(), StorageError> {
        let mut encoder = Encoder::begin(&self.identity);
        state.records().iter().for_each(|record| encoder.push(record));
        let staged = atomic::stage(&self.path, &encoder.bytes, PRIVATE_FILE, hooks)?;
        // When this fails half way, it is not known which of the two files is there.
        self.is_doubtful = true;
        self.file = None;
        staged.put(hooks)?;
        self.is_doubtful = false;
        self.backlog.clear();
        self.announced_synced = self.in_session;
        self.chain = encoder.chain;
        self.length = encoder.bytes.len() as u64;
        self.synced_length = self.length;
        Ok(())
    }

    /// The file, opened; `None` when it is not what we left and has to be written anew.
    fn open(&mut self, hooks: &Hooks) -> Result<Option<&File>, StorageError> {
        if self.lock.is_none() {
            self.lock = Some(lock_torrent(&self.path, &self.identity, LockOwner::new())?);
        }
        if self.file.is_none() {
            let opened = hooks.call(Op::JournalOpen, &self.path, || {
                let file = OpenOptions::new().append(true).open(&self.path).map_err(errno)?;
                Ok((file.metadata().map_err(errno)?.len(), file))
            });
            match opened {
                Ok((length, file)) if length == self.length => self.file = Some(file),
                Ok(_) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(StorageError::writing(&self.path, errno)),
            }
        }
        Ok(self.file.as_ref())
    }

    /// Puts a record where [`Self::flush`] takes it from.
    pub(crate) fn push(&mut self, record: &Record) {
        let mut encoder = Encoder::resume(self.chain);
        encoder.push(record);
        self.chain = encoder.chain;
        self.backlog.append(&mut encoder.bytes);
    }

    /// What is not synced keeps the file open: an error of the device is told to those who had it open.
    fn rest(&mut self) {
        if self.is_doubtful || (self.length == self.synced_length && self.backlog.is_empty()) {
            self.file = None;
        }
    }

    /// Appends what waits. `state` is what all records add up to, those that wait included.
    fn flush(&mut self, state: &State, hooks: &Hooks) -> Result<(), StorageError> {
        while !self.backlog.is_empty() || self.is_doubtful {
            if self.is_doubtful || self.open(hooks)?.is_none() {
                return self.rewrite(state, hooks);
            }
            let Some(file) = &self.file else { return Ok(()) };
            let allowed = hooks.check(Op::JournalWrite, &self.path, self.backlog.len());
            match allowed.and_then(|allowed| rustix::io::write(file, &self.backlog[..allowed])) {
                Ok(0) => return Err(StorageError::writing(&self.path, Errno::IO)),
                Ok(written) => {
                    let bytes = &self.backlog[..written];
                    hooks.tell(Change::Written { path: &self.path, offset: self.length, bytes });
                    // The checksums are chained, so the file may end inside a record as long as the rest follows.
                    self.backlog.drain(..written);
                    self.length += written as u64;
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(StorageError::writing(&self.path, errno)),
            }
        }
        Ok(())
    }

    /// Before the first write of a session, and before the first to files that were announced since.
    fn sync_announced(&mut self, hooks: &Hooks) -> Result<(), StorageError> {
        if self.announced_synced || !self.in_session {
            return Ok(());
        }
        let Some(file) = &self.file else { return Ok(()) };
        let synced = hooks.sync((Op::JournalSync, &self.path, Synced::Data), || rustix::fs::fdatasync(file));
        self.is_doubtful = synced.is_err();
        synced.map_err(|errno| StorageError::writing(&self.path, errno))?;
        (self.announced_synced, self.synced_length) = (true, self.length);
        Ok(())
    }
}

/// Takes the lock of the torrent whose journal this is, by each of its names: in the lock file beside the torrents' folders.
pub(crate) fn lock_torrent(
    journal: &Path,
    identity: &Identity,
    owner: LockOwner,
) -> Result<TorrentLock, StorageError> {
    let torrents = journal.ancestors().nth(2).unwrap_or_else(|| Path::new("."));
    TorrentLock::work(&torrents.join("lock"), &identity.hashes(), owner)
}

/// The number of the parts file: the one after the last file.
pub(crate) fn parts_number(layout: &Layout) -> u32 {
    u32::try_from(layout.file_count()).expect("at most FILES_MAX")
}
