//! A node of the DHT, a clock that jumps, and others who answer, lie, ask and throw bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ferri_bencode::Document;
use ferri_dht::krpc::{self, ANSWER_MAX, Body, Method, Query, Response, compact};
use ferri_dht::{
    ContactKind, Family, Input, Item, ItemKey, Lookup, Node, NodeId, Options, Output, SigningKey, State,
};
use ferri_metainfo::InfoHash;

use super::grammar::{HOSTS, Parts, host, id_of, place};
use crate::script::{Script, Sleeper};

/// What is not answered any more is over within this time.
const SILENCE: Duration = Duration::from_secs(30 * 60);

/// Names of lookups; reused while they are under way, too.
const NAMES: u8 = 16;

/// Queries of the node that are remembered, so that they can be answered.
const OPEN_MAX: usize = 4_096;

/// Outputs after one input, at most.
const OUTPUTS_MAX: usize = 20_000;

/// A node among strangers. It sends nothing too long, nothing malformed, and to who has not answered never more than came
/// from there; its tables and stores keep their bounds; it sleeps; each operation ends once and tells nothing twice.
pub fn dht_node(data: &[u8]) {
    let mut script = Script::new(data);
    let flags = script.u8();
    let options = Options {
        ipv4: flags & 1 == 0,
        ipv6: flags & 2 == 0,
        read_only: flags & 4 != 0,
        restrict_networks: flags & 8 == 0,
        torrents_max: 4,
        peers_per_torrent_max: 6,
        peers_max: 12,
        items_max: 3,
        lookups_max: 4,
        ..Options::default()
    };
    let mut mentioned = BTreeSet::new();
    let state = (flags & 16 != 0).then(|| {
        let nodes: Vec<_> = (0..script.u8() % 20).map(host).collect();
        mentioned.extend(nodes.iter().copied());
        State { id_v4: Some(NodeId::from(place(1))), id_v6: None, nodes }
    });
    let now = Instant::now();
    let mut driver = Driver {
        node: Node::new(options.clone(), state, [script.u8(); 32], now),
        options,
        now,
        open: Vec::new(),
        accounts: BTreeMap::new(),
        mentioned,
        tokens: BTreeMap::new(),
        lookups: BTreeMap::new(),
        told: BTreeMap::new(),
        bytes_out: 0,
    };
    driver.drain();
    while !script.is_empty() {
        driver.step(&mut script);
    }
    driver.silence();
}

/// What went to and came from an address.
#[derive(Debug, Default)]
struct Account {
    /// It answered, or showed a token that its address had got.
    proven: bool,
    /// Bytes from there less our answers.
    answers: i64,
    /// Bytes from there less everything of ours.
    all: i64,
}

struct Driver {
    node: Node,
    options: Options,
    now: Instant,
    /// Queries of the node without an answer: the address, the transaction id, the name.
    open: Vec<(SocketAddr, Vec<u8>, Vec<u8>)>,
    accounts: BTreeMap<SocketAddr, Account>,
    /// Addresses that the node has heard of from others than themselves; it may well ask those.
    mentioned: BTreeSet<SocketAddr>,
    /// By address.
    tokens: BTreeMap<IpAddr, Vec<Vec<u8>>>,
    /// How often each name was given, and how often it came back.
    lookups: BTreeMap<Lookup, (usize, usize)>,
    /// What each lookup told: peers, and the latest version of an item.
    told: BTreeMap<Lookup, (BTreeSet<SocketAddr>, Option<i64>)>,
    bytes_out: u64,
}

impl Sleeper for Driver {
    const WAKES_MAX: usize = 16;

    fn clock(&mut self) -> &mut Instant {
        &mut self.now
    }

    fn due(&self) -> Option<Instant> {
        self.node.poll_timeout()
    }

    fn wake(&mut self) {
        self.handle(Input::Timeout);
    }
}

impl Driver {
    fn step(&mut self, script: &mut Script<'_>) {
        match script.u8() % 20 {
            0 => {
                let from = host(script.u8());
                let bytes = script.short().to_vec();
                self.datagram(from, bytes);
            }
            1..=3 => {
                let from = host(script.u8());
                let mut parts = Parts::new(script);
                let bytes = parts.message(script).encode();
                self.datagram(from, bytes);
            }
            4..=8 => self.answer(script),
            9 | 10 => self.sleep(),
            11 => {
                self.now += Duration::from_millis(u64::from(script.u16()) * 20);
                self.handle(Input::Timeout);
            }
            12 | 13 => self.begin(script),
            14 => {
                let lookup = Lookup((script.u8() % NAMES).into());
                self.handle(Input::Cancel { lookup });
            }
            15 => {
                let addrs: Vec<_> = (0..script.u8() % 12).map(|at| host(at.wrapping_mul(5))).collect();
                self.mentioned.extend(addrs.iter().copied());
                let kinds =
                    [ContactKind::Saved, ContactKind::Torrent, ContactKind::Port, ContactKind::Router];
                self.handle(Input::Contacts { addrs, kind: kinds[script.below(4)] });
            }
            16 => self.store(script),
            17 => match script.u8() % 4 {
                0 => self.handle(Input::NetworkChanged),
                1 => self.handle(Input::ExternalAddress { ip: host(script.u8()).ip() }),
                2 => self.handle(Input::ReadOnly { read_only: true }),
                _ => self.handle(Input::ReadOnly { read_only: false }),
            },
            18 => {
                let state = self.node.state();
                assert_eq!(State::decode(&state.encode()), Ok(state));
            }
            _ => self.bounds(),
        }
    }

    /// A node answers a query of the node; or another one does, in its name.
    fn answer(&mut self, script: &mut Script<'_>) {
        if self.open.is_empty() {
            return self.sleep();
        }
        let (to, transaction, _) = self.open[script.below(self.open.len())].clone();
        let parts = Parts::new(script).with_transaction(transaction.clone());
        let from = if script.u8().is_multiple_of(8) { host(script.u8()) } else { to };
        let bytes = parts.answer(script).encode();
        self.datagram(from, bytes);
    }

    /// A node stores something with a token that its address has got.
    fn store(&mut self, script: &mut Script<'_>) {
        let from = host(script.u8());
        let tokens = self.tokens.get(&from.ip()).cloned().unwrap_or_default();
        let token = tokens.get(script.below(tokens.len())).cloned().unwrap_or_default();
        let parts = Parts::new(script).with_token(token);
        let method = match script.u8() % 2 {
            0 => Method::AnnouncePeer(parts.announce(place(script.u8()), script)),
            _ => Method::Put(parts.put(None)),
        };
        let query = Query { id: id_of(script.u8(), script.u8()), want: None, method };
        let bytes = parts.wrap(script, Body::Query(query)).encode();
        self.datagram(from, bytes);
    }

    fn begin(&mut self, script: &mut Script<'_>) {
        let lookup = Lookup((script.u8() % NAMES).into());
        let target = place(script.u8());
        let info_hash = InfoHash::from(target);
        let flags = script.u8();
        let input = match script.u8() % 8 {
            0 | 1 => Input::GetPeers { lookup, info_hash },
            2 => {
                let (implied_port, seed) = (flags & 1 != 0, flags & 2 != 0);
                Input::Announce { lookup, info_hash, port: script.u16(), implied_port, seed }
            }
            3 => Input::Scrape { lookup, info_hash },
            4 => Input::Get {
                lookup,
                key: ItemKey::Immutable(NodeId::from(target)),
                newer_than: (flags & 1 != 0).then(|| flags.into()),
            },
            5 => {
                let key = ItemKey::Mutable { public_key: key().public_key(), salt: Bytes::new() };
                Input::Get { lookup, key, newer_than: None }
            }
            6 => Input::Put { lookup, item: item(flags), cas: (flags & 4 != 0).then_some(1) },
            _ => Input::Sample { lookup, target: NodeId::from(target) },
        };
        self.lookups.entry(lookup).or_default().0 += 1;
        self.handle(input);
    }

    fn datagram(&mut self, from: SocketAddr, bytes: Vec<u8>) {
        for number in 0..HOSTS {
            let mut compact = Vec::new();
            compact::put_addr(&mut compact, host(number));
            if bytes.windows(compact.len()).any(|window| window == compact) {
                self.mentioned.insert(host(number));
            }
        }
        let account = self.accounts.entry(from).or_default();
        account.answers += bytes.len() as i64;
        account.all += bytes.len() as i64;
        let document = krpc::parse(&bytes);
        if let Some(message) = document.as_ref().ok().and_then(|document| krpc::read(document).ok()) {
            let transaction = message.transaction;
            let token = match &message.body {
                Body::Query(Query { method: Method::AnnouncePeer(announce), .. }) => Some(announce.token),
                Body::Query(Query { method: Method::Put(put), .. }) => Some(put.token),
                Body::Query(_) => None,
                Body::Response(_) | Body::Error(_) => {
                    let asked =
                        |open: &(SocketAddr, Vec<u8>, Vec<u8>)| open.0 == from && open.1 == transaction;
                    account.proven |= self.open.iter().any(asked);
                    self.open.retain(|open| !asked(open));
                    None
                }
            };
            let tokens = self.tokens.get(&from.ip());
            account.proven |=
                token.is_some_and(|token| tokens.is_some_and(|tokens| tokens.iter().any(|own| own == token)));
        }
        self.handle(Input::Datagram { from, bytes: bytes.into() });
    }

    fn handle(&mut self, input: Input) {
        self.node.handle(input, self.now);
        self.drain();
    }

    fn drain(&mut self) {
        let mut count = 0;
        while let Some(output) = self.node.poll_output() {
            count += 1;
            assert!(count < OUTPUTS_MAX, "no end of outputs");
            self.output(output);
        }
    }

    fn output(&mut self, output: Output) {
        match output {
            Output::Send { to, bytes } => self.sent(to, &bytes),
            Output::Peers { lookup, peers } => {
                assert!(!peers.is_empty() && self.is_open(lookup));
                let told = &mut self.told.entry(lookup).or_default().0;
                for peer in peers {
                    assert!(told.insert(peer), "{peer} is told twice");
                }
            }
            Output::Item { lookup, item } => {
                assert!(self.is_open(lookup));
                let told = &mut self.told.entry(lookup).or_default().1;
                assert!(told.is_none_or(|seq| seq < item.seq()), "an old version");
                *told = Some(item.seq());
            }
            Output::Samples { lookup, interval, .. } => {
                assert!(self.is_open(lookup) && interval <= 21_600);
            }
            Output::Finished { lookup, outcome } => {
                assert!(self.is_open(lookup), "{lookup:?} ends twice");
                let (given, back) = self.lookups.entry(lookup).or_default();
                *back += 1;
                // A node that was refused the name did not end its bearer.
                if given == back {
                    self.told.remove(&lookup);
                }
                assert!(outcome.answers <= outcome.queries);
            }
            Output::WantContacts { family } => assert!(self.is_on(family)),
            Output::Event(_) => {}
        }
    }

    fn is_open(&self, lookup: Lookup) -> bool {
        self.lookups.get(&lookup).is_some_and(|(given, back)| back < given)
    }

    fn is_on(&self, family: Family) -> bool {
        match family {
            Family::V4 => self.options.ipv4,
            Family::V6 => self.options.ipv6,
        }
    }

    fn sent(&mut self, to: SocketAddr, bytes: &Bytes) {
        self.bytes_out += bytes.len() as u64;
        assert!(bytes.len() <= ANSWER_MAX, "a datagram of {} bytes", bytes.len());
        assert!(self.is_on(Family::of(to)), "{to} is in a network that is off");
        assert!(Document::parse(bytes).is_ok(), "not canonical: {}", bytes.escape_ascii());
        let document = krpc::parse(bytes).expect("what is sent is bencode");
        let message = krpc::read(&document).expect("what is sent is a message");
        let account = self.accounts.entry(to).or_default();
        account.all -= bytes.len() as i64;
        match message.body {
            Body::Query(query) => {
                let name = format!("{:?}", query.method).into_bytes();
                self.open.push((to, message.transaction.to_vec(), name));
                if OPEN_MAX < self.open.len() {
                    self.open.remove(0);
                }
            }
            Body::Response(Response { token, .. }) => {
                account.answers -= bytes.len() as i64;
                if let Some(token) = token {
                    self.tokens.entry(to.ip()).or_default().push(token.to_vec());
                }
            }
            Body::Error(_) => account.answers -= bytes.len() as i64,
        }
        let account = &self.accounts[&to];
        assert!(account.proven || 0 <= account.answers, "{to} proved nothing: {account:?}");
        // Others than the hosts may have been named in any bytes.
        let is_host = (0..HOSTS).any(|number| host(number) == to);
        let unheard = is_host && !self.mentioned.contains(&to);
        assert!(account.proven || !unheard || 0 <= account.all, "{to} was named by nobody: {account:?}");
    }

    fn bounds(&self) {
        let status = self.node.status(self.now);
        assert!(status.torrents <= 2 * self.options.torrents_max && status.items <= self.options.items_max);
        assert!(status.peers <= 2 * self.options.peers_max);
        assert_eq!(status.counts.bytes_out, self.bytes_out);
        for family in Family::ALL {
            let buckets = self.node.table(family, self.now);
            for bucket in &buckets {
                assert!(bucket.nodes.len() <= 8 && bucket.replacements <= 16, "{bucket:?}");
                assert!(bucket.nodes.iter().all(|node| Family::of(node.addr) == family));
            }
        }
    }

    /// No node answers any more: everything comes to its end.
    fn silence(&mut self) {
        self.bounds();
        let end = self.now + SILENCE;
        while self.now < end && self.lookups.values().any(|(given, back)| back < given) {
            if self.node.poll_timeout().is_none() {
                break;
            }
            self.sleep();
        }
        for (lookup, (given, back)) in &self.lookups {
            assert_eq!(given, back, "{lookup:?} does not end");
        }
        self.bounds();
    }
}

fn key() -> SigningKey {
    SigningKey::from_seed(&[7; 32])
}

fn item(flags: u8) -> Item {
    let value = Item::torrent_value(InfoHash::from(place(flags)));
    let item = if flags & 8 == 0 {
        Item::immutable(value)
    } else {
        Item::sign(&key(), Bytes::new(), i64::from(flags >> 4), value)
    };
    item.expect("a dictionary of one info hash is a value")
}
