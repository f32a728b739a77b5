//! One line of a list.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str;

use crate::ranges::of_prefix;

/// Access levels below this mean that the addresses are blocked (eMule's `ipfilter.dat`).
const ALLOWED_MIN: u32 = 128;

/// What a line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line {
    /// Nothing: it is blank or a comment.
    Nothing,
    /// These addresses, first and last, are allowed by their access level.
    Allowed,
    V4(u32, u32),
    V6(u128, u128),
}

/// Reads a line without its end. `None`: it makes no sense.
pub(crate) fn parse(line: &[u8]) -> Option<Line> {
    let line = line.trim_ascii();
    if line.is_empty() || line.starts_with(b"#") || line.starts_with(b"//") || line.starts_with(b";") {
        return Some(Line::Nothing);
    }
    prefix(line).or_else(|| dat(line)).or_else(|| p2p(line))
}

/// `192.0.2.0/24`, `2001:db8::/32` or one address, perhaps with a comment behind.
fn prefix(line: &[u8]) -> Option<Line> {
    let end = line.iter().position(|byte| byte.is_ascii_whitespace() || matches!(byte, b'#' | b';'));
    let (word, rest) = line.split_at(end.unwrap_or(line.len()));
    let rest = rest.trim_ascii();
    if !(rest.is_empty() || rest.starts_with(b"#") || rest.starts_with(b";") || rest.starts_with(b"//")) {
        return None;
    }
    let Some(slash) = word.iter().position(|byte| *byte == b'/') else {
        let address = address(word)?;
        return range(address, address);
    };
    let (address, length) = (address(&word[..slash])?, number(&word[slash + 1..], 3)?);
    match address {
        IpAddr::V4(address) => {
            let found = of_prefix(u128::from(u32::from(address)), 32, length)?;
            Some(Line::V4(u32::try_from(*found.start()).ok()?, u32::try_from(*found.end()).ok()?))
        }
        IpAddr::V6(address) => {
            let found = of_prefix(u128::from(address), 128, length)?;
            range(Ipv6Addr::from(*found.start()).into(), Ipv6Addr::from(*found.end()).into())
        }
    }
}

/// `001.002.003.004 - 001.002.003.255 , 100 , words`; the words may be missing.
fn dat(line: &[u8]) -> Option<Line> {
    let mut fields = line.split(|byte| *byte == b',');
    let (found, level) = (span(fields.next()?)?, fields.next()?);
    let level = number(level.trim_ascii(), 9)?;
    Some(if level < ALLOWED_MIN { found } else { Line::Allowed })
}

/// `words:1.2.3.4-1.2.3.255`, or the addresses alone. There may be colons and dashes in the words, and where the addresses
/// have colons too, the narrowest range is meant: a word before them, or one of their groups left out, makes it huge.
fn p2p(line: &[u8]) -> Option<Line> {
    let colons = line.iter().enumerate().filter(|(_, byte)| **byte == b':').map(|(at, _)| at + 1);
    let spans = std::iter::once(0).chain(colons).filter_map(|start| span(&line[start..]));
    spans.min_by_key(|span| match *span {
        Line::V4(first, last) => u128::from(last - first),
        Line::V6(first, last) => last - first,
        Line::Nothing | Line::Allowed => 0,
    })
}

/// Two addresses with a dash between them.
fn span(text: &[u8]) -> Option<Line> {
    let dash = text.iter().position(|byte| *byte == b'-')?;
    range(address(text[..dash].trim_ascii())?, address(text[dash + 1..].trim_ascii())?)
}

/// Both ends are of one family, and in order.
fn range(first: IpAddr, last: IpAddr) -> Option<Line> {
    match (first.to_canonical(), last.to_canonical()) {
        (IpAddr::V4(first), IpAddr::V4(last)) if first <= last => Some(Line::V4(first.into(), last.into())),
        (IpAddr::V6(_), _) | (_, IpAddr::V6(_)) => match (first, last) {
            // A range that is larger than all of IPv4 has mapped addresses in it; the filter takes them apart.
            (IpAddr::V6(first), IpAddr::V6(last)) if first <= last => {
                Some(Line::V6(first.into(), last.into()))
            }
            _ => None,
        },
        _ => None,
    }
}

fn address(text: &[u8]) -> Option<IpAddr> {
    if text.contains(&b':') {
        return str::from_utf8(text).ok()?.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    }
    let mut parts = text.split(|byte| *byte == b'.');
    let mut octets = [0; 4];
    for octet in &mut octets {
        // Lists have leading zeros, and mean decimal numbers.
        *octet = u8::try_from(number(parts.next()?, 3)?).ok()?;
    }
    parts.next().is_none().then_some(IpAddr::V4(Ipv4Addr::from(octets)))
}

fn number(text: &[u8], digits_max: usize) -> Option<u32> {
    if text.is_empty() || digits_max < text.len() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(text.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0')))
}
