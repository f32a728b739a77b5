//! Lists of torrents and users: read from files and addresses, at the start and again.
//!
//! At the start a list that cannot be used is an error, since a tracker that lets in clients it should not is worse
//! than none. Later the old one stays, and that is told.
//!
//! A file that is being written has a part of what it should: it is read when it was not written to for a while.

use std::fmt;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ferri_metainfo::display::redact_url;
use ferri_tracker::server::Access;
use ferri_tracker::server::access::{Faults, InfoHashList, LIST_BYTES_MAX, ListError, Passkeys};

use crate::notice::Notice;
use crate::plain::open_plain;

/// Which clients may use the tracker. The default lets all of them in.
#[derive(Debug, Clone, Default)]
pub struct Lists {
    /// Only these torrents.
    pub allow: Option<Source>,
    /// Never these torrents.
    pub deny: Option<Source>,
    /// Only users with one of these.
    pub passkeys: Option<PathBuf>,
}

/// Where a list of torrents is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Looked at each minute, and read again when it changed.
    File(PathBuf),
    /// Fetched anew every now and then.
    Url(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Url(url) => f.write_str(&redact_url(url)),
        }
    }
}

/// What fetches an address: the body, of at most so many bytes, or why not. It may take its time.
#[derive(Clone)]
pub struct Fetch(pub Arc<FetchFn>);

/// See [`Fetch`].
type FetchFn = dyn Fn(&str, usize) -> Result<Vec<u8>, String> + Send + Sync;

impl fmt::Debug for Fetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fetch")
    }
}

/// Why a list cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// The file cannot be read.
    #[error("cannot read it: {0}")]
    Read(io::Error),
    /// The address cannot be fetched.
    #[error("cannot fetch it: {0}")]
    Fetch(String),
    /// It is too large, or a line of it means nothing.
    #[error("{0}")]
    Content(String),
    /// It changes all the time, so that it is never known to be whole.
    #[error("it is being written")]
    Unsettled,
}

/// The time of files and that of waiting, read at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    pub(crate) instant: Instant,
    pub(crate) calendar: SystemTime,
}

impl Now {
    pub(crate) fn get() -> Self {
        Self { instant: Instant::now(), calendar: SystemTime::now() }
    }
}

/// What a list is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Allow,
    Deny,
    Passkeys,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Allow => "allowed torrents",
            Self::Deny => "denied torrents",
            Self::Passkeys => "passkeys",
        }
    }
}

/// A list in use.
#[derive(Debug)]
pub(crate) struct InUse {
    kind: Kind,
    source: Source,
    /// How many it had when it was read last.
    entries: usize,
    /// What its file looked like when it was last read, well or not.
    stamp: Option<Stamp>,
    /// Since when it is to be read as soon as it is not written to any more.
    wanted: Option<Instant>,
    /// The last line that was read has its end.
    is_ended: bool,
}

impl InUse {
    /// `the list of denied torrents (/etc/tracker/deny)`.
    pub(crate) fn describe(&self) -> String {
        format!("the list of {} ({})", self.kind.name(), self.source)
    }

    /// What is told of it at the start.
    pub(crate) fn first_read(&self) -> Notice {
        Notice::ListRead { list: self.describe(), entries: self.entries }
    }

    /// Whether its file is another one than was read last, or not there any more.
    pub(crate) fn is_changed(&self) -> bool {
        match &self.source {
            Source::File(path) => self.stamp != Stamp::of(path),
            Source::Url(_) => false,
        }
    }

    /// It is to be read again.
    pub(crate) fn want(&mut self, now: Now) {
        self.wanted.get_or_insert(now.instant);
    }

    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted.is_some()
    }

    /// Whether it is to be read at once. One that is written to without an end is read after a while as it is.
    pub(crate) fn is_due(&self, now: Now) -> bool {
        self.wanted.is_some_and(|since| {
            !self.is_fresh(now.calendar) || UNSETTLED_MAX <= now.instant.saturating_duration_since(since)
        })
    }

    /// Whether its file may be written to just now.
    fn is_fresh(&self, calendar: SystemTime) -> bool {
        match &self.source {
            Source::File(path) => Stamp::of(path).is_some_and(|stamp| !stamp.is_settled(calendar)),
            Source::Url(_) => false,
        }
    }

    pub(crate) fn is_url(&self) -> bool {
        matches!(self.source, Source::Url(_))
    }

    /// What is told when it was read again and has so many entries.
    pub(crate) fn read_again(&mut self, entries: usize) -> Notice {
        let before = std::mem::replace(&mut self.entries, entries);
        let list = self.describe();
        if entries == 0 && before != 0 {
            Notice::ListEmptied { list, before }
        } else {
            Notice::ListRead { list, entries }
        }
    }

    /// Reads it for the first time. One that seems to be being written, with a line that means nothing or without an
    /// end, is read again until it was not written to for a while.
    fn read_first(
        &mut self,
        tools: &Tools,
        access: &mut Access,
        clock: &mut impl Clock,
    ) -> Result<usize, Unusable> {
        for _ in 0..FIRST_READS {
            let read = self.read(tools, access);
            let is_whole = match &read {
                Ok(_) => self.is_ended,
                Err(Unusable::Content(_) | Unusable::Unsettled) => false,
                Err(_) => true,
            };
            if is_whole || !self.is_fresh(clock.calendar()) {
                return read;
            }
            clock.pause(FIRST_READS_PAUSE);
        }
        Err(Unusable::Unsettled)
    }

    /// Reads it, and puts it in its place of `access`. Returns how many entries it has.
    pub(crate) fn read(&mut self, tools: &Tools, access: &mut Access) -> Result<usize, Unusable> {
        self.wanted = None;
        let text = match &self.source {
            Source::File(path) => {
                // Of what changes while it is read it is not known which part is new. The next look sees that it is
                // another one.
                self.stamp = Stamp::of(path);
                let text = read_file(path)?;
                if self.stamp != Stamp::of(path) {
                    return Err(Unusable::Unsettled);
                }
                self.is_ended = text.ends_with(b"\n");
                text
            }
            Source::Url(url) => match &tools.fetch {
                Some(fetch) => (fetch.0)(url, LIST_BYTES_MAX).map_err(Unusable::Fetch)?,
                None => return Err(Unusable::Fetch("nothing here fetches addresses".to_owned())),
            },
        };
        match self.kind {
            Kind::Allow | Kind::Deny => {
                let (list, faults) = InfoHashList::parse(&text).map_err(too_large)?;
                faultless(&faults)?;
                let entries = list.len();
                let place = if self.kind == Kind::Allow { &mut access.allowed } else { &mut access.denied };
                *place = Some(Arc::new(list));
                Ok(entries)
            }
            Kind::Passkeys => {
                let (passkeys, faults) = Passkeys::parse(&text, tools.secret).map_err(too_large)?;
                faultless(&faults)?;
                let entries = passkeys.len();
                access.passkeys = Some(Arc::new(passkeys));
                Ok(entries)
            }
        }
    }
}

/// What lists are read with.
#[derive(Debug)]
pub(crate) struct Tools {
    pub(crate) fetch: Option<Fetch>,
    /// The registry's, which knows users by it.
    pub(crate) secret: [u8; 16],
}

/// What the start waits by.
pub(crate) trait Clock {
    fn calendar(&self) -> SystemTime;
    fn pause(&mut self, time: Duration);
}

/// The clock on the wall.
#[derive(Debug)]
pub(crate) struct WallClock;

impl Clock for WallClock {
    fn calendar(&self) -> SystemTime {
        SystemTime::now()
    }

    fn pause(&mut self, time: Duration) {
        std::thread::sleep(time);
    }
}

/// Reads all lists for the first time.
pub(crate) fn read_all(
    lists: Lists,
    tools: &Tools,
    clock: &mut impl Clock,
) -> Result<(Vec<InUse>, Access), (String, Unusable)> {
    let named = [
        (Kind::Allow, lists.allow),
        (Kind::Deny, lists.deny),
        (Kind::Passkeys, lists.passkeys.map(Source::File)),
    ];
    let mut access = Access::default();
    let mut in_use = Vec::new();
    for (kind, source) in named {
        let Some(source) = source else { continue };
        let mut list = InUse { kind, source, entries: 0, stamp: None, wanted: None, is_ended: true };
        let read = list.read_first(tools, &mut access, clock);
        list.entries = read.map_err(|why| (list.describe(), why))?;
        in_use.push(list);
    }
    Ok((in_use, access))
}

fn too_large(error: ListError) -> Unusable {
    Unusable::Content(error.to_string())
}

/// A list with a line that means nothing is not what its author meant.
fn faultless(faults: &Faults) -> Result<(), Unusable> {
    let Some(first) = faults.first.first() else { return Ok(()) };
    Err(Unusable::Content(match faults.count - 1 {
        0 => first.to_string(),
        1 => format!("{first}; and 1 more line"),
        more => format!("{first}; and {more} more lines"),
    }))
}

fn read_file(path: &Path) -> Result<Vec<u8>, Unusable> {
    let mut text = Vec::new();
    let limit = LIST_BYTES_MAX as u64 + 1;
    let read = open_plain(path).and_then(|file| file.take(limit).read_to_end(&mut text));
    read.map_err(Unusable::Read)?;
    if LIST_BYTES_MAX < text.len() {
        return Err(Unusable::Content(format!("it is longer than {LIST_BYTES_MAX} bytes")));
    }
    Ok(text)
}

/// A program that rewrites a list in place pauses for less than this.
const SETTLING_TIME: Duration = Duration::from_secs(2);

/// A file that is written to without a pause is read after this time nevertheless: with most of what it should have it is better than
/// an old one, and a line that is cut is told.
const UNSETTLED_MAX: Duration = Duration::from_secs(60);

/// How often a list is read at the start while it is being written: for longer than [`SETTLING_TIME`].
const FIRST_READS: u32 = 12;

/// The pause between two of them.
const FIRST_READS_PAUSE: Duration = Duration::from_millis(250);

const _: () = assert!(SETTLING_TIME.as_millis() < FIRST_READS as u128 * FIRST_READS_PAUSE.as_millis());

/// How a file that was written to is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    inode: u64,
}

impl Stamp {
    /// `None` when there is no such file.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let found = fs::metadata(path).ok()?;
        Some(Self { modified: found.modified().ok(), length: found.len(), inode: found.ino() })
    }

    /// Whether it seems not to be written to. A time that is yet to come says nothing.
    pub(crate) fn is_settled(self, calendar: SystemTime) -> bool {
        let age = self.modified.and_then(|modified| calendar.duration_since(modified).ok());
        age.is_none_or(|age| SETTLING_TIME <= age)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs::File;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    const TOOLS: Tools = Tools { fetch: None, secret: [1; 16] };

    /// Time that passes in pauses only. In each of them a program does something to the list.
    struct TestClock<F> {
        passed: Duration,
        meanwhile: F,
    }

    impl<F: FnMut(Duration)> TestClock<F> {
        fn new(meanwhile: F) -> Self {
            Self { passed: Duration::ZERO, meanwhile }
        }
    }

    impl<F: FnMut(Duration)> Clock for TestClock<F> {
        fn calendar(&self) -> SystemTime {
            SystemTime::UNIX_EPOCH + BEGIN + self.passed
        }

        fn pause(&mut self, time: Duration) {
            self.passed += time;
            (self.meanwhile)(self.passed);
        }
    }

    const BEGIN: Duration = Duration::from_secs(1_700_000_000);

    /// Writes as if so much time had passed.
    fn write(path: &Path, text: &str, passed: Duration) {
        fs::write(path, text).unwrap();
        let file = File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + BEGIN + passed).unwrap();
    }

    /// What is read at the start of a list that says `first`, while `meanwhile` happens, and how long that took.
    fn start(path: &Path, first: &str, meanwhile: impl FnMut(Duration)) -> (Result<usize, String>, Duration) {
        write(path, first, Duration::ZERO);
        let lists = Lists { allow: Some(Source::File(path.to_owned())), ..Lists::default() };
        let mut clock = TestClock::new(meanwhile);
        let read = read_all(lists, &TOOLS, &mut clock);
        (read.map(|(lists, _)| lists[0].entries).map_err(|(_, why)| why.to_string()), clock.passed)
    }

    #[test]
    fn a_list_that_is_being_written_at_the_start_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("allow");
        let (one, half) = (format!("{}\n", "ab".repeat(20)), "cd".repeat(9));
        let second = |passed: Duration| Duration::from_secs(1) <= passed;
        // Whole: there is no wait, however new it is.
        assert_eq!(start(&path, &one, |_| ()), (Ok(1), Duration::ZERO));
        // Half a line, the beginning of which is all there is, or nothing yet.
        for begin in [format!("{one}{half}"), one.trim_end().to_owned(), String::new()] {
            let rest = format!("{one}{}\n", "cd".repeat(20));
            let finish = |passed| {
                if second(passed) {
                    write(&path, &rest, passed);
                }
            };
            assert_eq!(start(&path, &begin, finish), (Ok(2), Duration::from_secs(1)), "{begin:?}");
        }
        // It is not written any further: it is what it is.
        assert_eq!(start(&path, one.trim_end(), |_| ()), (Ok(1), SETTLING_TIME));
        let (read, passed) = start(&path, &format!("{one}{half}"), |_| ());
        assert!(read.as_ref().unwrap_err().starts_with("line 2: "), "{read:?}");
        assert_eq!(passed, SETTLING_TIME);
        // Without an end.
        let (read, passed) = start(&path, &half, |passed| write(&path, &half, passed));
        assert_eq!(read.unwrap_err(), "it is being written");
        assert!(passed < 2 * SETTLING_TIME, "{passed:?}");
    }

    #[test]
    fn a_list_with_a_bad_line_is_named_with_the_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("allow");
        let hash = "ab".repeat(20);
        let read = || {
            let lists = Lists { allow: Some(Source::File(path.clone())), ..Lists::default() };
            read_all(lists, &TOOLS, &mut TestClock::new(|_| ()))
        };
        let (name, error) = read().unwrap_err();
        assert!(name.starts_with("the list of allowed torrents (/"), "{name}");
        assert!(matches!(error, Unusable::Read(_)), "{error}");
        write(&path, &format!("{hash}\n\nnot a hash\n"), Duration::ZERO);
        let (_, error) = read().unwrap_err();
        assert!(error.to_string().starts_with("line 3: \"not …\" is no info hash"), "{error}");
        write(&path, &format!("{hash}\na\nb\nc\n"), Duration::ZERO);
        let (_, error) = read().unwrap_err();
        assert!(error.to_string().ends_with("; and 2 more lines"), "{error}");
        write(&path, &format!("{hash}\n"), Duration::ZERO);
        let (in_use, access) = read().unwrap();
        assert_eq!((in_use.len(), access.allowed.unwrap().len()), (1, 1));
    }

    #[test]
    fn only_a_plain_file_is_a_list() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        mknodat(CWD, &fifo, FileType::Fifo, Mode::from(0o600), 0).unwrap();
        let devices = ["/dev/zero", "/dev/null"].map(|path| (PathBuf::from(path), "a device"));
        let others = [(fifo, "a FIFO or pipe"), (folder.path().to_owned(), "a folder")];
        for (path, what) in others.into_iter().chain(devices) {
            let file = Some(Source::File(path.clone()));
            for lists in [
                Lists { allow: file.clone(), ..Lists::default() },
                Lists { deny: file, ..Lists::default() },
                Lists { passkeys: Some(path), ..Lists::default() },
            ] {
                let (_, error) = read_all(lists, &TOOLS, &mut TestClock::new(|_| ())).unwrap_err();
                assert_eq!(error.to_string(), format!("cannot read it: it is {what}, not a plain file"));
            }
        }
    }

    #[test]
    fn a_list_that_is_wanted_is_due_when_nobody_writes_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("allow");
        write(&path, "", Duration::ZERO);
        let source = Source::File(path.clone());
        let mut list = InUse {
            kind: Kind::Allow,
            source,
            entries: 0,
            stamp: Stamp::of(&path),
            wanted: None,
            is_ended: true,
        };
        let begun = Instant::now();
        let at = |passed: Duration| Now {
            instant: begun + passed,
            calendar: SystemTime::UNIX_EPOCH + BEGIN + passed,
        };
        assert!(!list.is_changed() && !list.is_due(at(UNSETTLED_MAX)));
        write(&path, "#\n", Duration::from_secs(1));
        assert!(list.is_changed());
        list.want(at(Duration::from_secs(1)));
        assert!(!list.is_due(at(Duration::from_millis(2_900))));
        assert!(list.is_due(at(Duration::from_secs(3))));
        // It is written to all the time.
        write(&path, "#\n", Duration::from_millis(60_500));
        assert!(!list.is_due(at(Duration::from_millis(60_900))));
        assert!(list.is_due(at(Duration::from_secs(61))));
        list.read(&TOOLS, &mut Access::default()).unwrap();
        assert!(!list.is_changed() && !list.is_wanted());
        fs::remove_file(&path).unwrap();
        list.want(at(Duration::ZERO));
        assert!(list.is_changed() && list.is_due(at(Duration::ZERO)));
    }

    #[test]
    fn an_address_is_fetched_and_its_secrets_are_not_shown() {
        let fetch = |url: &str, _: usize| match url {
            "http://x/deny?key=s3cret" => Ok("cd".repeat(20).into_bytes()),
            _ => Err("no answer".to_owned()),
        };
        let tools = Tools { fetch: Some(Fetch(Arc::new(fetch))), secret: [1; 16] };
        let read = |url: &str| {
            let lists = Lists { deny: Some(Source::Url(url.to_owned())), ..Lists::default() };
            read_all(lists, &tools, &mut TestClock::new(|_| ()))
        };
        let (in_use, access) = read("http://x/deny?key=s3cret").unwrap();
        assert_eq!(access.denied.unwrap().len(), 1);
        assert_eq!(in_use[0].describe(), "the list of denied torrents (http://x/***?***)");
        let (_, error) = read("http://y/").unwrap_err();
        assert_eq!(error.to_string(), "cannot fetch it: no answer");
    }
}
