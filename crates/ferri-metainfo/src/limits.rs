//! Every bound on what a torrent may be, in one place, with its reason.

/// Bytes of a .torrent file, at most. Real ones end near 30 MiB; the longest legal list of v1 hashes takes 40.
pub const TORRENT_BYTES_MAX: usize = 64 << 20;

/// Pieces of a torrent, at most. The wire's bitfield, and what a peer may make us keep about itself, grow with it.
pub const PIECES_MAX: u32 = 1 << 21;

/// Files of a torrent, at most, padding included.
pub const FILES_MAX: usize = 1 << 20;

/// Containers inside each other in the bencode of a torrent.
pub const DEPTH_MAX: usize = ferri_bencode::DEPTH_MAX;

/// Components of one file's path, at most. File systems stop near here too.
pub const PATH_COMPONENTS_MAX: usize = 100;

/// Bytes of one path component, at most. Longer than any file system takes, so that names can be shortened on disk,
/// and short enough that shortening is worth trying.
pub const PATH_COMPONENT_BYTES_MAX: usize = 4096;

/// Bytes of all file names together after decoding, directories counted once.
pub const NAMES_BYTES_MAX: usize = TORRENT_BYTES_MAX;

/// Symbolic links of a torrent, at most.
pub const SYMLINKS_MAX: usize = 1 << 16;

/// Bytes in a piece of version 2, at least: one block, as BEP 52 asks. We make no others in version 1 either.
pub const PIECE_LENGTH_MIN: u32 = 16 << 10;

/// Bytes in a piece of version 1, at least. Small ones are costly and few; [`PIECES_MAX`] bounds what they cost.
pub const PIECE_LENGTH_MIN_V1: u32 = 1;

/// Bytes in a piece, at most. A piece is verified as a whole.
pub const PIECE_LENGTH_MAX: u32 = 512 << 20;

/// Bytes in a piece of a torrent that we make, at most: all clients shall be able to load it. libtorrent 2.1.1 refuses
/// 512 MiB, and users of qBittorrent 5.0 report that it refuses 256 MiB.
pub const PIECE_LENGTH_MAX_MADE: u32 = 128 << 20;

/// Bytes in a block, as all clients request them. The last block of a piece may be shorter.
pub const BLOCK_LENGTH: u32 = 16 << 10;

/// Bytes in a block that a peer may ask for, at most. BEP 3 clients once used 128 KiB.
pub const MAX_BLOCK_LENGTH: u32 = 128 << 10;

/// Bytes of all files together, at most, so that offsets fit everywhere.
pub const TOTAL_LENGTH_MAX: u64 = i64::MAX as u64;

/// Trackers in a torrent that are used; web seeds and nodes likewise. Further ones are dropped with a warning.
pub const URLS_MAX: usize = 1000;

/// Bytes in the URL of a tracker or web seed, at most. Longer ones are dropped with a warning.
pub const URL_BYTES_MAX: usize = 8192;

/// Warnings that are kept about one torrent.
pub const WARNINGS_MAX: usize = 32;
