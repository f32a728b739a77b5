//! Small files of a state folder, by name: each is as it was put there last, or as it was before, whatever happens in between.
//!
//! ```text
//! magic [u8; 8]  version u16  content  checksum u32      a sealed file
//! ```
//! All numbers are little-endian, and the checksum is the CRC-32C of what comes before it. What is in the files is up to
//! those who put it there.

use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::atomic::{PRIVATE_FILE, PRIVATE_FOLDER, create_folders, read_whole, stage, sync_folder};
use crate::crc32c::crc32c;
use crate::error::StorageError;
use crate::resume::set_aside;
use crate::witness::{Hooks, errno};

/// In the name of what was set aside.
const ASIDE: &str = ".aside-";

/// A folder of such files, and of no others.
#[derive(Debug, Clone)]
pub struct StateFiles {
    folder: PathBuf,
}

impl StateFiles {
    /// Those in `folder`, which is made when it is missing, for its user alone.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, StorageError> {
        let folder = folder.into();
        create_folders(&folder, PRIVATE_FOLDER, &Hooks::default())?;
        Ok(Self { folder })
    }

    /// Where a file is, or would be.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The names of all files, in their order; what was set aside and what a process left that was killed while it wrote are
    /// not among them.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn names(&self) -> Result<Vec<String>, StorageError> {
        let failed = |error| StorageError::reading(&self.folder, errno(error));
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(failed)? {
            if let Ok(name) = entry.map_err(failed)?.file_name().into_string()
                && !name.starts_with('.')
                && !name.contains(ASIDE)
            {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// What is in a file; `None` when it is not there. Of a file that is longer than `bytes_max` one byte more than that: it is
    /// none of those that were put there. A link in its place is not followed.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn read(&self, name: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, StorageError> {
        let path = self.path(name);
        match read(&path, bytes_max) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(Errno::NOENT) => Ok(None),
            // Whatever it is, it is not ours.
            Err(Errno::LOOP | Errno::ISDIR) => Ok(Some(Vec::new())),
            Err(errno) => Err(StorageError::reading(&path, errno)),
        }
    }

    /// Puts files there, each in place of the one before. Once this returns all survive a power cut.
    ///
    /// # Errors
    /// When one cannot be written; what was there before in its place, and in that of those after it, stands.
    pub fn write<'a>(
        &self,
        files: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<(), StorageError> {
        let hooks = Hooks::default();
        let mut is_changed = false;
        for (name, bytes) in files {
            stage(&self.path(name), bytes, PRIVATE_FILE, &hooks)?.put_unsynced(&hooks)?;
            is_changed = true;
        }
        if is_changed { sync_folder(&self.folder, &hooks) } else { Ok(()) }
    }

    /// Takes files away; those that are not there are as good. Once this returns they are gone after a power cut too.
    ///
    /// # Errors
    /// When one cannot be taken away; those named before it are gone.
    pub fn remove(&self, names: &[String]) -> Result<(), StorageError> {
        for name in names {
            let path = self.path(name);
            match fs::remove_file(&path).map_err(errno) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(StorageError::writing(&path, errno)),
            }
        }
        sync_folder(&self.folder, &Hooks::default())
    }

    /// Gives a damaged file another name, under which it stays for those who want to know what happened. Where it is.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub fn set_aside(&self, name: &str) -> Result<PathBuf, StorageError> {
        set_aside(&self.path(name), &Hooks::default())
    }
}

fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>, Errno> {
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = fs::File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path);
    let file = file.map_err(errno)?;
    let length = file.metadata().map_err(errno)?.len();
    read_whole(&file, length, bytes_max.saturating_add(1)).map_err(errno)
}

/// What a sealed file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsealed<'a> {
    /// It is whole.
    Content(&'a [u8]),
    /// It is whole, and of a version that is not known.
    OtherVersion(u16),
    /// It is damaged, or something else.
    Damaged,
}

/// The bytes of a sealed file.
#[must_use]
pub fn seal(magic: [u8; 8], version: u16, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(content.len() + 14);
    bytes.extend(magic);
    bytes.extend(version.to_le_bytes());
    bytes.extend(content);
    bytes.extend(crc32c(0, &bytes).to_le_bytes());
    bytes
}

/// What is in the bytes of a sealed file.
#[must_use]
pub fn unseal(magic: [u8; 8], version: u16, bytes: &[u8]) -> Unsealed<'_> {
    let Some((sealed, checksum)) = bytes.split_last_chunk::<4>() else { return Unsealed::Damaged };
    let content = sealed.strip_prefix(&magic).and_then(|rest| rest.split_first_chunk::<2>());
    match content {
        Some(_) if u32::from_le_bytes(*checksum) != crc32c(0, sealed) => Unsealed::Damaged,
        Some((found, content)) if u16::from_le_bytes(*found) == version => Unsealed::Content(content),
        Some((found, _)) => Unsealed::OtherVersion(u16::from_le_bytes(*found)),
        None => Unsealed::Damaged,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const MAGIC: [u8; 8] = *b"ferritst";

    #[test]
    fn one_wrong_bit_anywhere_breaks_a_seal() {
        let sealed = seal(MAGIC, 3, b"content");
        assert_eq!(unseal(MAGIC, 3, &sealed), Unsealed::Content(b"content"));
        assert_eq!(unseal(MAGIC, 4, &sealed), Unsealed::OtherVersion(3));
        assert_eq!(unseal(*b"ferrioth", 3, &sealed), Unsealed::Damaged);
        for bit in 0..8 * sealed.len() {
            let mut damaged = sealed.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(unseal(MAGIC, 3, &damaged), Unsealed::Damaged, "bit {bit}");
        }
        (0..sealed.len()).for_each(|n| assert_eq!(unseal(MAGIC, 3, &sealed[..n]), Unsealed::Damaged));
    }

    #[test]
    fn files_are_put_read_listed_set_aside_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let files = StateFiles::open(dir.path().join("a/b")).unwrap();
        assert_eq!(files.names().unwrap(), Vec::<String>::new());
        assert_eq!(files.read("x", 9).unwrap(), None);
        files.write([("y", &b"first"[..])]).unwrap();
        files.write([("y", &b"second"[..]), ("x", b"0123456789")]).unwrap();
        // What a process left that was killed.
        fs::write(files.path(".y.1-2.tmp"), b"half").unwrap();
        assert_eq!(files.names().unwrap(), ["x", "y"]);
        assert_eq!(files.read("y", 6).unwrap().unwrap(), b"second");
        assert_eq!(files.read("x", 6).unwrap().unwrap(), b"0123456", "longer than may be");
        let aside = files.set_aside("y").unwrap();
        assert_eq!(fs::read(aside).unwrap(), b"second");
        assert_eq!(files.names().unwrap(), ["x"]);
        files.remove(&["gone".to_owned(), "x".to_owned()]).unwrap();
        assert_eq!(files.names().unwrap(), Vec::<String>::new());
        // A link is not followed.
        std::os::unix::fs::symlink("/etc/hostname", files.path("z")).unwrap();
        assert_eq!(files.read("z", 99).unwrap().unwrap(), b"");
    }
}
