//! What a torrent is: info hash, files, pieces, blocks; .torrent files and magnet links.
