//! From the paths in a torrent to paths on this disk.
