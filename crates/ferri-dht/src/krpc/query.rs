//! Queries: BEP 5 with the additions of BEP 32, 33, 44 and 51.

use ferri_bencode::{Dict, Encoder, Value};
use ferri_metainfo::InfoHash;

use super::{TOKEN_MAX, array, bytes, flag, int};
use crate::id::NodeId;

/// A question of one node to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query<'a> {
    /// Who asks.
    pub id: NodeId,
    /// Nodes of which families the answer should have (BEP 32); `None` leaves it to the family of the packet.
    pub want: Option<Want>,
    /// What is asked.
    pub method: Method<'a>,
}

/// Families of nodes that an answer should have (BEP 32).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Want {
    /// `n4`: IPv4 nodes.
    pub v4: bool,
    /// `n6`: IPv6 nodes.
    pub v6: bool,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method<'a> {
    /// Are you there?
    Ping,
    /// Which nodes are close to `target`?
    FindNode {
        /// An id.
        target: NodeId,
    },
    /// Which peers does a torrent have, or which nodes are close to it?
    GetPeers {
        /// The torrent.
        info_hash: InfoHash,
        /// Rather peers that are no seeds (BEP 33).
        noseed: bool,
        /// Filters that count the peers as well (BEP 33).
        scrape: bool,
    },
    /// We are a peer of a torrent.
    AnnouncePeer(Announce<'a>),
    /// What is stored at `target` (BEP 44)?
    Get {
        /// The key of an item.
        target: NodeId,
        /// Only a mutable item with a higher sequence number is of interest.
        seq: Option<i64>,
    },
    /// Store this (BEP 44).
    Put(Put<'a>),
    /// Which torrents do you know (BEP 51)?
    SampleInfohashes {
        /// Nodes close to this id are told as well.
        target: NodeId,
    },
    /// Something else. Nodes close to its `target` or `info_hash` are told, so that new methods find their way through
    /// nodes that do not know them.
    Unknown {
        /// Its name.
        name: &'a [u8],
        /// The first of `target` and `info_hash` that is there.
        target: Option<NodeId>,
    },
}

/// What `announce_peer` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announce<'a> {
    /// The torrent.
    pub info_hash: InfoHash,
    /// Where the peer listens.
    pub port: u16,
    /// It listens at the port that this packet came from instead.
    pub implied_port: bool,
    /// It has everything (BEP 33).
    pub seed: bool,
    /// From an answer to `get_peers`.
    pub token: &'a [u8],
}

/// What `put` says. Nothing of it is checked yet; [`Item::signed`](crate::Item::signed) does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Put<'a> {
    /// From an answer to `get`.
    pub token: &'a [u8],
    /// The value in its bencoded form.
    pub value: &'a [u8],
    /// For a mutable item.
    pub author: Option<PutAuthor<'a>>,
}

/// What the `put` of a mutable item says besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PutAuthor<'a> {
    /// An ed25519 key.
    pub public_key: [u8; 32],
    /// Often empty.
    pub salt: &'a [u8],
    /// The version.
    pub seq: i64,
    /// Over salt, version and value.
    pub signature: [u8; 64],
    /// The version to be replaced, if it must be a certain one.
    pub cas: Option<i64>,
}

impl Method<'_> {
    /// What stands in `q`.
    pub(super) fn name(&self) -> &[u8] {
        match self {
            Self::Ping => b"ping",
            Self::FindNode { .. } => b"find_node",
            Self::GetPeers { .. } => b"get_peers",
            Self::AnnouncePeer(_) => b"announce_peer",
            Self::Get { .. } => b"get",
            Self::Put(_) => b"put",
            Self::SampleInfohashes { .. } => b"sample_infohashes",
            Self::Unknown { name, .. } => name,
        }
    }
}

/// The query in a message; the error names the argument that is missing or wrong.
pub(super) fn read(message: Dict<'_>) -> Result<Query<'_>, &'static str> {
    let name = bytes(message, b"q").ok_or("q")?;
    let arguments = message.get(b"a").and_then(Value::as_dict).ok_or("a")?;
    let id = array(arguments, b"id").map(NodeId::from).ok_or("id")?;
    Ok(Query { id, want: want(arguments), method: method(name, arguments)? })
}

fn want(arguments: Dict<'_>) -> Option<Want> {
    let list = arguments.get(b"want")?.as_list()?;
    let mut want = Want::default();
    for entry in list.iter() {
        match entry.as_bytes() {
            Some(b"n4") => want.v4 = true,
            Some(b"n6") => want.v6 = true,
            // BEP 32: other strings are ignored.
            _ => {}
        }
    }
    (want != Want::default()).then_some(want)
}

fn method<'d>(name: &'d [u8], arguments: Dict<'d>) -> Result<Method<'d>, &'static str> {
    let target = || array(arguments, b"target").map(NodeId::from);
    let info_hash = || array(arguments, b"info_hash").map(InfoHash::from);
    Ok(match name {
        b"ping" => Method::Ping,
        b"find_node" => Method::FindNode { target: target().ok_or("target")? },
        b"get_peers" => Method::GetPeers {
            info_hash: info_hash().ok_or("info_hash")?,
            noseed: flag(arguments, b"noseed"),
            scrape: flag(arguments, b"scrape"),
        },
        b"announce_peer" => Method::AnnouncePeer(announce(arguments)?),
        b"get" => Method::Get { target: target().ok_or("target")?, seq: int(arguments, b"seq") },
        b"put" => Method::Put(put(arguments)?),
        b"sample_infohashes" => Method::SampleInfohashes { target: target().ok_or("target")? },
        _ => Method::Unknown { name, target: target().or_else(|| info_hash().map(NodeId::from)) },
    })
}

fn announce<'d>(arguments: Dict<'d>) -> Result<Announce<'d>, &'static str> {
    let implied_port = flag(arguments, b"implied_port");
    let port = int(arguments, b"port").and_then(|port| u16::try_from(port).ok());
    // BEP 5: with `implied_port` the argument `port` is ignored.
    let port = if implied_port { port.unwrap_or(0) } else { port.filter(|port| *port != 0).ok_or("port")? };
    Ok(Announce {
        info_hash: array(arguments, b"info_hash").map(InfoHash::from).ok_or("info_hash")?,
        port,
        implied_port,
        seed: flag(arguments, b"seed"),
        token: token(arguments)?,
    })
}

fn put<'d>(arguments: Dict<'d>) -> Result<Put<'d>, &'static str> {
    let author = match array(arguments, b"k") {
        None => None,
        Some(public_key) => Some(PutAuthor {
            public_key,
            salt: bytes(arguments, b"salt").unwrap_or_default(),
            seq: int(arguments, b"seq").ok_or("seq")?,
            signature: array(arguments, b"sig").ok_or("sig")?,
            cas: int(arguments, b"cas"),
        }),
    };
    Ok(Put { token: token(arguments)?, value: arguments.get(b"v").ok_or("v")?.raw(), author })
}

fn token<'d>(arguments: Dict<'d>) -> Result<&'d [u8], &'static str> {
    bytes(arguments, b"token").filter(|token| token.len() <= TOKEN_MAX).ok_or("token")
}

impl Query<'_> {
    /// The arguments, under `a`.
    pub(super) fn write_arguments(&self, encoder: &mut Encoder) {
        encoder.key(b"a").begin_dict();
        match &self.method {
            Method::Ping => self.write_id(encoder),
            Method::FindNode { target } | Method::SampleInfohashes { target } => {
                self.write_id(encoder);
                encoder.key(b"target").bytes(target.as_bytes());
            }
            Method::GetPeers { info_hash, noseed, scrape } => {
                self.write_id(encoder);
                encoder.key(b"info_hash").bytes(info_hash.as_bytes());
                write_flag(encoder, b"noseed", *noseed);
                write_flag(encoder, b"scrape", *scrape);
            }
            Method::AnnouncePeer(announce) => {
                self.write_id(encoder);
                write_flag(encoder, b"implied_port", announce.implied_port);
                encoder.key(b"info_hash").bytes(announce.info_hash.as_bytes());
                encoder.key(b"port").int(announce.port.into());
                write_flag(encoder, b"seed", announce.seed);
                encoder.key(b"token").bytes(announce.token);
            }
            Method::Get { target, seq } => {
                self.write_id(encoder);
                if let Some(seq) = seq {
                    encoder.key(b"seq").int(*seq);
                }
                encoder.key(b"target").bytes(target.as_bytes());
            }
            Method::Put(put) => self.write_put(encoder, put),
            Method::Unknown { target, .. } => {
                self.write_id(encoder);
                if let Some(target) = target {
                    encoder.key(b"target").bytes(target.as_bytes());
                }
            }
        }
        self.write_want(encoder);
        encoder.end();
    }

    fn write_id(&self, encoder: &mut Encoder) {
        encoder.key(b"id").bytes(self.id.as_bytes());
    }

    fn write_put(&self, encoder: &mut Encoder, put: &Put<'_>) {
        if let Some(cas) = put.author.and_then(|author| author.cas) {
            encoder.key(b"cas").int(cas);
        }
        self.write_id(encoder);
        if let Some(author) = &put.author {
            encoder.key(b"k").bytes(&author.public_key);
            if !author.salt.is_empty() {
                encoder.key(b"salt").bytes(author.salt);
            }
            encoder.key(b"seq").int(author.seq);
            encoder.key(b"sig").bytes(&author.signature);
        }
        encoder.key(b"token").bytes(put.token);
        encoder.key(b"v").raw(put.value);
    }

    fn write_want(&self, encoder: &mut Encoder) {
        let Some(want) = self.want else { return };
        encoder.key(b"want").begin_list();
        if want.v4 {
            encoder.bytes(b"n4");
        }
        if want.v6 {
            encoder.bytes(b"n6");
        }
        encoder.end();
    }
}

fn write_flag(encoder: &mut Encoder, key: &[u8], value: bool) {
    if value {
        encoder.key(key).int(1);
    }
}
