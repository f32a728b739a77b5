//! Which torrents of this process put data where: two must not write to one file, unless to both it is the same data.
//!
//! A file that is there is known by device, inode and time of birth, whatever it is called, and entered when it is opened
//! for writing. One that is not there is known by its path without links, and claimed when its torrent starts or it becomes
//! wanted. Nothing is kept for each of these: torrents that lack files are kept by the folder in which theirs lie, and only
//! those are compared whose folders lie in one another.
//!
//! Other processes are kept away by what journals say ([`crate::neighbors`]) and by a lock on the file
//! ([`crate::lock::hold`]).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use ferri_metainfo::{Bitfield, FileIndex, Info, Layout, PieceIndex};

use crate::places::Places;

/// Who writes to a file.
#[derive(Debug)]
struct Writer {
    /// Of the storage.
    id: u64,
    info: Arc<Info>,
    file: FileIndex,
}

/// Device and inode, and when that was born, for numbers of inodes are used again.
pub(crate) type Place = ((u64, u64), i64);

/// Files that are not there and that a torrent is going to make.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    /// Of the storage.
    pub(crate) id: u64,
    pub(crate) info: Arc<Info>,
    /// The download folder without links.
    pub(crate) root: PathBuf,
    pub(crate) places: Arc<RwLock<Places>>,
    pub(crate) files: Bitfield,
}

/// A file that another torrent is going to make, or in whose place it is going to make a folder.
#[derive(Debug)]
pub(crate) struct Clash {
    /// Of the torrent that came later.
    pub(crate) file: FileIndex,
    pub(crate) by: Arc<Info>,
}

/// What a torrent found in the place that it entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entered {
    /// No other torrent writes there; it was not entered before.
    First,
    /// The same, entered before by this torrent.
    Again,
    /// Others do, and what they write is the same.
    Together,
}

/// Who write to a file: mostly one, which is kept without a list.
#[derive(Debug)]
struct Writers {
    first: Writer,
    others: Vec<Writer>,
}

impl Writers {
    fn iter(&self) -> impl Iterator<Item = &Writer> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// `false`: no torrent is left.
    fn remove(&mut self, id: u64) -> bool {
        self.others.retain(|writer| writer.id != id);
        if self.first.id != id {
            return true;
        }
        let next = self.others.pop();
        next.map(|next| self.first = next).is_some()
    }
}

#[derive(Debug)]
struct Register {
    /// Files that were opened for writing.
    files: BTreeMap<Place, Writers>,
    /// The same by torrent, so that one that leaves looks at none but its own. Never an empty set.
    entered: BTreeMap<u64, BTreeSet<Place>>,
    /// Torrents that lack files, by the path of the folder or only file that holds all of theirs. Never an empty list.
    claims: BTreeMap<PathBuf, Vec<Claim>>,
    /// Torrents that may write.
    torrents: BTreeMap<u64, Running>,
    /// The same by info hash. Never an empty list.
    running: BTreeMap<[u8; 20], Vec<u64>>,
}

/// A torrent that may write.
#[derive(Debug)]
struct Running {
    info: Arc<Info>,
    /// Where its state is kept.
    state_dir: Option<Arc<Path>>,
    /// Where its claim is.
    base: Option<PathBuf>,
}

impl Register {
    /// A torrent does not write to this file.
    fn remove(&mut self, place: Place, id: u64) {
        if self.files.get_mut(&place).is_some_and(|writers| !writers.remove(id)) {
            self.files.remove(&place);
        }
    }
}

static REGISTER: Mutex<Register> = Mutex::new(Register {
    files: BTreeMap::new(),
    entered: BTreeMap::new(),
    claims: BTreeMap::new(),
    torrents: BTreeMap::new(),
    running: BTreeMap::new(),
});

/// Enters a torrent that may write, and whose state is kept in `state_dir`.
pub(crate) fn begin(id: u64, info: &Arc<Info>, state_dir: Option<Arc<Path>>) {
    let mut register = lock();
    if register.torrents.insert(id, Running { info: info.clone(), state_dir, base: None }).is_none() {
        register.running.entry(*info.info_hashes().wire().as_bytes()).or_default().push(id);
    }
}

/// Enters a file that a torrent is about to write to.
///
/// # Errors
/// The torrent whose other data goes there.
pub(crate) fn enter(place: Place, id: u64, info: &Arc<Info>, file: FileIndex) -> Result<Entered, Arc<Info>> {
    let mut register = lock();
    let register = &mut *register;
    let writer = Writer { id, info: info.clone(), file };
    let Some(writers) = register.files.get_mut(&place) else {
        register.files.insert(place, Writers { first: writer, others: Vec::new() });
        register.entered.entry(id).or_default().insert(place);
        return Ok(Entered::First);
    };
    let is_rival = |other: &&Writer| {
        let is_self = other.id == id && other.file == file;
        !is_self && !is_same_data((&other.info, other.file), (info, file))
    };
    if let Some(other) = writers.iter().find(is_rival) {
        return Err(other.info.clone());
    }
    if writers.iter().all(|other| other.id != id) {
        writers.others.push(writer);
        register.entered.entry(id).or_default().insert(place);
        return Ok(Entered::Together);
    }
    Ok(if writers.others.is_empty() { Entered::Again } else { Entered::Together })
}

/// A torrent that entered a file does not write to it after all.
pub(crate) fn give_up(place: Place, id: u64) {
    let mut register = lock();
    register.remove(place, id);
    if let Some(entered) = register.entered.get_mut(&id) {
        entered.remove(&place);
        if entered.is_empty() {
            register.entered.remove(&id);
        }
    }
}

/// Whether another torrent writes to this file, and the same as this one would.
pub(crate) fn is_written(place: Place, id: u64, mine: (&Info, FileIndex)) -> bool {
    let register = lock();
    let Some(writers) = register.files.get(&place) else { return false };
    let mut others = writers.iter().filter(|writer| writer.id != id).peekable();
    others.peek().is_some() && others.all(|other| is_same_data((&other.info, other.file), mine))
}

/// Another torrent of this process that writes to this file.
pub(crate) fn other_writer(place: Place, id: u64) -> Option<Arc<Info>> {
    let register = lock();
    let mut writers = register.files.get(&place)?.iter();
    writers.find(|writer| writer.id != id).map(|writer| writer.info.clone())
}

/// Whether several torrents write the same to this file.
pub(crate) fn is_shared(place: Place) -> bool {
    lock().files.get(&place).is_some_and(|writers| !writers.others.is_empty())
}

/// Claims files that are not there, beside those that this torrent has claimed; all of these, and the ones that are new.
///
/// # Errors
/// The first that another torrent of this process claimed for other data. Nothing is claimed then.
pub(crate) fn claim(claim: &Claim) -> Result<(Claim, Bitfield), Clash> {
    claim_beside(claim, claim.id)
}

/// The same; claims of this storage are the torrent's own too.
pub(crate) fn claim_beside(claim: &Claim, own: u64) -> Result<(Claim, Bitfield), Clash> {
    let mut register = lock();
    let known = register.torrents.get(&claim.id).and_then(|torrent| torrent.base.clone());
    let base = known.unwrap_or_else(|| claim.base());
    let within = register.claims.range(base.clone()..).take_while(|(other, _)| other.starts_with(&base));
    let around = base.ancestors().skip(1).filter_map(|folder| register.claims.get_key_value(folder));
    let met = within
        .chain(around)
        .flat_map(|(_, claims)| claims)
        .filter(|other| other.id != claim.id && other.id != own);
    let mut mine = None;
    for other in met {
        let mine = mine.get_or_insert_with(|| Paths::of(claim));
        if let Some(file) = mine.clash(other) {
            return Err(Clash { file, by: other.info.clone() });
        }
    }
    if let Some(torrent) = register.torrents.get_mut(&claim.id) {
        torrent.base = Some(base.clone());
    }
    let claims = register.claims.entry(base).or_default();
    if let Some(earlier) = claims.iter_mut().find(|other| other.id == claim.id) {
        let mut added = claim.files.clone();
        earlier.files.iter_ones().for_each(|file| {
            added.clear(file);
        });
        earlier.files.union(&claim.files);
        return Ok((earlier.clone(), added));
    }
    claims.push(claim.clone());
    Ok((claim.clone(), claim.files.clone()))
}

/// All that a torrent claims.
pub(crate) fn claimed(id: u64) -> Option<Claim> {
    let register = lock();
    let base = register.torrents.get(&id)?.base.as_ref()?;
    register.claims.get(base)?.iter().find(|claim| claim.id == id).cloned()
}

/// A torrent claims what `other` does, in the place of all that it claimed; `other` is gone. Both are the same torrent: it was
/// about to move there.
pub(crate) fn succeed(id: u64, other: u64, places: &Arc<RwLock<Places>>) {
    let mut register = lock();
    let register = &mut *register;
    let base = register.torrents.get_mut(&id).and_then(|torrent| torrent.base.take());
    if let Some(base) = base {
        take_out(&mut register.claims, &base, |claim| claim.id == id);
    }
    let Some(Running { info, base: Some(base), .. }) = register.torrents.remove(&other) else { return };
    take_out(&mut register.running, info.info_hashes().wire().as_bytes(), |running| *running == other);
    let claims = register.claims.get_mut(&base).into_iter().flatten();
    for claim in claims.filter(|claim| claim.id == other) {
        (claim.id, claim.places) = (id, places.clone());
    }
    if let Some(torrent) = register.torrents.get_mut(&id) {
        torrent.base = Some(base);
    } else {
        take_out(&mut register.claims, &base, |claim| claim.id == id);
    }
}

/// A torrent does not claim these files after all.
pub(crate) fn give_back(id: u64, files: &Bitfield) {
    let mut register = lock();
    let Some(base) = register.torrents.get(&id).and_then(|torrent| torrent.base.clone()) else { return };
    let claims = register.claims.get_mut(&base).into_iter().flatten();
    for claim in claims.filter(|claim| claim.id == id) {
        files.iter_ones().for_each(|file| {
            claim.files.clear(file);
        });
    }
}

/// A torrent claims none but these files any more. What it still claims, if that is less.
pub(crate) fn keep(id: u64, wanted: &Bitfield) -> Option<Claim> {
    let mut register = lock();
    let base = register.torrents.get(&id)?.base.clone()?;
    let claim = register.claims.get_mut(&base)?.iter_mut().find(|claim| claim.id == id)?;
    let given_up: Vec<u32> = claim.files.iter_and_not(wanted).collect();
    for &file in &given_up {
        claim.files.clear(file);
    }
    (!given_up.is_empty()).then(|| claim.clone())
}

/// Whether a torrent runs in this process with its state in `state_dir`, and what it writes to a file is the same as what
/// this one does.
pub(crate) fn runs(
    info_hash: &[u8; 20],
    state_dir: Option<&Path>,
    (file, info, mine): (FileIndex, &Info, FileIndex),
) -> Runs {
    let register = lock();
    let running = register.running.get(info_hash).into_iter().flatten();
    let mut running = running.filter_map(|id| register.torrents.get(id));
    // Another session may have the same torrent with another state, and other files.
    let Some(other) = running.find(|other| other.state_dir.as_deref() == state_dir) else { return Runs::No };
    if is_same_data((&other.info, file), (info, mine)) { Runs::WithSameData } else { Runs::WithOtherData }
}

/// Whether a torrent runs in this process with the state that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runs {
    No,
    WithSameData,
    WithOtherData,
}

/// A torrent writes nowhere any more.
pub(crate) fn leave(id: u64) {
    let mut register = lock();
    for place in register.entered.remove(&id).unwrap_or_default() {
        register.remove(place, id);
    }
    let Some(Running { info, base, .. }) = register.torrents.remove(&id) else { return };
    let register = &mut *register;
    take_out(&mut register.running, info.info_hashes().wire().as_bytes(), |other| *other == id);
    if let Some(base) = base {
        take_out(&mut register.claims, &base, |claim| claim.id == id);
    }
}

/// Removes from a list what `is_it`, and the list when it was the last.
fn take_out<K: Ord, T>(lists: &mut BTreeMap<K, Vec<T>>, key: &K, is_it: impl Fn(&T) -> bool) {
    if let Some(list) = lists.get_mut(key) {
        list.retain(|item| !is_it(item));
        if list.is_empty() {
            lists.remove(key);
        }
    }
}

impl Claim {
    /// The folder or only file that holds all of the torrent's.
    pub(crate) fn base(&self) -> PathBuf {
        self.root.join(self.places().base())
    }

    /// Where a file will lie, relative to the root.
    pub(crate) fn path(&self, file: FileIndex) -> Option<PathBuf> {
        self.places().destined(file)
    }

    fn places(&self) -> RwLockReadGuard<'_, Places> {
        self.places.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands out the claimed files with their paths, up to the first that is given back.
    pub(crate) fn each(
        &self,
        mut each: impl FnMut(FileIndex, PathBuf) -> Option<FileIndex>,
    ) -> Option<FileIndex> {
        let places = self.places();
        let path = |file| Some(self.root.join(places.destined(file)?));
        self.files.iter_ones().map(FileIndex).find_map(|file| each(file, path(file)?))
    }
}

/// The paths of a claim, for comparing others with them.
struct Paths<'a> {
    claim: &'a Claim,
    hasher: RandomState,
    files: HashMap<u64, FileIndex>,
    /// All that the files lie in.
    folders: HashSet<u64>,
}

impl<'a> Paths<'a> {
    fn of(claim: &'a Claim) -> Self {
        let mut paths =
            Self { claim, hasher: RandomState::new(), files: HashMap::new(), folders: HashSet::new() };
        claim.each(|file, path| {
            paths.files.insert(paths.hasher.hash_one(&path), file);
            for folder in path.ancestors().skip(1) {
                // Those above it came with it.
                if !paths.folders.insert(paths.hasher.hash_one(folder)) {
                    break;
                }
            }
            None
        });
        paths
    }

    /// The first file that cannot be made beside those of another claim.
    fn clash(&self, other: &Claim) -> Option<FileIndex> {
        let mut folder = PathBuf::new();
        other.each(|theirs, path| {
            if let Some(mine) = self.file_at(&path) {
                let is_same = is_same_data((&self.claim.info, mine), (&other.info, theirs));
                return (!is_same).then_some(mine);
            }
            if self.folders.contains(&self.hasher.hash_one(&path)) {
                return self.claim.each(|mine, inside| inside.starts_with(&path).then_some(mine));
            }
            let parent = path.parent()?;
            if parent == folder {
                return None;
            }
            folder = parent.to_path_buf();
            parent.ancestors().find_map(|folder| self.file_at(folder))
        })
    }

    fn file_at(&self, path: &Path) -> Option<FileIndex> {
        let file = *self.files.get(&self.hasher.hash_one(path))?;
        let found = self.claim.places().destined(file)?;
        (self.claim.root.join(found) == path).then_some(file)
    }
}

/// Whether two files are the same as far as hashes can tell: pieces of their own, all alike.
fn is_same_data((info, file): (&Info, FileIndex), (other, twin): (&Info, FileIndex)) -> bool {
    let (layout, other_layout) = (info.layout(), other.layout());
    // What a journal says of another torrent may be wrong.
    if other_layout.file_count() <= twin.as_usize()
        || layout.file_count() <= file.as_usize()
        || layout.file_len(file) != other_layout.file_len(twin)
    {
        return false;
    }
    let pieces = |layout: &Layout, file| {
        let pieces = layout.file_pieces(file).filter_map(|piece| layout.piece(piece));
        pieces.collect::<Vec<PieceIndex>>()
    };
    let (mine, theirs) = (pieces(layout, file), pieces(other_layout, twin));
    mine.len() == theirs.len()
        && mine.iter().zip(&theirs).all(|(&mine, &theirs)| {
            let has_hash = info.piece_hash_v1(mine).is_some() || info.piece_tree_v2(mine).is_some();
            has_hash
                && !is_mixed(layout, mine, file)
                && !is_mixed(other_layout, theirs, twin)
                && layout.piece_len(mine) == other_layout.piece_len(theirs)
                && info.piece_hash_v1(mine) == other.piece_hash_v1(theirs)
                && info.piece_tree_v2(mine).map(|tree| tree.root)
                    == other.piece_tree_v2(theirs).map(|tree| tree.root)
        })
}

/// Whether a piece has bytes of other files.
fn is_mixed(layout: &Layout, piece: PieceIndex, file: FileIndex) -> bool {
    layout.file_spans(piece, 0, u32::MAX).any(|span| !span.is_pad && span.file != file)
}

fn lock() -> MutexGuard<'static, Register> {
    // The maps are whole after every operation.
    REGISTER.lock().unwrap_or_else(PoisonError::into_inner)
}
