//! Properties of bencode: what is written is read back, and no input is more than an error.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use ferri_bencode::{Document, Encoder, Kind, Value};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

/// A tree of owned values, for the tests' own use.
#[derive(Clone, Debug, PartialEq)]
enum Tree {
    Int(i64),
    Bytes(Vec<u8>),
    List(Vec<Self>),
    Dict(BTreeMap<Vec<u8>, Self>),
}

impl Tree {
    fn write(&self, encoder: &mut Encoder) {
        match self {
            Self::Int(value) => drop(encoder.int(*value)),
            Self::Bytes(value) => drop(encoder.bytes(value)),
            Self::List(values) => {
                encoder.begin_list();
                values.iter().for_each(|value| value.write(encoder));
                encoder.end();
            }
            Self::Dict(values) => {
                encoder.begin_dict();
                for (key, value) in values {
                    encoder.key(key);
                    value.write(encoder);
                }
                encoder.end();
            }
        }
    }

    fn read(value: Value<'_>) -> Self {
        match value.kind() {
            Kind::Int => Self::Int(value.as_int().unwrap()),
            Kind::Bytes => Self::Bytes(value.as_bytes().unwrap().to_vec()),
            Kind::List => Self::List(value.as_list().unwrap().iter().map(Self::read).collect()),
            Kind::Dict => {
                let dict = value.as_dict().unwrap();
                Self::Dict(dict.iter().map(|(key, value)| (key.to_vec(), Self::read(value))).collect())
            }
        }
    }
}

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![any::<i64>().prop_map(Tree::Int), vec(any::<u8>(), 0..20).prop_map(Tree::Bytes)];
    leaf.prop_recursive(6, 60, 8, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..8).prop_map(Tree::List),
            btree_map(vec(any::<u8>(), 0..6), inner, 0..8).prop_map(Tree::Dict),
        ]
    })
}

/// Letters that mean something, so that random input gets somewhere.
fn almost_bencode() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![6 => prop::sample::select(b"idle0123456789:-ab".to_vec()), 1 => any::<u8>()], 0..64)
}

/// Walks everything; spans must nest and stay inside.
fn walk(value: Value<'_>, input: &[u8]) {
    assert_eq!(value.raw(), &input[value.span()]);
    for child in value.as_list().into_iter().flatten() {
        assert!(value.span().start < child.span().start && child.span().end < value.span().end);
        walk(child, input);
    }
    for (_, child) in value.as_dict().into_iter().flatten() {
        assert!(value.span().start < child.span().start && child.span().end < value.span().end);
        walk(child, input);
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(tree in tree()) {
        let mut encoder = Encoder::new();
        tree.write(&mut encoder);
        let bytes = encoder.into_bytes();
        let document = Document::parse(&bytes).unwrap();
        prop_assert_eq!(Tree::read(document.root()), tree);
        walk(document.root(), &bytes);
    }

    #[test]
    fn there_is_one_encoding_of_everything(input in almost_bencode()) {
        if let Ok(document) = Document::parse(&input) {
            let mut encoder = Encoder::new();
            Tree::read(document.root()).write(&mut encoder);
            prop_assert_eq!(encoder.into_bytes(), input);
        }
    }

    #[test]
    fn no_input_is_more_than_an_error(input in prop_oneof![almost_bencode(), vec(any::<u8>(), 0..200)]) {
        let strict = Document::parse(&input);
        let lenient = Document::parse_lenient(&input);
        if let Ok(document) = &lenient {
            walk(document.root(), &input);
            prop_assert_eq!(strict.is_ok(), document.irregularities().is_empty());
        } else {
            prop_assert!(strict.is_err());
        }
        let tolerant = Document::parse_tolerant(&input);
        prop_assert!(lenient.is_err() || tolerant.is_ok());
        if let Ok((document, consumed)) = tolerant {
            walk(document.root(), &input);
            prop_assert!(Document::parse(&input[..consumed]).is_ok() == document.irregularities().is_empty());
        }
        if let Ok((document, consumed)) = Document::parse_prefix(&input) {
            prop_assert!(consumed <= input.len());
            walk(document.root(), &input);
            prop_assert!(Document::parse_lenient(&input[..consumed]).is_ok());
        }
    }
}
