//! Exit codes, and the failure that carries one to `main`.
//!
//! The numbers keep aria2's meaning where it has one, so that scripts can be ported.

use std::{fmt, io, path::Path};

use ferri_metainfo::display::redact_words;

/// How the program ended, as scripts see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Everything asked for was done.
    Done,
    /// A fault of ours.
    Internal,
    /// The command line cannot be understood.
    Usage,
    /// A file or address is not there.
    NotFound,
    /// Nothing moved for as long as was allowed.
    Stalled,
    /// The network, a tracker or a web server is in the way.
    Network,
    /// Stopped on request before the end; the same command continues.
    Interrupted,
    /// No space left on the device.
    DiskFull,
    /// Another process works on this torrent with the same state folder.
    AlreadyRunning,
    /// A file that is in the way would be overwritten.
    WouldOverwrite,
    /// Reading or writing a file failed.
    Io,
    /// A host name cannot be resolved.
    Dns,
    /// Not a torrent, or one that cannot be used.
    BadTorrent,
    /// Not a magnet link, or one that cannot be used.
    BadMagnet,
    /// The data is not what the torrent says.
    VerifyFailed,
    /// Ended at once by a second Ctrl-C.
    Killed,
}

impl Exit {
    /// The number given to the operating system.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Internal => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Stalled => 5,
            Self::Network => 6,
            Self::Interrupted => 7,
            Self::DiskFull => 9,
            Self::AlreadyRunning => 11,
            Self::WouldOverwrite => 13,
            Self::Io => 17,
            Self::Dns => 19,
            Self::BadTorrent => 26,
            Self::BadMagnet => 27,
            Self::VerifyFailed => 32,
            Self::Killed => 130,
        }
    }

    const ALL: [Self; 16] = [
        Self::Done,
        Self::Internal,
        Self::Usage,
        Self::NotFound,
        Self::Stalled,
        Self::Network,
        Self::Interrupted,
        Self::DiskFull,
        Self::AlreadyRunning,
        Self::WouldOverwrite,
        Self::Io,
        Self::Dns,
        Self::BadTorrent,
        Self::BadMagnet,
        Self::VerifyFailed,
        Self::Killed,
    ];

    /// Which of several ends is the worst, and so the command's: what a person must mend comes after what the same command,
    /// given again, may do.
    pub(crate) fn severity(self) -> usize {
        const ORDER: [Exit; 16] = [
            Exit::Done,
            Exit::Interrupted,
            Exit::Stalled,
            Exit::Network,
            Exit::Dns,
            Exit::AlreadyRunning,
            Exit::NotFound,
            Exit::BadMagnet,
            Exit::BadTorrent,
            Exit::Usage,
            Exit::WouldOverwrite,
            Exit::VerifyFailed,
            Exit::DiskFull,
            Exit::Io,
            Exit::Internal,
            Exit::Killed,
        ];
        ORDER.iter().position(|exit| *exit == self).unwrap_or(ORDER.len())
    }

    const fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Internal => "internal error",
            Self::Usage => "the command line is wrong",
            Self::NotFound => "a file or address was not found",
            Self::Stalled => "nothing moved for the time of --stop-after-stalled",
            Self::Network => "the network, a tracker or a server failed",
            Self::Interrupted => "interrupted; the same command continues",
            Self::DiskFull => "disk full",
            Self::AlreadyRunning => "already running with this state folder",
            Self::WouldOverwrite => "a file would be overwritten",
            Self::Io => "reading or writing a file failed",
            Self::Dns => "a host name cannot be resolved",
            Self::BadTorrent => "not a usable torrent",
            Self::BadMagnet => "not a usable magnet link",
            Self::VerifyFailed => "the data does not match the torrent",
            Self::Killed => "ended at once by a second Ctrl-C",
        }
    }

    /// The table for `--help` and the manual: only the codes that the command can give.
    pub(crate) fn table(codes: &[Self]) -> String {
        let mut text = String::from("Exit codes:\n");
        for exit in Self::ALL.iter().filter(|exit| codes.contains(exit)) {
            text.push_str(&format!("  {:<4}{}\n", exit.code(), exit.meaning()));
        }
        text
    }

    pub(crate) fn whole_table() -> String {
        Self::table(&Self::ALL)
    }
}

/// Why a command ends early: the exit code, what happened, and what can be done.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// One sentence: the object and the cause. May hold text from outside; sanitised when printed.
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    /// The answer's reader has left, as `head` does; it does not want to read about it.
    pub(crate) is_reader_gone: bool,
}

/// What can be done about what should not happen.
const REPORT_IT: &str = "this is a fault of the program: please report it, with what you typed";

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        let hint = (exit == Exit::Internal).then(|| REPORT_IT.to_owned());
        Self { exit, message: message.into(), hint, is_reader_gone: false }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same without the secrets of `url`, whose server may have had a word in it.
    pub(crate) fn without_secrets(self, url: &str) -> Self {
        Self { message: redact_words(&self.message, url), ..self }
    }

    /// Standard input could not be read.
    pub(crate) fn stdin(error: &io::Error) -> Self {
        Self::new(Exit::Io, format!("cannot read standard input: {error}"))
            .hint("give a file by its name, or send it once more")
    }

    /// A file operation: `doing` is a verb such as `read`.
    pub(crate) fn file(doing: &str, path: &Path, error: &io::Error) -> Self {
        let place = path;
        let path = path.display();
        match error.kind() {
            io::ErrorKind::NotFound => {
                Self::new(Exit::NotFound, format!("cannot {doing} {path}: there is no such file or folder"))
                    .hint("check the name, and the folder that you are in")
            }
            io::ErrorKind::StorageFull if ferri_engine::is_out_of_files(place) => {
                let message = format!("cannot {doing} {path}: the file system has no room for more files");
                Self::new(Exit::DiskFull, message)
                    .hint("its inodes are used up: remove files, or choose another folder with -o")
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::new(Exit::DiskFull, format!("cannot {doing} {path}: no space left"))
                    .hint("make room, or choose another folder with -o")
            }
            io::ErrorKind::PermissionDenied => {
                Self::new(Exit::Io, format!("cannot {doing} {path}: permission denied"))
                    .hint("change its owner or mode, or run this as a user who may")
            }
            io::ErrorKind::NotADirectory if doing == "read" => {
                Self::new(Exit::NotFound, format!("cannot {doing} {path}: a file is in the way to it"))
                    .hint("check the name, and the folder that you are in")
            }
            io::ErrorKind::NotADirectory => {
                Self::new(Exit::WouldOverwrite, format!("cannot {doing} {path}: a file is in the way to it"))
                    .hint("move that file away, or choose another folder with -o")
            }
            _ if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) && doing != "read" => {
                Self::new(
                    Exit::WouldOverwrite,
                    format!("cannot {doing} {path}: a link is in the way that leads to itself"),
                )
                .hint("remove that link, or choose another folder with -o")
            }
            _ => Self::new(Exit::Io, format!("cannot {doing} {path}: {error}"))
                .hint("look at the device and the file system, then run the command again"),
        }
    }

    /// The answer that a command exists for could not be written to standard output.
    pub(crate) fn unanswered(error: &io::Error) -> Self {
        let exit = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Exit::DiskFull,
            _ => Exit::Io,
        };
        let is_reader_gone = error.kind() == io::ErrorKind::BrokenPipe;
        let failure = Self::new(exit, format!("cannot write to standard output: {error}"))
            .hint("send it to another file or program");
        Self { is_reader_gone, ..failure }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_and_in_order() {
        let codes: Vec<u8> = Exit::ALL.iter().map(|exit| exit.code()).collect();
        assert_eq!(codes, [0, 1, 2, 3, 5, 6, 7, 9, 11, 13, 17, 19, 26, 27, 32, 130]);
    }

    #[test]
    fn every_end_has_its_place_among_the_bad_ones() {
        let mut places: Vec<usize> = Exit::ALL.iter().map(|exit| exit.severity()).collect();
        places.sort_unstable();
        assert_eq!(places, (0..Exit::ALL.len()).collect::<Vec<_>>());
        assert!(Exit::Interrupted.severity() < Exit::NotFound.severity());
    }

    #[test]
    fn a_table_lists_only_what_the_command_can_give() {
        let table = Exit::table(&[Exit::VerifyFailed, Exit::Done]);
        assert_eq!(table, "Exit codes:\n  0   done\n  32  the data does not match the torrent\n");
    }

    #[test]
    fn a_missing_file_and_a_full_disk_have_their_own_codes() {
        let missing = Failure::file("read", Path::new("x"), &io::ErrorKind::NotFound.into());
        assert_eq!(missing.exit, Exit::NotFound);
        assert_eq!(missing.message, "cannot read x: there is no such file or folder");
        let full = Failure::file("write", Path::new("x"), &io::ErrorKind::StorageFull.into());
        assert_eq!(full.exit, Exit::DiskFull);
    }
}
