//! What opens a connection, in both directions, within a deadline: the 68 bytes of BEP 3, behind a key exchange (MSE) or
//! without one.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use ferri_metainfo::InfoHash;
use ferri_wire::mse::{Chance, Dialer, Encryption, Listener, MseError, PUBLIC_KEY_LEN, Step, TorrentDigest};
use ferri_wire::{DecodeError, Greeting, Handshake};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::{Instrument, Span};

use crate::egress::Egress;
use crate::exchange_turns::ExchangeTurns;
use crate::greetings::Greetings;
use crate::panics::caught;
use crate::peer::link::Link;
use crate::services::Services;

/// Long enough for a bad line; short enough that silent dialers do not pile up.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A peer that does not answer one greeting for so long is tried with the other.
const FIRST_GREETING_TIMEOUT: Duration = Duration::from_secs(5);

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
    #[error("{0}")]
    Mse(#[from] MseError),
    #[error("the peer does not encrypt, and encryption is required here")]
    PlainRefused,
    #[error("the peer encrypts or speaks another protocol, and encryption is switched off here")]
    EncryptedRefused,
    #[error("the peer answered for another torrent")]
    WrongTorrent,
    #[error("the peer asked for a torrent that is not here")]
    UnknownTorrent,
}

impl HandshakeError {
    /// Whether the peer may answer another greeting: it is there, and did not understand this one or did not like it.
    fn is_of_the_greeting(&self) -> bool {
        match self {
            Self::Timeout | Self::Io(_) | Self::Decode(_) | Self::Mse(_) => true,
            Self::Connect(_) | Self::WrongTorrent | Self::UnknownTorrent => false,
            Self::PlainRefused | Self::EncryptedRefused => false,
        }
    }
}

/// Connects to `addr` and shakes hands; with the second greeting if the peer hangs up on the first or does not answer. A
/// hybrid torrent has an `other` name, and peers that once met version 2 at our address answer with it.
pub(crate) async fn dial(
    egress: &Egress,
    greetings: &Greetings,
    addr: SocketAddr,
    ours: &Handshake,
    other: Option<InfoHash>,
) -> Result<(Link, Handshake), HandshakeError> {
    let call = Call { egress, encryption: greetings.encryption(), addr, ours, other };
    let (first, second) = greetings.of(addr);
    let Some(second) = second else { return call.open(first, HANDSHAKE_TIMEOUT).await };
    match call.open(first, FIRST_GREETING_TIMEOUT).await {
        Err(error) if error.is_of_the_greeting() => {
            tracing::debug!(%addr, greeting = ?first, %error, "the peer is dialled again, otherwise");
        }
        result => return result,
    }
    let opened = call.open(second, HANDSHAKE_TIMEOUT).await?;
    greetings.second_worked(addr);
    Ok(opened)
}

/// A peer to dial, and what is said to it.
struct Call<'a> {
    egress: &'a Egress,
    encryption: Encryption,
    addr: SocketAddr,
    ours: &'a Handshake,
    other: Option<InfoHash>,
}

impl Call<'_> {
    async fn open(
        &self,
        greeting: Greeting,
        patience: Duration,
    ) -> Result<(Link, Handshake), HandshakeError> {
        let mut link = match timeout(CONNECT_TIMEOUT, self.egress.link(self.addr)).await {
            Ok(link) => link.map_err(HandshakeError::Connect)?,
            Err(_) => return Err(HandshakeError::Connect(io::ErrorKind::TimedOut.into())),
        };
        let theirs = timeout(patience, async {
            match greeting {
                Greeting::Plain => link.write_all(&mut self.ours.encode()).await?,
                Greeting::Exchange => begin_exchange(&mut link, self.encryption, self.ours).await?,
            }
            read(&mut link).await
        })
        .await
        .map_err(|_| HandshakeError::Timeout)??;
        if theirs.info_hash != self.ours.info_hash && Some(theirs.info_hash) != self.other {
            return Err(HandshakeError::WrongTorrent);
        }
        Ok((link, theirs))
    }
}

/// Exchanges keys with a peer that we dialled; our handshake goes with it.
async fn begin_exchange(
    link: &mut Link,
    encryption: Encryption,
    ours: &Handshake,
) -> Result<(), HandshakeError> {
    let chance = Chance::new(&rand::random());
    let mut dialer = Dialer::new(encryption, ours.info_hash, &ours.encode(), chance);
    loop {
        link.write_all(&mut dialer.output()).await?;
        let mut bytes = [0; EXCHANGE_READ];
        let read = read_some(link, &mut bytes).await?;
        if let Some(established) = dialer.handle(&bytes[..read])? {
            link.establish(established);
            return Ok(());
        }
    }
}

/// A whole step of an exchange has room in it, without an initial payload of others.
const EXCHANGE_READ: usize = 2048;

/// Dials a peer in a task of its own; how that went comes to `arrivals`.
pub(crate) fn dial_for(
    services: &Services,
    addr: SocketAddr,
    ours: Handshake,
    other: Option<InfoHash>,
    arrivals: mpsc::Sender<Box<Arrival>>,
    span: Span,
) {
    let (egress, greetings) = (services.egress.clone(), services.capacity.greetings.clone());
    let dial = async move {
        let result = match caught(dial(&egress, &greetings, addr, &ours, other)).await {
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

/// What strangers who dial us may say, and how they are answered.
pub(crate) trait Reception: Clone + Send + Sync + 'static {
    /// A torrent.
    type Torrent: Send;

    /// The torrent of this info hash, and what is said to its peers.
    fn find(&self, name: &InfoHash) -> Option<(Self::Torrent, Handshake)>;

    /// The info hash behind what a key exchange names a torrent by.
    fn name_of(&self, digest: &TorrentDigest) -> Option<InfoHash>;

    /// Whether we want encryption.
    fn encryption(&self) -> Encryption;

    /// When strangers may have us compute.
    fn turns(&self) -> &ExchangeTurns;
}

/// Hears how a dialer begins, reads what it says, finds the torrent it means, and answers.
pub(crate) async fn accept<R: Reception>(
    link: &mut Link,
    reception: &R,
) -> Result<(R::Torrent, Handshake), HandshakeError> {
    timeout(HANDSHAKE_TIMEOUT, async {
        match (hear(link).await?, reception.encryption()) {
            (Greeting::Plain, Encryption::Require) => return Err(HandshakeError::PlainRefused),
            (Greeting::Plain, _) => {}
            (Greeting::Exchange, Encryption::Disable) => return Err(HandshakeError::EncryptedRefused),
            (Greeting::Exchange, _) => answer_exchange(link, reception).await?,
        }
        let theirs = read(link).await?;
        let (torrent, ours) = reception.find(&theirs.info_hash).ok_or(HandshakeError::UnknownTorrent)?;
        link.write_all(&mut ours.encode()).await?;
        Ok((torrent, theirs))
    })
    .await
    .map_err(|_| HandshakeError::Timeout)?
}

/// Looks at what a stranger sends first, and takes none of it.
async fn hear(link: &mut Link) -> io::Result<Greeting> {
    let mut known = 0;
    loop {
        let first = link.peek(known + 1).await?;
        if let Some(greeting) = Greeting::of(first) {
            return Ok(greeting);
        }
        known = first.len();
    }
}

/// Exchanges keys with a peer that dialled us.
async fn answer_exchange<R: Reception>(link: &mut Link, reception: &R) -> Result<(), HandshakeError> {
    // All of the key is there before anything is computed for it.
    link.peek(PUBLIC_KEY_LEN).await?;
    let mut bytes = [0; EXCHANGE_READ];
    let mut read = read_some(link, &mut bytes).await?;
    let (key, rest) = bytes[..read].split_first_chunk().expect("so much was there");
    let chance = Chance::new(&rand::random());
    let answer = || Listener::new(reception.encryption(), key, chance);
    let mut listener = reception.turns().run(answer).await?;
    let mut step = listener.handle(rest)?;
    loop {
        if let Step::Torrent(digest) = step {
            step = listener.torrent(reception.name_of(&digest).as_ref())?;
        }
        link.write_all(&mut listener.output()).await?;
        if let Step::Established(established) = step {
            link.establish(established);
            return Ok(());
        }
        read = read_some(link, &mut bytes).await?;
        step = listener.handle(&bytes[..read])?;
    }
}

/// Reads what is there; the end is an error.
async fn read_some(link: &mut Link, bytes: &mut [u8]) -> io::Result<usize> {
    match link.read(bytes).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        read => Ok(read),
    }
}

/// Reads a handshake, refusing another protocol at its first wrong byte.
async fn read(link: &mut Link) -> Result<Handshake, HandshakeError> {
    let mut bytes = [0; 68];
    let mut filled = 0;
    loop {
        filled += read_some(link, &mut bytes[filled..]).await?;
        if let Some((handshake, _)) = Handshake::decode_prefix(&bytes[..filled])? {
            return Ok(handshake);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use ferri_wire::mse::torrent_digest;
    use ferri_wire::{PeerId, Reserved};

    use super::*;
    use crate::peer::memory::{self, Net};
    use crate::status::PeerEncryption;

    fn handshake(name: u8) -> Handshake {
        let peer_id = PeerId::new("XX", [0; 4], [name; 12]);
        Handshake { reserved: Reserved::default(), info_hash: [7; 20].into(), peer_id }
    }

    fn addr(last: u8) -> SocketAddr {
        ([10, 0, 0, last], 6881).into()
    }

    fn pair() -> (Link, Link) {
        memory::pair([addr(1), addr(2)], 1024)
    }

    /// A session with one torrent.
    #[derive(Clone)]
    struct Hall {
        encryption: Encryption,
        turns: Arc<ExchangeTurns>,
    }

    impl Hall {
        fn new(encryption: Encryption) -> Self {
            Self { encryption, turns: Arc::new(ExchangeTurns::new()) }
        }
    }

    impl Reception for Hall {
        type Torrent = ();

        fn find(&self, name: &InfoHash) -> Option<((), Handshake)> {
            (*name == handshake(2).info_hash).then(|| ((), handshake(2)))
        }

        fn name_of(&self, digest: &TorrentDigest) -> Option<InfoHash> {
            let name = handshake(2).info_hash;
            (torrent_digest(&name) == *digest).then_some(name)
        }

        fn encryption(&self) -> Encryption {
            self.encryption
        }

        fn turns(&self) -> &ExchangeTurns {
            &self.turns
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_behind_a_handshake_is_read_after_it() {
        let (mut stranger, mut ours) = pair();
        let mut bytes = handshake(1).encode().to_vec();
        bytes.extend(b"and more");
        stranger.write_all(&mut bytes).await.unwrap();
        let ((), theirs) = accept(&mut ours, &Hall::new(Encryption::Allow)).await.unwrap();
        assert_eq!(theirs.peer_id, handshake(1).peer_id);
        let mut rest = [0; 64];
        let count = ours.read(&mut rest).await.unwrap();
        assert_eq!(&rest[..count], b"and more");
        let mut answer = [0; 68];
        assert_eq!(stranger.read(&mut answer).await.unwrap(), 68);
        assert_eq!(answer, handshake(2).encode());
    }

    #[tokio::test(start_paused = true)]
    async fn a_greeting_may_come_byte_by_byte_and_is_known_at_the_first_byte_of_another() {
        let (mut stranger, mut ours) = pair();
        let hearing = tokio::spawn(async move { accept(&mut ours, &Hall::new(Encryption::Disable)).await });
        stranger.write_all(&mut b"\x13Bit".to_owned()).await.unwrap();
        tokio::task::yield_now().await;
        assert!(!hearing.is_finished());
        stranger.write_all(&mut b"tOrrent".to_owned()).await.unwrap();
        assert!(matches!(hearing.await.unwrap(), Err(HandshakeError::EncryptedRefused)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stranger_that_says_nothing_or_half_a_key_is_given_up() {
        for said in [&b"\x13"[..], &[0xee; PUBLIC_KEY_LEN - 1], &[0xee; PUBLIC_KEY_LEN + 500]] {
            let (mut stranger, mut ours) = pair();
            stranger.write_all(&mut said.to_vec()).await.unwrap();
            let since = tokio::time::Instant::now();
            let error = accept(&mut ours, &Hall::new(Encryption::Allow)).await.unwrap_err();
            assert!(matches!(error, HandshakeError::Timeout), "{error}");
            assert_eq!(since.elapsed(), HANDSHAKE_TIMEOUT);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn another_protocol_is_hung_up_on_after_as_many_bytes_as_a_padding_has() {
        let (mut stranger, mut ours) = pair();
        stranger.write_all(&mut [0xee; PUBLIC_KEY_LEN + 512 + 20]).await.unwrap();
        let error = accept(&mut ours, &Hall::new(Encryption::Allow)).await.unwrap_err();
        assert!(matches!(error, HandshakeError::Mse(MseError::NoMark)), "{error}");
    }

    /// Both sides talk, with what the policies make of the connection; or they do not meet. Beside it the number of
    /// connections that were made.
    async fn meet(
        net: &Arc<Net>,
        greetings: &Greetings,
        theirs: Encryption,
    ) -> (Option<PeerEncryption>, usize) {
        let mut calls = net.listen(addr(2));
        let hall = Hall::new(theirs);
        let host = tokio::spawn(async move {
            let mut count = 0;
            while let Some(mut link) = calls.recv().await {
                count += 1;
                if accept(&mut link, &hall).await.is_ok() {
                    link.write_all(&mut b"hello".to_owned()).await.unwrap();
                    let mut heard = [0; 64];
                    let read = link.read(&mut heard).await.unwrap();
                    assert_eq!(&heard[..read], b"good day");
                    return (Some(link.encryption()), count);
                }
            }
            (None, count)
        });
        let egress = Egress::in_memory(net.clone(), addr(1));
        let dialled = dial(&egress, greetings, addr(2), &handshake(1), None).await;
        let ours = dialled.ok().map(|(link, _)| link);
        let mut encryption = None;
        if let Some(mut link) = ours {
            link.write_all(&mut b"good day".to_owned()).await.unwrap();
            let mut heard = [0; 64];
            let read = link.read(&mut heard).await.unwrap();
            assert_eq!(&heard[..read], b"hello");
            encryption = Some(link.encryption());
        }
        net.close(addr(2));
        let (theirs, count) = host.await.unwrap();
        assert_eq!(encryption, theirs);
        (encryption, count)
    }

    #[tokio::test(start_paused = true)]
    async fn what_both_sides_wish_decides_whether_and_how_they_meet() {
        use Encryption::{Allow, Disable, Prefer, Require};
        let (plain, rc4) = (Some(PeerEncryption::None), Some(PeerEncryption::Rc4));
        for (ours, theirs, expected, first, later) in [
            (Disable, Disable, plain, 1, 1),
            (Disable, Allow, plain, 1, 1),
            (Disable, Prefer, plain, 1, 1),
            (Disable, Require, None, 1, 1),
            (Allow, Disable, plain, 1, 1),
            (Allow, Allow, plain, 1, 1),
            (Allow, Prefer, plain, 1, 1),
            (Allow, Require, rc4, 2, 1),
            (Prefer, Disable, plain, 2, 1),
            (Prefer, Allow, rc4, 1, 1),
            (Prefer, Prefer, rc4, 1, 1),
            (Prefer, Require, rc4, 1, 1),
            (Require, Disable, None, 1, 1),
            (Require, Allow, rc4, 1, 1),
            (Require, Prefer, rc4, 1, 1),
            (Require, Require, rc4, 1, 1),
        ] {
            let (net, greetings) = (Arc::new(Net::new(4096)), Greetings::new(ours));
            assert_eq!(meet(&net, &greetings, theirs).await, (expected, first), "{ours:?} dials {theirs:?}");
            let again = meet(&net, &greetings, theirs).await;
            assert_eq!(again, (expected, later), "{ours:?} dials {theirs:?} again");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_answer_a_greeting_is_given_the_other_after_five_seconds() {
        for (encryption, expected) in
            [(Encryption::Allow, PeerEncryption::Handshake), (Encryption::Prefer, PeerEncryption::None)]
        {
            let net = Arc::new(Net::new(4096));
            let mut calls = net.listen(addr(2));
            let host = tokio::spawn(async move {
                let _silent = calls.recv().await.unwrap();
                let mut link = calls.recv().await.unwrap();
                accept(&mut link, &Hall::new(Encryption::Allow)).await.unwrap();
                link
            });
            let since = tokio::time::Instant::now();
            let (egress, greetings) = (Egress::in_memory(net, addr(1)), Greetings::new(encryption));
            let (link, _) = dial(&egress, &greetings, addr(2), &handshake(1), None).await.unwrap();
            assert_eq!((link.encryption(), host.await.unwrap().encryption()), (expected, expected));
            assert!((FIRST_GREETING_TIMEOUT..Duration::from_secs(6)).contains(&since.elapsed()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_is_not_there_or_has_another_torrent_is_dialled_once() {
        let net = Arc::new(Net::new(4096));
        let (egress, greetings) =
            (Egress::in_memory(net.clone(), addr(1)), Greetings::new(Encryption::Allow));
        let refused = dial(&egress, &greetings, addr(2), &handshake(1), None).await;
        assert!(matches!(refused, Err(HandshakeError::Connect(_))));
        let mut calls = net.listen(addr(2));
        let host = tokio::spawn(async move {
            let mut link = calls.recv().await.unwrap();
            let other = Handshake { info_hash: [8; 20].into(), ..handshake(2) };
            link.write_all(&mut other.encode()).await.unwrap();
            calls.recv().await.is_some()
        });
        let other = dial(&egress, &greetings, addr(2), &handshake(1), None).await;
        assert!(matches!(other, Err(HandshakeError::WrongTorrent)));
        net.close(addr(2));
        assert!(!host.await.unwrap(), "it is dialled again");
    }
}
