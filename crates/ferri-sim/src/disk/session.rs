//! A machine that downloads, and the start after its crash.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ferri_metainfo::names::LocalPaths;
use ferri_storage::{FileCache, Place, Resumed, Storage, StorageError, StorageOptions, Witness};

use super::image::Bench;
use super::record::{Event, Listed, Recorder, silent};
use super::torrent::Torrent;
use super::trouble::Trouble;
use super::{Known, Start};
use crate::scenario::Dice;

/// As in the engine: what was written is synced when the oldest of it has waited this long...
const SYNC_INTERVAL: Duration = Duration::from_secs(5);

/// The same machine in all sessions of a run.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) torrent: Torrent,
    disk: PathBuf,
    /// What goes wrong with a move.
    pub(super) trouble: Trouble,
    preallocate: bool,
    /// Below this length a journal is not compacted.
    compact_length: u64,
    /// ...or is so much. The engine's 64 MiB, scaled to these torrents.
    sync_bytes: u64,
}

/// A session in progress.
pub(super) struct Session<'a> {
    pub(super) machine: &'a Machine,
    /// `None` only between a kill and the next start.
    storage: Option<Storage>,
    pub(super) recorder: &'a Recorder,
    boot: u64,
    /// Pieces that are on disk as far as is known.
    have: BTreeSet<u32>,
    /// Of these, pieces that no sync has promised.
    unsynced: BTreeSet<u32>,
    oldest: Option<Duration>,
    now: Duration,
    wanted: Vec<bool>,
    pub(super) listed: Listed,
}

/// What a start found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) breaches: Vec<String>,
    pub(super) lost: u64,
    pub(super) rechecked: usize,
}

impl Machine {
    pub(super) fn random(torrent: Torrent, disk: PathBuf, dice: &mut Dice) -> Self {
        Self {
            torrent,
            disk,
            trouble: Trouble::default(),
            preallocate: dice.below(3) == 0,
            compact_length: [200, 2_000, 1 << 20][dice.below(3) as usize],
            sync_bytes: [100 << 10, 1 << 20, u64::MAX][dice.below(3) as usize],
        }
    }

    /// Download folders, none of which is there at first. The first one is that of a new download; one lies in it.
    pub(super) fn folders(&self) -> [PathBuf; 4] {
        ["user/downloads", "user/downloads/t", "user/new", "other/deep/er"].map(|name| self.disk.join(name))
    }

    fn open(
        &self,
        witness: Witness,
        listed: &Listed,
        wanted: &[bool],
    ) -> Result<(Storage, Resumed), StorageError> {
        let paths = LocalPaths::new(&self.torrent.info)
            .map_err(|_| StorageError::Invalid("a name of our own has no place"))?;
        let place = Place { root: listed.root.clone(), state_dir: Some(self.disk.join("home/state").into()) };
        let options = StorageOptions {
            preallocate: self.preallocate,
            files: FileCache::new(3),
            compact_length: self.compact_length,
            renamed: listed.names.clone(),
            faults: Some(self.trouble.plan()),
            witness: Some(witness),
            ..StorageOptions::default()
        };
        let storage = Storage::new(Arc::clone(&self.torrent.info), paths, place, options, wanted)?;
        let resumed = storage.resume()?;
        Ok((storage, resumed))
    }

    /// One session, to wherever it comes; the changes it made.
    pub(super) fn download(
        &self,
        bench: &Bench,
        boot: u64,
        start: &Start,
        dice: &mut Dice,
    ) -> Result<Vec<Event>, StorageError> {
        let recorder = Recorder::new(bench.stash());
        let files = self.torrent.info.layout().file_count();
        let wanted = if start.known.wanted.is_empty() {
            (0..files).map(|_| dice.below(4) != 0).collect()
        } else {
            start.known.wanted.clone()
        };
        recorder.push(Event::Wanted(wanted.clone()));
        let listed = start.known.listed.clone();
        let (storage, resumed) = self.open(recorder.witness(boot), &listed, &wanted)?;
        let mut session = Session {
            machine: self,
            storage: Some(storage),
            recorder: &recorder,
            boot,
            have: BTreeSet::new(),
            unsynced: BTreeSet::new(),
            oldest: None,
            now: Duration::ZERO,
            wanted,
            listed,
        };
        session.take_up(&resumed, dice)?;
        for _ in 0..dice.between(4, 40) {
            session.step(dice)?;
        }
        drop(session);
        Ok(recorder.take())
    }
}

impl Session<'_> {
    /// What a start claims is promised; what it doubts is looked at, or not yet.
    fn take_up(&mut self, resumed: &Resumed, dice: &mut Dice) -> Result<(), StorageError> {
        self.have = resumed.have.iter_ones().collect();
        self.recorder.push(Event::Promised(self.have.iter().copied().collect()));
        self.keep_place(dice);
        for &piece in &resumed.recheck {
            if dice.below(5) != 0 && self.storage().check_piece(piece, &mut Vec::new())? {
                self.verified(piece.get());
            }
        }
        Ok(())
    }

    /// Pieces that a sync which failed left in doubt are looked at, as in the engine.
    pub(super) fn look_at_doubtful(&mut self) -> Result<(), StorageError> {
        for piece in self.storage().doubtful() {
            self.have.remove(&piece.get());
            self.unsynced.remove(&piece.get());
            if self.storage().check_piece(piece, &mut Vec::new())? {
                self.verified(piece.get());
            }
        }
        Ok(())
    }

    pub(super) fn storage(&self) -> &Storage {
        self.storage.as_ref().expect("started again at once")
    }

    pub(super) fn verified(&mut self, piece: u32) {
        self.have.insert(piece);
        self.unsynced.insert(piece);
        self.oldest.get_or_insert(self.now);
        self.recorder.push(Event::Verified(piece));
    }

    fn step(&mut self, dice: &mut Dice) -> Result<(), StorageError> {
        self.now += Duration::from_millis(dice.below(2_500));
        match dice.below(44) {
            0 => self.select(dice)?,
            1 => self.close()?,
            2 => self.kill(dice)?,
            3 => self.storage().finish()?,
            4..=7 => self.spill(dice)?,
            8..=19 => self.write_at_once(dice)?,
            40..=42 => self.relocate(dice)?,
            43 => self.rename(dice)?,
            _ => {
                if let Some(piece) = self.missing(dice) {
                    self.storage().write_piece(
                        self.machine.torrent.piece(piece),
                        &self.machine.torrent.blocks(piece),
                    )?;
                    self.verified(piece);
                }
            }
        }
        let bytes: u64 =
            self.unsynced.iter().map(|&piece| self.machine.torrent.bytes(piece).len() as u64).sum();
        let is_old = self.oldest.is_some_and(|since| since + SYNC_INTERVAL <= self.now);
        if is_old || self.machine.sync_bytes <= bytes {
            self.sync()?;
        }
        Ok(())
    }

    pub(super) fn missing(&self, dice: &mut Dice) -> Option<u32> {
        let count = self.machine.torrent.info.layout().piece_count();
        let missing: Vec<u32> = (0..count).filter(|piece| !self.have.contains(piece)).collect();
        missing.get(dice.below(missing.len() as u64) as usize).copied()
    }

    /// Three pieces on three threads, and sometimes a sync meanwhile.
    fn write_at_once(&mut self, dice: &mut Dice) -> Result<(), StorageError> {
        let pieces: BTreeSet<u32> = (0..3).filter_map(|_| self.missing(dice)).collect();
        let promised: Vec<u32> = self.unsynced.iter().copied().collect();
        let syncs = dice.below(3) == 0;
        let (storage, torrent, recorder) = (self.storage(), &self.machine.torrent, self.recorder);
        std::thread::scope(|scope| {
            let write = |piece| move || storage.write_piece(torrent.piece(piece), &torrent.blocks(piece));
            let writers: Vec<_> = pieces.iter().map(|&piece| scope.spawn(write(piece))).collect();
            if syncs {
                storage.sync()?;
                recorder.push(Event::Promised(promised.clone()));
            }
            let wrong = |_| Err(StorageError::Invalid("a thread panicked"));
            writers.into_iter().try_for_each(|writer| writer.join().unwrap_or_else(wrong))
        })?;
        if syncs {
            promised.iter().for_each(|piece| {
                self.unsynced.remove(piece);
            });
            self.oldest = None;
        }
        pieces.into_iter().for_each(|piece| self.verified(piece));
        Ok(())
    }

    /// A piece that comes in portions too large for memory.
    fn spill(&mut self, dice: &mut Dice) -> Result<(), StorageError> {
        let Some(piece) = self.missing(dice) else { return Ok(()) };
        let torrent = &self.machine.torrent;
        let mut begin = 0;
        for block in torrent.blocks(piece) {
            let length = block.len() as u32;
            self.storage().spill(torrent.piece(piece), begin, &[block])?;
            begin += length;
        }
        if self.storage().commit_spilled(torrent.piece(piece))? {
            self.verified(piece);
            return Ok(());
        }
        Err(StorageError::Invalid("a spilled piece does not match"))
    }

    pub(super) fn sync(&mut self) -> Result<(), StorageError> {
        self.storage().sync()?;
        self.promise();
        Ok(())
    }

    fn close(&mut self) -> Result<(), StorageError> {
        self.storage().close()?;
        self.promise();
        Ok(())
    }

    pub(super) fn promise(&mut self) {
        self.recorder.push(Event::Promised(std::mem::take(&mut self.unsynced).into_iter().collect()));
        self.oldest = None;
    }

    /// The process dies and is started again; the machine runs on. Half of the time it dies twice, the second time
    /// before it has done anything.
    pub(super) fn kill(&mut self, dice: &mut Dice) -> Result<(), StorageError> {
        let open = |it: &Self| it.machine.open(it.recorder.witness(it.boot), &it.listed, &it.wanted);
        if dice.below(2) == 0 {
            drop(self.storage.take());
            self.storage = Some(open(self)?.0);
        }
        drop(self.storage.take());
        let (storage, resumed) = open(self)?;
        self.storage = Some(storage);
        self.unsynced.clear();
        self.oldest = None;
        self.take_up(&resumed, dice)
    }

    /// The user changes the selection.
    fn select(&mut self, dice: &mut Dice) -> Result<(), StorageError> {
        let layout = self.machine.torrent.info.layout();
        let wanted: Vec<bool> =
            self.wanted.iter().map(|wanted| if dice.below(3) == 0 { !wanted } else { *wanted }).collect();
        let new = layout.files().filter(|file| wanted[file.as_usize()] && !self.wanted[file.as_usize()]);
        let moved: BTreeSet<u32> =
            new.flat_map(|file| layout.file_pieces(file)).filter(|piece| self.have.contains(piece)).collect();
        self.recorder.push(Event::Moved(moved.iter().copied().collect()));
        self.recorder.push(Event::Wanted(wanted.clone()));
        self.storage().set_wanted(&wanted)?;
        self.wanted = wanted;
        if !moved.is_empty() {
            self.unsynced.extend(moved);
            self.oldest.get_or_insert(self.now);
        }
        Ok(())
    }
}

/// Starts on the disk as it is, after a crash in boot `boot`.
pub(super) fn check(machine: &Machine, boot: u64, known: (&Known, &Listed), dice: &mut Dice) -> Found {
    let mut found = Found::default();
    if let Err(error) = look(machine, boot, known, dice, &mut found) {
        found.breaches.push(format!("the start failed: {error}"));
    }
    found
}

fn look(
    machine: &Machine,
    boot: u64,
    (known, listed): (&Known, &Listed),
    dice: &mut Dice,
    found: &mut Found,
) -> Result<(), StorageError> {
    let torrent = &machine.torrent;
    let (storage, resumed) = machine.open(silent(boot + 1), listed, &known.wanted)?;
    found.breaches.extend(strangers(machine, &storage));
    let mut have: BTreeSet<u32> = resumed.have.iter_ones().collect();
    for &piece in &have {
        let mut bytes = vec![0; torrent.bytes(piece).len()];
        let read = storage.read(torrent.piece(piece), 0, &mut bytes);
        if read.is_err() || bytes != torrent.bytes(piece) {
            found.breaches.push(format!("piece {piece} is claimed and wrong: {read:?}"));
        }
    }
    for piece in known.promised.iter().filter(|piece| !have.contains(piece)) {
        found.breaches.push(format!("piece {piece} was promised and is not had: {:?}", resumed.why));
    }
    found.rechecked = resumed.recheck.len();
    for &piece in &resumed.recheck {
        if storage.check_piece(piece, &mut Vec::new())? {
            have.insert(piece.get());
        }
    }
    let lost = known.verified.iter().filter(|piece| !have.contains(piece));
    found.lost = lost.map(|&piece| torrent.bytes(piece).len() as u64).sum();
    if dice.below(8) == 0 {
        for piece in (0..torrent.info.layout().piece_count()).filter(|piece| !have.contains(piece)) {
            storage.write_piece(torrent.piece(piece), &torrent.blocks(piece))?;
        }
        storage.close()?;
        let listed = Listed { root: storage.place().root.clone(), names: storage.renamed() };
        drop(storage);
        let (storage, resumed) = machine.open(silent(boot + 1), &listed, &known.wanted)?;
        found.breaches.extend(strangers(machine, &storage));
        if !resumed.have.is_full() {
            found.breaches.push(format!("the download could not be finished: {:?}", resumed.why));
        }
    }
    Ok(())
}

/// Files in download folders that are not where the storage has one.
fn strangers(machine: &Machine, storage: &Storage) -> Vec<String> {
    let (root, places) = (storage.place().root.clone(), storage.places().clone());
    let files = machine.torrent.info.layout().files();
    let known: BTreeSet<PathBuf> = files.filter_map(|file| Some(root.join(places.path(file)?))).collect();
    let mut strangers = Vec::new();
    for top in ["user", "other"] {
        // It may not be there.
        let _ = walk(&machine.disk.join(top), &mut |path| {
            if !known.contains(path) {
                strangers.push(format!("{} is no file of the torrent in {}", path.display(), root.display()));
            }
        });
    }
    strangers
}

fn walk(folder: &Path, each: &mut dyn FnMut(&Path)) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), each)?;
        } else {
            each(&entry.path());
        }
    }
    Ok(())
}
