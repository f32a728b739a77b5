//! An [`Image`] as real files, on which a real storage starts.
//!
//! The storage knows its files by inode and time. So every file of a run is kept under a second name in a stash; an
//! image fills these same inodes again, sets their times and gives them their names back.

use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};

use super::model::{Image, Node};

/// A folder with the disk of a run, on a memory file system if there is one.
#[derive(Debug)]
pub(super) struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    pub(super) fn new() -> io::Result<Self> {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() {
            tempfile::tempdir_in(memory).or_else(|_| tempfile::tempdir())
        } else {
            tempfile::tempdir()
        };
        let bench = Self { folder: folder? };
        fs::create_dir(bench.stash())?;
        fs::create_dir(bench.disk())?;
        Ok(bench)
    }

    /// What the machine sees.
    pub(super) fn disk(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    pub(super) fn stash(&self) -> PathBuf {
        self.folder.path().join("stash")
    }

    /// Makes the disk what the image says.
    pub(super) fn restore(&self, image: &Image) -> io::Result<()> {
        for entry in fs::read_dir(self.disk())? {
            fs::remove_dir_all(entry?.path())?;
        }
        for (path, node) in &image.names {
            match node {
                Node::Folder => fs::create_dir(path)?,
                Node::Link(target) => symlink(target, path)?,
                Node::File(inode) => {
                    let stashed = self.stash().join(inode.to_string());
                    if let Some((bytes, time)) = image.files.get(inode) {
                        let file = fs::File::options().write(true).open(&stashed)?;
                        file.set_len(bytes.len() as u64)?;
                        file.write_all_at(bytes, 0)?;
                        file.set_modified(*time)?;
                    }
                    fs::hard_link(&stashed, path)?;
                }
            }
        }
        Ok(())
    }
}
