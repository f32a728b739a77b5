//! The outermost layer of a KRPC message (BEP 5), read on its own so that the code under test is not its own judge.

/// What any message says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head<'a> {
    /// `q`, `r` or `e`.
    pub(super) kind: u8,
    /// Chosen by who asks, repeated by who answers.
    pub(super) transaction: &'a [u8],
    /// The name of the query; empty in an answer.
    pub(super) query: &'a [u8],
}

/// `None` when it is no message.
pub(super) fn head(bytes: &[u8]) -> Option<Head<'_>> {
    let (mut kind, mut transaction, mut query) = (None, None, &[][..]);
    let mut rest = bytes.strip_prefix(b"d")?;
    while rest.first().is_some_and(|byte| *byte != b'e') {
        let key;
        (key, rest) = string(rest)?;
        match key {
            b"y" => kind = string(rest)?.0.first().copied(),
            b"t" => transaction = Some(string(rest)?.0),
            b"q" => query = string(rest)?.0,
            _ => {}
        }
        rest = skip(rest)?;
    }
    Some(Head { kind: kind?, transaction: transaction?, query })
}

/// The value of the string that follows the first `key`, wherever that is: for messages that we trust to be no trap.
pub(super) fn value_of<'a>(bytes: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let at = bytes.windows(key.len()).position(|window| window == key)?;
    Some(string(&bytes[at + key.len()..])?.0)
}

/// A string and what is behind it.
fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = bytes.iter().take(5).position(|byte| *byte == b':')?;
    let length = std::str::from_utf8(&bytes[..colon]).ok()?.parse().ok()?;
    bytes[colon + 1..].split_at_checked(length)
}

/// What is behind the value at the front.
fn skip(mut bytes: &[u8]) -> Option<&[u8]> {
    let mut depth = 0;
    loop {
        match bytes.first()? {
            b'd' | b'l' => {
                depth += 1;
                bytes = &bytes[1..];
            }
            b'e' => {
                depth -= 1;
                bytes = &bytes[1..];
            }
            b'i' => {
                let end = bytes.iter().position(|byte| *byte == b'e')?;
                bytes = &bytes[end + 1..];
            }
            _ => bytes = string(bytes)?.1,
        }
        if depth <= 0 {
            return Some(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_examples_of_bep_5_are_read() {
        let ping = b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe";
        assert_eq!(head(ping), Some(Head { kind: b'q', transaction: b"aa", query: b"ping" }));
        let answer =
            b"d1:rd2:id20:abcdefghij01234567895:token8:aoeusnth6:valuesl6:axje.u6:idhtnmee1:t2:ab1:y1:re";
        assert_eq!(head(answer), Some(Head { kind: b'r', transaction: b"ab", query: b"" }));
        assert_eq!(value_of(answer, b"5:token").unwrap(), b"aoeusnth");
        assert_eq!(head(b"d1:eli201e4:oopse1:t2:aa1:y1:ee").unwrap().kind, b'e');
        assert_eq!(head(b"d1:t2:aa"), None);
    }
}
