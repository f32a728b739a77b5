//! Seeds that are torrents, magnet links, and scripts for names and for making torrents.

use std::sync::Arc;

use ferri_metainfo::create::{Builder, Content, Hasher, NewFile};
use ferri_metainfo::{Metainfo, Version};

use super::{Seed, add};

/// Those of this file.
pub(super) fn all(seeds: &mut Vec<Seed>) {
    made(seeds);
    odd(seeds);
    met(seeds);
    magnets(seeds);
    names(seeds);
    scripts(seeds);
}

/// Torrents as we make them, for the target that reads .torrent files, and their info dictionaries for the one that
/// reads those.
fn made(seeds: &mut Vec<Seed>) {
    let single = || Content::File { length: 40_000, executable: false };
    let folder = || {
        let file = |path: &[&str], length| {
            NewFile::new(path.iter().map(|part| (*part).to_owned()).collect(), length)
        };
        let link = NewFile { symlink_target: Some(vec!["a".to_owned()]), ..file(&["docs", "link"], 0) };
        let run = NewFile { executable: true, hidden: true, ..file(&["docs", ".run"], 5) };
        Content::Folder(vec![
            file(&["a"], 20_000),
            file(&["docs", "empty"], 0),
            link,
            run,
            file(&["z"], 16_384),
        ])
    };
    for (name, version, content) in [
        ("v1-single", Version::V1, single()),
        ("v1-folder", Version::V1, folder()),
        ("v2-single", Version::V2, single()),
        ("v2-folder", Version::V2, folder()),
        ("hybrid-single", Version::Hybrid, single()),
        ("hybrid-folder", Version::Hybrid, folder()),
    ] {
        let torrent = torrent(Builder {
            piece_length: Some(16_384),
            trackers: vec![
                vec!["http://a.example/announce".to_owned()],
                vec!["udp://b.example:80".to_owned()],
            ],
            web_seeds: vec!["http://c.example/".to_owned()],
            nodes: vec![("d.example".to_owned(), 6881)],
            private: name == "v1-folder",
            source: Some("S".to_owned()),
            comment: Some("for the fuzzers".to_owned()),
            created_by: Some("ferri-fuzz".to_owned()),
            creation_date: Some(1_700_000_000),
            ..Builder::new(version, "content", content)
        });
        let metainfo = Metainfo::parse(&torrent).expect("what we make can be read");
        add(seeds, "info", name, metainfo.info_bytes());
        add(seeds, "metainfo", name, torrent);
    }
}

fn torrent(builder: Builder) -> Vec<u8> {
    let plan = Arc::new(builder.plan().expect("a plan"));
    let mut hasher = Hasher::new(Arc::clone(&plan));
    hasher.feed(&vec![0x61; usize::try_from(plan.total_length()).expect("small")]).expect("its bytes");
    hasher.finish().expect("all was fed")
}

/// Torrents that are wrong in one way each, or odd.
fn odd(seeds: &mut Vec<Seed>) {
    let hash = "a".repeat(20);
    let mut seed = |name, info: &str, around: (&str, &str)| {
        let info = info.replace('#', &hash);
        add(seeds, "info", name, &info);
        add(seeds, "metainfo", name, format!("d{}4:info{info}{}e", around.0, around.1));
    };
    let plain = "d6:lengthi3e4:name1:x12:piece lengthi16384e6:pieces20:#e";
    seed("tracker-not-a-url", plain, ("8:announce3:abc", ""));
    seed("tiers", plain, ("8:announce8:http://a13:announce-listll8:http://bel8:http://a8:http://cee", ""));
    seed(
        "latin-1",
        "d6:lengthi3e4:name2:\u{e9}12:piece lengthi16384e6:pieces20:#e",
        ("8:encoding10:ISO-8859-1", ""),
    );
    seed("piece-length-zero", "d6:lengthi3e4:name1:x12:piece lengthi0e6:pieces20:#e", ("", ""));
    seed("length-negative", "d6:lengthi-1e4:name1:x12:piece lengthi16384e6:pieces20:#e", ("", ""));
    seed(
        "length-huge",
        "d6:lengthi9223372036854775807e4:name1:x12:piece lengthi16384e6:pieces20:#e",
        ("", ""),
    );
    seed("hashes-missing", "d6:lengthi3e4:name1:x12:piece lengthi16384e6:pieces0:e", ("", ""));
    seed("hashes-odd", "d6:lengthi3e4:name1:x12:piece lengthi16384e6:pieces21:#ae", ("", ""));
    seed("no-files", "d5:filesle4:name1:x12:piece lengthi16384e6:pieces0:e", ("", ""));
    seed(
        "up",
        "d5:filesld6:lengthi3e4:pathl2:..2:..3:etceee4:name2:..12:piece lengthi16384e6:pieces20:#e",
        ("", ""),
    );
    seed(
        "twice",
        "d5:filesld6:lengthi1e4:pathl1:aeed6:lengthi1e4:pathl1:aeed6:lengthi1e4:pathl1:a1:beee\
         4:name1:x12:piece lengthi16384e6:pieces20:#e",
        ("", ""),
    );
    seed(
        "path-utf-8",
        "d5:filesld6:lengthi3e4:pathl1:aee10:path.utf-8l2:\u{e9}eee4:name1:x10:name.utf-81:y12:piece lengthi16384e6:pieces20:#e",
        ("", ""),
    );
    seed(
        "version-3",
        "d9:file treed1:ad0:d6:lengthi1eeee12:meta versioni3e4:name1:x12:piece lengthi16384ee",
        ("", ""),
    );
    let root = format!("11:pieces root32:{}", "r".repeat(32));
    let v2 = format!(
        "d9:file treed1:ad0:d6:lengthi20000e{root}eee12:meta versioni2e4:name1:x12:piece lengthi16384ee"
    );
    seed("v2-layer-missing", &v2, ("", ""));
    seed(
        "v2-layer-wrong",
        &v2,
        ("", &format!("12:piece layersd32:{}64:{}e", "r".repeat(32), "h".repeat(64))),
    );
    add(seeds, "metainfo", "refusal", b"d14:failure reason13:not logged ine");
    add(seeds, "metainfo", "empty", b"de");
    add(seeds, "metainfo", "web-page", b"<html><body>Not found</body></html>");
}

/// Torrents with oddities that are met, taken and refused ones.
fn met(seeds: &mut Vec<Seed>) {
    let hash = "a".repeat(20);
    let mut seed = |name, info: &str, around: (&str, &str)| {
        let info = info.replace('#', &hash);
        add(seeds, "info", name, &info);
        add(seeds, "metainfo", name, format!("d{}4:info{info}{}e", around.0, around.1));
    };
    seed(
        "v2-layer-of-nothing",
        "d9:file treed1:ad0:d6:lengthi0eee1:bd0:d6:lengthi5e11:pieces root32:rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrreee\
         12:meta versioni2e4:name1:x12:piece lengthi16384ee",
        ("", &format!("12:piece layersd32:{}32:{}e", "q".repeat(32), "h".repeat(32))),
    );
    seed(
        "v2-out-of-order",
        "d9:file treed1:bd0:d6:lengthi0eee1:ad0:d6:lengthi0eeee12:meta versioni2e4:name1:x12:piece lengthi16384ee",
        ("", ""),
    );
    seed(
        "v2-empty-name",
        "d9:file treed1:dd0:d0:d6:lengthi0eeeee12:meta versioni2e4:name1:x12:piece lengthi16384ee",
        ("", ""),
    );
    seed(
        "zeros-and-doubles",
        "d6:lengthi003e6:lengthi-0e4:name1:x12:piece lengthi01e6:pieces060:###e",
        ("", ""),
    );
    seed(
        "private-list-and-a-long-number",
        "d6:lengthi3e4:name1:x12:piece lengthi16384e6:pieces20:#7:privatele1:zi99999999999999999999ee",
        ("13:creation datei99999999999999999999e", ""),
    );
    seed(
        "length-and-files-and-a-link",
        "d5:filesld4:attr1:l6:lengthi7e4:pathl1:ae12:symlink pathl1:beed6:lengthi3e4:pathl1:beee\
         6:lengthi9e4:name1:x12:piece lengthi16384e6:pieces20:#e",
        ("", ""),
    );
    let root = format!("d6:lengthi1e11:pieces root32:{}e", "r".repeat(32));
    seed(
        "hybrid-two-orders",
        &format!(
            "d9:file treed1:ad1:zd0:{root}ee5:a.txtd0:{root}ee5:filesld6:lengthi1e4:pathl5:a.txteed4:attr1:p6:lengthi16383e\
             4:pathl4:.pad5:16383eed6:lengthi1e4:pathl1:a1:zeee12:meta versioni2e4:name1:x12:piece lengthi16384e6:pieces40:##e"
        ),
        ("", ""),
    );
}

fn magnets(seeds: &mut Vec<Seed>) {
    let v1 = "urn:btih:0123456789abcdef0123456789abcdef01234567";
    let v2 = format!("urn:btmh:1220{}", "ab".repeat(32));
    let mut seed = |name, link: String| add(seeds, "magnet", name, link);
    seed("plain", format!("magnet:?xt={v1}"));
    seed("base32", "magnet:?xt=urn:btih:ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".to_owned());
    seed("hybrid", format!("magnet:?xt={v1}&xt={v2}&dn=Some+name%20here"));
    seed(
        "everything",
        format!(
            "magnet:?xt={v1}&dn=%E2%82%AC&xl=12345&tr=http%3A%2F%2Fa.example%2Fannounce&tr.1=udp://b.example:80\
             &ws=http://c.example/&x.pe=192.0.2.1:6881&x.pe=[2001:db8::1]:6882&x.pe=d.example:6883&so=0,2,4-6#part"
        ),
    );
    seed("from-a-page", format!("magnet:?xt={v1}&amp;dn=a&amp;tr=http://a.example"));
    seed("two-hashes", format!("magnet:?xt={v1}&xt=urn:btih:{}", "f".repeat(40)));
    seed("other-network", "magnet:?xt=urn:sha1:ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".to_owned());
    seed("bad-range", format!("magnet:?xt={v1}&so=5-2,99999999999"));
    seed("bad-peer", format!("magnet:?xt={v1}&x.pe=:0"));
    seed("number-sign", format!("magnet:?dn=Track #3&xt={v1}&tr=udp://a.example:1"));
    seed("escaped-whole", format!("magnet%3A%3Fxt%3D{}%26dn%3Da%2520b", v1.replace(':', "%3A")));
    seed("escaped-twice", format!("magnet:?xt={}&tr=udp%253A%252F%252Fa", v1.replace(':', "%253A")));
    seed("urn-alone", format!(" <{v1}/ &dn=x> "));
    seed("left-out", format!("magnet:?xt={v1}&xt.2=urn:btih:1&xl=&so=&x.pe=a&tr=<b>&#38;ws=://"));
    seed("only-a-hash", "0123456789ABCDEF0123456789abcdef01234567".to_owned());
    seed("control-characters", format!("magnet:?xt={v1}&xl=%1b[31m"));
}

/// Scripts: the torrent's name, then for each file a byte of flags, path and link.
fn names(seeds: &mut Vec<Seed>) {
    let long = "n".repeat(250) + "\u{20ac}.txt";
    let file = |path: &[&str]| {
        let mut script = vec![path.len() as u8 - 1];
        for part in path {
            script.push(part.len() as u8);
            script.extend(part.as_bytes());
        }
        script
    };
    let mut seed = |name, top: &str, files: &[Vec<u8>]| {
        let mut script = vec![top.len() as u8];
        script.extend(top.as_bytes());
        add(seeds, "names", name, [script, files.concat()].concat());
    };
    seed("single", "../x", &[]);
    seed("ordinary", "top", &[file(&["a"]), file(&["b", "c"]), file(&["b", "d", "e"])]);
    seed(
        "up-and-absolute",
        "..",
        &[file(&["..", "..", "etc"]), file(&["", "etc"]), file(&["/etc/x"]), file(&["."])],
    );
    seed("twice", "t", &[file(&["a"]), file(&["a"]), file(&["a.1"]), file(&["a", "b"]), file(&["a.2"])]);
    seed("long", &long, &[file(&[&long]), file(&[&long]), file(&[&long, &long, &long, &long])]);
    seed(
        "controls",
        "a\0b",
        &[file(&["a\x1b[31m"]), file(&["a_[31m"]), file(&["\u{202e}gpj.exe"]), file(&["\u{85}"])],
    );
    seed(
        "reserved",
        "CON",
        &[file(&["nul.txt"]), file(&["a:b"]), file(&["-rf"]), file(&["end."]), file(&["~"])],
    );
    seed("case-and-forms", "t", &[file(&["A"]), file(&["a"]), file(&["\u{e9}"]), file(&["e\u{301}"])]);
    let link = |path: &[&str], target: &[&str]| {
        let mut script = file(path);
        script[0] |= 0x10 | (target.len() as u8 - 1) << 6;
        for part in target {
            script.push(part.len() as u8);
            script.extend(part.as_bytes());
        }
        script
    };
    seed(
        "links",
        "t",
        &[
            file(&["d", "a"]),
            link(&["l"], &["d", "a"]),
            link(&["d", "m"], &["d"]),
            link(&["n"], &["..", "x"]),
        ],
    );
    seed(
        "links-in-a-circle",
        "t",
        &[file(&["a"]), link(&["b"], &["c"]), link(&["c"], &["b"]), link(&["e"], &["e"])],
    );
    let mut pad = file(&[".pad", "1"]);
    pad[0] |= 0x28;
    seed("padding", "t", &[file(&["a"]), pad]);
}

/// Scripts for made-up torrents, and bitfields.
fn scripts(seeds: &mut Vec<Seed>) {
    for (name, script) in [
        ("v1-single", &b"\x00\x00\x01x\x9c\x40\x00\x64"[..]),
        ("v2-single", b"\x01\x04\x01x\x9c\x40\xff\xff"),
        ("hybrid-folder", b"\x02\x61\x01t\x00\x01a\x00\x05\x01\x01b\x01c\x60\x00\x00\x01d\x00\x00\x00\x10"),
        ("v1-folder-private", b"\x00\x4f\x01t\x00\x01a\x80\x05\x01\x01b\x01c\xe0\x00\x01\x00"),
        ("empty", b"\x00\x00\x01x\x00\x00"),
    ] {
        add(seeds, "create", name, script);
    }
    for (name, bytes) in [
        ("ten", &b"\x00\x0a\xaa\xc0"[..]),
        ("spare-bit", b"\x00\x0a\xaa\xe0"),
        ("too-short", b"\x00\x11\xff\xff"),
        ("none", b"\x00\x00"),
        ("words", b"\x00\x82\x01\x23\x45\x67\x89\xab\xcd\xef\xfe\xdc\xba\x98\x76\x54\x32\x10\xc0"),
    ] {
        add(seeds, "bitfield", name, bytes);
    }
}
