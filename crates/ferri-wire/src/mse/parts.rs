//! What both sides of the key exchange are made of.

use std::fmt;

use ferri_hash::{Sha1, Sha1Digest};
use ferri_metainfo::InfoHash;

use super::dh::{EXPONENT_LEN, Number};
use super::policy::Method;
use super::rc4::Rc4;

/// A padding has at most so many bytes (MSE, "Packet Format").
pub const PAD_MAX: usize = 512;
/// Bytes of chance that one exchange takes.
pub const CHANCE_LEN: usize = EXPONENT_LEN + 2 + 2 + PAD_MAX;
/// Zeros that show that both sides derived the same keys.
pub(super) const VERIFICATION: [u8; 8] = [0; 8];

/// What one side of one exchange chooses by chance: its private exponent and its two paddings.
#[derive(Clone)]
pub struct Chance {
    pub(super) exponent: [u8; EXPONENT_LEN],
    noise: [u8; PAD_MAX],
    noise_len: usize,
    zeros_len: usize,
}

impl Chance {
    /// From bytes that the other side cannot foretell, for one exchange only: the exponent, the lengths of both paddings, the bytes of
    /// the first.
    #[must_use]
    pub fn new(random: &[u8; CHANCE_LEN]) -> Self {
        let (exponent, rest) = random.split_first_chunk().expect("a chance begins with an exponent");
        let (lengths, noise) = rest.split_first_chunk::<4>().expect("then has two lengths");
        let length = |high, low| usize::from(u16::from_be_bytes([high, low])) % (PAD_MAX + 1);
        Self {
            exponent: *exponent,
            noise: noise.try_into().expect("and a padding"),
            noise_len: length(lengths[0], lengths[1]),
            zeros_len: length(lengths[2], lengths[3]),
        }
    }

    /// The padding behind the public key. It is not encrypted, so it looks like the key: noise.
    pub(super) fn noise(&self) -> &[u8] {
        &self.noise[..self.noise_len]
    }

    /// The padding that is encrypted, behind its length.
    pub(super) fn zeros(&self) -> Vec<u8> {
        let mut bytes = (self.zeros_len as u16).to_be_bytes().to_vec();
        bytes.resize(2 + self.zeros_len, 0);
        bytes
    }
}

impl fmt::Debug for Chance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { noise_len, zeros_len, .. } = self;
        write!(f, "Chance(paddings of {noise_len} and {zeros_len} bytes)")
    }
}

/// What an exchange led to.
#[derive(Debug)]
pub struct Established {
    /// The ciphers of an encrypted stream; `None`: it is plaintext from here on.
    pub ciphers: Option<Box<Ciphers>>,
    /// The beginning of what the other side sends, decrypted: the initial payload, and what else came with the exchange.
    pub received: Vec<u8>,
}

/// The ciphers of both directions of a stream.
#[derive(Clone, Debug)]
pub struct Ciphers {
    /// Decrypts what comes.
    pub opens: Rc4,
    /// Encrypts what leaves.
    pub seals: Rc4,
}

impl Ciphers {
    /// The keys of the side that dials.
    pub(super) fn of_dialer(secret: &Number, torrent: &InfoHash) -> Self {
        Self { seals: rc4(b"keyA", secret, torrent), opens: rc4(b"keyB", secret, torrent) }
    }

    /// The keys of the side that was dialled.
    pub(super) fn of_listener(secret: &Number, torrent: &InfoHash) -> Self {
        let Self { opens, seals } = Self::of_dialer(secret, torrent);
        Self { opens: seals, seals: opens }
    }

    /// The exchange is over: what remains of the ciphers, and the beginning of what follows it decrypted, if that is encrypted.
    pub(super) fn go_on(mut self: Box<Self>, method: Method, rest: &mut [u8]) -> Option<Box<Self>> {
        match method {
            Method::Plaintext => None,
            Method::Rc4 => {
                self.opens.apply(rest);
                Some(self)
            }
        }
    }
}

fn rc4(name: &[u8; 4], secret: &Number, torrent: &InfoHash) -> Rc4 {
    Rc4::new(&digest(&[name, secret, torrent.as_bytes()]))
}

/// What stands for an info hash in an exchange.
pub type TorrentDigest = Sha1Digest;

/// By this a dialer names a torrent: a listener that does not know the info hash learns nothing from it.
#[must_use]
pub fn torrent_digest(torrent: &InfoHash) -> TorrentDigest {
    digest(&[b"req2", torrent.as_bytes()])
}

/// Where the part of a dialer that a listener cannot foretell begins.
pub(super) fn request_mark(secret: &Number) -> Sha1Digest {
    digest(&[b"req1", secret])
}

/// Hides the digest of a torrent behind the secret; a second time, shows it again.
pub(super) fn masked(torrent: TorrentDigest, secret: &Number) -> TorrentDigest {
    let mask = digest(&[b"req3", secret]);
    std::array::from_fn(|i| torrent[i] ^ mask[i])
}

fn digest(parts: &[&[u8]]) -> Sha1Digest {
    let mut hash = Sha1::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finish()
}

/// The end of `mark` in `bytes`, in front of which is a padding of unknown length; `None` when more bytes are needed.
///
/// # Errors
/// [`MseError::NoMark`] when it can no longer come.
pub(super) fn find_mark(bytes: &[u8], mark: &[u8]) -> Result<Option<usize>, MseError> {
    let searched = &bytes[..bytes.len().min(PAD_MAX + mark.len())];
    match searched.windows(mark.len()).position(|window| window == mark) {
        Some(at) => Ok(Some(at + mark.len())),
        None if searched.len() < PAD_MAX + mark.len() => Ok(None),
        None => Err(MseError::NoMark),
    }
}

/// The length of an encrypted padding, which the other side says.
///
/// # Errors
/// [`MseError::PaddingTooLong`].
pub(super) fn padding_len(bytes: [u8; 2]) -> Result<usize, MseError> {
    let length = u16::from_be_bytes(bytes);
    if PAD_MAX < usize::from(length) { Err(MseError::PaddingTooLong(length)) } else { Ok(length.into()) }
}

/// Why an exchange failed. The other side speaks something else, means another torrent, or insists on what we do not want.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MseError {
    /// A key that does not come of an exponent by chance, and whose secret is known to all.
    #[error("a public key that hides nothing")]
    WeakKey,
    /// Nothing that continues the exchange came behind a padding of any length: the peer speaks another protocol, or has
    /// another torrent in mind.
    #[error("no encrypted handshake, or none for this torrent")]
    NoMark,
    /// It means a torrent that we do not have.
    #[error("an encrypted handshake for a torrent that is not here")]
    UnknownTorrent,
    /// Its keys are others than ours.
    #[error("an encrypted handshake with other keys than ours")]
    WrongKeys,
    /// A padding has more than [`PAD_MAX`] bytes.
    #[error("a padding of {0} bytes")]
    PaddingTooLong(u16),
    /// Nothing that it offers is to our liking.
    #[error("no way to go on that we take (offered: {0:#x})")]
    NoMethod(u32),
    /// It chose something that we did not offer.
    #[error("a way to go on that we did not offer ({0:#x})")]
    WrongMethod(u32),
}
