//! A [`Metainfo`] as a .torrent file: the info dictionary byte for byte, and around it what is known.

use ferri_bencode::Encoder;

use crate::metainfo::{Metainfo, MissingLayers};

pub(crate) fn torrent(metainfo: &Metainfo) -> Result<Vec<u8>, MissingLayers> {
    let info = metainfo.info();
    let fits_a_piece = |length: u64| length <= u64::from(info.piece_length());
    if !info.has_piece_hashes() && !info.files().iter().all(|file| fits_a_piece(file.length)) {
        return Err(MissingLayers);
    }
    let mut out = Encoder::new();
    out.begin_dict();
    // Keys in ascending order.
    trackers(&mut out, metainfo.trackers());
    text(&mut out, b"comment", metainfo.comment());
    text(&mut out, b"created by", metainfo.created_by());
    if let Some(date) = metainfo.creation_date() {
        out.key(b"creation date").int(date);
    }
    // The names inside the info dictionary are read with it.
    text(&mut out, b"encoding", metainfo.encoding());
    out.key(b"info").raw(info.bytes());
    if !metainfo.nodes().is_empty() {
        out.key(b"nodes").begin_list();
        for (host, port) in metainfo.nodes() {
            out.begin_list().bytes(host.as_bytes()).int(i64::from(*port)).end();
        }
        out.end();
    }
    if let Some(layers) = &info.layers {
        out.key(b"piece layers").begin_dict();
        for (root, layer) in layers.iter() {
            out.key(root).bytes(layer.as_flattened());
        }
        out.end();
    }
    if !metainfo.web_seeds().is_empty() {
        out.key(b"url-list").begin_list();
        for url in metainfo.web_seeds() {
            out.bytes(url.as_bytes());
        }
        out.end();
    }
    out.end();
    Ok(out.into_bytes())
}

fn trackers(out: &mut Encoder, tiers: &[Vec<String>]) {
    let Some(first) = tiers.iter().flatten().next() else { return };
    out.key(b"announce").bytes(first.as_bytes());
    if tiers.iter().flatten().nth(1).is_none() {
        return;
    }
    // BEP 12: who reads the list does not read `announce`, so the first tracker is in both.
    out.key(b"announce-list").begin_list();
    for tier in tiers {
        out.begin_list();
        for url in tier {
            out.bytes(url.as_bytes());
        }
        out.end();
    }
    out.end();
}

fn text(out: &mut Encoder, key: &[u8], text: Option<&str>) {
    if let Some(text) = text {
        out.key(key).bytes(text.as_bytes());
    }
}
