//! The names of a torrent: SHA-1 (v1, [BEP 3]) and SHA-256 (v2, [BEP 52]) of its info dictionary.
//!
//! [BEP 3]: https://www.bittorrent.org/beps/bep_0003.html
//! [BEP 52]: https://www.bittorrent.org/beps/bep_0052.html

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE32, HEXLOWER, HEXLOWER_PERMISSIVE};

/// The swarm's name on the wire: the SHA-1 of a v1 info dictionary, or the first 20 bytes of a v2 info hash.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InfoHash([u8; 20]);

impl InfoHash {
    /// The 20 bytes.
    pub fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }
}

impl From<[u8; 20]> for InfoHash {
    fn from(bytes: [u8; 20]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for InfoHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for InfoHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InfoHash({self})")
    }
}

impl FromStr for InfoHash {
    type Err = InfoHashError;

    /// 40 hex digits or 32 base32 digits (BEP 9: older magnet links), either case.
    fn from_str(text: &str) -> Result<Self, InfoHashError> {
        let bytes = match text.len() {
            40 => HEXLOWER_PERMISSIVE.decode(text.as_bytes()),
            32 => BASE32.decode(text.to_ascii_uppercase().as_bytes()),
            _ => return Err(InfoHashError),
        };
        let bytes = bytes.map_err(|_| InfoHashError)?;
        bytes.try_into().map(Self).map_err(|_| InfoHashError)
    }
}

/// The SHA-256 of a v2 info dictionary.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InfoHashV2([u8; 32]);

impl InfoHashV2 {
    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first 20 bytes: the name for trackers, the DHT and handshakes.
    pub fn truncated(&self) -> InfoHash {
        let (head, _) = self.0.split_first_chunk().expect("32 bytes begin with 20");
        InfoHash(*head)
    }
}

impl From<[u8; 32]> for InfoHashV2 {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for InfoHashV2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for InfoHashV2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InfoHashV2({self})")
    }
}

impl FromStr for InfoHashV2 {
    type Err = InfoHashError;

    /// 64 hex digits, either case.
    fn from_str(text: &str) -> Result<Self, InfoHashError> {
        let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(|_| InfoHashError)?;
        bytes.try_into().map(Self).map_err(|_| InfoHashError)
    }
}

/// The text is no info hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an info hash has 40 or 64 hex digits, or 32 base32 digits")]
pub struct InfoHashError;

/// The names that one torrent has: one, or both for a hybrid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InfoHashes {
    /// Of the v1 side.
    pub v1: Option<InfoHash>,
    /// Of the v2 side. At least one of the two is there.
    pub v2: Option<InfoHashV2>,
}

impl InfoHashes {
    /// The name to use on the wire: v1 if there is one, else the beginning of v2.
    ///
    /// # Panics
    /// When neither is there, which no value of this crate is.
    pub fn wire(&self) -> InfoHash {
        match (self.v1, self.v2) {
            (Some(v1), _) => v1,
            (None, Some(v2)) => v2.truncated(),
            (None, None) => panic!("info hashes without a hash"),
        }
    }

    /// The other name on the wire, of a hybrid: peers that once met version 2 at an address call it by the beginning of v2.
    pub fn other(&self) -> Option<InfoHash> {
        self.v1.and(self.v2).map(|v2| v2.truncated())
    }

    /// All names on the wire, [`Self::wire`] first: where others look for the torrent, by either of them.
    pub fn names(&self) -> impl Iterator<Item = InfoHash> + use<> {
        std::iter::once(self.wire()).chain(self.other())
    }

    /// Whether `info` is the info dictionary with these names: every one that is there matches. What is in it does not
    /// matter here.
    pub fn are_of(&self, info: &[u8]) -> bool {
        (self.v1.is_some() || self.v2.is_some())
            && self.v1.is_none_or(|v1| ferri_hash::sha1(info) == *v1.as_bytes())
            && self.v2.is_none_or(|v2| ferri_hash::sha256(info) == *v2.as_bytes())
    }
}

impl From<InfoHash> for InfoHashes {
    fn from(v1: InfoHash) -> Self {
        Self { v1: Some(v1), v2: None }
    }
}

impl From<InfoHashV2> for InfoHashes {
    fn from(v2: InfoHashV2) -> Self {
        Self { v1: None, v2: Some(v2) }
    }
}

#[cfg(feature = "serde")]
mod serde_impls {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    use super::{InfoHash, InfoHashV2};

    impl Serialize for InfoHash {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_str(self)
        }
    }

    impl<'de> Deserialize<'de> for InfoHash {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
        }
    }

    impl Serialize for InfoHashV2 {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_str(self)
        }
    }

    impl<'de> Deserialize<'de> for InfoHashV2 {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn hex_and_base32_name_the_same_torrent() {
        let bytes: [u8; 20] = std::array::from_fn(|n| n as u8 * 13);
        let hash = InfoHash::from(bytes);
        let hex = hash.to_string();
        assert_eq!(hex.len(), 40);
        for text in
            [hex.clone(), hex.to_uppercase(), BASE32.encode(&bytes), BASE32.encode(&bytes).to_lowercase()]
        {
            assert_eq!(text.parse(), Ok(hash), "{text}");
        }
    }

    #[test]
    fn other_texts_are_no_info_hash() {
        for text in ["", "00", &"g".repeat(40), &"1".repeat(32), &"0".repeat(64), &"ä".repeat(20)] {
            assert_eq!(text.parse::<InfoHash>(), Err(InfoHashError), "{text}");
        }
        for text in ["", &"0".repeat(40), &"x".repeat(64)] {
            assert_eq!(text.parse::<InfoHashV2>(), Err(InfoHashError), "{text}");
        }
    }

    #[test]
    fn the_wire_uses_v1_before_a_truncated_v2() {
        let v2 = InfoHashV2::from(std::array::from_fn(|n| n as u8));
        assert_eq!(InfoHashes::from(v2).wire().as_bytes(), &v2.as_bytes()[..20]);
        let v1 = InfoHash::from([7; 20]);
        assert_eq!(InfoHashes { v1: Some(v1), v2: Some(v2) }.wire(), v1);
    }

    #[test]
    fn every_name_that_is_there_must_be_that_of_the_dictionary() {
        let info = b"d4:name1:xe";
        let v1 = Some(InfoHash::from(ferri_hash::sha1(info)));
        let v2 = Some(InfoHashV2::from(ferri_hash::sha256(info)));
        for (v1, v2) in [(v1, None), (None, v2), (v1, v2)] {
            assert!(InfoHashes { v1, v2 }.are_of(info));
            assert!(!InfoHashes { v1, v2 }.are_of(b"d4:name1:ye"));
        }
        assert!(!InfoHashes { v1, v2: Some([0; 32].into()) }.are_of(info));
        assert!(!InfoHashes { v1: Some([0; 20].into()), v2 }.are_of(info));
        assert!(!InfoHashes { v1: None, v2: None }.are_of(info));
    }
}
