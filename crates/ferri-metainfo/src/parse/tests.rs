//! Torrents built on the spot, named for what is odd about them. Here is what builds them.

#![allow(clippy::unwrap_used)]

mod around;
mod numbers;
mod old;
mod properties;
mod v1;
mod v2;

use std::collections::BTreeMap;

use ferri_hash::{merkle, sha256};

use crate::{Info, Metainfo, MetainfoError, MetainfoErrorKind};

/// Bencode to be. Also such as no encoder writes.
#[derive(Clone, Debug)]
enum Node {
    /// Anything, as it is.
    Raw(String),
    Bytes(Vec<u8>),
    List(Vec<Self>),
    Dict(BTreeMap<Vec<u8>, Self>),
}

impl Node {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut Vec<u8>) {
        let string = |out: &mut Vec<u8>, bytes: &[u8]| {
            out.extend_from_slice(format!("{}:", bytes.len()).as_bytes());
            out.extend_from_slice(bytes);
        };
        match self {
            Self::Raw(text) => out.extend_from_slice(text.as_bytes()),
            Self::Bytes(bytes) => string(out, bytes),
            Self::List(nodes) => {
                out.push(b'l');
                nodes.iter().for_each(|node| node.write(out));
                out.push(b'e');
            }
            Self::Dict(nodes) => {
                out.push(b'd');
                for (key, node) in nodes {
                    string(out, key);
                    node.write(out);
                }
                out.push(b'e');
            }
        }
    }

    /// A dictionary with one more key, or with another value for it.
    fn with(mut self, key: &str, value: impl Into<Self>) -> Self {
        let Self::Dict(nodes) = &mut self else { panic!("not a dictionary") };
        nodes.insert(key.as_bytes().to_vec(), value.into());
        self
    }

    fn without(mut self, key: &str) -> Self {
        let Self::Dict(nodes) = &mut self else { panic!("not a dictionary") };
        nodes.remove(key.as_bytes());
        self
    }
}

impl From<&str> for Node {
    fn from(text: &str) -> Self {
        Self::Bytes(text.as_bytes().to_vec())
    }
}

impl From<&[u8]> for Node {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

impl From<i64> for Node {
    fn from(value: i64) -> Self {
        Self::Raw(format!("i{value}e"))
    }
}

impl From<Vec<Self>> for Node {
    fn from(nodes: Vec<Self>) -> Self {
        Self::List(nodes)
    }
}

/// An integer, however it is written.
fn int(text: &str) -> Node {
    Node::Raw(format!("i{text}e"))
}

fn dict<const N: usize>(entries: [(&str, Node); N]) -> Node {
    Node::Dict(entries.into_iter().map(|(key, node)| (key.as_bytes().to_vec(), node)).collect())
}

fn path(components: &[&str]) -> Node {
    Node::List(components.iter().map(|component| (*component).into()).collect())
}

fn hashes(count: usize) -> Node {
    Node::Bytes(vec![b'h'; count * 20])
}

const PIECE: i64 = 16 << 10;

/// One file of 40,000 bytes, 3 pieces.
fn single() -> Node {
    dict([
        ("length", 40_000.into()),
        ("name", "one.iso".into()),
        ("piece length", PIECE.into()),
        ("pieces", hashes(3)),
    ])
}

fn file(components: &[&str], length: i64) -> Node {
    dict([("length", length.into()), ("path", path(components))])
}

/// A folder of files; as many hashes as they need.
fn multi(files: Vec<Node>, pieces: usize) -> Node {
    let pieces = hashes(pieces);
    dict([
        ("files", files.into()),
        ("name", "folder".into()),
        ("piece length", PIECE.into()),
        ("pieces", pieces),
    ])
}

/// A .torrent around an info dictionary.
fn torrent(info: Node) -> Node {
    dict([("announce", "http://tracker.test/announce".into()), ("info", info)])
}

#[track_caller]
fn parse(torrent: &Node) -> Metainfo {
    Metainfo::parse(&torrent.encode()).unwrap_or_else(|error| panic!("{error}"))
}

#[track_caller]
fn parse_info(info: Node) -> Metainfo {
    parse(&torrent(info))
}

#[track_caller]
fn fails(torrent: &Node) -> MetainfoError {
    Metainfo::parse(&torrent.encode()).map(drop).expect_err("should have been refused")
}

/// The info dictionary is refused at `path` for `kind`, in a .torrent and alone.
#[track_caller]
fn check(info: Node, path: &str, kind: MetainfoErrorKind) {
    let error = fails(&torrent(info.clone()));
    assert_eq!((error.path.as_str(), &error.kind), (path, &kind));
    let alone = Info::parse(&info.encode()).map(drop).expect_err("should have been refused alone too");
    let inner = path
        .strip_prefix("info")
        .expect("all of these are about the info dictionary")
        .trim_start_matches('.');
    assert_eq!((alone.path.as_str(), &alone.kind), (inner, &kind));
}

/// Its paths, joined.
fn paths(metainfo: &Metainfo) -> Vec<String> {
    metainfo.info().files().iter().map(|file| file.path().join("/")).collect()
}

fn warnings(metainfo: &Metainfo) -> Vec<String> {
    metainfo.warnings().iter().map(ToString::to_string).collect()
}

/// The Merkle side of some content, computed as BEP 52 says.
struct Hashed {
    root: [u8; 32],
    layer: Vec<u8>,
}

fn hashed(content: &[u8], piece_length: usize) -> Hashed {
    let leaves: Vec<_> = content.chunks(16 << 10).map(sha256).collect();
    let root = merkle::root(&leaves, leaves.len().next_power_of_two());
    let width = piece_length / (16 << 10);
    let layer = leaves.chunks(width).flat_map(|leaves| merkle::root(leaves, width)).collect();
    Hashed { root, layer }
}

fn content(length: usize, salt: u8) -> Vec<u8> {
    (0..length).map(|n| (n / 7) as u8 ^ salt).collect()
}

fn tree_file(content: &[u8]) -> Node {
    let properties = dict([("length", (content.len() as i64).into())]);
    let properties = match content {
        [] => properties,
        _ => properties.with("pieces root", &hashed(content, 16 << 10).root[..]),
    };
    dict([("", properties)])
}
