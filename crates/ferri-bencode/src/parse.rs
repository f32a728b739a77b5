//! From bytes to the tape of containers. One loop, a fixed stack, no recursion.

use crate::document::{self, Container, Cursor};
use crate::error::{Error, ErrorKind};
use crate::{CONTAINERS_MAX, DEPTH_MAX, INPUT_MAX, IRREGULARITIES_MAX};

/// How strictly a document is taken. Each takes what those above it take.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rules {
    /// The only correct form.
    Canonical,
    /// Unsorted keys are reported.
    Lenient,
    /// Everything is reported that leaves no doubt about where a value ends: also doubled keys, leading zeros, negative
    /// zero, and integers beyond 64 bits.
    Tolerant,
}

/// Digits of a number that is tolerated. Every look at what stands behind it passes over all of them.
const NUMBER_DIGITS_MAX: usize = 1024;

/// What a successful run leaves behind.
pub(crate) struct Parsed {
    pub(crate) tape: Vec<Container>,
    pub(crate) irregularities: Vec<Error>,
    /// Bytes up to the end of the first value.
    pub(crate) consumed: usize,
}

/// Reads the first value of `input`.
pub(crate) fn parse(input: &[u8], rules: Rules) -> Result<Parsed, Error> {
    if INPUT_MAX < input.len() {
        return Err(Error { offset: INPUT_MAX, kind: ErrorKind::InputTooLong });
    }
    let mut parser = Parser {
        input,
        rules,
        at: 0,
        tape: Vec::new(),
        tape_max: tape_max(input.len()),
        stack: [Open::default(); DEPTH_MAX],
        depth: 0,
        irregularities: Vec::new(),
    };
    parser.run()?;
    Ok(Parsed { tape: parser.tape, irregularities: parser.irregularities, consumed: parser.at })
}

/// Containers that a document of this many bytes may have.
///
/// One takes 2 bytes at least (`le`) and costs us 8, but what means something averages 10 and more. The bound keeps the
/// tape below one and a half times the input, so that parsing stays within the memory that is promised.
fn tape_max(input_len: usize) -> usize {
    CONTAINERS_MAX.min(4096 + input_len / 6)
}

/// A list or dictionary whose end has not been seen.
#[derive(Clone, Copy, Default)]
struct Open {
    /// Its place on the tape.
    index: u32,
    state: State,
    /// Where its latest key stands in the input. Empty before the first.
    key: (u32, u32),
    /// Some key was out of order, so duplicates must be looked for at the end.
    unsorted: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    List,
    /// A dictionary before its first key.
    FirstKey,
    /// A dictionary before a key or its end.
    Key,
    /// A dictionary after a key.
    Value,
}

struct Parser<'a> {
    input: &'a [u8],
    rules: Rules,
    at: usize,
    tape: Vec<Container>,
    tape_max: usize,
    stack: [Open; DEPTH_MAX],
    /// How many of `stack` are open.
    depth: usize,
    irregularities: Vec<Error>,
}

impl Parser<'_> {
    fn run(&mut self) -> Result<(), Error> {
        loop {
            let byte = self.peek()?;
            match (byte, self.state()) {
                (b'e', Some(_)) => self.close()?,
                (_, Some(State::FirstKey | State::Key)) => self.key(byte)?,
                (b'i', _) => self.integer()?,
                (b'0'..=b'9', _) => {
                    self.string()?;
                    self.value_ended();
                }
                (b'l', _) => self.open(State::List)?,
                (b'd', _) => self.open(State::FirstKey)?,
                _ => return self.fail(self.at, ErrorKind::UnexpectedByte(byte)),
            }
            if self.depth == 0 {
                return Ok(());
            }
        }
    }

    fn state(&self) -> Option<State> {
        self.depth.checked_sub(1).map(|top| self.stack[top].state)
    }

    fn peek(&self) -> Result<u8, Error> {
        self.input.get(self.at).copied().ok_or(Error { offset: self.at, kind: ErrorKind::UnexpectedEnd })
    }

    fn fail<T>(&self, offset: usize, kind: ErrorKind) -> Result<T, Error> {
        Err(Error { offset, kind })
    }

    fn open(&mut self, state: State) -> Result<(), Error> {
        if self.depth == DEPTH_MAX {
            return self.fail(self.at, ErrorKind::TooDeep);
        }
        if self.tape.len() == self.tape_max {
            return self.fail(self.at, ErrorKind::TooManyContainers);
        }
        if self.tape.len() == self.tape.capacity() {
            // Doubling, but never past what this document may have.
            self.tape.reserve_exact(self.tape.len().max(16).min(self.tape_max - self.tape.len()));
        }
        let index = narrow(self.tape.len());
        self.tape.push(Container { start: narrow(self.at), end: narrow(self.at) });
        self.stack[self.depth] = Open { index, state, key: (0, 0), unsorted: false };
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    fn close(&mut self) -> Result<(), Error> {
        let open = self.stack[self.depth - 1];
        if open.state == State::Value {
            return self.fail(self.at, ErrorKind::MissingValue);
        }
        self.at += 1;
        self.tape[open.index as usize].end = narrow(self.at);
        if open.unsorted {
            self.find_duplicates(open.index as usize)?;
        }
        self.depth -= 1;
        self.value_ended();
        Ok(())
    }

    /// A value is complete: a dictionary waits for its next key.
    fn value_ended(&mut self) {
        if let Some(top) = self.depth.checked_sub(1)
            && self.stack[top].state == State::Value
        {
            self.stack[top].state = State::Key;
        }
    }

    fn key(&mut self, byte: u8) -> Result<(), Error> {
        let start = self.at;
        if !byte.is_ascii_digit() {
            let known = matches!(byte, b'i' | b'l' | b'd');
            let kind = if known { ErrorKind::KeyNotString } else { ErrorKind::UnexpectedByte(byte) };
            return self.fail(start, kind);
        }
        let (from, to) = self.string()?;
        let top = self.depth - 1;
        let Open { state, key: (last_from, last_to), .. } = self.stack[top];
        if state == State::Key {
            let last = &self.input[last_from as usize..last_to as usize];
            match last.cmp(&self.input[from..to]) {
                std::cmp::Ordering::Less => {}
                std::cmp::Ordering::Equal => {
                    self.irregular(start, ErrorKind::DuplicateKey, Rules::Tolerant)?;
                }
                std::cmp::Ordering::Greater => {
                    self.irregular(start, ErrorKind::UnsortedKeys, Rules::Lenient)?;
                    self.stack[top].unsorted = true;
                }
            }
        }
        self.stack[top].key = (narrow(from), narrow(to));
        self.stack[top].state = State::Value;
        Ok(())
    }

    /// What only documents that are taken by `rules` or more tolerant ones may have.
    fn irregular(&mut self, offset: usize, kind: ErrorKind, rules: Rules) -> Result<(), Error> {
        if self.rules < rules {
            return self.fail(offset, kind);
        }
        if self.irregularities.len() < IRREGULARITIES_MAX {
            self.irregularities.push(Error { offset, kind });
        }
        Ok(())
    }

    /// Unsorted keys can hide duplicates that are not neighbours.
    fn find_duplicates(&mut self, dict: usize) -> Result<(), Error> {
        let mut keys: Vec<u32> = Vec::new();
        let mut cursor = Cursor { at: self.tape[dict].start as usize + 1, next: dict + 1 };
        while self.input[cursor.at] != b'e' {
            keys.push(narrow(cursor.at));
            cursor.skip(self.input, &self.tape);
            cursor.skip(self.input, &self.tape);
        }
        let input = self.input;
        let text = |at: &u32| document::string(input, *at as usize);
        keys.sort_unstable_by(|a, b| text(a).cmp(text(b)).then(a.cmp(b)));
        let twice = keys.windows(2).find(|pair| text(&pair[0]) == text(&pair[1]));
        twice
            .map_or(Ok(()), |pair| self.irregular(pair[1] as usize, ErrorKind::DuplicateKey, Rules::Tolerant))
    }

    fn integer(&mut self) -> Result<(), Error> {
        let start = self.at;
        let negative = self.input.get(start + 1) == Some(&b'-');
        let first = start + 1 + usize::from(negative);
        let mut at = first;
        // Counted downwards, for -2^63 has no positive counterpart. `None` once it is beyond 64 bits.
        let mut value: Option<i64> = Some(0);
        loop {
            let byte = self.digit(at, b'e')?;
            let Some(digit) = byte else { break };
            if at == first + 1 && self.input[first] == b'0' {
                self.irregular(first, ErrorKind::LeadingZero, Rules::Tolerant)?;
            }
            value = value.and_then(|value| value.checked_mul(10)?.checked_sub(i64::from(digit)));
            if value.is_none() && self.rules < Rules::Tolerant || NUMBER_DIGITS_MAX <= at - first {
                return self.fail(start, ErrorKind::Overflow);
            }
            at += 1;
        }
        if at == first {
            return self.fail(at, ErrorKind::MissingDigits);
        }
        if negative && value == Some(0) {
            self.irregular(start, ErrorKind::NegativeZero, Rules::Tolerant)?;
        }
        if value.is_none() || !negative && value == Some(i64::MIN) {
            self.irregular(start, ErrorKind::Overflow, Rules::Tolerant)?;
        }
        self.at = at + 1;
        self.value_ended();
        Ok(())
    }

    /// The digit at a place of a number. `None`: the number ends there, by `end`.
    fn digit(&self, at: usize, end: u8) -> Result<Option<u8>, Error> {
        match self.input.get(at) {
            None => self.fail(at, ErrorKind::UnexpectedEnd),
            Some(byte) if *byte == end => Ok(None),
            Some(byte) if byte.is_ascii_digit() => Ok(Some(byte - b'0')),
            Some(byte) => self.fail(at, ErrorKind::UnexpectedByte(*byte)),
        }
    }

    /// Takes a string; where its bytes are.
    fn string(&mut self) -> Result<(usize, usize), Error> {
        let start = self.at;
        let mut at = start;
        let mut length: usize = 0;
        while let Some(digit) = self.digit(at, b':')? {
            if at == start + 1 && self.input[start] == b'0' {
                self.irregular(start, ErrorKind::LeadingZero, Rules::Tolerant)?;
            }
            let next = length.checked_mul(10).and_then(|n| n.checked_add(usize::from(digit)));
            let next = next.filter(|_| at - start < NUMBER_DIGITS_MAX);
            let Some(next) = next else { return self.fail(start, ErrorKind::Overflow) };
            length = next;
            at += 1;
        }
        let from = at + 1;
        if self.input.len() - from < length {
            return self.fail(self.input.len(), ErrorKind::UnexpectedEnd);
        }
        self.at = from + length;
        Ok((from, from + length))
    }
}

fn narrow(n: usize) -> u32 {
    u32::try_from(n).expect("offsets were bounded by INPUT_MAX before parsing")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crate::{DEPTH_MAX, Document, Error, ErrorKind};

    fn check(input: &[u8], offset: usize, kind: ErrorKind) {
        let text = input.escape_ascii();
        let error = Document::parse(input).map(drop);
        assert_eq!(error, Err(Error { offset, kind }), "{text}");
        if !matches!(kind, ErrorKind::UnsortedKeys) {
            assert!(Document::parse_lenient(input).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_not_bencode_is_refused_with_its_reason_and_place() {
        check(b"", 0, ErrorKind::UnexpectedEnd);
        check(b"e", 0, ErrorKind::UnexpectedByte(b'e'));
        check(b"<html>", 0, ErrorKind::UnexpectedByte(b'<'));
        check(b"i1", 2, ErrorKind::UnexpectedEnd);
        check(b"i", 1, ErrorKind::UnexpectedEnd);
        check(b"i-", 2, ErrorKind::UnexpectedEnd);
        check(b"ie", 1, ErrorKind::MissingDigits);
        check(b"i-e", 2, ErrorKind::MissingDigits);
        check(b"i+1e", 1, ErrorKind::UnexpectedByte(b'+'));
        check(b"i 1e", 1, ErrorKind::UnexpectedByte(b' '));
        check(b"i1.5e", 2, ErrorKind::UnexpectedByte(b'.'));
        check(b"i--1e", 2, ErrorKind::UnexpectedByte(b'-'));
        check(b"i1-e", 2, ErrorKind::UnexpectedByte(b'-'));
        check(b"i03e", 1, ErrorKind::LeadingZero);
        check(b"i00e", 1, ErrorKind::LeadingZero);
        check(b"i-03e", 2, ErrorKind::LeadingZero);
        check(b"i-0e", 0, ErrorKind::NegativeZero);
        check(b"i9223372036854775808e", 0, ErrorKind::Overflow);
        check(b"i-9223372036854775809e", 0, ErrorKind::Overflow);
        check(b"i18446744073709551616e", 0, ErrorKind::Overflow);
        check(b"5:spam", 6, ErrorKind::UnexpectedEnd);
        check(b"4", 1, ErrorKind::UnexpectedEnd);
        check(b"4spam", 1, ErrorKind::UnexpectedByte(b's'));
        check(b"-1:a", 0, ErrorKind::UnexpectedByte(b'-'));
        check(b"04:spam", 0, ErrorKind::LeadingZero);
        check(b"00:", 0, ErrorKind::LeadingZero);
        check(b"18446744073709551615:a", 22, ErrorKind::UnexpectedEnd);
        check(b"18446744073709551616:a", 0, ErrorKind::Overflow);
        check(b"l", 1, ErrorKind::UnexpectedEnd);
        check(b"li1e", 4, ErrorKind::UnexpectedEnd);
        check(b"d", 1, ErrorKind::UnexpectedEnd);
        check(b"d1:a", 4, ErrorKind::UnexpectedEnd);
        check(b"d1:ae", 4, ErrorKind::MissingValue);
        check(b"di1e1:ae", 1, ErrorKind::KeyNotString);
        check(b"dle1:ae", 1, ErrorKind::KeyNotString);
        check(b"d-1:ai1ee", 1, ErrorKind::UnexpectedByte(b'-'));
        check(b"d1:bi1e1:ai1ee", 7, ErrorKind::UnsortedKeys);
        check(b"d1:ai1e0:i1ee", 7, ErrorKind::UnsortedKeys);
        check(b"d1:ai1e1:ai2ee", 7, ErrorKind::DuplicateKey);
        check(b"d0:i1e0:i2ee", 6, ErrorKind::DuplicateKey);
        check(b"i1ei2e", 3, ErrorKind::TrailingData);
        check(b"le\n", 2, ErrorKind::TrailingData);
    }

    #[test]
    fn unsorted_keys_are_reported_and_do_not_hide_duplicates() {
        let document = Document::parse_lenient(b"d1:bi1e1:ali2eee").unwrap();
        assert_eq!(document.irregularities(), [Error { offset: 7, kind: ErrorKind::UnsortedKeys }]);
        assert_eq!(document.root().as_dict().unwrap().get(b"b").unwrap().as_int(), Some(1));

        let hidden = Document::parse_lenient(b"d1:bi1e1:a1:x1:bi2ee").map(drop);
        assert_eq!(hidden, Err(Error { offset: 13, kind: ErrorKind::DuplicateKey }));
        let nested = Document::parse_lenient(b"d1:bd1:yle1:xdee1:ad1:b0:1:a0:ee").unwrap();
        assert_eq!(nested.irregularities().len(), 3);
    }

    #[test]
    fn what_leaves_no_doubt_is_tolerated_and_reported() {
        let huge = format!("i{}e", "9".repeat(1000));
        for (input, offset, kind) in [
            (&b"i007e"[..], 1, ErrorKind::LeadingZero),
            (b"i-0e", 0, ErrorKind::NegativeZero),
            (b"i9223372036854775808e", 0, ErrorKind::Overflow),
            (b"i-9223372036854775809e", 0, ErrorKind::Overflow),
            (huge.as_bytes(), 0, ErrorKind::Overflow),
            (b"004:spam", 0, ErrorKind::LeadingZero),
            (b"d1:ai1e1:ai2ee", 7, ErrorKind::DuplicateKey),
            (b"d1:ai1e1:bi1e1:ai2ee", 13, ErrorKind::UnsortedKeys),
        ] {
            let (document, consumed) = Document::parse_tolerant(input).unwrap();
            assert_eq!(document.irregularities()[0], Error { offset, kind });
            assert_eq!((document.root().span(), consumed), (0..input.len(), input.len()));
        }
        let int = |input: &[u8]| Document::parse_tolerant(input).unwrap().0.root().as_int();
        assert_eq!([int(b"i007e"), int(b"i-0e"), int(b"i-007e")], [Some(7), Some(0), Some(-7)]);
        assert_eq!([int(b"i9223372036854775808e"), int(huge.as_bytes())], [None, None]);
        let (document, _) = Document::parse_tolerant(b"d1:ai1e1:ai2e1:b003:xyze").unwrap();
        let dict = document.root().as_dict().unwrap();
        assert_eq!(dict.get(b"a").unwrap().as_int(), Some(1), "the first one counts");
        assert_eq!(dict.get(b"b").unwrap().as_bytes(), Some(&b"xyz"[..]));
    }

    #[test]
    fn a_number_without_end_is_not_tolerated() {
        for input in [[b"i", &b"0".repeat(1025)[..], b"e"].concat(), [&b"0".repeat(1025)[..], b":"].concat()]
        {
            let error = Document::parse_tolerant(&input).map(drop).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Overflow);
        }
        assert!(Document::parse_tolerant(&[b"i", &b"0".repeat(1024)[..], b"e"].concat()).is_ok());
    }

    #[test]
    fn a_prefix_says_how_far_it_reached() {
        let (document, consumed) = Document::parse_prefix(b"d8:msg_typei1eetrailing").unwrap();
        assert_eq!((consumed, document.root().span()), (15, 0..15));
        assert!(Document::parse_prefix(b"d8:msg_type").is_err());
    }

    #[test]
    fn nesting_is_taken_to_its_limit_and_refused_above_at_once() {
        for depth in [1, DEPTH_MAX, DEPTH_MAX + 1, 100_000, 1_000_000] {
            let kind = |depth| if depth <= DEPTH_MAX { None } else { Some(ErrorKind::TooDeep) };
            let lists = [vec![b'l'; depth], vec![b'e'; depth]].concat();
            assert_eq!(Document::parse(&lists).err().map(|error| error.kind), kind(depth));
            // Where the end is missing too, depth is what is said first.
            let dicts = b"d1:a".repeat(depth);
            let expected = kind(depth).unwrap_or(ErrorKind::UnexpectedEnd);
            assert_eq!(Document::parse(&dicts).err().map(|error| error.kind), Some(expected));
        }
    }

    #[test]
    fn a_crowd_of_empty_lists_is_refused_before_it_fills_memory() {
        let crowd = |of: &[u8], count| [b"l".to_vec(), of.repeat(count), b"e".to_vec()].concat();
        let kind = |input: &[u8]| Document::parse(input).err().map(|error| error.kind);
        assert_eq!(kind(&crowd(b"le", 1 << 20)), Some(ErrorKind::TooManyContainers));
        // A small one is no problem, and strings are only bytes.
        assert_eq!(kind(&crowd(b"le", 1000)), None);
        assert_eq!(kind(&crowd(b"0:", 1 << 20)), None);
    }
}
