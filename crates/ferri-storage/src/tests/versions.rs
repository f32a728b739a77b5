//! Torrents of version 2 and both: pieces are Merkle trees and files begin with pieces.

use ferri_metainfo::create::{Builder, Content, Hasher, NewFile};
use ferri_metainfo::{Metainfo, Version};

use super::*;

/// Files of 5, 40,000 and 16,384 bytes, with their payload in file order.
fn fixture(version: Version) -> Fixture {
    let lengths = [("a", 5u64), ("b", 40_000), ("c", 16_384)];
    let files = lengths.map(|(name, length)| NewFile::new(vec![name.to_owned()], length)).to_vec();
    let mut builder = Builder::new(version, "t", Content::Folder(files));
    builder.piece_length = Some(PIECE as u32);
    let mut hasher = Hasher::new(Arc::new(builder.plan().unwrap()));
    let payload: Vec<u8> =
        (0..lengths.iter().map(|(_, length)| length).sum()).map(|i: u64| (i * 3 + i / 777) as u8).collect();
    hasher.feed(&payload).unwrap();
    let info = Metainfo::parse(&hasher.finish().unwrap()).unwrap().shared_info();
    // Into piece space: every file begins with a piece.
    let layout = info.layout();
    let mut data = vec![0; layout.piece_count() as usize * PIECE];
    let mut rest = &payload[..];
    for file in layout.files().filter(|file| !layout.is_pad(*file)) {
        let (bytes, after) = rest.split_at(layout.file_len(file) as usize);
        let start = layout.file_range(file).start as usize;
        data[start..start + bytes.len()].copy_from_slice(bytes);
        rest = after;
    }
    Fixture { folder: tempfile::tempdir().unwrap(), info, data, piece: PIECE }
}

#[test]
fn pieces_are_verified_written_and_checked_with_merkle_trees_too() {
    for version in [Version::V2, Version::Hybrid] {
        let t = fixture(version);
        let (storage, _) = t.start();
        let count = t.info.layout().piece_count();
        for piece in 0..count {
            let index = t.piece(piece);
            let length = t.info.layout().piece_len(index) as usize;
            let bytes = &t.data[piece as usize * PIECE..][..length];
            let blocks: Vec<_> = bytes.chunks(7_001).map(Bytes::copy_from_slice).collect();
            assert!(storage.hash_blocks(index, &blocks), "{version:?}, piece {piece}");
            let mut wrong = bytes.to_vec();
            wrong[length - 1] ^= 1;
            assert!(!storage.hash_blocks(index, &[Bytes::from(wrong)]));
            assert!(!storage.check_piece(index, &mut Vec::new()).unwrap());
            storage.write_piece(index, &blocks).unwrap();
            assert!(storage.check_piece(index, &mut Vec::new()).unwrap());
        }
        assert_eq!(t.good(&storage).len(), count as usize);
        assert_eq!(tree(&t.root()), ["t/", "t/a", "t/b", "t/c"]);
        assert_eq!(std::fs::metadata(t.file("b")).unwrap().len(), 40_000);
        storage.close().unwrap();
        drop(storage);
        assert!(t.start().1.have.is_full());
    }
}
