//! Magnet links as they come out of mails, chats, pages and other programs: where the link is in the text, and how often
//! its parts were percent-encoded.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// Times that a link can have been percent-encoded on its way: once as it should be, and by two programs that passed it on.
const ROUNDS_MAX: u32 = 3;

/// What stands around a link that was copied with its surroundings.
const AROUND: [char; 5] = ['"', '\'', '<', '>', '`'];

/// The parameters of a link. `None` when the text is none.
pub(super) fn query(text: &str) -> Option<Cow<'_, str>> {
    let text = text.trim_matches(is_blank);
    let text = match text.starts_with(AROUND) {
        true => text.trim_matches(|c: char| is_blank(c) || AROUND.contains(&c)),
        false => text,
    };
    let mut link = Cow::Borrowed(text);
    for _ in 0..ROUNDS_MAX {
        if let Some(query) = plain_query(&link) {
            return Some(query.into_owned().into());
        }
        let scheme = link.get(..SCHEME_BYTES).unwrap_or(&link);
        if !scheme.contains('%') {
            return None;
        }
        let decoded = decode(&link, 1).into_owned();
        link = Cow::Owned(decoded);
    }
    None
}

/// White space, and the mark that some editors begin a file with.
fn is_blank(c: char) -> bool {
    c.is_whitespace() || c == '\u{feff}'
}

/// An escaped colon is to be found here, if the text is an escaped link.
const SCHEME_BYTES: usize = 16;

/// The parameters of a link whose beginning is not encoded.
fn plain_query(link: &str) -> Option<Cow<'_, str>> {
    if ["urn:btih:", "urn:btmh:"].iter().any(|urn| strip_prefix_ignore_case(link, urn).is_some()) {
        return Some(Cow::Owned(format!("xt={link}")));
    }
    let rest = strip_prefix_ignore_case(link, "magnet:")?;
    let rest = rest.trim_start_matches('/');
    // `magnet:%3Fxt%3D...` and `magnet:?xt%3D...`: all behind the scheme was encoded.
    let is_encoded = !rest.contains('=')
        && strip_prefix_ignore_case(rest.trim_start_matches('?'), "xt%").is_some()
        || strip_prefix_ignore_case(rest, "%3f").is_some();
    let rest = if is_encoded { Cow::Owned(decode(rest, 1).into_owned()) } else { Cow::Borrowed(rest) };
    match rest.strip_prefix('?') {
        Some(query) => Some(Cow::Owned(query.to_owned())),
        None if rest.contains('=') => Some(rest),
        None => None,
    }
}

/// An `xt`, and how often it was percent-encoded.
pub(super) fn topic(value: &str) -> (Cow<'_, str>, u32) {
    let is_urn = |topic: &str| strip_prefix_ignore_case(topic.trim_start(), "urn:").is_some();
    for rounds in 1..=ROUNDS_MAX {
        let topic = decode(value, rounds);
        if is_urn(&topic) {
            return (Cow::Owned(topic.trim().to_owned()), rounds);
        }
    }
    (decode(value, 1), 1)
}

/// A URL: decoded until it is one.
pub(super) fn url(value: &str, rounds: u32) -> Cow<'_, str> {
    let found = (rounds..=ROUNDS_MAX).map(|rounds| decode(value, rounds)).find(|url| url.contains("://"));
    found.unwrap_or_else(|| decode(value, rounds))
}

/// The digits at the start of what follows `urn:btih:`; blanks, slashes and whatever a page put behind them are not of
/// the hash.
pub(super) fn digits(text: &str) -> &str {
    let text = text.trim_start();
    let end = text.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(text.len());
    &text[..end]
}

/// `tr.1` is `tr`, `amp;dn` is `dn`, `XT` is `xt`.
pub(super) fn parameter_name(name: &str) -> Cow<'_, str> {
    let name = name.trim();
    // What is left of `&amp;` and of its other spellings.
    let entity =
        ["amp;", "#38;", "#038;", "#x26;"].iter().find_map(|entity| strip_prefix_ignore_case(name, entity));
    let name = entity.unwrap_or(name);
    let name = match name.rsplit_once('.') {
        Some((stem, number)) if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) => stem,
        _ => name,
    };
    if name.bytes().any(|b| b.is_ascii_uppercase()) { name.to_ascii_lowercase().into() } else { name.into() }
}

pub(super) fn strip_prefix_ignore_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// What is not UTF-8 once decoded shows replacement characters: nothing but names and URLs gets that far.
pub(super) fn decode(value: &str, rounds: u32) -> Cow<'_, str> {
    let mut decoded = percent_decode_str(value).decode_utf8_lossy();
    for _ in 1..rounds {
        decoded = Cow::Owned(percent_decode_str(&decoded).decode_utf8_lossy().into_owned());
    }
    decoded
}
