//! The 68 bytes that open a connection (BEP 3), in both directions, within a deadline.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use ferri_metainfo::InfoHash;
use ferri_wire::{DecodeError, Handshake};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::egress::Egress;
use crate::services::Services;

/// Long enough for a bad line; short enough that silent dialers do not pile up.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection with both handshakes exchanged, or none.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// A peer dialled us.
    Accepted {
        /// The connection.
        stream: TcpStream,
        /// The other end.
        addr: SocketAddr,
        /// What it said.
        handshake: Handshake,
    },
    /// We dialled a peer.
    Dialled {
        /// Whom.
        addr: SocketAddr,
        /// The connection and what the peer said, or why there is none.
        result: Result<(TcpStream, Handshake), String>,
    },
}

/// Why no peer came of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("no connection: {0}")]
    Connect(io::Error),
    #[error("no answer in time")]
    Timeout,
    #[error("the connection ended in the handshake: {0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Decode(#[from] DecodeError),
    #[error("the peer answered for another torrent")]
    WrongTorrent,
    #[error("the peer asked for a torrent that is not here")]
    UnknownTorrent,
}

/// Connects to `addr` and shakes hands. A hybrid torrent has an `other` name, and peers that once met version 2 at our
/// address answer with it.
pub(crate) async fn dial(
    egress: &Egress,
    addr: SocketAddr,
    ours: &Handshake,
    other: Option<InfoHash>,
) -> Result<(TcpStream, Handshake), HandshakeError> {
    let mut stream = match timeout(CONNECT_TIMEOUT, egress.connect(addr)).await {
        Ok(stream) => stream.map_err(HandshakeError::Connect)?,
        Err(_) => return Err(HandshakeError::Timeout),
    };
    let theirs = timeout(HANDSHAKE_TIMEOUT, async {
        stream.write_all(&ours.encode()).await?;
        read(&mut stream).await
    })
    .await
    .map_err(|_| HandshakeError::Timeout)??;
    if theirs.info_hash != ours.info_hash && Some(theirs.info_hash) != other {
        return Err(HandshakeError::WrongTorrent);
    }
    Ok((stream, theirs))
}

/// Dials a peer in a task of its own; how that went comes to `arrivals`.
pub(crate) fn dial_for(
    services: &Services,
    addr: SocketAddr,
    ours: Handshake,
    other: Option<InfoHash>,
    arrivals: mpsc::Sender<Arrival>,
) {
    let egress = services.egress.clone();
    let dial = async move {
        let result = dial(&egress, addr, &ours, other).await.map_err(|error| error.to_string());
        // The torrent may have ended meanwhile.
        let _ = arrivals.send(Arrival::Dialled { addr, result }).await;
    };
    services.spawn_until_stop(dial);
}

/// Reads what a dialer says, finds the torrent it means through `find`, and answers.
pub(crate) async fn accept<T>(
    stream: &mut TcpStream,
    find: impl Fn(&InfoHash) -> Option<(T, Handshake)>,
) -> Result<(T, Handshake), HandshakeError> {
    timeout(HANDSHAKE_TIMEOUT, async {
        stream.set_nodelay(true)?;
        let theirs = read(stream).await?;
        let (torrent, ours) = find(&theirs.info_hash).ok_or(HandshakeError::UnknownTorrent)?;
        stream.write_all(&ours.encode()).await?;
        Ok((torrent, theirs))
    })
    .await
    .map_err(|_| HandshakeError::Timeout)?
}

/// Reads a handshake, refusing another protocol at its first wrong byte.
async fn read(stream: &mut TcpStream) -> Result<Handshake, HandshakeError> {
    let mut bytes = [0; 68];
    let mut filled = 0;
    loop {
        let read = stream.read(&mut bytes[filled..]).await?;
        if read == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        filled += read;
        if let Some((handshake, _)) = Handshake::decode_prefix(&bytes[..filled])? {
            return Ok(handshake);
        }
    }
}
