//! The piece layers of [BEP 52]: for each file longer than a piece, the hashes of its pieces, checked against its root.
//!
//! [BEP 52]: https://www.bittorrent.org/beps/bep_0052.html

/// Layers by root. Files with the same content share one.
#[derive(Clone, Debug, Default)]
pub(crate) struct PieceLayers {
    hashes: Vec<[u8; 32]>,
    /// Ascending by root: the root, and where its layer ends in `hashes`. It begins where its predecessor's ends.
    layers: Vec<([u8; 32], u32)>,
}

impl PieceLayers {
    /// Makes room.
    pub(crate) fn with_capacity(layers: usize, hashes: usize) -> Self {
        Self { hashes: Vec::with_capacity(hashes), layers: Vec::with_capacity(layers) }
    }

    /// The next layer. Roots come in ascending order.
    pub(crate) fn push(&mut self, root: [u8; 32], layer: &[[u8; 32]]) {
        assert!(self.layers.last().is_none_or(|(last, _)| *last < root), "roots ascend");
        self.hashes.extend_from_slice(layer);
        let end = u32::try_from(self.hashes.len()).expect("a torrent file is far smaller");
        self.layers.push((root, end));
    }

    /// Roots and layers, by root.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8; 32], &[[u8; 32]])> {
        let starts = std::iter::once(0).chain(self.layers.iter().map(|(_, end)| *end as usize));
        starts.zip(&self.layers).map(|(start, (root, end))| (root, &self.hashes[start..*end as usize]))
    }

    /// The layer under a root.
    pub(crate) fn layer(&self, root: &[u8; 32]) -> Option<&[[u8; 32]]> {
        let index = self.layers.binary_search_by(|(own, _)| own.cmp(root)).ok()?;
        let start = index.checked_sub(1).map_or(0, |before| self.layers[before].1 as usize);
        Some(&self.hashes[start..self.layers[index].1 as usize])
    }
}
