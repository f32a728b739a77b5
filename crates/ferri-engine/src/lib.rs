//! The library: sessions, torrents, sockets, trackers.
