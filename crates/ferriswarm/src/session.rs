//! The engine as the commands see it: everything that touches `ferri_engine` by name starts here.

use std::io::ErrorKind;
use std::net::IpAddr;
use std::sync::Arc;

use ferri_engine::{
    AddTorrent, Error, Events, FetchError, Fetched, Session, SessionOptions, StorageError, Torrent,
};

use crate::exit::{Exit, Failure};

/// Fetches a .torrent file, or the magnet link that the address leads to, from `bind`.
pub(crate) async fn fetch(url: &str, bind: Option<IpAddr>) -> Result<Fetched, Failure> {
    ferri_engine::fetch_torrent(url, bind).await.map_err(|error| failure(&error))
}

/// Fetches what is at an address, of at most `limit` bytes, from `bind`, or says why not without naming it.
#[cfg_attr(not(feature = "tracker-server"), expect(dead_code, reason = "only `tracker` or `demo` needs it"))]
pub(crate) async fn fetch_document(url: &str, bind: Option<IpAddr>, limit: usize) -> Result<Vec<u8>, String> {
    ferri_engine::fetch_document(url, bind, limit).await.map_err(|error| match error {
        Error::Fetch { reason, .. } => reason.to_string(),
        error => error.to_string(),
    })
}

/// Starts a session.
pub(crate) async fn start(options: SessionOptions) -> Result<Arc<Session>, Failure> {
    Session::start(options).await.map(Arc::new).map_err(|error| failure(&error))
}

/// Lets a torrent go on that waits for a choice, and hears it from here on.
pub(crate) async fn choose(torrent: Torrent, add: AddTorrent) -> Result<(Torrent, Events), Failure> {
    let events = torrent.events();
    torrent.choose(add).await.map_err(|error| failure(&error))?;
    Ok((torrent, events))
}

/// Adds a torrent and hears it from its first event on.
///
/// This is a task of its own because a task that another one spawns waits for it to yield: so the subscription is made
/// before the torrent says its first word, where a caller outside the runtime's threads would come too late.
pub(crate) async fn add(
    session: &Arc<Session>,
    add: AddTorrent,
    hearing: Hearing,
) -> Result<(Torrent, Events), Failure> {
    let session = session.clone();
    let adding = tokio::spawn(async move {
        let torrent = session.add(add).await?;
        if hearing == Hearing::EveryMessage {
            torrent.follow();
        }
        let events = torrent.events();
        Ok((torrent, events))
    });
    match adding.await {
        Ok(result) => result.map_err(|error| failure(&error)),
        Err(error) => Err(Failure::new(Exit::Internal, format!("the torrent could not be added: {error}"))),
    }
}

/// How much of a torrent's talk is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hearing {
    /// What happens.
    Events,
    /// Also every message between the peers.
    EveryMessage,
}

/// What an engine's refusal means to a script and to a person.
pub(crate) fn failure(error: &Error) -> Failure {
    let exit = match error {
        Error::Listen { .. } => Exit::Network,
        Error::AlreadyRunning(_) => Exit::AlreadyRunning,
        Error::Unsupported(_) | Error::Name(_) | Error::BadInfo(_) => Exit::BadTorrent,
        Error::Storage(error) => return disk(error),
        Error::Io { path, source } if source.kind() == ErrorKind::AlreadyExists => {
            return Failure::new(Exit::WouldOverwrite, format!("{} is there already", path.display()))
                .hint("choose another name, or take it away first");
        }
        Error::Io { path, source } => return Failure::file("use", path, source),
        Error::Fetch { reason: FetchError::Name(_), .. } => Exit::Dns,
        Error::Fetch { reason: FetchError::NotFound { .. }, .. } => Exit::NotFound,
        Error::Fetch { .. } => Exit::Network,
        Error::Limits(_) | Error::NotBuilt(_) => Exit::Usage,
        Error::Store(_) => Exit::Internal,
        Error::NoSuchTorrent => Exit::NotFound,
        _ => Exit::Internal,
    };
    let failure = Failure::new(exit, error.to_string());
    match next_step(error) {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// What can be done about a refusal whose text does not say so.
fn next_step(error: &Error) -> Option<&'static str> {
    match error {
        Error::Fetch { reason: FetchError::Name(_), .. } => {
            Some("check the name and this machine's connection, then try again")
        }
        Error::Fetch { reason: FetchError::NotFound { .. }, .. } => {
            Some("open the address in a browser: the page it came from may have moved")
        }
        Error::Fetch { .. } => Some("try again, or fetch the file with a browser and give its name"),
        Error::BadInfo(_) => Some("no client can use it: ask the maker of the torrent for another one"),
        Error::Name(_) => Some("ask the maker of the torrent for another one"),
        Error::Closed | Error::Fault(_) => Some("run the command again"),
        // These say it.
        _ => None,
    }
}

/// What a disk's refusal means. Nearly every text says path, cause and next step already.
pub(crate) fn disk(error: &StorageError) -> Failure {
    let exit = match error {
        StorageError::NoSpace { .. } | StorageError::NoFiles { .. } => Exit::DiskFull,
        StorageError::Busy { .. } => Exit::AlreadyRunning,
        error if error.is_in_the_way() => Exit::WouldOverwrite,
        // Only a fault of this program writes to what is shared, or takes a look that was stopped for a result.
        StorageError::Invalid(_) | StorageError::OnlyRead { .. } | StorageError::Halted => Exit::Internal,
        _ => Exit::Io,
    };
    let failure = Failure::new(exit, error.to_string());
    match error {
        StorageError::Read { .. } | StorageError::Write { .. } => {
            failure.hint("look at the device and the file system, then run the command again")
        }
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::PathBuf;

    use ferri_engine::Conflict;
    use ferri_metainfo::{Metainfo, MetainfoError};

    use ferri_engine::Unsupported;

    use super::*;
    use crate::stutter::stutters;

    fn path() -> PathBuf {
        PathBuf::from("/a/b")
    }

    fn source() -> io::Error {
        ErrorKind::PermissionDenied.into()
    }

    fn disk_errors() -> Vec<StorageError> {
        let (path, source) = (path, source);
        vec![
            StorageError::NoSpace { path: path(), needed: 2, available: 1 },
            StorageError::NoFiles { path: path(), available: 1 },
            StorageError::ReadOnly { path: path() },
            StorageError::Denied { path: path() },
            StorageError::Read { path: path(), source: source() },
            StorageError::Write { path: path(), source: source() },
            StorageError::Missing { path: path() },
            StorageError::Moved { path: path() },
            StorageError::Truncated { path: path(), expected: 1 },
            StorageError::Symlink { path: path() },
            StorageError::NotAFile { path: path() },
            StorageError::NotAFolder { path: path() },
            StorageError::Folder { path: path(), source: source() },
            StorageError::TooLarge { path: path() },
            StorageError::Busy { path: path() },
            StorageError::NoState { path: path() },
            StorageError::SameFile { path: path() },
            StorageError::Padding { path: path(), piece: 3 },
            StorageError::Name { path: path(), source: source() },
            StorageError::InUse { path: path() },
            StorageError::OnlyRead { path: path() },
            StorageError::Changed { path: path() },
            StorageError::Taken { path: path(), torrent: "\"a\" (aa)".into(), by: "\"b\" (bb)".into() },
            StorageError::InTheWay { path: path(), why: Conflict::Foreign },
            StorageError::InTheWay { path: path(), why: Conflict::Differs },
            StorageError::InTheWay { path: path(), why: Conflict::Longer },
            StorageError::InTheWay { path: path(), why: Conflict::Undecided },
            StorageError::InTheWay { path: path(), why: Conflict::Changed },
            StorageError::Halted,
            StorageError::Invalid("a bitfield of another torrent"),
        ]
    }

    fn info_errors() -> Vec<MetainfoError> {
        let broken: [&[u8]; 12] = [
            b"",
            b"i1e",
            b"d",
            b"<html>",
            b"de",
            b"d4:infode",
            b"d4:infoi1ee",
            b"d4:infod4:name1:aee",
            b"d4:infod6:lengthi1e4:name1:a12:piece lengthi1eee",
            b"d4:infod6:lengthi1e4:name1:a12:piece lengthi16384e6:pieces1:aee",
            b"d4:infod5:filesle4:name1:a12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaaee",
            b"d4:infod12:meta versioni9e4:name1:a12:piece lengthi16384eee",
        ];
        broken.iter().filter_map(|bytes| Metainfo::parse(bytes).err()).collect()
    }

    fn errors() -> Vec<Error> {
        let fetch = |reason| Error::Fetch { url: "http://a.example/b".to_owned(), reason };
        let mut errors = vec![
            Error::Listen { addr: ([127, 0, 0, 1], 1).into(), source: source() },
            Error::AlreadyRunning([7; 20].into()),
            Error::Unsupported(Unsupported::VersionTwoOnly),
            Error::Io { path: path(), source: source() },
            Error::Io { path: path(), source: ErrorKind::AlreadyExists.into() },
            fetch(FetchError::Name("the server's name does not resolve".to_owned())),
            fetch(FetchError::NotFound { status: 404 }),
            fetch(FetchError::TimedOut),
            Error::Fault("a thread panicked".to_owned()),
            Error::Closed,
        ];
        errors.extend(disk_errors().into_iter().map(Error::Storage));
        errors.extend(info_errors().into_iter().map(Error::BadInfo));
        errors
    }

    #[test]
    fn no_refusal_says_anything_twice() {
        for error in errors() {
            let failure = failure(&error);
            assert!(!stutters(&failure.message), "{}", failure.message);
        }
    }

    #[test]
    fn every_refusal_says_what_to_do_next() {
        for error in errors() {
            let failure = failure(&error);
            let is_said = failure.message.contains("; ")
                || failure.hint.is_some()
                || matches!(error, Error::Unsupported(_));
            let is_ours = failure.exit == Exit::Internal;
            let is_plain = matches!(&error, Error::Storage(StorageError::NoState { .. }));
            assert!(is_said || is_ours || is_plain, "{}", failure.message);
        }
    }
}
