//! `--log-file`: what is told and what happens, with the time, to be read later. Appended to, never a reason to end.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

use crate::sink::Sink;

/// A log that others append to as well. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Log(Sink);

impl Log {
    /// Opens `path`, made if it is not there. A pipe without a reader is refused instead of waited for.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        let flags = i32::try_from(flags.bits()).expect("flags of open(2) are a C int");
        let file = OpenOptions::new().append(true).create(true).custom_flags(flags).open(path)?;
        Ok(Self(Sink::new(file)))
    }

    /// One line, or several.
    pub(crate) fn line(&self, text: &str) {
        // Without what makes it bold on a terminal.
        let text = text.replace("\u{1b}[1m", "").replace("\u{1b}[0m", "");
        self.0.say(format!("{:.3}  {}\n", jiff::Timestamp::now(), text.trim_end()).as_bytes());
    }

    /// For the log of what happens inside.
    pub(crate) fn sink(&self) -> Sink {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn lines_are_appended_with_their_time_and_without_escapes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, "before\n").unwrap();
        for text in ["\u{1b}[1mname\u{1b}[0m  2 MiB", "end\n"] {
            let log = Log::open(&path).unwrap();
            log.line(text);
            log.sink().settle();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "before");
        assert!(lines[1].ends_with("Z  name  2 MiB") && lines[2].ends_with("Z  end"), "{text}");
        assert!(Log::open(folder.path()).is_err());
    }
}
