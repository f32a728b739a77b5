//! Version 2 and hybrids.

use super::*;
use crate::{FileIndex, InfoHashV2, LayoutError, Version};

const P: usize = 32 << 10;

/// A small tree: a file of three pieces, an empty one, one of a piece and one below it.
fn contents() -> [(Vec<&'static str>, Vec<u8>); 4] {
    [
        (vec!["big"], content(70_000, 1)),
        (vec!["dir", "empty"], Vec::new()),
        (vec!["dir", "exact"], content(P, 2)),
        (vec!["dir", "small"], content(20_000, 3)),
    ]
}

fn tree() -> Node {
    let [big, empty, exact, small] = contents().map(|(_, content)| tree_file(&content));
    dict([("big", big), ("dir", dict([("empty", empty), ("exact", exact), ("small", small)]))])
}

fn v2() -> Node {
    dict([
        ("file tree", tree()),
        ("meta version", 2.into()),
        ("name", "folder".into()),
        ("piece length", (P as i64).into()),
    ])
}

fn with_layers(info: Node) -> Node {
    let Hashed { root, layer } = hashed(&contents()[0].1, P);
    let layers = Node::Dict(BTreeMap::from([(root.to_vec(), Node::Bytes(layer))]));
    torrent(info).with("piece layers", layers)
}

/// The v1 side that fits: files and padding.
fn hybrid() -> Node {
    let [big, empty, exact, small] = contents().map(|(path, content)| file(&path, content.len() as i64));
    let pad = |length: i64| file(&[".pad", "x"], length).with("attr", "p");
    let files = vec![big, pad(3 * P as i64 - 70_000), empty, exact, small];
    v2().with("files", files).with("pieces", hashes(5))
}

#[test]
fn a_v2_torrent_is_read_in_full() {
    let metainfo = parse(&with_layers(v2()));
    let info = metainfo.info();
    assert_eq!((info.version(), info.is_multi_file()), (Version::V2, true));
    assert_eq!(paths(&metainfo), ["big", "dir/empty", "dir/exact", "dir/small"]);
    assert_eq!(info.layout().piece_count(), 5);
    let v2 = Some(InfoHashV2::from(sha256(metainfo.info_bytes())));
    assert_eq!((info.info_hashes().v1, info.info_hashes().v2), (None, v2));
    let trees: Vec<_> = info.layout().pieces().map(|piece| info.piece_tree_v2(piece).unwrap()).collect();
    let mut expected = Vec::new();
    for (_, content) in contents() {
        let whole = content.len().div_ceil(16 << 10).next_power_of_two();
        let width = if P < content.len() { P >> 14 } else { whole };
        for piece in content.chunks(P) {
            let leaves: Vec<_> = piece.chunks(16 << 10).map(sha256).collect();
            expected.push(crate::PieceTree { root: merkle::root(&leaves, width), width });
        }
    }
    assert_eq!(trees, expected);
    assert_eq!(info.piece_layer(FileIndex(0)).unwrap().len(), 3);
    assert_eq!(info.piece_layer(FileIndex(2)), None);
    assert_eq!(info.file(FileIndex(1)).unwrap().pieces_root, None);
    assert_eq!(info.piece_hash_v1(info.layout().piece(0).unwrap()), None);
}

#[test]
fn one_file_at_the_root_is_a_single_file() {
    let info = v2().with("file tree", dict([("only", tree_file(b"abc"))]));
    let metainfo = parse_info(info.clone());
    assert!(!metainfo.info().is_multi_file());
    assert_eq!(paths(&metainfo), ["only"]);
    let below = info.with("file tree", dict([("dir", dict([("only", tree_file(b"abc"))]))]));
    assert!(parse_info(below).info().is_multi_file());
}

#[test]
fn layers_must_be_there_and_lead_to_their_roots() {
    let good = with_layers(v2());
    let error = fails(&good.clone().without("piece layers"));
    assert_eq!((error.path.as_str(), error.kind), ("piece layers", MetainfoErrorKind::NoLayers));
    let error = fails(&good.clone().with("piece layers", dict([])));
    assert_eq!(error.kind, MetainfoErrorKind::MissingLayer("big".to_owned()));

    let Hashed { root, layer } = hashed(&contents()[0].1, P);
    let layers = |layer: Vec<u8>| {
        let layers = BTreeMap::from([(root.to_vec(), Node::Bytes(layer))]);
        good.clone().with("piece layers", Node::Dict(layers))
    };
    for (bad, kind) in [
        (layer[..64].to_vec(), MetainfoErrorKind::LayerLength { expected: 96, got: 64 }),
        (layer[..95].to_vec(), MetainfoErrorKind::LayerLength { expected: 96, got: 95 }),
        (vec![7; 96], MetainfoErrorKind::LayerMismatch),
    ] {
        let error = fails(&layers(bad));
        assert_eq!((error.path.as_str(), error.kind), ("piece layers.big", kind));
    }
    parse(&layers(layer));
}

#[test]
fn layers_belong_to_a_file() {
    let Hashed { root, layer } = hashed(&contents()[0].1, P);
    let with = |more: &[Vec<u8>], info: Node| {
        let mut layers = BTreeMap::from([(root.to_vec(), Node::Bytes(layer.clone()))]);
        layers.extend(more.iter().map(|root| (root.clone(), "surplus".into())));
        torrent(info).with("piece layers", Node::Dict(layers))
    };
    let needless = hashed(&contents()[3].1, P).root.to_vec();
    for (foreign, count) in [(vec![vec![0; 3]], 1), (vec![vec![0; 32], vec![255; 32], needless.clone()], 2)] {
        let error = fails(&with(&foreign, v2()));
        assert_eq!(
            (error.path.as_str(), error.kind),
            ("piece layers", MetainfoErrorKind::SurplusLayers(count))
        );
    }
    for info in [v2(), hybrid()] {
        // A file that is no longer than a piece needs none.
        let metainfo = parse(&with(std::slice::from_ref(&needless), info));
        assert_eq!(warnings(&metainfo), ["piece layers: 1 layers of files that need none are ignored"]);
        assert_eq!(metainfo.info().piece_layer(FileIndex(0)).unwrap().len(), 3);
    }
}

#[test]
fn names_of_a_tree_are_not_empty_and_ascend() {
    let info = |tree: &str| {
        let tree = Node::Raw(tree.to_owned());
        dict([
            ("file tree", tree),
            ("meta version", 2.into()),
            ("name", "n".into()),
            ("piece length", PIECE.into()),
        ])
    };
    let one = |name: &str| format!("{}:{name}d0:d6:lengthi0eee", name.len());
    let root = "r".repeat(32);
    let full = format!("1:zd0:d6:lengthi5e11:pieces root32:{root}ee");
    parse_info(info(&format!("d{}{}{full}e", one("a"), one("b"))));
    use MetainfoErrorKind::{EmptyName, UnsortedTree};
    let at = "info.file tree";
    check(info(&format!("d{}{}{full}e", one("b"), one("a"))), &format!("{at}.a"), UnsortedTree);
    check(info(&format!("d{}{}{full}e", one("a"), one("a"))), &format!("{at}.a"), UnsortedTree);
    check(info(&format!("d1:dd{}{}e{full}e", one("b"), one("a"))), &format!("{at}.d.a"), UnsortedTree);
    check(info(&format!("d{}{full}e", one(""))), &format!("{at}."), EmptyName);
    check(info(&format!("d1:dd{}e{full}e", one(""))), &format!("{at}.d."), EmptyName);
    check(info(&format!("d1:dd0:d4:attr1:he1:ad0:d6:lengthi0eeee{full}e")), &format!("{at}.d."), EmptyName);
}

#[test]
fn a_hybrid_in_two_orders_is_a_torrent_of_version_1() {
    // As libtorrent 2.1.1 makes it of `a/z` and `a.txt`, and then refuses itself.
    let (inner, outer) = (content(20_000, 5), content(6, 6));
    let pad = |length: i64| file(&[".pad", &length.to_string()], length).with("attr", "p");
    let tree = dict([("a", dict([("z", tree_file(&inner))])), ("a.txt", tree_file(&outer))]);
    let files =
        vec![file(&["a.txt"], 6), pad(P as i64 - 6), file(&["a", "z"], 20_000), pad(P as i64 - 20_000)];
    let info = v2().with("file tree", tree).with("files", files).with("pieces", hashes(2));
    let metainfo = parse_info(info.clone());
    assert_eq!(
        warnings(&metainfo),
        [
            "info.files: version 1 and version 2 have the files in another order, so pieces differ; only version 1 is used"
        ]
    );
    let hashes = metainfo.info().info_hashes();
    assert_eq!((metainfo.info().version(), hashes.v2), (Version::V1, None));
    assert_eq!(hashes.v1.map(|hash| *hash.as_bytes()), Some(ferri_hash::sha1(metainfo.info_bytes())));
    assert_eq!(paths(&metainfo)[2], "a/z");
    assert_eq!(Info::parse(&info.encode()).unwrap().info_hashes(), hashes);
    assert_eq!(parse_bytes(&metainfo.encode().unwrap()).info().layout(), metainfo.info().layout());
}

#[test]
fn a_layer_of_another_level_is_refused() {
    let Hashed { root, layer } = hashed(&contents()[0].1, 16 << 10);
    let layers = Node::Dict(BTreeMap::from([(root.to_vec(), Node::Bytes(layer))]));
    let error = fails(&torrent(v2()).with("piece layers", layers));
    assert!(matches!(error.kind, MetainfoErrorKind::LayerLength { .. }), "{error}");
}

#[test]
fn equal_files_share_a_layer_and_unequal_ones_do_not() {
    let big = contents()[0].1.clone();
    let twins = dict([("a", tree_file(&big)), ("b", tree_file(&big))]);
    let metainfo = parse(&with_layers(v2().with("file tree", twins)));
    let layer = |file| metainfo.info().piece_layer(FileIndex(file)).unwrap();
    assert_eq!(layer(0), layer(1));
    let liar = dict([("length", 1_000_000.into()), ("pieces root", hashed(&big, P).root[..].into())]);
    let pair = dict([("a", tree_file(&big)), ("b", dict([("", liar)]))]);
    let error = fails(&with_layers(v2().with("file tree", pair)));
    assert_eq!(error.kind, MetainfoErrorKind::LayerMismatch);
}

#[test]
fn a_hybrid_without_layers_is_whole_on_its_v1_side() {
    let metainfo = parse(&torrent(hybrid()));
    let missing = "piece layers: missing: only the version 1 side of this hybrid can be verified";
    assert_eq!(warnings(&metainfo), [missing]);
    assert!(metainfo.info().has_piece_hashes());
    assert_eq!(metainfo.info().piece_layer(FileIndex(0)), None);
}

#[test]
fn a_hybrid_with_unusable_layers_is_whole_on_its_v1_side() {
    let Hashed { root, layer } = hashed(&contents()[0].1, P);
    let hex: String = root.iter().map(|byte| format!("{byte:02x}")).collect();
    let layers = |layers: &[(&[u8], &[u8])]| {
        let layers = layers.iter().map(|(root, layer)| (root.to_vec(), Node::Bytes(layer.to_vec())));
        Node::Dict(layers.collect())
    };
    for (unusable, why) in [
        // As bencode 4.0.1 of npm writes the keys.
        (layers(&[(hex.as_bytes(), &layer)]), ": a key has 64 bytes, but the hash that belongs there has 32"),
        (layers(&[]), ": the hashes of the pieces of `big` are missing"),
        (layers(&[(&[7; 32], &layer)]), ": the hashes of the pieces of `big` are missing"),
        (layers(&[(&root, &layer[..64])]), ".big: 64 bytes of hashes where 96 are due"),
        (layers(&[(&root, &[7; 96])]), ".big: the hashes do not lead to the file's root"),
        (layers(&[(&root, &layer), (&[7; 32], &layer)]), ": 1 layers belong to no file"),
        (Node::List(vec![]), ": should be a dictionary"),
    ] {
        let metainfo = parse(&torrent(hybrid()).with("piece layers", unusable.clone()));
        let told = format!("piece layers{why}; only the version 1 side of this hybrid can be verified");
        assert_eq!(warnings(&metainfo), [told]);
        let info = metainfo.info();
        assert!(info.has_piece_hashes() && info.version() == Version::Hybrid);
        assert_eq!(info.piece_layer(FileIndex(0)), None);
        // What is written again is the torrent without them.
        assert_eq!(metainfo.encode().unwrap(), torrent(hybrid()).encode());
        fails(&torrent(v2()).with("piece layers", unusable));
    }
}

#[test]
fn a_torrent_that_is_written_reads_the_same() {
    let around = |torrent: Node| {
        let tiers = Node::List(vec![
            Node::List(vec!["http://a.example/".into(), "udp://b.example:1".into()]),
            Node::List(vec!["http://c.example/".into()]),
        ]);
        let nodes = Node::List(vec![Node::List(vec!["node.example".into(), 6881.into()])]);
        let torrent = torrent.with("announce", "http://a.example/").with("announce-list", tiers);
        let torrent = torrent.with("comment", "c").with("created by", "me").with("creation date", 5);
        torrent.with("nodes", nodes).with("url-list", Node::List(vec!["http://w.example/".into()]))
    };
    for torrent in [around(with_layers(v2())), with_layers(hybrid()), around(torrent(hybrid()))] {
        assert_eq!(parse(&torrent).encode().unwrap(), torrent.encode());
    }
}

#[test]
fn what_a_magnet_link_and_peers_gave_becomes_a_torrent_unless_layers_lack() {
    let of = |node: Node| {
        let info = Info::parse(&node.encode()).unwrap();
        Metainfo::from_info(info, vec![vec!["http://a.example/".to_owned()]], Vec::new())
    };
    let hybrid = of(hybrid());
    assert_eq!(parse_bytes(&hybrid.encode().unwrap()).info().info_hashes(), hybrid.info().info_hashes());
    assert_eq!(of(v2()).encode(), Err(crate::MissingLayers));
    let small = of(v2().with("file tree", dict([("small", tree_file(&content(20_000, 3)))])));
    assert_eq!(parse_bytes(&small.encode().unwrap()).trackers(), [["http://a.example/"]]);
}

fn parse_bytes(bytes: &[u8]) -> Metainfo {
    Metainfo::parse(bytes).unwrap()
}

#[test]
fn an_info_dictionary_alone_has_no_layers_yet() {
    let info = Info::parse(&v2().encode()).unwrap();
    assert!(!info.has_piece_hashes());
    let tree = |piece| info.piece_tree_v2(info.layout().piece(piece).unwrap());
    assert_eq!((tree(0), tree(4).is_some()), (None, true));
}

#[test]
fn trees_that_make_no_sense_are_refused_with_their_place() {
    use MetainfoErrorKind::{EmptyFileList, FileAndFolder, Missing, NotA, NotARoot, OutOfRange};
    let own = |properties: Node| dict([("", properties)]);
    let in_dir = |node: Node| v2().with("file tree", dict([("dir", dict([("f", node)]))]));
    let at = |rest: &str| format!("info.file tree.dir.f{rest}");
    check(v2().without("file tree"), "info.file tree", Missing);
    check(v2().with("file tree", 1), "info.file tree", NotA("a dictionary"));
    check(v2().with("file tree", dict([])), "info.file tree", EmptyFileList);
    check(v2().with("file tree", dict([("dir", dict([]))])), "info.file tree", EmptyFileList);
    check(v2().with("file tree", tree_file(b"x")), "info.file tree", FileAndFolder);
    check(in_dir(1.into()), &at(""), NotA("a dictionary"));
    check(in_dir(own(dict([("length", (-1).into())]))), &at(".length"), OutOfRange(-1));
    check(in_dir(own(dict([("length", 5.into())]))), &at(".pieces root"), Missing);
    let root = |root: &[u8]| in_dir(own(dict([("length", 5.into()), ("pieces root", root.into())])));
    check(root(&[1; 31]), &at(".pieces root"), NotARoot);
    check(root(&[0; 32]), &at(".pieces root"), NotARoot);
    check(in_dir(tree_file(b"x").with("sibling", tree_file(b"y"))), &at(""), FileAndFolder);
    let long = "n".repeat(5000);
    let named = v2().with("file tree", dict([(&long[..], tree_file(b"x"))]));
    let error = fails(&torrent(named));
    assert_eq!((error.kind, error.path.len()), (MetainfoErrorKind::NameTooLong(5000), 15 + 80 + 3));
}

#[test]
fn versions_are_told_apart_before_anything_else() {
    for version in [0, 3, -1, i64::MAX] {
        let kind = MetainfoErrorKind::MetaVersion(version);
        check(dict([("meta version", version.into())]), "info.meta version", kind);
    }
    check(v2().without("meta version"), "info.meta version", MetainfoErrorKind::NoMetaVersion);
    let length = LayoutError::NotPowerOfTwo(20_000);
    check(v2().with("piece length", 20_000), "info.piece length", MetainfoErrorKind::Layout(length));
    // Without the version, what is there of v1 is what it is.
    let metainfo = parse_info(hybrid().without("meta version"));
    assert_eq!(metainfo.info().version(), Version::V1);
}

#[test]
fn a_tree_that_is_nested_too_deeply_is_refused() {
    let deep = (0..200).fold(tree_file(b"x"), |node, _| dict([("d", node)]));
    let error = fails(&torrent(v2().with("file tree", deep)));
    assert_eq!(error.kind, MetainfoErrorKind::Bencode(ferri_bencode::ErrorKind::TooDeep));
}

#[test]
fn a_hybrid_is_one_layout_with_both_hashes() {
    let metainfo = parse(&with_layers(hybrid()));
    let info = metainfo.info();
    let hashes = info.info_hashes();
    assert!(hashes.v1.is_some() && hashes.v2.is_some());
    assert_eq!((info.version(), info.layout().piece_count()), (Version::Hybrid, 5));
    assert_eq!(paths(&metainfo), ["big", ".pad/x", "dir/empty", "dir/exact", "dir/small"]);
    let v2 = parse(&with_layers(v2()));
    for piece in info.layout().pieces() {
        let same = v2.info().layout().piece(piece.get()).unwrap();
        assert_eq!(info.piece_tree_v2(piece), v2.info().piece_tree_v2(same));
        assert!(info.piece_hash_v1(piece).is_some());
    }
    assert_eq!(info.file(FileIndex(1)).unwrap().pieces_root, None);
}

#[test]
fn a_hybrid_of_one_file_needs_no_padding() {
    let info = v2()
        .with("file tree", dict([("folder", tree_file(b"abc"))]))
        .with("length", 3)
        .with("pieces", hashes(1));
    let metainfo = parse_info(info.clone());
    assert!(!metainfo.info().is_multi_file());
    assert_eq!(paths(&metainfo), ["folder"]);
    let other = info.with("name", "else");
    let text = "the names or the order of files differ".to_owned();
    check(other, "info.length", MetainfoErrorKind::HybridMismatch(text));
}

#[test]
fn a_hybrid_whose_sides_disagree_is_refused() {
    let refused = |files: Vec<Node>, pieces: usize, path: &str, text: &str| {
        let info = v2().with("files", files).with("pieces", hashes(pieces));
        check(info, path, MetainfoErrorKind::HybridMismatch(text.to_owned()));
    };
    let Node::Dict(mut hybrid) = hybrid() else { panic!("a dictionary") };
    let Some(Node::List(good)) = hybrid.remove(&b"files"[..]) else { panic!("a list") };
    let change = |at: usize, node: Node| {
        let mut files = good.clone();
        files[at] = node;
        files
    };
    refused(good[..4].to_vec(), 4, "info.file tree", "version 1 lacks a file");
    let more = [&good[..], &[file(&["more"], 1)]].concat();
    refused(more, 5, "info.files[5]", "only version 1 has this file");
    refused(
        change(4, file(&["dir", "smell"], 20_000)),
        5,
        "info.files[4]",
        "the names or the order of files differ",
    );
    refused(
        change(4, file(&["dir", "small"], 20_001)),
        5,
        "info.files[4]",
        "a length of 20001 and a length of 20000",
    );
    let pad = |length: i64| file(&[".pad", "x"], length).with("attr", "p");
    refused(change(1, pad(1)), 5, "info.files[3]", "the file does not begin with a piece");
    let wide = 3 * P as i64 - 70_000 + P as i64;
    refused(change(1, pad(wide)), 6, "info.files", "6 pieces and 5 pieces");
    let link = file(&["dir", "empty"], 0).with("attr", "l").with("symlink path", path(&["big"]));
    refused(change(2, link), 5, "info.files[2]", "a symbolic link differs");
}

#[test]
fn links_of_a_tree_need_no_length() {
    let link = dict([("attr", "l".into()), ("symlink path", path(&["big"]))]);
    let info = v2().with("file tree", dict([("big", tree_file(b"x")), ("link", dict([("", link)]))]));
    let metainfo = parse_info(info);
    let link = metainfo.info().file(FileIndex(1)).unwrap();
    assert_eq!((link.symlink_target.unwrap(), link.length), (&["big".to_owned()][..], 0));
}
