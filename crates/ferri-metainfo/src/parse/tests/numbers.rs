//! Every integer at every edge: each is taken or refused, none wraps.

use super::*;
use crate::LayoutError;

const EDGES: [&str; 15] = [
    "-9223372036854775808",
    "-1",
    "0",
    "1",
    "15360",
    "16384",
    "2147483647",
    "2147483648",
    "4294967295",
    "4294967296",
    "9007199254740992",
    "4611686018427387904",
    "9223372036854775807",
    "536870912",
    "536870913",
];
/// Beyond 64 bits, or written as no program should.
const BEYOND: [&str; 7] = [
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "99999999999999999999999",
    "-0",
    "007",
    "",
];

#[test]
fn every_number_at_every_edge_is_taken_or_refused() {
    let whole = single().with("meta version", 1).with("private", 1);
    let two = multi(vec![file(&["a"], 30_000), file(&["b"], 10_000)], 3);
    for edge in EDGES.iter().chain(&BEYOND) {
        for key in ["length", "piece length", "meta version", "private"] {
            let _ = Metainfo::parse(&torrent(whole.clone().with(key, int(edge))).encode());
        }
        let files = vec![file(&["a"], 30_000), file(&["b"], 1).with("length", int(edge))];
        let _ = Metainfo::parse(&torrent(two.clone().with("files", files)).encode());
        let dated = torrent(single()).with("creation date", int(edge)).with("codepage", int(edge));
        let nodes = vec![Node::List(vec!["host".into(), int(edge)])];
        let _ = Metainfo::parse(&dated.with("nodes", nodes).encode());
    }
}

#[test]
fn numbers_beyond_64_bits_are_refused_only_where_they_are_needed() {
    for beyond in &BEYOND[..4] {
        for key in ["length", "piece length", "meta version"] {
            let path = format!("info.{key}");
            check(single().with(key, int(beyond)), &path, MetainfoErrorKind::Overflow);
        }
        let files = vec![file(&["a"], 1), file(&["b"], 1).with("length", int(beyond))];
        check(multi(files, 1), "info.files[1].length", MetainfoErrorKind::Overflow);
        let mut elsewhere = torrent(single().with("x-anything", int(beyond)));
        for key in ["creation date", "codepage", "something"] {
            elsewhere = elsewhere.with(key, int(beyond));
        }
        let metainfo = parse(&elsewhere);
        assert_eq!((metainfo.creation_date(), metainfo.info().layout().total_length()), (None, 40_000));
        let told = warnings(&metainfo);
        assert_eq!(told.iter().filter(|text| text.starts_with("a number that is out of range")).count(), 4);
        assert!(told.contains(&"creation date: should be a number of seconds, and is ignored".to_owned()));
    }
    let error = fails(&torrent(single().with("length", int(""))));
    assert_eq!(error.kind, MetainfoErrorKind::Bencode(ferri_bencode::ErrorKind::MissingDigits));
}

#[test]
fn lengths_below_zero_are_refused() {
    for value in [-1, i64::MIN] {
        check(single().with("length", value), "info.length", MetainfoErrorKind::OutOfRange(value));
        check(
            single().with("piece length", value),
            "info.piece length",
            MetainfoErrorKind::OutOfRange(value),
        );
        let files = vec![file(&["a"], 1), file(&["b"], value)];
        check(multi(files, 1), "info.files[1].length", MetainfoErrorKind::OutOfRange(value));
    }
}

#[test]
fn piece_lengths_outside_of_the_limits_are_refused() {
    for value in [0, (512 << 20) + 1, 1 << 30, (1 << 30) + 1, 1 << 31, 1 << 32, 1 << 62, i64::MAX] {
        let kind = MetainfoErrorKind::Layout(LayoutError::PieceLength(value as u64));
        check(single().with("piece length", value), "info.piece length", kind.clone());
        check(multi(vec![file(&["a"], 1)], 1).with("piece length", value), "info.piece length", kind);
    }
    // BEP 3 asks for no power of two.
    assert!(
        Metainfo::parse(&torrent(single().with("piece length", 20_000).with("pieces", hashes(2))).encode())
            .is_ok()
    );
}

#[test]
fn lengths_that_add_up_to_too_much_are_refused() {
    let kind = MetainfoErrorKind::Layout(LayoutError::TooLong);
    let files = |lengths: &[i64]| multi(lengths.iter().map(|length| file(&["a"], *length)).collect(), 1);
    check(files(&[i64::MAX, 1]), "info.files[1].length", kind.clone());
    check(files(&[1 << 62, (1 << 62) - 1, 1]), "info.files[2].length", kind);
    let pieces = |count| MetainfoErrorKind::Layout(LayoutError::TooManyPieces(count));
    check(files(&[i64::MAX]), "info.files", pieces(1 << 49));
    check(single().with("length", 1_i64 << 53), "info.length", pieces(1 << 39));
}
