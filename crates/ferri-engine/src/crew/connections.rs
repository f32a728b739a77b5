//! Connections come and go, and what passes over them.

use std::net::SocketAddr;
use std::time::Instant;

use ferri_metainfo::Block;
use ferri_storage::StorageError;
use ferri_swarm::{Direction, DisconnectReason, Input, PeerKey, PeerStats};
use ferri_wire::{Handshake, Message};
use tracing::Instrument;

use super::{Crew, Machine, Outbox};
use crate::crowd::Pass;
use crate::handshake::{self, Arrival};
use crate::peer::link::Link;
use crate::peer::{Connection, Report};
use crate::rate::Limits;
use crate::status::{PeerEncryption, PeerStatus};

/// The crew's side of a connection.
#[derive(Debug)]
pub(super) struct Peer {
    addr: SocketAddr,
    direction: Direction,
    encryption: PeerEncryption,
    outbox: Outbox,
    /// It counts among the connections of the session.
    _pass: Pass,
}

/// What came of a block that a peer asked for, as far as the torrent's files are concerned.
#[derive(Debug)]
pub(crate) enum Upload {
    /// It was read and has left.
    Sent,
    /// It could not be read and is not sent.
    Unreadable { block: Block, error: StorageError },
}

impl<M: Machine> Crew<M> {
    /// No peer is connected.
    pub(crate) fn is_alone(&self) -> bool {
        self.peers.is_empty()
    }

    pub(super) fn is_incoming(&self, peer: PeerKey) -> bool {
        self.peers.get(&peer).is_some_and(|peer| peer.direction == Direction::Incoming)
    }

    /// The connections as a user sees them.
    pub(crate) fn peer_statuses(&self) -> Vec<PeerStatus> {
        self.machine().connections().into_iter().map(|peer| self.peer_status(peer)).collect()
    }

    fn peer_status(&self, peer: PeerStats) -> PeerStatus {
        PeerStatus {
            addr: peer.addr,
            // The machine may hear a moment later that a connection is gone.
            encryption: self.peers.get(&peer.peer).map_or(PeerEncryption::None, |peer| peer.encryption),
            client: peer.client,
            down_rate: peer.down_rate,
            up_rate: peer.up_rate,
            downloaded: peer.downloaded,
            uploaded: peer.uploaded,
            progress: f64::from(peer.progress),
            am_choking: peer.flags.am_choking,
            peer_choking: peer.flags.peer_choking,
            peer_interested: peer.flags.peer_interested,
            am_interested: peer.flags.am_interested,
            snubbed: peer.flags.snubbed,
        }
    }

    pub(super) fn dial(&self, addr: SocketAddr) {
        let (names, arrivals) = (&self.base.names, self.senders.arrivals.clone());
        let span = tracing::error_span!(parent: &self.base.span, "peer", %addr);
        handshake::dial_for(&self.services, addr, names.handshake, names.other(), arrivals, span);
    }

    pub(super) fn arrival(&mut self, arrival: Arrival, now: Instant) {
        match arrival {
            Arrival::Accepted { link, handshake } => {
                self.connected(link, Direction::Incoming, handshake, now);
            }
            Arrival::Dialled { result: Ok((link, handshake)), .. } => {
                self.connected(link, Direction::Outgoing, handshake, now);
            }
            Arrival::Dialled { addr, result: Err(reason) } => {
                tracing::debug!(%addr, reason, "dial failed");
                self.handle(Input::ConnectFailed { addr }, now);
            }
        }
    }

    /// Gives a connection a task and tells the machine of it.
    fn connected(&mut self, link: Link, direction: Direction, handshake: Handshake, now: Instant) {
        let (key, addr) = (self.services.identity.next_peer(), link.addr());
        let encryption = link.encryption();
        tracing::debug!(%addr, link = %link.kind(), %encryption, ?direction, "connected");
        let (outbox, ends) = Outbox::new();
        let (limits, services) = (&self.base.limits, &self.services);
        let connection = Connection {
            key,
            link,
            ends,
            reports: self.senders.reports.clone(),
            blocks: services.disk.blocks.clone(),
            source: self.blocks.clone(),
            pool: services.disk.pool.clone(),
            down: Limits([limits.down.clone(), services.limits.down.clone()]),
            up: Limits([limits.up.clone(), services.limits.up.clone()]),
        };
        // Its warnings name the torrent and the peer.
        let span = tracing::error_span!(parent: &self.base.span, "peer", %addr);
        services.tasks.spawn(connection.run_watched().instrument(span));
        let (pass, crowd) = services.capacity.crowds.enter(addr.ip());
        self.peers.insert(key, Peer { addr, direction, encryption, outbox, _pass: pass });
        self.handle(Input::PeerConnected { peer: key, addr, direction, handshake, crowd }, now);
    }

    /// A connection's task tells something. What it means for the torrent's files is the owner's.
    pub(crate) fn report(&mut self, peer: PeerKey, report: Report, now: Instant) -> Option<Upload> {
        match report {
            Report::Messages(messages) => {
                for message in messages {
                    if self.base.reporter.follows() {
                        self.said(peer, Direction::Incoming, &message);
                    }
                    self.handle(Input::PeerMessage { peer, message }, now);
                }
            }
            Report::Sent(sent) => {
                self.handle(Input::BlocksSent { peer, blocks: sent.blocks, bytes: sent.bytes }, now);
                return Some(Upload::Sent);
            }
            Report::Unreadable { block, error } => {
                return Some(Upload::Unreadable { block, error: *error });
            }
            Report::Gone(reason) => {
                if let Some(gone) = self.peers.remove(&peer) {
                    tracing::debug!(addr = %gone.addr, reason, "connection ended");
                    self.handle(Input::PeerDisconnected { peer }, now);
                }
            }
        }
        None
    }

    fn said(&self, peer: PeerKey, direction: Direction, message: &Message) {
        if let Some(peer) = self.peers.get(&peer) {
            self.base.reporter.said(peer.addr, direction, message, self.base.machine.piece_count());
        }
    }

    pub(super) fn send(&mut self, peer: PeerKey, message: Message) {
        if self.base.reporter.follows() {
            self.said(peer, Direction::Outgoing, &message);
        }
        self.outbox(peer, |outbox| outbox.message(message));
    }

    pub(super) fn send_block(&mut self, peer: PeerKey, block: Block) {
        if self.base.reporter.follows()
            && let Some(peer) = self.peers.get(&peer)
        {
            self.base.reporter.block(peer.addr, block);
        }
        self.outbox(peer, |outbox| outbox.block(block));
    }

    fn outbox(&mut self, key: PeerKey, add: impl FnOnce(&mut Outbox)) {
        if let Some(peer) = self.peers.get_mut(&key) {
            if peer.outbox.is_empty() {
                self.unflushed.push(key);
            }
            add(&mut peer.outbox);
        }
    }

    /// Hands over what was gathered, once a peer.
    pub(crate) fn flush(&mut self) {
        let mut keys = std::mem::take(&mut self.unflushed);
        for key in keys.drain(..) {
            if let Some(peer) = self.peers.get_mut(&key) {
                peer.outbox.flush();
            }
        }
        self.unflushed = keys;
    }

    pub(super) fn disconnect(&mut self, peer: PeerKey, reason: DisconnectReason) {
        if let Some(gone) = self.peers.remove(&peer) {
            tracing::debug!(addr = %gone.addr, %reason, "disconnected");
            gone.outbox.close();
        }
    }

    /// Closes what is still open, without a word of the machine.
    pub(crate) fn close_all(&mut self) {
        for (_, peer) in std::mem::take(&mut self.peers) {
            peer.outbox.close();
        }
    }

    /// Whether there is a connection with this key.
    pub(super) fn has(&self, peer: PeerKey) -> bool {
        self.peers.contains_key(&peer)
    }
}
