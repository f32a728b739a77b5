//! An operation under way: what is wanted, and what was found so far in both families.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use bytes::Bytes;
use ferri_metainfo::InfoHash;
use smallvec::SmallVec;

use crate::bloom::Bloom;
use crate::id::{NodeId, may_name};
use crate::input::Lookup;
use crate::items::{Author, Item, ItemKey};
use crate::krpc::{Announce, Method, Put, PutAuthor, Response};
use crate::output::{Family, Outcome, Scrape};
use crate::search::{Holder, Search};

/// Peers told in one lookup. More than any swarm needs; they are kept so that none is told twice.
const PEERS_MAX: usize = 5_000;

/// What is wanted.
#[derive(Clone, Debug)]
pub(crate) enum Wish {
    /// The nodes closest to an id.
    Nodes(NodeId),
    /// The peers of a torrent.
    Peers { info_hash: InfoHash, scrape: bool, announce: Option<Announcement> },
    /// An item.
    Get { key: ItemKey, newer_than: Option<i64> },
    /// To store an item.
    Put { item: Item, cas: Option<i64> },
    /// Info hashes that are known near an id.
    Sample(NodeId),
}

/// What is to be announced.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Announcement {
    pub(crate) port: u16,
    pub(crate) implied_port: bool,
    pub(crate) seed: bool,
}

impl Wish {
    pub(crate) fn target(&self) -> NodeId {
        match self {
            Self::Nodes(target) | Self::Sample(target) => *target,
            Self::Peers { info_hash, .. } => NodeId::from(*info_hash),
            Self::Get { key, .. } => key.target(),
            Self::Put { item, .. } => item.target(),
        }
    }

    /// What nodes are asked on the way.
    pub(crate) fn question(&self) -> Method<'static> {
        match self {
            Self::Nodes(target) => Method::FindNode { target: *target },
            Self::Sample(target) => Method::SampleInfohashes { target: *target },
            Self::Peers { info_hash, scrape, announce } => Method::GetPeers {
                info_hash: *info_hash,
                // BEP 33: seeds have no use for seeds.
                noseed: announce.is_some_and(|announce| announce.seed),
                scrape: *scrape,
            },
            Self::Get { key, newer_than } => Method::Get { target: key.target(), seq: *newer_than },
            // Values are not needed to put one, but whether there is one is (BEP 44, `cas`).
            Self::Put { item, .. } => {
                Method::Get { target: item.target(), seq: item.author().map(|_| i64::MAX) }
            }
        }
    }

    /// What the closest nodes are told in the end. `None` when they are only asked.
    pub(crate) fn parting<'a>(&'a self, holder: &'a Holder) -> Option<Method<'a>> {
        let token = &holder.token[..];
        match self {
            Self::Peers { info_hash, announce: Some(announce), .. } => Some(Method::AnnouncePeer(Announce {
                info_hash: *info_hash,
                port: announce.port,
                implied_port: announce.implied_port,
                seed: announce.seed,
                token,
            })),
            Self::Put { item, cas } => {
                let author = item.author().map(|author| PutAuthor {
                    public_key: author.public_key,
                    salt: &author.salt,
                    seq: author.seq,
                    signature: author.signature,
                    // BEP 44: not for nodes that have no version of it.
                    cas: cas.filter(|_| holder.has_item),
                });
                Some(Method::Put(Put { token, value: item.value(), author }))
            }
            _ => None,
        }
    }
}

/// Where an operation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The closest nodes are looked for.
    Searching,
    /// So many of them have been told something and not answered yet.
    Storing(usize),
}

#[derive(Debug)]
pub(crate) struct Operation {
    /// `None` for one of our own.
    pub(crate) lookup: Option<Lookup>,
    pub(crate) wish: Wish,
    pub(crate) stage: Stage,
    pub(crate) searches: SmallVec<[Search; 2]>,
    pub(crate) outcome: Outcome,
    /// Searches that found no node to ask wait until here for one.
    pub(crate) patience: Instant,
    peers: BTreeSet<SocketAddr>,
    /// Seeds and leeches.
    blooms: Option<Box<[Bloom; 2]>>,
    /// The highest version told.
    best: Option<i64>,
}

/// What an answer held for the caller.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) peers: Vec<SocketAddr>,
    pub(crate) item: Option<Item>,
    /// The node has a version of the item.
    pub(crate) has_item: bool,
}

impl Operation {
    pub(crate) fn new(lookup: Option<Lookup>, wish: Wish, patience: Instant) -> Self {
        Self {
            lookup,
            wish,
            stage: Stage::Searching,
            searches: SmallVec::new(),
            outcome: Outcome::default(),
            patience,
            peers: BTreeSet::new(),
            blooms: None,
            best: None,
        }
    }

    pub(crate) fn search(&mut self, family: Family) -> Option<&mut Search> {
        self.searches.iter_mut().find(|search| search.family == family)
    }

    /// Takes what an answer says about the thing that is wanted.
    pub(crate) fn take(&mut self, response: &Response<'_>, from: SocketAddr) -> Found {
        match &self.wish {
            Wish::Peers { scrape, .. } => {
                let scrape = *scrape;
                Found { peers: self.take_peers(response, from, scrape), ..Found::default() }
            }
            Wish::Get { key, newer_than } => {
                let (item, has_item) = (read_item(key, response), response.seq.is_some());
                let newer = item.filter(|item| newer_than.is_none_or(|seen| seen < item.seq()));
                let has_item = has_item || newer.is_some();
                Found { item: newer.and_then(|item| self.take_item(item)), has_item, ..Found::default() }
            }
            Wish::Put { .. } => {
                Found { has_item: response.seq.is_some() || response.value.is_some(), ..Found::default() }
            }
            Wish::Nodes(_) | Wish::Sample(_) => Found::default(),
        }
    }

    /// Peers that were not told yet.
    fn take_peers(&mut self, response: &Response<'_>, from: SocketAddr, scrape: bool) -> Vec<SocketAddr> {
        if scrape {
            self.count(response);
        }
        let mut fresh = Vec::new();
        let is_useful = |peer: &&SocketAddr| is_peer(**peer) && may_name(from.ip(), peer.ip());
        for peer in response.values.iter().filter(is_useful) {
            if self.peers.len() < PEERS_MAX && self.peers.insert(*peer) {
                fresh.push(*peer);
            }
        }
        self.outcome.peers += u32::try_from(fresh.len()).expect("a datagram is short");
        fresh
    }

    fn count(&mut self, response: &Response<'_>) {
        if response.blooms.is_none() && response.values.is_empty() {
            return;
        }
        let [seeds, leeches] = &mut **self.blooms.get_or_insert_default();
        match &response.blooms {
            Some(theirs) => {
                seeds.union(&theirs[0]);
                leeches.union(&theirs[1]);
            }
            // BEP 33: who does not know it names peers, which count as leeches unless they are known as seeds.
            None => {
                let values = response.values.iter().map(SocketAddr::ip).filter(|ip| !seeds.contains(*ip));
                values.for_each(|ip| leeches.insert(ip));
            }
        }
    }

    /// The item, if it is newer than what was told before. Counts the nodes that have the newest version.
    fn take_item(&mut self, item: Item) -> Option<Item> {
        let seq = item.seq();
        if self.best.is_some_and(|best| seq < best) {
            return None;
        }
        let told = self.best == Some(seq);
        if !told {
            self.outcome.copies = 0;
        }
        self.outcome.copies += 1;
        self.best = Some(seq);
        (!told).then_some(item)
    }

    /// What the filters say in the end.
    pub(crate) fn estimate(&mut self) {
        let count = |bloom: &Bloom| bloom.estimate().round() as u32;
        self.outcome.scrape = self
            .blooms
            .as_ref()
            .map(|blooms| Scrape { seeds: count(&blooms[0]), leeches: count(&blooms[1]) });
    }
}

fn is_peer(addr: SocketAddr) -> bool {
    let nobody = match addr.ip() {
        IpAddr::V4(ip) => ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unspecified() || ip.is_multicast(),
    };
    !nobody && addr.port() != 0
}

/// The item in an answer, if it is the one that is looked for (BEP 44: the node that asks has to check).
fn read_item(key: &ItemKey, response: &Response<'_>) -> Option<Item> {
    let value = Bytes::copy_from_slice(response.value?);
    let item = match key {
        ItemKey::Immutable(_) => Item::immutable(value).ok()?,
        ItemKey::Mutable { public_key, salt } => {
            let author = Author {
                public_key: *public_key,
                salt: salt.clone(),
                seq: response.seq?,
                signature: response.signature?,
            };
            Item::signed(value, author).ok()?
        }
    };
    (item.target() == key.target()).then_some(item)
}
