//! Symbolic links in a torrent (BEP 47): rules 16 and 17 of the table in [`crate::names`].
//!
//! The target of a link is not copied from the torrent but made anew from what it names, as `../` up to the common
//! folder and names down from there. Folders on disk are folders (rule 11 keeps files, links among them, out of
//! their places), so the `..` of one link cannot be misled by another, and no combination of links leads out.

use super::component::local_component;
use super::tree::{Entry, Folder, Source, Tree};
use super::{Inner, PATH_BYTES_MAX};
use crate::FileIndex;

/// Why a symbolic link is not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkProblem {
    /// Its target goes up, which BEP 47 forbids.
    #[error("it leads out of the torrent's folder")]
    Outside,
    /// There is no such file or folder in the torrent.
    #[error("it leads to nothing in the torrent")]
    Nothing,
    /// It leads to itself or to a folder that it is in.
    #[error("it leads to itself or to a folder around it")]
    Loop,
    /// What the link would contain is longer than a path may be.
    #[error("its target is too long")]
    TooLong,
}

/// What the link contains. `paths` has the paths of all files.
pub(super) fn resolve<'a>(
    link: FileIndex,
    target: &'a [String],
    tree: &Tree<'a>,
    source: &impl Fn(FileIndex) -> Source<'a>,
    paths: &Inner,
) -> Result<String, LinkProblem> {
    let from = below_top(link, paths).ok_or(LinkProblem::Nothing)?;
    let to = find(target, tree, source, paths)?;
    let folders: Vec<&str> = from.split('/').collect();
    let (_, folders) = folders.split_last().expect("splitting gives a part at least");
    let names: Vec<&str> = to.split('/').collect();
    let common = folders.iter().zip(&names).take_while(|(a, b)| a == b).count();
    if common == names.len() || from == to {
        return Err(LinkProblem::Loop);
    }
    let relative = "../".repeat(folders.len() - common) + &names[common..].join("/");
    if PATH_BYTES_MAX < relative.len() { Err(LinkProblem::TooLong) } else { Ok(relative) }
}

/// The local path, below the torrent's folder, of what the torrent calls `target`.
fn find<'a>(
    target: &'a [String],
    tree: &Tree<'a>,
    source: &impl Fn(FileIndex) -> Source<'a>,
    paths: &Inner,
) -> Result<String, LinkProblem> {
    let parts: Vec<&str> =
        target.iter().map(String::as_str).filter(|part| !matches!(*part, "" | ".")).collect();
    // A slash inside a component is a path in disguise, and what it means differs from client to client.
    if parts.iter().any(|part| *part == ".." || part.contains(['/', '\\'])) {
        return Err(LinkProblem::Outside);
    }
    let mut folder = Folder::TOP;
    let mut found = Vec::with_capacity(parts.len());
    for (at, part) in parts.iter().enumerate() {
        let local = local_component(part).ok_or(LinkProblem::Nothing)?;
        match tree.get(folder, &local).ok_or(LinkProblem::Nothing)? {
            Entry::Folder(inside) => folder = inside,
            Entry::File(file) => {
                // The name may be another file's that was changed into it.
                let (head, tail) = parts.split_at(at + 1);
                let source = source(file);
                let is_meant = source.path.iter().filter(|part| !matches!(**part, "" | ".")).eq(head);
                // Through a link further on: wherever that leads, it leads down from inside the torrent.
                if !is_meant || (!tail.is_empty() && source.link.is_none()) {
                    return Err(LinkProblem::Nothing);
                }
                let mut path = below_top(file, paths).ok_or(LinkProblem::Nothing)?.to_owned();
                for part in tail {
                    path.push('/');
                    path.push_str(&local_component(part).ok_or(LinkProblem::Nothing)?);
                }
                return Ok(path);
            }
        }
        found.push(local);
    }
    if found.is_empty() { Err(LinkProblem::Loop) } else { Ok(found.join("/")) }
}

fn below_top(file: FileIndex, paths: &Inner) -> Option<&str> {
    paths.path(file.as_usize())?.strip_prefix(&*paths.top)?.strip_prefix('/')
}
