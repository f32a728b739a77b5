//! Version 1: the plain cases, and what is refused.

use super::*;
use crate::{Attributes, FileIndex, LayoutError, Version};

#[test]
fn a_single_file_is_read_in_full() {
    let source = single().with("private", 1).with("source", "here");
    let metainfo = parse_info(source.clone());
    let info = metainfo.info();
    assert_eq!((info.name(), info.version(), info.is_multi_file()), ("one.iso", Version::V1, false));
    assert_eq!((info.piece_length(), info.layout().piece_count()), (16 << 10, 3));
    assert_eq!(info.layout().total_length(), 40_000);
    assert_eq!((info.is_private(), info.source()), (true, Some("here")));
    assert_eq!(paths(&metainfo), ["one.iso"]);
    assert_eq!(metainfo.info_bytes(), source.encode());
    let hashes = info.info_hashes();
    assert_eq!(hashes.v1.map(|hash| *hash.as_bytes()), Some(ferri_hash::sha1(&source.encode())));
    assert_eq!(hashes.v2, None);
    assert_eq!(info.piece_hash_v1(info.layout().piece(2).unwrap()), Some([b'h'; 20]));
    assert_eq!(info.piece_tree_v2(info.layout().piece(0).unwrap()), None);
    assert!(warnings(&metainfo).is_empty());
    let alone = Info::parse(&source.encode()).unwrap();
    assert_eq!((alone.info_hashes(), alone.layout()), (info.info_hashes(), info.layout()));
}

#[test]
fn hashes_belong_to_their_pieces() {
    let hashes: Vec<u8> = (0..60).collect();
    let metainfo = parse_info(single().with("pieces", &hashes[..]));
    let info = metainfo.info();
    for (piece, hash) in info.layout().pieces().zip(hashes.chunks(20)) {
        assert_eq!(&info.piece_hash_v1(piece).unwrap(), hash);
    }
}

#[test]
fn several_files_keep_their_order_and_their_raw_paths() {
    let files = vec![
        file(&["a", "b", "one"], 10_000),
        file(&["a", "b", "two"], 0),
        file(&["a", "..", "..", "etc"], 10_000),
        file(&["", "/", "x/y", "\0", "."], 5),
        file(&["a", "b", "one"], 5),
    ];
    let metainfo = parse_info(multi(files, 2));
    let info = metainfo.info();
    assert!(info.is_multi_file());
    assert_eq!(paths(&metainfo), ["a/b/one", "a/b/two", "a/../../etc", "///x/y/\0/.", "a/b/one"]);
    let file = info.file(FileIndex(3)).unwrap();
    assert_eq!((file.path(), file.length), (vec!["", "/", "x/y", "\0", "."], 5));
    assert_eq!(info.files().len(), 5);
    assert!(info.file(FileIndex(5)).is_none());
}

#[test]
fn attributes_and_links_are_read() {
    let link = file(&["latest"], 0).with("attr", "l").with("symlink path", path(&["..", "a"]));
    let files = vec![
        file(&["run"], 100).with("attr", "xh?"),
        dict([("attr", "p".into()), ("length", (PIECE - 100).into())]),
        link.clone().without("length"),
        link.without("symlink path"),
        file(&["rest"], 1),
    ];
    let metainfo = parse_info(multi(files, 2));
    assert_eq!(paths(&metainfo), ["run", ".pad/16284", "latest", "latest", "rest"]);
    let files: Vec<_> = metainfo.info().files().iter().collect();
    assert_eq!(files[0].attributes, Attributes { executable: true, hidden: true, ..Attributes::default() });
    assert_eq!(files[0].attributes.to_string(), "xh");
    assert!(files[1].is_pad() && metainfo.info().layout().is_pad(FileIndex(1)));
    assert_eq!(files[2].symlink_target.unwrap(), ["..", "a"]);
    assert!(files[2].attributes.symlink && !files[3].attributes.symlink);
    assert_eq!((files[3].symlink_target, files[4].attributes), (None, Attributes::default()));
    assert_eq!(
        warnings(&metainfo),
        ["info.files[3].attr: a symbolic link without a target is taken as a file"]
    );
}

#[test]
fn what_is_missing_or_of_the_wrong_kind_is_said_with_its_place() {
    use MetainfoErrorKind::{Missing, NotA};
    for key in ["name", "piece length"] {
        check(single().without(key), &format!("info.{key}"), Missing);
    }
    check(single().without("pieces"), "info.pieces", Missing);
    check(single().without("length"), "info.files", MetainfoErrorKind::NoFiles);
    check(single().with("name", 1), "info.name", NotA("a string"));
    check(single().with("pieces", 1), "info.pieces", NotA("a string"));
    check(single().with("length", "1"), "info.length", NotA("an integer"));
    check(single().with("piece length", "1"), "info.piece length", NotA("an integer"));
    check(single().with("attr", 1), "info.attr", NotA("a string"));
    check(single().without("length").with("files", "x"), "info.files", NotA("a list"));
    let files = |file: Node| multi(vec![super::file(&["a"], 1), file], 1);
    check(files(1.into()), "info.files[1]", NotA("a dictionary"));
    check(files(file(&["a"], 1).without("path")), "info.files[1].path", Missing);
    check(files(file(&["a"], 1).without("length")), "info.files[1].length", Missing);
    check(files(file(&["a"], 1).with("path", "a")), "info.files[1].path", NotA("a list"));
    let odd = file(&["a"], 1).with("path", vec!["a".into(), 1.into()]);
    check(files(odd), "info.files[1].path[1]", NotA("a string"));
    check(Node::List(Vec::new()), "info", NotA("a dictionary"));
}

#[test]
fn empty_lists_and_paths_are_refused() {
    check(multi(Vec::new(), 0), "info.files", MetainfoErrorKind::EmptyFileList);
    check(multi(vec![file(&[], 1)], 1), "info.files[0].path", MetainfoErrorKind::EmptyPath);
    let empty = MetainfoErrorKind::Layout(LayoutError::Empty);
    check(multi(vec![file(&["a"], 0)], 0), "info.files", empty.clone());
    check(single().with("length", 0).with("pieces", ""), "info.length", empty);
}

#[test]
fn an_empty_name_is_taken_with_a_warning() {
    let metainfo = parse_info(single().with("name", ""));
    assert_eq!((metainfo.info().name(), paths(&metainfo)), ("", vec![String::new()]));
    assert_eq!(warnings(&metainfo), ["info.name: the torrent has no name"]);
}

#[test]
fn paths_have_a_depth_and_names_a_length() {
    let deep = vec!["d"; crate::limits::PATH_COMPONENTS_MAX];
    assert_eq!(parse_info(multi(vec![file(&deep, 1)], 1)).info().file(FileIndex(0)).unwrap().path(), deep);
    let deeper = vec!["d"; crate::limits::PATH_COMPONENTS_MAX + 1];
    check(multi(vec![file(&deeper, 1)], 1), "info.files[0].path[100]", MetainfoErrorKind::PathTooDeep);
    let long = "n".repeat(5000);
    check(
        multi(vec![file(&["a", &long], 1)], 1),
        "info.files[0].path[1]",
        MetainfoErrorKind::NameTooLong(5000),
    );
    check(single().with("name", &long[..]), "info.name", MetainfoErrorKind::NameTooLong(5000));
}

#[test]
fn hashes_must_be_as_many_as_pieces() {
    check(single().with("pieces", &[0; 59][..]), "info.pieces", MetainfoErrorKind::OddPieces(59));
    for count in [0, 2, 4, 1000] {
        let kind = MetainfoErrorKind::PieceCount { hashes: count, pieces: 3 };
        check(single().with("pieces", hashes(count)), "info.pieces", kind);
    }
}

#[test]
fn what_is_no_torrent_is_said_so() {
    let kind = |bytes: &[u8]| Metainfo::parse(bytes).map(drop).unwrap_err().to_string();
    assert_eq!(kind(b""), "the file is empty");
    assert_eq!(kind(b"<!DOCTYPE html>"), "the file is no bencode: unexpected byte 0x3c (at byte 0)");
    assert_eq!(kind(b"4:spam"), "should be a dictionary (at byte 0)");
    assert_eq!(kind(b"de"), "info: is missing (at byte 0)");
    assert_eq!(kind(b"d4:infoi1ee"), "info: should be a dictionary (at byte 7)");
    assert_eq!(
        kind(&b"l".repeat(1 << 20)),
        "the file is no bencode: lists and dictionaries are nested too deeply (at byte 64)"
    );
    let large = vec![b'x'; crate::limits::TORRENT_BYTES_MAX + 1];
    assert_eq!(kind(&large), "67108865 bytes are more than a torrent may have (67108864)");
}

#[test]
fn files_count_where_there_is_a_length_too() {
    let files = vec![file(&["a"], 30_000), file(&["b"], 10_000)];
    let metainfo = parse_info(multi(files, 3).with("length", 7));
    assert_eq!(
        (paths(&metainfo), metainfo.info().layout().total_length()),
        (vec!["a".into(), "b".into()], 40_000)
    );
    assert_eq!(warnings(&metainfo), ["info.length: ignored, as there are `files` too"]);
    let metainfo = parse_info(single().with("files", Vec::new()));
    assert_eq!((paths(&metainfo), metainfo.info().is_multi_file()), (vec!["one.iso".to_owned()], false));
    assert_eq!(warnings(&metainfo), ["info.files: ignored, as it is empty and there is a `length`"]);
}

#[test]
fn a_link_with_a_length_has_no_bytes() {
    let link = file(&["l"], 5).with("attr", "l").with("symlink path", path(&["a"]));
    let metainfo = parse_info(multi(vec![file(&["a"], 1), link, file(&["b"], 2)], 1));
    let lengths: Vec<u64> = metainfo.info().files().iter().map(|file| file.length).collect();
    assert_eq!((lengths, metainfo.info().layout().total_length()), (vec![1, 0, 2], 3));
    let warning = "info.files[1].length: a symbolic link has no bytes; its length of 5 is taken as 0";
    assert_eq!(warnings(&metainfo), [warning]);
}

#[test]
fn pieces_may_be_small() {
    for length in [1, 20, 1024, 15 << 10, (16 << 10) - 1_i64] {
        let pieces = 40_000_usize.div_ceil(length as usize);
        let metainfo = parse_info(single().with("piece length", length).with("pieces", hashes(pieces)));
        assert_eq!(metainfo.info().layout().piece_count() as usize, pieces);
        assert_eq!(metainfo.warnings(), []);
    }
}

#[test]
fn doubled_keys_and_leading_zeros_leave_a_warning() {
    let odd = b"d4:infod6:lengthi0007e6:lengthi9e4:name3:one12:piece lengthi016384e6:pieces020:aaaaaaaaaaaaaaaaaaaaee";
    let metainfo = Metainfo::parse(odd).unwrap();
    assert_eq!(metainfo.info().layout().total_length(), 7, "the first one counts");
    let told = [
        "a number with a leading zero at byte 17",
        "a dictionary key appears twice at byte 22",
        "a number with a leading zero at byte 60",
        "a number with a leading zero at byte 75",
    ];
    assert_eq!(warnings(&metainfo), told);
    let info = &odd[7..odd.len() - 1];
    assert_eq!(
        (metainfo.info_bytes(), Info::parse(info).unwrap().layout()),
        (info, metainfo.info().layout())
    );
    assert_eq!(metainfo.info().info_hashes().v1.unwrap().as_bytes(), &ferri_hash::sha1(info));
    let behind = [info, b"x"].concat();
    let error = Info::parse(&behind).map(drop).unwrap_err();
    assert_eq!(error.kind, MetainfoErrorKind::Bencode(ferri_bencode::ErrorKind::TrailingData));
}

#[test]
fn a_refusal_in_place_of_a_torrent_is_told_in_its_words() {
    let said = |bytes: &[u8]| Metainfo::parse(bytes).map(drop).unwrap_err().to_string();
    let refusal = said(b"d14:failure reason13:not logged ine");
    assert_eq!(refusal, "no torrent came, but a refusal: \"not logged in\"");
    let hostile = said(b"d14:failure reason5:\x1b[31me");
    assert_eq!(hostile, "no torrent came, but a refusal: \"\u{fffd}[31m\"");
    assert_eq!(said(b"d14:failure reasoni1ee"), "info: is missing (at byte 0)");
}

#[test]
fn links_have_a_bound() {
    let link = |length: i64| file(&["l"], length).with("attr", "l").with("symlink path", path(&["a"]));
    let mut crowd = vec![link(0); crate::limits::SYMLINKS_MAX + 1];
    crowd[0] = file(&["a"], 1);
    assert!(Info::parse(&multi(crowd.clone(), 1).encode()).is_ok());
    crowd.push(link(0));
    check(multi(crowd, 1), "info.files[65537].symlink path", MetainfoErrorKind::TooManySymlinks);
}

/// Padding without `attr`, by its name and place.
#[test]
fn what_is_called_padding_and_fills_its_piece_is_padding() {
    const BITCOMET: &str =
        "_____padding_file_0_if you see this file, please update to BitComet 0.85 or above____";
    let pads = |files: &[(&str, u64)]| {
        let list: String = files
            .iter()
            .map(|(path, length)| {
                let parts: String = path.split('/').map(|part| format!("{}:{part}", part.len())).collect();
                format!("d6:lengthi{length}e4:pathl{parts}ee")
            })
            .collect();
        let total: u64 = files.iter().map(|(_, length)| length).sum();
        let hashes = "x".repeat(20 * total.div_ceil(16384) as usize);
        let text =
            format!("d5:filesl{list}e4:name1:t12:piece lengthi16384e6:pieces{}:{hashes}e", hashes.len());
        let info = Info::parse(text.as_bytes()).unwrap();
        info.files().iter().filter(|file| file.is_pad()).map(|file| file.index.0).collect::<Vec<_>>()
    };
    assert_eq!(pads(&[("a", 10), (BITCOMET, 16374), ("b", 5), (".pad/16379", 16379)]), [1, 3]);
    assert_eq!(pads(&[("a", 10), (".pad/16374", 16374), ("b", 5)]), [1]);
    // A name is not enough.
    assert_eq!(pads(&[("a", 10), (BITCOMET, 16373), ("b", 5)]), [0; 0], "not to the end of the piece");
    assert_eq!(pads(&[("a", 16384), (BITCOMET, 16384), ("b", 5)]), [0; 0], "a piece of its own");
    assert_eq!(pads(&[("a", 10), (".pad/7", 16374), ("b", 5)]), [0; 0], "another length");
    assert_eq!(pads(&[("a", 10), ("x/_____padding_file_0", 16374), ("b", 5)]), [0; 0], "in a folder");
    assert_eq!(pads(&[("a", 10), ("c", 16374)]), [0; 0]);
}
