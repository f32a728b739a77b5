//! Which of a folder's files are shared: what `--include`, `--exclude` and `--no-hidden` say, and what systems leave
//! behind.

use globset::{Glob, GlobSet, GlobSetBuilder};

use crate::args;
use crate::exit::Failure;

/// The flags, ready to be asked.
#[derive(Debug)]
pub(crate) struct Choice {
    include: GlobSet,
    exclude: GlobSet,
    no_hidden: bool,
    follow_symlinks: bool,
}

/// What becomes of a file or folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It, or a folder that it lies in, is wanted by `--include`.
    Named,
    Unnamed,
    Litter,
    Hidden,
    Excluded,
}

impl Choice {
    /// `name` is that of the torrent, with which patterns may begin.
    pub(crate) fn new(args: &args::ChoiceArgs, name: &str) -> Result<Self, Failure> {
        Ok(Self {
            include: globs("--include", &args.include, name)?,
            exclude: globs("--exclude", &args.exclude, name)?,
            no_hidden: args.no_hidden,
            follow_symlinks: args.follow_symlinks,
        })
    }

    pub(crate) fn follows_links(&self) -> bool {
        self.follow_symlinks
    }

    /// Only what is named is shared.
    pub(crate) fn has_includes(&self) -> bool {
        !self.include.is_empty()
    }

    /// `path` is not empty; `is_named` says whether the folder around it is.
    pub(crate) fn verdict(&self, path: &[String], is_named: bool) -> Verdict {
        let name = path.last().map_or("", String::as_str);
        let whole = path.join("/");
        let matches = |set: &GlobSet| set.is_match(&whole) || set.is_match(name);
        if matches(&self.exclude) {
            Verdict::Excluded
        } else if is_named || matches(&self.include) {
            Verdict::Named
        } else if is_litter(name) {
            Verdict::Litter
        } else if self.no_hidden && name.starts_with('.') {
            Verdict::Hidden
        } else {
            Verdict::Unnamed
        }
    }
}

fn globs(flag: &str, typed: &[String], name: &str) -> Result<GlobSet, Failure> {
    let wrong = |error: globset::Error| {
        Failure::usage(format!("{flag}: {error}")).hint(format!("as in {flag} '*.flac'"))
    };
    let mut builder = GlobSetBuilder::new();
    for pattern in typed {
        // `folder/` is how people write a folder.
        let pattern = if pattern.len() == 1 { pattern } else { pattern.trim_end_matches('/') };
        builder.add(Glob::new(pattern).map_err(wrong)?);
        if let Some(below) = pattern.strip_prefix(name).and_then(|rest| rest.strip_prefix('/')) {
            builder.add(Glob::new(below).map_err(wrong)?);
        }
    }
    builder.build().map_err(wrong)
}

/// What operating systems, desktops and network drives put beside people's files.
fn is_litter(name: &str) -> bool {
    let is = |known: &&str| name.eq_ignore_ascii_case(known);
    // AppleDouble: what macOS keeps about a file on a foreign file system. NFS: a file that was removed while open. Ours:
    // an output that was killed before it was whole.
    let is_beside = name.starts_with("._") && name != "._"
        || [".nfs0", ".ferriswarm-"].iter().any(|prefix| name.starts_with(prefix));
    is_beside || LITTER.iter().any(is)
        // The bin of a user on a Unix drive.
        || name.strip_prefix(".Trash-").is_some_and(|user| user.bytes().all(|b| b.is_ascii_digit()))
}

const LITTER: [&str; 23] = [
    // macOS
    ".DS_Store",
    ".AppleDouble",
    ".AppleDB",
    ".AppleDesktop",
    ".LSOverride",
    ".DocumentRevisions-V100",
    ".fseventsd",
    ".Spotlight-V100",
    ".TemporaryItems",
    ".Trashes",
    ".VolumeIcon.icns",
    ".apdisk",
    "__MACOSX",
    "Icon\r",
    // Windows
    "Thumbs.db",
    "ehthumbs.db",
    "ehthumbs_vista.db",
    "desktop.ini",
    "$RECYCLE.BIN",
    "System Volume Information",
    // Unix desktops and drives
    ".directory",
    "lost+found",
    "@eaDir",
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn choice(include: &[&str], exclude: &[&str], no_hidden: bool) -> Choice {
        let owned = |globs: &[&str]| globs.iter().map(|glob| (*glob).to_owned()).collect();
        let (include, exclude) = (owned(include), owned(exclude));
        let args = args::ChoiceArgs { include, exclude, no_hidden, follow_symlinks: false };
        Choice::new(&args, "top").unwrap()
    }

    fn verdict(choice: &Choice, path: &str) -> Verdict {
        choice.verdict(&path.split('/').map(str::to_owned).collect::<Vec<_>>(), false)
    }

    #[test]
    fn litter_is_known_in_any_case_and_nothing_else_is() {
        let plain = choice(&[], &[], false);
        for name in
            [".DS_Store", "thumbs.DB", "Desktop.ini", "._photo.jpg", ".Trash-1000", "Icon\r", ".nfs0000001"]
        {
            assert_eq!(verdict(&plain, &format!("a/{name}")), Verdict::Litter, "{name}");
        }
        for name in
            ["DS_Store", "thumbs.dbx", ".hidden", "_", "._", "Icon", ".Trash-x", ".nfsrc", "directory"]
        {
            assert_eq!(verdict(&plain, &format!("a/{name}")), Verdict::Unnamed, "{name}");
        }
    }

    #[test]
    fn patterns_match_paths_names_and_folders() {
        let flac = choice(&["*.flac"], &["bonus/", "*/live?.flac"], false);
        assert_eq!(verdict(&flac, "cd1/01.flac"), Verdict::Named);
        assert_eq!(verdict(&flac, "cd1/01.mp3"), Verdict::Unnamed);
        assert_eq!(verdict(&flac, "bonus"), Verdict::Excluded);
        assert_eq!(verdict(&flac, "cd1/live1.flac"), Verdict::Excluded);
        assert!(flac.has_includes());
        let whole = choice(&["top/cd1"], &[], false);
        assert_eq!(verdict(&whole, "cd1"), Verdict::Named);
        assert_eq!(whole.verdict(&["cd1".to_owned(), "x".to_owned()], true), Verdict::Named);
    }

    #[test]
    fn what_is_named_is_neither_litter_nor_hidden() {
        let all = choice(&["*"], &[], true);
        assert_eq!(verdict(&all, ".DS_Store"), Verdict::Named);
        assert_eq!(verdict(&all, ".config"), Verdict::Named);
        assert_eq!(verdict(&choice(&[], &[], true), ".config"), Verdict::Hidden);
        assert_eq!(verdict(&choice(&["*"], &[".config"], true), ".config"), Verdict::Excluded);
    }
}
