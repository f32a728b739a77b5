//! A .torrent file ([BEP 3]): the info dictionary, and around it who tracks it and who made it.
//!
//! [BEP 3]: https://www.bittorrent.org/beps/bep_0003.html

use std::sync::Arc;

use crate::error::MetainfoError;
use crate::info::Info;
use crate::warning::Warning;
use crate::{parse, write};

/// A parsed and validated .torrent file.
#[derive(Clone, Debug)]
pub struct Metainfo {
    pub(crate) info: Arc<Info>,
    pub(crate) trackers: Vec<Vec<String>>,
    pub(crate) web_seeds: Vec<String>,
    pub(crate) nodes: Vec<(String, u16)>,
    pub(crate) comment: Option<String>,
    pub(crate) created_by: Option<String>,
    pub(crate) creation_date: Option<i64>,
    pub(crate) encoding: Option<String>,
    pub(crate) warnings: Vec<Warning>,
}

impl Metainfo {
    /// Parses a .torrent file.
    ///
    /// What cannot be meant is refused; what is odd but clear is taken and leaves a [`Warning`]:
    ///
    /// | what | becomes |
    /// |---|---|
    /// | numbers that are no numbers, anything past [`limits`](crate::limits) | refused |
    /// | unsorted or doubled keys (the first counts), leading zeros, bytes behind the end | taken, warned |
    /// | integers beyond 64 bits | refused where the value is needed, else taken, warned |
    /// | no `name` | refused |
    /// | an empty `name` | taken, warned; [`names`](crate::names) finds another one |
    /// | no file, or not one byte in all files | refused |
    /// | both `length` and `files` | the files count, warned |
    /// | a path without components | refused, except for padding, which needs no path |
    /// | path components of any content, empty ones and `..` included | taken as they are; refused in a `file tree` if empty |
    /// | a symlink with a length | a symlink without bytes, warned |
    /// | a symlink without a target | a file, warned |
    /// | `private` other than 0 and 1 | private, warned |
    /// | more or fewer piece hashes than pieces | refused |
    /// | pieces of less than 16 KiB | refused in version 2 and hybrids |
    /// | a `file tree` out of order, or layers that belong to no file or do not lead to its root | refused |
    /// | no layers at all | refused in version 2; a hybrid is taken, warned: its v1 side is whole |
    /// | layers of files that need none | ignored, warned |
    /// | a hybrid whose sides have the same files in another order | taken as version 1, warned |
    /// | a hybrid whose sides differ in names, lengths or piece space | refused |
    /// | trackers, web seeds, nodes, dates of the wrong kind | ignored, warned |
    /// | a `failure reason` and no `info` | refused, in its words |
    ///
    /// Peak memory, the input included, is below four times the input and 16 MiB: nothing is allocated for what is only
    /// claimed, and the file list is kept in flat tables.
    ///
    /// # Errors
    /// Says what is wrong, with the place in the torrent and in the file.
    pub fn parse(bytes: &[u8]) -> Result<Self, MetainfoError> {
        parse::metainfo(bytes)
    }

    /// A torrent whose info dictionary came from peers, with what the magnet link knew.
    pub fn from_info(info: impl Into<Arc<Info>>, trackers: Vec<Vec<String>>, web_seeds: Vec<String>) -> Self {
        Self {
            info: info.into(),
            trackers,
            web_seeds,
            nodes: Vec::new(),
            comment: None,
            created_by: None,
            creation_date: None,
            encoding: None,
            warnings: Vec::new(),
        }
    }

    /// The .torrent file, with what is known here; [`Metainfo::parse`] reads it again.
    ///
    /// # Errors
    /// When the hashes of the pieces are not known ([`Info::has_piece_hashes`]): a version 2 torrent is not whole without
    /// its piece layers, which do not travel with the info dictionary.
    pub fn encode(&self) -> Result<Vec<u8>, MissingLayers> {
        write::torrent(self)
    }

    /// What is shared.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// The same, to be kept elsewhere.
    pub fn shared_info(&self) -> Arc<Info> {
        Arc::clone(&self.info)
    }

    /// The info dictionary exactly as it stands in the file.
    pub fn info_bytes(&self) -> &[u8] {
        self.info.bytes()
    }

    /// The trackers' URLs in tiers (BEP 12): `announce-list` if it names one, else `announce`. No tier is empty, no URL
    /// comes twice. The caller decides which URLs it takes.
    pub fn trackers(&self) -> &[Vec<String>] {
        &self.trackers
    }

    /// Servers that have the files (BEP 19, `url-list`).
    pub fn web_seeds(&self) -> &[String] {
        &self.web_seeds
    }

    /// Hosts and ports of DHT nodes (BEP 5).
    pub fn nodes(&self) -> &[(String, u16)] {
        &self.nodes
    }

    /// What its maker says about it.
    pub fn comment(&self) -> Option<&str> {
        self.comment.as_deref()
    }

    /// The program that made it.
    pub fn created_by(&self) -> Option<&str> {
        self.created_by.as_deref()
    }

    /// When it was made, in seconds since 1970, as given.
    pub fn creation_date(&self) -> Option<i64> {
        self.creation_date
    }

    /// The encoding that old torrents declare for their names, as given.
    pub fn encoding(&self) -> Option<&str> {
        self.encoding.as_deref()
    }

    /// What was odd but could be understood.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }
}

/// A version 2 torrent without its piece layers cannot be a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the piece layers of this version 2 torrent are not known")]
pub struct MissingLayers;
