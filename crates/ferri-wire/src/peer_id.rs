//! The 20 bytes by which a peer calls itself, and what they say about its program ([BEP 20]).
//!
//! A peer can write any name in there, so it is for showing and for nothing else; the extension handshake has a better
//! one.
//!
//! [BEP 20]: https://www.bittorrent.org/beps/bep_0020.html

use std::fmt;

/// The name a peer gave itself for one run: eight bytes that tell its program, twelve that tell it from others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId([u8; 20]);

impl PeerId {
    /// A name in the usual style: `-`, two letters for the program, four places of version, `-`, and twelve bytes that
    /// the caller drew at random. `PeerId::new("FS", [0, 1, 0, 0], ..)` starts with `-FS0100-`.
    ///
    /// A place of the version above 35 is written as `Z`, letters missing in `client` as `-`.
    pub fn new(client: &str, version: [u8; 4], random: [u8; 12]) -> Self {
        debug_assert!(client.len() == 2 && client.is_ascii(), "{client:?} is not two letters");
        let mut bytes = [b'-'; 20];
        for (place, letter) in bytes[1..3].iter_mut().zip(client.bytes()) {
            *place = letter;
        }
        for (place, number) in bytes[3..7].iter_mut().zip(version) {
            *place = DIGITS[usize::from(number.min(35))];
        }
        bytes[8..].copy_from_slice(&random);
        Self(bytes)
    }

    /// The bytes as they are sent.
    pub const fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }

    /// The program and its version in words, such as `qBittorrent 4.6.5`. `None` when the bytes follow no known style.
    ///
    /// A program that is not in our table is given as its two letters and its version. The answer has letters, digits,
    /// spaces and punctuation only, and at most 64 bytes.
    pub fn client(&self) -> Option<String> {
        // Before the usual style, which two of them resemble.
        special(&self.0)
            .or_else(|| azureus(&self.0))
            .or_else(|| mainline(&self.0))
            .or_else(|| shadow(&self.0))
    }
}

impl From<[u8; 20]> for PeerId {
    fn from(bytes: [u8; 20]) -> Self {
        Self(bytes)
    }
}

/// Visible ASCII as it is, other bytes as `%` and two hex digits.
impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &byte in &self.0 {
            match byte {
                b'!'..=b'$' | b'&'..=b'~' => write!(f, "{}", char::from(byte))?,
                _ => write!(f, "%{byte:02x}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerId({self})")
    }
}

const DIGITS: &[u8; 36] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// How a program writes its version into the four places it has.
#[derive(Clone, Copy)]
enum Places {
    /// One number a place; the fourth is left out unless it is a digit above 0.
    Three,
    /// One number a place, all four.
    Four,
    /// Two places each for major and minor.
    TwoTwo,
    /// Two places each, the minor with both digits: `3.00`.
    Hundredths,
    /// `0.72`, `2.94`, `4.0.6`: the scheme changed twice.
    Transmission,
}

use Places::{Four, Hundredths, Three, Transmission, TwoTwo};

/// Programs that write `-XX1234-`. Ascending by their two letters.
const CLIENTS: &[(&[u8; 2], &str, Places)] = &[
    (b"7T", "aTorrent", Three),
    (b"AG", "Ares", Four),
    (b"AR", "Arctic", Four),
    (b"AV", "Avicora", Four),
    (b"AX", "BitPump", TwoTwo),
    (b"AZ", "Vuze", Four),
    (b"A~", "Ares", Four),
    (b"BB", "BitBuddy", Four),
    (b"BC", "BitComet", Hundredths),
    (b"BE", "BitTorrent SDK", Four),
    (b"BF", "Bitflu", Four),
    (b"BG", "BTGetit", Four),
    (b"BI", "BiglyBT", Four),
    (b"BP", "BitTorrent Pro", Four),
    (b"BR", "BitRocket", Four),
    (b"BS", "BTSlave", Four),
    (b"BT", "BitTorrent", Three),
    (b"BW", "BitTorrent Web", Three),
    (b"BX", "BittorrentX", Four),
    (b"CD", "Enhanced CTorrent", TwoTwo),
    (b"CT", "CTorrent", TwoTwo),
    (b"DE", "Deluge", Three),
    (b"DP", "Propagate Data Client", Four),
    (b"EB", "EBit", Four),
    (b"ES", "Electric Sheep", Three),
    (b"FD", "Free Download Manager", Three),
    (b"FG", "FlashGet", Hundredths),
    (b"FL", "Folx", Three),
    (b"FS", "Ferriswarm", Three),
    (b"FT", "FoxTorrent", Four),
    (b"FW", "FrostWire", Three),
    (b"FX", "Freebox BitTorrent", Four),
    (b"GR", "GetRight", Four),
    (b"GS", "GSTorrent", Four),
    (b"GT", "anacrolix/torrent", Four),
    (b"HL", "Halite", Three),
    (b"HN", "Hydranode", Four),
    (b"JS", "Justseed.it", Four),
    (b"KG", "KGet", Four),
    (b"KT", "KTorrent", Three),
    (b"LC", "LeechCraft", Four),
    (b"LH", "LH-ABC", Four),
    (b"LP", "Lphant", TwoTwo),
    (b"LT", "libtorrent", Three),
    (b"LW", "LimeWire", Four),
    (b"MG", "MediaGet", Three),
    (b"MO", "MonoTorrent", Four),
    (b"MP", "MooPolice", Three),
    (b"MR", "Miro", Four),
    (b"MT", "MoonlightTorrent", Four),
    (b"NX", "Net Transport", Four),
    (b"PD", "Pando", Four),
    (b"PI", "PicoTorrent", Three),
    (b"QD", "QQDownload", Four),
    (b"QT", "Qt 4 Torrent example", Four),
    (b"RN", "rain", Three),
    (b"RT", "Retriever", Four),
    (b"SB", "Swiftbit", Four),
    (b"SD", "Thunder", Four),
    (b"SS", "SwarmScope", Four),
    (b"ST", "SymTorrent", Four),
    (b"SZ", "Shareaza", Four),
    (b"S~", "Shareaza", Four),
    (b"TL", "Tribler", Three),
    (b"TN", "TorrentDotNET", Four),
    (b"TR", "Transmission", Transmission),
    (b"TS", "Torrentstorm", Four),
    (b"TT", "TuoTu", Three),
    (b"UE", "µTorrent Embedded", Three),
    (b"UL", "uLeecher!", Four),
    (b"UM", "µTorrent for Mac", Three),
    (b"UT", "µTorrent", Three),
    (b"UW", "µTorrent Web", Three),
    (b"VG", "Vagaa", Four),
    (b"WD", "WebTorrent Desktop", TwoTwo),
    (b"WT", "BitLet", Four),
    (b"WW", "WebTorrent", TwoTwo),
    (b"WY", "FireTorrent", Four),
    (b"XF", "Xfplay", Three),
    (b"XL", "Xunlei", Four),
    (b"XT", "XanTorrent", Four),
    (b"XX", "Xtorrent", Four),
    (b"ZO", "Zona", Four),
    (b"ZT", "ZipTorrent", Three),
    (b"lt", "libTorrent (rakshasa)", Three),
    (b"qB", "qBittorrent", Three),
    (b"rQ", "rqbit", Four),
    (b"st", "SharkTorrent", Four),
];

/// `-XX1234-`, by far the most common. The last `-` is missing where a version needed its place.
fn azureus(id: &[u8; 20]) -> Option<String> {
    let [b'-', a, b, v @ ..] = id else { return None };
    let letters = [*a, *b];
    let version: [u8; 4] = *v.first_chunk()?;
    if !letters.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'~') {
        return None;
    }
    let known = CLIENTS.binary_search_by(|(key, ..)| (*key).cmp(&letters)).ok().map(|at| CLIENTS[at]);
    if !version.iter().all(u8::is_ascii_alphanumeric) {
        // `-ML2.7.2-` and `-RN0.13--` write the version as text up to the next dash.
        let text = text_version(v)?;
        let name = if &letters == b"ML" { "MLdonkey" } else { known?.1 };
        return Some(format!("{name} {text}"));
    }
    match known {
        Some((_, name, places)) => Some(format!("{name} {}", places_text(version, places))),
        None if v[4] == b'-' => {
            let [a, b] = letters.map(char::from);
            Some(format!("{a}{b} {}", places_text(version, Four)))
        }
        None => None,
    }
}

/// Digits and dots up to the first dash, at most eight of them.
fn text_version(bytes: &[u8]) -> Option<&str> {
    let end = bytes.iter().take(9).position(|&byte| byte == b'-')?;
    let text = std::str::from_utf8(&bytes[..end]).ok()?;
    let is_version = text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.');
    is_version.then_some(text.trim_end_matches('.'))
}

fn places_text(version: [u8; 4], places: Places) -> String {
    let [a, b, c, d] = version.map(place);
    match places {
        Three if (b'1'..=b'9').contains(&version[3]) => format!("{a}.{b}.{c}.{d}"),
        Three => format!("{a}.{b}.{c}"),
        Four => format!("{a}.{b}.{c}.{d}"),
        TwoTwo => format!("{}.{}", 10 * a + b, 10 * c + d),
        Hundredths => format!("{}.{c}{d}", 10 * a + b),
        Transmission if a == 0 && b == 0 && c == 0 => format!("0.{d}"),
        Transmission if a == 0 && b == 0 => format!("0.{c}{d}"),
        // Up to 3.00 two digits of minor version, from 4.0.0 on three numbers; `Z` and `X` are builds between releases.
        Transmission => {
            let beta = if version[3].is_ascii_digit() { "" } else { "+" };
            if a < 4 { format!("{a}.{b}{c}{beta}") } else { format!("{a}.{b}.{c}{beta}") }
        }
    }
}

/// A digit is itself, `A` to `Z` go on from 10, and `a` to `z` from 36.
fn place(byte: u8) -> u32 {
    u32::from(match byte {
        b'0'..=b'9' => byte - b'0',
        b'A'..=b'Z' => byte - b'A' + 10,
        b'a'..=b'z' => byte - b'a' + 36,
        _ => 0,
    })
}

/// Programs with a style of their own.
fn special(id: &[u8; 20]) -> Option<String> {
    let digits = |range: std::ops::Range<usize>| {
        let text = std::str::from_utf8(&id[range]).ok()?;
        text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.to_owned())
    };
    match id {
        [b'e', b'x', b'b', b'c', major, minor, rest @ ..] => {
            let name = if rest.starts_with(b"LORD") { "BitLord" } else { "BitComet" };
            Some(format!("{name} {major}.{minor:02}"))
        }
        [b'X', b'B', b'T', ..] => {
            let text = digits(3..6)?;
            let debug = if id[6] == b'd' { " (debug)" } else { "" };
            Some(format!("XBT Client {}.{}.{}{debug}", &text[..1], &text[1..2], &text[2..]))
        }
        [b'T', b'I', b'X', ..] => {
            let text = digits(3..7)?;
            Some(format!("Tixati {}.{}", text[..2].trim_start_matches('0'), &text[2..]))
        }
        [b'O', b'P', ..] => Some(format!("Opera build {}", digits(2..6)?)),
        [b'-', b'B', b'O', b'W', ..] => Some("Bits on Wheels".to_owned()),
        [b'-', b'G', b'3', ..] => Some("G3 Torrent".to_owned()),
        _ => None,
    }
}

/// `M7-10-5--` of the first client of all, and those that took over its style.
fn mainline(id: &[u8; 20]) -> Option<String> {
    let (name, rest) = match id.as_slice() {
        [b'A', b'2', b'-', rest @ ..] => ("aria2", rest),
        [b'M', rest @ ..] => ("BitTorrent", rest),
        [b'Q', rest @ ..] => ("Queen Bee", rest),
        _ => return None,
    };
    let mut numbers = Vec::new();
    for part in rest.split(|&byte| byte == b'-').take(3) {
        if part.is_empty() || 3 < part.len() || !part.iter().all(u8::is_ascii_digit) {
            return None;
        }
        numbers.push(String::from_utf8_lossy(part));
    }
    (numbers.len() == 3).then(|| format!("{name} {}", numbers.join(".")))
}

/// `S58B-----`: a letter, up to five places of version, then dashes.
fn shadow(id: &[u8; 20]) -> Option<String> {
    let name = match id[0] {
        b'A' => "ABC",
        b'O' => "Osprey Permaseed",
        b'Q' => "BTQueue",
        b'R' => "Tribler",
        b'S' => "Shadow's client",
        b'T' => "BitTornado",
        b'U' => "UPnP NAT BitTorrent",
        _ => return None,
    };
    let places = id[1..6].iter().position(|&byte| byte == b'-').unwrap_or(5);
    let version = &id[1..1 + places];
    if version.is_empty() || !version.iter().all(u8::is_ascii_alphanumeric) || &id[6..9] != b"---" {
        return None;
    }
    let numbers: Vec<String> = version.iter().map(|&byte| place(byte).to_string()).collect();
    Some(format!("{name} {}", numbers.join(".")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(start: &[u8], expected: Option<&str>) {
        let mut id = *b"********************";
        id[..start.len()].copy_from_slice(start);
        assert_eq!(PeerId::from(id).client().as_deref(), expected);
    }

    #[test]
    fn programs_are_told_by_their_letters() {
        check(b"-FS0100-", Some("Ferriswarm 0.1.0"));
        check(b"-qB4650-", Some("qBittorrent 4.6.5"));
        check(b"-qB5100-", Some("qBittorrent 5.1.0"));
        check(b"-LT20B0-", Some("libtorrent 2.0.11"));
        check(b"-lt0D80-", Some("libTorrent (rakshasa) 0.13.8"));
        check(b"-TR3000-", Some("Transmission 3.00"));
        check(b"-TR2940-", Some("Transmission 2.94"));
        check(b"-TR4060-", Some("Transmission 4.0.6"));
        check(b"-TR410Z-", Some("Transmission 4.1.0+"));
        check(b"-TR0072-", Some("Transmission 0.72"));
        check(b"-TR0006-", Some("Transmission 0.6"));
        check(b"-DE211s-", Some("Deluge 2.1.1"));
        check(b"-DE13F0-", Some("Deluge 1.3.15"));
        check(b"-UT355W-", Some("µTorrent 3.5.5"));
        check(b"-AZ5760-", Some("Vuze 5.7.6.0"));
        check(b"-WW0102-", Some("WebTorrent 1.2"));
        check(b"-BC0170-", Some("BitComet 1.70"));
        check(b"-KT5110-", Some("KTorrent 5.1.1"));
        check(b"-GT0003-", Some("anacrolix/torrent 0.0.0.3"));
        check(b"-XY1234-", Some("XY 1.2.3.4"));
    }

    #[test]
    fn older_styles_are_known() {
        check(b"A2-1-36-0-", Some("aria2 1.36.0"));
        check(b"M7-10-5--", Some("BitTorrent 7.10.5"));
        check(b"M4-3-6--", Some("BitTorrent 4.3.6"));
        check(b"Q1-10-0-", Some("Queen Bee 1.10.0"));
        check(b"S58B-----", Some("Shadow's client 5.8.11"));
        check(b"T03I-----", Some("BitTornado 0.3.18"));
        check(b"exbc\x00\x38", Some("BitComet 0.56"));
        check(b"exbc\x01\x00LORD", Some("BitLord 1.00"));
        check(b"XBT054d-", Some("XBT Client 0.5.4 (debug)"));
        check(b"TIX0259-", Some("Tixati 2.59"));
        check(b"OP7685", Some("Opera build 7685"));
        check(b"-ML2.7.2-", Some("MLdonkey 2.7.2"));
        check(b"-BOWA0C-", Some("Bits on Wheels"));
    }

    #[test]
    fn what_follows_no_style_has_no_name() {
        check(b"", None);
        check(b"-", None);
        check(b"-\x1b[123456", None);
        check(b"-XY12345678", None);
        check(b"M\xff-1-1-", None);
        check(b"T\0\0\0\0\0---", None);
        check(b"TIXabcd", None);
        check(b"-ZZ\xff\xff\xff\xff-", None);
    }

    #[test]
    fn a_new_id_has_letters_version_and_the_callers_bytes() {
        let id = PeerId::new("FS", [0, 1, 12, 200], *b"\x00bcdefghijk%");
        assert_eq!(id.as_bytes(), b"-FS01CZ-\x00bcdefghijk%");
        assert_eq!(id.to_string(), "-FS01CZ-%00bcdefghijk%25");
        assert_eq!(format!("{id:?}"), "PeerId(-FS01CZ-%00bcdefghijk%25)");
    }

    #[test]
    fn the_table_is_in_order_so_that_it_can_be_searched() {
        assert!(CLIENTS.is_sorted_by(|a, b| a.0 < b.0));
    }

    proptest! {
        #[test]
        fn a_name_is_short_and_harmless(id in any::<[u8; 20]>(), start in 0usize..CLIENTS.len()) {
            let mut named = id;
            named[0] = b'-';
            named[1..3].copy_from_slice(CLIENTS[start].0);
            for id in [id, named] {
                if let Some(name) = PeerId::from(id).client() {
                    prop_assert!(name.len() <= 64);
                    prop_assert!(name.chars().all(|c| !c.is_control() && (c.is_ascii() || c == 'µ')), "{name:?}");
                }
            }
        }
    }
}
