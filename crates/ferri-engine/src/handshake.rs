//! What opens a connection, in both directions, within a deadline: the 68 bytes of BEP 3.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use ferri_metainfo::InfoHash;
use ferri_wire::{DecodeError, Handshake};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::{Instrument, Span};

use crate::egress::Egress;
use crate::panics::caught;
use crate::peer::link::Link;
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
        link: Link,
        /// What it said.
        handshake: Handshake,
    },
    /// We dialled a peer.
    Dialled {
        /// The torrent that is meant.
        addr: SocketAddr,
        /// The connection and what the peer said, or why there is none.
        result: Result<(Link, Handshake), String>,
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
) -> Result<(Link, Handshake), HandshakeError> {
    let mut link = match timeout(CONNECT_TIMEOUT, egress.link(addr)).await {
        Ok(link) => link.map_err(HandshakeError::Connect)?,
        Err(_) => return Err(HandshakeError::Timeout),
    };
    let theirs = timeout(HANDSHAKE_TIMEOUT, async {
        link.write_all(&mut ours.encode()).await?;
        read(&mut link).await
    })
    .await
    .map_err(|_| HandshakeError::Timeout)??;
    if theirs.info_hash != ours.info_hash && Some(theirs.info_hash) != other {
        return Err(HandshakeError::WrongTorrent);
    }
    Ok((link, theirs))
}

/// Dials a peer in a task of its own; how that went comes to `arrivals`.
pub(crate) fn dial_for(
    services: &Services,
    addr: SocketAddr,
    ours: Handshake,
    other: Option<InfoHash>,
    arrivals: mpsc::Sender<Box<Arrival>>,
    span: Span,
) {
    let egress = services.egress.clone();
    let dial = async move {
        let result = match caught(dial(&egress, addr, &ours, other)).await {
            Ok(result) => result.map_err(|error| error.to_string()),
            Err(panic) => {
                tracing::error!(%addr, %panic, "a dial failed by a fault of ours");
                Err(panic.to_string())
            }
        };
        // The torrent may have ended meanwhile.
        let _ = arrivals.send(Box::new(Arrival::Dialled { addr, result })).await;
    };
    services.spawn_until_stop(dial.instrument(span));
}

/// How a stranger begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Greeting {
    /// With the handshake of BEP 3, in plain.
    Plain,
}

impl Greeting {
    /// What these first bytes are the beginning of; `None` while that cannot be told.
    fn of(first: &[u8]) -> Result<Option<Self>, HandshakeError> {
        // Another protocol is refused at its first wrong byte.
        Handshake::decode_prefix(first)?;
        Ok((PROTOCOL_LEN <= first.len()).then_some(Self::Plain))
    }

    /// Looks at what a stranger sends, and takes none of it.
    async fn hear(link: &mut Link) -> Result<Self, HandshakeError> {
        let mut known = 0;
        loop {
            let first = link.peek(known + 1).await?;
            if let Some(greeting) = Self::of(first)? {
                return Ok(greeting);
            }
            known = first.len();
        }
    }
}

/// The length of the protocol's name and the name itself, by which a plain handshake is known.
const PROTOCOL_LEN: usize = 20;

/// Hears how a dialer begins, reads what it says, finds the torrent it means through `find`, and answers.
pub(crate) async fn accept<T>(
    link: &mut Link,
    find: impl Fn(&InfoHash) -> Option<(T, Handshake)>,
) -> Result<(T, Handshake), HandshakeError> {
    timeout(HANDSHAKE_TIMEOUT, async {
        match Greeting::hear(link).await? {
            Greeting::Plain => {}
        }
        let theirs = read(link).await?;
        let (torrent, ours) = find(&theirs.info_hash).ok_or(HandshakeError::UnknownTorrent)?;
        link.write_all(&mut ours.encode()).await?;
        Ok((torrent, theirs))
    })
    .await
    .map_err(|_| HandshakeError::Timeout)?
}

/// Reads a handshake, refusing another protocol at its first wrong byte.
async fn read(link: &mut Link) -> Result<Handshake, HandshakeError> {
    let mut bytes = [0; 68];
    let mut filled = 0;
    loop {
        let read = link.read(&mut bytes[filled..]).await?;
        if read == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        filled += read;
        if let Some((handshake, _)) = Handshake::decode_prefix(&bytes[..filled])? {
            return Ok(handshake);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use ferri_wire::{PeerId, Reserved};

    use super::*;
    use crate::peer::memory;

    fn handshake(name: u8) -> Handshake {
        let peer_id = PeerId::new("XX", [0; 4], [name; 12]);
        Handshake { reserved: Reserved::default(), info_hash: [7; 20].into(), peer_id }
    }

    fn pair() -> (Link, Link) {
        memory::pair([1, 2].map(|port| ([10, 0, 0, 1], port).into()), 1024)
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_behind_a_handshake_is_read_after_it() {
        let (mut stranger, mut ours) = pair();
        let mut bytes = handshake(1).encode().to_vec();
        bytes.extend(b"and more");
        stranger.write_all(&mut bytes).await.unwrap();
        let find = |hash: &InfoHash| (*hash == [7; 20].into()).then(|| ((), handshake(2)));
        let ((), theirs) = accept(&mut ours, find).await.unwrap();
        assert_eq!(theirs.peer_id, handshake(1).peer_id);
        let mut rest = [0; 64];
        let count = ours.read(&mut rest).await.unwrap();
        assert_eq!(&rest[..count], b"and more");
        let mut answer = [0; 68];
        assert_eq!(stranger.read(&mut answer).await.unwrap(), 68);
        assert_eq!(answer, handshake(2).encode());
    }

    #[tokio::test(start_paused = true)]
    async fn a_greeting_may_come_byte_by_byte_and_is_refused_at_the_first_wrong_one() {
        let plain = handshake(1).encode();
        for length in 1..PROTOCOL_LEN {
            assert_eq!(Greeting::of(&plain[..length]).unwrap(), None, "{length}");
        }
        assert_eq!(Greeting::of(&plain[..PROTOCOL_LEN]).unwrap(), Some(Greeting::Plain));
        let (mut stranger, mut ours) = pair();
        let hearing = tokio::spawn(async move { Greeting::hear(&mut ours).await });
        stranger.write_all(&mut b"\x13Bit".to_owned()).await.unwrap();
        tokio::task::yield_now().await;
        assert!(!hearing.is_finished());
        stranger.write_all(&mut b"tOrrent".to_owned()).await.unwrap();
        assert!(matches!(hearing.await.unwrap(), Err(HandshakeError::Decode(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stranger_that_says_nothing_is_given_up() {
        let (mut stranger, mut ours) = pair();
        stranger.write_all(&mut [0x13]).await.unwrap();
        let since = tokio::time::Instant::now();
        let error = accept(&mut ours, |_| Some(((), handshake(2)))).await.unwrap_err();
        assert!(matches!(error, HandshakeError::Timeout));
        assert_eq!(since.elapsed(), HANDSHAKE_TIMEOUT);
    }
}
