//! File systems that a case mounts for itself, in the lab's own namespace: they end with the value, at the latest with
//! the lab.

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::lab;

/// The user who may use the blocks that an ext4 keeps in reserve: none that runs here.
const RESERVE_FOR: u32 = 65_534;

const UNMOUNT_LIMIT: Duration = Duration::from_secs(20);

/// A mounted file system.
pub(super) struct Mount {
    dir: PathBuf,
}

impl Mount {
    /// A file system in memory.
    pub(super) fn tmpfs(dir: &Path, bytes: u64) -> Result<Self> {
        Self::new(dir, &["-t", "tmpfs", "-o", &format!("size={bytes}"), "small"])
    }

    /// A file system in a new file, with a tenth of its blocks in reserve. Takes the superuser.
    pub(super) fn ext4(image: &str, dir: &Path, bytes: u64) -> Result<Self> {
        fs::File::create(image)?.set_len(bytes)?;
        run(Command::new("mkfs.ext4").args(["-q", "-m", "10", image]))?;
        Self::again(image, dir)
    }

    /// The file system in a file, as it is.
    pub(super) fn again(image: &str, dir: &Path) -> Result<Self> {
        Self::new(dir, &["-o", &format!("loop,resuid={RESERVE_FOR}"), image])
    }

    /// A folder at a second place.
    pub(super) fn bind(from: &Path, dir: &Path) -> Result<Self> {
        Self::new(dir, &["--bind", from.to_str().context("a path that is no text")?])
    }

    fn new(dir: &Path, args: &[&str]) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
        run(Command::new("mount").args(args).arg(dir))?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// Changes how it is mounted.
    pub(super) fn remount(&self, options: &str) -> Result<()> {
        run(Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(&self.dir))
    }

    /// Pulls the plug: what an ext4 has not put on its device by now never gets there.
    pub(super) fn cut(&self, python: &Path) -> Result<()> {
        // EXT4_IOC_SHUTDOWN, without a flush of the journal; the standard library has no name for it.
        const SCRIPT: &str = "import fcntl, os, struct, sys\n\
            fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack('I', 2))";
        run(Command::new(python).args(["-c", SCRIPT]).arg(&self.dir))
    }

    /// Unmounts an image and waits until no program has it: a killed program's own view of the mounts ends a little
    /// later than the program.
    pub(super) fn end(self, image: &str) -> Result<()> {
        run(Command::new("umount").arg(&self.dir))?;
        std::mem::forget(self);
        lab::wait_until(UNMOUNT_LIMIT, "the image to be free", || {
            let devices = Command::new("losetup").args(["--associated", image]).output()?;
            Ok(devices.stdout.is_empty())
        })
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // A program may still be in it; then it ends with that one.
        let _ = run(Command::new("umount").arg("--lazy").arg(&self.dir));
    }
}

/// Makes everything that was written to a file or folder's file system last.
pub(super) fn sync_file_system(path: &Path) -> Result<()> {
    rustix::fs::syncfs(fs::File::open(path)?.as_fd()).with_context(|| format!("syncing {}", path.display()))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("starting {:?}", command.get_program()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}", said.trim());
    Ok(())
}
