//! Any bytes as a torrent, an info dictionary, a magnet link; any names in one; and torrents made and read again.

use std::collections::BTreeSet;
use std::path::{Component, Path};
use std::sync::Arc;

use ferri_bencode::Encoder;
use ferri_hash::{sha1, sha256};
use ferri_metainfo::create::{Builder, Content, Hasher, NewFile};
use ferri_metainfo::limits::{FILES_MAX, PIECES_MAX, URLS_MAX, WARNINGS_MAX};
use ferri_metainfo::magnet::{MAGNET_BYTES_MAX, Magnet, WARNINGS_MAX as MAGNET_WARNINGS_MAX};
use ferri_metainfo::names::{COMPONENT_BYTES_MAX, LocalPaths};
use ferri_metainfo::{
    Bitfield, FileIndex, Info, InfoHash, InfoHashV2, Layout, Metainfo, MetainfoError, PieceIndex, Version,
};

use crate::script::Script;

/// Any bytes as a .torrent file. The info hash is that of bytes of the file; lengths, pieces and files agree; names are
/// mapped or refused; the magnet link reads back.
pub fn metainfo(data: &[u8]) {
    let metainfo = match Metainfo::parse(data) {
        Ok(metainfo) => metainfo,
        Err(error) => return check_error(&error, data),
    };
    let info = metainfo.info();
    let bytes = metainfo.info_bytes();
    assert!(
        data.windows(bytes.len()).any(|window| window == bytes),
        "the info dictionary is not of the file"
    );
    check_info(info);
    let bare = Info::parse(bytes).expect("the info dictionary of a good torrent is good");
    assert_eq!(bare.info_hashes(), info.info_hashes());
    assert_eq!(bare.layout(), info.layout());
    assert!(info.has_piece_hashes());
    assert!(metainfo.warnings().len() <= WARNINGS_MAX);
    assert!(
        metainfo.trackers().iter().flatten().count() <= URLS_MAX && metainfo.web_seeds().len() <= URLS_MAX
    );
    assert!(metainfo.trackers().iter().all(|tier| !tier.is_empty()));
    for warning in metainfo.warnings() {
        check_shown(&warning.to_string());
    }
    let magnet = Magnet::from_metainfo(&metainfo);
    assert_eq!(magnet.info_hashes, info.info_hashes());
    check_magnet(&magnet);
}

/// Any bytes as an info dictionary, as peers send it for a magnet link.
pub fn info(data: &[u8]) {
    match Info::parse(data) {
        Ok(info) => {
            assert_eq!(info.bytes(), data);
            check_info(&info);
        }
        Err(error) => check_error(&error, data),
    }
}

/// Any text as a magnet link, or what is pasted in its place.
pub fn magnet(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for result in [Magnet::parse(text), Magnet::parse_info_hash(text)] {
        match result {
            Ok(magnet) => {
                assert!(magnet.warnings.len() <= MAGNET_WARNINGS_MAX);
                magnet.warnings.iter().for_each(|warning| check_shown(&warning.to_string()));
                check_magnet(&magnet);
            }
            Err(error) => check_shown(&error.to_string()),
        }
    }
}

/// Any names in a torrent: where its files go.
pub fn names(data: &[u8]) {
    let mut script = Script::new(data);
    let name = text(script.short());
    let mut files = Vec::new();
    while !script.is_empty() {
        let flags = script.u8();
        let path: Vec<String> = (0..=flags % 4).map(|_| text(script.short())).collect();
        let link = (flags & 0x10 != 0).then(|| (0..1 + flags / 64).map(|_| text(script.short())).collect());
        files.push((path, flags & 0x28 == 0x28, link));
    }
    if let Ok(info) = Info::parse(&info_of(&name, &files)) {
        assert_eq!(info.files().len(), files.len().max(1));
        check_names(&info);
    }
}

/// A made-up payload becomes a torrent, fed in order and piece by piece with the same result, and the torrent says what went in.
pub fn create(data: &[u8]) {
    let mut script = Script::new(data);
    let builder = some_builder(&mut script);
    let version = builder.version;
    let Ok(plan) = builder.clone().plan() else { return };
    assert!(plan.total_length() <= 1 << 20, "the script allows no more");
    let payload: Vec<Vec<u8>> =
        plan.files().iter().map(|planned| payload(planned.start, planned.file.length)).collect();
    let plan = Arc::new(plan);
    let (mut fed, mut set) = (Hasher::new(Arc::clone(&plan)), Hasher::new(Arc::clone(&plan)));
    let portion = 1 + usize::from(script.u16());
    for part in payload.concat().chunks(portion) {
        fed.feed(part).expect("as many bytes as the files have");
    }
    for piece in (0..plan.piece_count()).rev() {
        let spans = plan.spans(piece);
        let bytes: Vec<u8> =
            spans.flat_map(|span| slice(&payload[span.file], span.offset, span.length)).copied().collect();
        set.set(piece, plan.hash_piece(piece, &bytes).expect("the bytes of the piece")).expect("its hash");
    }
    let torrent = fed.finish().expect("all was fed");
    assert_eq!(set.finish().as_ref(), Ok(&torrent), "the way of hashing shows");
    let metainfo = Metainfo::parse(&torrent).expect("what we make can be read");
    assert!(metainfo.warnings().is_empty(), "{:?}", metainfo.warnings());
    let info = metainfo.info();
    assert_eq!((info.version(), info.piece_length()), (version, plan.piece_length()));
    assert_eq!((info.is_private(), metainfo.comment()), (builder.private, builder.comment.as_deref()));
    assert_eq!(info.layout().piece_count(), plan.piece_count());
    check_info(info);
    check_payload(info, &payload);
}

/// Any bytes as a bitfield: the set of pieces is that of the bits, and comes back as the same bytes.
pub fn bitfield(data: &[u8]) {
    let Some((&[high, low], bytes)) = data.split_first_chunk::<2>() else { return };
    let length = u32::from(u16::from_be_bytes([high, low]));
    let Ok(set) = Bitfield::from_wire(bytes, length) else {
        let spare = length % 8 != 0 && bytes.last().is_some_and(|last| last << (length % 8) != 0);
        assert!(spare || bytes.len() != length.div_ceil(8) as usize, "a good bitfield is refused");
        return;
    };
    assert_eq!(set.to_wire(), bytes);
    let bit = |piece: u32| bytes[piece as usize / 8] & (0x80 >> (piece % 8)) != 0;
    let ones: Vec<u32> = (0..length).filter(|piece| bit(*piece)).collect();
    assert_eq!(set.iter_ones().collect::<Vec<_>>(), ones);
    assert_eq!(set.count_ones() as usize, ones.len());
    let mut built = Bitfield::new(length);
    for &piece in &ones {
        assert!(set.get(piece));
        built.set(piece);
    }
    assert_eq!(built, set);
    assert_eq!(Bitfield::full(length).count_and_not(&set), length - set.count_ones());
}

fn check_error(error: &MetainfoError, data: &[u8]) {
    assert!(
        error.offset.is_none_or(|offset| offset <= data.len()),
        "{error} is outside of {} bytes",
        data.len()
    );
    check_shown(&error.to_string());
}

/// Text that is made for people has nothing in it that does something to a terminal.
fn check_shown(text: &str) {
    assert_eq!(ferri_metainfo::display::sanitize(text), text, "not safe to show");
}

fn check_info(info: &Info) {
    let hashes = info.info_hashes();
    assert_eq!(hashes.v1.is_some(), info.version().has_v1());
    assert_eq!(hashes.v2.is_some(), info.version().has_v2());
    assert!(hashes.v1.is_none_or(|hash| hash == InfoHash::from(sha1(info.bytes()))));
    assert!(hashes.v2.is_none_or(|hash| hash == InfoHashV2::from(sha256(info.bytes()))));
    let layout = info.layout();
    check_layout(layout);
    assert_eq!(layout.file_count(), info.files().len());
    assert!(info.is_multi_file() || info.files().len() == 1);
    for file in info.files().iter().take(100) {
        assert_eq!(file.length, layout.file_len(file.index));
        assert_eq!(file.is_pad(), layout.is_pad(file.index));
        assert_eq!(file.path().last(), Some(&file.name()));
        assert!(!file.attributes.symlink || file.length == 0);
    }
    for piece in some_pieces(layout) {
        assert_eq!(info.piece_hash_v1(piece).is_some(), info.version().has_v1());
        let tree = info.piece_tree_v2(piece);
        assert!(tree.is_none() || info.version().has_v2());
        assert!(tree.is_none_or(|tree| tree.width.is_power_of_two()));
    }
    check_names(info);
}

/// The first and last pieces: a torrent may have two million.
fn some_pieces(layout: &Layout) -> impl Iterator<Item = PieceIndex> {
    let count = layout.piece_count();
    layout.pieces().filter(move |piece| piece.get() < 8 || count - piece.get() <= 8)
}

fn check_layout(layout: &Layout) {
    let (count, length) = (layout.piece_count(), layout.piece_length());
    assert!((1..=PIECES_MAX).contains(&count) && (1..=FILES_MAX).contains(&layout.file_count()));
    assert!(layout.piece(count - 1).is_some() && layout.piece(count).is_none());
    let files = layout.files().map(|file| layout.file_len(file)).sum::<u64>();
    assert_eq!(files, layout.total_length());
    if count <= 4096 {
        let pieces = layout.pieces().map(|piece| u64::from(layout.piece_len(piece))).sum::<u64>();
        assert_eq!(pieces, layout.total_length());
    }
    for piece in some_pieces(layout) {
        check_piece(layout, piece);
    }
    for file in layout.files().rev().take(64) {
        let pieces = layout.file_pieces(file);
        assert!(pieces.end <= count && pieces.is_empty() == (layout.file_len(file) == 0));
    }
    assert!(length.is_power_of_two() || layout.version() == Version::V1);
}

fn check_piece(layout: &Layout, piece: PieceIndex) {
    let length = layout.piece_len(piece);
    assert!(0 < length && length <= layout.piece_length());
    assert_eq!(layout.block(piece.get(), 0, 0), None);
    assert_eq!(layout.block(piece.get(), length, 1), None);
    assert_eq!(layout.block(piece.get(), u32::MAX, 2), None);
    let blocks = layout.block_count(piece);
    let last = layout.nth_block(piece, blocks - 1).expect("the last block");
    assert_eq!((last.end(), layout.nth_block(piece, blocks)), (length, None));
    assert_eq!(layout.block(piece.get(), last.begin(), last.length()), Some(last));
    let mut end: Option<(FileIndex, u64)> = None;
    let mut sum = 0;
    for span in layout.file_spans(piece, 0, length) {
        assert!(0 < span.length && span.offset + span.length <= layout.file_len(span.file));
        assert!(layout.file_pieces(span.file).contains(&piece.get()));
        // A file's end is followed by another file's beginning.
        assert!(
            end.is_none_or(|(file, end)| file < span.file
                && span.offset == 0
                && end == layout.file_len(file))
        );
        end = Some((span.file, span.offset + span.length));
        sum += span.length;
    }
    assert_eq!(sum, u64::from(length), "the spans of a piece are as long as it");
}

/// Local paths stay inside, are different from each other, and would not be changed a second time.
fn check_names(info: &Info) {
    let paths = match LocalPaths::new(info) {
        Ok(paths) => paths,
        Err(error) => return check_shown(&error.to_string()),
    };
    let mut seen = BTreeSet::new();
    for (file, path) in paths.iter() {
        assert!(!info.file(file).expect("a file of the torrent").is_pad());
        assert_eq!(paths.path(file), Some(path));
        assert!(path.starts_with(paths.top()) && path.as_os_str().len() <= 4095);
        let text = path.to_str().expect("text");
        for part in text.split('/') {
            assert!(!matches!(part, "" | "." | "..") && part.len() <= COMPONENT_BYTES_MAX, "{text:?}");
            assert!(!part.contains(is_harmful), "{text:?}");
        }
        assert!(path.components().all(|part| matches!(part, Component::Normal(_))));
        assert!(seen.insert(text), "{text:?} comes twice");
        if let Some(target) = paths.symlink_target(file) {
            check_link(path, target, paths.top());
        }
    }
    for path in &seen {
        let mut folders = path.match_indices('/').map(|(at, _)| &path[..at]);
        assert!(!folders.any(|folder| seen.contains(folder)), "{path:?} is below a file");
    }
    for (file, original, local) in paths.changed() {
        assert_eq!(paths.path(file), Some(local));
        let below = local.strip_prefix(paths.top()).unwrap_or(local);
        assert!(!info.is_multi_file() || Path::new(original).as_os_str() != below.as_os_str());
    }
    if info.is_multi_file() {
        check_names_again(&paths);
    }
}

/// Characters that no name on disk may have: those that end lines, move the cursor, turn the text around or part paths.
fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '/' | '\\' | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The torrent that has the local names keeps them.
fn check_names_again(paths: &LocalPaths) {
    let top = paths.top().to_str().expect("text");
    let mut files = Vec::new();
    for (_, path) in paths.iter() {
        let below = path.strip_prefix(top).expect("below the top").to_str().expect("text");
        files.push((below.split('/').map(str::to_owned).collect(), false, None));
    }
    if files.is_empty() {
        return;
    }
    let info = Info::parse(&info_of(top, &files)).expect("ordinary names make a torrent");
    let again = LocalPaths::new(&info).expect("and can be stored");
    assert!(again.iter().map(|(_, path)| path).eq(paths.iter().map(|(_, path)| path)));
    assert_eq!((again.changed().count(), again.changed_top()), (0, None));
}

/// A link inside a torrent's folder leads to somewhere inside it.
fn check_link(link: &Path, target: &Path, top: &Path) {
    let mut at = link.parent().expect("a link is in a folder").to_owned();
    for part in target.components() {
        match part {
            Component::ParentDir => {
                assert!(at.pop() && at.starts_with(top), "{target:?} leads out of {top:?}")
            }
            Component::Normal(name) => at.push(name),
            _ => panic!("{target:?} is not relative"),
        }
    }
    assert!(at.starts_with(top) && at != top && !link.starts_with(&at), "{link:?} leads to {at:?}");
}

/// A link reads back from what it prints, unless escaping made it too long.
fn check_magnet(magnet: &Magnet) {
    let printed = magnet.to_string();
    assert!(printed.is_ascii() && !printed.contains([' ', '"', '<', '>', '\n']), "{printed:?}");
    if printed.len() <= MAGNET_BYTES_MAX {
        assert_eq!(Magnet::parse(&printed).as_ref(), Ok(magnet), "{printed}");
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A file's path, whether it is padding, and where it links to.
type NamedFile = (Vec<String>, bool, Option<Vec<String>>);

/// The info dictionary of a v1 torrent: a folder with these files of one byte each, or a single file when there are none.
fn info_of(name: &str, files: &[NamedFile]) -> Vec<u8> {
    let mut out = Encoder::new();
    out.begin_dict();
    let mut total = 0;
    if files.is_empty() {
        out.key(b"length").int(1);
        total = 1;
    } else {
        out.key(b"files").begin_list();
        for (path, is_pad, link) in files {
            let length = i64::from(link.is_none());
            total += length;
            let attr = [if *is_pad { "p" } else { "" }, if link.is_some() { "l" } else { "" }].concat();
            out.begin_dict().key(b"attr").bytes(attr.as_bytes()).key(b"length").int(length).key(b"path");
            list(&mut out, path);
            if let Some(link) = link {
                out.key(b"symlink path");
                list(&mut out, link);
            }
            out.end();
        }
        out.end();
    }
    let pieces = usize::try_from(total).unwrap_or(0).div_ceil(16384);
    out.key(b"name").bytes(name.as_bytes()).key(b"piece length").int(16384);
    out.key(b"pieces").bytes(&vec![0x61; 20 * pieces]).end();
    out.into_bytes()
}

fn list(out: &mut Encoder, items: &[String]) {
    out.begin_list();
    for item in items {
        out.bytes(item.as_bytes());
    }
    out.end();
}

/// Bytes of a file in a made-up folder: up to two pieces.
const FOLDER_FILE_MAX: u16 = 20_000;

/// A builder of a few small files.
fn some_builder(script: &mut Script<'_>) -> Builder {
    let versions = [Version::V1, Version::V2, Version::Hybrid];
    let version = versions[script.below(versions.len())];
    let flags = script.u8();
    let name = text(script.short());
    let content = if flags & 1 == 0 {
        Content::File { length: u64::from(script.u16()), executable: flags & 2 != 0 }
    } else {
        let file = |_| NewFile {
            executable: flags & 2 != 0,
            ..NewFile::new(
                (0..=script.below(3)).map(|_| text(script.short())).collect(),
                u64::from(script.u16() % FOLDER_FILE_MAX),
            )
        };
        Content::Folder((0..flags >> 5).map(file).collect())
    };
    Builder {
        piece_length: (flags & 4 != 0).then_some(16384 << (flags & 1)),
        private: flags & 8 != 0,
        comment: (flags & 6 == 6).then(|| "made of a script".to_owned()),
        ..Builder::new(version, name, content)
    }
}

/// Bytes that differ from place to place.
fn payload(start: u64, length: u64) -> Vec<u8> {
    (start..start + length).map(|at| (at.wrapping_mul(0x9e37_79b9) >> 13) as u8).collect()
}

fn slice(bytes: &[u8], offset: u64, length: u64) -> &[u8] {
    &bytes[offset as usize..(offset + length) as usize]
}

/// The hashes of the torrent are those of the payload, whose files come in the order of the torrent.
fn check_payload(info: &Info, payload: &[Vec<u8>]) {
    let mut files = payload.iter();
    let longest = info.files().iter().map(|file| file.length).max().unwrap_or(0);
    let zeros = vec![0; longest as usize];
    let mut of = Vec::new();
    for file in info.files().iter() {
        let bytes =
            if file.is_pad() { &zeros[..file.length as usize] } else { files.next().expect("a file") };
        assert_eq!(file.length, bytes.len() as u64);
        of.push(bytes);
    }
    assert!(files.next().is_none());
    let layout = info.layout();
    for piece in layout.pieces() {
        let spans = layout.file_spans(piece, 0, layout.piece_len(piece));
        let bytes: Vec<u8> = spans
            .flat_map(|span| slice(of[span.file.as_usize()], span.offset, span.length))
            .copied()
            .collect();
        if let Some(hash) = info.piece_hash_v1(piece) {
            assert_eq!(hash, sha1(&bytes));
        }
    }
}
