//! How byte strings are serialised (feature `serde`): as hex, or as nothing but a length.

/// `Bytes` as lower-case hex.
pub(crate) mod hex {
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::to_hex(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::from_hex(&text).map(Bytes::from).ok_or_else(|| D::Error::custom("not pairs of hex digits"))
    }
}

/// `Bytes` as their length; they come back as zeros.
pub(crate) mod length {
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::codec::PIECE_DATA_MAX;

    pub(crate) fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(bytes.len() as u64)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let length = u32::deserialize(deserializer)?;
        if PIECE_DATA_MAX < length {
            return Err(D::Error::custom(format!(
                "a block of {length} bytes; the limit is {PIECE_DATA_MAX}"
            )));
        }
        Ok(Bytes::from(vec![0; length as usize]))
    }
}

impl serde::Serialize for crate::PeerId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&to_hex(self.as_bytes()))
    }
}

impl<'de> serde::Deserialize<'de> for crate::PeerId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = from_hex(&text).and_then(|bytes| <[u8; 20]>::try_from(bytes).ok());
        bytes.map(Self::from).ok_or_else(|| serde::de::Error::custom("not 40 hex digits"))
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

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytes::Bytes;
    use ferri_metainfo::InfoHash;

    use crate::{Handshake, Message, PeerId, Reserved};

    #[test]
    fn a_block_is_kept_as_its_length_and_comes_back_as_zeros() {
        let message = Message::Piece { piece: 1, begin: 2, data: Bytes::from_static(b"abc") };
        let text = serde_json::to_string(&message).unwrap();
        assert_eq!(text, r#"{"Piece":{"piece":1,"begin":2,"data":3}}"#);
        let back: Message = serde_json::from_str(&text).unwrap();
        assert_eq!(back, Message::Piece { piece: 1, begin: 2, data: Bytes::from_static(b"\0\0\0") });
        serde_json::from_str::<Message>(r#"{"Piece":{"piece":1,"begin":2,"data":4294967295}}"#).unwrap_err();
    }

    #[test]
    fn other_bytes_are_hex() {
        let bits = Message::Bitfield(Bytes::from_static(b"\xff\x80"));
        assert_eq!(serde_json::to_string(&bits).unwrap(), r#"{"Bitfield":"ff80"}"#);
        for message in
            [bits, Message::Extended { id: 1, payload: Bytes::from_static(b"de") }, Message::HaveAll]
        {
            let text = serde_json::to_string(&message).unwrap();
            assert_eq!(serde_json::from_str::<Message>(&text).unwrap(), message);
        }
        serde_json::from_str::<Message>(r#"{"Bitfield":"ff8"}"#).unwrap_err();
        serde_json::from_str::<Message>(r#"{"Bitfield":"fg"}"#).unwrap_err();
    }

    #[test]
    fn a_handshake_comes_back_as_it_was() {
        let handshake = Handshake {
            reserved: Reserved::NONE.with_fast(),
            info_hash: InfoHash::from([0xab; 20]),
            peer_id: PeerId::from(*b"-FS0100-\0\x01\x02\x03\x04\x05\x06\x07\x08\x09\xff\xfe"),
        };
        let text = serde_json::to_string(&handshake).unwrap();
        assert!(text.contains(&"ab".repeat(20)));
        assert_eq!(serde_json::from_str::<Handshake>(&text).unwrap(), handshake);
    }
}
