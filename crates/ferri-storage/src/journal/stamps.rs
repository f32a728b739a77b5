//! What each file of a torrent looked like, by number.

use super::Stamp;

/// The stamps of files whose numbers begin at 0 and of the parts file, which has the number after the last. Most torrents know
/// all of theirs or none, so a place for each takes less than a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamps {
    /// Up to the last that is known.
    files: Vec<Option<Stamp>>,
    parts: Option<Stamp>,
    parts_number: u32,
}

impl Stamps {
    /// Of so many files, none of which is known.
    pub(crate) fn new(file_count: u32) -> Self {
        Self { files: Vec::new(), parts: None, parts_number: file_count }
    }

    pub(crate) fn get(&self, number: u32) -> Option<Stamp> {
        if number == self.parts_number {
            return self.parts;
        }
        self.files.get(number as usize).copied().flatten()
    }

    pub(crate) fn contains(&self, number: u32) -> bool {
        self.get(number).is_some()
    }

    /// What was known before. `number` is that of a file or of the parts file.
    pub(crate) fn insert(&mut self, number: u32, stamp: Stamp) -> Option<Stamp> {
        debug_assert!(number <= self.parts_number, "a file of this torrent");
        if number == self.parts_number {
            return self.parts.replace(stamp);
        }
        let at = number as usize;
        if self.files.is_empty() {
            // Exactly what the many torrents of one file need.
            self.files.reserve_exact(at + 1);
        }
        if self.files.len() <= at {
            self.files.resize(at + 1, None);
        }
        self.files[at].replace(stamp)
    }

    pub(crate) fn remove(&mut self, number: u32) -> Option<Stamp> {
        if number == self.parts_number {
            return self.parts.take();
        }
        self.files.get_mut(number as usize)?.take()
    }

    /// Those that are known, without the parts file, ascending.
    pub(crate) fn files(&self) -> impl Iterator<Item = (u32, Stamp)> + '_ {
        (0u32..).zip(&self.files).filter_map(|(number, stamp)| Some((number, (*stamp)?)))
    }

    /// Those that are known, the parts file last.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, Stamp)> + '_ {
        self.files().chain(self.parts.map(|stamp| (self.parts_number, stamp)))
    }
}
