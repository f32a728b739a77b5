//! The v1 side of a torrent's files: `length`, or `files` ([BEP 3], [BEP 47]).
//!
//! [BEP 3]: https://www.bittorrent.org/beps/bep_0003.html
//! [BEP 47]: https://www.bittorrent.org/beps/bep_0047.html

use std::borrow::Cow;

use ferri_bencode::{List, Value};

use super::entry::{self, Properties};
use super::place::Table;
use super::text::Decoder;
use super::{Content, Warnings, layout_error};
use crate::error::{MetainfoError, MetainfoErrorKind};
use crate::info::FileTable;
use crate::layout::{LayoutBuilder, Version};
use crate::limits::FILES_MAX;
use crate::paths::{Appender, Directory};
use crate::warning::WarningKind;

/// The files of an info dictionary with a v1 side.
pub(super) fn content(
    info: &Table<'_, '_>,
    version: Version,
    piece_length: u32,
    name: &str,
    names: &mut Decoder<'_>,
    warnings: &mut Warnings,
) -> Result<Content, MetainfoError> {
    let has_length = info.get("length").is_some();
    match info.list("files")? {
        None if !has_length => Err(info.error("files", MetainfoErrorKind::NoFiles)),
        None => single(info, version, piece_length, name, names, warnings),
        Some(list) if has_length && list.is_empty() => {
            warnings.push(info.warning("files", WarningKind::NoFilesBesideLength));
            single(info, version, piece_length, name, names, warnings)
        }
        Some(list) => {
            // A client that reads one of them reads this one.
            if has_length {
                warnings.push(info.warning("length", WarningKind::LengthBesideFiles));
            }
            multi(info, version, piece_length, list, names, warnings)
        }
    }
}

fn single(
    info: &Table<'_, '_>,
    version: Version,
    piece_length: u32,
    name: &str,
    names: &mut Decoder<'_>,
    warnings: &mut Warnings,
) -> Result<Content, MetainfoError> {
    let mut properties = entry::properties(info, names, warnings)?;
    if properties.attributes.pad {
        properties.attributes.pad = false;
        warnings.push(info.warning("attr", WarningKind::OnlyPadding));
    }
    let lengths = [(properties.length, false)];
    let layout = crate::layout::Layout::new(version, piece_length, lengths);
    let layout = layout.map_err(|error| layout_error(info, "length", error))?;
    let mut files = FileTable::default();
    files
        .paths
        .add_file(Directory::ROOT, name)
        .map_err(|_| info.error("name", MetainfoErrorKind::TooMuchText))?;
    entry::keep(&mut files, properties).map_err(|kind| info.error("attr", kind))?;
    Ok(Content { layout, files, multi_file: false })
}

fn multi(
    info: &Table<'_, '_>,
    version: Version,
    piece_length: u32,
    list: List<'_>,
    names: &mut Decoder<'_>,
    warnings: &mut Warnings,
) -> Result<Content, MetainfoError> {
    let count = list.iter().take(FILES_MAX + 1).count();
    match count {
        0 => return Err(info.error("files", MetainfoErrorKind::EmptyFileList)),
        count if FILES_MAX < count => return Err(info.error("files", MetainfoErrorKind::TooManyFiles)),
        _ => {}
    }
    let mut files = FileTable::default();
    files.paths.reserve(count);
    let mut appender = Appender::default();
    let mut path = Vec::new();
    let builder = LayoutBuilder::new(version, piece_length, count);
    let mut layout = builder.map_err(|error| layout_error(info, "files", error))?;
    let list_place = info.place.key(b"files");
    for (index, value) in list.iter().enumerate() {
        let place = list_place.index(index);
        let table = Table::of_file(value, &place)?;
        let mut properties = entry::properties(&table, names, warnings)?;
        read_path(&table, &properties, names, &mut path)?;
        let fills_piece = || layout.fills_piece(properties.length);
        if version == Version::V1 && is_named_padding(&path, properties.length) && fills_piece() {
            properties.attributes.pad = true;
        }
        appender
            .add(&mut files.paths, &path)
            .map_err(|_| table.error("path", MetainfoErrorKind::TooMuchText))?;
        layout
            .push(properties.length, properties.attributes.pad)
            .map_err(|error| layout_error(&table, "length", error))?;
        entry::keep(&mut files, properties).map_err(|kind| table.error("symlink path", kind))?;
    }
    files.paths.shrink();
    let layout = layout.finish().map_err(|error| layout_error(info, "files", error))?;
    Ok(Content { layout, files, multi_file: true })
}

/// Whether a file without `attr` is called what clients call padding: `_____padding_file_N_...` at the top (BitComet), or
/// `.pad/N` with its length (BEP 47). That alone is not enough, see [`LayoutBuilder::fills_piece`].
fn is_named_padding(path: &[Cow<'_, str>], length: u64) -> bool {
    match path {
        [name] => name.starts_with("_____padding_file_"),
        [folder, name] => folder == ".pad" && name.parse() == Ok(length),
        _ => false,
    }
}

/// `path.utf-8` if it keeps its promise, else `path`; padding may go without (BEP 47).
fn read_path<'d>(
    table: &Table<'d, '_>,
    properties: &Properties,
    names: &mut Decoder<'_>,
    into: &mut Vec<Cow<'d, str>>,
) -> Result<(), MetainfoError> {
    if let Some(path) = table.get("path.utf-8").and_then(Value::as_list)
        && !path.is_empty()
        && path.iter().all(|component| component.as_str().is_some())
    {
        return entry::components(table, "path.utf-8", path, names, into);
    }
    match table.list("path")? {
        Some(path) => entry::components(table, "path", path, names, into),
        None if properties.attributes.pad => {
            into.clear();
            into.push(Cow::Borrowed(".pad"));
            into.push(Cow::Owned(properties.length.to_string()));
            Ok(())
        }
        None => Err(table.error("path", MetainfoErrorKind::Missing)),
    }
}
