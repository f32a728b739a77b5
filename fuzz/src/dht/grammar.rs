//! Messages of the DHT made of the bytes of a fuzzer: all that there are, with arguments that are often right.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ferri_dht::krpc::{
    Announce, Body, Fault, Message, Method, Put, PutAuthor, Query, Response, Sample, TOKEN_MAX,
    TRANSACTION_MAX, Want, compact,
};
use ferri_dht::{Bloom, NodeId};
use ferri_metainfo::InfoHash;

use crate::script::Script;

/// Ids and info hashes are few, so that they meet.
pub(super) const PLACES: u8 = 8;

/// Addresses of others. The first half is named in messages, the second never.
pub(super) const HOSTS: u8 = 32;

/// What a message borrows from.
pub(super) struct Parts {
    transaction: Vec<u8>,
    token: Vec<u8>,
    name: Vec<u8>,
    value: Vec<u8>,
    nodes: Vec<u8>,
    nodes6: Vec<u8>,
    samples: Vec<[u8; 20]>,
}

/// One of [`HOSTS`] addresses: every third IPv6, some of them neighbours, one a private one.
pub(super) fn host(number: u8) -> SocketAddr {
    let number = number % HOSTS;
    let port = 1_000 + u16::from(number);
    match number % 3 {
        0 => SocketAddr::new(Ipv6Addr::new(0x2a00, u16::from(number / 6), 0, 0, 0, 0, 0, 7).into(), port),
        1 if number == 7 => SocketAddr::new(Ipv4Addr::new(192, 168, 1, 7).into(), port),
        _ => SocketAddr::new(Ipv4Addr::new(80, number / 8, 3, number).into(), port),
    }
}

/// One of [`PLACES`] ids.
pub(super) fn place(number: u8) -> [u8; 20] {
    let number = number % PLACES;
    let mut place = [number.wrapping_mul(0x25); 20];
    // Two that are close.
    place[0] = if number < 2 { 0x80 } else { number << 5 };
    place[19] = number;
    place
}

/// The id of a host: mostly a place, sometimes as BEP 42 wants it.
pub(super) fn id_of(number: u8, kind: u8) -> NodeId {
    match kind % 4 {
        0 => NodeId::for_address(host(number).ip(), [number; 20]),
        1 => NodeId::from(place(number)),
        _ => {
            let mut id = place(kind);
            id[10] = number;
            NodeId::from(id)
        }
    }
}

/// A compact address that no host has, or whatever the script says.
fn any_addr(script: &mut Script<'_>) -> SocketAddr {
    let port = script.u16();
    if script.u8().is_multiple_of(2) {
        SocketAddr::new(IpAddr::from(script.bytes::<4>()), port)
    } else {
        SocketAddr::new(IpAddr::from(script.bytes::<16>()), port)
    }
}

impl Parts {
    pub(super) fn new(script: &mut Script<'_>) -> Self {
        let mut parts = Self {
            transaction: string(script, TRANSACTION_MAX),
            token: Vec::new(),
            name: Vec::new(),
            value: b"5:hello".to_vec(),
            nodes: Vec::new(),
            nodes6: Vec::new(),
            samples: Vec::new(),
        };
        let kinds = script.u8();
        if kinds & 1 != 0 {
            parts.token = string(script, TOKEN_MAX);
        }
        if kinds & 2 != 0 {
            parts.value = value(script);
        }
        for _ in 0..kinds >> 4 {
            let (number, kind) = (script.u8() % (HOSTS / 2), script.u8());
            let addr = host(number);
            let nodes = if addr.is_ipv4() { &mut parts.nodes } else { &mut parts.nodes6 };
            compact::put_node(nodes, id_of(number, kind), addr);
        }
        if kinds & 4 != 0 {
            parts.nodes.extend(script.short());
        }
        if kinds & 8 != 0 {
            parts.samples = (0..script.u8() % 30).map(place).collect();
        }
        parts.name = format!("query{}", kinds % 3).into_bytes();
        parts
    }

    /// Says this token instead.
    pub(super) fn with_token(mut self, token: Vec<u8>) -> Self {
        self.token = token;
        self
    }

    /// Says this transaction id instead.
    pub(super) fn with_transaction(mut self, transaction: Vec<u8>) -> Self {
        self.transaction = transaction;
        self
    }

    /// A message of any kind.
    pub(super) fn message(&mut self, script: &mut Script<'_>) -> Message<'_> {
        match script.u8() % 8 {
            0 => {
                let code = i64::from(script.u16());
                let fault = Fault { code, text: &self.name };
                self.wrap(script, Body::Error(fault))
            }
            1..=3 => self.answer(script),
            _ => self.query(script),
        }
    }

    /// An answer with any parts.
    pub(super) fn answer(&self, script: &mut Script<'_>) -> Message<'_> {
        let has = script.u16();
        let part = |bit: u32| has >> bit & 1 != 0;
        let mut response = Response::new(id_of(script.u8(), script.u8()));
        response.nodes = part(0).then_some(&self.nodes[..]);
        response.nodes6 = part(1).then_some(&self.nodes6[..]);
        response.token = part(2).then_some(&self.token[..]);
        if part(3) {
            response.values = (0..script.u8() % 120).map(|_| any_addr(script)).collect();
        }
        let bloom = |script: &mut Script<'_>| Bloom::from([script.u8(); 256]);
        response.blooms = part(4).then(|| Box::new([bloom(script), bloom(script)]));
        response.value = part(5).then_some(&self.value[..]);
        response.public_key = part(6).then(|| script.bytes());
        response.seq = part(7).then(|| i64::from(script.u8()) - 2);
        response.signature = part(8).then(|| script.bytes());
        response.sample = part(9).then(|| Sample {
            info_hashes: &self.samples,
            total: u64::from(script.u16()),
            interval: u32::from(script.u16()) % 21_601,
        });
        self.wrap(script, Body::Response(response))
    }

    /// A query of any method.
    pub(super) fn query(&self, script: &mut Script<'_>) -> Message<'_> {
        let want = script.u8();
        let want = Want { v4: want & 1 != 0, v6: want & 2 != 0 };
        let target = NodeId::from(place(script.u8()));
        let method = match script.u8() % 10 {
            0 => Method::Ping,
            1 => Method::FindNode { target },
            2 | 3 => {
                let flags = script.u8();
                let info_hash = InfoHash::from(*target.as_bytes());
                Method::GetPeers { info_hash, noseed: flags & 1 != 0, scrape: flags & 2 != 0 }
            }
            4 => Method::AnnouncePeer(self.announce(*target.as_bytes(), script)),
            5 => Method::Get { target, seq: (script.u8().is_multiple_of(2)).then(|| script.u8().into()) },
            6 => Method::Put(self.put(None)),
            7 => {
                let (seq, cas) = (i64::from(script.u8()), i64::from(script.u8()));
                let author = PutAuthor {
                    public_key: script.bytes(),
                    salt: &self.transaction,
                    seq,
                    signature: script.bytes(),
                    cas: (cas % 2 == 0).then_some(cas),
                };
                Method::Put(self.put(Some(author)))
            }
            8 => Method::SampleInfohashes { target },
            _ => Method::Unknown {
                name: &self.name,
                target: (script.u8().is_multiple_of(2)).then_some(target),
            },
        };
        let id = id_of(script.u8(), script.u8());
        let want = (want != Want::default()).then_some(want);
        self.wrap(script, Body::Query(Query { id, want, method }))
    }

    /// What an announce says.
    pub(super) fn announce(&self, info_hash: [u8; 20], script: &mut Script<'_>) -> Announce<'_> {
        let flags = script.u8();
        let info_hash = InfoHash::from(info_hash);
        let port = script.u16().max(1);
        Announce { info_hash, port, implied_port: flags & 1 != 0, seed: flags & 2 != 0, token: &self.token }
    }

    /// What a put says.
    pub(super) fn put<'a>(&'a self, author: Option<PutAuthor<'a>>) -> Put<'a> {
        Put { token: &self.token, value: &self.value, author }
    }

    /// A message that says this.
    pub(super) fn wrap<'a>(&'a self, script: &mut Script<'_>, body: Body<'a>) -> Message<'a> {
        let flags = script.u8();
        Message {
            transaction: &self.transaction,
            client: (flags & 1 != 0).then_some(b"XX\x01\x02"),
            ip: (flags & 2 != 0).then(|| any_addr(script)),
            read_only: flags & 4 != 0,
            body,
        }
    }
}

fn string(script: &mut Script<'_>, max: usize) -> Vec<u8> {
    let length = usize::from(script.u8()) % (max + 1);
    script.slice(length).to_vec()
}

/// A bencoded value of up to about a thousand bytes.
fn value(script: &mut Script<'_>) -> Vec<u8> {
    let length = usize::from(script.u16()) % 1_010;
    let letter = script.u8();
    [format!("{length}:").into_bytes(), vec![letter; length]].concat()
}
