//! Bencode ([BEP 3]), borrowed and canonical: slices in, spans out.
//!
//! [`Document`] checks all of the input once, without recursion and without copying, and remembers where its lists and
//! dictionaries end; [`Value`], [`Dict`]
//! and [`List`] look at it. Spans are kept, so that an info hash is the hash of the bytes that were there.
//! [`Encoder`] writes. There is no tree of owned values and no mapping to structs: callers ask for what they know.
//!
//! [BEP 3]: https://www.bittorrent.org/beps/bep_0003.html

mod document;
mod encode;
mod error;
mod parse;

pub use document::{Dict, DictIter, Document, Kind, List, ListIter, Value};
pub use encode::Encoder;
pub use error::{Error, ErrorKind};

/// Containers inside containers, at most. Real torrents reach 6, v2 file trees a little more; what nests deeper
/// wants our stack or our time.
pub const DEPTH_MAX: usize = 64;

/// Lists and dictionaries in one document, at most: 32 MiB of tape.
///
/// A torrent of 2^20 files has about 2^21.
pub const CONTAINERS_MAX: usize = 1 << 22;

/// Documents that are longer than this cannot be addressed by the tape.
pub const INPUT_MAX: usize = (1 << 31) - 1;

/// Places that a lenient or tolerant parse reports; further ones are passed over.
pub const IRREGULARITIES_MAX: usize = 16;
