//! Two hosts and the links between them, with a virtual clock: delay, loss, reordering, duplicates, damaged copies, a
//! bottleneck with a queue, and a path MTU.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ferri_utp::{Input, Multiplexer, Options, Output, Transmit};

/// Bytes of the headers of IP and UDP, which take their time on a link as well.
const HEADERS: usize = 28;

/// Numbers that repeat with the seed (SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// Happens so often.
    pub(crate) fn happens(&mut self, part: f64) -> bool {
        ((self.next() >> 11) as f64) < part * (1u64 << 53) as f64
    }
}

/// One direction of the way between the hosts.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) delay: Duration,
    /// Each packet takes up to so much longer, and so may overtake others.
    pub(crate) jitter: Duration,
    pub(crate) loss: f64,
    pub(crate) duplicates: f64,
    /// Damaged copies that come in addition. Damage that uTP cannot notice is left to UDP's checksum.
    pub(crate) damaged: f64,
    /// Bytes a second.
    pub(crate) rate: Option<f64>,
    /// Bytes that wait for the bottleneck; what comes beyond is dropped.
    pub(crate) queue: usize,
    /// The longest packet, headers included. What is longer and must not be fragmented is dropped.
    pub(crate) mtu: usize,
    /// When the bottleneck is done with what waits, in microseconds.
    pub(crate) busy_until: f64,
    /// The longest time that a packet waited since this was last looked at.
    pub(crate) waited: Duration,
    pub(crate) bytes: u64,
    pub(crate) packets: u64,
    pub(crate) dropped: u64,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            delay: Duration::from_millis(25),
            jitter: Duration::ZERO,
            loss: 0.0,
            duplicates: 0.0,
            damaged: 0.0,
            rate: None,
            queue: 1 << 20,
            mtu: 1_500,
            busy_until: 0.0,
            waited: Duration::ZERO,
            bytes: 0,
            packets: 0,
            dropped: 0,
        }
    }
}

impl Link {
    /// When a packet that enters now is on the other side. `None` when it is lost.
    pub(crate) fn pass(&mut self, length: usize, now: u64, chance: &mut Chance) -> Option<u64> {
        self.packets += 1;
        self.bytes += length as u64;
        let mut leaves = now as f64;
        if let Some(rate) = self.rate {
            let waits = (self.busy_until - leaves).max(0.0);
            if self.queue < (waits * rate / 1e6) as usize + length {
                self.dropped += 1;
                return None;
            }
            self.waited = self.waited.max(Duration::from_micros(waits as u64));
            self.busy_until = leaves + waits + length as f64 / rate * 1e6;
            leaves = self.busy_until;
        }
        if chance.happens(self.loss) {
            self.dropped += 1;
            return None;
        }
        let jitter = chance.below(1 + self.jitter.as_micros() as u64);
        Some(leaves as u64 + self.delay.as_micros() as u64 + jitter)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Arrival {
    Datagram(Vec<u8>),
    /// A packet of the TCP flow, or its acknowledgement.
    Tcp(u64),
}

/// A host: its connections, and its address.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) utp: Multiplexer,
    pub(crate) addr: SocketAddr,
    pub(crate) outputs: Vec<Output>,
    /// Bytes of datagrams that came and left.
    pub(crate) came: u64,
    pub(crate) left: u64,
    /// Transmits, of which a shell would make one call of the system each.
    pub(crate) calls: u64,
}

/// Both hosts and what is under way. Link 0 leads to host 1 and link 1 to host 0.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) hosts: [Host; 2],
    pub(crate) links: [Link; 2],
    pub(crate) chance: Chance,
    began: Instant,
    now: u64,
    under_way: BinaryHeap<Reverse<(u64, u64, usize, Arrival)>>,
    count: u64,
    buffer: Vec<u8>,
    /// What came of the TCP flow, for the host of that number.
    pub(crate) tcp: Vec<(usize, u64)>,
}

impl Network {
    pub(crate) fn new(options: [Options; 2], links: [Link; 2], seed: u64) -> Self {
        let began = Instant::now();
        let mut chance = Chance(seed);
        let mut number = 0u8;
        let hosts = options.map(|options| {
            number += 1;
            let mut secret = [number; 32];
            secret[..8].copy_from_slice(&chance.next().to_be_bytes());
            // The clocks of the hosts differ.
            let clock = began - Duration::from_micros(chance.below(1 << 34));
            Host {
                utp: Multiplexer::new(options, secret, clock),
                addr: SocketAddr::from(([10, 0, 0, number], 6_881)),
                outputs: Vec::new(),
                came: 0,
                left: 0,
                calls: 0,
            }
        });
        Self {
            hosts,
            links,
            chance,
            began,
            now: 0,
            under_way: BinaryHeap::new(),
            count: 0,
            buffer: Vec::new(),
            tcp: Vec::new(),
        }
    }

    pub(crate) fn now(&self) -> Instant {
        self.began + Duration::from_micros(self.now)
    }

    /// Since the beginning.
    pub(crate) fn elapsed(&self) -> Duration {
        Duration::from_micros(self.now)
    }

    /// Sends what the hosts have to send, and gathers what they tell.
    pub(crate) fn flush(&mut self) {
        let now = self.now();
        for from in 0..2 {
            let mut buffer = std::mem::take(&mut self.buffer);
            while let Some(transmit) = self.hosts[from].utp.poll_transmit(&mut buffer, now) {
                assert!(!buffer.is_empty() && transmit.segment != 0, "an empty transmit");
                assert_eq!(transmit.to, self.hosts[1 - from].addr);
                self.hosts[from].calls += 1;
                for datagram in buffer.chunks(transmit.segment) {
                    self.send(from, datagram, transmit);
                }
            }
            self.buffer = buffer;
            while let Some(output) = self.hosts[from].utp.poll_output() {
                self.hosts[from].outputs.push(output);
            }
        }
    }

    fn send(&mut self, from: usize, datagram: &[u8], transmit: Transmit) {
        self.hosts[from].left += datagram.len() as u64;
        if transmit.dont_fragment && self.links[from].mtu < datagram.len() + HEADERS {
            return;
        }
        if self.chance.happens(self.links[from].damaged) {
            // What is no connection, yet or any more, is answered with a reset, and UDP's checksum spares us that.
            let kinds = if self.hosts[1 - from].utp.is_empty() { 3 } else { 5 };
            let damaged = damage(datagram, kinds, &mut self.chance);
            self.pass(from, Arrival::Datagram(damaged), datagram.len() + HEADERS);
        }
        if self.chance.happens(self.links[from].duplicates) {
            self.pass(from, Arrival::Datagram(datagram.to_vec()), datagram.len() + HEADERS);
        }
        self.pass(from, Arrival::Datagram(datagram.to_vec()), datagram.len() + HEADERS);
    }

    /// Sends something from a host over its link.
    pub(crate) fn pass(&mut self, from: usize, arrival: Arrival, length: usize) {
        if let Some(at) = self.links[from].pass(length, self.now, &mut self.chance) {
            self.count += 1;
            self.under_way.push(Reverse((at, self.count, 1 - from, arrival)));
        }
    }

    /// When something happens next, and not after `limit`.
    fn next_at(&self, limit: u64) -> Option<u64> {
        let arrival = self.under_way.peek().map(|Reverse((at, ..))| *at);
        let timeouts = self.hosts.iter().filter_map(|host| host.utp.poll_timeout());
        let timeouts = timeouts.map(|at| at.saturating_duration_since(self.began).as_micros() as u64);
        timeouts.chain(arrival).min().filter(|at| *at <= limit)
    }

    /// Goes on to what happens next, until `limit`. `false` when nothing does; then the limit is reached.
    pub(crate) fn step(&mut self, limit: Duration) -> bool {
        self.flush();
        let limit = limit.as_micros() as u64;
        let Some(at) = self.next_at(limit) else {
            self.now = limit.max(self.now);
            return false;
        };
        self.now = at.max(self.now);
        let now = self.now();
        while self.under_way.peek().is_some_and(|Reverse((at, ..))| *at <= self.now) {
            let Some(Reverse((_, _, to, arrival))) = self.under_way.pop() else { break };
            match arrival {
                Arrival::Datagram(bytes) => {
                    self.hosts[to].came += bytes.len() as u64;
                    let from = self.hosts[1 - to].addr;
                    self.hosts[to].utp.handle(Input::Datagram { from, bytes: &bytes }, now);
                }
                Arrival::Tcp(number) => self.tcp.push((to, number)),
            }
        }
        for host in &mut self.hosts {
            if host.utp.poll_timeout().is_some_and(|at| at <= now) {
                host.utp.handle(Input::Timeout, now);
            }
        }
        self.flush();
        true
    }
}

/// A copy that is not what was sent, in a way that uTP can notice.
fn damage(datagram: &[u8], kinds: u64, chance: &mut Chance) -> Vec<u8> {
    let mut damaged = datagram.to_vec();
    match chance.below(kinds) {
        // Cut off within the header.
        0 => damaged.truncate(chance.below(20) as usize),
        // Another version or kind.
        1 => damaged[0] = [0x02, 0x51, 0x64, 0xff][chance.below(4) as usize],
        // Extensions that lead out of the packet.
        2 => {
            damaged[1] = 1 + chance.below(255) as u8;
            damaged.truncate(20 + chance.below(2) as usize);
        }
        // Of another connection.
        3 => damaged[2] ^= 0x40 + chance.below(0x80) as u8,
        // Acknowledges what was never sent.
        _ => damaged[18] = damaged[18].wrapping_add(0x20 + chance.below(0x40) as u8),
    }
    damaged
}
