//! Torrents to download: small ones of every shape.

use std::sync::Arc;

use bytes::Bytes;
use ferri_metainfo::create::{Builder, Content, Hasher, NewFile};
use ferri_metainfo::{Info, Metainfo, PieceIndex, Version};

use crate::scenario::Dice;

/// A torrent with its payload.
#[derive(Debug)]
pub(super) struct Torrent {
    pub(super) info: Arc<Info>,
    /// In piece space, padding included.
    data: Vec<u8>,
}

impl Torrent {
    /// One to nine files, from many pieces a file to many files a piece, of any version.
    pub(super) fn random(dice: &mut Dice) -> Self {
        let version = [Version::V1, Version::V1, Version::V2, Version::Hybrid][dice.below(4) as usize];
        let piece_length = [16, 16, 32, 64, 512][dice.below(5) as usize] << 10;
        let total = u64::from(piece_length) * dice.between(3, 24).min((3 << 20) / u64::from(piece_length))
            + dice.below(9_000);
        let count = [1, 2, 4, 9][dice.below(4) as usize];
        let mut left = total;
        let mut lengths = Vec::new();
        for _ in 1..count {
            let length = [0, dice.below(2_000), dice.below(left.max(1)), dice.below(left.max(1))]
                [dice.below(4) as usize];
            lengths.push(length.min(left));
            left -= length.min(left);
        }
        lengths.push(left.max(1));
        Self::new(version, piece_length, &lengths, dice)
    }

    fn new(version: Version, piece_length: u32, lengths: &[u64], dice: &mut Dice) -> Self {
        let content = if let [length] = lengths {
            Content::File { length: *length, executable: false }
        } else {
            let file = |(number, &length): (usize, &u64)| {
                let folder = format!("folder {}", number % 3);
                NewFile::new(vec![folder, format!("file {number}")], length)
            };
            Content::Folder(lengths.iter().enumerate().map(file).collect())
        };
        let mut builder = Builder::new(version, "t", content);
        builder.piece_length = Some(piece_length);
        let plan = Arc::new(builder.plan().expect("the lengths make a torrent"));
        let mut payload = Vec::new();
        while (payload.len() as u64) < plan.total_length() {
            payload.extend(dice.roll().to_le_bytes());
        }
        payload.truncate(plan.total_length() as usize);
        let mut hasher = Hasher::new(Arc::clone(&plan));
        hasher.feed(&payload).expect("all of the payload and no more");
        let info = Metainfo::parse(&hasher.finish().expect("all was fed")).expect("our own").shared_info();
        let data = in_piece_space(&info, &payload);
        Self { info, data }
    }

    pub(super) fn piece(&self, piece: u32) -> PieceIndex {
        self.info.layout().piece(piece).expect("a piece of this torrent")
    }

    pub(super) fn bytes(&self, piece: u32) -> &[u8] {
        let layout = self.info.layout();
        let start = piece as usize * layout.piece_length() as usize;
        &self.data[start..start + layout.piece_len(self.piece(piece)) as usize]
    }

    pub(super) fn blocks(&self, piece: u32) -> Vec<Bytes> {
        self.bytes(piece).chunks(16 << 10).map(Bytes::copy_from_slice).collect()
    }
}

fn in_piece_space(info: &Info, payload: &[u8]) -> Vec<u8> {
    let layout = info.layout();
    let mut data = vec![0; layout.piece_count() as usize * layout.piece_length() as usize];
    let mut rest = payload;
    for file in layout.files().filter(|file| !layout.is_pad(*file)) {
        let (bytes, after) = rest.split_at(layout.file_len(file) as usize);
        let start = layout.file_range(file).start as usize;
        data[start..start + bytes.len()].copy_from_slice(bytes);
        rest = after;
    }
    data
}
