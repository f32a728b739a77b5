//! Names that are not UTF-8: torrents from before the clients agreed.
//!
//! What is UTF-8 is taken as such, name by name. For the others one encoding is chosen for the whole torrent: the one
//! it declares (`encoding`, `codepage`) if that fits all of them, else what they look like.

use std::borrow::Cow;

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::Encoding;
use ferri_bencode::Dict;

/// Bytes of names that are looked at to find out their encoding.
const SAMPLE_BYTES_MAX: usize = 256 << 10;

/// Reads the names of one torrent.
pub(super) struct Decoder<'d> {
    info: Dict<'d>,
    declared: Option<&'static Encoding>,
    /// What names that are not UTF-8 are in, once there was one.
    chosen: Option<&'static Encoding>,
}

impl<'d> Decoder<'d> {
    /// For the names in `info`.
    pub(super) fn new(info: Dict<'d>, declared: Option<&'static Encoding>) -> Self {
        Self { info, declared, chosen: None }
    }

    /// A name as text. What its encoding has no letter for becomes U+FFFD.
    pub(super) fn text<'b>(&mut self, bytes: &'b [u8]) -> Cow<'b, str> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => {
                let (info, declared) = (self.info, self.declared);
                let encoding = *self.chosen.get_or_insert_with(|| choose(info, declared, bytes));
                encoding.decode_without_bom_handling(bytes).0
            }
        }
    }

    /// What names that are not UTF-8 were read as. `None` when there was none.
    pub(super) fn chosen(&self) -> Option<&'static Encoding> {
        self.chosen
    }
}

/// The encoding that a torrent declares, from its `encoding` or `codepage`.
pub(super) fn declared(label: Option<&[u8]>, codepage: Option<i64>) -> Option<&'static Encoding> {
    let named = label.and_then(|label| {
        let label = label.trim_ascii();
        let digits = label.strip_prefix(b"cp").or_else(|| label.strip_prefix(b"CP"));
        let page = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        Encoding::for_label(label).or_else(|| page.and_then(by_codepage))
    });
    // Declaring UTF-8 says nothing about names that are not.
    named.or_else(|| codepage.and_then(by_codepage)).filter(|encoding| *encoding != encoding_rs::UTF_8)
}

fn by_codepage(page: i64) -> Option<&'static Encoding> {
    let label = match page {
        866 => "ibm866",
        874 => "windows-874",
        932 => "shift_jis",
        936 => "gbk",
        949 => "euc-kr",
        950 => "big5",
        1250 => "windows-1250",
        1251 => "windows-1251",
        1252 => "windows-1252",
        1253 => "windows-1253",
        1254 => "windows-1254",
        1255 => "windows-1255",
        1256 => "windows-1256",
        1257 => "windows-1257",
        1258 => "windows-1258",
        20866 => "koi8-r",
        20932 | 51932 => "euc-jp",
        54936 => "gb18030",
        _ => return None,
    };
    Encoding::for_label(label.as_bytes())
}

fn choose(info: Dict<'_>, declared: Option<&'static Encoding>, first: &[u8]) -> &'static Encoding {
    let mut sample = Vec::new();
    names(info, &mut |name| {
        let fits = sample.len() + name.len() < SAMPLE_BYTES_MAX;
        if fits && std::str::from_utf8(name).is_err() {
            sample.extend_from_slice(name);
            sample.push(b'\n');
        }
        fits
    });
    if sample.is_empty() {
        sample.extend_from_slice(&first[..first.len().min(SAMPLE_BYTES_MAX)]);
    }
    if let Some(declared) = declared
        && !declared.decode_without_bom_handling(&sample).1
    {
        return declared;
    }
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    detector.feed(&sample, true);
    detector.guess(None, Utf8Detection::Deny)
}

/// Calls `see` with every name of an info dictionary until it returns `false`.
fn names(info: Dict<'_>, see: &mut impl FnMut(&[u8]) -> bool) {
    let name = info.get(b"name").and_then(|name| name.as_bytes());
    if name.is_some_and(|name| !see(name)) {
        return;
    }
    for file in info.get(b"files").and_then(|files| files.as_list()).into_iter().flatten() {
        let path = file.as_dict().and_then(|file| file.get(b"path")?.as_list());
        for component in path.into_iter().flatten() {
            if component.as_bytes().is_some_and(|component| !see(component)) {
                return;
            }
        }
    }
    // Directories of the tree by breadth would need a queue; a stack of iterators is as deep as bencode allows.
    let mut open: Vec<_> =
        info.get(b"file tree").and_then(|tree| tree.as_dict()).map(Dict::iter).into_iter().collect();
    while let Some(top) = open.last_mut() {
        let Some((name, value)) = top.next() else {
            open.pop();
            continue;
        };
        if name.is_empty() {
            continue;
        }
        if !see(name) {
            return;
        }
        open.extend(value.as_dict().map(Dict::iter));
    }
}
