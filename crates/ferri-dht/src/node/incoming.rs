//! Datagrams that come in.

use std::net::{SocketAddr, SocketAddrV6};
use std::time::Instant;

use super::Node;
use super::answers::Envelope;
use crate::id::{NodeId, is_node_address};
use crate::krpc::{self, ANSWER_MAX, Body, Message, Method, Query, ReadError, Response, code};
use crate::output::Family;
use crate::strangers::Hold;
use crate::table::{Answered, Contact};
use crate::transactions::{Open, Purpose};
use crate::votes::{Region, region};

/// Bytes of a ping of ours. A stranger that sent less is not pinged.
pub(super) const PING_LENGTH: usize = 67;

impl Node {
    pub(super) fn receive(&mut self, from: SocketAddr, datagram: &[u8], now: Instant) {
        self.counts.datagrams_in += 1;
        self.counts.bytes_in += datagram.len() as u64;
        let from = plain(from);
        let is_ours = self.network(Family::of(from)).is_some();
        // All messages are dictionaries, so that most garbage is seen by its first byte.
        if !is_ours || !is_node_address(from) || datagram.first() != Some(&b'd') {
            self.counts.refused += 1;
            return;
        }
        let Ok(document) = krpc::parse(datagram) else {
            self.counts.refused += 1;
            return;
        };
        match krpc::read(&document) {
            Ok(message) => self.message(&message, from, datagram, now),
            Err(ReadError::Query { transaction, argument }) => {
                self.malformed(transaction, argument, from, datagram.len(), now);
            }
            Err(ReadError::NotMessage) => self.counts.refused += 1,
        }
    }

    fn message(&mut self, message: &Message<'_>, from: SocketAddr, datagram: &[u8], now: Instant) {
        match &message.body {
            Body::Query(query) => self.query(message, query, from, datagram, now),
            Body::Response(response) => match self.transactions.answer(message.transaction, from) {
                Some(open) => self.response(&open, message, response, from, now),
                None => self.counts.refused += 1,
            },
            Body::Error(_) => match self.transactions.answer(message.transaction, from) {
                Some(open) => self.error(&open, from, now),
                None => self.counts.refused += 1,
            },
        }
    }

    fn malformed(
        &mut self,
        transaction: &[u8],
        argument: &str,
        from: SocketAddr,
        received: usize,
        now: Instant,
    ) {
        self.counts.queries_in += 1;
        if self.options.read_only {
            return;
        }
        if !self.limiter.admit(from, now) {
            self.counts.limited += 1;
            return;
        }
        let max = if self.strangers.is_proven(from, now) { ANSWER_MAX } else { received };
        let text = format!("invalid {argument}");
        let envelope = Envelope { transaction, to: from, max };
        let answer = self.refuse(code::PROTOCOL, &text, envelope);
        self.send_answer(from, answer, now);
    }

    fn query(
        &mut self,
        message: &Message<'_>,
        query: &Query<'_>,
        from: SocketAddr,
        datagram: &[u8],
        now: Instant,
    ) {
        self.counts.queries_in += 1;
        let contact = Contact { id: query.id, addr: from };
        let proven = self.strangers.is_proven(from, now);
        let wanted = !message.read_only && self.is_wanted(contact, now);
        // BEP 43: a node that is read-only answers no queries.
        if self.options.read_only {
            return;
        }
        if !self.limiter.admit(from, now) {
            self.counts.limited += 1;
            return;
        }
        if proven {
            let envelope = Envelope { transaction: message.transaction, to: from, max: ANSWER_MAX };
            let answer = self.answer(query, envelope, now);
            self.send_answer(from, answer, now);
            if wanted {
                self.ping(from, Some(query.id), now);
            }
            return;
        }
        self.answer_stranger(message, query, from, datagram, now);
    }

    /// Whether a node that asks might find a place in the table. Those that are known are good for asking.
    fn is_wanted(&mut self, contact: Contact, now: Instant) -> bool {
        self.network_mut(Family::of(contact.addr)).is_some_and(|network| network.table.asked(contact, now))
    }

    /// To an address that is not proven goes no more than came from it.
    fn answer_stranger(
        &mut self,
        message: &Message<'_>,
        query: &Query<'_>,
        from: SocketAddr,
        datagram: &[u8],
        now: Instant,
    ) {
        let short = matches!(
            query.method,
            Method::Ping | Method::AnnouncePeer(_) | Method::Put(_) | Method::Unknown { target: None, .. }
        );
        let envelope = Envelope { transaction: message.transaction, to: from, max: datagram.len() };
        // A node that answers no queries cannot prove itself with a ping, and gets as many nodes as its question is
        // long.
        if short || message.read_only {
            let answer = self.answer(query, envelope, now);
            return self.send_answer(from, answer, now);
        }
        if 0 < self.options.unproven_bytes_per_second {
            let answer = self.answer(query, Envelope { max: ANSWER_MAX, ..envelope }, now);
            let excess = answer.as_ref().map_or(0, |bytes| bytes.len().saturating_sub(datagram.len()));
            if self.unproven.take(excess, now) {
                return self.send_answer(from, answer, now);
            }
        }
        self.hold(query.id, from, datagram, now);
    }

    fn hold(&mut self, id: NodeId, from: SocketAddr, datagram: &[u8], now: Instant) {
        if crate::transactions::PROOFS_MAX <= self.transactions.proofs() {
            self.counts.limited += 1;
            return;
        }
        // What is held names a target, and is longer than a ping already for that.
        if datagram.len() < PING_LENGTH {
            self.counts.limited += 1;
            return;
        }
        match self.strangers.hold(from, datagram, now) {
            Hold::Ping if self.answers.take(datagram.len(), now) => {
                self.ask(from, Some(id), Purpose::Proof, Method::Ping, now);
            }
            Hold::Wait => {}
            Hold::Ping | Hold::Full => self.counts.limited += 1,
        }
    }

    /// Answers a question whose address was proven meanwhile.
    pub(super) fn answer_held(&mut self, from: SocketAddr, datagram: &[u8], now: Instant) {
        let Ok(document) = krpc::parse(datagram) else { return };
        let Ok(message) = krpc::read(&document) else { return };
        if let Body::Query(query) = &message.body {
            let envelope = Envelope { transaction: message.transaction, to: from, max: ANSWER_MAX };
            let answer = self.answer(query, envelope, now);
            self.send_answer(from, answer, now);
        }
    }

    fn send_answer(&mut self, to: SocketAddr, answer: Option<Vec<u8>>, now: Instant) {
        match answer {
            Some(bytes) if self.may_answer(to, bytes.len(), now) => self.send(to, bytes),
            _ => self.counts.limited += 1,
        }
    }

    /// Whether so many bytes may go there now. A crowd that uses up what there is for all leaves the nodes of our table
    /// their share.
    fn may_answer(&mut self, to: SocketAddr, length: usize, now: Instant) -> bool {
        let is_known =
            |node: &Self| node.network(Family::of(to)).is_some_and(|network| network.table.has(to));
        self.answers.take(length, now) || (is_known(self) && self.answers_to_known.take(length, now))
    }

    fn response(
        &mut self,
        open: &Open,
        message: &Message<'_>,
        response: &Response<'_>,
        from: SocketAddr,
        now: Instant,
    ) {
        self.counts.answered += 1;
        let contact = Contact { id: response.id, addr: from };
        self.seen(contact, open, now);
        if let (Some(ip), Purpose::Survey, Some(id)) = (message.ip, open.purpose, open.id) {
            self.vote(region(id), from, ip, now);
        }
        match open.purpose {
            Purpose::Ping | Purpose::Proof | Purpose::Survey => {}
            Purpose::Search(key) => self.search_answered(key, contact, response, now),
            Purpose::Store(key) => self.store_answered(key, now),
        }
        self.answer_all_held(from, now);
        self.feed(Family::of(from), now);
    }

    fn answer_all_held(&mut self, from: SocketAddr, now: Instant) {
        for question in self.strangers.prove(from, now) {
            self.answer_held(from, &question, now);
        }
    }

    /// A node answered: what the table makes of it.
    fn seen(&mut self, contact: Contact, open: &Open, now: Instant) {
        let Some(network) = self.network_mut(Family::of(contact.addr)) else { return };
        network.silent_since = now;
        network.lonely = false;
        if network.routers.contains(&contact.addr) {
            return;
        }
        let round_trip = Some(now.saturating_duration_since(open.sent));
        if let Answered::Doubtful(doubtful) = network.table.answered(contact, round_trip, now) {
            self.ping(doubtful.addr, Some(doubtful.id), now);
        }
    }

    fn vote(&mut self, region: Region, voter: SocketAddr, seen_at: SocketAddr, now: Instant) {
        let family = Family::of(voter);
        let Some(network) = self.network_mut(family) else { return };
        if let Some(ip) = network.votes.vote(region, voter, seen_at.ip()) {
            self.moved(family, ip, now);
        }
    }

    fn error(&mut self, open: &Open, from: SocketAddr, now: Instant) {
        self.counts.answered += 1;
        match open.purpose {
            Purpose::Ping | Purpose::Proof | Purpose::Survey => {}
            Purpose::Search(key) => self.search_failed(key, from, now),
            Purpose::Store(key) => self.store_refused(key, now),
        }
        self.answer_all_held(from, now);
    }
}

/// Without what the kernel knows about a packet and no other node does: addresses have to be equal to be the same.
fn plain(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V6(v6) if v6.flowinfo() != 0 => {
            SocketAddrV6::new(*v6.ip(), v6.port(), 0, v6.scope_id()).into()
        }
        other => other,
    }
}
