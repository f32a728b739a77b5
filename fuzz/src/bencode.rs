//! Any bytes as bencode. What the strict parser takes has one encoding, so writing it again must give the same bytes.

use std::collections::BTreeMap;
use std::ops::Range;

use ferri_bencode::{Document, Encoder, Error, Kind, Value};

/// Dictionaries longer than this are not looked into key by key, which takes quadratic time.
const LOOKED_UP_MAX: usize = 4096;

/// Strict, lenient and prefix parsers agree with each other, spans lie inside each other, and the encoder gives back
/// what was parsed.
pub fn bencode(data: &[u8]) {
    let strict = checked(data, Document::parse(data));
    let lenient = checked(data, Document::parse_lenient(data));
    let prefix = checked(data, Document::parse_prefix(data));
    tolerant(data, prefix.as_ref().ok().map(|(_, consumed)| *consumed));
    match &strict {
        Ok(document) => {
            assert!(document.irregularities().is_empty());
            assert_eq!(document.root().span(), 0..data.len());
            assert!(lenient.is_ok(), "strict is stricter than lenient");
            let mut out = Encoder::new();
            write(document.root(), &mut out);
            assert_eq!(out.into_bytes(), data, "a canonical document has one encoding");
        }
        Err(_) => {
            let regular = lenient.as_ref().is_ok_and(|document| document.irregularities().is_empty());
            assert!(!regular, "strict refuses what lenient finds nothing wrong with");
        }
    }
    if let Ok(document) = &lenient {
        inside(document.root(), 0..data.len());
        let sorted = sorted(document.root());
        let again = Document::parse(&sorted).expect("sorted keys are all that was missing");
        assert_eq!(again.root().span().len(), sorted.len());
        assert_eq!(sorted.len(), data.len());
        assert_eq!(prefix.as_ref().ok().map(|(_, consumed)| *consumed), Some(data.len()));
    }
    if let Ok((document, consumed)) = &prefix {
        assert_eq!(document.root().span(), 0..*consumed);
        assert!(Document::parse_lenient(&data[..*consumed]).is_ok());
    }
}

/// What the tolerant parser finds nothing wrong with is canonical, and it takes what the lenient one takes.
fn tolerant(data: &[u8], lenient: Option<usize>) {
    let Ok((document, consumed)) = checked(data, Document::parse_tolerant(data)) else {
        return assert!(lenient.is_none(), "lenient is stricter than tolerant");
    };
    assert!(lenient.is_none_or(|lenient| lenient == consumed));
    assert_eq!(document.root().span(), 0..consumed);
    let is_canonical = Document::parse(&data[..consumed]).is_ok();
    assert_eq!(is_canonical, document.irregularities().is_empty());
}

/// Every error lies inside the input, or right behind it, and can be said.
fn checked<T>(data: &[u8], result: Result<T, Error>) -> Result<T, Error> {
    if let Err(error) = &result {
        assert!(error.offset <= data.len(), "{error} is outside of {} bytes", data.len());
        assert!(!error.to_string().is_empty());
    }
    result
}

/// Writes a value in the order it has.
fn write(value: Value<'_>, out: &mut Encoder) {
    match value.kind() {
        Kind::Int => {
            out.int(value.as_int().expect("an integer"));
        }
        Kind::Bytes => {
            out.bytes(value.as_bytes().expect("a string"));
        }
        Kind::List => {
            out.begin_list();
            for item in value.as_list().expect("a list").iter() {
                write(item, out);
            }
            out.end();
        }
        Kind::Dict => {
            out.begin_dict();
            for (key, item) in value.as_dict().expect("a dictionary").iter() {
                out.key(key);
                write(item, out);
            }
            out.end();
        }
    }
}

/// The encoding of a value with all keys in order.
fn sorted(value: Value<'_>) -> Vec<u8> {
    let mut out = Encoder::new();
    if let Some(list) = value.as_list() {
        out.begin_list();
        for item in list.iter() {
            out.raw(&sorted(item));
        }
        out.end();
    } else if let Some(dict) = value.as_dict() {
        let items: BTreeMap<&[u8], Value<'_>> = dict.iter().collect();
        assert_eq!(items.len(), dict.iter().count(), "a key appears twice");
        out.begin_dict();
        for (key, item) in items {
            out.key(key).raw(&sorted(item));
        }
        out.end();
    } else {
        out.raw(value.raw());
    }
    out.into_bytes()
}

/// The spans of a value's parts lie inside its own, one behind the other.
fn inside(value: Value<'_>, range: Range<usize>) {
    let span = value.span();
    assert!(range.start <= span.start && span.end <= range.end && span.start < span.end);
    assert_eq!(value.raw().len(), span.len());
    let mut from = span.start + 1;
    if let Some(list) = value.as_list() {
        assert_eq!(list.len(), list.iter().count());
        assert_eq!(list.is_empty(), list.iter().next().is_none());
        for item in list.iter() {
            inside(item, from..span.end - 1);
            from = item.span().end;
        }
    }
    if let Some(dict) = value.as_dict() {
        for (key, item) in dict.iter() {
            inside(item, from + key.len()..span.end - 1);
            from = item.span().end;
            if value.raw().len() < LOOKED_UP_MAX {
                assert_eq!(dict.get(key).map(Value::offset), Some(item.offset()));
            }
        }
    }
}
