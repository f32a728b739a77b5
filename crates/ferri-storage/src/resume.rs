//! What a start may believe: the journal held against the files as they are.
//!
//! A file counts as untouched when its size, time and inode are those of its last stamp. After a clean stop nothing
//! else is accepted. After a crash our own unfinished writes may have moved its time, so it may also
//! - in the same boot of the machine (then the journal is complete): lie between the last stamp and 2 s after the
//!   latest `Intent` that has no end and touches the file;
//! - after a reboot (power cut: the ends of file and journal may be lost): lie between the start of the last session
//!   and 60 s after the journal's last word. The kernel writes dirty data back within about 35 s.
//!
//! One whose size and time are those of its stamp and whose inode was changed (`ctime`) may be edited, with its time set
//! back, or have another mode, owner or hard link. It is ours still, and its pieces are to be checked; until all of them were
//! found right the journal keeps its old stamp, so that a start after a kill sees the same. One that holds something else is
//! the user's.
//!
//! Pieces said to be durable in untouched files are had, without a look. Pieces that were written but not synced, and
//! all pieces of a file that was changed or that nothing is known about, are to be checked, as far as the file is
//! long enough. A missing file's pieces are forgotten. When the journal is damaged, everything it does not vouch for
//! is checked. See `ledger` for what this cannot see.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ferri_metainfo::{Bitfield, FileIndex, Layout, PieceIndex};
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;

use crate::atomic::{PRIVATE_FOLDER, create_folders, read_whole, rename};
use crate::beneath::{Access, birth};
use crate::clock::{boot_id, now};
use crate::error::StorageError;
use crate::faults::Op;
use crate::guard::is_born;
use crate::journal::{Began, Record};
pub use crate::journal::{Identity, JournalError, Origin, Owner, Parsed, Stamp, State, parse};
use crate::ledger::{Journal, Retouched, WRITE_DELAY, lock_torrent, losing, parts_number};
use crate::lock::{LockOwner, TorrentLock};
use crate::register;
use crate::stamp::Likeness;
use crate::storage::{Placement, Storage};
use crate::witness::{Hooks, errno};

/// How long after the last surviving record a lost write may have been, see above.
const WRITE_BACK_DELAY: i64 = 60_000_000_000;

/// A journal above this length is not ours: the largest torrent's compact journal has some 40 MiB.
const JOURNAL_LENGTH_MAX: u64 = 512 << 20;

/// More reasons than this are only counted.
const REASONS_MAX: usize = 20;

/// What a start found.
#[derive(Debug, Clone)]
pub struct Resumed {
    /// Pieces that are on disk and verified; nothing to do.
    pub have: Bitfield,
    /// Pieces that may be there: check each with [`Storage::check_piece`] and add those that match. Ascending.
    pub recheck: Vec<PieceIndex>,
    /// Why there is something to check or why pieces were lost, a sentence each, for the user. Empty after a clean
    /// stop.
    pub why: Vec<String>,
}

/// A file on disk against what the journal knows of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// No other program touched it; its present length.
    Untouched(u64),
    /// Only its inode was changed; how it looks.
    Retouched(Stamp),
    /// It is there and differs, or nothing is known about it; its present length.
    Doubtful(u64),
    /// It is not there.
    Absent,
}

impl Storage {
    /// Reads the journal, looks at the files, and takes up the journal where it ended. Call once, before anything is
    /// written or checked. Without a state folder everything that lies in place is to be checked.
    ///
    /// A journal of another torrent, place or version, or one that cannot be read, is renamed to `journal.aside-N`.
    ///
    /// # Errors
    /// [`StorageError::Busy`] when another process has the torrent; [`StorageError::Taken`] when another torrent of this
    /// process is going to make one of its files; any error of the state folder; a link or a lack
    /// of permission in the way of a file.
    pub fn resume(&self) -> Result<Resumed, StorageError> {
        let mut reasons = Reasons::default();
        let opened = match self.state_folder() {
            None => None,
            Some(folder) => Some(self.open_journal(&folder, &mut reasons)?),
        };
        let parsed = opened.as_ref().and_then(|opened| opened.parsed.as_ref());
        if let Some(parsed) = parsed {
            self.ledger.recall_parted(&parsed.state.parted);
        }
        let placement = self.placement();
        let now_stamps = self.stamps(&placement)?;
        let looks = self.looks(&placement, parsed, &now_stamps, &mut reasons);
        let owners = self.owners(&placement, parsed, &now_stamps)?;
        let resumed = self.judge(&placement, parsed, &looks, reasons);
        if let Some(parsed) = parsed {
            let is_own = |piece: &PieceIndex| parsed.state.written.contains(&piece.get());
            let own: Vec<_> = resumed.recheck.iter().copied().filter(is_own).collect();
            self.distrust_cache(&placement, &own);
        }
        let absent = placement.wanted.iter_ones().filter(|file| now_stamps[*file as usize].is_none());
        let absent: Vec<u32> = absent.filter(|file| !self.layout().is_pad(FileIndex(*file))).collect();
        let wanted = placement.wanted.clone();
        drop(placement);
        if !self.options().read_only {
            register::begin(self.id(), self.info(), self.place().state_dir.clone());
            self.claim_places(&absent, &wanted)?;
        }
        let whole = parsed.map(|parsed| self.losing(&parsed.state, &resumed, &owners)).unwrap_or_default();
        let mut found = Seen { stamps: now_stamps, owners, whole, retouched: BTreeMap::new() };
        if let Some(parsed) = parsed {
            found.retouch(&looks, &parsed.state, &resumed, self.layout());
        }
        match opened {
            None => self.ledger.start(self.settled(&resumed, &found, None), None, BTreeMap::new()),
            Some(opened) => self.take_up(opened, &resumed, found)?,
        }
        self.ledger.claim(absent.into_iter());
        // They are as good a place as any, and no reason to write a journal.
        let is_whole = |file| self.layout().file_pieces(file).all(|piece| resumed.have.get(piece));
        let places = self.places().describe_moved(is_whole);
        Ok(Resumed { why: resumed.why.into_iter().chain(places).collect(), ..resumed })
    }

    /// Files of ours that were complete and lack a piece from here on: what was said of their other pieces tells that no more.
    fn losing(&self, state: &State, resumed: &Resumed, owners: &BTreeMap<u32, Owner>) -> BTreeSet<u32> {
        let layout = self.layout();
        let was_there = |piece: u32| {
            (state.durable.get(piece) || state.unsure.get(piece)) && !state.intents.contains_key(&piece)
        };
        let stays: BTreeSet<u32> = resumed.recheck.iter().map(|piece| piece.get()).collect();
        let lost = layout.pieces().filter(|piece| {
            let piece = piece.get();
            was_there(piece) && !resumed.have.get(piece) && !stays.contains(&piece)
        });
        let is_ours = |file: u32| {
            let owner = owners.get(&file).filter(|owner| owner.origin != Origin::Theirs);
            owner.map(|owner| owner.inode) == state.stamps.get(file).map(|stamp| stamp.inode)
                && owner.is_some()
        };
        losing((layout, state), lost, was_there, is_ours)
    }

    /// Files that are ours by what the journal says and what they look like; others are judged by what they hold.
    fn owners(
        &self,
        placement: &Placement,
        parsed: Option<&Parsed>,
        found: &[Option<Stamp>],
    ) -> Result<BTreeMap<u32, Owner>, StorageError> {
        let Some(parsed) = parsed else { return Ok(BTreeMap::new()) };
        let (state, mut owners) = (&parsed.state, BTreeMap::new());
        let rule = Rule::new(self, placement, parsed);
        for (file, known) in state.stamps.files() {
            self.options().halt.check()?;
            let Some(Some(found)) = found.get(file as usize) else { continue };
            let owner = state.owners.get(&file).copied();
            let likeness = found.compare(&known);
            let is_as_left = likeness != Likeness::Changed || rule.is_ours(file, found, &known);
            let is_it = match owner {
                Some(owner) if owner.inode == found.inode => {
                    likeness == Likeness::Same || is_born(&owner, self.birth_of(FileIndex(file))?)
                }
                _ => false,
            };
            if is_as_left {
                owners.extend(owner.filter(|_| is_it).map(|owner| (file, owner)));
                continue;
            }
            let mut pieces = self.layout().file_pieces(FileIndex(file));
            let is_partial = !state.whole.contains(&file)
                && pieces.any(|piece| !state.durable.get(piece) && !state.unsure.get(piece));
            if !is_partial {
                let born = self.birth_of(FileIndex(file)).unwrap_or(0);
                owners.insert(file, Owner { origin: Origin::Theirs, inode: found.inode, born });
            } else if let Some(owner) = owner.filter(|_| is_it) {
                // A complete one is theirs from here on. What a crash left of one that was not is put right. Where
                // nothing of ours was under way, another program changed it, and where births are not known it may be
                // another file with the number of ours: what it holds decides.
                let is_torn = !state.closed || parsed.is_torn;
                if (owner.born != 0 && is_torn) || owner.origin == Origin::Theirs {
                    owners.insert(file, owner);
                }
            }
        }
        // A power cut may take away what was said of files that were just made.
        for &file in state.claims.iter().filter(|file| !state.owners.contains_key(file)) {
            self.options().halt.check()?;
            if let Some(Some(found)) = found.get(file as usize)
                && rule.is_of_session(found)
            {
                let born = self.birth_of(FileIndex(file))?;
                owners.insert(file, Owner { origin: Origin::Made, inode: found.inode, born });
            }
        }
        Ok(owners)
    }

    fn birth_of(&self, file: FileIndex) -> Result<i64, StorageError> {
        Ok(birth(self.open_beneath(file, Access::Read)?.as_fd()))
    }

    fn open_journal(&self, folder: &Path, reasons: &mut Reasons) -> Result<Opened, StorageError> {
        create_folders(folder, PRIVATE_FOLDER, self.hooks()).map_err(|error| self.explain(error))?;
        let path = folder.join("journal");
        let mut identity = self.identity();
        let owner = self.options().lock_owner.unwrap_or_else(LockOwner::new);
        let lock = lock_torrent(&path, &identity, owner)?;
        let mut parsed = None;
        let read = match read_journal(&path, self.hooks()) {
            Ok(bytes) => bytes.map(Ok),
            Err(StorageError::NotAFile { .. }) => Some(Err("it is not a regular file".to_owned())),
            Err(error) => return Err(error),
        };
        if let Some(bytes) = read {
            let mut read = bytes.map(|bytes| parse(&bytes));
            if let Ok(Ok(found)) = &mut read {
                let told = self.settle_move(found, &mut identity)?;
                told.into_iter().for_each(|sentence| reasons.add(sentence));
            }
            let verdict = match read {
                Ok(Ok(found)) if found.identity == identity => Ok(found),
                Ok(Ok(found)) => Err(differences(&found.identity, &identity).to_owned()),
                Ok(Err(error)) => Err(error.to_string()),
                Err(why) => Err(why),
            };
            match verdict {
                Ok(found) => parsed = Some(found),
                Err(why) => {
                    let aside = set_aside(&path, self.hooks())?;
                    reasons.add(format!("the journal was set aside as {}: {why}", aside.display()));
                }
            }
        }
        if let Some(found) = parsed.as_ref().filter(|found| found.is_torn) {
            reasons.add(format!("the journal is damaged after {} bytes", found.valid_length));
        }
        Ok(Opened { path, identity, lock, parsed })
    }

    /// What every file looks like, the parts file last.
    fn stamps(&self, placement: &Placement) -> Result<Vec<Option<Stamp>>, StorageError> {
        let mut stamps = vec![None; self.layout().file_count()];
        let mut odd = Vec::new();
        match self.root(false) {
            Ok(root) => {
                let mut looks = root.looks();
                for file in placement.real.iter_ones().map(FileIndex) {
                    self.options().halt.check()?;
                    if self.info().file(file).is_none_or(|file| file.attributes.symlink) {
                        continue;
                    }
                    let places = self.places();
                    let Some(path) = places.lies_at(file) else { continue };
                    stamps[file.as_usize()] = match self.stat_in(&mut looks, &path) {
                        Ok(Some(stat)) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
                            Some(Stamp::of(&stat))
                        }
                        Ok(None) => None,
                        // Something else is in its place, which is told before it is to be written.
                        Ok(Some(_)) | Err(Errno::NOTDIR) => {
                            odd.push(file);
                            None
                        }
                        Err(errno) => {
                            return Err(root.blame(&path, StorageError::reading(&root.full(&path), errno)));
                        }
                    };
                }
            }
            Err(StorageError::Missing { .. }) => {}
            Err(error) => return Err(error),
        }
        self.set_odd_places(odd);
        let parts = self.state_folder().and_then(|folder| rustix::fs::stat(folder.join("parts")).ok());
        stamps.push(parts.map(|stat| Stamp::of(&stat)));
        if self.hooks().witness.is_some() {
            // As in the ledger: a simulated disk has no times of inodes.
            stamps.iter_mut().flatten().for_each(Stamp::forget_ctime);
        }
        Ok(stamps)
    }

    fn looks(
        &self,
        placement: &Placement,
        parsed: Option<&Parsed>,
        found: &[Option<Stamp>],
        reasons: &mut Reasons,
    ) -> Vec<Look> {
        let Some(parsed) = parsed else {
            return found
                .iter()
                .map(|stamp| stamp.map_or(Look::Absent, |s| Look::Doubtful(s.size)))
                .collect();
        };
        let rule = Rule::new(self, placement, parsed);
        let is_empty =
            |number| number != parts_number(self.layout()) && self.layout().file_len(FileIndex(number)) == 0;
        let looks = (0u32..).zip(found).map(|(number, found)| {
            let known = &parsed.state.stamps.get(number);
            let (look, reason) = match (found, known) {
                (None, None) => (Look::Absent, None),
                (None, Some(_)) => (Look::Absent, Some("is missing")),
                // There is nothing in it to be looked at.
                (Some(found), None) if is_empty(number) => (Look::Untouched(found.size), None),
                (Some(found), None) => (Look::Doubtful(found.size), Some("was not known before")),
                (Some(found), Some(known)) => match found.compare(known) {
                    Likeness::Same => (Look::Untouched(found.size), None),
                    _ if rule.is_ours(number, found, known) => (Look::Untouched(found.size), None),
                    Likeness::Touched if is_empty(number) => (Look::Untouched(found.size), None),
                    Likeness::Touched => (Look::Retouched(*found), Some(RETOUCHED)),
                    Likeness::Changed => (Look::Doubtful(found.size), Some(change(found, known))),
                },
            };
            if let Some(reason) = reason {
                let path =
                    self.local_path(FileIndex(number)).unwrap_or_else(|| PathBuf::from("the parts file"));
                reasons.add(format!("{} {reason}", path.display()));
            }
            look
        });
        looks.collect()
    }

    fn judge(
        &self,
        placement: &Placement,
        parsed: Option<&Parsed>,
        looks: &[Look],
        mut reasons: Reasons,
    ) -> Resumed {
        let layout = self.layout();
        let mut have = Bitfield::new(layout.piece_count());
        let mut recheck = Vec::new();
        let mut unsynced = 0u32;
        // Where nothing can be said, everything is looked at.
        let knows_all = parsed.is_some_and(|parsed| !parsed.is_torn);
        for piece in layout.pieces() {
            let (mut untouched, mut unchanged, mut present) = (true, true, true);
            let mut is_stored = false;
            for target in self.targets(placement, piece, 0, layout.piece_len(piece)) {
                let Some(number) = self.number(target.location) else { continue };
                is_stored = true;
                let end = target.offset + target.length as u64;
                match looks[number as usize] {
                    Look::Untouched(length) => present &= end <= length,
                    Look::Doubtful(length) => {
                        (untouched, unchanged, present) = (false, false, present && end <= length);
                    }
                    Look::Retouched(Stamp { size, .. }) => {
                        (untouched, present) = (false, present && end <= size);
                    }
                    Look::Absent => present = false,
                }
            }
            let durable = parsed.is_some_and(|parsed| parsed.state.durable.get(piece.get()));
            let unsure = parsed.is_some_and(|parsed| parsed.state.unsure.get(piece.get()));
            if !present {
                continue;
            }
            // Of a file whose inode alone was changed only what it had is looked at.
            if durable && untouched {
                have.set(piece.get());
            } else if unsure || durable || !unchanged || (!knows_all && is_stored) {
                unsynced += u32::from(unsure && untouched);
                recheck.push(piece);
            }
        }
        if unsynced != 0 {
            reasons.add(format!("{unsynced} pieces were written but not yet synced when it stopped"));
        }
        Resumed { have, recheck, why: reasons.finish() }
    }

    /// The state after a start: what is had is durable, what is to be checked unsure, the files are as they are.
    fn settled(&self, resumed: &Resumed, found: &Seen, last: Option<&State>) -> State {
        let mut state = State::new(self.layout().piece_count(), parts_number(self.layout()));
        self.info().name().clone_into(&mut state.name);
        state.durable.clone_from(&resumed.have);
        resumed.recheck.iter().for_each(|piece| {
            state.unsure.set(piece.get());
        });
        state.owners.clone_from(&found.owners);
        if let Some(last) = last {
            state.parted.clone_from(&last.parted);
            state.moves.clone_from(&last.moves);
            let is_same = |file: &u32| {
                let found = found.stamps.get(*file as usize).copied().flatten();
                found.map(|found| found.inode) == last.stamps.get(*file).map(|known| known.inode)
            };
            state.whole = last.whole.iter().copied().filter(is_same).collect();
        }
        state.whole.extend(&found.whole);
        for (number, stamp) in (0u32..).zip(&found.stamps) {
            stamp.map(|stamp| state.stamps.insert(number, stamp));
        }
        let time = now();
        state.session = Began { boot: self.boot_id(), time, last: time };
        state.closed = true;
        if let Some(last) = last.filter(|last| self.goes_on(last)) {
            // The process died and the machine did not: it still has to sync the times that the files show.
            (state.closed, state.session.time) = (false, last.session.time);
            state.before.clone_from(&last.before);
            state.claims.clone_from(&last.claims);
        }
        state
    }

    fn take_up(&self, opened: Opened, resumed: &Resumed, found: Seen) -> Result<(), StorageError> {
        let stamps = &found.stamps;
        let Opened { path, identity, lock, parsed } = opened;
        let is_settled = |parsed: &Parsed| {
            let known = |number| parsed.state.stamps.get(number);
            let is_exact = (0u32..).zip(stamps).all(|(number, stamp)| *stamp == known(number));
            let is_whole =
                !parsed.is_torn && parsed.state.intents.is_empty() && parsed.state.owners == found.owners;
            let is_all = parsed.state.durable == resumed.have && parsed.state.unsure.none();
            is_whole && is_exact && is_all && resumed.why.is_empty()
        };
        let (state, mut journal) = match parsed {
            // A start that finds what was left writes nothing: with thousands of torrents that counts.
            Some(parsed) if parsed.is_current && is_settled(&parsed) => {
                let length = parsed.valid_length as u64;
                (parsed.state, Journal::resume(path, identity, parsed.chain, length))
            }
            // Nor does one after a kill, so that it waits for no disk: what it found is said with the next write, and
            // until then the next start would find the same.
            Some(parsed) if !parsed.is_torn && parsed.is_current && self.goes_on(&parsed.state) => {
                let mut journal = Journal::unsynced(path, identity, parsed.chain, parsed.valid_length as u64);
                let mut state = parsed.state;
                for record in findings(&state, resumed, &found) {
                    journal.push(&record);
                    state.apply(&record);
                }
                (state, journal)
            }
            parsed => {
                let state = self.settled(resumed, &found, parsed.as_ref().map(|parsed| &parsed.state));
                let mut journal = Journal::resume(path, identity, 0, 0);
                journal.rewrite(&state, self.hooks()).map_err(|error| self.explain(error))?;
                (state, journal)
            }
        };
        // A torrent that is complete has nothing to write; its lock is taken when that changes.
        let is_complete = resumed.have.is_full();
        journal.lock = (!is_complete).then_some(lock);
        self.ledger.start(state, Some(journal), found.retouched);
        Ok(())
    }

    /// The last process died, and the machine did not.
    fn goes_on(&self, last: &State) -> bool {
        !last.closed && last.session.boot == self.boot_id()
    }

    fn boot_id(&self) -> [u8; 16] {
        self.hooks().boot_id().unwrap_or_else(boot_id)
    }

    fn identity(&self) -> Identity {
        let mut digest = ferri_hash::Sha1::new();
        let top = self.options().top.as_deref();
        let is_own_top = top.is_none_or(|top| top == self.paths().top());
        for file in self.layout().files() {
            // As the names say: where a file was found is no other torrent.
            let path = match is_own_top {
                true => self.paths().path(file).map(Cow::Borrowed),
                false => self.named_path(file).map(Cow::Owned),
            };
            if let Some(path) = path {
                digest.update(path.as_os_str().as_encoded_bytes());
            }
            digest.update(&[0]);
        }
        let mut paths = [0; 8];
        paths.copy_from_slice(&digest.finish()[..8]);
        let hashes = self.info().info_hashes();
        Identity {
            info_hash: *hashes.wire().as_bytes(),
            info_hash_v2: hashes.v2.map_or([0; 32], |hash| *hash.as_bytes()),
            piece_count: self.layout().piece_count(),
            file_count: parts_number(self.layout()),
            paths,
            root: resolved(&self.place().root),
        }
    }
}

/// What a start found, where it differs from what the journal says.
fn findings(state: &State, resumed: &Resumed, found: &Seen) -> Vec<Record> {
    let mut records = Vec::new();
    for (number, &stamp) in (0u32..).zip(&found.stamps) {
        if state.stamps.get(number) != stamp {
            records.push(Record::Stamp { file: number, stamp });
        }
        let owner = found.owners.get(&number).copied();
        if state.owners.get(&number).copied() != owner {
            records.push(Record::Owner { file: number, owner });
        }
    }
    // After the stamps, which may say that it is another file.
    records.extend(found.whole.difference(&state.whole).map(|&file| Record::Whole { file }));
    let recheck: BTreeSet<u32> = resumed.recheck.iter().map(|piece| piece.get()).collect();
    for piece in 0..state.durable.len() {
        let (durable, unsure) = (state.durable.get(piece), state.unsure.get(piece));
        let (is_had, is_unsure) = (resumed.have.get(piece), recheck.contains(&piece));
        let began = state.intents.contains_key(&piece);
        if began || ((durable || unsure) && !is_had && !is_unsure) {
            records.push(Record::Gone { first: piece, count: 1 });
        }
        if is_unsure && (began || !unsure) {
            records.push(Record::Unsure { first: piece, count: 1 });
        }
    }
    records
}

/// What the files were like at the start.
struct Seen {
    /// By file, the parts file last.
    stamps: Vec<Option<Stamp>>,
    /// Files that are ours.
    owners: BTreeMap<u32, Owner>,
    /// Those of them that were complete and lack a piece since.
    whole: BTreeSet<u32>,
    /// Files of which only the inode was changed; their stamps are the old ones.
    retouched: BTreeMap<u32, Retouched>,
}

impl Seen {
    /// Lets files of which only the inode was changed keep their old stamps until their pieces were looked at.
    fn retouch(&mut self, looks: &[Look], state: &State, resumed: &Resumed, layout: &Layout) {
        let numbers = (0u32..).zip(looks);
        let retouched = numbers.filter_map(|(number, look)| match look {
            Look::Retouched(stamp) => Some((number, *stamp)),
            _ => None,
        });
        let retouched: Vec<_> = retouched.filter(|(number, _)| *number != parts_number(layout)).collect();
        if retouched.is_empty() {
            return;
        }
        let recheck: BTreeSet<u32> = resumed.recheck.iter().map(|piece| piece.get()).collect();
        for (number, stamp) in retouched {
            let pieces = layout.file_pieces(FileIndex(number));
            let is_here = |piece: &u32| !state.parted.contains(&(number, *piece));
            let was_there = |piece: &u32| state.durable.get(*piece) || state.unsure.get(*piece);
            let unseen: BTreeSet<u32> =
                pieces.filter(is_here).filter(was_there).filter(|piece| recheck.contains(piece)).collect();
            if !unseen.is_empty() {
                self.stamps[number as usize] = state.stamps.get(number);
                self.retouched.insert(number, Retouched { stamp, unseen });
            }
        }
    }
}

const RETOUCHED: &str = "has its size and time and another inode time (an edit that set the time back, or another mode, owner or link)";

/// The journal of a torrent, before it is known what to do with it.
struct Opened {
    path: PathBuf,
    identity: Identity,
    lock: TorrentLock,
    /// `None`: there was none, or it was set aside.
    parsed: Option<Parsed>,
}

/// When a file that differs from its stamp was nevertheless changed by us only.
enum Rule {
    /// Never: the last session ended in order, or the journal was damaged while the machine ran.
    Exact,
    /// The latest unfinished write of each file (ns since 1970).
    SameBoot(BTreeMap<u32, i64>),
    /// Times from, to (ns since 1970), and what a power cut may have brought back.
    Reboot(i64, i64, BTreeMap<u32, Stamp>),
}

impl Rule {
    fn new(storage: &Storage, placement: &Placement, parsed: &Parsed) -> Self {
        let state = &parsed.state;
        let boot = storage.boot_id();
        let is_same_boot = state.session.boot == boot && boot != [0; 16];
        if state.closed || (is_same_boot && parsed.is_torn) {
            return Self::Exact;
        }
        if !is_same_boot {
            return Self::Reboot(
                state.session.time.saturating_sub(WRITE_DELAY),
                state.session.last.saturating_add(WRITE_BACK_DELAY),
                state.before.clone(),
            );
        }
        let mut latest = BTreeMap::new();
        for (&piece, &time) in &state.intents {
            let Some(piece) = storage.layout().piece(piece) else { continue };
            for target in storage.targets(placement, piece, 0, u32::MAX) {
                if let Some(number) = storage.number(target.location) {
                    let slot = latest.entry(number).or_insert(time);
                    *slot = time.max(*slot);
                }
            }
        }
        Self::SameBoot(latest)
    }

    /// After a power cut: it was changed while the session ran.
    fn is_of_session(&self, found: &Stamp) -> bool {
        matches!(self, Self::Reboot(from, to, _) if (*from..=*to).contains(&found.mtime))
    }

    fn is_ours(&self, number: u32, found: &Stamp, known: &Stamp) -> bool {
        if found.inode != known.inode {
            return false;
        }
        match self {
            Self::Exact => false,
            Self::SameBoot(latest) => latest.get(&number).is_some_and(|time| {
                let times = known.mtime..=time.saturating_add(WRITE_DELAY);
                known.size <= found.size && times.contains(&found.mtime)
            }),
            // Growth that was not synced may be lost; what was durable lay within what was synced.
            // Lengths and times are not written together: a new length may be there with the time of before. Who set that
            // time again after the cut changed the inode later than we.
            Self::Reboot(from, to, before) => {
                let is_back = before.get(&number).is_some_and(|before| before.mtime == found.mtime);
                let kept_its_time = known.mtime == found.mtime && found.ctime <= *to;
                is_back || kept_its_time || (*from..=*to).contains(&found.mtime)
            }
        }
    }
}

/// Sentences for the user, not too many.
#[derive(Default)]
struct Reasons {
    told: Vec<String>,
    more: usize,
}

impl Reasons {
    fn add(&mut self, reason: String) {
        if self.told.len() < REASONS_MAX { self.told.push(reason) } else { self.more += 1 }
    }

    fn finish(mut self) -> Vec<String> {
        if self.more != 0 {
            self.told.push(format!("and {} more", self.more));
        }
        self.told
    }
}

fn change(found: &Stamp, known: &Stamp) -> &'static str {
    if found.size < known.size {
        "was cut short"
    } else if found.inode != known.inode {
        "was replaced"
    } else {
        "was changed"
    }
}

fn differences(found: &Identity, own: &Identity) -> &'static str {
    if found.info_hash != own.info_hash || found.info_hash_v2 != own.info_hash_v2 {
        "it is of another torrent"
    } else if found.root != own.root {
        "it is of another download folder"
    } else {
        "its files have other names"
    }
}

pub(crate) fn read_journal(path: &Path, hooks: &Hooks) -> Result<Option<Vec<u8>>, StorageError> {
    // A pipe is not waited for until a program writes to it.
    let mut options = File::options();
    options.read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    let file = match hooks.call(Op::JournalOpen, path, || options.open(path).map_err(errno)) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        // A socket.
        Err(Errno::NXIO) => return Err(StorageError::NotAFile { path: path.into() }),
        Err(errno) => return Err(StorageError::reading(path, errno)),
    };
    let found = file.metadata().map_err(|source| StorageError::Read { path: path.into(), source })?;
    if !found.is_file() {
        return Err(StorageError::NotAFile { path: path.into() });
    }
    hooks.call(Op::JournalRead, path, || Ok(())).map_err(|errno| StorageError::reading(path, errno))?;
    let bytes = read_whole(&file, found.len(), JOURNAL_LENGTH_MAX);
    Ok(Some(bytes.map_err(|source| StorageError::Read { path: path.into(), source })?))
}

/// Renames to the first free `journal.aside-N`.
pub(crate) fn set_aside(path: &Path, hooks: &Hooks) -> Result<PathBuf, StorageError> {
    for number in 1u32.. {
        let mut aside = path.as_os_str().to_owned();
        aside.push(format!(".aside-{number}"));
        let aside = PathBuf::from(aside);
        if !aside.exists() {
            rename(path, &aside, hooks)?;
            return Ok(aside);
        }
    }
    Err(StorageError::Invalid("no number is free"))
}

/// The path without links, as far as it exists, so that two ways to one folder are one.
pub(crate) fn resolved(path: &Path) -> PathBuf {
    for ancestor in path.ancestors() {
        if let (Ok(real), Ok(rest)) = (ancestor.canonicalize(), path.strip_prefix(ancestor)) {
            return if rest.as_os_str().is_empty() { real } else { real.join(rest) };
        }
    }
    path.to_path_buf()
}
