//! A path that a person gives a file of a torrent. What the rules of [`crate::names`] would change is refused: a person can
//! say something else.

use std::path::{Component, Path, PathBuf};

use super::{PATH_BYTES_MAX, local_component};

/// The path as it lies beneath the folder of the download: relative, without `.` and `..`, each name one that a file of a torrent
/// could have.
///
/// # Errors
/// Why no file may be called so.
///
/// # Examples
/// ```
/// use std::path::Path;
///
/// use ferri_metainfo::names::{PathProblem, user_path};
///
/// assert_eq!(user_path(Path::new("a/./b.txt")).as_deref(), Ok(Path::new("a/b.txt")));
/// assert_eq!(user_path(Path::new("../b.txt")), Err(PathProblem::Outside));
/// ```
pub fn user_path(path: &Path) -> Result<PathBuf, PathProblem> {
    let text = path.to_str().ok_or(PathProblem::NoText)?;
    if text.ends_with('/') {
        return Err(PathProblem::Nothing);
    }
    let mut local = PathBuf::new();
    for component in path.components() {
        let name = match component {
            Component::Normal(name) => name.to_str().ok_or(PathProblem::NoText)?,
            Component::CurDir => continue,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                return Err(PathProblem::Outside);
            }
        };
        if local_component(name).as_deref() != Some(name) {
            return Err(PathProblem::Name);
        }
        local.push(name);
    }
    match local.as_os_str().len() {
        0 => Err(PathProblem::Nothing),
        length if PATH_BYTES_MAX < length => Err(PathProblem::TooLong(length)),
        _ => Ok(local),
    }
}

/// Why a file may not be called as a person wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathProblem {
    /// It is empty, or the name of a folder.
    #[error("there is no name of a file in it")]
    Nothing,
    /// It is absolute or has `..` in it.
    #[error("it leads out of the download folder; give a path relative to that")]
    Outside,
    /// It is not UTF-8.
    #[error("it is not UTF-8")]
    NoText,
    /// A name in it is longer than 255 bytes, or has characters that could not be seen or that harm: control characters, a backslash.
    #[error("a name in it is longer than 255 bytes, or has control characters or a backslash in it")]
    Name,
    /// So many bytes.
    #[error("it has {0} bytes, but at most {PATH_BYTES_MAX} can be used")]
    TooLong(usize),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_changed_or_lead_out_is_refused() {
        let long = "x".repeat(256);
        let deep = ["x".repeat(200).as_str(); 20].join("/");
        for (path, expected) in [
            ("a", Ok("a")),
            ("./a//b.txt", Ok("a/b.txt")),
            ("-weird name?", Ok("-weird name?")),
            ("", Err(PathProblem::Nothing)),
            (".", Err(PathProblem::Nothing)),
            ("a/", Err(PathProblem::Nothing)),
            ("/a", Err(PathProblem::Outside)),
            ("..", Err(PathProblem::Outside)),
            ("a/../b", Err(PathProblem::Outside)),
            ("a\\b", Err(PathProblem::Name)),
            ("a\nb", Err(PathProblem::Name)),
            (&long, Err(PathProblem::Name)),
            (&deep, Err(PathProblem::TooLong(20 * 201 - 1))),
        ] {
            assert_eq!(user_path(Path::new(path)), expected.map(PathBuf::from), "{path:?}");
        }
    }
}
