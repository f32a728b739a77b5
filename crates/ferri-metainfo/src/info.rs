//! The info dictionary: what the info hash names. Names, lengths and hashes, but no trackers.
//!
//! [`Info`] is parsed and validated in [`parse`](crate::parse); here is what it answers.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use crate::error::MetainfoError;
use crate::info_hash::InfoHashes;
use crate::layers::PieceLayers;
use crate::layout::{FileIndex, Layout, PieceIndex, Version};
use crate::limits::BLOCK_LENGTH;
use crate::names::{LocalPaths, NameError};
use crate::parse;
use crate::paths::Paths;

/// What is shared: the content that an info hash stands for.
///
/// Names are given as they were decoded. They can be empty, be `..`, hold slashes, NUL or control characters, appear
/// twice or name a file where a folder must be: [`names`](crate::names) says what becomes of them on a disk, and
/// [`display`](crate::display) how they are shown.
#[derive(Clone, Debug)]
pub struct Info {
    pub(crate) bytes: Arc<[u8]>,
    pub(crate) hashes: InfoHashes,
    pub(crate) name: String,
    pub(crate) layout: Layout,
    pub(crate) multi_file: bool,
    pub(crate) private: bool,
    pub(crate) source: Option<String>,
    /// Where the SHA-1 hashes of the pieces lie in `bytes`: 20 for each piece. Empty without a v1 side.
    pub(crate) pieces: Range<usize>,
    pub(crate) files: FileTable,
    /// Of the v2 side, once they are known.
    pub(crate) layers: Option<PieceLayers>,
    /// Where the files go on a disk, once a caller asked: all callers that have to do with files do.
    pub(crate) local_paths: OnceLock<Result<LocalPaths, NameError>>,
}

/// What [`Info`] keeps about files beside their lengths.
#[derive(Clone, Debug, Default)]
pub(crate) struct FileTable {
    pub(crate) paths: Paths,
    /// One a file; empty when no file has any.
    pub(crate) attributes: Vec<Attributes>,
    pub(crate) symlinks: BTreeMap<u32, Vec<String>>,
    /// One a file: where its root lies in the info dictionary, 0 for files that have none. Empty without a v2 side.
    pub(crate) roots: Vec<u32>,
}

impl Info {
    /// Parses a bare info dictionary, as it comes from peers for a magnet link.
    ///
    /// The caller compares [`Info::info_hashes`] with what was asked for. A v2 side lacks its piece layers, which do
    /// not travel with it. Warnings are dropped.
    ///
    /// # Errors
    /// What [`Metainfo::parse`](crate::Metainfo::parse) refuses in its `info`.
    pub fn parse(bytes: &[u8]) -> Result<Self, MetainfoError> {
        parse::info(bytes, &mut parse::Warnings::default())
    }

    /// The torrent's name: the file's, or the folder's for all files. Can be empty.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The names of this torrent on the wire.
    pub fn info_hashes(&self) -> InfoHashes {
        self.hashes
    }

    /// The rules this torrent follows.
    pub fn version(&self) -> Version {
        self.layout.version()
    }

    /// Bytes of a full piece.
    pub fn piece_length(&self) -> u32 {
        self.layout.piece_length()
    }

    /// Where which bytes are.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Its files, padding included, in the order of [`Layout`].
    pub fn files(&self) -> Files<'_> {
        Files { info: self }
    }

    /// One of its files. `None` for an index the torrent does not have.
    pub fn file(&self, index: FileIndex) -> Option<File<'_>> {
        self.files().get(index)
    }

    /// Whether the files belong into a folder named [`Info::name`]. Otherwise there is one file, at the top.
    pub fn is_multi_file(&self) -> bool {
        self.multi_file
    }

    /// Peers come from its trackers only (BEP 27).
    pub fn is_private(&self) -> bool {
        self.private
    }

    /// A text that sets otherwise equal torrents apart; used by private trackers.
    pub fn source(&self) -> Option<&str> {
        self.source.as_deref()
    }

    /// The dictionary exactly as it was received: what the info hashes are the hashes of.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same, to be kept elsewhere.
    pub fn shared_bytes(&self) -> Arc<[u8]> {
        Arc::clone(&self.bytes)
    }

    /// The SHA-1 of a piece. `None` without a v1 side.
    pub fn piece_hash_v1(&self, piece: PieceIndex) -> Option<[u8; 20]> {
        let (hashes, _) = self.bytes[self.pieces.clone()].as_chunks::<20>();
        hashes.get(piece.as_usize()).copied()
    }

    /// The Merkle tree over a piece, from the piece layers or, where a file is not longer than a piece, from its root.
    /// `None` without a v2 side or before the layers are known.
    pub fn piece_tree_v2(&self, piece: PieceIndex) -> Option<PieceTree> {
        if !self.version().has_v2() {
            return None;
        }
        let file = self.layout.file_spans(piece, 0, 1).next()?.file;
        let root = self.file(file)?.pieces_root?;
        let blocks = |bytes: u64| usize::try_from(bytes.div_ceil(u64::from(BLOCK_LENGTH))).ok();
        let length = self.layout.file_len(file);
        if length <= u64::from(self.piece_length()) {
            return Some(PieceTree { root, width: blocks(length)?.next_power_of_two() });
        }
        let within = piece.get() - self.layout.file_pieces(file).start;
        let hash = *self.layers.as_ref()?.layer(&root)?.get(within as usize)?;
        Some(PieceTree { root: hash, width: blocks(u64::from(self.piece_length()))? })
    }

    /// The hashes of a file's pieces (BEP 52 `piece layers`), which were checked against its root. `None` without a v2
    /// side, for a file that is not longer than a piece, and before the layers are known.
    pub fn piece_layer(&self, file: FileIndex) -> Option<&[[u8; 32]]> {
        if self.layout.file_len(file) <= u64::from(self.piece_length()) {
            return None;
        }
        self.layers.as_ref()?.layer(&self.file(file)?.pieces_root?)
    }

    /// Whether the hashes of all pieces are known: always with a v1 side, else once the layers are there.
    pub fn has_piece_hashes(&self) -> bool {
        self.version().has_v1() || self.layers.is_some()
    }
}

/// How a piece is verified in v2: the Merkle root over its 16 KiB blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PieceTree {
    /// The root.
    pub root: [u8; 32],
    /// Leaves of the tree, a power of two. Those behind the end of the file are zero.
    pub width: usize,
}

/// The files of an [`Info`].
#[derive(Clone, Copy, Debug)]
pub struct Files<'a> {
    info: &'a Info,
}

impl<'a> Files<'a> {
    /// How many there are, padding included; at least 1.
    pub fn len(self) -> usize {
        self.info.files.paths.len()
    }

    /// Never: a torrent has a file.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// `None` for an index the torrent does not have.
    pub fn get(self, index: FileIndex) -> Option<File<'a>> {
        (index.as_usize() < self.len()).then(|| File::new(self.info, index.0))
    }

    /// Each file in order.
    pub fn iter(self) -> FilesIter<'a> {
        let count = u32::try_from(self.len()).expect("no more files than FILES_MAX");
        FilesIter { info: self.info, rest: 0..count }
    }
}

impl<'a> IntoIterator for Files<'a> {
    type Item = File<'a>;
    type IntoIter = FilesIter<'a>;

    fn into_iter(self) -> FilesIter<'a> {
        self.iter()
    }
}

/// Each file of an [`Info`]. Made by [`Files::iter`].
#[derive(Clone, Debug)]
pub struct FilesIter<'a> {
    info: &'a Info,
    rest: Range<u32>,
}

impl<'a> Iterator for FilesIter<'a> {
    type Item = File<'a>;

    fn next(&mut self) -> Option<File<'a>> {
        self.rest.next().map(|index| File::new(self.info, index))
    }

    fn nth(&mut self, n: usize) -> Option<File<'a>> {
        self.rest.nth(n).map(|index| File::new(self.info, index))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.rest.size_hint()
    }
}

impl DoubleEndedIterator for FilesIter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.rest.next_back().map(|index| File::new(self.info, index))
    }
}

impl ExactSizeIterator for FilesIter<'_> {}

/// One file of an [`Info`]: a view, made when it is asked for.
#[derive(Clone, Copy, Debug)]
pub struct File<'a> {
    /// Its place in the torrent.
    pub index: FileIndex,
    /// Its bytes.
    pub length: u64,
    /// What is special about it.
    pub attributes: Attributes,
    /// The components of the path it links to, seen from the torrent's folder, as given. `None` unless it is a
    /// symlink.
    pub symlink_target: Option<&'a [String]>,
    /// The root of its Merkle tree. `None` without a v2 side, and for empty files and padding.
    pub pieces_root: Option<[u8; 32]>,
    paths: &'a Paths,
}

impl<'a> File<'a> {
    /// The file at `index`, which the torrent has.
    fn new(info: &'a Info, index: u32) -> Self {
        let files = &info.files;
        let attributes = files.attributes.get(index as usize).copied().unwrap_or_default();
        let symlink_target =
            attributes.symlink.then(|| files.symlinks.get(&index).map(Vec::as_slice)).flatten();
        let pieces_root = files.roots.get(index as usize).filter(|at| **at != 0);
        let pieces_root = pieces_root.and_then(|at| info.bytes.get(*at as usize..)?.first_chunk().copied());
        let index = FileIndex(index);
        let length = info.layout.file_len(index);
        Self { index, length, attributes, symlink_target, pieces_root, paths: &files.paths }
    }

    /// The components of its path, outermost first, at least one. The torrent's name is not among them, except that a
    /// v1 torrent of a single file has it as its only one.
    pub fn path(&self) -> Vec<&'a str> {
        self.paths.path(self.index.as_usize())
    }

    /// Writes its path behind `out`, with `/` between the components.
    pub fn write_path(&self, out: &mut String) {
        for (depth, part) in self.path().into_iter().enumerate() {
            if depth != 0 {
                out.push('/');
            }
            out.push_str(part);
        }
    }

    /// The last component of its path.
    pub fn name(&self) -> &'a str {
        self.paths.file_name(self.index.as_usize())
    }

    /// Whether it is padding: zeros that are never kept.
    pub fn is_pad(&self) -> bool {
        self.attributes.pad
    }
}

/// What BEP 47 says about a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Attributes {
    /// `p`: zeros between files.
    pub pad: bool,
    /// `h`.
    pub hidden: bool,
    /// `x`.
    pub executable: bool,
    /// `l`: a symbolic link, without bytes of its own.
    pub symlink: bool,
}

impl Attributes {
    /// Reads an `attr` string. Unknown letters are ignored.
    pub fn from_attr(attr: &[u8]) -> Self {
        Self {
            pad: attr.contains(&b'p'),
            hidden: attr.contains(&b'h'),
            executable: attr.contains(&b'x'),
            symlink: attr.contains(&b'l'),
        }
    }

    /// Nothing is special.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}

impl std::fmt::Display for Attributes {
    /// As the `attr` string.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let letters = [(self.executable, "x"), (self.hidden, "h"), (self.pad, "p"), (self.symlink, "l")];
        letters.into_iter().filter(|(set, _)| *set).try_for_each(|(_, letter)| f.write_str(letter))
    }
}
