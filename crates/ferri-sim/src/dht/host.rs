//! A machine that runs a node.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use ferri_dht::{Family, Lookup, Node, Options};

use crate::scenario::Dice;

use super::internet::{Nat, Time};
use super::watch::Ledger;

/// A node that wakes so often at one and the same instant runs in a circle.
const WAKES_MAX: u32 = 100;

/// A machine that runs a node, or did.
#[derive(Debug)]
pub(super) struct Host {
    /// `None` once it left.
    pub(super) node: Option<Box<Node>>,
    /// By family; at least one.
    pub(super) addrs: [Option<SocketAddr>; 2],
    /// From the backbone.
    pub(super) distance: Time,
    pub(super) nat: Option<Nat>,
    /// Who got what; only of those that are watched.
    pub(super) ledger: Option<Ledger>,
    /// When it is to be woken next, if that is on the calendar.
    pub(super) wakes: Option<Time>,
    /// When it joined.
    pub(super) joined: Time,
    /// Its place among those that are online.
    pub(super) online_at: usize,
    /// What it is doing for us: the number of the probe, by name of the lookup.
    pub(super) lookups: BTreeMap<Lookup, usize>,
    /// A probe to begin as soon as all its families are in place.
    pub(super) then: Option<usize>,
    /// It found its place in the network of a family.
    in_place: [bool; 2],
    /// The last wake and how often it was woken then.
    woken: (Time, u32),
}

impl Host {
    pub(super) fn new(
        addrs: [Option<SocketAddr>; 2],
        distance: Time,
        options: &Options,
        dice: &mut Dice,
        (joined, now): (Time, Instant),
    ) -> Self {
        let options = Options { ipv4: addrs[0].is_some(), ipv6: addrs[1].is_some(), ..options.clone() };
        let mut seed = [0; 32];
        seed.chunks_mut(8).for_each(|part| part.copy_from_slice(&dice.roll().to_le_bytes()));
        Self {
            node: Some(Box::new(Node::new(options, None, seed, now))),
            addrs,
            distance,
            nat: None,
            ledger: None,
            wakes: None,
            joined,
            online_at: 0,
            lookups: BTreeMap::new(),
            then: None,
            in_place: [false; 2],
            woken: (0, 0),
        }
    }

    /// Its address in the network of a family.
    pub(super) fn addr(&self, family: Family) -> Option<SocketAddr> {
        self.addrs[family as usize]
    }

    /// It found its place.
    pub(super) fn settle(&mut self, family: Family) {
        self.in_place[family as usize] = true;
    }

    /// It has found its place in every network that it takes part in.
    pub(super) fn is_ready(&self) -> bool {
        self.node.is_some() && (0..2).all(|family| self.addrs[family].is_none() || self.in_place[family])
    }

    /// Its id in some network does not belong to its address there.
    pub(super) fn is_misfit(&self) -> bool {
        let Some(node) = &self.node else { return false };
        Family::ALL.into_iter().any(|family| {
            let ids = node.id(family).zip(self.addr(family));
            ids.is_some_and(|(id, addr)| !id.fits(addr.ip()))
        })
    }

    /// Both take part in one network.
    pub(super) fn can_meet(&self, addrs: &[Option<SocketAddr>; 2]) -> bool {
        (0..2).any(|family| self.addrs[family].is_some() && addrs[family].is_some())
    }

    /// Counts a wake. `false` when there are too many at once.
    pub(super) fn wake(&mut self, now: Time) -> bool {
        let count = if self.woken.0 == now { self.woken.1 + 1 } else { 1 };
        self.woken = (now, count);
        count < WAKES_MAX
    }
}
