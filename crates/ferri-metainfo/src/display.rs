//! Text from outside, made harmless before a person sees it.
//!
//! Names, client strings, tracker messages and URLs come from strangers. A terminal obeys control characters, and
//! bidirectional controls make `gpj.exe` look like `exe.jpg`; so whatever prints such text passes it through here
//! first. What is replaced becomes U+FFFD, one for one, so that a reader sees that something was there.
//!
//! This is for showing only. Names on disk have rules of their own ([`crate::names`]), and escaping for HTML or JSON is
//! the business of the code that writes those.

mod secrets;

use std::borrow::Cow;

pub use secrets::{redact_addresses, redact_words};

/// `text` with every character that could steer a terminal, reorder a line or hide itself replaced by U+FFFD.
///
/// Replaced are the C0 and C1 controls (tab and newline too: names are shown inside lines), DEL, line and paragraph
/// separators, bidirectional controls, and characters that are not seen at all (zero-width spaces and joiners, byte
/// order marks, tags). Combining marks stay: stacking them is ugly but changes nothing outside their own cell.
#[must_use]
pub fn sanitize(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Cow::Borrowed(text);
    }
    let Some(first) = text.find(is_harmful) else { return Cow::Borrowed(text) };
    let (clean, rest) = text.split_at(first);
    let mut out = String::with_capacity(text.len() + 8);
    out.push_str(clean);
    out.extend(rest.chars().map(|c| if is_harmful(c) { char::REPLACEMENT_CHARACTER } else { c }));
    Cow::Owned(out)
}

/// [`sanitize`] for byte strings that should be UTF-8 but need not be (a peer's client name, a tracker's failure
/// reason).
#[must_use]
pub fn sanitize_bytes(bytes: &[u8]) -> Cow<'_, str> {
    match String::from_utf8_lossy(bytes) {
        Cow::Borrowed(text) => sanitize(text),
        Cow::Owned(text) => match sanitize(&text) {
            Cow::Borrowed(_) => Cow::Owned(text),
            Cow::Owned(clean) => Cow::Owned(clean),
        },
    }
}

/// A tracker's or web seed's URL for logs: who is asked, without what only we may know.
///
/// Private trackers put a passkey into the path, the query or the user name, and a reader who sees it there can act as
/// that user. Kept are the scheme, the host, the port, and path segments out of a short list of words that every
/// tracker uses; all else is `***`. Text that is no URL becomes `***` as a whole. The result is [`sanitize`]d.
#[must_use]
pub fn redact_url(url: &str) -> String {
    let Some(parts) = Parts::of(url) else { return HIDDEN.to_owned() };
    let user = if parts.user.is_some() { format!("{HIDDEN}@") } else { String::new() };
    let mut out = format!("{}://{user}{}", parts.scheme, parts.host);
    for segment in parts.path.split('/').skip(1) {
        out.push('/');
        out.push_str(if segment.is_empty() || COMMON_SEGMENTS.contains(&segment) { segment } else { HIDDEN });
    }
    if !parts.query.is_empty() {
        out.push('?');
        out.push_str(HIDDEN);
    }
    sanitize(&out).into_owned()
}

/// An address taken apart by what may be shown of it.
struct Parts<'a> {
    scheme: &'a str,
    /// User name and password.
    user: Option<&'a str>,
    /// With the port.
    host: &'a str,
    path: &'a str,
    /// With what is before it, and the fragment.
    query: &'a str,
}

impl<'a> Parts<'a> {
    fn of(url: &'a str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        let (path, query) = tail.split_at(tail.find(['?', '#']).unwrap_or(tail.len()));
        // The host begins after the last `@`: a password may contain one, a host cannot.
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        Some(Self { scheme, user, host, path, query })
    }
}

/// Whether a terminal, a log or a reader could be misled by this character.
pub(crate) fn is_harmful(c: char) -> bool {
    c.is_control() || is_bidi_control(c) || is_line_break(c) || is_invisible(c)
}

/// Characters that change the direction in which the text around them is shown (Unicode `Bidi_Control`).
pub(crate) fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The line breaks that are not control characters.
pub(crate) fn is_line_break(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}')
}

/// Format characters that take no room, so that two names that look the same need not be the same.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200d}'
            | '\u{2060}'..='\u{2065}'
            | '\u{206a}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

const HIDDEN: &str = "***";

/// Path segments that say nothing about the user.
const COMMON_SEGMENTS: [&str; 8] =
    ["announce", "announce.php", "scrape", "scrape.php", "tracker", "tracker.php", "bt", "ann"];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(sanitize(text), expected);
        assert_eq!(sanitize_bytes(text.as_bytes()), expected);
    }

    #[test]
    fn ordinary_text_is_borrowed_and_unchanged() {
        for text in ["", "debian-13.iso", "Дебиан, 日本語, é e\u{301}, 👍", "a b~!@#$%^&*()\"'<>"]
        {
            assert!(matches!(sanitize(text), Cow::Borrowed(same) if same == text));
        }
    }

    #[test]
    fn what_steers_a_terminal_is_replaced_one_for_one() {
        check("\x1b[2Jboo", "\u{fffd}[2Jboo");
        check("a\r\n\tb\x00\x7f", "a\u{fffd}\u{fffd}\u{fffd}b\u{fffd}\u{fffd}");
        check("\u{9b}31m", "\u{fffd}31m");
        check("a\u{2028}b\u{2029}", "a\u{fffd}b\u{fffd}");
    }

    #[test]
    fn what_reorders_or_hides_is_replaced() {
        check("gpj\u{202e}exe", "gpj\u{fffd}exe");
        for c in "\u{200b}\u{200c}\u{200d}\u{200e}\u{200f}\u{202a}\u{202e}\u{2066}\u{2069}\u{feff}\u{61c}\u{e0041}\u{ad}".chars() {
            check(&format!("a{c}b"), "a\u{fffd}b");
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_are_shown_as_replacement_characters() {
        assert_eq!(sanitize_bytes(b"a\xff\x1bb"), "a\u{fffd}\u{fffd}b");
        assert_eq!(sanitize_bytes(b"a\xffb"), "a\u{fffd}b");
    }

    #[test]
    fn a_url_in_a_log_says_whom_but_not_with_which_key() {
        for (url, shown) in [
            ("http://tracker.example:6969/announce", "http://tracker.example:6969/announce"),
            ("udp://[2001:db8::1]:80", "udp://[2001:db8::1]:80"),
            ("https://t.example/0123456789abcdef/announce", "https://t.example/***/announce"),
            ("https://t.example/announce.php?passkey=secret&x=1", "https://t.example/announce.php?***"),
            ("https://t.example?passkey=secret", "https://t.example?***"),
            ("https://ann:pa@ss@t.example/", "https://***@t.example/"),
            ("https://t.example/short#secret", "https://t.example/***?***"),
            ("secret", "***"),
            ("http://t.example\x1b[31m/", "http://t.example\u{fffd}[31m/"),
        ] {
            assert_eq!(redact_url(url), shown);
        }
    }

    proptest! {
        #[test]
        fn sanitized_text_is_harmless_and_stays_what_it_is(text in any::<String>()) {
            let clean = sanitize(&text).into_owned();
            prop_assert!(!clean.contains(is_harmful));
            prop_assert_eq!(clean.chars().count(), text.chars().count());
            prop_assert!(matches!(sanitize(&clean), Cow::Borrowed(_)));
        }

        #[test]
        fn any_bytes_can_be_shown(bytes in any::<Vec<u8>>()) {
            prop_assert!(!sanitize_bytes(&bytes).contains(is_harmful));
        }

        #[test]
        fn a_redacted_url_never_contains_the_key(key in "[A-Za-z0-9]{20,40}", place in 0..4_usize) {
            let url = match place {
                0 => format!("https://t.example/{key}/announce"),
                1 => format!("https://t.example/announce?k={key}"),
                2 => format!("https://{key}:x@t.example/announce"),
                _ => format!("https://t.example/announce#{key}"),
            };
            prop_assert!(!redact_url(&url).contains(&key));
        }
    }
}
