//! What a torrent is: info hash, files, pieces, blocks; .torrent files and magnet links.
//!
//! [`Metainfo::parse`] takes a .torrent file, [`Info`] is what it shares, [`Layout`] where its bytes are. The
//! vocabulary of all other crates lives here too: [`InfoHash`], [`PieceIndex`], [`Block`], [`Bitfield`]. Nothing here
//! reads a file, opens a socket or looks at a clock.

pub mod bitfield;
pub mod create;
pub mod display;
pub mod error;
pub mod info;
pub mod info_hash;
mod layers;
pub mod layout;
pub mod limits;
pub mod magnet;
pub mod metainfo;
pub mod names;
mod parse;
mod paths;
mod warning;
mod write;

pub use bitfield::{Bitfield, BitfieldError};
pub use error::{MetainfoError, MetainfoErrorKind};
pub use info::{Attributes, File, Files, FilesIter, Info, PieceTree};
pub use info_hash::{InfoHash, InfoHashError, InfoHashV2, InfoHashes};
pub use layout::{Block, FileIndex, FileSpan, FileSpans, Layout, LayoutError, PieceIndex, Version};
pub use metainfo::{Metainfo, MissingLayers};
pub use warning::{Warning, WarningKind};
