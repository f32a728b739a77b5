//! Where the way to a path ends.

use std::path::{Path, PathBuf};

/// The first part of `path` that is no folder; all of it when each part is one.
pub(crate) fn end_of(path: &Path, is_folder: impl Fn(&Path) -> bool) -> PathBuf {
    let mut way = PathBuf::new();
    for component in path.components() {
        way.push(component);
        if !is_folder(&way) {
            break;
        }
    }
    way
}
