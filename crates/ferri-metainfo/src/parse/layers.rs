//! `piece layers` ([BEP 52]): a layer for each file that is longer than a piece, each leading to its file's root.
//!
//! [BEP 52]: https://www.bittorrent.org/beps/bep_0052.html

use std::cmp::Ordering;

use ferri_bencode::{Dict, Value};
use ferri_hash::merkle;

use super::place::Table;
use super::{Draft, Warnings};
use crate::error::{MetainfoError, MetainfoErrorKind};
use crate::layers::PieceLayers;
use crate::limits::PIECE_LENGTH_MIN;
use crate::warning::{Warning, WarningKind};

/// A root that needs a layer.
struct Need {
    root: [u8; 32],
    hashes: u32,
    /// The file that it belongs to.
    file: usize,
}

/// The layers of a torrent whose info dictionary is `info`. `None`: a hybrid without layers that can be used, as one is
/// that was made from a magnet link. Its v1 side is whole, and proven by its own hashes: no name of the torrent depends
/// on the layers, so a program that broke them on the way is no reason to refuse it.
pub(super) fn layers(
    metainfo: &Table<'_, '_>,
    draft: &Draft,
    info: &[u8],
    warnings: &mut Warnings,
) -> Result<Option<PieceLayers>, MetainfoError> {
    match read(metainfo, draft, info, warnings) {
        Ok(layers) => Ok(Some(layers)),
        Err(error) if draft.layout.version().has_v1() => {
            let kind = match error.kind {
                MetainfoErrorKind::NoLayers => WarningKind::NoLayers,
                kind => WarningKind::UnusableLayers(kind),
            };
            warnings.push(Warning { path: error.path, kind });
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Checks all layers.
fn read(
    metainfo: &Table<'_, '_>,
    draft: &Draft,
    info: &[u8],
    warnings: &mut Warnings,
) -> Result<PieceLayers, MetainfoError> {
    let needs = needs(draft, info);
    let Some(value) = metainfo.get("piece layers") else {
        return match needs.is_empty() {
            true => Ok(PieceLayers::default()),
            false => Err(metainfo.error("piece layers", MetainfoErrorKind::NoLayers)),
        };
    };
    let Some(dict) = value.as_dict() else {
        return Err(metainfo.error("piece layers", MetainfoErrorKind::NotA("a dictionary")));
    };
    let given = sorted(dict);
    let mut layers =
        PieceLayers::with_capacity(needs.len(), needs.iter().map(|need| need.hashes as usize).sum());
    let mut rest = given.iter().peekable();
    let mut surplus = Vec::new();
    let mut last: Option<&Need> = None;
    for need in &needs {
        // Equal files share a layer. Of two lengths with one root, one is a lie.
        if let Some(last) = last.filter(|last| last.root == need.root) {
            if last.hashes != need.hashes {
                return Err(of_file(metainfo, draft, need, None, MetainfoErrorKind::LayerMismatch));
            }
            continue;
        }
        let value = loop {
            match rest.peek().map(|(root, value)| ((*root).cmp(&need.root[..]), *root, *value)) {
                Some((Ordering::Less, root, _)) => surplus.push(root),
                Some((Ordering::Equal, _, value)) => break value,
                Some((Ordering::Greater, ..)) | None => {
                    return Err(metainfo.error("piece layers", lacking(draft, need, &given)));
                }
            }
            rest.next();
        };
        rest.next();
        layers.push(need.root, checked(metainfo, draft, need, value)?);
        last = Some(need);
    }
    surplus.extend(rest.map(|(root, _)| *root));
    check_surplus(metainfo, draft, info, &surplus, warnings)?;
    Ok(layers)
}

/// Why a file has no layer. Programs that take the keys for text write them in hexadecimal digits.
fn lacking(draft: &Draft, need: &Need, given: &[(&[u8], Value<'_>)]) -> MetainfoErrorKind {
    match given.iter().find(|(root, _)| root.len() != need.root.len()) {
        Some((root, _)) => MetainfoErrorKind::LayerKey(root.len()),
        None => MetainfoErrorKind::MissingLayer(path(draft, need.file)),
    }
}

/// Layers that no file needs belong at least to one: to a file that is no longer than a piece.
fn check_surplus(
    metainfo: &Table<'_, '_>,
    draft: &Draft,
    info: &[u8],
    surplus: &[&[u8]],
    warnings: &mut Warnings,
) -> Result<(), MetainfoError> {
    if surplus.is_empty() {
        return Ok(());
    }
    let mut found = vec![false; surplus.len()];
    for &at in draft.files.roots.iter().filter(|at| **at != 0) {
        let root = root_at(info, at);
        if let Ok(index) = surplus.binary_search(&&root[..]) {
            found[index] = true;
        }
    }
    match found.iter().filter(|found| !**found).count() {
        0 => warnings.push(metainfo.warning("piece layers", WarningKind::NeedlessLayers(surplus.len()))),
        foreign => return Err(metainfo.error("piece layers", MetainfoErrorKind::SurplusLayers(foreign))),
    }
    Ok(())
}

fn root_at(info: &[u8], at: u32) -> [u8; 32] {
    *info[at as usize..].first_chunk().expect("the tree was parsed from these bytes")
}

/// The files that are longer than a piece, by root.
fn needs(draft: &Draft, info: &[u8]) -> Vec<Need> {
    let piece_length = u64::from(draft.layout.piece_length());
    let long = |file: &crate::FileIndex| piece_length < draft.layout.file_len(*file);
    let long = draft.layout.files().filter(|file| !draft.layout.is_pad(*file)).filter(long);
    let mut needs: Vec<Need> = long
        .map(|file| {
            let root = root_at(info, draft.files.roots[file.as_usize()]);
            let pieces = draft.layout.file_pieces(file);
            Need { root, hashes: pieces.end - pieces.start, file: file.as_usize() }
        })
        .collect();
    needs.sort_by_key(|need| need.root);
    needs
}

fn sorted(dict: Dict<'_>) -> Vec<(&[u8], Value<'_>)> {
    let mut given: Vec<_> = dict.iter().collect();
    if !given.is_sorted_by(|a, b| a.0 < b.0) {
        given.sort_by(|a, b| a.0.cmp(b.0));
        // Of a doubled key the first counts; the sort has kept their order.
        given.dedup_by_key(|(root, _)| *root);
    }
    given
}

fn checked<'d>(
    metainfo: &Table<'_, '_>,
    draft: &Draft,
    need: &Need,
    value: Value<'d>,
) -> Result<&'d [[u8; 32]], MetainfoError> {
    let fail = |kind| of_file(metainfo, draft, need, Some(value.offset()), kind);
    let bytes = value.as_bytes().ok_or_else(|| fail(MetainfoErrorKind::NotA("a string")))?;
    let expected = u64::from(need.hashes) * 32;
    if bytes.len() as u64 != expected {
        return Err(fail(MetainfoErrorKind::LayerLength { expected, got: bytes.len() }));
    }
    let (hashes, _) = bytes.as_chunks::<32>();
    let level = (draft.layout.piece_length() / PIECE_LENGTH_MIN).trailing_zeros();
    if merkle::root_of_layer(hashes, level) != need.root {
        return Err(fail(MetainfoErrorKind::LayerMismatch));
    }
    Ok(hashes)
}

fn of_file(
    metainfo: &Table<'_, '_>,
    draft: &Draft,
    need: &Need,
    offset: Option<usize>,
    kind: MetainfoErrorKind,
) -> MetainfoError {
    let name = path(draft, need.file);
    let place = metainfo.place.key(b"piece layers");
    place.key(name.as_bytes()).error(offset, kind)
}

fn path(draft: &Draft, file: usize) -> String {
    crate::display::sanitize(&draft.files.paths.path(file).join("/")).into_owned()
}
