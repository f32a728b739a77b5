//! What a file looks like, taken from the disk and compared with what is remembered.

use rustix::fs::Stat;

use crate::journal::Stamp;

/// How a file differs from what is remembered of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Likeness {
    /// As far as can be told it does not.
    Same,
    /// Its inode was changed, and size and time are as they were: another mode, owner or hard link, or an edit whose time was
    /// set back. Only its bytes tell.
    Touched,
    /// It was written to, cut or replaced.
    Changed,
}

impl Stamp {
    /// How this differs from what was `known`.
    pub(crate) fn compare(&self, known: &Self) -> Likeness {
        if (self.size, self.mtime, self.inode) != (known.size, known.mtime, known.inode) {
            return Likeness::Changed;
        }
        let is_known = self.ctime != 0 && known.ctime != 0;
        if is_known && self.ctime != known.ctime { Likeness::Touched } else { Likeness::Same }
    }

    /// Nothing is known of the inode: only size, time and number are compared.
    pub(crate) fn forget_ctime(&mut self) {
        self.ctime = 0;
    }

    // The fields have other types on other platforms.
    #[allow(clippy::unnecessary_cast, trivial_numeric_casts)]
    pub(crate) fn of(stat: &Stat) -> Self {
        let nanoseconds =
            |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
        Self {
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime: nanoseconds(stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            inode: stat.st_ino as u64,
            ctime: nanoseconds(stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        }
    }
}
