//! Hybrid torrents ([BEP 52], upgrade path): both sides must be the same files in the same places.
//!
//! The v1 side has the padding that puts every file at a piece's start, so it is the one that is kept; the v2 side
//! gives it the roots. Clients of either version then agree about every piece.
//!
//! [BEP 52]: https://www.bittorrent.org/beps/bep_0052.html

use super::Content;
use super::place::Place;
use crate::error::{MetainfoError, MetainfoErrorKind};
use crate::info::Attributes;
use crate::layout::FileIndex;

/// The v1 side with the roots of the v2 side. `None`: both have the same files in another order, as libtorrent 2.1 makes
/// them where a folder and a file begin with the same name; each side is good alone, but their pieces differ.
pub(super) fn join(
    mut v1: Content,
    v2: &Content,
    info: &Place<'_>,
) -> Result<Option<Content>, MetainfoError> {
    let wrong = |place: Place<'_>, text: String| place.error(None, MetainfoErrorKind::HybridMismatch(text));
    let piece_length = u64::from(v1.layout.piece_length());
    let mut roots = Vec::with_capacity(v1.layout.file_count());
    let mut theirs = v2.layout.files();
    for file in v1.layout.files() {
        if v1.layout.is_pad(file) {
            roots.push(0);
            continue;
        }
        let files = info.key(b"files");
        let place = if v1.multi_file { files.index(file.as_usize()) } else { info.key(b"length") };
        let Some(other) = theirs.next() else {
            return Err(wrong(place, "only version 1 has this file".to_owned()));
        };
        if !same_path(&v1, file, v2, other) && is_reordered(&v1, v2) {
            return Ok(None);
        }
        same_file(&v1, file, v2, other).map_err(|text| wrong(place, text))?;
        let range = v1.layout.file_range(file);
        if !range.is_empty() && !range.start.is_multiple_of(piece_length) {
            return Err(wrong(place, "the file does not begin with a piece".to_owned()));
        }
        roots.push(v2.files.roots[other.as_usize()]);
    }
    if theirs.next().is_some() {
        return Err(wrong(info.key(b"file tree"), "version 1 lacks a file".to_owned()));
    }
    // Each file begins with a piece and the counts agree: then no padding is longer than it has to be.
    let (ones, twos) = (v1.layout.piece_count(), v2.layout.piece_count());
    if ones != twos {
        return Err(wrong(info.key(b"files"), format!("{ones} pieces and {twos} pieces")));
    }
    v1.files.roots = roots;
    Ok(Some(v1))
}

fn same_path(v1: &Content, one: FileIndex, v2: &Content, two: FileIndex) -> bool {
    v1.files.paths.path(one.as_usize()) == v2.files.paths.path(two.as_usize())
}

/// Whether both sides have the same files, whatever their order.
fn is_reordered(v1: &Content, v2: &Content) -> bool {
    let sorted = |content: &Content| {
        let mut files: Vec<FileIndex> =
            content.layout.files().filter(|file| !content.layout.is_pad(*file)).collect();
        files.sort_by_cached_key(|file| content.files.paths.path(file.as_usize()));
        files
    };
    let (ones, twos) = (sorted(v1), sorted(v2));
    ones.len() == twos.len() && ones.iter().zip(&twos).all(|(one, two)| same_file(v1, *one, v2, *two).is_ok())
}

fn same_file(v1: &Content, one: FileIndex, v2: &Content, two: FileIndex) -> Result<(), String> {
    if !same_path(v1, one, v2, two) {
        return Err("the names or the order of files differ".to_owned());
    }
    let (ours, theirs) = (v1.layout.file_len(one), v2.layout.file_len(two));
    if ours != theirs {
        return Err(format!("a length of {ours} and a length of {theirs}"));
    }
    let link = |content: &Content, file: FileIndex| {
        let attributes: Option<&Attributes> = content.files.attributes.get(file.as_usize());
        let symlink = attributes.is_some_and(|attributes| attributes.symlink);
        symlink.then(|| content.files.symlinks.get(&file.0).cloned())
    };
    if link(v1, one) != link(v2, two) {
        return Err("a symbolic link differs".to_owned());
    }
    Ok(())
}
