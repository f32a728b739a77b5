//! The engine as the commands see it: everything that touches `ferri_engine` by name starts here.

use std::io::ErrorKind;
use std::sync::Arc;

use ferri_engine::{
    AddTorrent, Error, Events, Fetched, ResolveMagnet, Resolved, Resolving, Session, SessionOptions,
    StorageError, Torrent,
};

use crate::exit::{Exit, Failure};

/// Fetches a .torrent file, or the magnet link that the address leads to.
pub(crate) async fn fetch(url: &str) -> Result<Fetched, Failure> {
    ferri_engine::fetch_torrent(url, None).await.map_err(|error| failure(&error))
}

/// Starts a session.
pub(crate) async fn start(options: SessionOptions) -> Result<Arc<Session>, Failure> {
    Session::start(options).await.map(Arc::new).map_err(|error| failure(&error))
}

/// Begins to look for the torrent of a magnet link.
pub(crate) async fn resolve(session: &Session, magnet: ResolveMagnet) -> Result<Resolving, Failure> {
    session.resolve(magnet).await.map_err(|error| failure(&error))
}

/// Adds a torrent (with what a search for it has) and hears it from its first event on.
///
/// This is a task of its own because a task that another one spawns waits for it to yield: so the subscription is made
/// before the torrent says its first word, where a caller outside the runtime's threads would come too late.
pub(crate) async fn add(
    session: &Arc<Session>,
    add: AddTorrent,
    resolved: Option<Resolved>,
    hearing: Hearing,
) -> Result<(Torrent, Events), Failure> {
    let session = session.clone();
    let adding = tokio::spawn(async move {
        let torrent = match resolved {
            Some(resolved) => session.add_resolved(add, resolved).await?,
            None => session.add(add).await?,
        };
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
        Error::Fetch { dns: true, .. } => Exit::Dns,
        Error::Fetch { not_found: true, .. } => Exit::NotFound,
        Error::Fetch { .. } => Exit::Network,
        Error::Closed => Exit::Internal,
    };
    Failure::new(exit, error.to_string())
}

/// What a disk's refusal means. The text says path, cause and next step already.
pub(crate) fn disk(error: &StorageError) -> Failure {
    let exit = match error {
        StorageError::NoSpace { .. } => Exit::DiskFull,
        StorageError::Busy { .. } => Exit::AlreadyRunning,
        StorageError::Symlink { .. } | StorageError::NotAFile { .. } | StorageError::NotAFolder { .. } => {
            Exit::WouldOverwrite
        }
        StorageError::Invalid(_) => Exit::Internal,
        _ => Exit::Io,
    };
    Failure::new(exit, error.to_string())
}
