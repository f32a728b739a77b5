//! The paths of all files of a torrent in one arena: directories once, however many files they hold.
//!
//! Holds components exactly as they were decoded: `..`, empty or with a slash. What they mean on a disk is decided in
//! [`names`](crate::names).

use crate::limits::{FILES_MAX, NAMES_BYTES_MAX, PATH_COMPONENTS_MAX};

/// No directory above.
const TOP: u32 = u32::MAX;

/// A name below another one.
#[derive(Clone, Copy, Debug)]
struct Node {
    /// The directory it is in, or [`TOP`].
    parent: u32,
    /// Where its name ends in the text. It begins where its predecessor's ends.
    end: u32,
}

/// Paths, one a file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Paths {
    text: String,
    nodes: Vec<Node>,
    /// The last component of each file.
    files: Vec<u32>,
}

/// The names together pass [`NAMES_BYTES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMuchText;

/// A directory in [`Paths`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Directory(u32);

impl Directory {
    /// The torrent's own.
    pub(crate) const ROOT: Self = Self(TOP);

    /// Which of [`Paths::names`] it is; `None` for the torrent's own.
    pub(crate) fn number(self) -> Option<u32> {
        (self != Self::ROOT).then_some(self.0)
    }
}

impl Paths {
    /// Makes room for as many files, each with a new name.
    pub(crate) fn reserve(&mut self, files: usize) {
        let files = files.min(FILES_MAX);
        self.files.reserve_exact(files);
        self.nodes.reserve(files);
    }

    /// A directory inside another one.
    pub(crate) fn add_directory(&mut self, parent: Directory, name: &str) -> Result<Directory, TooMuchText> {
        if NAMES_BYTES_MAX < self.text.len() + name.len() {
            return Err(TooMuchText);
        }
        if self.text.capacity() - self.text.len() < name.len() {
            // Doubling, but never past the limit.
            let double = self.text.len().max(name.len()).min(NAMES_BYTES_MAX - self.text.len());
            self.text.reserve_exact(double);
        }
        self.text.push_str(name);
        let narrow =
            |n| u32::try_from(n).expect("below NAMES_BYTES_MAX, and nodes are bounded by bencode's tokens");
        self.nodes.push(Node { parent: parent.0, end: narrow(self.text.len()) });
        Ok(Directory(narrow(self.nodes.len() - 1)))
    }

    /// The next file.
    pub(crate) fn add_file(&mut self, parent: Directory, name: &str) -> Result<(), TooMuchText> {
        let Directory(node) = self.add_directory(parent, name)?;
        self.files.push(node);
        Ok(())
    }

    /// The name of a directory. Empty for the root.
    pub(crate) fn directory_name(&self, directory: Directory) -> &str {
        if directory == Directory::ROOT { "" } else { self.name(directory.0) }
    }

    /// How many files there are.
    pub(crate) fn len(&self) -> usize {
        self.files.len()
    }

    /// The components of a file's path, outermost first.
    pub(crate) fn path(&self, file: usize) -> Vec<&str> {
        self.components(self.files[file])
    }

    /// The last component of a file's path.
    pub(crate) fn file_name(&self, file: usize) -> &str {
        self.name(self.files[file])
    }

    /// The directory that a file is in.
    pub(crate) fn directory(&self, file: usize) -> Directory {
        Directory(self.nodes[self.files[file] as usize].parent)
    }

    /// The components of a directory's path, outermost first.
    pub(crate) fn directory_path(&self, directory: Directory) -> Vec<&str> {
        self.components(directory.0)
    }

    /// Every name that there is, once, and the directory it is in, which came before it.
    pub(crate) fn names(&self) -> impl Iterator<Item = (Directory, &str)> {
        (0u32..).zip(&self.nodes).map(|(node, it)| (Directory(it.parent), self.name(node)))
    }

    /// Which of [`Self::names`] each file is, in the order of the torrent.
    pub(crate) fn file_numbers(&self) -> &[u32] {
        &self.files
    }

    fn components(&self, mut node: u32) -> Vec<&str> {
        let mut path = Vec::with_capacity(4);
        while node != TOP {
            debug_assert!(path.len() <= PATH_COMPONENTS_MAX, "depth was checked when the path came in");
            path.push(self.name(node));
            node = self.nodes[node as usize].parent;
        }
        path.reverse();
        path
    }

    fn name(&self, node: u32) -> &str {
        let node = node as usize;
        let start = node.checked_sub(1).map_or(0, |before| self.nodes[before].end as usize);
        &self.text[start..self.nodes[node].end as usize]
    }

    /// Gives back what was reserved in vain.
    pub(crate) fn shrink(&mut self) {
        self.text.shrink_to_fit();
        self.nodes.shrink_to_fit();
        self.files.shrink_to_fit();
    }
}

/// Adds paths one after the other; leading directories that two neighbours share are kept once.
#[derive(Debug, Default)]
pub(crate) struct Appender {
    /// The directories of the path before.
    open: Vec<Directory>,
}

impl Appender {
    /// The next file of `paths`. `path` is not empty.
    pub(crate) fn add(&mut self, paths: &mut Paths, path: &[impl AsRef<str>]) -> Result<(), TooMuchText> {
        let Some((name, directories)) = path.split_last() else { return Ok(()) };
        let shared = self
            .open
            .iter()
            .zip(directories)
            .take_while(|(directory, name)| paths.directory_name(**directory) == name.as_ref());
        let shared = shared.count();
        self.open.truncate(shared);
        for directory in &directories[shared..] {
            let parent = self.open.last().copied().unwrap_or(Directory::ROOT);
            self.open.push(paths.add_directory(parent, directory.as_ref())?);
        }
        paths.add_file(self.open.last().copied().unwrap_or(Directory::ROOT), name.as_ref())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn paths_come_back_as_they_went_in_and_share_their_directories() {
        let given: [&[&str]; 7] = [
            &["a", "b", "one"],
            &["a", "b", "two"],
            &["a", "", "..", "three/3"],
            &["four"],
            &["a", "b", "one"],
            &["a", "b", "one", "inside"],
            &[""],
        ];
        let (mut paths, mut appender) = (Paths::default(), Appender::default());
        for path in given {
            appender.add(&mut paths, path).unwrap();
        }
        for (file, path) in given.iter().enumerate() {
            assert_eq!(paths.path(file), *path);
            assert_eq!(paths.file_name(file), *path.last().unwrap());
        }
        assert_eq!(paths.len(), 7);
        assert_eq!(paths.text, "abonetwo..three/3fouraboneoneinside");
    }
}
