//! One connection: what both sides said about choking and interest, what the peer has, what is under way in both directions.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ferri_metainfo::PieceIndex;
use ferri_wire::{PeerId, extension};
use rustc_hash::FxHashMap;

use crate::choker::{IDLE_TURN, Rival, STUCK_TURN};
use crate::input::{Direction, PeerKey, Source};
use crate::pex::PexCursor;
use crate::picker::PeerSlot;
use crate::pieces::PeerPieces;
use crate::rate::Bucket;
use crate::requests::Requests;
use crate::status::{PeerFlags, PeerStats};
use crate::upload::{INCOMING_REQUESTS_MAX, Upload};

/// Who it is, fixed for the length of the connection.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) key: PeerKey,
    pub(crate) addr: SocketAddr,
    pub(crate) direction: Direction,
    pub(crate) source: Source,
    pub(crate) peer_id: PeerId,
    /// Both sides speak BEP 6.
    pub(crate) fast: bool,
    /// Both sides speak BEP 10.
    pub(crate) extensions: bool,
    /// It has a DHT node (BEP 5).
    pub(crate) dht: bool,
    pub(crate) connected: Instant,
}

/// What both sides said.
#[derive(Debug)]
pub(crate) struct Terms {
    pub(crate) am_choking: bool,
    pub(crate) am_interested: bool,
    pub(crate) peer_choking: bool,
    pub(crate) peer_interested: bool,
    /// It has the optimistic slot.
    pub(crate) optimistic: bool,
    /// It had nothing for us at the last looks, since this one.
    pub(crate) idle_since: Option<Instant>,
    /// When we last choked or unchoked it.
    pub(crate) since: Instant,
    /// When its last turn began.
    pub(crate) last_turn: Option<Instant>,
    /// Turns of which it made no use, since it last took something.
    pub(crate) wasted: u32,
    /// It has one of the slots for those who just came.
    pub(crate) is_newcomer: bool,
    /// When either side last had anything from the other.
    pub(crate) useful_at: Instant,
}

/// How much of what costs us time a peer may do.
#[derive(Debug)]
pub(crate) struct Patience {
    /// Messages without effect. Payload pays for them, and so does what we say that changes what the peer wants.
    pub(crate) control: Bucket,
    pub(crate) extensions: Bucket,
    /// Bitfields after the first.
    pub(crate) bitfields: Bucket,
    /// Haves of pieces it had already.
    pub(crate) haves: Bucket,
    /// Requests beyond the queue, or repeated.
    pub(crate) requests: Bucket,
    pub(crate) while_choked: Bucket,
    pub(crate) missing: Bucket,
    pub(crate) unrequested: Bucket,
    pub(crate) rejects: Bucket,
    /// Parts of the info dictionary (BEP 9): no more than this leaves for a peer, whatever it asks for.
    pub(crate) metadata: Bucket,
    /// Lists of addresses (BEP 11: one a minute).
    pub(crate) pex: Bucket,
}

impl Patience {
    /// Bursts are what an honest peer may do at once when unlucky, the second number what it may do each second.
    fn new(now: Instant) -> Self {
        let in_flight = INCOMING_REQUESTS_MAX as u32;
        Self {
            control: Bucket::new(300, 2, now),
            extensions: Bucket::new(100, 2, now),
            bitfields: Bucket::new(64, 1, now),
            haves: Bucket::new(500, 5, now),
            requests: Bucket::new(4 * in_flight, 50, now),
            while_choked: Bucket::new(4 * in_flight, 10, now),
            missing: Bucket::new(100, 1, now),
            unrequested: Bucket::new(16, 0, now),
            rejects: Bucket::new(64, 1, now),
            metadata: Bucket::new(64, 32, now),
            pex: Bucket::slow(4, 30, now),
        }
    }
}

/// What it told once and what it asked for besides blocks.
#[derive(Debug, Default)]
pub(crate) struct Hints {
    /// It said as which address it sees us.
    pub(crate) seen_as: bool,
    /// The port of its DHT node.
    pub(crate) dht_port: Option<u16>,
    /// Changes of that port.
    pub(crate) dht_ports: u8,
    /// Parts of the info dictionary it waits for, in the order of its requests.
    pub(crate) metadata: VecDeque<u32>,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) id: Identity,
    pub(crate) terms: Terms,
    pub(crate) patience: Patience,
    pub(crate) has: PeerPieces,
    /// Pieces of it that we want and lack. Not kept for a peer that has everything: there it is all that we lack.
    pub(crate) interesting: u32,
    /// Nothing but the extension handshake came yet, so a bitfield may.
    pub(crate) bitfield_due: bool,
    pub(crate) down: Requests,
    pub(crate) up: Upload,
    pub(crate) extension: extension::ExtensionHandshake,
    pub(crate) hints: Hints,
    pub(crate) pex: PexCursor,
    /// Pieces it lets us ask for while it chokes us (BEP 6).
    pub(crate) allowed_in: Vec<PieceIndex>,
    /// Pieces we let it ask for while we choke it, with the bytes of each it may still have.
    pub(crate) allowed_out: Vec<(PieceIndex, u32)>,
    /// Pieces it suggests that we have not begun, the oldest first (BEP 6).
    pub(crate) suggested: VecDeque<PieceIndex>,
    /// It sent blocks of a piece that failed, and others did too.
    pub(crate) suspect: bool,
    /// Pieces of it that were wrong, one after the other, while no other peer had them.
    pub(crate) strikes: u8,
    /// It sent a whole piece by itself, and that was right.
    pub(crate) proven: bool,
    /// Where an incoming peer says it can be dialled.
    pub(crate) listens: Option<SocketAddr>,
    pub(crate) last_received: Instant,
    pub(crate) last_sent: Instant,
}

impl Peer {
    pub(crate) fn new(id: Identity, pieces: u32) -> Self {
        let now = id.connected;
        Self {
            id,
            terms: Terms {
                am_choking: true,
                am_interested: false,
                peer_choking: true,
                peer_interested: false,
                optimistic: false,
                idle_since: None,
                since: now,
                last_turn: None,
                wasted: 0,
                is_newcomer: false,
                useful_at: now,
            },
            patience: Patience::new(now),
            has: PeerPieces::none(pieces),
            interesting: 0,
            bitfield_due: true,
            down: Requests::new(now),
            up: Upload::new(now),
            extension: extension::ExtensionHandshake::default(),
            hints: Hints::default(),
            pex: PexCursor::new(now),
            allowed_in: Vec::new(),
            allowed_out: Vec::new(),
            suggested: VecDeque::new(),
            suspect: false,
            strikes: 0,
            proven: false,
            listens: None,
            last_received: now,
            last_sent: now,
        }
    }

    /// What the peer's program calls itself.
    pub(crate) fn client(&self) -> String {
        let told = self.extension.v.clone().filter(|name| !name.is_empty());
        told.or_else(|| self.id.peer_id.client()).unwrap_or_else(|| "unknown client".to_owned())
    }

    /// Where it can be dialled: also what it is known by when it is gone.
    pub(crate) fn dial_addr(&self) -> SocketAddr {
        self.listens.unwrap_or(self.id.addr)
    }

    /// Whether it has a slot and asks for nothing.
    pub(crate) fn is_idle_in_turn(&self, now: Instant) -> bool {
        let since = self.terms.since.max(self.up.taken_at);
        !self.terms.am_choking && self.up.len() == 0 && IDLE_TURN <= now.saturating_duration_since(since)
    }

    /// Whether it asks for blocks, has a slot, and takes nothing.
    pub(crate) fn is_stuck_in_turn(&self, now: Instant) -> bool {
        let since = self.terms.since.max(self.up.taken_at);
        !self.terms.am_choking && self.up.len() != 0 && STUCK_TURN <= now.saturating_duration_since(since)
    }

    /// Whether it has or had a slot of which it made no use.
    pub(crate) fn is_wasting(&self, now: Instant) -> bool {
        self.terms.wasted != 0 || self.up.sent_in_turn == 0 && self.is_idle_in_turn(now)
    }

    /// It will never ask for anything.
    pub(crate) fn wants_nothing(&self) -> bool {
        self.has.is_seed() || self.extension.upload_only
    }

    /// Whether we may send it requests now (perhaps only for the allowed fast set).
    pub(crate) fn is_askable(&self) -> bool {
        self.terms.am_interested && (!self.terms.peer_choking || !self.allowed_in.is_empty())
    }

    /// As the choker sees it.
    pub(crate) fn rival(&self, slot: PeerSlot, now: Instant) -> Rival {
        Rival {
            slot,
            interested: self.terms.peer_interested && !self.has.is_seed(),
            unchoked: !self.terms.am_choking,
            snubbed: self.down.is_snubbed(),
            gives: self.down.rate.per_second(now),
            takes: self.up.rate.per_second(now),
            sent: self.up.sent_in_turn,
            sent_total: self.up.rate.total(),
            since: self.terms.since,
            last_turn: self.terms.last_turn,
            wasted: self.terms.wasted,
            is_newcomer: self.terms.is_newcomer,
            is_idle: self.is_idle_in_turn(now) || self.is_stuck_in_turn(now),
            is_in_crowd: false,
            connected: self.id.connected,
        }
    }

    /// Whether the connection has been of no use to either side for so long.
    pub(crate) fn is_useless_for(&self, time: Duration, now: Instant) -> bool {
        let idle = now.saturating_duration_since(self.terms.useful_at.max(self.id.connected));
        time <= idle && (!self.terms.am_interested || self.terms.peer_choking || self.down.is_snubbed())
    }

    /// Whether nothing is lost by closing it now: neither side waits for anything from the other, or had anything lately.
    pub(crate) fn is_spare(&self, time: Duration, now: Instant) -> bool {
        let idle = now.saturating_duration_since(self.terms.useful_at.max(self.id.connected));
        time <= idle && self.down.len() == 0 && self.up.len() == 0 && self.terms.am_choking
    }

    /// As people see it.
    pub(crate) fn status(&self, pieces: u32, share: usize, now: Instant) -> PeerStats {
        PeerStats {
            peer: self.id.key,
            addr: self.id.addr,
            direction: self.id.direction,
            source: self.id.source,
            peer_id: self.id.peer_id,
            client: self.client(),
            flags: PeerFlags {
                am_choking: self.terms.am_choking,
                am_interested: self.terms.am_interested,
                peer_choking: self.terms.peer_choking,
                peer_interested: self.terms.peer_interested,
                optimistic: self.terms.optimistic,
                snubbed: self.down.is_snubbed(),
                seed: self.has.is_seed(),
                upload_only: self.extension.upload_only,
                fast: self.id.fast,
                suspect: self.suspect,
            },
            down_rate: self.down.rate.per_second(now),
            up_rate: self.up.rate.per_second(now),
            downloaded: self.down.rate.total(),
            uploaded: self.up.rate.total(),
            pieces: self.has.count(),
            progress: self.has.count() as f32 / pieces.max(1) as f32,
            requests_out: self.down.len(),
            requests_in: self.up.len(),
            window: self.down.window(share),
        }
    }
}

/// The connections, each in a slot that stays the same while it lasts.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    slots: Vec<Option<Box<Peer>>>,
    vacant: Vec<u32>,
    /// For look-ups only; the order is that of the slots.
    by_key: FxHashMap<PeerKey, PeerSlot>,
    /// Peers whose pieces are counted one by one: a new piece of ours concerns them.
    partial: BTreeSet<PeerSlot>,
    /// Those that got fewer requests than they should have, as there was nothing more to ask for.
    pub(crate) waiting: BTreeSet<PeerSlot>,
}

impl Peers {
    pub(crate) fn insert(&mut self, peer: Peer) -> PeerSlot {
        let slot = self.vacant.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() as u32 - 1
        });
        self.by_key.insert(peer.id.key, PeerSlot(slot));
        self.partial.insert(PeerSlot(slot));
        self.slots[slot as usize] = Some(Box::new(peer));
        PeerSlot(slot)
    }

    pub(crate) fn remove(&mut self, slot: PeerSlot) -> Option<Box<Peer>> {
        let peer = self.slots.get_mut(slot.0 as usize)?.take()?;
        self.by_key.remove(&peer.id.key);
        self.partial.remove(&slot);
        self.waiting.remove(&slot);
        self.vacant.push(slot.0);
        Some(peer)
    }

    pub(crate) fn slot(&self, key: PeerKey) -> Option<PeerSlot> {
        self.by_key.get(&key).copied()
    }

    pub(crate) fn get(&self, slot: PeerSlot) -> Option<&Peer> {
        self.slots.get(slot.0 as usize)?.as_deref()
    }

    pub(crate) fn get_mut(&mut self, slot: PeerSlot) -> Option<&mut Peer> {
        self.slots.get_mut(slot.0 as usize)?.as_deref_mut()
    }

    /// The pieces of a peer became others by more than one.
    pub(crate) fn recount(&mut self, slot: PeerSlot) {
        match self.get(slot).map(|peer| &peer.has) {
            Some(PeerPieces::Some(_)) => self.partial.insert(slot),
            Some(PeerPieces::All { .. }) | None => self.partial.remove(&slot),
        };
    }

    /// The peers that did not come with everything.
    pub(crate) fn partial(&self) -> impl Iterator<Item = PeerSlot> + '_ {
        self.partial.iter().copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// How many slots there are, used or not.
    pub(crate) fn slot_count(&self) -> u32 {
        self.slots.len() as u32
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (PeerSlot, &Peer)> {
        self.slots.iter().enumerate().filter_map(|(at, peer)| Some((PeerSlot(at as u32), peer.as_deref()?)))
    }
}
