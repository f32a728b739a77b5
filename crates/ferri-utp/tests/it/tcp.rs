//! A TCP flow from host 0 to host 1 that always has something to send: Reno with selective acknowledgements.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::network::{Arrival, Network};

/// Bytes of a packet and of an acknowledgement, headers included.
const PACKET: usize = 1_500;
const ACK: usize = 40;

/// Sender and receiver. Each transmission has a number of its own, and each is acknowledged by it.
#[derive(Debug)]
pub(crate) struct Tcp {
    window: f64,
    threshold: f64,
    next: u64,
    under_way: BTreeSet<u64>,
    /// Losses before this number were answered.
    recovery: u64,
    heard: Duration,
    /// Packets that arrived.
    pub(crate) arrived: u64,
}

impl Tcp {
    pub(crate) fn new() -> Self {
        Self {
            window: 10.0,
            threshold: f64::INFINITY,
            next: 0,
            under_way: BTreeSet::new(),
            recovery: 0,
            heard: Duration::ZERO,
            arrived: 0,
        }
    }

    /// Deals with what came, and sends what may be sent.
    pub(crate) fn act(&mut self, network: &mut Network) {
        let now = network.elapsed();
        for (host, number) in std::mem::take(&mut network.tcp) {
            if host == 1 {
                self.arrived += 1;
                network.pass(1, Arrival::Tcp(number), ACK);
            } else {
                self.heard = now;
                self.acknowledged(number);
            }
        }
        if Duration::from_secs(1) < now.saturating_sub(self.heard) {
            self.heard = now;
            self.under_way.clear();
            self.threshold = (self.window / 2.0).max(2.0);
            self.window = 1.0;
        }
        while (self.under_way.len() as f64) < self.window {
            network.pass(0, Arrival::Tcp(self.next), PACKET);
            self.under_way.insert(self.next);
            self.next += 1;
        }
    }

    fn acknowledged(&mut self, number: u64) {
        if !self.under_way.remove(&number) {
            return;
        }
        self.window += if self.window < self.threshold { 1.0 } else { 1.0 / self.window };
        while let Some(first) = self.under_way.first().copied().filter(|first| first + 3 <= number) {
            self.under_way.remove(&first);
            if self.recovery <= first {
                self.recovery = self.next;
                self.threshold = (self.window / 2.0).max(2.0);
                self.window = self.threshold;
            }
        }
    }
}
