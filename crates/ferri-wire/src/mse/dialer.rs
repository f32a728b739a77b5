//! The side that dials, and that says for which torrent.

use ferri_metainfo::InfoHash;

use super::dh::{KeyPair, PUBLIC_KEY_LEN};
use super::parts::{
    Chance, Ciphers, Established, MseError, VERIFICATION, find_mark, masked, padding_len, request_mark,
    torrent_digest,
};
use super::policy::{Encryption, Method};

/// The exchange of the side that dials.
#[derive(Debug)]
pub struct Dialer {
    torrent: InfoHash,
    wish: Encryption,
    chance: Chance,
    keys: KeyPair,
    /// What goes out with the last step: the beginning of our stream.
    initial: Vec<u8>,
    /// What came and is not dealt with.
    came: Vec<u8>,
    output: Vec<u8>,
    stage: Stage,
}

/// What is waited for.
#[derive(Debug)]
enum Stage {
    /// The other side's public key.
    Key,
    /// The zeros that it sends behind its padding, encrypted.
    Mark { mark: [u8; VERIFICATION.len()], ciphers: Box<Ciphers> },
    /// What it chose, and the length of another padding.
    Method { ciphers: Box<Ciphers> },
    /// That padding.
    Padding { length: usize, method: Method, ciphers: Box<Ciphers> },
    /// Nothing: it is over.
    Over,
}

impl Dialer {
    /// Begins an exchange for this torrent. `initial` is sent with it, and is the beginning of our stream: the handshake of
    /// BEP 3 and nothing behind it, because some clients end the connection otherwise. This costs an exponentiation.
    ///
    /// # Panics
    /// When `initial` is longer than 64 KiB less one byte: that is an error of the caller's.
    #[must_use]
    pub fn new(wish: Encryption, torrent: InfoHash, initial: &[u8], chance: Chance) -> Self {
        assert!(u16::try_from(initial.len()).is_ok(), "an initial payload has a length of two bytes");
        let keys = KeyPair::for_a_dialer(chance.exponent);
        let output = [&keys.public(), chance.noise()].concat();
        Self {
            torrent,
            wish,
            chance,
            keys,
            initial: initial.to_vec(),
            came: Vec::new(),
            output,
            stage: Stage::Key,
        }
    }

    /// What must be sent next, in order; empty when nothing must.
    pub fn output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// Takes what came. `None` while more is needed; after that the stream is what [`Established`] says. What is kept is at
    /// most what was given and some hundred bytes. The whole exchange costs another exponentiation.
    ///
    /// # Errors
    /// [`MseError`]; the connection is of no use.
    ///
    /// # Panics
    /// After it was established or failed: that is an error of the caller's.
    pub fn handle(&mut self, bytes: &[u8]) -> Result<Option<Established>, MseError> {
        self.came.extend_from_slice(bytes);
        loop {
            self.stage = match std::mem::replace(&mut self.stage, Stage::Over) {
                Stage::Key => match self.came.split_first_chunk() {
                    None => return Ok(self.wait(Stage::Key)),
                    Some((theirs, _)) => {
                        let stage = self.keyed(&theirs.clone())?;
                        self.came.drain(..PUBLIC_KEY_LEN);
                        stage
                    }
                },
                Stage::Mark { mark, ciphers } => match find_mark(&self.came, &mark)? {
                    None => return Ok(self.wait(Stage::Mark { mark, ciphers })),
                    Some(end) => {
                        self.came.drain(..end);
                        Stage::Method { ciphers }
                    }
                },
                Stage::Method { mut ciphers } => match self.came.first_chunk::<6>() {
                    None => return Ok(self.wait(Stage::Method { ciphers })),
                    Some(bytes) => {
                        let mut bytes = *bytes;
                        self.came.drain(..6);
                        ciphers.opens.apply(&mut bytes);
                        let [a, b, c, d, length @ ..] = bytes;
                        let chosen = u32::from_be_bytes([a, b, c, d]);
                        let method = Method::of(chosen).filter(|_| self.wish.provides() & chosen != 0);
                        let method = method.ok_or(MseError::WrongMethod(chosen))?;
                        Stage::Padding { length: padding_len(length)?, method, ciphers }
                    }
                },
                Stage::Padding { length, method, mut ciphers } => {
                    if self.came.len() < length {
                        return Ok(self.wait(Stage::Padding { length, method, ciphers }));
                    }
                    let mut received = self.came.split_off(length);
                    ciphers.opens.apply(&mut self.came);
                    let ciphers = ciphers.go_on(method, &mut received);
                    return Ok(Some(Established { ciphers, received }));
                }
                Stage::Over => panic!("the exchange is over"),
            };
        }
    }

    fn wait<T>(&mut self, stage: Stage) -> Option<T> {
        self.stage = stage;
        None
    }

    /// With the other side's key: says which torrent is meant, what we offer, and how our stream begins.
    fn keyed(&mut self, theirs: &[u8; PUBLIC_KEY_LEN]) -> Result<Stage, MseError> {
        let secret = self.keys.shared(theirs).ok_or(MseError::WeakKey)?;
        let mut ciphers = Box::new(Ciphers::of_dialer(&secret, &self.torrent));
        self.output.extend(request_mark(&secret));
        self.output.extend(masked(torrent_digest(&self.torrent), &secret));
        let start = self.output.len();
        self.output.extend(VERIFICATION);
        self.output.extend(self.wish.provides().to_be_bytes());
        self.output.extend(self.chance.zeros());
        self.output.extend((self.initial.len() as u16).to_be_bytes());
        self.output.append(&mut self.initial);
        ciphers.seals.apply(&mut self.output[start..]);
        let mut mark = VERIFICATION;
        ciphers.opens.apply(&mut mark);
        Ok(Stage::Mark { mark, ciphers })
    }
}
