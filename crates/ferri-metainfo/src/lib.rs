//! What a torrent is: info hash, files, pieces, blocks; .torrent files and magnet links.

pub mod create;
pub mod display;
pub mod magnet;
pub mod names;
