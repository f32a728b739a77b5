//! Why nothing was fetched from a server.

use hyper::StatusCode;

use crate::feature::NotBuilt;

/// Why a document was not fetched. The words have no secrets of its address in them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The server's name could not be resolved; why, in words.
    #[error("{0}")]
    Name(String),
    /// The server says that there is no such document.
    #[error("the server answered {}", shown(*.status))]
    NotFound {
        /// HTTP's number for that.
        status: u16,
    },
    /// The server answered something else than a document.
    #[error("the server answered {}", shown(*.status))]
    Status {
        /// HTTP's number for that.
        status: u16,
    },
    /// The server cannot be reached, or must not be asked for this; why, in words.
    #[error("{0}")]
    Unreachable(String),
    /// The deadline passed.
    #[error("no answer in time")]
    TimedOut,
    /// It is longer than was allowed; in words.
    #[error("{0}")]
    TooLong(String),
    /// What came is of no use; why, in words.
    #[error("{0}")]
    Useless(String),
    /// The build has no HTTPS.
    #[error(transparent)]
    NotBuilt(NotBuilt),
}

/// A status with the word that HTTP has for it.
fn shown(status: u16) -> String {
    StatusCode::from_u16(status).map_or_else(|_| status.to_string(), |status| status.to_string())
}
