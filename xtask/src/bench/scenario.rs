//! The measurements, as data: what is done, by which clients, and what a table compares.

use std::time::Duration;

use super::Options;
use crate::clients::Kind;

/// A measurement that can be asked for by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scenario {
    Leech,
    Seed,
    Check,
    Cold,
    Create,
    Relay,
    Stall,
    Swarm,
    Memory,
    Scale,
    Many,
    Crash,
    Hash,
    Magnet,
    Dht,
    Files,
    Hostile,
    Tracker,
}

/// What the programs are connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Network {
    /// A virtual Ethernet cable; the load is at the other end.
    Cable,
    /// A link with a delay; the load is at the other end.
    Relay,
    /// A switch.
    Bridge,
}

/// What is done in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// Download from the comparison's peers.
    Leech,
    /// Upload to so many leechers, each of which takes its share of the torrent.
    Seed { leechers: u8 },
    /// Check a complete file before seeding it.
    Check,
    /// Check a complete file that is not in memory.
    ReadCold,
    /// Make a torrent.
    Create,
    /// One seeder sends `rate` bytes a second, and so many leechers download from it and from each other.
    Swarm { leechers: u8, rate: u64 },
}

/// What a table says beside wall, processor time and memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ratios {
    /// Wall and processor time as multiples of ours, processor time as a multiple of the floor's.
    Others,
    /// Speed, and its share of the first contender's.
    Speed,
    /// Wall as a multiple of the contender's before, for every second one.
    Twin,
    /// Wall as a multiple of what is possible.
    Bound(Duration),
}

/// One who does the work.
#[derive(Clone, Debug)]
pub(super) struct Contender {
    pub(super) label: String,
    pub(super) kind: Kind,
    /// Whether one more peer is there, and stalls.
    pub(super) with_staller: bool,
    /// How often; one whose figures no goal needs does long work once.
    pub(super) runs: usize,
}

/// The same work done by several: one table.
#[derive(Clone, Debug)]
pub(super) struct Comparison {
    pub(super) heading: String,
    /// What tells it from the scenario's other tables.
    pub(super) case: String,
    pub(super) work: Work,
    /// Bytes of the torrent, and of a piece.
    pub(super) size: u64,
    pub(super) piece: u64,
    /// Seeders at the other end, and the bytes a second that each sends where it is limited.
    pub(super) peers: u8,
    pub(super) rates: Vec<u64>,
    /// The largest socket buffers, in bytes, if not what the system has.
    pub(super) buffers: Option<u64>,
    pub(super) contenders: Vec<Contender>,
    pub(super) ratios: Ratios,
}

impl Comparison {
    /// The time that the work takes at best, where that is known.
    pub(super) fn bound(&self) -> Option<Duration> {
        if let Ratios::Bound(bound) = self.ratios { Some(bound) } else { None }
    }
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// What the tables of `files` show.
const FILES: &str = "A torrent of 2^20 files of a byte, in 1,024 folders: shown, compared with an empty folder and with the payload in \
                     the page cache; `get` from its start until it asks a peer; and the longest time from Ctrl-C to the end, \
                     which comes 0.05 to 4 s after the start of each kind of work. Three runs at most.";
const DHT: &str = "A node of the DHT under honest load from 600 addresses, which answer its pings: answers per second of its \
    processor time, and what its memory grows by for each peer it stores (one for each announce, fifty for \
    an info hash). libtorrent's limits are lifted. Three runs at most.";
const HOSTILE: &str = "A seed besieged by peers that are interested, ask for nothing and come back half a second after they were sent \
    away: how long newcomers wait for a MiB who come 5, 10, 20 and 40 s after them, and what the seed's memory is. And a \
    download with peers that send the first half of each piece and nothing of the second. Loopback, three runs at most.";

const TRACKER: &str = "Trackers that are filled with peers of random swarms, half of them seeds, each at an address of the loopback \
    network with three others, and that are then announced to by random peers, as fast as they answer: answers a second of \
    processor time (user and system, of the tracker's process alone) and resident bytes that a peer adds. The tracker has one core \
    and the load the other, except where two cores are measured: there both run on both, so what is compared is the \
    processor time an answer takes with one core and with two. opentracker as Debian builds it takes listed torrents only (they \
    are listed), speaks IPv4 only and ends every HTTP connection after its answer; aquatic_http answers the first of requests that come together. aquatic is built without its metrics, which Rust 1.95 does \
    not compile.";

/// What the seeder of a swarm sends, in bytes a second.
const SWARM_RATE: u64 = 10 * MIB;

impl Scenario {
    pub(crate) const ALL: [Self; 18] = [
        Self::Leech,
        Self::Seed,
        Self::Check,
        Self::Cold,
        Self::Create,
        Self::Relay,
        Self::Stall,
        Self::Swarm,
        Self::Memory,
        Self::Scale,
        Self::Many,
        Self::Crash,
        Self::Hash,
        Self::Magnet,
        Self::Dht,
        Self::Files,
        Self::Hostile,
        Self::Tracker,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Leech => "leech",
            Self::Seed => "seed",
            Self::Check => "check",
            Self::Cold => "cold",
            Self::Create => "create",
            Self::Relay => "relay",
            Self::Stall => "stall",
            Self::Swarm => "swarm",
            Self::Memory => "memory",
            Self::Scale => "scale",
            Self::Many => "many",
            Self::Crash => "crash",
            Self::Hash => "hash",
            Self::Magnet => "magnet",
            Self::Dht => "dht",
            Self::Files => "files",
            Self::Hostile => "hostile",
            Self::Tracker => "tracker",
        }
    }

    /// What its tables show, for a reader of BENCHMARKS.md.
    pub(super) fn description(self) -> &'static str {
        match self {
            Self::Leech => {
                "A download from seeders that send as fast as they can. Wall from the program's start until it has \
                 everything, verified and written; processor time of its whole life."
            }
            Self::Seed => {
                "An upload; each leecher takes its share of the torrent, so the table's size is sent once in all. Wall \
                 and processor time from the first connection until each has its share, the check before not \
                 included; peak memory includes it."
            }
            Self::Check => {
                "The check of a complete file in the page cache before seeding it, from the program's start until it \
                 seeds. The floor reads and hashes."
            }
            Self::Cold => {
                "`ferriswarm verify` of a file that is not in the page cache, and in the floor's place `dd`, which reads it \
                 from the device around the page cache, 4 MiB at once, and does nothing else. Three runs at most."
            }
            Self::Create => {
                "Making a torrent of a file in the page cache, the program's whole life. The floor reads and hashes."
            }
            Self::Relay => {
                "A download from one peer 100 ms away (50 ms each way) over a link of 1 Gbit/s, whose packets of 9,000 \
                 bytes a relay below TCP holds back. Plain TCP is one connection that carries the same bytes and \
                 nothing else. Three runs at most, other clients once."
            }
            Self::Stall => {
                "A download from twenty seeders of 0.5 to 5 MiB/s, without and with one more that sends twenty blocks \
                 and a half and then nothing. Three runs at most, other clients once."
            }
            Self::Swarm => {
                "One seeder limited to 10 MiB/s and eight leechers without a limit, all of the same kind; wall until the \
                 last one has everything, processor time of all nine, memory of the largest. The bound is the time in \
                 which the seeder can send everything once. Three runs at most."
            }
            Self::Memory => {
                "A download from 200 seeders in pieces of 16 MiB, 2 GiB by default. The goal is the budget (64 MiB by default) and 16 MiB. Three runs at most, other clients once."
            }
            Self::Scale => {
                "The swarm machine alone, without sockets and disk: nanoseconds of processor time a block, by pieces of the \
                 torrent (of 256 KiB) and by peers, all of which have everything. Three runs at most."
            }
            Self::Many => {
                "One process that seeds thousands of torrents of 64 KiB, started again over what it knows from an earlier \
                 run, and left alone. Ours is the library, and announces to a tracker; the others have none. Three runs \
                 at most."
            }
            Self::Crash => {
                "`kill -9` at random moments of a download from libtorrent, 200 times, and then to the end; every file has the \
                 right SHA-256, and a verified piece that is asked for again ends the measurement. Three kills in four come \
                 some time after the first request of that life, one in four within 0.3 s of the start. Once."
            }
            Self::Hash => {
                "The hash functions on one core: blocks of 16 KiB, so many at once, in GB (10^9 bytes) a second of CPU."
            }
            Self::Magnet => {
                "From the start of a program that has a magnet link and knows one node of a DHT until its first piece is \
                 verified. The nodes and the one seed are libtorrent's; no client speaks to a tracker. Twice the runs, except \
                 of a client that takes longer than 40 s. libtorrent announces every 5 s instead of every 15 minutes, since its first lookup \
                 comes before it knows a node."
            }
            Self::Dht => DHT,
            Self::Files => FILES,
            Self::Hostile => HOSTILE,
            Self::Tracker => TRACKER,
        }
    }

    /// How many runs of those that were asked for; where runs are long and alike, fewer do.
    pub(super) fn runs(self, asked: usize) -> usize {
        match self {
            Self::Leech | Self::Seed | Self::Check | Self::Create | Self::Hash | Self::Tracker => asked,
            Self::Magnet => 2 * asked,
            Self::Crash => 1,
            Self::Cold
            | Self::Relay
            | Self::Stall
            | Self::Swarm
            | Self::Memory
            | Self::Scale
            | Self::Many
            | Self::Dht
            | Self::Files
            | Self::Hostile => asked.min(3),
        }
    }

    pub(super) fn network(self) -> Network {
        match self {
            Self::Relay => Network::Relay,
            Self::Swarm => Network::Bridge,
            _ => Network::Cable,
        }
    }

    /// Its tables, with what was asked for on the command line in place of the defaults.
    pub(super) fn comparisons(self, options: &Options) -> Vec<Comparison> {
        let (work, size, pieces, peers): (_, _, &[u64], &[u8]) = match self {
            Self::Leech => (Work::Leech, GIB, &[256 * KIB, MIB, 4 * MIB], &[4]),
            Self::Seed => (Work::Seed { leechers: 0 }, GIB, &[MIB], &[4, 200]),
            Self::Check => (Work::Check, 4 * GIB, &[256 * KIB, MIB], &[1]),
            Self::Cold => (Work::ReadCold, 4 * GIB, &[MIB], &[1]),
            Self::Create => (Work::Create, 4 * GIB, &[256 * KIB, MIB], &[1]),
            Self::Relay => (Work::Leech, GIB, &[MIB], &[1]),
            Self::Stall => (Work::Leech, 512 * MIB, &[MIB], &[20]),
            Self::Swarm => (Work::Swarm { leechers: 8, rate: SWARM_RATE }, 256 * MIB, &[256 * KIB], &[1]),
            Self::Memory => (Work::Leech, 2 * GIB, &[16 * MIB], &[200]),
            Self::Scale
            | Self::Many
            | Self::Crash
            | Self::Hash
            | Self::Magnet
            | Self::Dht
            | Self::Files
            | Self::Hostile
            | Self::Tracker => {
                return Vec::new();
            }
        };
        let size = options.size.unwrap_or(size);
        let mut comparisons = Vec::new();
        for &piece in options.pieces.as_deref().unwrap_or(pieces) {
            for &peers in options.peers.as_deref().unwrap_or(peers) {
                let work = if let Work::Seed { .. } = work { Work::Seed { leechers: peers } } else { work };
                let case = self.case(piece, peers);
                let comparison = Comparison {
                    heading: format!("{}: {} MiB in pieces of {case}", self.name(), size / MIB),
                    case,
                    work,
                    size,
                    piece,
                    peers,
                    rates: Vec::new(),
                    buffers: None,
                    contenders: self.contenders(&options.clients, self.runs(options.runs)),
                    ratios: Ratios::Others,
                };
                comparisons.extend(self.variants(comparison));
            }
        }
        comparisons
    }

    /// What tells its tables apart.
    fn case(self, piece: u64, peers: u8) -> String {
        let with = match self {
            Self::Seed => format!(", {peers} leechers"),
            Self::Check | Self::Cold | Self::Create | Self::Swarm => String::new(),
            _ if peers == 1 => ", 1 peer".to_owned(),
            _ => format!(", {peers} peers"),
        };
        if piece < MIB { format!("{} KiB{with}", piece / KIB) } else { format!("{} MiB{with}", piece / MIB) }
    }

    /// The tables that this one becomes.
    fn variants(self, comparison: Comparison) -> Vec<Comparison> {
        match self {
            Self::Relay => {
                // With the system's buffers one connection may be slower than the link; with these it is not.
                const WIDE: u64 = 64 * MIB;
                let table = |buffers, words| Comparison {
                    heading: format!("{}, {words}", comparison.heading),
                    case: format!("{}, {words}", comparison.case),
                    buffers,
                    ratios: Ratios::Speed,
                    ..comparison.clone()
                };
                let mut wide = table(Some(WIDE), "socket buffers up to 64 MiB");
                wide.contenders
                    .retain(|contender| matches!(contender.kind, Kind::PlainTcp | Kind::Ferriswarm));
                vec![table(None, "socket buffers as the system has them"), wide]
            }
            Self::Stall => {
                let rates = (1..=u64::from(comparison.peers)).map(|n| 256 * KIB * n.clamp(2, 20)).collect();
                vec![Comparison { rates, ratios: Ratios::Twin, ..comparison }]
            }
            Self::Swarm => {
                let bound = Duration::from_secs_f64(comparison.size as f64 / SWARM_RATE as f64);
                vec![Comparison { ratios: Ratios::Bound(bound), ..comparison }]
            }
            _ => vec![comparison],
        }
    }

    /// Who takes part, of those who were asked for.
    fn contenders(self, clients: &[Kind], runs: usize) -> Vec<Contender> {
        let contender = |kind: Kind| {
            let is_needed = match self {
                Self::Relay => matches!(kind, Kind::Ferriswarm | Kind::PlainTcp),
                Self::Stall | Self::Memory => kind == Kind::Ferriswarm,
                _ => true,
            };
            let runs = if is_needed { runs } else { 1 };
            Contender { label: kind.name().into(), kind, with_staller: false, runs }
        };
        let of = |takes_part: &dyn Fn(Kind) -> bool| -> Vec<Contender> {
            clients.iter().copied().filter(|&kind| takes_part(kind)).map(contender).collect()
        };
        // The preset is for seeds, and Transmission waits 14 s before it begins, whatever comes then.
        let clients_only = |kind| !matches!(kind, Kind::Floor | Kind::LibtorrentHp | Kind::Transmission);
        match self {
            Self::Create => {
                let makers = [Kind::Floor, Kind::Ferriswarm, Kind::Libtorrent, Kind::Transmission];
                let mut makers = of(&|kind| makers.contains(&kind));
                makers.push(contender(Kind::Mktorrent));
                makers
            }
            Self::Cold => of(&|kind| matches!(kind, Kind::Floor | Kind::Ferriswarm)),
            Self::Swarm => of(&|kind| matches!(kind, Kind::Ferriswarm | Kind::Libtorrent)),
            Self::Relay => {
                let mut all = vec![contender(Kind::PlainTcp)];
                all.extend(of(&clients_only));
                all
            }
            Self::Stall => {
                // The floor trusts every peer to answer.
                let twins = |one: Contender| {
                    let with = format!("{}, one stalls", one.label);
                    [one.clone(), Contender { label: with, with_staller: true, ..one }]
                };
                of(&clients_only).into_iter().flat_map(twins).collect()
            }
            Self::Memory => of(&clients_only),
            Self::Check => of(&|kind| kind != Kind::LibtorrentHp),
            Self::Leech | Self::Seed => of(&|_| true),
            Self::Scale
            | Self::Many
            | Self::Crash
            | Self::Hash
            | Self::Magnet
            | Self::Dht
            | Self::Files
            | Self::Hostile
            | Self::Tracker => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_measurement_has_its_tables() {
        let options = Options::parse(&["all"]).unwrap();
        let tables = Scenario::ALL.map(|scenario| scenario.comparisons(&options).len());
        assert_eq!(tables, [3, 2, 2, 1, 2, 2, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn the_command_line_replaces_the_defaults() {
        let options =
            Options::parse(&["leech", "--piece", "1MiB", "--size", "1MiB", "--clients", "ours"]).unwrap();
        let comparisons = Scenario::Leech.comparisons(&options);
        assert_eq!(comparisons.len(), 1);
        assert_eq!(comparisons[0].heading, "leech: 1 MiB in pieces of 1 MiB, 4 peers");
        assert_eq!(comparisons[0].contenders.len(), 1);
    }

    #[test]
    fn long_work_that_no_goal_needs_is_done_once() {
        let options = Options::parse(&["memory", "--clients", "ours,rqbit"]).unwrap();
        let runs = |scenario: Scenario| -> Vec<usize> {
            scenario.comparisons(&options)[0].contenders.iter().map(|contender| contender.runs).collect()
        };
        assert_eq!(runs(Scenario::Memory), [3, 1]);
        assert_eq!(runs(Scenario::Leech), [5, 5]);
        assert_eq!(runs(Scenario::Relay), [3, 3, 1], "plain TCP is what ours is compared with");
    }
}
