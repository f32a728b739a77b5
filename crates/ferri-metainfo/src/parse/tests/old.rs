//! Torrents from before UTF-8.

use super::*;

/// A name in Japanese, Shift-JIS: enough of it to be told from others.
const JAPANESE: &str = "日本語のファイル名です。これはテストのためのとても長い名前です";
/// Russian, windows-1251 and KOI8-R.
const RUSSIAN: &str = "Привет, мир. Это проверка имени файла в старой кодировке";

fn encoded(text: &str, label: &str) -> Vec<u8> {
    encoding_rs::Encoding::for_label(label.as_bytes()).unwrap().encode(text).0.into_owned()
}

#[test]
fn the_declared_encoding_is_used() {
    for (declared, label, text) in [
        ("windows-1251", "windows-1251", RUSSIAN),
        ("KOI8-R", "koi8-r", RUSSIAN),
        ("CP1251", "windows-1251", RUSSIAN),
        ("shift_jis", "shift_jis", JAPANESE),
        (" GBK ", "gbk", "中文文件名"),
        ("Big5", "big5", "中文檔案名"),
    ] {
        let name = encoded(text, label);
        let metainfo = parse(&torrent(single().with("name", &name[..])).with("encoding", declared));
        assert_eq!(metainfo.info().name(), text, "{declared}");
        assert_eq!(metainfo.encoding(), Some(declared));
        assert_eq!(warnings(&metainfo).len(), 1);
    }
    let name = encoded("中文文件名", "gbk");
    let metainfo = parse(&torrent(single().with("name", &name[..])).with("codepage", 936));
    assert_eq!(metainfo.info().name(), "中文文件名");
}

#[test]
fn an_encoding_nobody_declared_is_recognised() {
    for (label, text) in [("shift_jis", JAPANESE), ("windows-1251", RUSSIAN)] {
        let name = encoded(text, label);
        for declared in [None, Some("UTF-8"), Some("no such encoding")] {
            let files = vec![file(&["plain"], 1).with("path", vec!["dir".into(), name[..].into()])];
            let mut torrent = torrent(multi(files, 1));
            if let Some(declared) = declared {
                torrent = torrent.with("encoding", declared);
            }
            let metainfo = parse(&torrent);
            assert_eq!(paths(&metainfo), [format!("dir/{text}")], "{label}, declared {declared:?}");
        }
    }
}

#[test]
fn utf_8_is_taken_as_such_whatever_is_declared() {
    let metainfo = parse(&torrent(single().with("name", JAPANESE)).with("encoding", "windows-1251"));
    assert_eq!((metainfo.info().name(), metainfo.warnings()), (JAPANESE, &[][..]));
}

#[test]
fn names_in_utf_8_beside_others_win() {
    let odd = vec![b"\xff\xfe\xfd"[..].into()];
    let good = file(&["x"], 1).with("path", odd.clone()).with("path.utf-8", path(&["dir", "näme"]));
    let broken = file(&["plain"], 1).with("path.utf-8", odd);
    let empty = file(&["plain"], 1).with("path.utf-8", Vec::new());
    let info = multi(vec![good, broken, empty], 1).with("name", &b"\xff"[..]).with("name.utf-8", "földer");
    let metainfo = parse_info(info);
    assert_eq!(paths(&metainfo), ["dir/näme", "plain", "plain"]);
    assert_eq!(metainfo.info().name(), "földer");
}

#[test]
fn bytes_that_are_no_text_become_some_text() {
    for name in [&b"\xff"[..], b"\x80\x81\x82", b"\xed\xa0\x80", b"a\0\xffb", b"\xc0\xae\xc0\xae/"] {
        let metainfo = parse_info(single().with("name", name));
        assert!(!metainfo.info().name().is_empty(), "{name:?}");
    }
}
