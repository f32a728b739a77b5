//! The v2 side of a torrent's files: the `file tree` ([BEP 52]), walked with a stack of iterators.
//!
//! [BEP 52]: https://www.bittorrent.org/beps/bep_0052.html

use ferri_bencode::{Dict, DictIter, Value};

use super::entry::{self, Properties};
use super::place::{Place, Shown, Table};
use super::text::Decoder;
use super::{Content, Warnings, layout_error};
use crate::error::{MetainfoError, MetainfoErrorKind};
use crate::info::FileTable;
use crate::layout::{LayoutBuilder, Version};
use crate::paths::Directory;

/// The files of an info dictionary with a v2 side. `base` is where the dictionary begins.
pub(super) fn content(
    info: &Table<'_, '_>,
    piece_length: u32,
    base: usize,
    names: &mut Decoder<'_>,
    warnings: &mut Warnings,
) -> Result<Content, MetainfoError> {
    let tree = info.get("file tree").ok_or_else(|| info.error("file tree", MetainfoErrorKind::Missing))?;
    let tree =
        tree.as_dict().ok_or_else(|| info.error("file tree", MetainfoErrorKind::NotA("a dictionary")))?;
    if is_file(tree) {
        return Err(info.error("file tree", MetainfoErrorKind::FileAndFolder));
    }
    let layout = LayoutBuilder::new(Version::V2, piece_length, 0);
    let layout = layout.map_err(|error| layout_error(info, "file tree", error))?;
    let mut walk = Walk { files: FileTable::default(), layout, base, names, warnings };
    let mut open =
        vec![Open { key: b"file tree", rest: tree.iter(), last: None, directory: Directory::ROOT }];
    while let Some(top) = open.last_mut() {
        let directory = top.directory;
        let Some((key, value)) = top.rest.next() else {
            open.pop();
            continue;
        };
        // BEP 52: keys ascend, which is also the order of the pieces. An empty one describes a file.
        let wrong = match top.last.replace(key) {
            _ if key.is_empty() => Some(MetainfoErrorKind::EmptyName),
            Some(last) if key <= last => Some(MetainfoErrorKind::UnsortedTree),
            _ => None,
        };
        if let Some(kind) = wrong {
            let error = Place::ROOT.error(Some(value.offset()), kind);
            return Err(located(error, info.place, &open, key));
        }
        match walk.visit(directory, key, value) {
            Ok(Some((rest, directory))) => open.push(Open { key, rest, last: None, directory }),
            Ok(None) => {}
            Err(error) => return Err(located(error, info.place, &open, key)),
        }
    }
    let Walk { mut files, layout, .. } = walk;
    files.paths.shrink();
    if files.paths.len() == 0 {
        return Err(info.error("file tree", MetainfoErrorKind::EmptyFileList));
    }
    let layout = layout.finish().map_err(|error| layout_error(info, "file tree", error))?;
    let multi_file = files.paths.len() != 1 || files.paths.path(0).len() != 1;
    Ok(Content { layout, files, multi_file })
}

/// A folder whose children are being looked at.
struct Open<'d> {
    key: &'d [u8],
    rest: DictIter<'d>,
    /// The name that came before.
    last: Option<&'d [u8]>,
    directory: Directory,
}

struct Walk<'w, 'd> {
    files: FileTable,
    layout: LayoutBuilder,
    base: usize,
    names: &'w mut Decoder<'d>,
    warnings: &'w mut Warnings,
}

impl Walk<'_, '_> {
    /// Takes a file, or says which folder to go into. Places in errors are from the node on.
    fn visit<'d>(
        &mut self,
        parent: Directory,
        key: &[u8],
        value: Value<'d>,
    ) -> Result<Option<(DictIter<'d>, Directory)>, MetainfoError> {
        let node = Table::new(value, &Place::ROOT)?;
        let here = |kind| Place::ROOT.error(Some(value.offset()), kind);
        let name = entry::name_text(key, self.names).map_err(here)?;
        let too_much = |_| here(MetainfoErrorKind::TooMuchText);
        if !is_file(node.dict) {
            let directory = self.files.paths.add_directory(parent, &name).map_err(too_much)?;
            return Ok(Some((node.dict.iter(), directory)));
        }
        if node.dict.iter().nth(1).is_some() {
            return Err(here(MetainfoErrorKind::FileAndFolder));
        }
        let place = Place::ROOT.key(b"");
        let file = node.get("").expect("is_file looked at it");
        let table = Table::new(file, &place)?;
        let mut properties = entry::properties(&table, self.names, self.warnings)?;
        // Padding has no place among files that begin with a piece anyway.
        properties.attributes.pad = false;
        let root = self.root(&table, &properties)?;
        self.files.paths.add_file(parent, &name).map_err(too_much)?;
        self.layout.push(properties.length, false).map_err(|error| layout_error(&table, "length", error))?;
        self.files.roots.push(root);
        entry::keep(&mut self.files, properties).map_err(here)?;
        Ok(None)
    }

    /// Where the root of a file is in the info dictionary; 0 for an empty file.
    fn root(&self, table: &Table<'_, '_>, properties: &Properties) -> Result<u32, MetainfoError> {
        if properties.length == 0 {
            return Ok(0);
        }
        let Some(root) = table.bytes("pieces root")? else {
            return Err(table.error("pieces root", MetainfoErrorKind::Missing));
        };
        if root.len() != 32 || root.iter().all(|byte| *byte == 0) {
            return Err(table.error("pieces root", MetainfoErrorKind::NotARoot));
        }
        let value = table.get("pieces root").expect("it was there a moment ago");
        let start = value.span().end - 32 - self.base;
        Ok(u32::try_from(start).expect("offsets are below TORRENT_BYTES_MAX"))
    }
}

/// BEP 52: the empty key describes the node, and a length (or a link's target) makes it a file.
fn is_file(node: Dict<'_>) -> bool {
    let own = node.get(b"").and_then(Value::as_dict);
    own.is_some_and(|own| own.get(b"length").is_some() || own.get(b"symlink path").is_some())
}

/// An error with the folders that lead to it.
fn located(error: MetainfoError, info: &Place<'_>, open: &[Open<'_>], key: &[u8]) -> MetainfoError {
    let mut path = info.to_string();
    for key in open.iter().map(|folder| folder.key).chain([key]) {
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(&Shown(key).to_string());
    }
    if !error.path.is_empty() {
        path.push_str(&format!(".{}", error.path.trim_start_matches('.')));
    }
    MetainfoError { path, ..error }
}
