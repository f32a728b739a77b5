//! Items that the DHT keeps (BEP 44): values under their hash, and signed values that their author can replace;
//! torrents named by such (BEP 46).

use std::fmt;

use bytes::Bytes;
use ed25519_dalek::hazmat::{ExpandedSecretKey, raw_sign};
use ed25519_dalek::{Digest as _, Sha512, Signature, VerifyingKey};
use ferri_bencode::{Document, Encoder};
use ferri_hash::{Sha1, sha1};
use ferri_metainfo::InfoHash;

use crate::id::NodeId;

/// Bytes of a value in its bencoded form, at most (BEP 44).
pub const VALUE_MAX: usize = 1_000;

/// Bytes of a salt, at most (BEP 44).
pub const SALT_MAX: usize = 64;

/// What is stored. The value of an item is always bencode of a legal size, and its signature is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    value: Bytes,
    author: Option<Author>,
}

/// Who wrote a mutable item, and which version it is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Author {
    /// An ed25519 key.
    #[cfg_attr(feature = "serde", serde(with = "crate::serial::array"))]
    pub public_key: [u8; 32],
    /// Tells several items of one author apart. At most 64 bytes, often none.
    #[cfg_attr(feature = "serde", serde(with = "crate::serial::hex"))]
    pub salt: Bytes,
    /// Higher is newer.
    pub seq: i64,
    /// Over salt, sequence number and value.
    #[cfg_attr(feature = "serde", serde(with = "crate::serial::array"))]
    pub signature: [u8; 64],
}

/// Names an item.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum ItemKey {
    /// The SHA-1 of an immutable value in its bencoded form.
    Immutable(NodeId),
    /// The author of a mutable item and the salt.
    Mutable {
        /// An ed25519 key.
        #[cfg_attr(feature = "serde", serde(with = "crate::serial::array"))]
        public_key: [u8; 32],
        /// At most 64 bytes, often none.
        #[cfg_attr(feature = "serde", serde(with = "crate::serial::hex"))]
        salt: Bytes,
    },
}

impl ItemKey {
    /// Where in the space of ids the item is stored.
    #[must_use]
    pub fn target(&self) -> NodeId {
        match self {
            Self::Immutable(target) => *target,
            Self::Mutable { public_key, salt } => Item::mutable_target(public_key, salt),
        }
    }
}

impl Item {
    /// A value that cannot be replaced. It is given in its bencoded form.
    ///
    /// # Errors
    /// The value is too long or not canonical bencode.
    pub fn immutable(value: Bytes) -> Result<Self, ItemError> {
        check_value(&value)?;
        Ok(Self { value, author: None })
    }

    /// A value, bencoded, that the owner of `key` can replace by one with a higher `seq`.
    ///
    /// # Errors
    /// Value or salt are too long, or the value is not canonical bencode.
    pub fn sign(key: &SigningKey, salt: Bytes, seq: i64, value: Bytes) -> Result<Self, ItemError> {
        check_value(&value)?;
        check_salt(&salt)?;
        let signature = key.sign(&signed_bytes(&salt, seq, &value));
        Ok(Self { value, author: Some(Author { public_key: key.public_key(), salt, seq, signature }) })
    }

    /// A value that another program signed.
    ///
    /// # Errors
    /// As for [`Item::sign`], or the signature is wrong.
    pub fn signed(value: Bytes, author: Author) -> Result<Self, ItemError> {
        check_value(&value)?;
        check_salt(&author.salt)?;
        let signature = Signature::from_bytes(&author.signature);
        let key = VerifyingKey::from_bytes(&author.public_key).map_err(|_| ItemError::Signature)?;
        let bytes = signed_bytes(&author.salt, author.seq, &value);
        key.verify_strict(&bytes, &signature).map_err(|_| ItemError::Signature)?;
        Ok(Self { value, author: Some(author) })
    }

    /// The value in its bencoded form.
    #[must_use]
    pub fn value(&self) -> &Bytes {
        &self.value
    }

    /// Who signed it; `None` for an immutable item.
    #[must_use]
    pub fn author(&self) -> Option<&Author> {
        self.author.as_ref()
    }

    /// The sequence number; 0 for an immutable item.
    #[must_use]
    pub fn seq(&self) -> i64 {
        self.author.as_ref().map_or(0, |author| author.seq)
    }

    /// Where in the space of ids it is stored.
    #[must_use]
    pub fn target(&self) -> NodeId {
        match &self.author {
            None => NodeId::from(sha1(&self.value)),
            Some(author) => Self::mutable_target(&author.public_key, &author.salt),
        }
    }

    /// Where a mutable item of this author is stored.
    pub(crate) fn mutable_target(public_key: &[u8; 32], salt: &[u8]) -> NodeId {
        let mut hash = Sha1::new();
        hash.update(public_key);
        hash.update(salt);
        NodeId::from(hash.finish())
    }

    /// By which name it is asked for.
    #[must_use]
    pub fn key(&self) -> ItemKey {
        match &self.author {
            None => ItemKey::Immutable(self.target()),
            Some(Author { public_key, salt, .. }) => {
                ItemKey::Mutable { public_key: *public_key, salt: salt.clone() }
            }
        }
    }

    /// The torrent that this item names (BEP 46). `None` when it is about something else.
    #[must_use]
    pub fn info_hash(&self) -> Option<InfoHash> {
        let document = Document::parse(&self.value).ok()?;
        let bytes = document.root().as_dict()?.get(b"ih")?.as_bytes()?;
        let bytes: [u8; 20] = bytes.try_into().ok()?;
        Some(InfoHash::from(bytes))
    }

    /// The value of an item that names a torrent (BEP 46).
    #[must_use]
    pub fn torrent_value(info_hash: InfoHash) -> Bytes {
        let mut encoder = Encoder::new();
        encoder.begin_dict().key(b"ih").bytes(info_hash.as_bytes()).end();
        encoder.into_bytes().into()
    }
}

/// An ed25519 key that signs items.
#[derive(Clone)]
pub struct SigningKey {
    secret: [u8; 64],
    public: VerifyingKey,
}

impl SigningKey {
    /// The key of RFC 8032 that belongs to 32 secret random bytes.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self::from_expanded(&Sha512::digest(seed).into())
    }

    /// A key in the expanded form that libtorrent keeps and BEP 44 shows: the scalar, then the prefix.
    #[must_use]
    pub fn from_expanded(secret: &[u8; 64]) -> Self {
        let public = VerifyingKey::from(&ExpandedSecretKey::from_bytes(secret));
        Self { secret: *secret, public }
    }

    /// What others check signatures with.
    #[must_use]
    pub fn public_key(&self) -> [u8; 32] {
        self.public.to_bytes()
    }

    fn sign(&self, bytes: &[u8]) -> [u8; 64] {
        let secret = ExpandedSecretKey::from_bytes(&self.secret);
        raw_sign::<Sha512>(&secret, bytes, &self.public).to_bytes()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("public", &self.public).finish_non_exhaustive()
    }
}

/// What a signature of BEP 44 is over.
fn signed_bytes(salt: &[u8], seq: i64, value: &[u8]) -> Vec<u8> {
    let mut encoder = Encoder::new();
    if !salt.is_empty() {
        encoder.bytes(b"salt").bytes(salt);
    }
    encoder.bytes(b"seq").int(seq).bytes(b"v").raw(value);
    encoder.into_bytes()
}

fn check_value(value: &[u8]) -> Result<(), ItemError> {
    if VALUE_MAX < value.len() {
        return Err(ItemError::ValueTooLong(value.len()));
    }
    Document::parse(value).map(|_| ()).map_err(ItemError::Bencode)
}

fn check_salt(salt: &[u8]) -> Result<(), ItemError> {
    if SALT_MAX < salt.len() { Err(ItemError::SaltTooLong(salt.len())) } else { Ok(()) }
}

/// Why something is not an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ItemError {
    /// The DHT keeps no more than [`VALUE_MAX`] bytes.
    #[error("the value has {0} bytes, more than 1,000")]
    ValueTooLong(usize),
    /// More than [`SALT_MAX`] bytes.
    #[error("the salt has {0} bytes, more than 64")]
    SaltTooLong(usize),
    /// Values are bencode in its only correct form.
    #[error("the value is not bencode: {0}")]
    Bencode(ferri_bencode::Error),
    /// The author did not sign this.
    #[error("the signature is wrong")]
    Signature,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn hex<const N: usize>(text: &str) -> [u8; N] {
        assert_eq!(text.len(), 2 * N);
        std::array::from_fn(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
    }

    const PUBLIC: &str = "77ff84905a91936367c01360803104f92432fcd904a43511876df5cdf3e7e548";

    fn vector_key() -> SigningKey {
        let secret = concat!(
            "e06d3183d14159228433ed599221b80bd0a5ce8352e4bdf0262f76786ef1c74d",
            "b7e7a9fea2c0eb269d61e3b38e450a22e754941ac78479d6c54e1faf6037881d",
        );
        SigningKey::from_expanded(&hex(secret))
    }

    fn check_vector(salt: &'static [u8], target: &str, signature: &str) {
        let salt = Bytes::from_static(salt);
        let key = vector_key();
        assert_eq!(key.public_key(), hex::<32>(PUBLIC));
        let item = Item::sign(&key, salt, 1, Bytes::from_static(b"12:Hello World!")).unwrap();
        assert_eq!(item.target().to_string(), target);
        assert_eq!(item.key().target(), item.target());
        let author = item.author().unwrap().clone();
        assert_eq!(author.signature, hex::<64>(signature));
        assert_eq!(Item::signed(item.value().clone(), author.clone()), Ok(item.clone()));
        let forged = Author { seq: 2, ..author };
        assert_eq!(Item::signed(item.value().clone(), forged), Err(ItemError::Signature));
    }

    #[test]
    fn the_vectors_of_bep_44_come_out() {
        check_vector(
            b"",
            "4a533d47ec9c7d95b1ad75f576cffc641853b750",
            concat!(
                "305ac8aeb6c9c151fa120f120ea2cfb923564e11552d06a5d856091e5e853cff",
                "1260d3f39e4999684aa92eb73ffd136e6f4f3ecbfda0ce53a1608ecd7ae21f01",
            ),
        );
        check_vector(
            b"foobar",
            "411eba73b6f087ca51a3795d9c8c938d365e32c1",
            concat!(
                "6834284b6b24c3204eb2fea824d82f88883a3d95e8b4a21b8c0ded553d17d17d",
                "df9a8a7104b1258f30bed3787e6cb896fca78c58f8e03b5f18f14951a87d9a08",
            ),
        );
        let item = Item::immutable(Bytes::from_static(b"12:Hello World!")).unwrap();
        assert_eq!(item.target().to_string(), "e5f96f6f38320f0f33959cb4d3d656452117aadb");
    }

    #[test]
    fn the_targets_of_bep_46_come_out() {
        let public_key = hex("8543d3e6115f0f98c944077a4493dcd543e49c739fd998550a1f614ab36ed63e");
        let target = |salt: &'static [u8]| {
            ItemKey::Mutable { public_key, salt: Bytes::from_static(salt) }.target().to_string()
        };
        assert_eq!(target(b""), "cc3f9d90b572172053626f9980ce261a850d050b");
        assert_eq!(target(b"n"), "59ee7c2cb9b4f7eb1986ee2d18fd2fdb8a56554f");
    }

    #[test]
    fn a_seed_gives_the_key_of_rfc_8032() {
        let seed = hex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
        let key = SigningKey::from_seed(&seed);
        let public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        assert_eq!(key.public_key(), hex::<32>(public));
        let value = Item::torrent_value(InfoHash::from([7; 20]));
        let item = Item::sign(&key, Bytes::new(), 3, value.clone()).unwrap();
        assert_eq!(item.info_hash(), Some(InfoHash::from([7; 20])));
        assert_eq!(Item::signed(value, item.author().unwrap().clone()), Ok(item));
    }

    #[test]
    fn what_is_too_long_or_not_bencode_is_no_item() {
        let long = Bytes::from(format!("997:{}", "x".repeat(997)));
        assert_eq!(Item::immutable(long), Err(ItemError::ValueTooLong(1_001)));
        let just = Bytes::from(format!("996:{}", "x".repeat(996)));
        assert!(Item::immutable(just).is_ok());
        let unsorted = Bytes::from_static(b"d1:bi1e1:ai1ee");
        assert!(matches!(Item::immutable(unsorted), Err(ItemError::Bencode(_))));
        let salt = Bytes::from_static(&[0; 65]);
        let value = Bytes::from_static(b"i1e");
        assert_eq!(Item::sign(&vector_key(), salt, 1, value), Err(ItemError::SaltTooLong(65)));
    }
}
