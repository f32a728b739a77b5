//! The engine as the commands see it: everything that touches `ferri_engine` by name starts here.

use ferri_engine::{Error, StorageError};

use crate::exit::{Exit, Failure};

/// Fetches a .torrent file.
pub(crate) async fn fetch(url: &str) -> Result<Vec<u8>, Failure> {
    ferri_engine::fetch_torrent(url, None).await.map_err(|error| failure(&error))
}

/// What an engine's refusal means to a script and to a person.
pub(crate) fn failure(error: &Error) -> Failure {
    let exit = match error {
        Error::Listen { .. } => Exit::Network,
        Error::AlreadyRunning(_) => Exit::AlreadyRunning,
        Error::Unsupported(_) | Error::Name(_) => Exit::BadTorrent,
        Error::Storage(error) => return disk(error),
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
