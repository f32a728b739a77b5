//! Making a torrent: hashing and encoding, without reading a file itself.
