//! What is to be played.

use std::time::Duration;

use ferri_dht::Options;

/// Which networks the nodes have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Families {
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
    /// A third of the nodes has IPv4 only, a third IPv6 only, a third both.
    Mixed,
}

/// Where the addresses of sybils lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Networks {
    /// In so many networks of 256 addresses.
    Slash24(usize),
    /// In so many networks of 65,536 addresses, never two in the same /24 while there is another.
    Slash16(usize),
    /// Each in a /24 of its own, anywhere.
    Everywhere,
}

/// Nodes of one attacker around one info hash, which name each other, hide all peers and forget all announces.
#[derive(Clone, Debug)]
pub struct Sybils {
    /// How many.
    pub count: usize,
    /// Where.
    pub networks: Networks,
    /// Their ids belong to their addresses (BEP 42): the closest to the target that each address allows. Otherwise they
    /// are as close as they like.
    pub ids_fit: bool,
    /// They answer with peers that do not exist instead of none.
    pub false_peers: bool,
    /// They tell all nodes the same wrong external address.
    pub lie_about_address: bool,
}

/// Hostile packets at one node, while it goes on looking for peers and being found.
#[derive(Clone, Copy, Debug)]
pub struct Flooding {
    /// Packets in a second.
    pub per_second: u64,
    /// From the first announce on.
    pub lasts: Duration,
}

/// One simulation.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Honest nodes at any time.
    pub nodes: usize,
    /// Their networks.
    pub families: Families,
    /// Over which time they join at first.
    pub join_over: Duration,
    /// From the last join to the first announce.
    pub settle: Duration,
    /// Announces, each by a node chosen at random.
    pub announces: usize,
    /// Over which time they are spread. With sybils they come one after another, all of the same info hash.
    pub announce_over: Duration,
    /// Lookups of what was announced, for each announce, by nodes chosen at random.
    pub finds: usize,
    /// So many announces are looked up once more by a node that joins for the purpose and begins as soon as it has found its place.
    pub fresh: usize,
    /// How long after the announce it is looked up, at least and at most.
    pub find_after: (Duration, Duration),
    /// Lost datagrams, of a thousand.
    pub loss: u64,
    /// Nodes behind a NAT, of a thousand: a datagram reaches them only if they sent one to its sender within the last minute.
    pub nat: u64,
    /// How long a node stays on average before it leaves without a word and another one comes. `None` is for ever.
    pub session: Option<Duration>,
    /// The attacker.
    pub sybils: Option<Sybils>,
    /// A flood at one of the nodes, which then takes part in every announce or lookup.
    pub flood: Option<Flooding>,
    /// Every which host's traffic is watched for amplification: each at 1. It costs memory.
    pub watch_every: usize,
    /// How each node behaves; the families are set as the node has them.
    pub options: Options,
}

impl Scenario {
    /// The public network as it is: churn, loss and NAT.
    #[must_use]
    pub fn internet(nodes: usize) -> Self {
        Self {
            nodes,
            families: Families::V4,
            join_over: Duration::from_secs(600),
            settle: Duration::from_secs(300),
            announces: 300,
            announce_over: Duration::from_secs(600),
            finds: 1,
            fresh: 100,
            find_after: (Duration::from_secs(10), Duration::from_secs(900)),
            loss: 30,
            nat: 300,
            session: Some(Duration::from_secs(40 * 60)),
            sybils: None,
            flood: None,
            watch_every: nodes.div_ceil(1_500),
            options: Options::default(),
        }
    }

    /// 200 honest nodes, 2,000 sybils at a target; 20 announces there, each looked for 10 times.
    #[must_use]
    pub fn sybils(networks: Networks, ids_fit: bool) -> Self {
        let sybils = Sybils { count: 2_000, networks, ids_fit, false_peers: true, lie_about_address: true };
        Self {
            announces: 20,
            finds: 10,
            fresh: 0,
            find_after: (Duration::from_secs(5), Duration::from_secs(25)),
            session: None,
            sybils: Some(sybils),
            ..Self::internet(200)
        }
    }

    /// A small honest network, and packets at one of its nodes.
    #[must_use]
    pub fn flood(per_second: u64, lasts: Duration) -> Self {
        Self {
            join_over: Duration::from_secs(60),
            settle: Duration::from_secs(60),
            announces: 60,
            announce_over: lasts.mul_f64(0.6),
            fresh: 0,
            find_after: (Duration::from_secs(2), lasts.mul_f64(0.2)),
            nat: 0,
            session: None,
            flood: Some(Flooding { per_second, lasts }),
            ..Self::internet(60)
        }
    }

    /// How many nodes lookups are measured against: 2 x log2(n).
    #[must_use]
    pub fn queries_allowed(&self) -> f64 {
        2.0 * (self.nodes as f64).log2()
    }
}
