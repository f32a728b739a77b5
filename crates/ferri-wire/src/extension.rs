//! The extension protocol ([BEP 10]): its handshake, and the messages of two small extensions.
//!
//! In its handshake each side gives a number to every extension message it wants to *receive*. Fields with values that make
//! no sense are ignored, as the specification allows anything in there; what is kept is bounded. The larger extensions have
//! modules of their own: [`metadata`] (BEP 9) and [`pex`] (BEP 11).
//!
//! [BEP 10]: https://www.bittorrent.org/beps/bep_0010.html

pub mod metadata;
pub mod pex;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ferri_bencode::{Document, Encoder, Value};

use crate::codec::EXTENDED_HANDSHAKE_BYTES_MAX;

/// The number of the extension handshake itself.
pub const HANDSHAKE_ID: u8 = 0;

/// Name of the extension that carries the info dictionary (BEP 9).
pub const UT_METADATA: &str = "ut_metadata";
/// Name of the extension that exchanges addresses of peers (BEP 11).
pub const UT_PEX: &str = "ut_pex";
/// Name of the extension that takes a have back (BEP 54).
pub const LT_DONTHAVE: &str = "lt_donthave";
/// Name of the extension that says that nothing more will be downloaded, after the handshake (BEP 21).
pub const UPLOAD_ONLY: &str = "upload_only";

/// Names that are kept from one peer. Real programs have about ten.
pub const EXTENSIONS_MAX: usize = 64;
/// Longest name that is kept, in bytes.
pub const EXTENSION_NAME_MAX: usize = 64;
/// How much of the program's name is kept, in bytes.
pub const CLIENT_NAME_MAX: usize = 128;

/// Why a payload is not what its extension says it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The payload is not bencode.
    #[error("the extension message is not bencode: {0}")]
    Bencode(#[from] ferri_bencode::Error),
    /// The payload is some other value.
    #[error("the extension message is not a dictionary")]
    NotADictionary,
    /// The handshake is above [`EXTENDED_HANDSHAKE_BYTES_MAX`].
    #[error("the extension handshake has {length} bytes; the limit is {EXTENDED_HANDSHAKE_BYTES_MAX}")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// A message is longer than any that makes sense.
    #[error("the peer sent a {message} message with {length} bytes; the limit is {limit}")]
    MessageTooLong {
        /// Name of the extension.
        message: &'static str,
        /// Length of the payload in bytes.
        length: usize,
        /// The limit it passed.
        limit: usize,
    },
    /// A number that a message cannot do without is missing, or makes no sense.
    #[error("the peer sent a {message} message without a valid `{name}`")]
    MissingNumber {
        /// Name of the extension.
        message: &'static str,
        /// The key of the number.
        name: &'static str,
    },
    /// A message, or a list or part in it, has another size than it must have.
    #[error("the peer sent a {message} message with {length} bytes; it has {expected}")]
    WrongLength {
        /// Name of the extension.
        message: &'static str,
        /// Length in bytes.
        length: usize,
        /// The right one.
        expected: usize,
    },
}

/// What a peer says about itself in the extension handshake. Everything is a claim and everything is optional.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ExtensionHandshake {
    /// Extension names and the numbers their messages shall have when sent to this peer. 0 switches one off.
    pub m: BTreeMap<String, u8>,
    /// The program and its version, in the peer's words: make it harmless before showing it.
    pub v: Option<String>,
    /// How many requests the peer keeps waiting without dropping any.
    pub reqq: Option<u32>,
    /// The address as which the peer sees us.
    pub yourip: Option<IpAddr>,
    /// The peer will not download anything more (BEP 21).
    pub upload_only: bool,
    /// The TCP port the peer listens on. Never 0.
    pub p: Option<u16>,
    /// Size of the info dictionary in bytes, for [`UT_METADATA`] (BEP 9). Not compared with any limit here.
    pub metadata_size: Option<u32>,
    /// How many seconds ago the peer had everything.
    pub complete_ago: Option<u32>,
    /// An IPv4 address under which the peer can be reached too.
    pub ipv4: Option<Ipv4Addr>,
    /// An IPv6 address under which the peer can be reached too.
    pub ipv6: Option<Ipv6Addr>,
}

impl ExtensionHandshake {
    /// The number for messages of the extension `name`. `None` when the peer does not want them.
    pub fn id(&self, name: &str) -> Option<u8> {
        self.m.get(name).copied().filter(|&id| id != 0)
    }

    /// Takes over the names of a later handshake of the same peer, which holds changes only (BEP 10), and the fields it has.
    pub fn update(&mut self, later: Self) {
        for (name, id) in later.m {
            if self.m.len() < EXTENSIONS_MAX || self.m.contains_key(&name) {
                self.m.insert(name, id);
            }
        }
        self.v = later.v.or_else(|| self.v.take());
        self.reqq = later.reqq.or(self.reqq);
        self.yourip = later.yourip.or(self.yourip);
        // A peer that stopped downloading and starts again says so by leaving this out.
        self.upload_only = later.upload_only;
        self.p = later.p.or(self.p);
        self.metadata_size = later.metadata_size.or(self.metadata_size);
        self.complete_ago = later.complete_ago.or(self.complete_ago);
        self.ipv4 = later.ipv4.or(self.ipv4);
        self.ipv6 = later.ipv6.or(self.ipv6);
    }

    /// The payload of the message with number [`HANDSHAKE_ID`].
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.begin_dict();
        // Keys in ascending order.
        put_int(&mut out, "complete_ago", self.complete_ago);
        put_bytes(&mut out, "ipv4", self.ipv4.map(|ip| ip.octets()));
        put_bytes(&mut out, "ipv6", self.ipv6.map(|ip| ip.octets()));
        out.key(b"m").begin_dict();
        for (name, &id) in &self.m {
            put_int(&mut out, name, Some(id));
        }
        out.end();
        put_int(&mut out, "metadata_size", self.metadata_size);
        put_int(&mut out, "p", self.p);
        put_int(&mut out, "reqq", self.reqq);
        put_int(&mut out, "upload_only", self.upload_only.then_some(1u8));
        put_bytes(&mut out, "v", self.v.as_ref());
        match self.yourip {
            Some(IpAddr::V4(ip)) => put_bytes(&mut out, "yourip", Some(ip.octets())),
            Some(IpAddr::V6(ip)) => put_bytes(&mut out, "yourip", Some(ip.octets())),
            None => {}
        }
        out.end();
        out.into_bytes()
    }

    /// Reads the payload of the message with number [`HANDSHAKE_ID`].
    ///
    /// Keys in the wrong order and data behind the dictionary occur and are overlooked.
    ///
    /// # Errors
    /// It is too long, not bencode, or not a dictionary. Fields inside that make no sense are left out instead.
    pub fn decode(payload: &[u8]) -> Result<Self, Error> {
        if (EXTENDED_HANDSHAKE_BYTES_MAX as usize) < payload.len() {
            return Err(Error::TooLong { length: payload.len() });
        }
        let (document, _) = Document::parse_prefix(payload)?;
        let root = document.root().as_dict().ok_or(Error::NotADictionary)?;
        let mut handshake = Self::default();
        for (key, value) in root.iter() {
            handshake.take(key, value);
        }
        Ok(handshake)
    }

    /// One field of the dictionary.
    fn take(&mut self, key: &[u8], value: Value<'_>) {
        match key {
            b"complete_ago" => self.complete_ago = number(value),
            b"ipv4" => self.ipv4 = octets(value).map(|ip: [u8; 4]| ip.into()),
            b"ipv6" => self.ipv6 = octets(value).map(|ip: [u8; 16]| ip.into()),
            b"m" => self.m = names(value),
            b"metadata_size" => self.metadata_size = number(value).filter(|&size| size != 0),
            b"p" => self.p = number(value).filter(|&port| port != 0),
            // A peer that keeps more than we can count is not refused its handshake.
            b"reqq" => {
                let count = value.as_int().filter(|&count| 0 <= count);
                self.reqq = count.map(|count| u32::try_from(count).unwrap_or(u32::MAX));
            }
            b"upload_only" => self.upload_only = value.as_int().is_some_and(|flag| flag != 0),
            b"v" => self.v = value.as_bytes().map(client_name),
            b"yourip" => {
                let v4 = octets(value).map(|ip: [u8; 4]| IpAddr::from(ip));
                self.yourip = v4.or_else(|| octets(value).map(|ip: [u8; 16]| IpAddr::from(ip)));
            }
            _ => {}
        }
    }
}

/// The dictionary `m`: the names that can be kept, and their numbers.
fn names(value: Value<'_>) -> BTreeMap<String, u8> {
    let mut names = BTreeMap::new();
    for (name, id) in value.as_dict().into_iter().flat_map(ferri_bencode::Dict::iter) {
        if EXTENSIONS_MAX <= names.len() {
            break;
        }
        let Ok(name) = std::str::from_utf8(name) else { continue };
        if let (1..=EXTENSION_NAME_MAX, Some(id)) = (name.len(), number(id)) {
            names.insert(name.to_owned(), id);
        }
    }
    names
}

/// The beginning of the program's name, with what is not UTF-8 replaced.
fn client_name(bytes: &[u8]) -> String {
    let start = &bytes[..bytes.len().min(CLIENT_NAME_MAX)];
    let mut name = String::from_utf8_lossy(start).into_owned();
    // Replaced bytes became longer.
    name.truncate(name.floor_char_boundary(CLIENT_NAME_MAX));
    name
}

fn number<T: TryFrom<i64>>(value: Value<'_>) -> Option<T> {
    value.as_int().and_then(|number| number.try_into().ok())
}

fn octets<const N: usize>(value: Value<'_>) -> Option<[u8; N]> {
    value.as_bytes().and_then(|bytes| bytes.try_into().ok())
}

fn put_int(out: &mut Encoder, key: &str, value: Option<impl Into<i64>>) {
    if let Some(value) = value {
        out.key(key.as_bytes()).int(value.into());
    }
}

fn put_bytes(out: &mut Encoder, key: &str, value: Option<impl AsRef<[u8]>>) {
    if let Some(value) = value {
        out.key(key.as_bytes()).bytes(value.as_ref());
    }
}

/// The payload of a [`LT_DONTHAVE`] message (BEP 54): the sender no longer has this piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct DontHave {
    /// Index of the piece, unchecked.
    pub piece: u32,
}

impl DontHave {
    /// The payload that is sent.
    pub fn encode(self) -> [u8; 4] {
        self.piece.to_be_bytes()
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// [`Error::WrongLength`] unless it has four bytes.
    pub fn decode(payload: &[u8]) -> Result<Self, Error> {
        let bytes = exactly(LT_DONTHAVE, payload)?;
        Ok(Self { piece: u32::from_be_bytes(bytes) })
    }
}

/// The payload of an [`UPLOAD_ONLY`] message (BEP 21): whether the sender will download anything more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct UploadOnly(pub bool);

impl UploadOnly {
    /// The payload that is sent.
    pub fn encode(self) -> [u8; 1] {
        [u8::from(self.0)]
    }

    /// Reads a payload. Any number but 0 means yes.
    ///
    /// # Errors
    /// [`Error::WrongLength`] unless it has one byte.
    pub fn decode(payload: &[u8]) -> Result<Self, Error> {
        let [flag] = exactly(UPLOAD_ONLY, payload)?;
        Ok(Self(flag != 0))
    }
}

fn exactly<const N: usize>(message: &'static str, payload: &[u8]) -> Result<[u8; N], Error> {
    payload.try_into().map_err(|_| Error::WrongLength { message, length: payload.len(), expected: N })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn decode(payload: &[u8]) -> ExtensionHandshake {
        ExtensionHandshake::decode(payload).unwrap()
    }

    #[test]
    fn the_example_of_bep_10_is_read() {
        let got = decode("d1:md11:LT_metadatai1e7:µT_PEXi2ee1:pi6881e1:v13:µTorrent 1.2e".as_bytes());
        let m = [("LT_metadata", 1), ("µT_PEX", 2)].map(|(name, id)| (name.to_owned(), id));
        let expected = ExtensionHandshake {
            m: m.into(),
            p: Some(6881),
            v: Some("µTorrent 1.2".to_owned()),
            ..ExtensionHandshake::default()
        };
        assert_eq!(got, expected);
    }

    #[test]
    fn all_fields_are_written_in_order_and_read_back() {
        let m = [(UT_METADATA, 2), (UT_PEX, 1), (LT_DONTHAVE, 7)].map(|(name, id)| (name.to_owned(), id));
        let all = ExtensionHandshake {
            m: m.into(),
            v: Some("Ferriswarm 0.1.0".to_owned()),
            reqq: Some(500),
            yourip: Some(Ipv4Addr::new(1, 2, 3, 4).into()),
            upload_only: true,
            p: Some(51413),
            metadata_size: Some(31235),
            complete_ago: Some(60),
            ipv4: Some(Ipv4Addr::new(5, 6, 7, 8)),
            ipv6: Some(Ipv6Addr::LOCALHOST),
        };
        let bytes = all.encode();
        Document::parse(&bytes).unwrap();
        assert_eq!(decode(&bytes), all);
        assert_eq!(ExtensionHandshake::default().encode(), b"d1:mdee");
        let v6 =
            ExtensionHandshake { yourip: Some(Ipv6Addr::LOCALHOST.into()), ..ExtensionHandshake::default() };
        assert_eq!(decode(&v6.encode()), v6);
    }

    #[test]
    fn fields_that_make_no_sense_are_left_out() {
        assert_eq!(decode(b"de"), ExtensionHandshake::default());
        assert_eq!(decode(b"d1:m3:abc1:pi0e4:reqqi-1e1:vi1e6:yourip3:abce"), ExtensionHandshake::default());
        assert_eq!(decode(b"d1:pi65536e13:metadata_sizei-1ee"), ExtensionHandshake::default());
        assert_eq!(
            decode(b"d1:md1:ai256e1:bi-1e1:ci3e0:i4eee").m.into_iter().collect::<Vec<_>>(),
            [("c".into(), 3)]
        );
        assert_eq!(decode(b"d4:reqqi99999999999ee").reqq, Some(u32::MAX));
        assert_eq!(decode(b"d1:v3:a\xffbe").v.as_deref(), Some("a\u{fffd}b"));
    }

    #[test]
    fn keys_out_of_order_and_data_behind_the_end_are_overlooked() {
        assert_eq!(decode(b"d1:v1:x1:pi1ee\0\0").p, Some(1));
    }

    #[test]
    fn what_is_not_a_dictionary_is_refused() {
        assert_eq!(ExtensionHandshake::decode(b"le"), Err(Error::NotADictionary));
        assert!(matches!(ExtensionHandshake::decode(b""), Err(Error::Bencode(_))));
        assert!(matches!(ExtensionHandshake::decode(b"d1:v"), Err(Error::Bencode(_))));
        let long = vec![b' '; 65_537];
        assert_eq!(ExtensionHandshake::decode(&long), Err(Error::TooLong { length: 65_537 }));
    }

    #[test]
    fn what_is_kept_of_one_peer_is_bounded() {
        let mut out = Encoder::new();
        out.begin_dict().key(b"m").begin_dict();
        for number in 0..1000 {
            out.key(format!("x{number:04}").as_bytes()).int(1);
        }
        out.key([b'y'; 65].as_slice()).int(1);
        out.end().key(b"v").bytes(&[0xff; 1000]).end();
        let got = decode(&out.into_bytes());
        assert_eq!(got.m.len(), EXTENSIONS_MAX);
        assert!(got.v.unwrap().len() <= CLIENT_NAME_MAX);
        let mut name = vec![b'a'; 127];
        name.extend("µ".as_bytes());
        assert!(client_name(&name).len() <= CLIENT_NAME_MAX);
    }

    #[test]
    fn a_number_of_zero_means_off() {
        let mut first = decode(b"d1:md6:ut_pexi1ee1:v1:xe");
        assert_eq!(first.id(UT_PEX), Some(1));
        assert_eq!(first.id(UT_METADATA), None);
        first.update(decode(b"d1:md11:ut_metadatai3e6:ut_pexi0eee"));
        assert_eq!((first.id(UT_PEX), first.id(UT_METADATA)), (None, Some(3)));
        assert_eq!(first.v.as_deref(), Some("x"));
        for number in 0..100u8 {
            first.update(ExtensionHandshake {
                m: [(format!("x{number}"), 1)].into(),
                ..ExtensionHandshake::default()
            });
        }
        assert_eq!(first.m.len(), EXTENSIONS_MAX);
    }

    #[test]
    fn small_messages_have_one_length_each() {
        assert_eq!(DontHave::decode(&DontHave { piece: 258 }.encode()), Ok(DontHave { piece: 258 }));
        assert_eq!(
            DontHave::decode(b"abc").unwrap_err().to_string(),
            "the peer sent a lt_donthave message with 3 bytes; it has 4"
        );
        assert_eq!(UploadOnly::decode(b"\x01"), Ok(UploadOnly(true)));
        assert_eq!(UploadOnly::decode(&UploadOnly(false).encode()), Ok(UploadOnly(false)));
        UploadOnly::decode(b"").unwrap_err();
    }

    proptest! {
        #[test]
        fn what_was_kept_is_written_and_read_back(
            payload in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..64),
                "d(1:md(1:[a-c]i[0-9]{1,3}e){0,3}e)?(1:pi[1-9][0-9]{0,5}e)?(1:v3:[a-z]{3})?(4:reqqi[1-9]{1,12}e)?e"
                    .prop_map(String::into_bytes),
            ],
        ) {
            if let Ok(handshake) = ExtensionHandshake::decode(&payload) {
                prop_assert_eq!(decode(&handshake.encode()), handshake);
            }
        }
    }
}
