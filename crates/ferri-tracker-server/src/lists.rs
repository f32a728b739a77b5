//! Lists of torrents and users: read from files and addresses, at the start and again.
//!
//! At the start a list that cannot be used is an error, since a tracker that lets in whom it should not is worse than none. Later the
//! old one stays, and that is told.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ferri_metainfo::display::redact_url;
use ferri_tracker::server::Access;
use ferri_tracker::server::access::{Faults, InfoHashList, LIST_BYTES_MAX, ListError, Passkeys};

use crate::notice::Notice;

/// Who may use the tracker. The default lets everybody in.
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
            Source::File(path) => {
                let stamp = Stamp::of(path);
                self.stamp != stamp && stamp.is_none_or(|stamp| stamp.is_settled())
            }
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

    /// Reads it, and puts it in its place of `access`. Returns how many entries it has.
    pub(crate) fn read(&mut self, tools: &Tools, access: &mut Access) -> Result<usize, Unusable> {
        let text = match &self.source {
            Source::File(path) => {
                // Of what changes while it is read nobody knows which part is new. The next look sees that it is another one.
                self.stamp = Stamp::of(path);
                let text = read_file(path)?;
                if self.stamp != Stamp::of(path) {
                    return Err(Unusable::Content("somebody wrote to it while it was read".to_owned()));
                }
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

/// Reads all lists for the first time.
pub(crate) fn read_all(lists: Lists, tools: &Tools) -> Result<(Vec<InUse>, Access), (String, Unusable)> {
    let named = [
        (Kind::Allow, lists.allow),
        (Kind::Deny, lists.deny),
        (Kind::Passkeys, lists.passkeys.map(Source::File)),
    ];
    let mut access = Access::default();
    let mut in_use = Vec::new();
    for (kind, source) in named {
        let Some(source) = source else { continue };
        let mut list = InUse { kind, source, entries: 0, stamp: None };
        list.entries = list.read(tools, &mut access).map_err(|why| (list.describe(), why))?;
        in_use.push(list);
    }
    Ok((in_use, access))
}

fn too_large(error: ListError) -> Unusable {
    Unusable::Content(error.to_string())
}

/// A list with a line that means nothing is not what somebody meant.
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
    let read = File::open(path).and_then(|file| file.take(limit).read_to_end(&mut text));
    read.map_err(Unusable::Read)?;
    if LIST_BYTES_MAX < text.len() {
        return Err(Unusable::Content(format!("it is longer than {LIST_BYTES_MAX} bytes")));
    }
    Ok(text)
}

/// Whoever rewrites a list in place pauses for less than this.
const SETTLING_TIME: Duration = Duration::from_secs(2);

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

    /// Whether nobody seems to be writing to it. A time that is yet to come says nothing.
    fn is_settled(self) -> bool {
        let age = self.modified.and_then(|modified| modified.elapsed().ok());
        age.is_none_or(|age| SETTLING_TIME <= age)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const TOOLS: Tools = Tools { fetch: None, secret: [1; 16] };

    #[test]
    fn a_list_with_a_bad_line_is_named_with_the_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("allow");
        let hash = "ab".repeat(20);
        let lists = || Lists { allow: Some(Source::File(path.clone())), ..Lists::default() };
        let (name, error) = read_all(lists(), &TOOLS).unwrap_err();
        assert!(name.starts_with("the list of allowed torrents (/"), "{name}");
        assert!(matches!(error, Unusable::Read(_)), "{error}");
        fs::write(&path, format!("{hash}\n\nnot a hash\n")).unwrap();
        let (_, error) = read_all(lists(), &TOOLS).unwrap_err();
        assert!(error.to_string().starts_with("line 3: \"not …\" is no info hash"), "{error}");
        fs::write(&path, format!("{hash}\na\nb\nc\n")).unwrap();
        let (_, error) = read_all(lists(), &TOOLS).unwrap_err();
        assert!(error.to_string().ends_with("; and 2 more lines"), "{error}");
        fs::write(&path, format!("{hash}\n")).unwrap();
        let (in_use, access) = read_all(lists(), &TOOLS).unwrap();
        assert_eq!((in_use.len(), access.allowed.unwrap().len()), (1, 1));
        assert!(!in_use[0].is_changed());
        fs::write(&path, format!("{hash}\n{hash}\n")).unwrap();
        assert!(!in_use[0].is_changed(), "somebody may still be writing");
        let old = SystemTime::now() - 2 * SETTLING_TIME;
        File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
        assert!(in_use[0].is_changed());
        fs::remove_file(&path).unwrap();
        assert!(in_use[0].is_changed());
    }

    #[test]
    fn an_address_is_fetched_and_its_secrets_are_not_shown() {
        let fetch = |url: &str, _: usize| match url {
            "http://x/deny?key=s3cret" => Ok("cd".repeat(20).into_bytes()),
            _ => Err("no answer".to_owned()),
        };
        let tools = Tools { fetch: Some(Fetch(Arc::new(fetch))), secret: [1; 16] };
        let lists = |url: &str| Lists { deny: Some(Source::Url(url.to_owned())), ..Lists::default() };
        let (in_use, access) = read_all(lists("http://x/deny?key=s3cret"), &tools).unwrap();
        assert_eq!(access.denied.unwrap().len(), 1);
        assert_eq!(in_use[0].describe(), "the list of denied torrents (http://x/***?***)");
        let (_, error) = read_all(lists("http://y/"), &tools).unwrap_err();
        assert_eq!(error.to_string(), "cannot fetch it: no answer");
    }
}
