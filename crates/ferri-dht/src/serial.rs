//! How bytes, ids and items are serialised (feature `serde`): as hex.

use bytes::Bytes;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::id::NodeId;
use crate::items::{Author, Item};

/// `Bytes` as lower-case hex.
pub(crate) mod hex {
    use bytes::Bytes;
    use serde::{Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::to_hex(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        super::from_hex(deserializer).map(Bytes::from)
    }
}

/// Arrays of any length as lower-case hex.
pub(crate) mod array {
    use serde::de::Error;
    use serde::{Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer, const N: usize>(
        bytes: &[u8; N],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::to_hex(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>, const N: usize>(
        deserializer: D,
    ) -> Result<[u8; N], D::Error> {
        let bytes = super::from_hex(deserializer)?;
        bytes.try_into().map_err(|_| D::Error::custom(format!("not {N} bytes")))
    }
}

impl Serialize for NodeId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        array::serialize(self.as_bytes(), serializer)
    }
}

impl<'de> Deserialize<'de> for NodeId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        array::deserialize::<_, 20>(deserializer).map(Self::from)
    }
}

/// An item as it is written down.
#[derive(Serialize, Deserialize)]
struct Plain {
    #[serde(with = "hex")]
    value: Bytes,
    author: Option<Author>,
}

impl Serialize for Item {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Plain { value: self.value().clone(), author: self.author().cloned() }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Item {
    /// One whose signature or value is wrong is no item.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let item = match Plain::deserialize(deserializer)? {
            Plain { value, author: None } => Self::immutable(value),
            Plain { value, author: Some(author) } => Self::signed(value, author),
        };
        item.map_err(D::Error::custom)
    }
}

fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

fn from_hex<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let byte = |pair: &[u8]| match *pair {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    };
    let bytes = text.as_bytes().chunks(2).map(byte).collect::<Option<Vec<u8>>>();
    bytes.ok_or_else(|| D::Error::custom("not pairs of hex digits"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::items::SigningKey;
    use crate::{Input, ItemKey, Lookup};

    #[test]
    fn inputs_come_back_as_they_were() {
        let value = Bytes::from_static(b"5:hello");
        let signed =
            Item::sign(&SigningKey::from_seed(&[1; 32]), Bytes::from_static(b"x"), 4, value.clone()).unwrap();
        let inputs = [
            Input::Datagram { from: "1.2.3.4:5".parse().unwrap(), bytes: Bytes::from_static(b"\x00\xff") },
            Input::Put { lookup: Lookup(1), item: Item::immutable(value).unwrap(), cas: None },
            Input::Put { lookup: Lookup(2), item: signed.clone(), cas: Some(3) },
            Input::Get { lookup: Lookup(3), key: signed.key(), newer_than: Some(-1) },
            Input::Get { lookup: Lookup(4), key: ItemKey::Immutable([7; 20].into()), newer_than: None },
        ];
        for input in inputs {
            let text = serde_json::to_string(&input).unwrap();
            assert_eq!(serde_json::from_str::<Input>(&text).unwrap(), input, "{text}");
        }
    }

    #[test]
    fn an_item_that_was_meddled_with_is_none() {
        let key = SigningKey::from_seed(&[1; 32]);
        let item = Item::sign(&key, Bytes::new(), 4, Bytes::from_static(b"5:hello")).unwrap();
        let text = serde_json::to_string(&item).unwrap();
        for (from, to) in [("\"seq\":4", "\"seq\":5"), ("353a", "363a"), ("353a", "35"), ("353a", "35xx")] {
            assert!(text.contains(from));
            assert!(serde_json::from_str::<Item>(&text.replacen(from, to, 1)).is_err(), "{to}");
        }
    }
}
