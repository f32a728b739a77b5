//! Opening files beneath a folder and nowhere else.
//!
//! The folder itself is opened as the user named it (it may be a link they chose). Everything under it is resolved by
//! the kernel with `openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS)`, or, where that call is
//! missing, one component at a time with `O_NOFOLLOW` from a folder that is already held open. Either way a planted
//! link, made before or during the download, is refused with `ELOOP`; there is no moment between a look and a use.
//! Names come from `LocalPaths`, so `..` and absolute paths never get here.

#[cfg(test)]
pub(crate) mod fake;

use std::borrow::Cow;
use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, StatxFlags};
use rustix::io::Errno;

use crate::error::StorageError;
use crate::places::is_refusal;
use crate::way;

/// An open folder under which files are opened.
#[derive(Debug)]
pub(crate) struct Root {
    path: PathBuf,
    folder: OwnedFd,
    rights: Rights,
}

/// What may be done beneath a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rights {
    /// Files may be read. Whatever else is asked for is refused with `ROFS`, as on a file system that is read-only.
    Read,
    /// Files may also be made, written and removed.
    Write,
}

/// What to open a file for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Reading; the file must exist.
    Read,
    /// Reading and writing; the file must exist.
    Write,
    /// Reading and writing; folders and file are created. Mode 0666, less the user's umask.
    Create,
    /// The same, but the file must not exist: `EXIST` when anything has its name.
    New,
}

impl Access {
    fn flags(self) -> OFlags {
        // NONBLOCK: opening a pipe that lies there must not hang; it means nothing for regular files.
        let base = OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        match self {
            Self::Read => base | OFlags::RDONLY,
            Self::Write => base | OFlags::RDWR,
            Self::Create => base | OFlags::RDWR | OFlags::CREATE,
            Self::New => base | OFlags::RDWR | OFlags::CREATE | OFlags::EXCL,
        }
    }
}

impl Root {
    /// Opens the folder, following links in `path` itself.
    pub(crate) fn open(path: &Path, rights: Rights) -> Result<Self, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(Self { path: path.to_path_buf(), folder, rights })
    }

    fn may_write(&self) -> Result<(), Errno> {
        if self.rights == Rights::Write { Ok(()) } else { Err(Errno::ROFS) }
    }

    /// Device and inode of the folder.
    pub(crate) fn identity(&self) -> Result<(u64, u64), Errno> {
        rustix::fs::fstat(&self.folder).map(|stat| identity(&stat))
    }

    /// The path of something beneath or of the folder itself, for messages.
    pub(crate) fn full(&self, relative: &Path) -> PathBuf {
        // What `join` makes of nothing ends with a slash.
        if relative.as_os_str().is_empty() { self.path.clone() } else { self.path.join(relative) }
    }

    /// Opens a regular file. `ISDIR` or `NXIO` when it is something else, `LOOP` when a link is in the way.
    pub(crate) fn open_file(&self, relative: &Path, access: Access) -> Result<OwnedFd, Errno> {
        if access != Access::Read {
            self.may_write()?;
        }
        let relative = &*self.actual(relative)?;
        let flags = access.flags();
        let mode = Mode::from_raw_mode(0o666);
        let opened = match self.resolve(relative, flags, mode) {
            Err(Errno::NOENT) if flags.contains(OFlags::CREATE) => {
                let folder = self.create_folders(relative.parent().unwrap_or_else(|| Path::new("")))?;
                let name = relative.file_name().ok_or(Errno::INVAL)?;
                // EXCL makes the kernel look again: behind FUSE it believes for a second what it saw under this name, and
                // a file that was another name's on a file system that folds names may be gone since.
                match rustix::fs::openat(&folder, name, flags | OFlags::EXCL, mode) {
                    Err(Errno::EXIST) if access == Access::Create => {
                        rustix::fs::openat(&folder, name, flags, mode)?
                    }
                    made => made.map_err(refused)?,
                }
            }
            opened => opened?,
        };
        is_file(&rustix::fs::fstat(&opened)?)?;
        Ok(opened)
    }

    /// What lies at `relative`, links not followed; `None` when nothing does.
    pub(crate) fn stat(&self, relative: &Path) -> Result<Option<Stat>, Errno> {
        let relative = match self.actual(relative) {
            Err(errno) if is_refusal(errno) => return Ok(None),
            relative => &*relative?,
        };
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match self.resolve(relative, flags, Mode::empty()) {
            Ok(found) => rustix::fs::fstat(&found).map(Some),
            // What cannot have this name is not there.
            Err(errno) if errno == Errno::NOENT || is_refusal(errno) => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// An error about `relative` with the path of the link, or of what is no folder, that is in the way to it.
    pub(crate) fn blame(&self, relative: &Path, error: StorageError) -> StorageError {
        let is_folder = |way: &Path| {
            let found = self.stat(way).ok().flatten();
            found.is_some_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Directory)
        };
        let obstacle = || self.full(&way::end_of(relative, is_folder));
        match error {
            StorageError::Symlink { .. } => StorageError::Symlink { path: obstacle() },
            StorageError::NotAFolder { .. } => StorageError::NotAFolder { path: obstacle() },
            other => other,
        }
    }

    /// For a look at many files, one after the other.
    pub(crate) fn looks(&self) -> Looks<'_> {
        Looks { root: self, folder: None }
    }

    /// Names in a folder, at most so many. `None` when it cannot be listed.
    pub(crate) fn list(&self, relative: &Path, most: usize) -> Option<HashSet<OsString>> {
        let folder = self.open_folder(relative).ok()?;
        let entries = rustix::fs::Dir::new(folder).ok()?.take(most);
        let name = |entry: rustix::fs::DirEntry| OsString::from_vec(entry.file_name().to_bytes().to_vec());
        Some(entries.map_while(Result::ok).map(name).collect())
    }

    /// Gives a file another name; `EXIST` when something has it.
    pub(crate) fn rename_file(&self, from: &Path, to: &Path) -> Result<(), Errno> {
        self.rename_into(from, self, to)
    }

    /// The same for a name beneath another folder. `XDEV` when that is on another file system.
    pub(crate) fn rename_into(&self, from: &Path, other: &Self, to: &Path) -> Result<(), Errno> {
        self.may_write()?;
        other.may_write()?;
        let folder =
            |root: &Self, path: &Path| root.open_folder(path.parent().unwrap_or_else(|| Path::new("")));
        let name = |path: &Path| path.file_name().map(ToOwned::to_owned).ok_or(Errno::INVAL);
        let (old, new) = (folder(self, from)?, folder(other, to)?);
        let (from, to) = (name(from)?, name(to)?);
        match rustix::fs::renameat_with(&old, &from, &new, &to, rustix::fs::RenameFlags::NOREPLACE) {
            // Old kernels, and file systems behind FUSE or a network, do not know the flag.
            Err(Errno::INVAL | Errno::NOSYS) => rename_by_link((old.as_fd(), &from), (new.as_fd(), &to)),
            renamed => renamed,
        }
    }

    /// Makes a symbolic link at `relative` that says `target`; folders are created. `EXIST` when something is there.
    pub(crate) fn create_symlink(&self, relative: &Path, target: &Path) -> Result<(), Errno> {
        self.may_write()?;
        let relative = &*self.actual(relative)?;
        let folder = self.create_folders(relative.parent().unwrap_or_else(|| Path::new("")))?;
        rustix::fs::symlinkat(target, &folder, relative.file_name().ok_or(Errno::INVAL)?)
    }

    /// Removes a file; a link is removed, not followed.
    pub(crate) fn remove_file(&self, relative: &Path) -> Result<(), Errno> {
        self.may_write()?;
        let relative = &*self.actual(relative)?;
        let folder = self.open_folder(relative.parent().unwrap_or_else(|| Path::new("")))?;
        rustix::fs::unlinkat(&folder, relative.file_name().ok_or(Errno::INVAL)?, AtFlags::empty())
    }

    /// Removes a folder beneath the root that is empty.
    pub(crate) fn remove_folder(&self, relative: &Path) -> Result<(), Errno> {
        self.may_write()?;
        let relative = &*self.actual(relative)?;
        let folder = self.open_folder(relative.parent().unwrap_or_else(|| Path::new("")))?;
        rustix::fs::unlinkat(&folder, relative.file_name().ok_or(Errno::INVAL)?, AtFlags::REMOVEDIR)
    }

    /// What a link says.
    pub(crate) fn read_link(&self, relative: &Path) -> Result<OsString, Errno> {
        let relative = &*self.actual(relative)?;
        let folder = self.open_folder(relative.parent().unwrap_or_else(|| Path::new("")))?;
        let found = rustix::fs::readlinkat(&folder, relative.file_name().ok_or(Errno::INVAL)?, Vec::new())?;
        Ok(OsString::from_vec(found.into_bytes()))
    }

    /// Opens a folder beneath the root for `fsync`.
    pub(crate) fn open_folder(&self, relative: &Path) -> Result<OwnedFd, Errno> {
        let relative = &*self.actual(relative)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        if relative.as_os_str().is_empty() {
            return rustix::fs::openat(&self.folder, ".", flags, Mode::empty());
        }
        self.resolve(relative, flags | OFlags::NOFOLLOW, Mode::empty())
    }

    /// A folder beneath the root, for [`Looks`]. `relative` is as the file system understands it.
    fn find_folder(&self, relative: &Path) -> Folder {
        if relative.as_os_str().is_empty() {
            return Folder::Root;
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match self.resolve(relative, flags, Mode::empty()) {
            Ok(folder) => Folder::Open(folder),
            Err(Errno::NOENT) => Folder::Absent,
            Err(_) => Folder::Odd,
        }
    }

    /// Makes the folders of `relative` that are missing. Those that were made, the outermost first.
    pub(crate) fn make_folders(&self, relative: &Path) -> Result<Vec<PathBuf>, Errno> {
        self.may_write()?;
        let folders: Vec<&Path> = relative.ancestors().filter(|path| !path.as_os_str().is_empty()).collect();
        let is_missing = |path: &&&Path| matches!(self.stat(path), Ok(None));
        let missing = folders.iter().rev().skip_while(|path| !is_missing(path));
        let missing: Vec<PathBuf> = missing.map(|path| path.to_path_buf()).collect();
        self.create_folders(&self.actual(relative)?)?;
        Ok(missing)
    }

    /// Every folder of `relative`, created where missing (mode 0777, less the umask); the last one, held open.
    fn create_folders(&self, relative: &Path) -> Result<OwnedFd, Errno> {
        let mut folder = rustix::io::fcntl_dupfd_cloexec(&self.folder, 0)?;
        for component in relative.components() {
            let Component::Normal(name) = component else { return Err(Errno::INVAL) };
            match rustix::fs::mkdirat(&folder, name, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(other) => return Err(refused(other)),
            }
            folder = enter(folder.as_fd(), name)?;
        }
        Ok(folder)
    }

    /// The path as the file system understands it.
    #[cfg(not(test))]
    #[allow(clippy::unused_self, clippy::unnecessary_wraps)]
    fn actual<'p>(&self, relative: &'p Path) -> Result<Cow<'p, Path>, Errno> {
        Ok(Cow::Borrowed(relative))
    }

    #[cfg(test)]
    fn actual<'p>(&self, relative: &'p Path) -> Result<Cow<'p, Path>, Errno> {
        fake::actual(&self.path, relative).map(Cow::Owned)
    }

    fn resolve(&self, relative: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        static KERNEL_CANNOT: AtomicBool = AtomicBool::new(false);
        if KERNEL_CANNOT.load(Ordering::Relaxed) {
            return self.walk(relative, flags, mode);
        }
        let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        loop {
            // openat2 refuses a mode without CREATE.
            let mode = if flags.contains(OFlags::CREATE) { mode } else { Mode::empty() };
            match rustix::fs::openat2(&self.folder, relative, flags, mode, how) {
                Err(Errno::NOSYS) => {
                    KERNEL_CANNOT.store(true, Ordering::Relaxed);
                    return self.walk(relative, flags, mode);
                }
                // A sandbox says PERM where it means NOSYS; if it meant PERM, the walk says so too.
                Err(Errno::PERM) => return self.walk(relative, flags, mode),
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return other,
            }
        }
    }

    /// The same promise without `openat2`: each folder is opened from the one before, never through a link.
    fn walk(&self, relative: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        let mut components = relative.components().peekable();
        let mut folder: Option<OwnedFd> = None;
        while let Some(component) = components.next() {
            let Component::Normal(name) = component else { return Err(Errno::INVAL) };
            let from = folder.as_ref().map_or_else(|| self.folder.as_fd(), AsFd::as_fd);
            if components.peek().is_none() {
                return rustix::fs::openat(from, name, flags | OFlags::NOFOLLOW, mode);
            }
            folder = Some(enter(from, name)?);
        }
        Err(Errno::INVAL)
    }
}

/// Gives a file another name by a second one, which is made only where nothing lies. Where there are no hard links, a look
/// has to do.
fn rename_by_link(from: (BorrowedFd<'_>, &OsStr), to: (BorrowedFd<'_>, &OsStr)) -> Result<(), Errno> {
    match rustix::fs::linkat(from.0, from.1, to.0, to.1, AtFlags::empty()) {
        Ok(()) => rustix::fs::unlinkat(from.0, from.1, AtFlags::empty()),
        Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::MLINK) => {
            match rustix::fs::statat(to.0, to.1, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(_) => Err(Errno::EXIST),
                Err(Errno::NOENT) => rustix::fs::renameat(from.0, from.1, to.0, to.1),
                Err(errno) => Err(errno),
            }
        }
        Err(errno) => Err(errno),
    }
}

/// Looks at files one after the other. The folder of the last one is held open, so that a million files cost a call each
/// and no way through the tree.
#[derive(Debug)]
pub(crate) struct Looks<'r> {
    root: &'r Root,
    folder: Option<(PathBuf, Folder)>,
}

/// What lies where files are looked for.
#[derive(Debug)]
enum Folder {
    /// The one beneath which is looked.
    Root,
    Open(OwnedFd),
    Absent,
    /// A link or a file is in the way, or it may not be entered: each file says so itself.
    Odd,
}

impl Looks<'_> {
    /// The folder beneath which it looks.
    pub(crate) fn root(&self) -> &Root {
        self.root
    }

    /// As [`Root::stat`].
    pub(crate) fn stat(&mut self, relative: &Path) -> Result<Option<Stat>, Errno> {
        match self.enter(relative)? {
            Entered::Absent => Ok(None),
            Entered::Odd => self.root.stat(relative),
            Entered::Folder(folder, name) => {
                match rustix::fs::statat(folder, &*name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(found) => Ok(Some(found)),
                    Err(errno) if errno == Errno::NOENT || is_refusal(errno) => Ok(None),
                    // Whatever it is, it has its name there.
                    Err(_) => self.root.stat(relative),
                }
            }
        }
    }

    /// As [`Root::open_file`] for reading, with what the file looks like.
    pub(crate) fn open(&mut self, relative: &Path) -> Result<(OwnedFd, Stat), Errno> {
        match self.enter(relative)? {
            Entered::Absent => Err(Errno::NOENT),
            Entered::Odd => {
                let opened = self.root.open_file(relative, Access::Read)?;
                let found = rustix::fs::fstat(&opened)?;
                Ok((opened, found))
            }
            Entered::Folder(folder, name) => {
                let flags = Access::Read.flags();
                // One component, and a link is not followed: there is no way out of the folder.
                let opened = rustix::fs::openat(folder, &*name, flags, Mode::empty())?;
                let found = rustix::fs::fstat(&opened)?;
                is_file(&found)?;
                Ok((opened, found))
            }
        }
    }

    fn enter<'p>(&mut self, relative: &'p Path) -> Result<Entered<'_, 'p>, Errno> {
        let (folder, name) = match self.root.actual(relative) {
            Err(errno) if is_refusal(errno) => return Ok(Entered::Odd),
            Err(errno) => return Err(errno),
            Ok(Cow::Borrowed(path)) => {
                let (folder, name) = split(path);
                (Cow::Borrowed(folder), Cow::Borrowed(name))
            }
            Ok(Cow::Owned(path)) => {
                let (folder, name) = split(&path);
                (Cow::Owned(folder.to_owned()), Cow::Owned(name.to_owned()))
            }
        };
        // Names come without `.` and `..`; what is none is not looked at in a folder.
        if matches!(name.as_bytes(), b"" | b"." | b"..") {
            return Ok(Entered::Odd);
        }
        if self.folder.as_ref().is_none_or(|(last, _)| last.as_os_str() != folder.as_os_str()) {
            let found = self.root.find_folder(&folder);
            self.folder = Some((folder.into_owned(), found));
        }
        Ok(match &self.folder {
            Some((_, Folder::Root)) => Entered::Folder(self.root.folder.as_fd(), name),
            Some((_, Folder::Open(folder))) => Entered::Folder(folder.as_fd(), name),
            Some((_, Folder::Absent)) => Entered::Absent,
            Some((_, Folder::Odd)) | None => Entered::Odd,
        })
    }
}

/// Where a file is looked for.
enum Entered<'f, 'p> {
    Folder(BorrowedFd<'f>, Cow<'p, OsStr>),
    Absent,
    Odd,
}

/// The folder of a relative path, and the name in it. Cheaper than the standard library, which takes odd paths too.
pub(crate) fn split(path: &Path) -> (&Path, &OsStr) {
    let bytes = path.as_os_str().as_bytes();
    let (folder, name) = match bytes.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&bytes[..slash], &bytes[slash + 1..]),
        None => (&[][..], bytes),
    };
    (Path::new(OsStr::from_bytes(folder)), OsStr::from_bytes(name))
}

/// `ISDIR` or `NXIO` when it is something else.
fn is_file(found: &Stat) -> Result<(), Errno> {
    match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile => Ok(()),
        FileType::Directory => Err(Errno::ISDIR),
        _ => Err(Errno::NXIO),
    }
}

/// Device and inode, which no two things have at a time.
// The fields have other types on other platforms.
#[allow(clippy::unnecessary_cast, trivial_numeric_casts)]
pub(crate) fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev as u64, stat.st_ino as u64)
}

/// Some file systems (exFAT through FUSE) say of a name that they refuse that it is not there, though it was to be made in
/// a folder that is held open.
fn refused(errno: Errno) -> Errno {
    if errno == Errno::NOENT { Errno::INVAL } else { errno }
}

/// When a file was born, in nanoseconds since 1970; 0 when its file system does not tell. Unlike its inode number no other
/// file will ever have it.
pub(crate) fn birth(file: BorrowedFd<'_>) -> i64 {
    match rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::BTIME) {
        Ok(found) if found.stx_mask & StatxFlags::BTIME.bits() != 0 => {
            let born = found.stx_btime;
            born.tv_sec.saturating_mul(1_000_000_000).saturating_add(i64::from(born.tv_nsec))
        }
        _ => 0,
    }
}

/// Opens a sub-folder, refusing a link.
fn enter(folder: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(folder, name, flags, Mode::empty()) {
        // The kernel says NOTDIR for a link too; the message to the user should not.
        Err(Errno::NOTDIR) => {
            let found = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
            let is_link = FileType::from_raw_mode(found.st_mode) == FileType::Symlink;
            Err(if is_link { Errno::LOOP } else { Errno::NOTDIR })
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    const READ: OFlags = OFlags::RDONLY;

    fn setup() -> (tempfile::TempDir, Root) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("in/a/b")).unwrap();
        fs::create_dir(folder.path().join("out")).unwrap();
        fs::write(folder.path().join("in/a/b/file"), b"x").unwrap();
        fs::write(folder.path().join("out/secret"), b"secret").unwrap();
        let root = Root::open(&folder.path().join("in"), Rights::Write).unwrap();
        (folder, root)
    }

    #[test]
    fn both_ways_of_opening_refuse_the_same_things() {
        let (folder, root) = setup();
        let inside = folder.path().join("in");
        symlink("../out", inside.join("dirlink")).unwrap();
        symlink("../out/secret", inside.join("link")).unwrap();
        symlink("a", inside.join("harmless")).unwrap();
        for (path, expected) in [
            ("a/b/file", None),
            ("a/b/none", Some(Errno::NOENT)),
            ("none/file", Some(Errno::NOENT)),
            ("a/b/file/x", Some(Errno::NOTDIR)),
            ("link", Some(Errno::LOOP)),
            ("dirlink/secret", Some(Errno::LOOP)),
            ("harmless/b/file", Some(Errno::LOOP)),
        ] {
            let path = Path::new(path);
            assert_eq!(root.resolve(path, READ, Mode::empty()).err(), expected, "openat2 {path:?}");
            assert_eq!(root.walk(path, READ, Mode::empty()).err(), expected, "walk {path:?}");
        }
        for path in ["../out/secret", "/etc/passwd", "a/../../out/secret"] {
            assert!(root.resolve(Path::new(path), READ, Mode::empty()).is_err(), "{path}");
            assert!(root.walk(Path::new(path), READ, Mode::empty()).is_err(), "{path}");
        }
    }

    #[test]
    fn a_look_at_many_files_finds_what_a_look_at_each_does() {
        let (folder, root) = setup();
        let inside = folder.path().join("in");
        symlink("../out", inside.join("dirlink")).unwrap();
        symlink("../out/secret", inside.join("link")).unwrap();
        symlink("file", inside.join("a/b/link")).unwrap();
        let mut looks = root.looks();
        let paths = [
            "a/b/file",
            "a/b/none",
            "a/b/link",
            "none/file",
            "none/other",
            "a/b/file/x",
            "a/b/file/y",
            "link",
            "dirlink/secret",
            "dirlink/none",
            "a/b",
            "a",
            "none",
            "a/b/file",
        ];
        for path in paths.map(Path::new) {
            let seen = |found: Option<Stat>| found.map(|found| (identity(&found), found.st_mode));
            assert_eq!(looks.stat(path).map(seen), root.stat(path).map(seen), "{path:?}");
            let opened = looks.open(path).map(|(_, found)| identity(&found));
            let alone =
                root.open_file(path, Access::Read).and_then(rustix::fs::fstat).map(|it| identity(&it));
            assert_eq!(opened, alone, "{path:?}");
        }
    }

    #[test]
    fn creating_never_goes_through_a_link() {
        let (folder, root) = setup();
        symlink("../out", folder.path().join("in/sub")).unwrap();
        symlink("../out/new", folder.path().join("in/dangling")).unwrap();
        for path in ["sub/new", "sub/deeper/new", "dangling"] {
            assert_eq!(root.open_file(Path::new(path), Access::Create).unwrap_err(), Errno::LOOP, "{path}");
        }
        assert_eq!(fs::read_dir(folder.path().join("out")).unwrap().count(), 1);
    }

    #[test]
    fn folders_are_made_on_the_way_and_what_is_no_file_is_refused_without_hanging() {
        let (folder, root) = setup();
        root.open_file(Path::new("new/x/y"), Access::Create).unwrap();
        assert!(folder.path().join("in/new/x/y").is_file());
        assert_eq!(root.open_file(Path::new("a/b"), Access::Create).unwrap_err(), Errno::ISDIR);
        assert_eq!(root.open_file(Path::new("a"), Access::Read).unwrap_err(), Errno::ISDIR);
        assert_eq!(root.open_file(Path::new("a/b/file/z"), Access::Create).unwrap_err(), Errno::NOTDIR);
        let pipe = folder.path().join("in/pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        assert_eq!(root.open_file(Path::new("pipe"), Access::Write).unwrap_err(), Errno::NXIO);
        assert_eq!(root.open_file(Path::new("pipe"), Access::Read).unwrap_err(), Errno::NXIO);
    }

    #[test]
    fn the_root_itself_may_be_a_link_the_user_chose() {
        let (folder, _root) = setup();
        symlink("in", folder.path().join("chosen")).unwrap();
        let root = Root::open(&folder.path().join("chosen"), Rights::Write).unwrap();
        assert!(root.open_file(Path::new("a/b/file"), Access::Read).is_ok());
    }

    #[test]
    fn where_only_reading_is_allowed_nothing_else_is_done() {
        let (folder, _root) = setup();
        let inside = folder.path().join("in");
        let root = Root::open(&inside, Rights::Read).unwrap();
        let file = Path::new("a/b/file");
        assert!(root.open_file(file, Access::Read).is_ok() && root.stat(file).is_ok());
        for access in [Access::Write, Access::Create] {
            assert_eq!(root.open_file(file, access).unwrap_err(), Errno::ROFS);
            assert_eq!(root.open_file(Path::new("new/file"), access).unwrap_err(), Errno::ROFS);
        }
        assert_eq!(root.create_symlink(Path::new("link"), file), Err(Errno::ROFS));
        assert_eq!(fs::read(inside.join(file)).unwrap(), b"x");
        assert_eq!(fs::read_dir(&inside).unwrap().count(), 1);
    }

    #[test]
    fn a_rename_without_the_flag_replaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let open = rustix::fs::open(folder.path(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let rename =
            |from: &str, to: &str| rename_by_link((open.as_fd(), from.as_ref()), (open.as_fd(), to.as_ref()));
        let at = |name: &str| folder.path().join(name);
        fs::write(at("x.part"), "whole").unwrap();
        fs::write(at("theirs"), "theirs").unwrap();
        assert_eq!(rename("x.part", "theirs"), Err(Errno::EXIST));
        assert_eq!(fs::read(at("theirs")).unwrap(), b"theirs");
        rename("x.part", "x").unwrap();
        assert_eq!(fs::read(at("x")).unwrap(), b"whole");
        assert!(!at("x.part").exists());
    }
}
