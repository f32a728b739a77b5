//! Input to output: the table of contents of the crate. Each arm is one call into the module that knows.

mod addresses;
mod choking;
mod connections;
mod control;
mod download;
mod end_game;
mod extensions;
mod messages;
mod metadata;
mod standstill;
mod suggest;
mod timers;
mod uploads;

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;

use ferri_metainfo::{Bitfield, Block, Layout, PieceIndex};
use ferri_wire::{Message, encoded_len};

use crate::admission::Admissions;
use crate::blame::Blame;
use crate::candidates::Candidates;
use crate::input::Input;
use crate::options::SwarmOptions;
use crate::output::{Output, SwarmEvent};
use crate::peer::Peers;
use crate::pex::PexLog;
use crate::picker::{PeerSlot, Picker};
use crate::rate::Rate;
use crate::rng::Rng;
use crate::status::{PeerStats, Role, SourceCounts, SwarmStats};
use choking::Slots;
use end_game::SlowPeers;
use suggest::SuggestedPieces;
use timers::Timers;

/// Our side of one swarm. See the crate's documentation for how to drive it.
#[derive(Debug)]
pub struct Swarm {
    options: SwarmOptions,
    layout: Layout,
    picker: Picker,
    peers: Peers,
    candidates: Candidates,
    pex_log: PexLog,
    blame: Blame,
    admissions: Admissions,
    slots: Slots,
    totals: Totals,
    timers: Timers,
    slow_peers: SlowPeers,
    suggested_pieces: SuggestedPieces,
    /// Pieces that are not fetched, whatever the priorities say.
    withdrawn: BTreeSet<u32>,
    state: State,
    role: Role,
    rng: Rng,
    out: VecDeque<Output>,
    /// Blocks being picked; kept for its memory.
    picked: Vec<Block>,
}

/// Whether we take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Active,
    Paused,
    Stopped,
}

/// Bytes since the swarm was made.
#[derive(Debug)]
struct Totals {
    /// A piece was fetched since we were complete for the last time.
    fetched: bool,
    down: Rate,
    up: Rate,
    wasted: u64,
    protocol_down: u64,
    protocol_up: u64,
}

impl Swarm {
    /// A swarm of which we have the pieces `have`. `seed` decides everything that is left to chance.
    ///
    /// # Panics
    /// `have` is not as long as the layout has pieces.
    pub fn new(options: SwarmOptions, layout: Layout, have: Bitfield, seed: u64, now: Instant) -> Self {
        let mut rng = Rng::new(seed);
        let picker = Picker::new(layout.clone(), have, options.memory_bytes, options.sequential, rng.next());
        let role = if picker.missing() == 0 { Role::Seed } else { Role::Leech };
        Self {
            picker,
            peers: Peers::default(),
            candidates: Candidates::new(options.listen_port, rng.next()),
            pex_log: PexLog::default(),
            blame: Blame::default(),
            admissions: Admissions::default(),
            slots: Slots::new(now),
            totals: Totals {
                fetched: false,
                down: Rate::new(now),
                up: Rate::new(now),
                wasted: 0,
                protocol_down: 0,
                protocol_up: 0,
            },
            timers: Timers::new(now),
            slow_peers: SlowPeers::new(now),
            suggested_pieces: SuggestedPieces::new(&layout, &mut rng),
            withdrawn: BTreeSet::new(),
            state: State::Active,
            role,
            rng,
            out: VecDeque::new(),
            picked: Vec::new(),
            options,
            layout,
        }
    }

    /// Takes note of what happened. Never blocks, never fails.
    pub fn handle(&mut self, input: Input, now: Instant) {
        self.timers.now = self.timers.now.max(now);
        match input {
            Input::PeersFound { source, addrs } => self.peers_found(source, &addrs),
            Input::Dialling { source, addrs } => self.dialling(source, &addrs),
            Input::Ban { addrs } => self.refuse_addrs(&addrs),
            Input::ConnectFailed { addr } => self.connect_failed(addr),
            Input::PeerConnected { peer, addr, direction, handshake, crowd } => {
                self.peer_connected(peer, addr, direction, &handshake, crowd);
            }
            Input::PeerMessage { peer, message } => self.peer_message(peer, message),
            Input::PeerDisconnected { peer } => self.peer_disconnected(peer),
            Input::BlocksSent { peer, blocks, bytes } => self.blocks_sent(peer, blocks, bytes),
            Input::BlockUnreadable { peer, piece, begin, length } => {
                self.block_unreadable(peer, piece, begin, length);
            }
            Input::PieceVerified { piece, ok, digests } => self.piece_verified(piece, ok, digests),
            Input::PiecesFound { pieces } => self.pieces_found(&pieces),
            Input::PieceLost { piece } => self.piece_lost(piece),
            Input::PiecesWithdrawn { pieces } => self.pieces_withdrawn(&pieces),
            Input::Budget { peers_max, half_open_max, upload_slots, memory_bytes } => {
                self.set_budget(peers_max, half_open_max, upload_slots, memory_bytes);
            }
            Input::Priorities { priorities } => self.set_priorities(&priorities),
            Input::Deadline { piece, within } => self.set_deadline(piece, within),
            Input::Sequential { sequential } => self.picker.set_sequential(sequential),
            Input::ExternalAddress { ip } => self.candidates.set_external(ip),
            Input::ListenPort { port } => self.set_listen_port(port),
            Input::Pause => self.pause(),
            Input::Resume => self.resume(),
            Input::Stop => self.stop(),
            Input::Timeout => self.timeout(),
        }
        self.schedule();
    }

    /// What is to be done next. Drain after each `handle`, or after a few.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When to call `handle(Input::Timeout, now)` at the latest; `None` if only inputs can change anything.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.tick_at
    }

    /// Verified pieces.
    pub fn have(&self) -> &Bitfield {
        self.picker.have()
    }

    /// Pieces between their first request and their verification, ascending.
    pub fn pieces_under_way(&self) -> Vec<PieceIndex> {
        self.picker.under_way()
    }

    /// How many of the connected peers have each piece.
    pub fn availability(&self) -> Vec<u32> {
        self.picker.availability()
    }

    /// Whether a piece is not fetched because another program changed it on disk ([`Input::PiecesWithdrawn`]).
    pub fn is_withdrawn(&self, piece: u32) -> bool {
        self.withdrawn.contains(&piece)
    }

    /// Whether pieces are fetched in their order instead of the rarest first.
    pub fn is_sequential(&self) -> bool {
        self.picker.is_sequential()
    }

    /// What we are in the swarm.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Totals and rates, as of the last input.
    pub fn stats(&self) -> SwarmStats {
        let now = self.timers.now;
        let (wanted_pieces, wanted_bytes) = self.picker.wanted();
        let mut peers_from = SourceCounts::default();
        self.peers.iter().for_each(|(_, peer)| peers_from.add(peer.id.source));
        SwarmStats {
            downloaded: self.totals.down.total(),
            uploaded: self.totals.up.total(),
            wasted: self.totals.wasted,
            protocol_down: self.totals.protocol_down,
            protocol_up: self.totals.protocol_up,
            left: self.picker.missing_bytes(),
            have_bytes: self.picker.have_bytes(),
            wanted_bytes,
            pending_bytes: self.picker.pending_bytes(),
            have_pieces: self.picker.have().count_ones(),
            wanted_pieces,
            wanted_have_pieces: wanted_pieces - self.picker.missing(),
            open_pieces: self.picker.open_count() as u32,
            open_bytes: self.picker.open_bytes(),
            down_rate: self.totals.down.per_second(now),
            up_rate: self.totals.up.per_second(now),
            peers: self.peers.len(),
            seeds: self.peers.iter().filter(|(_, peer)| peer.has.is_seed()).count(),
            connecting: self.candidates.connecting(),
            candidates: self.candidates.len(),
            candidates_from: self.candidates.from(),
            peers_from,
            unchoked_us: self.peers.iter().filter(|(_, peer)| !peer.terms.peer_choking).count(),
            unchoked: self.peers.iter().filter(|(_, peer)| !peer.terms.am_choking).count(),
            availability: self.picker.copies(),
            end_game: self.picker.is_end_game(),
        }
    }

    /// Addresses for [`Source::Resume`](crate::Source::Resume) in a later run, the best first, at most `count`.
    #[must_use]
    pub fn known_addresses(&self, count: usize) -> Vec<SocketAddr> {
        self.candidates.worth_keeping(count)
    }

    /// The connections.
    pub fn peers(&self) -> impl Iterator<Item = PeerStats> + '_ {
        let share = self.share();
        self.peers.iter().map(move |(_, peer)| peer.status(self.layout.piece_count(), share, self.timers.now))
    }

    fn emit(&mut self, event: SwarmEvent) {
        self.out.push_back(Output::Event(event));
    }

    /// Sends a message to a peer, if it is still there.
    fn send(&mut self, slot: PeerSlot, message: Message) {
        let Some(peer) = self.peers.get_mut(slot) else { return };
        peer.last_sent = self.timers.now;
        self.totals.protocol_up += encoded_len(&message) as u64;
        self.out.push_back(Output::Send { peer: peer.id.key, message });
    }
}

/// The wire's three numbers of a block.
fn request_of(block: Block) -> Message {
    Message::Request { piece: block.piece().get(), begin: block.begin(), length: block.length() }
}

fn cancel_of(block: Block) -> Message {
    Message::Cancel { piece: block.piece().get(), begin: block.begin(), length: block.length() }
}

fn reject_of(block: Block) -> Message {
    Message::Reject { piece: block.piece().get(), begin: block.begin(), length: block.length() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
