//! The bencode of a finished torrent: keys in order, nothing that was not asked for.

use std::borrow::Cow;
use std::collections::BTreeMap;

use ferri_bencode::Encoder;
use ferri_hash::{Sha256Digest, merkle};

use super::hasher::Hashes;
use super::{Content, CreateError, NewFile, Plan, PlannedFile};
use crate::limits::{BLOCK_LENGTH, TORRENT_BYTES_MAX};

pub(super) fn torrent(plan: &Plan, hashes: &Hashes) -> Result<Vec<u8>, CreateError> {
    let mut out = Encoder::new();
    out.begin_dict();
    trackers(&mut out, plan);
    let builder = &plan.builder;
    optional_text(&mut out, b"comment", builder.comment.as_deref());
    optional_text(&mut out, b"created by", builder.created_by.as_deref());
    if let Some(date) = builder.creation_date {
        out.key(b"creation date").int(date);
    }
    out.key(b"info");
    info(&mut out, plan, hashes);
    if !builder.nodes.is_empty() {
        out.key(b"nodes").begin_list();
        for (host, port) in &builder.nodes {
            out.begin_list().bytes(host.as_bytes()).int(i64::from(*port)).end();
        }
        out.end();
    }
    if plan.version().has_v2() {
        out.key(b"piece layers");
        piece_layers(&mut out, plan, hashes);
    }
    if !builder.web_seeds.is_empty() {
        out.key(b"url-list").begin_list();
        for url in &builder.web_seeds {
            out.bytes(url.as_bytes());
        }
        out.end();
    }
    out.end();
    let bytes = out.into_bytes();
    if TORRENT_BYTES_MAX < bytes.len() { Err(CreateError::TorrentTooLarge(bytes.len())) } else { Ok(bytes) }
}

fn trackers(out: &mut Encoder, plan: &Plan) {
    let mut seen = std::collections::BTreeSet::new();
    let tiers: Vec<Vec<&str>> = plan
        .builder
        .trackers
        .iter()
        .map(|tier| tier.iter().map(String::as_str).filter(|url| seen.insert(*url)).collect::<Vec<_>>())
        .filter(|tier| !tier.is_empty())
        .collect();
    let Some(first) = tiers.first().and_then(|tier| tier.first()) else { return };
    out.key(b"announce").bytes(first.as_bytes());
    if seen.len() == 1 {
        return;
    }
    // BEP 12: who reads the list does not read `announce`, so the first tracker is in both.
    out.key(b"announce-list").begin_list();
    for tier in &tiers {
        out.begin_list();
        for url in tier {
            out.bytes(url.as_bytes());
        }
        out.end();
    }
    out.end();
}

fn info(out: &mut Encoder, plan: &Plan, hashes: &Hashes) {
    let builder = &plan.builder;
    let (v1, v2) = (plan.version().has_v1(), plan.version().has_v2());
    let single = match builder.content {
        Content::File { .. } => plan.files.first(),
        Content::Folder(_) => None,
    };
    out.begin_dict();
    if let (Some(single), true) = (single, v1) {
        attributes(out, &single.file);
    }
    if v2 {
        out.key(b"file tree");
        file_tree(out, plan, hashes);
    }
    if v1 && single.is_none() {
        out.key(b"files");
        file_list(out, plan);
    }
    if let (Some(single), true) = (single, v1) {
        out.key(b"length").int(length(single.file.length));
    }
    if v2 {
        out.key(b"meta version").int(2);
    }
    out.key(b"name").bytes(builder.name.as_bytes());
    out.key(b"piece length").int(i64::from(plan.piece_length));
    if v1 {
        out.key(b"pieces").bytes(hashes.v1.as_flattened());
    }
    if builder.private {
        out.key(b"private").int(1);
    }
    optional_text(out, b"source", builder.source.as_deref());
    out.end();
}

fn file_list(out: &mut Encoder, plan: &Plan) {
    let mut pads = plan.pads().peekable();
    out.begin_list();
    for (at, planned) in plan.files.iter().enumerate() {
        let file = &planned.file;
        out.begin_dict();
        attributes(out, file);
        out.key(b"length").int(length(file.length));
        out.key(b"path");
        path(out, &file.path);
        symlink(out, file);
        out.end();
        if let Some((_, padding)) = pads.next_if(|(after, _)| *after == at) {
            // BEP 47: named by its length, so that clients that do not know padding share one file for each length.
            out.begin_dict().key(b"attr").bytes(b"p").key(b"length").int(length(padding)).key(b"path");
            path(out, &[".pad".to_owned(), padding.to_string()]);
            out.end();
        }
    }
    out.end();
}

/// The files are sorted, so each folder's entries come together and in the order of dictionary keys.
fn file_tree(out: &mut Encoder, plan: &Plan, hashes: &Hashes) {
    let mut open: &[String] = &[];
    out.begin_dict();
    for planned in &plan.files {
        let (name, folders) = planned.file.path.split_last().expect("checked: a path has a component");
        let common = open.iter().zip(folders).take_while(|(a, b)| a == b).count();
        for _ in common..open.len() {
            out.end();
        }
        for folder in &folders[common..] {
            out.key(folder.as_bytes()).begin_dict();
        }
        open = folders;
        out.key(name.as_bytes()).begin_dict().key(b"").begin_dict();
        attributes(out, &planned.file);
        out.key(b"length").int(length(planned.file.length));
        if planned.file.length != 0 {
            out.key(b"pieces root").bytes(&pieces_root(plan, planned, hashes));
        }
        symlink(out, &planned.file);
        out.end().end();
    }
    for _ in open {
        out.end();
    }
    out.end();
}

fn piece_layers(out: &mut Encoder, plan: &Plan, hashes: &Hashes) {
    // Files of the same content have the same root and share an entry.
    let mut layers: BTreeMap<Sha256Digest, &[Sha256Digest]> = BTreeMap::new();
    for planned in &plan.files {
        if u64::from(plan.piece_length) < planned.file.length {
            layers.insert(pieces_root(plan, planned, hashes), layer(plan, planned, hashes));
        }
    }
    out.begin_dict();
    for (root, layer) in layers {
        out.key(&root).bytes(layer.as_flattened());
    }
    out.end();
}

fn pieces_root(plan: &Plan, planned: &PlannedFile, hashes: &Hashes) -> Sha256Digest {
    let layer = layer(plan, planned, hashes);
    match layer {
        [only] => *only,
        layer => merkle::root_of_layer(layer, (plan.piece_length / BLOCK_LENGTH).trailing_zeros()),
    }
}

/// The v2 hashes of the file's pieces.
fn layer<'a>(plan: &Plan, planned: &PlannedFile, hashes: &'a Hashes) -> &'a [Sha256Digest] {
    let piece_length = u64::from(plan.piece_length);
    let first = usize::try_from(planned.start / piece_length).expect("pieces are counted in 32 bits");
    let count =
        usize::try_from(planned.file.length.div_ceil(piece_length)).expect("pieces are counted in 32 bits");
    &hashes.v2[first..first + count]
}

fn attributes(out: &mut Encoder, file: &NewFile) {
    let letters: [(bool, u8); 3] =
        [(file.hidden, b'h'), (file.symlink_target.is_some(), b'l'), (file.executable, b'x')];
    let set: Cow<'_, [u8]> = letters.iter().filter(|(set, _)| *set).map(|(_, letter)| *letter).collect();
    if !set.is_empty() {
        out.key(b"attr").bytes(&set);
    }
}

fn symlink(out: &mut Encoder, file: &NewFile) {
    if let Some(target) = &file.symlink_target {
        out.key(b"symlink path");
        path(out, target);
    }
}

fn path(out: &mut Encoder, components: &[String]) {
    out.begin_list();
    for component in components {
        out.bytes(component.as_bytes());
    }
    out.end();
}

fn optional_text(out: &mut Encoder, key: &[u8], text: Option<&str>) {
    if let Some(text) = text {
        out.key(key).bytes(text.as_bytes());
    }
}

fn length(length: u64) -> i64 {
    i64::try_from(length).expect("the sum of all lengths was checked")
}
