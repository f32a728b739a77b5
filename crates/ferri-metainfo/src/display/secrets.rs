//! Secrets of addresses in other text: what a server says, what a person typed.

use percent_encoding::percent_decode_str;

use super::{COMMON_SEGMENTS, HIDDEN, Parts, redact_url};

/// A shorter part of an address is no secret, and may be a word of a sentence.
const SECRET_CHARS_MIN: usize = 4;
/// Text that was cut may end within a secret; so much of one is not a word by chance.
const CUT_CHARS_MIN: usize = 8;

/// `text` with each address in it shown as by [`redact_url`]. Paths on this machine (`file:`) are no secrets.
#[must_use]
pub fn redact_addresses(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let is_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
        let start = rest[..at].trim_end_matches(is_scheme).len();
        let is_end = |c: char| c.is_whitespace() || "\"<>".contains(c);
        let end = rest[at..].find(is_end).map_or(rest.len(), |length| at + length);
        out.push_str(&rest[..start]);
        let address = &rest[start..end];
        match rest[start..at].eq_ignore_ascii_case("file") {
            true => out.push_str(address),
            false => out.push_str(&redact_url(address)),
        }
        rest = &rest[end..];
    }
    out.push_str(rest);
    out
}

/// What a server says, without what only it and we may know: each secret of `url`, under which it was asked, is `***`, also
/// where the text is cut within one, and each address is shown as by [`redact_url`].
#[must_use]
pub fn redact_words(words: &str, url: &str) -> String {
    let mut out = redact_addresses(words);
    for secret in secrets(url) {
        out = hide(&out, &secret);
    }
    out
}

/// The parts of an address that [`redact_url`] hides, as they are written and as they are meant, the longest first.
fn secrets(url: &str) -> Vec<String> {
    let Some(parts) = Parts::of(url) else { return Vec::new() };
    let user = parts.user.unwrap_or("");
    let path = parts.path.split('/').filter(|segment| !COMMON_SEGMENTS.contains(segment));
    let values =
        parts.query.split(['?', '#', '&', ';']).map(|part| part.split_once('=').unwrap_or(("", part)).1);
    let written = std::iter::once(user).chain(user.split(':')).chain(path).chain(values);
    let mut secrets: Vec<String> = written
        .flat_map(|secret| [secret.to_owned(), percent_decode_str(secret).decode_utf8_lossy().into_owned()])
        .filter(|secret| SECRET_CHARS_MIN <= secret.chars().count())
        .collect();
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    secrets.dedup();
    secrets
}

/// `text` without `secret`, in whatever case it stands there.
fn hide(text: &str, secret: &str) -> String {
    // The same length, so that places in one are places in the other.
    let (lower, secret) = (text.to_ascii_lowercase(), secret.to_ascii_lowercase());
    let mut out = String::with_capacity(text.len());
    let mut shown = 0;
    for (at, found) in lower.match_indices(&secret) {
        out.push_str(&text[shown..at]);
        out.push_str(HIDDEN);
        shown = at + found.len();
    }
    let rest = &text[shown..];
    let end = rest.trim_end_matches(['.', '\u{2026}', ' ']).len();
    let beginnings = secret.char_indices().map(|(at, _)| &secret[..at]).skip(CUT_CHARS_MIN);
    let cut = beginnings.filter(|beginning| lower[shown..][..end].ends_with(beginning)).map(str::len).max();
    match cut {
        Some(length) => out.push_str(&format!("{}{HIDDEN}{}", &rest[..end - length], &rest[end..])),
        None => out.push_str(rest),
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const URL: &str = "https://ann:pa%40ss@t.example/0123456789abcdef/announce?passkey=sesame-open&x=1";

    #[test]
    fn what_a_tracker_repeats_of_our_secrets_is_hidden() {
        for (said, shown) in [
            ("unregistered torrent", "unregistered torrent"),
            ("unknown passkey sesame-open!", "unknown passkey ***!"),
            ("0123456789ABCDEF is banned, 0123456789abcdef", "*** is banned, ***"),
            (
                "go to https://t.example/other/announce?passkey=a-new-one now",
                "go to https://t.example/***/announce?*** now",
            ),
            ("<a href=\"http://t.example/x?y\">moved</a>", "<a href=\"http://t.example/***?***\">moved</a>"),
            ("no user pa@ss, nor pa%40ss", "no user ***, nor ***"),
            ("key 0123456789abcd...", "key ***..."),
            ("key 0123456789abcd", "key ***"),
            ("x is 1", "x is 1"),
        ] {
            assert_eq!(redact_words(said, URL), shown);
        }
    }

    #[test]
    fn addresses_that_a_person_typed_are_hidden_and_paths_are_not() {
        for (typed, shown) in [
            (
                "--tracker=https://t.example/0123456789abcdef/announce",
                "--tracker=https://t.example/***/announce",
            ),
            ("file:///home/me/a.torrent", "file:///home/me/a.torrent"),
            ("a.torrent", "a.torrent"),
            ("://", "://"),
        ] {
            assert_eq!(redact_addresses(typed), shown);
        }
    }

    proptest! {
        #[test]
        fn no_words_tell_a_key(before in any::<String>(), key in "[A-Za-z0-9]{20,40}", after in any::<String>(), place in 0..4_usize) {
            let url = match place {
                0 => format!("https://t.example/{key}/announce"),
                1 => format!("https://t.example/announce?k={key}"),
                2 => format!("https://{key}:x@t.example/announce"),
                _ => format!("udp://t.example:80/announce#{key}"),
            };
            for words in [format!("{before}{key}{after}"), format!("{before}{url}{after}"), format!("{before}{}", &key[..19])] {
                prop_assert!(!redact_words(&words, &url).contains(&key[..19]));
            }
        }
    }
}
