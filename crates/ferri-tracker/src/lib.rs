//! Talking to and being a BitTorrent tracker, without I/O.
