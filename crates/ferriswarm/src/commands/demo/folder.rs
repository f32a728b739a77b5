//! The folder that a demo works in, and takes away again.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::{NAME, ROLES};
use crate::env::Env;
use crate::exit::Failure;

/// A new folder for temporary files. When it is dropped, what the demo made in it goes, by name; what another program
/// put there stays, and then the folder does too.
#[derive(Debug)]
pub(super) struct DemoFolder(PathBuf);

impl DemoFolder {
    /// Made in `TMPDIR`, or in `/tmp`.
    pub(super) fn new(env: &Env) -> Result<Self, Failure> {
        let temporary = env.var("TMPDIR").unwrap_or_else(|| Path::new("/tmp"));
        let made = tempfile::Builder::new().prefix("ferriswarm-demo-").tempdir_in(temporary);
        let made = made.map_err(|error| Failure::file("make a folder in", temporary, &error))?;
        Ok(Self(made.keep()))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Where the downloader keeps its state.
    pub(super) fn state(&self) -> PathBuf {
        self.0.join("state")
    }

    /// Where the downloader puts the payload.
    pub(super) fn download(&self) -> PathBuf {
        self.0.join("download")
    }
}

/// A second Ctrl-C drops the folder while tasks of the sessions still end, and each can make one more file. They take
/// milliseconds.
const REMOVALS_MAX: u32 = 20;
const BETWEEN_REMOVALS: Duration = Duration::from_millis(10);

impl Drop for DemoFolder {
    fn drop(&mut self) {
        // What cannot be removed is left, as it would be after a kill.
        for _ in 0..REMOVALS_MAX {
            self.remove();
            if !self.0.exists() {
                return;
            }
            thread::sleep(BETWEEN_REMOVALS);
        }
    }
}

impl DemoFolder {
    /// What the demo made; the rest stays.
    fn remove(&self) {
        let _ = fs::remove_file(self.0.join(NAME));
        let _ = fs::remove_file(self.download().join(NAME));
        let _ = fs::remove_dir(self.download());
        let _ = fs::remove_dir_all(self.state());
        for role in &ROLES {
            let _ = fs::remove_dir_all(self.0.join(role.name));
        }
        let _ = fs::remove_dir(&self.0);
    }
}
