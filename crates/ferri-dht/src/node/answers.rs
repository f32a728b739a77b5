//! What others ask of us, and what we answer.

use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use ferri_metainfo::InfoHash;

use super::Node;
use crate::bloom::Bloom;
use crate::bucket::K;
use crate::id::NodeId;
use crate::item_store::Refusal;
use crate::items::{Author, Item, ItemError};
use crate::krpc::{
    ANSWER_MAX, Announce, Body, Fault, Message, Method, Put, Query, Response, Sample, Want, code, compact,
};
use crate::output::Family;
use crate::peers::Announced;
use crate::table::Contact;
use crate::token::Token;

/// Peers in one answer: 400 bytes of IPv4 addresses, 1,050 of IPv6 ones. Less is sent when there is less room.
const VALUES_MAX: usize = 50;

/// No answer with peers is longer, so that it arrives through tunnels too.
const ANSWER_WITH_PEERS_MAX: usize = 1_199;

/// Nodes of which those for an answer are chosen.
const POOL: usize = 2 * K;

/// The parts of an answer.
#[derive(Debug, Default)]
struct Parts {
    /// Compact nodes of both families.
    nodes: Option<Vec<u8>>,
    nodes6: Option<Vec<u8>>,
    token: Option<Token>,
    values: Vec<SocketAddr>,
    blooms: Option<Box<[Bloom; 2]>>,
    item: Option<Item>,
    /// Only the version of the item.
    seq: Option<i64>,
    sample: Option<(Vec<[u8; 20]>, u64, u32)>,
}

/// What is around an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Envelope<'a> {
    pub(super) transaction: &'a [u8],
    pub(super) to: SocketAddr,
    /// Bytes that the answer may have.
    pub(super) max: usize,
}

impl Node {
    /// The datagram that answers a query. `None` when even the shortest answer is too long.
    pub(super) fn answer(
        &mut self,
        query: &Query<'_>,
        envelope: Envelope<'_>,
        now: Instant,
    ) -> Option<Vec<u8>> {
        let from = envelope.to;
        match self.parts(query, from, now) {
            Ok(parts) => self.fit(parts, envelope),
            Err((code, text)) => self.refuse(code, text, envelope),
        }
    }

    /// The datagram with an error. `None` when it is too long.
    pub(super) fn refuse(&self, code: i64, text: &str, envelope: Envelope<'_>) -> Option<Vec<u8>> {
        let fault = Fault { code, text: text.as_bytes() };
        self.wrap(Body::Error(fault), envelope)
    }

    fn parts(&mut self, query: &Query<'_>, from: SocketAddr, now: Instant) -> Result<Parts, Refusal> {
        let want = query.want.unwrap_or_else(|| Want { v4: from.is_ipv4(), v6: from.is_ipv6() });
        match &query.method {
            Method::Ping => Ok(Parts::default()),
            Method::FindNode { target } | Method::Unknown { target: Some(target), .. } => {
                Ok(self.nodes(*target, want, from))
            }
            Method::Unknown { target: None, .. } => Err((code::METHOD_UNKNOWN, "unknown method")),
            Method::GetPeers { info_hash, noseed, scrape } => {
                Ok(self.get_peers(*info_hash, *noseed, *scrape, want, from))
            }
            Method::AnnouncePeer(announce) => self.announce(announce, from, now),
            Method::Get { target, seq } => Ok(self.get(*target, *seq, want, from)),
            Method::Put(put) => self.put(put, from, now),
            Method::SampleInfohashes { target } => {
                let mut parts = self.nodes(*target, want, from);
                let Self { networks, random, .. } = self;
                let network = networks.iter_mut().find(|network| network.family == Family::of(from));
                parts.sample = network.map(|network| {
                    let total = network.peers.torrents() as u64;
                    let (info_hashes, interval) = network.peers.sample(random, now);
                    (info_hashes.to_vec(), total, interval)
                });
                Ok(parts)
            }
        }
    }

    fn nodes(&self, target: NodeId, want: Want, asker: SocketAddr) -> Parts {
        let wanted = |family, wanted: bool| wanted.then(|| self.closest(family, target, asker));
        Parts { nodes: wanted(Family::V4, want.v4), nodes6: wanted(Family::V6, want.v6), ..Parts::default() }
    }

    /// Up to eight nodes close to `target`, compact. Half of them at most are of the kind that a [search] suspects
    /// while there are others, so that a crowd around a target does not become all that its neighbours know.
    ///
    /// [search]: crate::search
    fn closest(&self, family: Family, target: NodeId, asker: SocketAddr) -> Vec<u8> {
        let Some(network) = self.network(family) else { return Vec::new() };
        let crowd = crate::search::crowd(network.nodes);
        let pool = network.table.closest(target, POOL);
        let pool: Vec<(Contact, bool)> = pool
            .into_iter()
            .filter(|(contact, _)| contact.addr != asker)
            .map(|(contact, fits)| (contact, !fits || contact.id.distance(target).leading() < crowd))
            .collect();
        let suspects_max = K - pool.iter().filter(|(_, suspect)| !suspect).count().min(K / 2);
        let mut suspects = 0;
        let mut out = Vec::with_capacity(K * compact::NODE_V6);
        let chosen = pool.iter().filter(|(_, suspect)| {
            suspects += usize::from(*suspect);
            !suspect || suspects <= suspects_max
        });
        chosen.take(K).for_each(|(contact, _)| compact::put_node(&mut out, contact.id, contact.addr));
        out
    }

    fn get_peers(
        &mut self,
        info_hash: InfoHash,
        noseed: bool,
        scrape: bool,
        want: Want,
        from: SocketAddr,
    ) -> Parts {
        let family = Family::of(from);
        // BEP 33: the filters leave room for the nodes of one family only.
        let want = if scrape { Want { v4: from.is_ipv4(), v6: from.is_ipv6() } } else { want };
        let mut parts = self.nodes(NodeId::from(info_hash), want, from);
        let token = self.tokens.make(from.ip(), NodeId::from(info_hash));
        let Self { networks, random, .. } = self;
        let Some(network) = networks.iter().find(|network| network.family == family) else { return parts };
        parts.token = network.peers.accepts(info_hash).then_some(token);
        parts.values = network.peers.some(info_hash, VALUES_MAX, noseed, random);
        parts.blooms = if scrape { network.peers.blooms(info_hash) } else { None };
        parts
    }

    fn announce(
        &mut self,
        announce: &Announce<'_>,
        from: SocketAddr,
        now: Instant,
    ) -> Result<Parts, Refusal> {
        self.check_token(announce.token, NodeId::from(announce.info_hash), from, now)?;
        let port = if announce.implied_port { from.port() } else { announce.port };
        let peer = SocketAddr::new(from.ip(), port);
        let network = self.networks.iter_mut().find(|network| network.family == Family::of(from));
        let network = network.ok_or((code::SERVER, "not in this network"))?;
        let us = network.id();
        match network.peers.announce(announce.info_hash, peer, announce.seed, us, now) {
            Announced::Stored => Ok(Parts::default()),
            Announced::Full => Err((code::SERVER, "no room for more peers")),
        }
    }

    /// A token is also the proof that its owner receives what we send.
    fn check_token(
        &mut self,
        token: &[u8],
        target: NodeId,
        from: SocketAddr,
        now: Instant,
    ) -> Result<(), Refusal> {
        if !self.tokens.check(from.ip(), target, token) {
            return Err((code::PROTOCOL, "bad token"));
        }
        for question in self.strangers.prove(from, now) {
            self.answer_held(from, &question, now);
        }
        Ok(())
    }

    fn get(&self, target: NodeId, seq: Option<i64>, want: Want, from: SocketAddr) -> Parts {
        let mut parts = self.nodes(target, want, from);
        parts.token = Some(self.tokens.make(from.ip(), target));
        let Some(item) = self.items.get(target) else { return parts };
        let is_mutable = item.author().is_some();
        parts.seq = is_mutable.then(|| item.seq());
        // BEP 44: who has this version is only told that we have it too.
        if !(is_mutable && seq.is_some_and(|seq| item.seq() <= seq)) {
            parts.item = Some(item.clone());
        }
        parts
    }

    fn put(&mut self, put: &Put<'_>, from: SocketAddr, now: Instant) -> Result<Parts, Refusal> {
        let value = Bytes::copy_from_slice(put.value);
        let item = match &put.author {
            None => Item::immutable(value),
            Some(author) => {
                let target = Item::mutable_target(&author.public_key, author.salt);
                // Before the signature, which takes long to check.
                self.check_token(put.token, target, from, now)?;
                let author = Author {
                    public_key: author.public_key,
                    salt: Bytes::copy_from_slice(author.salt),
                    seq: author.seq,
                    signature: author.signature,
                };
                Item::signed(value, author)
            }
        };
        let item = item.map_err(refusal)?;
        if item.author().is_none() {
            self.check_token(put.token, item.target(), from, now)?;
        }
        let us = self.network(Family::of(from)).map(|network| network.id());
        let us = us.ok_or((code::SERVER, "not in this network"))?;
        let cas = put.author.and_then(|author| author.cas);
        self.items.put(item, cas, from, us, now)?;
        Ok(Parts::default())
    }

    /// The answer, with as much as there is room for: nodes of the other family go first, then our nodes and peers.
    fn fit(&self, mut parts: Parts, envelope: Envelope<'_>) -> Option<Vec<u8>> {
        let most = if parts.values.is_empty() { ANSWER_MAX } else { ANSWER_WITH_PEERS_MAX };
        let envelope = Envelope { max: envelope.max.min(most), ..envelope };
        loop {
            let id = self.network(Family::of(envelope.to))?.id();
            let unbounded = Envelope { max: usize::MAX, ..envelope };
            let bytes = self.wrap(Body::Response(parts.response(id)), unbounded)?;
            let excess = bytes.len().saturating_sub(envelope.max);
            if excess == 0 {
                return Some(bytes);
            }
            if !parts.shorten(excess, envelope.to) {
                return self.wrap(Body::Response(parts.response(id)), envelope);
            }
        }
    }

    /// The datagram, without what is not needed if it is too long otherwise. `None` when it stays too long.
    fn wrap(&self, body: Body<'_>, envelope: Envelope<'_>) -> Option<Vec<u8>> {
        let client = self.options.client;
        let mut message = Message {
            transaction: envelope.transaction,
            client: Some(&client),
            ip: Some(envelope.to),
            read_only: false,
            body,
        };
        let bytes = message.encode();
        if bytes.len() <= envelope.max {
            return Some(bytes);
        }
        message.client = None;
        let bytes = message.encode();
        if bytes.len() <= envelope.max {
            return Some(bytes);
        }
        message.ip = None;
        let bytes = message.encode();
        (bytes.len() <= envelope.max).then_some(bytes)
    }
}

impl Parts {
    fn response(&self, id: NodeId) -> Response<'_> {
        let author = self.item.as_ref().and_then(Item::author);
        Response {
            nodes: self.nodes.as_deref(),
            nodes6: self.nodes6.as_deref(),
            token: self.token.as_ref().map(|token| &token[..]),
            values: self.values.clone(),
            blooms: self.blooms.clone(),
            value: self.item.as_ref().map(|item| &item.value()[..]),
            public_key: author.map(|author| author.public_key),
            seq: self.seq,
            signature: author.map(|author| author.signature),
            sample: self.sample.as_ref().map(|(info_hashes, total, interval)| Sample {
                info_hashes,
                total: *total,
                interval: *interval,
            }),
            ..Response::new(id)
        }
    }

    /// Leaves out about so many bytes. `false` when there is nothing that could be left out.
    fn shorten(&mut self, excess: usize, to: SocketAddr) -> bool {
        let cut = |nodes: &mut Option<Vec<u8>>, size: usize| {
            let Some(bytes) = nodes.as_mut().filter(|bytes| !bytes.is_empty()) else { return false };
            let count = bytes.len() / size;
            bytes.truncate(count.saturating_sub(excess.div_ceil(size)) * size);
            true
        };
        let (first, second) = if to.is_ipv4() {
            ((&mut self.nodes6, compact::NODE_V6), (&mut self.nodes, compact::NODE_V4))
        } else {
            ((&mut self.nodes, compact::NODE_V4), (&mut self.nodes6, compact::NODE_V6))
        };
        if cut(first.0, first.1) {
            return true;
        }
        // Half of the peers first, then nodes: who has peers needs fewer nodes.
        let value = if to.is_ipv4() { 8 } else { 21 };
        if VALUES_MAX / 4 < self.values.len() {
            self.values
                .truncate(self.values.len().saturating_sub(excess.div_ceil(value)).max(VALUES_MAX / 4));
            return true;
        }
        if cut(second.0, second.1) {
            return true;
        }
        let some = !self.values.is_empty();
        self.values.truncate(self.values.len().saturating_sub(excess.div_ceil(value)));
        some
    }
}

fn refusal(error: ItemError) -> Refusal {
    match error {
        ItemError::ValueTooLong(_) => (code::VALUE_TOO_LONG, "the value is too long"),
        ItemError::SaltTooLong(_) => (code::SALT_TOO_LONG, "the salt is too long"),
        ItemError::Bencode(_) => (code::PROTOCOL, "the value is not canonical bencode"),
        ItemError::Signature => (code::SIGNATURE, "the signature is wrong"),
    }
}
