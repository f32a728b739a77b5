//! The file that a command writes, or standard output.
//!
//! Every option that names an output does the same. A file that is there stays unless the person wants it replaced, and
//! only a plain file is ever replaced: no link, device or folder. What cannot be written is told before any work is
//! done. The bytes come under the final name as a whole, so that an end at any moment leaves no half file, and what
//! appeared there meanwhile is not replaced either.

use std::ffi::OsStr;
use std::fs::{File, Metadata, Permissions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::console::Console;
use crate::env::Env;
use crate::exit::{Exit, Failure};

/// Where the bytes go.
#[derive(Debug)]
pub(crate) enum Out {
    Stdout,
    File { path: PathBuf, typed: PathBuf, existing: Existing },
}

/// What becomes of a file that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    Keep,
    Replace,
}

impl Existing {
    pub(crate) fn with_force(force: bool) -> Self {
        if force { Self::Replace } else { Self::Keep }
    }
}

/// Which file it is, whatever its names are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    pub(crate) fn of(meta: &Metadata) -> Self {
        Self { device: meta.dev(), inode: meta.ino() }
    }
}

impl Out {
    /// `typed` is what follows `-o`, or the name that goes without it. Fails when something is in the way, or when nothing
    /// can be written there.
    pub(crate) fn new(env: &Env, typed: PathBuf, existing: Existing) -> Result<Self, Failure> {
        if typed.as_os_str() == "-" {
            return Ok(Self::Stdout);
        }
        let path = env.path(&typed);
        nothing_in_the_way(&path, &typed, existing)?;
        // A file without a name, gone when it is closed: proof that one with a name can be made.
        let folder = path.parent().unwrap_or(&path);
        tempfile::tempfile_in(folder).map_err(|error| match error.kind() {
            // As some file systems say it, `/proc` among them.
            io::ErrorKind::NotFound if folder.is_dir() => {
                Failure::new(Exit::Io, format!("cannot write {}: no file can be made there", typed.display()))
                    .hint("choose another folder with -o")
            }
            _ => Failure::file("write", &typed, &error),
        })?;
        Ok(Self::File { path, typed, existing })
    }

    /// The file that will be replaced.
    pub(crate) fn replaced(&self) -> Option<Identity> {
        match self {
            Self::Stdout => None,
            Self::File { path, .. } => path.symlink_metadata().ok().map(|meta| Identity::of(&meta)),
        }
    }

    pub(crate) fn write(&self, bytes: &[u8], console: &Console) -> Result<(), Failure> {
        match self {
            Self::Stdout => console.answer_bytes(bytes),
            Self::File { path, typed, existing } => put(path, typed, *existing, bytes),
        }
    }
}

/// The name of the torrent of something that is called so: `NAME.torrent`, shortened to what a file system takes.
pub(crate) fn torrent_name(name: &OsStr) -> PathBuf {
    const SUFFIX: &str = ".torrent";
    let bytes = name.as_bytes();
    let mut end = bytes.len().min(NAME_BYTES_MAX - SUFFIX.len());
    // Not in the middle of a letter.
    while end < bytes.len() && 0 < end && bytes[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    let mut name = OsStr::from_bytes(&bytes[..end]).to_owned();
    name.push(SUFFIX);
    PathBuf::from(name)
}

/// Bytes of one name that Linux takes.
const NAME_BYTES_MAX: usize = 255;

fn nothing_in_the_way(path: &Path, typed: &Path, existing: Existing) -> Result<(), Failure> {
    let refused = |what: &str| Failure::new(Exit::WouldOverwrite, format!("{} {what}", typed.display()));
    let meta = match path.symlink_metadata() {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let is_folder = typed.as_os_str().as_bytes().ends_with(b"/");
            let named = || refused("names a folder").hint("name the file: -o FOLDER/NAME.torrent");
            return if is_folder { Err(named()) } else { Ok(()) };
        }
        Err(error) => return Err(Failure::file("write", typed, &error)),
    };
    if path.is_dir() {
        return Err(refused("is a folder").hint("name the file: -o FOLDER/NAME.torrent"));
    }
    let plain = "only a plain file is ever replaced: choose another name with -o";
    match (existing, special(&meta)) {
        (_, Some(what)) => Err(refused(what).hint(plain)),
        (Existing::Keep, None) => {
            Err(refused("is there already").hint("choose another name with -o, or overwrite it with --force"))
        }
        (Existing::Replace, None) => Ok(()),
    }
}

/// What is no plain file.
fn special(meta: &Metadata) -> Option<&'static str> {
    let kind = meta.file_type();
    if kind.is_file() {
        None
    } else if kind.is_symlink() {
        Some("is a symbolic link")
    } else if kind.is_fifo() {
        Some("is a named pipe")
    } else if kind.is_block_device() || kind.is_char_device() {
        Some("is a device")
    } else {
        Some("is no plain file")
    }
}

fn put(path: &Path, typed: &Path, existing: Existing, bytes: &[u8]) -> Result<(), Failure> {
    let failed = |error: &io::Error| Failure::file("write", typed, error);
    // A whole path, seen from the folder that the command runs in; the root itself is no file.
    let folder = path.parent().unwrap_or(path);
    // A name of its own length, as the final one may be as long as names can be. The umask takes what it takes.
    let mut staged = tempfile::Builder::new()
        .prefix(".ferriswarm-")
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder)
        .map_err(|error| failed(&error))?;
    staged.write_all(bytes).and_then(|()| staged.as_file().sync_all()).map_err(|error| failed(&error))?;
    // It may have come since this was asked first.
    nothing_in_the_way(path, typed, existing)?;
    let placed = match existing {
        Existing::Keep => staged.persist_noclobber(path),
        Existing::Replace => staged.persist(path),
    };
    placed.map_err(|error| match error.error.kind() {
        io::ErrorKind::AlreadyExists => {
            Failure::new(Exit::WouldOverwrite, format!("{} has appeared meanwhile", typed.display()))
                .hint("choose another name with -o, or overwrite it with --force")
        }
        _ => failed(&error.error),
    })?;
    // Whether the name survives a power cut is the folder's; some file systems cannot sync one, and the file is there.
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::console::Wanted;
    use crate::testing::env;

    struct Place {
        folder: tempfile::TempDir,
        env: Env,
        console: Console,
    }

    impl Place {
        fn new() -> Self {
            let (mut env, _) = env(&[]);
            let folder = tempfile::tempdir().unwrap();
            env.dir = folder.path().to_owned();
            let console = Console::new(&env, Wanted::default(), None);
            Self { folder, env, console }
        }

        fn out(&self, name: &str, existing: Existing) -> Result<Out, Failure> {
            Out::new(&self.env, PathBuf::from(name), existing)
        }

        #[track_caller]
        fn refused(&self, name: &str, existing: Existing, exit: Exit, why: &str) {
            let failure = self.out(name, existing).unwrap_err();
            assert_eq!(failure.exit, exit, "{failure}");
            assert!(failure.message.contains(why), "{failure}");
        }

        fn names(&self) -> usize {
            fs::read_dir(self.folder.path()).unwrap().count()
        }
    }

    #[test]
    fn what_appears_meanwhile_is_not_replaced() {
        let place = Place::new();
        let out = place.out("a", Existing::Keep).unwrap();
        assert_eq!(place.names(), 0, "asking leaves nothing");
        fs::write(place.folder.path().join("a"), "theirs").unwrap();
        let failure = out.write(b"ours", &place.console).unwrap_err();
        assert_eq!(failure.exit, Exit::WouldOverwrite);
        assert_eq!(fs::read(place.folder.path().join("a")).unwrap(), b"theirs");
        assert_eq!(place.names(), 1, "no scraps");
    }

    #[test]
    fn a_link_that_appears_meanwhile_is_not_replaced_even_by_force() {
        let place = Place::new();
        let out = place.out("a", Existing::Replace).unwrap();
        symlink("elsewhere", place.folder.path().join("a")).unwrap();
        assert_eq!(out.write(b"ours", &place.console).unwrap_err().exit, Exit::WouldOverwrite);
        assert!(place.folder.path().join("a").is_symlink());
    }

    #[test]
    fn only_plain_files_are_replaced() {
        let place = Place::new();
        let at = |name: &str| place.folder.path().join(name);
        fs::write(at("file"), "theirs").unwrap();
        symlink("file", at("link")).unwrap();
        symlink("nowhere", at("dangling")).unwrap();
        fs::create_dir(at("folder")).unwrap();
        std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        for existing in [Existing::Keep, Existing::Replace] {
            place.refused("link", existing, Exit::WouldOverwrite, "is a symbolic link");
            place.refused("dangling", existing, Exit::WouldOverwrite, "is a symbolic link");
            place.refused("folder", existing, Exit::WouldOverwrite, "is a folder");
            place.refused("new/", existing, Exit::WouldOverwrite, "names a folder");
            place.refused("socket", existing, Exit::WouldOverwrite, "is no plain file");
            place.refused("/dev/null", existing, Exit::WouldOverwrite, "is a device");
        }
        place.refused("file", Existing::Keep, Exit::WouldOverwrite, "is there already");
        let out = place.out("file", Existing::Replace).unwrap();
        out.write(b"ours", &place.console).unwrap();
        assert_eq!(fs::read(at("file")).unwrap(), b"ours");
        assert_eq!(place.names(), 5);
    }

    #[test]
    fn what_cannot_be_written_is_told_at_once() {
        let place = Place::new();
        place.refused("missing/a", Existing::Keep, Exit::NotFound, "missing/a");
        place.refused("/proc/a", Existing::Keep, Exit::Io, "/proc/a");
        place.refused(&"n".repeat(256), Existing::Keep, Exit::Io, "cannot write");
        let longest = "n".repeat(255);
        let out = place.out(&longest, Existing::Keep).unwrap();
        out.write(b"ours", &place.console).unwrap();
        assert_eq!(fs::read(place.folder.path().join(longest)).unwrap(), b"ours");
    }

    #[test]
    fn names_of_torrents_are_no_longer_than_names_can_be() {
        assert_eq!(torrent_name(OsStr::new("a")), Path::new("a.torrent"));
        let long = torrent_name(OsStr::new(&"é".repeat(127)));
        assert_eq!(long.to_str().unwrap(), format!("{}.torrent", "é".repeat(123)));
    }
}
