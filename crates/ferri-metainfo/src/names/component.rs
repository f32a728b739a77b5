//! One component of a path: rules 1 to 8 of the table in [`crate::names`].

use std::borrow::Cow;

use ferri_hash::sha1;

use crate::display::{is_bidi_control, is_line_break};

/// Longest component, in bytes, that the file systems in use will take.
pub const COMPONENT_BYTES_MAX: usize = 255;

/// An extension longer than this (in bytes, with its dot) is taken for a part of the name and may be cut.
const EXTENSION_BYTES_MAX: usize = 24;

/// Stands where a character cannot.
const SUBSTITUTE: char = '_';

/// What a component of a torrent's path is called on this disk; `None` when it names nothing (empty, or `.`) and is
/// left out.
///
/// Idempotent, never longer than [`COMPONENT_BYTES_MAX`], never `.` or `..`, never with a separator in it. Two
/// components may have the same result: telling them apart takes the whole torrent, which is
/// [`crate::names::LocalPaths`].
#[must_use]
pub fn local_component(component: &str) -> Option<Cow<'_, str>> {
    match component {
        "" | "." => return None,
        ".." => return Some(Cow::Borrowed("_")),
        _ => {}
    }
    let local = replace_forbidden(component);
    if local.len() <= COMPONENT_BYTES_MAX {
        return Some(local);
    }
    // The digest of the original tells apart what is equal up to the cut.
    let digest = sha1(component.as_bytes());
    let tag = format!("~{:02x}{:02x}{:02x}{:02x}", digest[0], digest[1], digest[2], digest[3]);
    Some(Cow::Owned(with_tag(&local, &tag, COMPONENT_BYTES_MAX)))
}

/// `name.ext` and `.1` make `name.1.ext`: the tag goes before the extension, and the name is shortened until all of
/// it fits into `most` bytes, which are more than a tag and an extension have.
pub(super) fn with_tag(name: &str, tag: &str, most: usize) -> String {
    let (stem, extension) = split_extension(name);
    let room = most - tag.len() - extension.len();
    let stem = &stem[..stem.floor_char_boundary(room)];
    format!("{stem}{tag}{extension}")
}

/// A leading dot makes a hidden file, not an extension.
fn split_extension(name: &str) -> (&str, &str) {
    match name.rfind('.') {
        Some(dot) if 0 < dot && name.len() - dot <= EXTENSION_BYTES_MAX => name.split_at(dot),
        _ => (name, ""),
    }
}

fn replace_forbidden(component: &str) -> Cow<'_, str> {
    let Some(first) = component.find(is_forbidden) else { return Cow::Borrowed(component) };
    let (clean, rest) = component.split_at(first);
    let mut out = String::with_capacity(component.len());
    out.push_str(clean);
    out.extend(rest.chars().map(|c| if is_forbidden(c) { SUBSTITUTE } else { c }));
    Cow::Owned(out)
}

fn is_forbidden(c: char) -> bool {
    // The test for ASCII comes first: it answers for nearly every character there is.
    if c.is_ascii() {
        return c.is_ascii_control() || c == '/' || c == '\\';
    }
    c.is_control() || is_bidi_control(c) || is_line_break(c)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(component: &str, expected: &str) {
        let local = local_component(component).unwrap();
        assert_eq!(local, expected);
        assert_eq!(local_component(&local).unwrap(), expected, "must be idempotent");
    }

    #[test]
    fn rule_1_what_names_nothing_is_left_out() {
        assert_eq!(local_component(""), None);
        assert_eq!(local_component("."), None);
    }

    #[test]
    fn rule_2_the_folder_above_is_a_name_like_any_other() {
        check("..", "_");
        check("...", "...");
        check(".. ", ".. ");
    }

    #[test]
    fn rule_3_separators_of_any_system_do_not_separate() {
        check("/etc/passwd", "_etc_passwd");
        check("..\\..\\boot.ini", ".._.._boot.ini");
        check("../..", ".._..");
        check("/", "_");
    }

    #[test]
    fn rule_4_nul_and_other_controls_are_replaced() {
        check("a\0b", "a_b");
        check("\x1b[31mred\n", "_[31mred_");
        check("a\u{85}b\u{7f}", "a_b_");
    }

    #[test]
    fn rule_5_what_reorders_or_breaks_lines_is_replaced() {
        check("gpj.\u{202e}exe", "gpj._exe");
        check("a\u{2066}b\u{2069}c\u{200f}\u{61c}\u{2028}", "a_b_c___");
    }

    #[test]
    fn rule_6_names_other_systems_reserve_are_ordinary_here() {
        for name in [
            "CON",
            "NUL.txt",
            "COM1",
            "aux.c",
            "end.",
            "end ",
            " a",
            "a<b>c:d\"e|f?g*h",
            "C:",
            "~",
            "-rf",
            "$(id)",
        ] {
            check(name, name);
        }
    }

    #[test]
    fn rule_7_any_script_and_any_normal_form_is_kept() {
        for name in ["日本語.txt", "é", "e\u{301}", "👨\u{200d}👩\u{200d}👧", "می\u{200c}خواهم"]
        {
            check(name, name);
        }
    }

    #[test]
    fn rule_8_a_long_name_keeps_its_extension_and_is_cut_between_characters() {
        let name = format!("{}.flac", "x".repeat(300));
        let local = local_component(&name).unwrap();
        assert_eq!(local.len(), 255);
        assert!(local.starts_with("xxx") && local.ends_with(".flac"));
        assert_eq!(local.rfind('~').unwrap(), 255 - ".flac".len() - 9);

        let name = format!("{}.txt", "é".repeat(200));
        let local = local_component(&name).unwrap();
        assert!(local.len() <= 255 && 253 <= local.len() && local.ends_with(".txt"));

        let (a, b) = (format!("{}a", "x".repeat(400)), format!("{}b", "x".repeat(400)));
        assert_ne!(local_component(&a), local_component(&b));
        check(&"y".repeat(255), &"y".repeat(255));
    }

    #[test]
    fn an_extension_that_is_the_whole_name_is_cut_like_a_name() {
        for name in [format!(".{}", "x".repeat(300)), format!("a.{}", "x".repeat(300)), ".".repeat(300)] {
            let local = local_component(&name).unwrap();
            assert!(local.len() <= 255 && local.contains('~'), "{local}");
        }
    }

    #[test]
    fn a_tag_goes_before_the_extension() {
        for (name, tagged) in [
            ("name.ext", "name.1.ext"),
            ("name", "name.1"),
            (".hidden", ".hidden.1"),
            ("a.tar.gz", "a.tar.1.gz"),
            ("end.", "end.1."),
            ("..x", "..1.x"),
        ] {
            assert_eq!(with_tag(name, ".1", COMPONENT_BYTES_MAX), tagged);
        }
        assert_eq!(with_tag(&"x".repeat(255), ".12345", COMPONENT_BYTES_MAX).len(), 255);
    }

    proptest! {
        #[test]
        fn a_local_component_is_safe_short_and_stays_what_it_is(component in "(?s).{0,300}") {
            let Some(local) = local_component(&component) else {
                prop_assert!(component.is_empty() || component == ".");
                return Ok(());
            };
            prop_assert!(!local.is_empty() && local != "." && local != "..");
            prop_assert!(local.len() <= COMPONENT_BYTES_MAX);
            prop_assert!(!local.contains(is_forbidden));
            prop_assert_eq!(local_component(&local).unwrap(), local.clone());
        }
    }
}
