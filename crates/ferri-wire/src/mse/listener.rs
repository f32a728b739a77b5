//! The side that was dialled, and that finds out for which torrent.

use ferri_hash::Sha1Digest;
use ferri_metainfo::InfoHash;

use super::dh::{KeyPair, Number, PUBLIC_KEY_LEN};
use super::parts::{
    Chance, Ciphers, Established, MseError, TorrentDigest, VERIFICATION, find_mark, masked, padding_len,
    request_mark,
};
use super::policy::{Encryption, Method};

/// The exchange of the side that was dialled.
#[derive(Debug)]
pub struct Listener {
    wish: Encryption,
    chance: Chance,
    secret: Number,
    came: Vec<u8>,
    output: Vec<u8>,
    stage: Stage,
}

/// How an exchange goes on.
#[derive(Debug)]
pub enum Step {
    /// More bytes are needed.
    More,
    /// It must be told which torrent has this [`super::torrent_digest`], by [`Listener::torrent`].
    Torrent(TorrentDigest),
    /// It is over, when its last output is sent.
    Established(Established),
}

/// What is waited for.
#[derive(Debug)]
enum Stage {
    /// This hash of the shared secret, behind a padding.
    Mark { mark: Sha1Digest },
    /// Which torrent is meant.
    Digest,
    /// The answer of the caller.
    Torrent,
    /// Zeros, what is offered, and the length of another padding.
    Methods { ciphers: Box<Ciphers> },
    /// That padding, and the length of the initial payload.
    Padding { length: usize, method: Method, ciphers: Box<Ciphers> },
    /// The initial payload.
    Initial { length: usize, method: Method, ciphers: Box<Ciphers> },
    /// Nothing: it is over.
    Over,
}

impl Listener {
    /// Answers a dialer whose stream began with this public key. This costs two exponentiations; all else of the
    /// exchange is cheap.
    ///
    /// # Errors
    /// [`MseError::WeakKey`].
    pub fn new(wish: Encryption, theirs: &[u8; PUBLIC_KEY_LEN], chance: Chance) -> Result<Self, MseError> {
        let keys = KeyPair::new(chance.exponent);
        let secret = keys.shared(theirs).ok_or(MseError::WeakKey)?;
        let output = [&keys.public(), chance.noise()].concat();
        let stage = Stage::Mark { mark: request_mark(&secret) };
        Ok(Self { wish, chance, secret, came: Vec::new(), output, stage })
    }

    /// What must be sent next, in order; empty when nothing must.
    pub fn output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// Takes what came behind the public key. What is kept is at most 64 KiB and what was given at once.
    ///
    /// # Errors
    /// [`MseError`]; the connection is of no use.
    ///
    /// # Panics
    /// After it was established or failed: that is an error of the caller's.
    pub fn handle(&mut self, bytes: &[u8]) -> Result<Step, MseError> {
        self.came.extend_from_slice(bytes);
        self.advance()
    }

    /// The torrent that was asked for by [`Step::Torrent`], or none.
    ///
    /// # Errors
    /// [`MseError::UnknownTorrent`] when there is none, and others.
    ///
    /// # Panics
    /// When it was not asked for: that is an error of the caller's.
    pub fn torrent(&mut self, torrent: Option<&InfoHash>) -> Result<Step, MseError> {
        assert!(matches!(self.stage, Stage::Torrent), "the torrent is not asked for");
        let torrent = torrent.ok_or(MseError::UnknownTorrent)?;
        self.stage = Stage::Methods { ciphers: Box::new(Ciphers::of_listener(&self.secret, torrent)) };
        self.advance()
    }

    fn advance(&mut self) -> Result<Step, MseError> {
        loop {
            self.stage = match std::mem::replace(&mut self.stage, Stage::Over) {
                Stage::Mark { mark } => match find_mark(&self.came, &mark)? {
                    None => return Ok(self.wait(Stage::Mark { mark })),
                    Some(end) => {
                        self.came.drain(..end);
                        Stage::Digest
                    }
                },
                Stage::Digest => match self.came.first_chunk() {
                    None => return Ok(self.wait(Stage::Digest)),
                    Some(digest) => {
                        let digest = masked(*digest, &self.secret);
                        self.came.drain(..digest.len());
                        self.stage = Stage::Torrent;
                        return Ok(Step::Torrent(digest));
                    }
                },
                Stage::Torrent => return Ok(self.wait(Stage::Torrent)),
                Stage::Methods { ciphers } => match self.came.first_chunk() {
                    None => return Ok(self.wait(Stage::Methods { ciphers })),
                    Some(bytes) => {
                        let bytes = *bytes;
                        self.came.drain(..bytes.len());
                        self.offered(bytes, ciphers)?
                    }
                },
                Stage::Padding { length, method, mut ciphers } => {
                    let end = length + 2;
                    if self.came.len() < end {
                        return Ok(self.wait(Stage::Padding { length, method, ciphers }));
                    }
                    ciphers.opens.apply(&mut self.came[..end]);
                    let length = usize::from(u16::from_be_bytes([self.came[length], self.came[length + 1]]));
                    self.came.drain(..end);
                    Stage::Initial { length, method, ciphers }
                }
                Stage::Initial { length, method, ciphers } => {
                    if self.came.len() < length {
                        return Ok(self.wait(Stage::Initial { length, method, ciphers }));
                    }
                    return Ok(Step::Established(self.establish(length, method, ciphers)));
                }
                Stage::Over => panic!("the exchange is over"),
            };
        }
    }

    fn wait(&mut self, stage: Stage) -> Step {
        self.stage = stage;
        Step::More
    }

    /// The zeros and what is offered; the first that shows that the other side knows the info hash.
    fn offered(&self, mut bytes: [u8; 14], mut ciphers: Box<Ciphers>) -> Result<Stage, MseError> {
        ciphers.opens.apply(&mut bytes);
        let [verification @ .., a, b, c, d, high, low] = bytes;
        if verification != VERIFICATION {
            return Err(MseError::WrongKeys);
        }
        let provided = u32::from_be_bytes([a, b, c, d]);
        let method = self.wish.choose(provided).ok_or(MseError::NoMethod(provided))?;
        Ok(Stage::Padding { length: padding_len([high, low])?, method, ciphers })
    }

    /// Says what was chosen. The initial payload is encrypted whatever that is, what follows it only if it is.
    fn establish(&mut self, length: usize, method: Method, mut ciphers: Box<Ciphers>) -> Established {
        let start = self.output.len();
        self.output.extend(VERIFICATION);
        self.output.extend(method.bit().to_be_bytes());
        self.output.extend(self.chance.zeros());
        ciphers.seals.apply(&mut self.output[start..]);
        let mut received = std::mem::take(&mut self.came);
        let (initial, rest) = received.split_at_mut(length);
        ciphers.opens.apply(initial);
        Established { ciphers: ciphers.go_on(method, rest), received }
    }
}
