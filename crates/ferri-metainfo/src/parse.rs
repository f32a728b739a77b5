//! From bencode to [`Info`] and [`Metainfo`]: every rule is checked here, once.
//!
//! Here is the info dictionary as a whole; its parts and what stands around it have their own files. Nothing recurses,
//! and nothing is allocated for a number that the input only claims.

mod around;
mod entry;
mod files;
mod hybrid;
mod layers;
mod place;
mod text;
mod tree;

#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use encoding_rs::Encoding;
use ferri_bencode::{Document, Value};

use crate::error::{MetainfoError, MetainfoErrorKind};
use crate::info::{FileTable, Info};
use crate::info_hash::{InfoHash, InfoHashV2, InfoHashes};
use crate::layers::PieceLayers;
use crate::layout::{Layout, LayoutError, Version};
use crate::limits::TORRENT_BYTES_MAX;
use crate::warning::{Warning, WarningKind};
use place::{Place, Table};
use text::Decoder;

pub(crate) use around::metainfo;

/// A bare info dictionary.
pub(crate) fn info(bytes: &[u8], warnings: &mut Warnings) -> Result<Info, MetainfoError> {
    let (document, consumed) = document(bytes)?;
    if consumed < bytes.len() {
        let kind = MetainfoErrorKind::Bencode(ferri_bencode::ErrorKind::TrailingData);
        return Err(Place::ROOT.error(Some(consumed), kind));
    }
    warnings.irregular(&document);
    let draft = Draft::parse(document.root(), &Place::ROOT, None, warnings)?;
    drop(document);
    Ok(draft.finish(bytes, 0..bytes.len(), None))
}

/// Warnings, as many as are kept.
#[derive(Debug, Default)]
pub(crate) struct Warnings(Vec<Warning>);

impl Warnings {
    fn push(&mut self, warning: Warning) {
        if self.0.len() < crate::limits::WARNINGS_MAX {
            self.0.push(warning);
        }
    }

    fn irregular(&mut self, document: &Document<'_>) {
        for error in document.irregularities() {
            self.push(Place::ROOT.warning(WarningKind::Bencode(*error)));
        }
    }
}

/// Bytes as bencode, if they are of a size that a torrent can have, and how many of them it took.
fn document(bytes: &[u8]) -> Result<(Document<'_>, usize), MetainfoError> {
    if bytes.is_empty() {
        return Err(Place::ROOT.error(None, MetainfoErrorKind::NoBytes));
    }
    if TORRENT_BYTES_MAX < bytes.len() {
        return Err(Place::ROOT.error(None, MetainfoErrorKind::TooLarge(bytes.len())));
    }
    Document::parse_tolerant(bytes)
        .map_err(|error| Place::ROOT.error(Some(error.offset), MetainfoErrorKind::Bencode(error.kind)))
}

/// An info dictionary whose bytes are still the caller's, so that the tape can go before they are copied.
struct Draft {
    name: String,
    layout: Layout,
    files: FileTable,
    multi_file: bool,
    private: bool,
    source: Option<String>,
    /// Where the v1 hashes are, from the start of the dictionary.
    pieces: Range<usize>,
}

impl Draft {
    fn parse(
        value: Value<'_>,
        place: &Place<'_>,
        declared: Option<&'static Encoding>,
        warnings: &mut Warnings,
    ) -> Result<Self, MetainfoError> {
        let table = Table::new(value, place)?;
        let mut version = version(&table)?;
        let piece_length = piece_length(&table)?;
        let mut names = Decoder::new(table.dict, declared);
        let name = table.bytes("name")?.ok_or_else(|| table.error("name", MetainfoErrorKind::Missing))?;
        let name = name_utf8(&table).unwrap_or(name);
        if name.is_empty() {
            warnings.push(table.warning("name", WarningKind::NoName));
        }
        let name = entry::name_text(name, &mut names).map_err(|kind| table.error("name", kind))?.into_owned();

        let base = value.offset();
        let Content { layout, files, multi_file } = match version {
            Version::V1 => files::content(&table, version, piece_length, &name, &mut names, warnings)?,
            Version::V2 => tree::content(&table, piece_length, base, &mut names, warnings)?,
            Version::Hybrid => {
                let v1 = files::content(&table, version, piece_length, &name, &mut names, warnings)?;
                let v2 = tree::content(&table, piece_length, base, &mut names, warnings)?;
                match hybrid::join(v1, &v2, place)? {
                    Some(content) => content,
                    None => {
                        drop(v2);
                        version = Version::V1;
                        warnings.push(place.key(b"files").warning(WarningKind::HybridOrder));
                        files::content(
                            &table,
                            version,
                            piece_length,
                            &name,
                            &mut names,
                            &mut Warnings::default(),
                        )?
                    }
                }
            }
        };
        let pieces = if version.has_v1() { pieces(&table, &layout)? } else { 0..0 };
        if let Some(encoding) = names.chosen() {
            warnings.push(place.warning(WarningKind::Encoding(encoding.name())));
        }
        let source =
            table.get("source").and_then(Value::as_bytes).map(|source| names.text(source).into_owned());
        let private = private(&table, warnings);
        Ok(Self { name, layout, files, multi_file, private, source, pieces })
    }

    /// With the bytes that were parsed, which lie at `span` of `input`.
    fn finish(self, input: &[u8], span: Range<usize>, layers: Option<PieceLayers>) -> Info {
        let bytes: Arc<[u8]> = Arc::from(&input[span]);
        let version = self.layout.version();
        let hashes = InfoHashes {
            v1: version.has_v1().then(|| InfoHash::from(ferri_hash::sha1(&bytes))),
            v2: version.has_v2().then(|| InfoHashV2::from(ferri_hash::sha256(&bytes))),
        };
        Info {
            bytes,
            hashes,
            name: self.name,
            layout: self.layout,
            multi_file: self.multi_file,
            private: self.private,
            source: self.source,
            pieces: self.pieces,
            files: self.files,
            layers,
            local_paths: OnceLock::new(),
        }
    }
}

/// The files of one side of a torrent.
struct Content {
    layout: Layout,
    files: FileTable,
    multi_file: bool,
}

/// BEP 52: an unknown `meta version` comes before all other complaints.
fn version(table: &Table<'_, '_>) -> Result<Version, MetainfoError> {
    let meta_version = table.int("meta version")?;
    let v1 = table.get("pieces").is_some();
    let tree = table.get("file tree").is_some();
    match meta_version {
        Some(2) if v1 => Ok(Version::Hybrid),
        Some(2) => Ok(Version::V2),
        // Version 1 is never written, but says what it is.
        None | Some(1) if tree && !v1 => Err(table.error("meta version", MetainfoErrorKind::NoMetaVersion)),
        None | Some(1) => Ok(Version::V1),
        Some(other) => Err(table.error("meta version", MetainfoErrorKind::MetaVersion(other))),
    }
}

/// BEP 27 knows the integer 1. The flag protects a swarm, so whatever does not say 0 means yes, as others take it too.
fn private(table: &Table<'_, '_>, warnings: &mut Warnings) -> bool {
    let is_public = |value: Value<'_>| match value.as_bytes() {
        Some(text) => text.trim_ascii() == b"0",
        None => value.as_int() == Some(0),
    };
    // Also the second of a doubled key can ask for protection.
    let values = table.dict.iter().filter(|(key, _)| *key == b"private").map(|(_, value)| value);
    let Some(doubt) = values.into_iter().find(|value| !is_public(*value)) else { return false };
    if doubt.as_int() != Some(1) {
        warnings.push(table.warning("private", WarningKind::Private));
    }
    true
}

/// What some clients wrote beside a `name` in another encoding, if it keeps its promise.
fn name_utf8<'d>(table: &Table<'d, '_>) -> Option<&'d [u8]> {
    table.get("name.utf-8").and_then(Value::as_str).filter(|name| !name.is_empty()).map(str::as_bytes)
}

fn piece_length(table: &Table<'_, '_>) -> Result<u32, MetainfoError> {
    let length = table.length("piece length")?;
    let length = length.ok_or_else(|| table.error("piece length", MetainfoErrorKind::Missing))?;
    u32::try_from(length)
        .map_err(|_| table.error("piece length", MetainfoErrorKind::Layout(LayoutError::PieceLength(length))))
}

/// A layout that cannot be, said at the key that is to blame.
fn layout_error(table: &Table<'_, '_>, files: &str, error: LayoutError) -> MetainfoError {
    let key = match error {
        LayoutError::PieceLength(_) | LayoutError::NotPowerOfTwo(_) => "piece length",
        _ => files,
    };
    table.error(key, MetainfoErrorKind::Layout(error))
}

/// The v1 hashes: as many as pieces.
fn pieces(table: &Table<'_, '_>, layout: &Layout) -> Result<Range<usize>, MetainfoError> {
    let hashes = table.bytes("pieces")?.ok_or_else(|| table.error("pieces", MetainfoErrorKind::Missing))?;
    if hashes.len() % 20 != 0 {
        return Err(table.error("pieces", MetainfoErrorKind::OddPieces(hashes.len())));
    }
    let count = hashes.len() / 20;
    if count != layout.piece_count() as usize {
        let kind = MetainfoErrorKind::PieceCount { hashes: count, pieces: layout.piece_count() };
        return Err(table.error("pieces", kind));
    }
    let value = table.get("pieces").expect("it was there a moment ago");
    let end = value.span().end - table.dict.value().offset();
    Ok(end - hashes.len()..end)
}
