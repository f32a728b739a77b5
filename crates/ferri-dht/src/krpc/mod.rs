//! KRPC (BEP 5): messages between nodes, each one bencoded dictionary in one datagram.
//!
//! [`read`] looks at a parsed document without copying; what it returns borrows from it. Writing is exact: keys in
//! order, nothing that the message does not have. Unknown keys are ignored.

pub mod compact;
mod query;
mod response;

use std::net::SocketAddr;

use ferri_bencode::{Dict, Document, Encoder, Value};

pub use query::{Announce, Method, Put, PutAuthor, Query, Want};
pub use response::{Response, Sample};

/// Datagrams that are longer hold no message of ours or for us: our answers have 1,232 bytes at most, and generous nodes send up
/// to 1,500.
pub const DATAGRAM_IN_MAX: usize = 4_096;

/// No answer of ours is longer: with its headers it fits into the smallest IPv6 packet. (BEP 32 asks for 1,024 bytes,
/// which an item of 1,000 bytes does not leave room for.)
pub const ANSWER_MAX: usize = 1_232;

/// Bytes of a transaction id of others, which we echo. Two to eight are usual.
pub const TRANSACTION_MAX: usize = 32;

/// Bytes of a token of others, which we keep and return. 4 to 20 are usual.
pub const TOKEN_MAX: usize = 64;

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// `t`: chosen by who asks, echoed by who answers.
    pub transaction: &'a [u8],
    /// `v`: who wrote the software.
    pub client: Option<&'a [u8]>,
    /// `ip`: how the sender sees us (BEP 42).
    pub ip: Option<SocketAddr>,
    /// `ro`: the sender answers no queries (BEP 43).
    pub read_only: bool,
    /// What it says.
    pub body: Body<'a>,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// It asks.
    Query(Query<'a>),
    /// It answers.
    Response(Response<'a>),
    /// It answers that it cannot.
    Error(Fault<'a>),
}

/// An error that one node reports to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault<'a> {
    /// A number of [`code`].
    pub code: i64,
    /// For people.
    pub text: &'a [u8],
}

/// The codes of errors (BEP 5, BEP 44).
pub mod code {
    /// Something went wrong.
    pub const GENERIC: i64 = 201;
    /// The node that was asked is in trouble.
    pub const SERVER: i64 = 202;
    /// A malformed packet, invalid arguments or a bad token.
    pub const PROTOCOL: i64 = 203;
    /// The method is unknown.
    pub const METHOD_UNKNOWN: i64 = 204;
    /// An item's value is too long.
    pub const VALUE_TOO_LONG: i64 = 205;
    /// An item's signature is wrong.
    pub const SIGNATURE: i64 = 206;
    /// An item's salt is too long.
    pub const SALT_TOO_LONG: i64 = 207;
    /// Another version is stored than the one to be replaced.
    pub const CAS: i64 = 301;
    /// A newer version is stored.
    pub const SEQ: i64 = 302;
}

/// Why something is not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError<'a> {
    /// Nothing that could be answered.
    #[error("not a message")]
    NotMessage,
    /// A query whose arguments are wrong. It is answered with [`code::PROTOCOL`].
    #[error("a query without a proper {argument}")]
    Query {
        /// To echo.
        transaction: &'a [u8],
        /// What is missing or wrong.
        argument: &'static str,
    },
}

/// Parses a datagram so that [`read`] can look at it. Keys may be out of order, since some nodes write them so.
///
/// # Errors
/// It is too long, or not bencode.
pub fn parse(datagram: &[u8]) -> Result<Document<'_>, ReadError<'static>> {
    if DATAGRAM_IN_MAX < datagram.len() {
        return Err(ReadError::NotMessage);
    }
    Document::parse_lenient(datagram).map_err(|_| ReadError::NotMessage)
}

/// The message that a document is.
///
/// # Errors
/// It is none, or a query with wrong arguments.
pub fn read<'d>(document: &'d Document<'_>) -> Result<Message<'d>, ReadError<'d>> {
    let dict = document.root().as_dict().ok_or(ReadError::NotMessage)?;
    let transaction = bytes(dict, b"t").ok_or(ReadError::NotMessage)?;
    if TRANSACTION_MAX < transaction.len() {
        return Err(ReadError::NotMessage);
    }
    let body = match bytes(dict, b"y") {
        Some(b"q") => {
            let query = query::read(dict).map_err(|argument| ReadError::Query { transaction, argument })?;
            Body::Query(query)
        }
        Some(b"r") => {
            let inner = dict.get(b"r").and_then(Value::as_dict).ok_or(ReadError::NotMessage)?;
            Body::Response(response::read(inner).ok_or(ReadError::NotMessage)?)
        }
        Some(b"e") => Body::Error(fault(dict)),
        _ => return Err(ReadError::NotMessage),
    };
    Ok(Message {
        transaction,
        client: bytes(dict, b"v"),
        ip: bytes(dict, b"ip").and_then(compact::addr),
        read_only: flag(dict, b"ro"),
        body,
    })
}

fn fault<'d>(dict: Dict<'d>) -> Fault<'d> {
    let mut parts = dict.get(b"e").and_then(Value::as_list).into_iter().flat_map(|list| list.iter());
    let code = parts.next().and_then(Value::as_int).unwrap_or(code::GENERIC);
    Fault { code, text: parts.next().and_then(Value::as_bytes).unwrap_or_default() }
}

impl Message<'_> {
    /// The datagram.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::append_to(Vec::with_capacity(320));
        encoder.begin_dict();
        match &self.body {
            Body::Query(query) => {
                query.write_arguments(&mut encoder);
                self.write_ip(&mut encoder);
                encoder.key(b"q").bytes(query.method.name());
            }
            Body::Response(response) => {
                self.write_ip(&mut encoder);
                response.write(&mut encoder);
            }
            Body::Error(fault) => {
                encoder.key(b"e").begin_list().int(fault.code).bytes(fault.text).end();
                self.write_ip(&mut encoder);
            }
        }
        if self.read_only {
            encoder.key(b"ro").int(1);
        }
        encoder.key(b"t").bytes(self.transaction);
        if let Some(client) = self.client {
            encoder.key(b"v").bytes(client);
        }
        let kind: &[u8] = match self.body {
            Body::Query(_) => b"q",
            Body::Response(_) => b"r",
            Body::Error(_) => b"e",
        };
        encoder.key(b"y").bytes(kind).end();
        encoder.into_bytes()
    }

    fn write_ip(&self, encoder: &mut Encoder) {
        if let Some(ip) = self.ip {
            let mut compact = Vec::with_capacity(18);
            compact::put_addr(&mut compact, ip);
            encoder.key(b"ip").bytes(&compact);
        }
    }
}

fn bytes<'d>(dict: Dict<'d>, key: &[u8]) -> Option<&'d [u8]> {
    dict.get(key).and_then(Value::as_bytes)
}

fn int(dict: Dict<'_>, key: &[u8]) -> Option<i64> {
    dict.get(key).and_then(Value::as_int)
}

fn flag(dict: Dict<'_>, key: &[u8]) -> bool {
    int(dict, key).is_some_and(|value| value != 0)
}

fn array<const N: usize>(dict: Dict<'_>, key: &[u8]) -> Option<[u8; N]> {
    bytes(dict, key).and_then(|bytes| bytes.try_into().ok())
}

#[cfg(test)]
mod tests;
