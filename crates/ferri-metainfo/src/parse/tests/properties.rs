//! No bytes are more than an error, and what is taken is consistent.

use proptest::prelude::*;

use super::*;
use crate::WarningKind;

fn samples() -> Vec<Vec<u8>> {
    let big = content(70_000, 1);
    let Hashed { root, layer } = hashed(&big, 32 << 10);
    let v2 = dict([
        ("file tree", dict([("big", tree_file(&big)), ("dir", dict([("x", tree_file(b"x"))]))])),
        ("meta version", 2.into()),
        ("name", "n".into()),
        ("piece length", (32 << 10).into()),
    ]);
    let layers = Node::Dict(BTreeMap::from([(root.to_vec(), Node::Bytes(layer))]));
    let pad = dict([("attr", "p".into()), ("length", 28_304.into())]);
    let hybrid = v2.clone().with("files", vec![file(&["big"], 70_000), pad, file(&["dir", "x"], 1)]);
    let hybrid = hybrid.with("pieces", hashes(4));
    let link = file(&["l"], 0).with("attr", "l").with("symlink path", path(&["a"]));
    let around = torrent(multi(vec![file(&["a", "b"], 1), link], 1))
        .with("announce-list", vec![path(&["http://a", "udp://b"])])
        .with("nodes", vec![Node::List(vec!["h".into(), 1.into()])])
        .with("url-list", path(&["http://c"]));
    let v2 = torrent(v2).with("piece layers", layers.clone());
    let hybrid = torrent(hybrid).with("piece layers", layers);
    [torrent(single()), around, v2, hybrid].map(|node| node.encode()).to_vec()
}

/// Asks everything of a torrent that was taken.
fn exercise(metainfo: &Metainfo) {
    let info = metainfo.info();
    let layout = info.layout();
    assert_eq!(info.files().len(), layout.file_count());
    for file in info.files() {
        assert!(!file.path().is_empty());
        assert_eq!(file.attributes.pad, layout.is_pad(file.index));
        assert_eq!(file.symlink_target.is_some(), file.attributes.symlink);
        let _ = info.piece_layer(file.index);
    }
    // A hybrid may come without, or with such as cannot be used.
    let lacks_layers =
        |kind: &WarningKind| matches!(kind, WarningKind::NoLayers | WarningKind::UnusableLayers(_));
    let lacks_layers = metainfo.warnings().iter().any(|warning| lacks_layers(&warning.kind));
    for piece in layout.pieces().take(100) {
        assert_eq!(info.piece_hash_v1(piece).is_some(), info.version().has_v1());
        let (has_tree, has_v2) = (info.piece_tree_v2(piece).is_some(), info.version().has_v2());
        assert!(has_tree == has_v2 || has_v2 && lacks_layers);
        let covered: u64 = layout.file_spans(piece, 0, u32::MAX).map(|span| span.length).sum();
        assert_eq!(covered, u64::from(layout.piece_len(piece)));
    }
    let _ = info.info_hashes().wire();
}

#[test]
fn the_samples_are_good() {
    for sample in samples() {
        let metainfo = Metainfo::parse(&sample).unwrap_or_else(|error| panic!("{error}"));
        assert!(metainfo.warnings().is_empty());
        exercise(&metainfo);
    }
}

#[test]
fn a_torrent_cut_anywhere_is_an_error() {
    for sample in samples() {
        for end in 0..sample.len() {
            assert!(Metainfo::parse(&sample[..end]).is_err(), "cut at {end}");
        }
    }
}

proptest! {
    #[test]
    fn a_damaged_torrent_is_an_error_or_consistent(
        sample in prop::sample::select(samples()),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = sample;
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(metainfo) = Metainfo::parse(&bytes) {
            exercise(&metainfo);
        }
    }

    #[test]
    fn digits_changed_are_an_error_or_consistent(
        sample in prop::sample::select(samples()),
        damage in prop::collection::vec((any::<prop::sample::Index>(), b'0'..=b'9'), 1..4),
    ) {
        let mut bytes = sample;
        let digits: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at].is_ascii_digit()).collect();
        for (at, byte) in damage {
            bytes[digits[at.index(digits.len())]] = byte;
        }
        if let Ok(metainfo) = Metainfo::parse(&bytes) {
            exercise(&metainfo);
        }
    }

    #[test]
    fn random_bytes_are_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Metainfo::parse(&bytes).is_err());
        prop_assert!(Info::parse(&bytes).is_err());
    }
}
