//! Torrents are made, parsed back and compared with hashes computed the long way.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use ferri_hash::{Sha256Digest, sha1, sha256};
use proptest::prelude::*;

use super::*;
use crate::{FileIndex, Info, Metainfo};

const KIB: u64 = 1024;

fn bytes(seed: u64, length: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

fn folder(version: Version, files: &[(&str, u64)]) -> Builder {
    let files = files
        .iter()
        .map(|(path, length)| NewFile::new(path.split('/').map(str::to_owned).collect(), *length));
    Builder::new(version, "folder", Content::Folder(files.collect()))
}

fn single(version: Version, length: u64) -> Builder {
    Builder::new(version, "single.bin", Content::File { length, executable: false })
}

/// What the planned files contain: made from their paths, so that the order does not matter.
fn contents(plan: &Plan) -> Vec<Vec<u8>> {
    let seed = |planned: &PlannedFile| {
        planned.file.path.join("/").bytes().fold(7, |sum: u64, b| sum.wrapping_mul(31) ^ u64::from(b))
    };
    plan.files().iter().map(|planned| bytes(seed(planned), planned.file.length)).collect()
}

fn piece(plan: &Plan, contents: &[Vec<u8>], piece: u32) -> Vec<u8> {
    let part = |span: Span| contents[span.file][span.offset as usize..][..span.length as usize].to_vec();
    plan.spans(piece).flat_map(part).collect()
}

fn make_by_feeding(builder: Builder, portion: usize) -> (Arc<Plan>, Vec<u8>) {
    let plan = Arc::new(builder.plan().unwrap());
    let mut hasher = Hasher::new(Arc::clone(&plan));
    for part in contents(&plan).concat().chunks(portion) {
        hasher.feed(part).unwrap();
    }
    assert_eq!(hasher.done(), plan.piece_count());
    (plan, hasher.finish().unwrap())
}

fn make_by_piece(builder: Builder) -> Vec<u8> {
    let plan = Arc::new(builder.plan().unwrap());
    let contents = contents(&plan);
    let pieces: Vec<_> = (0..plan.piece_count()).map(|at| (at, piece(&plan, &contents, at))).collect();
    let borrowed: Vec<_> = pieces.iter().map(|(at, bytes)| (*at, bytes.as_slice())).rev().collect();
    let hashes = plan.hash_pieces(&borrowed).unwrap();
    let mut hasher = Hasher::new(plan);
    for ((at, _), hash) in borrowed.iter().zip(hashes) {
        hasher.set(*at, hash).unwrap();
    }
    hasher.finish().unwrap()
}

/// Parses the torrent back and compares every hash with one of the bytes where [`crate::Layout`] says they are.
fn check(builder: Builder) -> Metainfo {
    let (plan, torrent) = make_by_feeding(builder.clone(), 10_007);
    assert_eq!(make_by_piece(builder.clone()), torrent, "both ways give the same torrent");
    let metainfo = Metainfo::parse(&torrent).unwrap();
    assert_eq!(metainfo.warnings(), []);
    let info = metainfo.info();
    assert_eq!((info.version(), info.piece_length()), (plan.version(), plan.piece_length()));
    assert_eq!(info.name(), builder.name);
    assert_eq!(info.layout().piece_count(), plan.piece_count());
    let stored: Vec<_> = info.files().iter().filter(|file| !file.is_pad()).collect();
    assert_eq!(stored.len(), plan.files().len());
    for (file, planned) in stored.iter().zip(plan.files()) {
        assert_eq!(
            (file.path(), file.length),
            (planned.file.path.iter().map(String::as_str).collect(), planned.file.length)
        );
    }
    check_hashes(info, &contents(&plan));
    metainfo
}

fn check_hashes(info: &Info, contents: &[Vec<u8>]) {
    let mut stored = contents.iter();
    let mut contents = Vec::new();
    for file in info.files().iter() {
        contents.push(if file.is_pad() {
            vec![0; file.length as usize]
        } else {
            stored.next().unwrap().clone()
        });
    }
    for piece in info.layout().pieces() {
        let length = info.layout().piece_len(piece);
        let part = |span: crate::FileSpan| {
            &contents[span.file.as_usize()][span.offset as usize..][..span.length as usize]
        };
        let bytes: Vec<u8> = info.layout().file_spans(piece, 0, length).flat_map(part).copied().collect();
        assert_eq!(info.piece_hash_v1(piece), info.version().has_v1().then(|| sha1(&bytes)));
        if let Some(tree) = info.piece_tree_v2(piece) {
            let in_file =
                info.layout().file_spans(piece, 0, length).find(|span| !span.is_pad).unwrap().length;
            assert_eq!(tree.root, long_way(&bytes[..in_file as usize], tree.width));
        }
    }
    for (file, bytes) in info.files().iter().zip(&contents).filter(|(file, _)| !file.is_pad()) {
        let blocks = bytes.len().div_ceil(16384).next_power_of_two();
        let expected = (info.version().has_v2() && !bytes.is_empty()).then(|| long_way(bytes, blocks));
        assert_eq!(file.pieces_root, expected);
    }
}

/// The Merkle root with every leaf spelled out.
fn long_way(bytes: &[u8], width: usize) -> Sha256Digest {
    let mut row: Vec<Sha256Digest> = bytes.chunks(16384).map(sha256).collect();
    row.resize(width, [0; 32]);
    while 1 < row.len() {
        row = row.chunks(2).map(|pair| sha256(pair.as_flattened())).collect();
    }
    row[0]
}

#[test]
fn a_single_file_of_each_version_comes_back() {
    for version in [Version::V1, Version::V2, Version::Hybrid] {
        for length in [1, 16 * KIB - 1, 16 * KIB, 16 * KIB + 1, 100_000] {
            let metainfo = check(Builder { piece_length: Some(32 << 10), ..single(version, length) });
            assert!(!metainfo.info().is_multi_file());
        }
    }
}

#[test]
fn folders_of_each_version_come_back() {
    let files = [
        ("z", 5),
        ("a/b/c", 70_000),
        ("a/b.txt", 32_768),
        ("a/empty", 0),
        ("a.b", 100_000),
        ("a/b/d", 0),
        ("last", 3),
    ];
    for version in [Version::V1, Version::V2, Version::Hybrid] {
        for piece_length in [16, 32, 64] {
            let metainfo =
                check(Builder { piece_length: Some(piece_length << 10), ..folder(version, &files) });
            assert!(metainfo.info().is_multi_file());
        }
    }
}

#[test]
fn a_piece_length_that_is_no_power_of_two_is_for_v1_only() {
    check(Builder { piece_length: Some(20_000), ..folder(Version::V1, &[("a", 50_000), ("b", 1)]) });
    let error = Builder { piece_length: Some(20_000), ..single(Version::Hybrid, 5) }.plan().unwrap_err();
    assert_eq!(error, CreateError::NotPowerOfTwo(20_000));
}

#[test]
fn a_hybrid_pads_between_files_and_not_behind_the_last() {
    let files = [("a", 10), ("b", 16384), ("c", 16385), ("d", 0), ("e", 1)];
    let builder = Builder { piece_length: Some(16384), ..folder(Version::Hybrid, &files) };
    let metainfo = check(builder);
    let files: Vec<_> = metainfo
        .info()
        .files()
        .iter()
        .map(|file| (file.path().join("/"), file.length, file.is_pad()))
        .collect();
    let expected = [
        ("a", 10, false),
        (".pad/16374", 16374, true),
        ("b", 16384, false),
        ("c", 16385, false),
        (".pad/16383", 16383, true),
        ("d", 0, false),
        ("e", 1, false),
    ];
    assert_eq!(files, expected.map(|(path, length, is_pad)| (path.to_owned(), length, is_pad)));
}

#[test]
fn v2_roots_agree_with_trees_drawn_by_hand() {
    let hash = |parts: &[&[u8]]| sha256(&parts.concat());
    let zero = [0_u8; 32];
    let builder = Builder {
        piece_length: Some(32 << 10),
        ..folder(Version::V2, &[("one", 5), ("five", 5 * 16384 - 1)])
    };
    let (plan, torrent) = make_by_feeding(builder, 1 << 20);
    let contents = contents(&plan);
    let metainfo = Metainfo::parse(&torrent).unwrap();
    let info = metainfo.info();

    let [b0, b1, b2, b3, b4] = std::array::from_fn(|at| sha256(contents[0].chunks(16384).nth(at).unwrap()));
    // A piece is two blocks. The layer has a node for each piece; above the third come nodes of zeros alone.
    let layer = [hash(&[&b0, &b1]), hash(&[&b2, &b3]), hash(&[&b4, &zero])];
    let nothing = hash(&[&zero, &zero]);
    let root = hash(&[&hash(&[&layer[0], &layer[1]]), &hash(&[&layer[2], &nothing])]);
    let five = info.file(FileIndex(0)).unwrap();
    assert_eq!((five.name(), five.pieces_root), ("five", Some(root)));
    assert_eq!(info.piece_layer(five.index), Some(&layer[..]));

    // One block: its hash is the root, and there is no layer.
    let one = info.file(FileIndex(1)).unwrap();
    assert_eq!(one.pieces_root, Some(sha256(&contents[1])));
    assert_eq!(info.piece_layer(one.index), None);
}

#[test]
fn the_smallest_torrent_is_exactly_these_bytes() {
    let mut hasher = Hasher::new(Arc::new(
        Builder::new(Version::V1, "a", Content::File { length: 3, executable: false }).plan().unwrap(),
    ));
    hasher.feed(b"abc").unwrap();
    let mut expected = b"d4:infod6:lengthi3e4:name1:a12:piece lengthi16384e6:pieces20:".to_vec();
    expected.extend_from_slice(&sha1(b"abc"));
    expected.extend_from_slice(b"ee");
    assert_eq!(hasher.finish().unwrap(), expected);
}

#[test]
fn everything_around_the_files_comes_back() {
    let strings = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    let builder = Builder {
        trackers: vec![
            strings(&["http://a/announce", "udp://b:1"]),
            vec![],
            strings(&["udp://b:1", "https://c/x"]),
        ],
        web_seeds: strings(&["https://w/"]),
        nodes: vec![("router.example".into(), 6881)],
        private: true,
        source: Some("S".into()),
        comment: Some("Ünïcödé".into()),
        created_by: Some("ferriswarm".into()),
        creation_date: Some(1_700_000_000),
        ..single(Version::Hybrid, 40_000)
    };
    let metainfo = check(builder);
    assert_eq!(
        metainfo.trackers(),
        [strings(&["http://a/announce", "udp://b:1"]), strings(&["https://c/x"])]
    );
    assert_eq!(metainfo.web_seeds(), ["https://w/"]);
    assert_eq!(metainfo.nodes(), [("router.example".to_owned(), 6881)]);
    assert_eq!(metainfo.comment(), Some("Ünïcödé"));
    assert_eq!(metainfo.created_by(), Some("ferriswarm"));
    assert_eq!(metainfo.creation_date(), Some(1_700_000_000));
    assert!(metainfo.info().is_private());
    assert_eq!(metainfo.info().source(), Some("S"));

    let magnet = crate::magnet::Magnet::from_metainfo(&metainfo);
    assert_eq!(magnet.info_hashes, metainfo.info().info_hashes());
    assert_eq!((magnet.display_name.as_deref(), magnet.length), (Some("single.bin"), Some(40_000)));
    assert_eq!(magnet.trackers, ["http://a/announce", "udp://b:1", "https://c/x"]);
    assert_eq!(magnet.web_seeds, ["https://w/"]);
    assert_eq!(crate::magnet::Magnet::parse(&magnet.to_string()), Ok(magnet));
}

#[test]
fn one_tracker_needs_no_list() {
    let tracked = |tiers: &[&[&str]]| {
        let trackers = tiers.iter().map(|tier| tier.iter().map(ToString::to_string).collect()).collect();
        make_by_feeding(Builder { trackers, ..single(Version::V1, 1) }, 1).1
    };
    let has_list = |torrent: &[u8]| torrent.windows(13).any(|window| window == b"announce-list");
    assert!(tracked(&[&["http://a/x"]]).starts_with(b"d8:announce10:http://a/x4:info"));
    assert!(!has_list(&tracked(&[&["http://a/x"], &["http://a/x"]])));
    assert!(has_list(&tracked(&[&["http://a/x"], &["http://b/x"]])));
    assert!(tracked(&[&[], &[]]).starts_with(b"d4:info"));
}

#[test]
fn attributes_and_links_come_back() {
    let path = |text: &str| text.split('/').map(str::to_owned).collect::<Vec<_>>();
    let files = vec![
        NewFile { executable: true, hidden: true, ..NewFile::new(path("bin/run"), 5) },
        NewFile { symlink_target: Some(path("bin/run")), ..NewFile::new(path("link"), 0) },
    ];
    for version in [Version::V1, Version::V2, Version::Hybrid] {
        let metainfo = check(Builder::new(version, "tree", Content::Folder(files.clone())));
        let stored: Vec<_> = metainfo.info().files().iter().filter(|file| !file.is_pad()).collect();
        assert!(
            stored[0].attributes.executable && stored[0].attributes.hidden && !stored[0].attributes.symlink
        );
        assert_eq!(stored[1].symlink_target, Some(&path("bin/run")[..]));
    }
    for version in [Version::V1, Version::V2, Version::Hybrid] {
        let metainfo = check(Builder::new(version, "run", Content::File { length: 5, executable: true }));
        assert!(metainfo.info().file(FileIndex(0)).unwrap().attributes.executable);
    }
}

#[test]
fn the_order_in_which_files_are_named_does_not_matter() {
    let names = [("b/a", 9), ("a", 20_000), ("b-", 7), ("b/é", 1), ("B", 3)];
    let mut turned = names;
    turned.reverse();
    for version in [Version::V1, Version::V2, Version::Hybrid] {
        let torrent = make_by_feeding(folder(version, &names), 1 << 20).1;
        assert_eq!(make_by_feeding(folder(version, &turned), 999).1, torrent);
    }
    let plan = folder(Version::V1, &names).plan().unwrap();
    let order: Vec<_> = plan.files().iter().map(|planned| planned.file.path.join("/")).collect();
    assert_eq!(order, ["B", "a", "b/a", "b/é", "b-"], "by component, so a folder's files stay together");
}

#[test]
fn files_of_the_same_content_share_a_layer() {
    let plan = Arc::new(folder(Version::V2, &[("a", 40_000), ("b", 40_000)]).plan().unwrap());
    let mut hasher = Hasher::new(plan);
    hasher.feed(&[1; 80_000]).unwrap();
    let torrent = hasher.finish().unwrap();
    let metainfo = Metainfo::parse(&torrent).unwrap();
    let layer = |file| metainfo.info().piece_layer(FileIndex(file)).unwrap();
    assert_eq!(layer(0), layer(1));
}

#[test]
fn the_info_hash_is_that_of_libtorrent() {
    // Made by libtorrent 2.1.1 of 70,000 and 20,000 bytes of one letter each, with its defaults.
    let file = |path: &str, length| NewFile::new(path.split('/').map(str::to_owned).collect(), length);
    let hash = |builder: Builder, parts: &[(u8, usize)]| {
        let mut hasher = Hasher::new(Arc::new(builder.plan().unwrap()));
        for (letter, count) in parts {
            hasher.feed(&vec![*letter; *count]).unwrap();
        }
        let hashes = Metainfo::parse(&hasher.finish().unwrap()).unwrap().info().info_hashes();
        (hashes.v1.map(|hash| hash.to_string()), hashes.v2.map(|hash| hash.to_string()))
    };
    let z = |version| Builder::new(version, "z.bin", Content::File { length: 70_000, executable: false });
    let v1 = "b121c28a1d0f76cf71d4f0686882b752435706f7";
    let v2 = "6bd2d0e8a4c6ac58786d9bab802d4eab5b776bb8f4b55b343a5cb8d14643b846";
    let hybrid_v1 = "dbcaed82126522b603f5d3567ade4604a14c42c4";
    let hybrid_v2 = "23897384f6fb3329ca718aba2d4b0fba5e69d013e2f98365e13f8057a423981e";
    let album_v2 = "e6fcca575bee6fb056e4d1942ae8eb7e7d244adf3e1f755a8f04bdf6cfec9aa4";
    assert_eq!(hash(z(Version::V1), &[(b'x', 70_000)]).0.as_deref(), Some(v1));
    assert_eq!(hash(z(Version::V2), &[(b'x', 70_000)]).1.as_deref(), Some(v2));
    let both = hash(z(Version::Hybrid), &[(b'x', 70_000)]);
    assert_eq!((both.0.as_deref(), both.1.as_deref()), (Some(hybrid_v1), Some(hybrid_v2)));
    let files = vec![file("a/z.bin", 70_000), file("a.txt", 6), file("b/one", 20_000), file("empty", 0)];
    let album = Builder::new(Version::V2, "album", Content::Folder(files));
    let parts = [(b'x', 70_000), (b'h', 6), (b'q', 20_000)];
    assert_eq!(hash(album, &parts).1.as_deref(), Some(album_v2));
}

#[test]
fn the_piece_length_follows_the_size() {
    for (size, length) in [
        (0, 16 << 10),
        (1, 16 << 10),
        (2_684_355, 16 << 10),
        (2_684_356, 32 << 10),
        (10 << 20, 32 << 10),
        (100 << 20, 128 << 10),
        (1 << 30, 512 << 10),
        (2_748_779_069, 512 << 10),
        (2_748_779_070, 1 << 20),
        (8 << 30, 1 << 20),
        (64 << 30, 4 << 20),
        (703_687_441_777, 8 << 20),
        (703_687_441_778, 16 << 20),
        (1 << 40, 16 << 20),
        (32 << 40, 16 << 20),
        ((32 << 40) + 1, 32 << 20),
        (256 << 40, 128 << 20),
        (1 << 50, 128 << 20),
        (u64::MAX, 128 << 20),
    ] {
        assert_eq!(piece_length_for(size), length, "{size}");
    }
}

/// Pieces of 512 MiB and perhaps of 256 MiB are refused by what most people use, so that none are made; those that
/// others made are read.
#[test]
fn the_longest_pieces_that_are_made_are_shorter_than_the_longest_that_are_read() {
    let of = |piece_length| Builder { piece_length: Some(piece_length), ..single(Version::Hybrid, 1 << 40) };
    assert_eq!(of(128 << 20).plan().unwrap().piece_length(), 128 << 20);
    check_refused(of(256 << 20), "it must be from 16384 to 134217728");
    check_refused(single(Version::V1, (256 << 40) + 1), "of 134217728 bytes, but at most");
    let info = b"d6:lengthi536870912e4:name1:a12:piece lengthi536870912e6:pieces20:aaaaaaaaaaaaaaaaaaaae";
    assert_eq!(Info::parse(info).unwrap().piece_length(), 512 << 20);
}

#[test]
fn many_small_files_get_longer_pieces_only_where_that_helps() {
    // Alignment gives every file a piece, whatever the length.
    let files: Vec<_> = (0..3000_u64).map(|at| NewFile::new(vec![format!("{at}")], 11_600)).collect();
    let plan = Builder::new(Version::V2, "t", Content::Folder(files)).plan().unwrap();
    assert_eq!((plan.piece_length(), plan.piece_count()), (64 << 10, 3000));
}

#[track_caller]
fn check_refused(builder: Builder, message: &str) {
    let error = builder.plan().unwrap_err().to_string();
    assert!(error.contains(message), "{error}");
}

#[test]
fn what_makes_no_torrent_is_refused_before_anything_is_read() {
    use Version::{Hybrid, V1, V2};
    check_refused(single(V1, 0), "nothing to share");
    check_refused(folder(V2, &[]), "nothing to share");
    check_refused(folder(V2, &[("a", 0)]), "nothing to share");
    check_refused(folder(V1, &[("a", u64::MAX), ("b", 1)]), "more than 2^63");
    check_refused(folder(V1, &[("a", 1 << 62), ("b", 1 << 62)]), "more than 2^63");
    check_refused(single(Hybrid, 1 << 62), "bytes, but at most");
    check_refused(folder(V1, &[("a", 1), ("a", 2)]), "\"a\" cannot be in a torrent: it is there twice");
    check_refused(folder(V1, &[("a", 1), ("a!", 1), ("a/b", 2)]), "both a file and a folder");
    for path in ["", "a//b", "../a", "a/.", "a\0"] {
        check_refused(folder(V1, &[(path, 1)]), "cannot be in a torrent");
    }
    check_refused(folder(V1, &[(&"a/".repeat(61), 1)]), "too deep");
    check_refused(folder(V1, &[(&"a".repeat(5000), 1)]), "too long");
    check_refused(Builder { name: "a/b".into(), ..single(V1, 1) }, "slash");
    check_refused(Builder { name: String::new(), ..single(V1, 1) }, "empty");
    for length in [0, 1, 16383, (128 << 20) + 1, 256 << 20, 512 << 20, u32::MAX] {
        check_refused(Builder { piece_length: Some(length), ..single(V1, 1) }, "a piece length of");
    }
    check_refused(
        Builder { piece_length: Some(16384), ..single(V1, 1 << 40) },
        "67108864 pieces of 16384 bytes, but at most 2097152 are taken",
    );
    for url in ["", "a", "ftp://a", "http://", "http://a b", "http://a\n"] {
        check_refused(Builder { trackers: vec![vec![url.into()]], ..single(V1, 1) }, "tracker");
    }
    check_refused(Builder { web_seeds: vec!["udp://a".into()], ..single(V1, 1) }, "web seed");
    check_refused(Builder { nodes: vec![("a".into(), 0)], ..single(V1, 1) }, "node");
    let link = NewFile { symlink_target: Some(vec!["..".into()]), ..NewFile::new(vec!["l".into()], 0) };
    check_refused(Builder::new(V1, "t", Content::Folder(vec![link.clone()])), "cannot be in");
    let link = NewFile { symlink_target: Some(vec!["a".into()]), length: 5, ..link };
    check_refused(Builder::new(V1, "t", Content::Folder(vec![link])), "no bytes of its own");
}

#[test]
fn a_path_as_deep_as_we_make_them_can_be_read_back() {
    let path = vec!["d"; 60].join("/");
    check(folder(Version::V2, &[(&path, 5)]));
    check(folder(Version::Hybrid, &[(&path, 5), ("e", 1)]));
}

#[test]
fn too_little_and_too_much_data_is_noticed() {
    let hasher = || Hasher::new(Arc::new(single(Version::V1, 40_000).plan().unwrap()));
    let mut short = hasher();
    short.feed(&[0; 39_999]).unwrap();
    assert_eq!(short.done(), 2);
    assert_eq!(short.finish(), Err(CreateError::Unfinished { missing: 1, total: 3 }));
    assert_eq!(hasher().feed(&[0; 40_001]), Err(CreateError::TooMuchData));
}

#[test]
fn hashes_that_do_not_belong_are_refused() {
    let plan = Arc::new(single(Version::V1, 40_000).plan().unwrap());
    assert_eq!(plan.hash_piece(3, &[]), Err(CreateError::NoSuchPiece(3)));
    assert_eq!(plan.hash_piece(u32::MAX, &[]), Err(CreateError::NoSuchPiece(u32::MAX)));
    assert_eq!(
        plan.hash_piece(2, &[0; 5]),
        Err(CreateError::WrongLength { piece: 2, expected: 7232, got: 5 })
    );
    let mut hasher = Hasher::new(plan);
    assert_eq!(hasher.set(0, PieceHash::default()), Err(CreateError::WrongHash(0)));
    assert_eq!(hasher.set(3, PieceHash { v1: Some([0; 20]), v2: None }), Err(CreateError::NoSuchPiece(3)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn any_folder_comes_back_whatever_the_version(
        lengths in prop::collection::vec(prop_oneof![Just(0), 1..40_u64, 16_000..17_000_u64, 60_000..70_000_u64], 1..8),
        version in prop::sample::select(vec![Version::V1, Version::V2, Version::Hybrid]),
        shift in 0..3_u32,
        depth in 1..4_usize,
    ) {
        prop_assume!(lengths.iter().any(|length| *length != 0));
        let paths: Vec<_> = (0..lengths.len()).map(|at| format!("{}{at}", "d/".repeat(at % depth))).collect();
        let files: Vec<_> = paths.iter().map(String::as_str).zip(lengths).collect();
        check(Builder { piece_length: Some(16384 << shift), ..folder(version, &files) });
    }

    #[test]
    fn planning_never_panics_and_its_spans_cover_everything_once(
        lengths in prop::collection::vec(prop_oneof![any::<u64>(), 0..1_000_000_u64, Just(0), Just(u64::MAX >> 1)], 0..6),
        piece_length in prop::option::of(prop_oneof![any::<u32>(), (14..30_u32).prop_map(|shift| 1 << shift)]),
        version in prop::sample::select(vec![Version::V1, Version::V2, Version::Hybrid]),
    ) {
        let paths: Vec<_> = (0..lengths.len()).map(|at| at.to_string()).collect();
        let files: Vec<_> = paths.iter().map(String::as_str).zip(lengths.iter().copied()).collect();
        let Ok(plan) = (Builder { piece_length, ..folder(version, &files) }).plan() else { return Ok(()) };
        let mut covered = vec![0; files.len()];
        for piece in 0..plan.piece_count() {
            prop_assert!(plan.piece_bytes(piece) != 0);
            if 5000 < piece {
                return Ok(());
            }
            for span in plan.spans(piece) {
                prop_assert_eq!(covered[span.file], span.offset);
                covered[span.file] += span.length;
            }
        }
        prop_assert_eq!(covered, plan.files().iter().map(|planned| planned.file.length).collect::<Vec<_>>());
        prop_assert_eq!(plan.spans(plan.piece_count()).count(), 0);
    }
}
