//! Names for file systems that are more particular than Linux's own: rules 18 to 21 of the table in [`crate::names`].
//!
//! Each [`Style`] asks for more than the one before. A name that a style can take as it is keeps its path in it,
//! whatever changed names would like to be called; so paths of two styles are never the same for two files, and a torrent may
//! be stored with some files in one style and some in another.

use std::borrow::Cow;

use ferri_hash::sha1;
use unicode_normalization::{UnicodeNormalization, is_nfc};

use super::component::{COMPONENT_BYTES_MAX, local_component, with_tag};

/// What a file system asks of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Style {
    /// Nothing that Linux does not ask: rules 1 to 17.
    Exact,
    /// It takes names for one that differ by case, by Unicode normal form or by what cannot be seen.
    Folded,
    /// It also refuses what Windows refuses (exFAT, vfat, NTFS, CIFS).
    Portable,
    /// It takes no letters beyond ASCII or no long names (an encrypted folder, a FAT mounted with an old character set).
    Narrow,
}

impl Style {
    /// The styles in which names may have to change, the least particular first.
    pub const PARTICULAR: [Self; 3] = [Self::Folded, Self::Portable, Self::Narrow];

    /// What a component is called in this style; `None` when it names nothing.
    pub(super) fn component(self, component: &str) -> Option<Cow<'_, str>> {
        match self {
            Self::Exact => local_component(component),
            Self::Folded => Some(Cow::Borrowed(component)),
            Self::Portable => Some(portable(component)),
            Self::Narrow => Some(match portable(component) {
                Cow::Borrowed(name) => narrow(name),
                Cow::Owned(name) => Cow::Owned(narrow(&name).into_owned()),
            }),
        }
    }

    /// What two names must not have in common.
    pub(super) fn key(self, name: Cow<'_, str>) -> Cow<'_, str> {
        match self {
            Self::Exact => name,
            Self::Folded | Self::Portable | Self::Narrow => fold(name),
        }
    }

    /// A name with a number before its extension.
    pub(super) fn numbered(self, name: &str, number: u32) -> String {
        with_tag(name, &format!(".{number}"), self.component_bytes_max())
    }

    fn component_bytes_max(self) -> usize {
        match self {
            Self::Exact | Self::Folded | Self::Portable => COMPONENT_BYTES_MAX,
            Self::Narrow => NARROW_BYTES_MAX,
        }
    }
}

/// A name in the form in which equivalent names are the same (NFC).
#[must_use]
pub fn composed(name: &str) -> Cow<'_, str> {
    if name.is_ascii() || is_nfc(name) { Cow::Borrowed(name) } else { Cow::Owned(name.nfc().collect()) }
}

/// What is the same for names that some file system takes for one. Takes more names for one than any does, so that
/// it can be asked before anything is known of the file system.
fn fold(name: Cow<'_, str>) -> Cow<'_, str> {
    let is_folded = |byte: u8| byte.is_ascii() && !byte.is_ascii_uppercase();
    if !name.ends_with(['.', ' ']) {
        if name.bytes().all(is_folded) {
            return name;
        }
        if name.is_ascii() {
            return Cow::Owned(name.to_ascii_lowercase());
        }
    }
    // Large letters first: several small ones may have the same large one.
    let folded = name.nfd().flat_map(char::to_uppercase).flat_map(char::to_lowercase);
    let mut key: String = folded.filter(|c| !is_ignorable(*c)).nfd().collect();
    // Windows drops these from the end of a name.
    key.truncate(key.trim_end_matches(['.', ' ']).len());
    if key.is_empty() { name } else { Cow::Owned(key) }
}

/// What file systems that fold leave out when they compare (soft hyphen, joiners, variation selectors).
fn is_ignorable(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{2064}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}')
}

/// Whether a name can be seen at a glance to be the same in every style; most can.
pub(super) fn is_plain_anywhere(name: &str) -> bool {
    let is_plain = |byte: u8| (b' '..=b'~').contains(&byte) && !br#""*/:<>?\|"#.contains(&byte);
    name.len() <= NARROW_BYTES_MAX
        && name.bytes().all(is_plain)
        && !name.ends_with(['.', ' '])
        && !is_device(name)
}

/// Rule 19.
fn portable(name: &str) -> Cow<'_, str> {
    let is_refused = |c: char| matches!(c, '"' | '*' | ':' | '<' | '>' | '?' | '|');
    let mut out = match name.contains(is_refused) {
        true => Cow::Owned(name.replace(is_refused, "_")),
        false => Cow::Borrowed(name),
    };
    if out.ends_with(['.', ' ']) {
        let out = out.to_mut();
        out.pop();
        out.push('_');
    }
    if is_device(&out) {
        out.to_mut().insert(0, '_');
    }
    if COMPONENT_BYTES_MAX < out.len() {
        out = Cow::Owned(with_tag(&out, &digest_tag(name), COMPONENT_BYTES_MAX));
    }
    out
}

/// Whether Windows takes the name for a device, whatever its extension.
fn is_device(name: &str) -> bool {
    if !name.as_bytes().first().is_some_and(|first| b"CLPANclpan".contains(first)) {
        return false;
    }
    let stem = name.split('.').next().unwrap_or(name).trim_end();
    let is = |device: &str| stem.eq_ignore_ascii_case(device);
    let is_port = stem.is_ascii()
        && stem.len() == 4
        && matches!(stem[..3].to_ascii_uppercase().as_str(), "COM" | "LPT")
        && matches!(stem.as_bytes()[3], b'1'..=b'9');
    is_port || ["CON", "PRN", "AUX", "NUL"].into_iter().any(is)
}

/// Rule 20.
fn narrow(name: &str) -> Cow<'_, str> {
    if name.is_ascii() && name.len() <= NARROW_BYTES_MAX {
        return Cow::Borrowed(name);
    }
    let ascii: String = name.chars().map(|c| if c.is_ascii() { c } else { '_' }).collect();
    // Of names in other scripts little else is left to tell them apart.
    Cow::Owned(with_tag(&ascii, &digest_tag(name), NARROW_BYTES_MAX))
}

fn digest_tag(name: &str) -> String {
    let digest = sha1(name.as_bytes());
    format!("~{:02x}{:02x}{:02x}{:02x}", digest[0], digest[1], digest[2], digest[3])
}

/// Longest name that eCryptfs takes, in bytes: of the systems in use it takes the shortest ones.
const NARROW_BYTES_MAX: usize = 143;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[track_caller]
    fn check(style: Style, name: &str, expected: &str) {
        let styled = style.component(name).unwrap();
        assert_eq!(styled, expected);
        assert_eq!(style.component(&styled).unwrap(), expected, "must be idempotent");
    }

    #[test]
    fn names_that_some_file_system_takes_for_one_fold_to_one() {
        let same = |a: &str, b: &str| fold(Cow::Borrowed(a)) == fold(Cow::Borrowed(b));
        for (a, b) in [
            ("ReadMe", "readme"),
            ("STRASSE", "straße"),
            ("\u{e9}", "e\u{301}"),
            ("É", "e\u{301}"),
            ("σ", "ς"),
            ("K", "\u{212a}"),
            ("a\u{200d}b", "ab"),
            ("end.", "end"),
        ] {
            assert!(same(a, b), "{a} and {b}");
        }
        assert!(!same("a", "b") && !same("é", "e") && !same("...", "a"));
    }

    #[test]
    fn what_windows_refuses_is_replaced() {
        check(Style::Portable, "Chapter One: \"Why?\" <a|b>*", "Chapter One_ _Why__ _a_b__");
        check(Style::Portable, "end. .", "end. _");
        check(Style::Portable, "NUL.tar.gz", "_NUL.tar.gz");
        check(Style::Portable, "com7", "_com7");
        for name in ["console", "COM0", "COM10", "日本語.txt", "-rf", "a b", ".hidden"] {
            check(Style::Portable, name, name);
        }
    }

    #[test]
    fn a_narrow_name_is_short_and_ascii_and_still_its_own() {
        check(Style::Narrow, "plain.txt", "plain.txt");
        let (a, b) =
            (Style::Narrow.component("日本.txt").unwrap(), Style::Narrow.component("本日.txt").unwrap());
        assert!(a != b && a.is_ascii() && a.starts_with("__~") && a.ends_with(".txt"), "{a} {b}");
        let long = "x".repeat(200);
        assert_eq!(Style::Narrow.component(&long).unwrap().len(), NARROW_BYTES_MAX);
        assert_eq!(Style::Narrow.numbered(&"x".repeat(143), 12).len(), NARROW_BYTES_MAX);
        check(Style::Narrow, &a.clone(), &a);
    }

    #[test]
    fn equivalent_names_are_one_when_composed() {
        assert_eq!(composed("e\u{301}"), "\u{e9}");
        assert_eq!(composed("\u{1112}\u{1161}\u{11ab}"), "\u{d55c}");
        assert!(matches!(composed("plain"), Cow::Borrowed(_)));
    }
}
