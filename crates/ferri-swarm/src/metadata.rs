//! Our side of a swarm whose info dictionary we lack ([BEP 9]): a second machine, that ends where [`Swarm`](crate::Swarm) begins.
//!
//! It dials, says by the extension handshake that it wants the dictionary, and asks several peers at a time for parts of it. It says
//! nothing about pieces: where BEP 6 is spoken that must be the first message about them, and comes from the swarm. What peers
//! say about theirs is kept for it.
//!
//! [BEP 9]: https://www.bittorrent.org/beps/bep_0009.html

mod assembly;
mod connections;
mod hand_over;
mod messages;
mod peer;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ferri_metainfo::{Info, InfoHashes};
use ferri_wire::extension::metadata::Metadata;
use ferri_wire::{Message, encoded_len};

use crate::admission::Admissions;
use crate::bans::Known;
use crate::candidates::{Candidates, Need};
use crate::input::{Input, PeerKey};
use crate::options::SwarmOptions;
use crate::output::{Output, SwarmEvent};
use crate::reason::{DisconnectReason, Misbehavior};
use crate::status::{PeerFlags, PeerStats};
use assembly::{Assemblies, Claim, Took, Whole};
pub use hand_over::HandOver;
use peer::Peer;

/// Bytes of an info dictionary that is fetched from peers, at most. The largest real torrents end near 30 MiB, and what
/// liars send of larger ones would be memory of ours: only what arrived is kept, but of [`assembly::ASSEMBLIES_MAX`] sizes.
pub const METADATA_BYTES_MAX: u32 = 32 << 20;

/// Connections while the dictionary is sought: enough to find a peer that has it, and little to keep of each (256 KiB
/// at most, the bitfield of the largest torrent).
const PEERS_MAX: usize = 50;
/// Silence and waiting are looked at this often.
const TICK: Duration = Duration::from_secs(1);
/// How often the caller is asked for more addresses.
const WANT_PEERS: Duration = Duration::from_secs(30);

/// How far we are, in numbers that can be told in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetadataStats {
    /// Parts of 16 KiB that have arrived, of the dictionary that is nearest to completion.
    pub parts_had: u32,
    /// Parts of it in all; 0 while no peer has told a size.
    pub parts: u32,
    /// Its size in bytes, in the words of the peers; 0 while none has told one.
    pub size: u32,
    /// Connections.
    pub peers: usize,
    /// Connections being opened.
    pub connecting: usize,
    /// Addresses known.
    pub candidates: usize,
    /// Peers that have been asked for parts and have not answered yet.
    pub asked: usize,
    /// Peers that said they do not serve metadata: no BEP 10, no `ut_metadata`, or no size that makes sense.
    pub without: usize,
    /// Peers that rejected what they were asked for, and have not sent anything since.
    pub rejecting: usize,
    /// Dictionaries that were complete and had the wrong hash.
    pub corrupt: u32,
    /// Bytes of everything received, message lengths included.
    pub protocol_down: u64,
    /// Bytes of everything sent, message lengths included.
    pub protocol_up: u64,
    /// Whether the dictionary was found.
    pub done: bool,
}

/// Looks for the info dictionary of a torrent that is known by its hashes only. Driven as [`Swarm`](crate::Swarm) is;
/// inputs about pieces are ignored.
#[derive(Debug)]
pub struct MetadataSwarm {
    options: SwarmOptions,
    wanted: InfoHashes,
    candidates: Candidates,
    admissions: Admissions,
    peers: BTreeMap<PeerKey, Peer>,
    assemblies: Assemblies,
    state: State,
    /// The last [`Input::Budget`], for the `Swarm` that goes on.
    budget: Option<Input>,
    corrupt: u32,
    protocol_down: u64,
    protocol_up: u64,
    now: Instant,
    tick_at: Option<Instant>,
    want_peers_at: Instant,
    out: VecDeque<Output>,
}

/// Whether we take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Seeking,
    /// The dictionary is there; connections are kept for the `Swarm` that goes on.
    Done,
    Paused,
    Stopped,
}

impl MetadataSwarm {
    /// A search for the info dictionary that has all the hashes `wanted`. `options` are those the torrent's
    /// [`Swarm`](crate::Swarm) will have (`metadata` is of no effect; `private` is found out). `seed` decides everything that is left to chance.
    pub fn new(options: SwarmOptions, wanted: InfoHashes, seed: u64, now: Instant) -> Self {
        Self {
            candidates: Candidates::new(options.listen_port, seed),
            admissions: Admissions::default(),
            options,
            wanted,
            peers: BTreeMap::new(),
            assemblies: Assemblies::default(),
            state: State::Seeking,
            budget: None,
            corrupt: 0,
            protocol_down: 0,
            protocol_up: 0,
            now,
            tick_at: None,
            want_peers_at: now,
            out: VecDeque::new(),
        }
    }

    /// Takes note of what happened. Never blocks, never fails.
    pub fn handle(&mut self, input: Input, now: Instant) {
        self.now = self.now.max(now);
        match input {
            Input::PeersFound { source, addrs } => self.peers_found(source, &addrs),
            Input::Dialling { source, addrs } => self.dialling(source, &addrs),
            Input::Ban { addrs } => self.ban(&addrs),
            Input::ConnectFailed { addr } => self.connect_failed(addr),
            Input::PeerConnected { peer, addr, direction, handshake, crowd } => {
                self.peer_connected(peer, addr, direction, handshake, crowd);
            }
            Input::PeerMessage { peer, message } => self.peer_message(peer, &message),
            Input::PeerDisconnected { peer } => self.forget(peer, DisconnectReason::Closed),
            Input::Budget { peers_max, half_open_max, .. } => {
                (self.options.peers_max, self.options.half_open_max) = (peers_max, half_open_max);
                self.budget = Some(input);
                self.dial();
            }
            Input::ExternalAddress { ip } => self.candidates.set_external(ip),
            Input::ListenPort { port } => {
                self.options.listen_port = Some(port).filter(|port| *port != 0);
                self.candidates.set_listen_port(port);
            }
            Input::Pause => self.pause(),
            Input::Resume => self.resume(),
            Input::Stop => self.stop(),
            Input::Timeout => self.timeout(),
            // There are no pieces here.
            Input::BlocksSent { .. }
            | Input::BlockUnreadable { .. }
            | Input::PieceVerified { .. }
            | Input::PiecesFound { .. }
            | Input::PieceLost { .. }
            | Input::PiecesWithdrawn { .. }
            | Input::Priorities { .. }
            | Input::Deadline { .. }
            | Input::Sequential { .. } => {}
        }
        self.tick_at = self.tick_at.into_iter().chain(self.next_tick()).min();
    }

    fn next_tick(&self) -> Option<Instant> {
        let soon = self.now + TICK;
        match self.is_alive() {
            false => None,
            true if !self.peers.is_empty() => Some(soon),
            true => {
                let change = self.candidates.next_change(self.need(), self.now).into_iter();
                change.chain([self.want_peers_at]).min().map(|at| at.max(soon))
            }
        }
    }

    /// What is to be done next. Drain after each `handle`, or after a few.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When to call `handle(Input::Timeout, now)` at the latest; `None` if only inputs can change anything.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.tick_at
    }

    /// How far we are, as of the last input.
    pub fn stats(&self) -> MetadataStats {
        let (parts_had, parts, size) = self.assemblies.progress().unwrap_or_default();
        MetadataStats {
            parts_had,
            parts,
            size,
            peers: self.peers.len(),
            connecting: self.candidates.connecting(),
            candidates: self.candidates.len(),
            asked: self.peers.values().filter(|peer| !peer.asked.is_empty()).count(),
            without: self.peers.values().filter(|peer| self.is_without(peer)).count(),
            rejecting: self.peers.values().filter(|peer| peer.rejects).count(),
            corrupt: self.corrupt,
            protocol_down: self.protocol_down,
            protocol_up: self.protocol_up,
            done: self.state == State::Done,
        }
    }

    /// The connections. Of pieces it is known how many a peer named, but not of how many.
    pub fn peers(&self) -> impl Iterator<Item = PeerStats> + '_ {
        self.peers.iter().map(|(key, peer)| PeerStats {
            peer: *key,
            addr: peer.addr,
            direction: peer.direction,
            source: peer.source,
            peer_id: peer.handshake.peer_id,
            client: peer.client(),
            flags: PeerFlags {
                am_choking: true,
                peer_choking: peer.kept.choking(),
                peer_interested: peer.kept.interested(),
                seed: peer.kept.is_seed(),
                upload_only: peer.extension.as_ref().is_some_and(|extension| extension.upload_only),
                fast: peer.handshake.reserved.has_fast(),
                ..PeerFlags::default()
            },
            down_rate: 0,
            up_rate: 0,
            downloaded: 0,
            uploaded: 0,
            pieces: peer.kept.count(),
            progress: 0.0,
            requests_out: peer.asked.len(),
            requests_in: 0,
            window: 0,
        })
    }

    fn is_alive(&self) -> bool {
        matches!(self.state, State::Seeking | State::Done)
    }

    /// Asks each peer that can be asked for something and has no request under way.
    fn ask_all(&mut self) {
        if self.state != State::Seeking {
            return;
        }
        let now = self.now;
        let claim = |(key, peer): (&PeerKey, &Peer)| {
            let is_awake = peer.rests_until <= now || !peer.asked.is_empty();
            Some(Claim { peer: *key, size: peer.claim()?, is_awake })
        };
        let claims: Vec<Claim> = self.peers.iter().filter_map(claim).collect();
        self.assemblies.begin(&claims, now);
        claims.iter().for_each(|claim| self.ask(claim.peer));
    }

    /// Asks one peer for as many parts as it may have under way.
    fn ask(&mut self, key: PeerKey) {
        let now = self.now;
        while self.state == State::Seeking
            && let Some(peer) = self.peers.get_mut(&key)
            && peer.room(now) != 0
            && let Some(size) = peer.claim()
        {
            let mine: Vec<u32> = peer.asked.iter().filter(|a| a.size == size).map(|a| a.part).collect();
            let Some(part) = self.assemblies.ask(key, size, &mine) else { return };
            peer.ask(size, part, now);
            self.tell(key, &Metadata::Request { part });
        }
    }

    /// A part, or the word that there will be none.
    fn answered(&mut self, key: PeerKey, message: &Metadata) {
        let now = self.now;
        let Some(peer) = self.peers.get_mut(&key) else { return };
        let (part, data) = match message {
            // We have nothing to give.
            Metadata::Request { part } => {
                if !peer.control.take(now) {
                    return self.punish(key, Misbehavior::ExtensionFlood);
                }
                return self.tell(key, &Metadata::Reject { part: *part });
            }
            Metadata::Data { part, total_size, data } => (*part, Some((*total_size, data))),
            Metadata::Reject { part } => (*part, None),
        };
        let Some((size, in_time)) = peer.answered(part) else {
            // A reject too many is no harm; data without a request is.
            return match data {
                Some(_) => self.punish(key, Misbehavior::UnrequestedMetadata { part }),
                None if peer.control.take(now) => {}
                None => self.punish(key, Misbehavior::ExtensionFlood),
            };
        };
        if in_time {
            self.assemblies.give_back(key, size, part);
        }
        match data {
            Some((total_size, _)) if total_size != size => self.punish(key, Misbehavior::BadExtension),
            Some((_, data)) => {
                (peer.failures, peer.rejects) = (0, false);
                peer.rests_until = now;
                peer.gave_at = Some(now);
                let addr = peer.dial_addr();
                match self.assemblies.take(key, addr, size, part, data) {
                    Took::Part | Took::Nothing => self.ask(key),
                    Took::All(whole) => self.complete(size, whole),
                }
            }
            None => {
                // BEP 9: a reject means try another peer.
                peer.failed(now);
                peer.rejects = true;
                self.ask_all();
            }
        }
    }

    /// All parts are there: it is what we look for, or a peer lied.
    fn complete(&mut self, size: u32, whole: Whole) {
        if self.state != State::Seeking {
            return;
        }
        if self.wanted.are_of(&whole.bytes) {
            self.state = State::Done;
            self.assemblies = Assemblies::default();
            self.peers.values_mut().for_each(|peer| drop(peer.take_back()));
            let bytes = Bytes::from(whole.bytes);
            self.out.push_back(Output::Metadata { bytes: bytes.clone() });
            if Info::parse(&bytes).is_ok_and(|info| info.is_private()) {
                self.keep_private();
            }
            return;
        }
        self.corrupt += 1;
        let senders = whole.senders.values().copied().collect();
        self.emit(SwarmEvent::MetadataCorrupt { size, senders });
        match whole.only_sender() {
            // No other peer can have done it.
            Some(key) => {
                let addr = whole.senders[&key];
                // One that has gone may have told of a neighbour's port.
                let known = self.peers.get(&key).map_or(Known::Claimed, |peer| Known::of(peer.addr, addr));
                self.candidates.ban(addr, known);
                self.punish(key, Misbehavior::WrongMetadata);
                self.close_banned();
            }
            None => self.assemblies.distrust(size),
        }
        self.ask_all();
    }

    fn timeout(&mut self) {
        let now = self.now;
        if self.tick_at.is_none_or(|at| now < at) {
            return;
        }
        self.tick_at = None;
        if !self.is_alive() {
            return;
        }
        for key in self.peers.keys().copied().collect::<Vec<_>>() {
            self.look_after(key);
        }
        self.candidates.expire(now);
        self.make_room();
        self.dial();
        self.ask_all();
        self.ask_for_peers();
    }

    fn ask_for_peers(&mut self) {
        let few = PEERS_MAX.min(self.options.peers_max) / 2;
        if self.state == State::Seeking
            && self.want_peers_at <= self.now
            && self.peers.len() + self.candidates.connecting() <= few
            && self.candidates.ready(Need::Any, self.now) == 0
        {
            self.want_peers_at = self.now + WANT_PEERS;
            self.out.push_back(Output::WantPeers);
        }
    }

    fn emit(&mut self, event: SwarmEvent) {
        self.out.push_back(Output::Event(event));
    }

    fn send(&mut self, key: PeerKey, message: Message) {
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.last_sent = self.now;
            self.protocol_up += encoded_len(&message) as u64;
            self.out.push_back(Output::Send { peer: key, message });
        }
    }
}
