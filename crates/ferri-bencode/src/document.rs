//! The token tape and the views of it.

use std::ops::Range;

use crate::error::{Error, ErrorKind};
use crate::parse::{Rules, parse};

/// A list or dictionary: where it begins and ends in the input. Its kind is its first byte.
///
/// They stand on the tape in the order of their starts, so what follows one is found by its end. Strings and integers
/// are not on it: they say themselves where they end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Container {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

/// The bytes of the string that begins at `at`, in input that was parsed.
pub(crate) fn string(input: &[u8], at: usize) -> &[u8] {
    &input[string_bytes(input, at)]
}

fn string_bytes(input: &[u8], at: usize) -> Range<usize> {
    let (mut from, mut length) = (at, 0);
    while input[from] != b':' {
        length = length * 10 + usize::from(input[from] - b'0');
        from += 1;
    }
    from + 1..from + 1 + length
}

/// A place between two values of input that was parsed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor {
    /// In the input.
    pub(crate) at: usize,
    /// On the tape: the first container that begins at `at` or behind it.
    pub(crate) next: usize,
}

impl Cursor {
    /// Where the value here ends.
    fn end(self, input: &[u8], tape: &[Container]) -> usize {
        match input[self.at] {
            b'l' | b'd' => tape[self.next].end as usize,
            b'i' => self.at + input[self.at..].iter().take_while(|byte| **byte != b'e').count() + 1,
            _ => string_bytes(input, self.at).end,
        }
    }

    /// Moves behind the value here.
    pub(crate) fn skip(&mut self, input: &[u8], tape: &[Container]) {
        let end = self.end(input, tape);
        if matches!(input[self.at], b'l' | b'd') {
            self.next = behind(tape, self.next, end);
        }
        self.at = end;
    }
}

/// The first container on the tape that begins at `end` or behind it, given that `index` is the one that ends there.
fn behind(tape: &[Container], index: usize, end: usize) -> usize {
    let before = |container: &Container| (container.start as usize) < end;
    // Most containers have few others in them: gallop, then halve.
    let mut step = 1;
    let mut low = index + 1;
    while low + step <= tape.len() && before(&tape[low + step - 1]) {
        low += step;
        step *= 2;
    }
    let high = (low + step).min(tape.len());
    low + tape[low..high].partition_point(before)
}

/// A parsed document. Borrows the input; 8 bytes for each list and dictionary.
#[derive(Clone, Debug)]
pub struct Document<'a> {
    input: &'a [u8],
    tape: Vec<Container>,
    irregularities: Vec<Error>,
}

impl<'a> Document<'a> {
    /// The whole input is one value in its only correct form.
    ///
    /// # Errors
    /// Anything BEP 3 does not allow, unsorted or duplicate keys included, and what passes the limits of this crate.
    pub fn parse(input: &'a [u8]) -> Result<Self, Error> {
        let (document, consumed) = Self::first(input, Rules::Canonical)?;
        document.whole(consumed)
    }

    /// Like [`Document::parse`], but keys that are not sorted are only reported, by [`Document::irregularities`].
    ///
    /// # Errors
    /// As for [`Document::parse`], unsorted keys excepted.
    pub fn parse_lenient(input: &'a [u8]) -> Result<Self, Error> {
        let (document, consumed) = Self::first(input, Rules::Lenient)?;
        document.whole(consumed)
    }

    /// The first value of the input, leniently, and how many bytes it took: messages of BEP 9 have data behind it.
    ///
    /// # Errors
    /// As for [`Document::parse_lenient`]; data behind the value is not an error.
    pub fn parse_prefix(input: &'a [u8]) -> Result<(Self, usize), Error> {
        Self::first(input, Rules::Lenient)
    }

    /// As [`Document::parse_prefix`], for files that people keep: everything is taken that leaves no doubt about where a
    /// value ends. Doubled keys (the first one counts), numbers with leading zeros, negative zero and integers beyond 64
    /// bits ([`Value::as_int`] has none for them) are reported by [`Document::irregularities`].
    ///
    /// # Errors
    /// As for [`Document::parse_prefix`], without what is reported.
    pub fn parse_tolerant(input: &'a [u8]) -> Result<(Self, usize), Error> {
        Self::first(input, Rules::Tolerant)
    }

    fn first(input: &'a [u8], rules: Rules) -> Result<(Self, usize), Error> {
        let parsed = parse(input, rules)?;
        Ok((Self { input, tape: parsed.tape, irregularities: parsed.irregularities }, parsed.consumed))
    }

    fn whole(self, consumed: usize) -> Result<Self, Error> {
        if consumed < self.input.len() {
            return Err(Error { offset: consumed, kind: ErrorKind::TrailingData });
        }
        Ok(self)
    }

    /// The value that the document is.
    pub fn root(&self) -> Value<'_> {
        Value { input: self.input, tape: &self.tape, here: Cursor { at: 0, next: 0 } }
    }

    /// What was taken although it is not in its only correct form, the first
    /// [`IRREGULARITIES_MAX`](crate::IRREGULARITIES_MAX) of it. Empty after a strict parse.
    pub fn irregularities(&self) -> &[Error] {
        &self.irregularities
    }
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A string of bytes.
    Bytes,
    /// An integer.
    Int,
    /// A list.
    List,
    /// A dictionary.
    Dict,
}

/// One value of a [`Document`].
#[derive(Clone, Copy)]
pub struct Value<'d> {
    input: &'d [u8],
    tape: &'d [Container],
    here: Cursor,
}

impl<'d> Value<'d> {
    /// Before the first value inside of this one, which is a list or dictionary.
    fn inside(self) -> Cursor {
        Cursor { at: self.here.at + 1, next: self.here.next + 1 }
    }

    /// Takes the value at a place inside of this one and moves behind it. `None` at the end.
    fn take(self, cursor: &mut Cursor) -> Option<Self> {
        if self.input[cursor.at] == b'e' {
            return None;
        }
        let value = Self { here: *cursor, ..self };
        cursor.skip(self.input, self.tape);
        Some(value)
    }

    /// What this value is.
    pub fn kind(self) -> Kind {
        match self.input[self.offset()] {
            b'i' => Kind::Int,
            b'l' => Kind::List,
            b'd' => Kind::Dict,
            _ => Kind::Bytes,
        }
    }

    /// Where its encoding begins, in bytes from the start of the input.
    pub fn offset(self) -> usize {
        self.here.at
    }

    /// Where its encoding lies in the input.
    pub fn span(self) -> Range<usize> {
        self.here.at..self.here.end(self.input, self.tape)
    }

    /// Its encoding, exactly as it was received.
    pub fn raw(self) -> &'d [u8] {
        &self.input[self.span()]
    }

    /// The bytes of a string. `None` for other kinds.
    pub fn as_bytes(self) -> Option<&'d [u8]> {
        (self.kind() == Kind::Bytes).then(|| string(self.input, self.here.at))
    }

    /// A string that is UTF-8. `None` for other kinds and other bytes.
    pub fn as_str(self) -> Option<&'d str> {
        self.as_bytes().and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    /// An integer. `None` for other kinds, and beyond 64 bits.
    pub fn as_int(self) -> Option<i64> {
        let digits = self.raw().strip_prefix(b"i")?.strip_suffix(b"e")?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    }

    /// A list. `None` for other kinds.
    pub fn as_list(self) -> Option<List<'d>> {
        (self.kind() == Kind::List).then_some(List { value: self })
    }

    /// A dictionary. `None` for other kinds.
    pub fn as_dict(self) -> Option<Dict<'d>> {
        (self.kind() == Kind::Dict).then_some(Dict { value: self })
    }
}

impl std::fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} at {:?}", self.kind(), self.span())
    }
}

/// A list of a [`Document`].
#[derive(Clone, Copy, Debug)]
pub struct List<'d> {
    value: Value<'d>,
}

impl<'d> List<'d> {
    /// Its values in order.
    pub fn iter(self) -> ListIter<'d> {
        ListIter { value: self.value, cursor: self.value.inside() }
    }

    /// How many values it has. Counts them.
    pub fn len(self) -> usize {
        self.iter().count()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(self) -> bool {
        self.iter().next().is_none()
    }

    /// The list as a value.
    pub fn value(self) -> Value<'d> {
        self.value
    }
}

impl<'d> IntoIterator for List<'d> {
    type Item = Value<'d>;
    type IntoIter = ListIter<'d>;

    fn into_iter(self) -> ListIter<'d> {
        self.iter()
    }
}

/// The values of a [`List`].
#[derive(Clone, Debug)]
pub struct ListIter<'d> {
    value: Value<'d>,
    cursor: Cursor,
}

impl<'d> Iterator for ListIter<'d> {
    type Item = Value<'d>;

    fn next(&mut self) -> Option<Value<'d>> {
        self.value.take(&mut self.cursor)
    }
}

/// A dictionary of a [`Document`].
#[derive(Clone, Copy, Debug)]
pub struct Dict<'d> {
    value: Value<'d>,
}

impl<'d> Dict<'d> {
    /// The value of a key. Looks at the keys one by one.
    pub fn get(self, key: &[u8]) -> Option<Value<'d>> {
        self.iter().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// Keys and values in the order of the input.
    pub fn iter(self) -> DictIter<'d> {
        DictIter { value: self.value, cursor: self.value.inside() }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(self) -> bool {
        self.iter().next().is_none()
    }

    /// The dictionary as a value.
    pub fn value(self) -> Value<'d> {
        self.value
    }
}

impl<'d> IntoIterator for Dict<'d> {
    type Item = (&'d [u8], Value<'d>);
    type IntoIter = DictIter<'d>;

    fn into_iter(self) -> DictIter<'d> {
        self.iter()
    }
}

/// The keys and values of a [`Dict`].
#[derive(Clone, Debug)]
pub struct DictIter<'d> {
    value: Value<'d>,
    cursor: Cursor,
}

impl<'d> Iterator for DictIter<'d> {
    type Item = (&'d [u8], Value<'d>);

    fn next(&mut self) -> Option<(&'d [u8], Value<'d>)> {
        let key = self.value.take(&mut self.cursor)?;
        let value = self.value.take(&mut self.cursor)?;
        Some((string(key.input, key.here.at), value))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn values_are_found_with_their_spans() {
        let input = b"d1:ai-42e1:bl4:spamle3:egge1:cd1:xi0eee";
        let document = Document::parse(input).unwrap();
        let root = document.root().as_dict().unwrap();
        let keys: Vec<_> = root.iter().map(|(key, value)| (key, value.kind())).collect();
        assert_eq!(keys, [(&b"a"[..], Kind::Int), (b"b", Kind::List), (b"c", Kind::Dict)]);
        let list = root.get(b"b").unwrap();
        assert_eq!((list.span(), list.raw()), (12..27, &b"l4:spamle3:egge"[..]));
        let list = list.as_list().unwrap();
        assert_eq!(list.iter().map(Value::raw).collect::<Vec<_>>(), [&b"4:spam"[..], b"le", b"3:egg"]);
        assert_eq!((list.len(), list.is_empty()), (3, false));
        assert_eq!(root.get(b"a").unwrap().as_int(), Some(-42));
        assert_eq!(root.get(b"c").unwrap().as_dict().unwrap().get(b"x").unwrap().as_int(), Some(0));
        assert!(root.get(b"d").is_none());
    }

    #[test]
    fn a_value_is_of_one_kind_only() {
        let document = Document::parse(b"l1:1i1eledee").unwrap();
        let is = |value: Value<'_>| {
            let (bytes, int) = (value.as_bytes().is_some(), value.as_int().is_some());
            (bytes, int, value.as_list().is_some(), value.as_dict().is_some())
        };
        let kinds: Vec<_> = document.root().as_list().unwrap().iter().map(is).collect();
        let (yes, no) = (true, false);
        assert_eq!(kinds, [(yes, no, no, no), (no, yes, no, no), (no, no, yes, no), (no, no, no, yes)]);
        assert_eq!(Document::parse(b"2:\xff\xfe").unwrap().root().as_str(), None);
    }

    #[test]
    fn strings_of_every_head_length_keep_their_bytes() {
        for length in [0, 1, 9, 10, 11, 99, 100, 101, 999, 1000, 9999, 10_000, 10_001, 100_000, 1_000_000] {
            let text = vec![b'x'; length];
            let input = [length.to_string().as_bytes(), b":", &text].concat();
            let document = Document::parse(&input).unwrap();
            assert_eq!(document.root().as_bytes(), Some(&text[..]), "{length}");
        }
    }

    #[test]
    fn integers_reach_both_ends_of_their_range() {
        for value in [0, 1, -1, 1 << 31, 1 << 53, i64::MAX, i64::MIN] {
            let input = format!("i{value}e");
            assert_eq!(Document::parse(input.as_bytes()).unwrap().root().as_int(), Some(value));
        }
    }
}
