//! Why a tracker does not start, and what it tells while it runs.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::lists::Unusable;

/// Why a tracker does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken, or not one of this machine.
    #[error("cannot listen on {addr}: {source}")]
    Listen {
        /// Where.
        addr: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// Two addresses that were asked for are in each other's way.
    #[error("cannot listen on {addr} beside {other}: one has what the other needs")]
    Twice {
        /// The second.
        addr: SocketAddr,
        /// The first.
        other: SocketAddr,
    },
    /// The name to listen on has no address.
    #[error("cannot find the address of {place}: {source}")]
    Resolve {
        /// What was typed.
        place: String,
        /// What the system says.
        source: io::Error,
    },
    /// A list cannot be used.
    #[error("{list}: {why}")]
    List {
        /// Which one.
        list: String,
        /// What is wrong with it.
        why: Unusable,
    },
    /// The certificate or its key cannot be used, or is missing.
    #[error("{0}")]
    Tls(String),
    /// The file that a restart begins with cannot be read or written.
    #[error("cannot use {path}, which a restart begins with: {why}", path = path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// Another tracker writes to that file, and what both know would be lost by turns.
    #[error("another tracker begins with {path} and writes to it", path = path.display())]
    StateBusy {
        /// The file.
        path: PathBuf,
    },
    /// The system gives no thread, or nothing to wait with.
    #[error("cannot start a worker: {0}")]
    Worker(io::Error),
}
