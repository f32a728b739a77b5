//! The file that a command writes, or standard output.

use std::path::{Path, PathBuf};

use crate::console::Console;
use crate::env::Env;
use crate::exit::{Exit, Failure};
use crate::session;

/// Where the bytes go.
#[derive(Debug)]
pub(crate) enum Out {
    Stdout,
    File { path: PathBuf, typed: PathBuf },
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

impl Out {
    /// `typed` is what follows `-o`, or the name that goes without it. Fails when something is in the way.
    pub(crate) fn new(env: &Env, typed: PathBuf, existing: Existing) -> Result<Self, Failure> {
        if typed.as_os_str() == "-" {
            return Ok(Self::Stdout);
        }
        let path = env.path(&typed);
        if path.is_dir() {
            return Err(Failure::new(Exit::WouldOverwrite, format!("{} is a folder", typed.display()))
                .hint("name the file: -o FOLDER/NAME.torrent"));
        }
        if existing == Existing::Keep && path.symlink_metadata().is_ok() {
            return Err(Failure::new(Exit::WouldOverwrite, format!("{} is there already", typed.display()))
                .hint("choose another name with -o, or overwrite it with --force"));
        }
        Ok(Self::File { path, typed })
    }

    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::Stdout => None,
            Self::File { path, .. } => Some(path),
        }
    }

    pub(crate) fn write(&self, bytes: &[u8], console: &Console) -> Result<(), Failure> {
        match self {
            Self::Stdout => console.answer_bytes(bytes),
            Self::File { path, .. } => {
                ferri_engine::atomic_write(path, bytes).map_err(|error| session::disk(&error))
            }
        }
    }
}
