//! How fast streams are, and how long they make others wait.

use std::time::Duration;

use ferri_utp::Options;

use crate::network::{Link, Network};
use crate::stream::{Plan, Side, hear, pair};
use crate::tcp::Tcp;

/// Bytes a second of a link of 100 Mbit/s.
pub(crate) const FAST: f64 = 12.5e6;

/// What is measured, and how.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) link: Link,
    /// Streams that begin at these times.
    pub(crate) streams: Vec<Duration>,
    /// A TCP flow runs from here on.
    pub(crate) tcp: Option<Duration>,
    /// What comes before is not counted.
    pub(crate) from: Duration,
    pub(crate) until: Duration,
}

/// What came of it, from `Scenario::from` on.
#[derive(Clone, Debug, Default)]
#[allow(dead_code)]
pub(crate) struct Measured {
    /// Bytes a second, of each stream and of the TCP flow.
    pub(crate) streams: Vec<f64>,
    pub(crate) tcp: f64,
    /// How long packets waited: of the longest times of each tenth of a second the middle and the longest one.
    pub(crate) waited: Duration,
    pub(crate) waited_max: Duration,
    /// Datagrams of a call of the system.
    pub(crate) run: f64,
}

/// A link with this round trip, and a queue that takes `queue` to empty.
pub(crate) fn bottleneck(rate: f64, round_trip: Duration, queue: Duration, loss: f64) -> Link {
    let queue = (rate * queue.as_secs_f64()) as usize;
    Link { delay: round_trip / 2, rate: Some(rate), queue, loss, ..Link::default() }
}

pub(crate) fn measure(scenario: &Scenario, seed: u64) -> Measured {
    let back = Link { rate: None, ..scenario.link.clone() };
    let options = Options { receive_buffer: 4 << 20, send_buffer: 4 << 20, ..Options::default() };
    let mut network = Network::new([options.clone(), options], [scenario.link.clone(), back], seed);
    let mut pairs: Vec<[Side; 2]> = Vec::new();
    let mut tcp: Option<Tcp> = None;
    let mut marks: Option<(Vec<u64>, u64, u64, u64)> = None;
    let mut waits = Vec::new();
    let counts = |pairs: &[[Side; 2]], tcp: &Option<Tcp>, network: &Network| {
        let read = pairs.iter().map(|pair| pair[1].read).collect::<Vec<_>>();
        let arrived = tcp.as_ref().map_or(0, |tcp| tcp.arrived);
        (read, arrived, network.hosts[0].calls, network.links[0].packets)
    };
    let mut tick = Duration::ZERO;
    while network.elapsed() < scenario.until {
        while scenario.streams.get(pairs.len()).is_some_and(|at| *at <= network.elapsed()) {
            pairs.push(pair([Plan::bytes(1 << 40), Plan::bytes(1)], &mut network));
        }
        if tcp.is_none() && scenario.tcp.is_some_and(|at| at <= network.elapsed()) {
            tcp = Some(Tcp::new());
        }
        if marks.is_none() && scenario.from <= network.elapsed() {
            marks = Some(counts(&pairs, &tcp, &network));
            waits.clear();
        }
        if tick <= network.elapsed() {
            tick += Duration::from_millis(100);
            waits.push(std::mem::take(&mut network.links[0].waited));
        }
        hear(&mut pairs, &mut network);
        for side in pairs.iter_mut().flatten() {
            side.act(&mut network);
        }
        if let Some(tcp) = &mut tcp {
            tcp.act(&mut network);
        }
        network.step(network.elapsed() + Duration::from_millis(10));
    }
    let seconds = (scenario.until - scenario.from).as_secs_f64();
    let (read, arrived, calls, packets) = marks.unwrap_or_default();
    let after = counts(&pairs, &tcp, &network);
    waits.sort_unstable();
    let read_before = read.into_iter().chain(std::iter::repeat(0));
    Measured {
        streams: after
            .0
            .iter()
            .zip(read_before)
            .map(|(after, before)| (after - before) as f64 / seconds)
            .collect(),
        tcp: (after.1 - arrived) as f64 * 1_500.0 / seconds,
        waited: waits.get(waits.len() / 2).copied().unwrap_or_default(),
        waited_max: waits.last().copied().unwrap_or_default(),
        run: (after.3 - packets) as f64 / (after.2 - calls).max(1) as f64,
    }
}
