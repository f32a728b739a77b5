//! What files of both versions have: names, attributes, symlinks.

use std::borrow::Cow;

use ferri_bencode::List;

use super::Warnings;
use super::place::Table;
use super::text::Decoder;
use crate::error::{MetainfoError, MetainfoErrorKind};
use crate::info::{Attributes, FileTable};
use crate::limits::{PATH_COMPONENT_BYTES_MAX, PATH_COMPONENTS_MAX, SYMLINKS_MAX};
use crate::warning::WarningKind;

/// A name as text, if it is not too long.
pub(super) fn name_text<'b>(
    name: &'b [u8],
    names: &mut Decoder<'_>,
) -> Result<Cow<'b, str>, MetainfoErrorKind> {
    if PATH_COMPONENT_BYTES_MAX < name.len() {
        return Err(MetainfoErrorKind::NameTooLong(name.len()));
    }
    Ok(names.text(name))
}

/// The components of a path as text.
pub(super) fn components<'d>(
    table: &Table<'d, '_>,
    key: &str,
    path: List<'d>,
    names: &mut Decoder<'_>,
    into: &mut Vec<Cow<'d, str>>,
) -> Result<(), MetainfoError> {
    into.clear();
    for (index, value) in path.iter().enumerate() {
        let place = table.place.key(key.as_bytes());
        let place = place.index(index);
        let at = Some(value.offset());
        if index == PATH_COMPONENTS_MAX {
            return Err(place.error(at, MetainfoErrorKind::PathTooDeep));
        }
        let name = value.as_bytes().ok_or_else(|| place.error(at, MetainfoErrorKind::NotA("a string")))?;
        into.push(name_text(name, names).map_err(|kind| place.error(at, kind))?);
    }
    if into.is_empty() {
        return Err(table.error(key, MetainfoErrorKind::EmptyPath));
    }
    Ok(())
}

/// What stands beside a file's name: everything but its path.
pub(super) struct Properties {
    pub(super) length: u64,
    pub(super) attributes: Attributes,
    pub(super) symlink: Option<Vec<String>>,
}

/// Reads `length`, `attr` and `symlink path` of a file.
pub(super) fn properties(
    table: &Table<'_, '_>,
    names: &mut Decoder<'_>,
    warnings: &mut Warnings,
) -> Result<Properties, MetainfoError> {
    let mut attributes = table.bytes("attr")?.map(Attributes::from_attr).unwrap_or_default();
    let mut symlink = None;
    if attributes.symlink {
        match table.list("symlink path")?.filter(|path| !path.is_empty()) {
            Some(path) => {
                let mut target = Vec::new();
                components(table, "symlink path", path, names, &mut target)?;
                symlink = Some(target.into_iter().map(Cow::into_owned).collect());
            }
            None => {
                attributes.symlink = false;
                warnings.push(table.warning("attr", WarningKind::LinkWithoutTarget));
            }
        }
    }
    let length = match table.length("length")? {
        // BEP 47: the length of a symlink is zero and need not be said.
        Some(length) if attributes.symlink && length != 0 => {
            warnings.push(table.warning("length", WarningKind::LinkWithLength(length)));
            0
        }
        None if attributes.symlink => 0,
        None => return Err(table.error("length", MetainfoErrorKind::Missing)),
        Some(length) => length,
    };
    Ok(Properties { length, attributes, symlink })
}

/// Keeps what is special about the file that was added last.
pub(super) fn keep(files: &mut FileTable, properties: Properties) -> Result<(), MetainfoErrorKind> {
    let index = files.paths.len() - 1;
    if !properties.attributes.is_empty() || !files.attributes.is_empty() {
        files.attributes.resize(index, Attributes::default());
        files.attributes.push(properties.attributes);
    }
    if let Some(target) = properties.symlink {
        if files.symlinks.len() == SYMLINKS_MAX {
            return Err(MetainfoErrorKind::TooManySymlinks);
        }
        files.symlinks.insert(u32::try_from(index).expect("no more files than FILES_MAX"), target);
    }
    Ok(())
}
