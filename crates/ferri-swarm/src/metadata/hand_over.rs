//! The end of the search: everything that was learnt, as inputs of the machine that goes on.

use std::net::SocketAddr;

use ferri_metainfo::Info;

use super::{MetadataSwarm, State};
use crate::input::{Direction, Input, PeerKey, Source};
use crate::reason::DisconnectReason;

/// What [`MetadataSwarm::hand_over`] gives: what a fresh [`Swarm`](crate::Swarm) is told first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HandOver {
    /// To be handled by the swarm in this order, before anything else.
    pub inputs: Vec<Input>,
    /// Connections that are not handed over and have to be closed, and why.
    pub disconnects: Vec<(PeerKey, DisconnectReason)>,
}

impl MetadataSwarm {
    /// Ends the search: everything that was learnt, as the first inputs of the torrent's [`Swarm`](crate::Swarm).
    ///
    /// Connections keep their keys and go on; their `PeerConnected` comes again, so that the swarm announces them by events again.
    /// Dials go on too and are answered to the swarm. Outputs that were not polled yet are lost: drain first. `info` is what
    /// [`Output::Metadata`](crate::Output::Metadata) held.
    ///
    /// A private torrent (BEP 27) has its peers from trackers, the user, and peers that call by themselves, which the
    /// tracker sent. When `info` says that it is one, addresses that only the DHT, PEX or LSD named are forgotten;
    /// connections that we opened to such ended when the dictionary was found. That they were asked cannot be undone: it
    /// was not known. The swarm's options must say `private` too.
    pub fn hand_over(mut self, info: &Info) -> HandOver {
        let mut hand_over = HandOver::default();
        if info.is_private() {
            hand_over.disconnects = self.forget_strangers();
        }
        let inputs = &mut hand_over.inputs;
        inputs.extend(self.candidates.external().map(|ip| Input::ExternalAddress { ip }));
        inputs.extend(self.options.listen_port.map(|port| Input::ListenPort { port }));
        inputs.extend(self.budget.take());
        let addrs = self.candidates.banned();
        inputs.extend((!addrs.is_empty()).then_some(Input::Ban { addrs }));
        match self.state {
            State::Seeking | State::Done => {}
            State::Paused => inputs.push(Input::Pause),
            State::Stopped => inputs.push(Input::Stop),
        }
        let known = self.candidates.by_source();
        let mut known: Vec<_> =
            known.into_iter().filter(|(source, _)| !(info.is_private() && source.is_public())).collect();
        // Before the connections, so that these are known by their source, and before anything is dialled anew.
        for (source, (busy, _)) in &mut known {
            let addrs = std::mem::take(busy);
            inputs.extend((!addrs.is_empty()).then_some(Input::Dialling { source: *source, addrs }));
        }
        let pieces = info.layout().piece_count();
        for (key, peer) in self.peers {
            let (addr, direction, handshake) = (peer.addr, peer.direction, peer.handshake);
            inputs.push(Input::PeerConnected { peer: key, addr, direction, handshake, crowd: 0 });
            let messages = peer.retell(pieces).into_iter();
            inputs.extend(messages.map(|message| Input::PeerMessage { peer: key, message }));
        }
        for (source, (_, addrs)) in known {
            inputs.extend((!addrs.is_empty()).then_some(Input::PeersFound { source, addrs }));
        }
        hand_over
    }

    /// The addresses that are known, by who named them.
    pub fn known(&self) -> impl Iterator<Item = (Source, Vec<SocketAddr>)> {
        self.candidates.by_source().into_iter().map(|(source, (busy, idle))| (source, [busy, idle].concat()))
    }

    /// The torrent turned out to be private (BEP 27), and goes on here for a while: connections that we opened to addresses
    /// which only strangers named are closed at once, dials to such that are under way come to nothing, and peers tell us of
    /// no others. The addresses are forgotten by [`Self::hand_over`].
    pub(super) fn keep_private(&mut self) {
        (self.options.private, self.options.pex) = (true, false);
        for key in self.strangers() {
            self.disconnect(key, DisconnectReason::Private);
        }
    }

    /// Takes out the connections that we opened to addresses which only strangers named.
    fn forget_strangers(&mut self) -> Vec<(PeerKey, DisconnectReason)> {
        let strangers = self.strangers();
        strangers.iter().for_each(|key| drop(self.peers.remove(key)));
        strangers.into_iter().map(|key| (key, DisconnectReason::Private)).collect()
    }

    fn strangers(&self) -> Vec<PeerKey> {
        let stranger = |peer: &super::Peer| {
            peer.direction == Direction::Outgoing && self.is_strange(peer.addr, peer.source)
        };
        self.peers.iter().filter(|(_, peer)| stranger(peer)).map(|(key, _)| *key).collect()
    }

    /// Whether only strangers named an address that we dialled. A tracker may have done so after we dialled it.
    pub(super) fn is_strange(&self, addr: SocketAddr, source: Source) -> bool {
        self.candidates.source(addr).unwrap_or(source).is_public()
    }
}
