//! The same questions to three trackers: ours, opentracker and npm's bittorrent-tracker.
//!
//! Five hundred announces and scrapes as real clients send them ([`crowd`]), over HTTP and UDP, IPv4 and IPv6. Ours must answer
//! what is so; where another one answers otherwise, the reason stands in [`explained`], or the test fails. It also fails
//! when a reason there explains nothing any more.

mod crowd;
mod explained;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use ferri_metainfo::InfoHash;
use ferri_tracker::udp::{Family, Request, Response};
use ferri_tracker::{Event, Scrape, TrackerError};

use crate::clients::Tools;
use crate::lab::{self, Process};
use crate::{http, opentracker};
use crowd::{Ask, Crowd, Truth, What};
use explained::{EXPLAINED, Kind, Other};

/// Of each family.
const ASKS: usize = 250;

/// The bridge's own ports are free; every tracker has one for HTTP and UDP, both families.
const PORTS: [u16; 3] = [16_961, 16_962, 16_963];

const START_LIMIT: Duration = Duration::from_secs(30);

/// On loopback nothing is lost, so silence is an answer.
const SILENCE: Duration = Duration::from_secs(2);

/// What a tracker answered, as a client understands it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    Announced {
        seeders: u32,
        leechers: u32,
        peers: BTreeSet<SocketAddr>,
    },
    Scraped(BTreeMap<InfoHash, Scrape>),
    Refused(String),
    /// Nothing, or what no client understands.
    Unusable(String),
}

/// A question, what is so after it, and what came back.
struct Seen<'a> {
    ask: &'a Ask,
    truth: &'a Truth,
    ours: &'a Answer,
    theirs: &'a Answer,
}

/// How often each kind of difference was seen, and the first time.
#[derive(Default)]
struct Differences(BTreeMap<(Other, Kind), (usize, String)>);

/// Asks all three.
///
/// # Errors
/// When a tracker does not run, ours is wrong, or another answers otherwise for no known reason.
pub(super) fn run(tools: &Tools, work: &Path) -> Result<()> {
    lab::own_an_ipv6_network()?;
    let hashes: String = Crowd::info_hashes(false).map(|hash| format!("{hash}\n")).collect();
    let mut trackers = [
        start(ours(tools, work), PORTS[0], &work.join("ours.log"))?,
        start(
            opentracker::command(&work.join("opentracker"), address(PORTS[1], false), &hashes, |program| {
                Command::new(program)
            })?,
            PORTS[1],
            &work.join("opentracker.log"),
        )?,
        start(npm(tools), PORTS[2], &work.join("bittorrent-tracker.log"))?,
    ];
    let mut differences = Differences::default();
    for v6 in [false, true] {
        let mut crowd = Crowd::new(v6);
        for number in 0..ASKS {
            let (ask, truth) = crowd.next();
            let about = || format!("question {number}: {}", ask.describe());
            let ours = put(&ask, address(PORTS[0], v6)).with_context(about)?;
            check(&ask, truth, &ours).with_context(about)?;
            // opentracker speaks IPv4 only, as Debian builds it.
            let others = [(Other::Opentracker, PORTS[1]), (Other::BittorrentTracker, PORTS[2])];
            for (other, port) in others.into_iter().filter(|(other, _)| !v6 || *other != Other::Opentracker) {
                let theirs = put(&ask, address(port, v6)).with_context(about)?;
                differences.note(other, &Seen { ask: &ask, truth, ours: &ours, theirs: &theirs });
            }
        }
    }
    for tracker in &mut trackers {
        tracker.ensure_running()?;
    }
    differences.judge()
}

fn address(port: u16, v6: bool) -> SocketAddr {
    let ip: IpAddr = if v6 { Ipv6Addr::LOCALHOST.into() } else { [127, 0, 0, 1].into() };
    SocketAddr::new(ip, port)
}

fn ours(tools: &Tools, work: &Path) -> Command {
    let mut command = Command::new(&tools.ferriswarm);
    command.args(["tracker", "--listen", &format!("[::]:{}", PORTS[0])]).current_dir(work);
    // What it keeps over a restart is kept here.
    command.env("XDG_STATE_HOME", work);
    command
}

fn npm(tools: &Tools) -> Command {
    let mut command = Command::new("node");
    command.arg(tools.peer_script.with_file_name("tracker.mjs")).arg(&tools.bittorrent_tracker);
    command.arg(PORTS[2].to_string());
    command
}

fn start(mut command: Command, port: u16, log: &Path) -> Result<Process> {
    let mut process = Process::start(&mut command, log)?;
    lab::wait_until(START_LIMIT, "a tracker to answer", || {
        process.ensure_running()?;
        Ok(http::get(address(port, false), "/scrape?info_hash=%00aaaaaaaaaaaaaaaaaaa").is_ok())
    })
    .with_context(|| format!("starting {:?}", command.get_program()))?;
    Ok(process)
}

fn put(ask: &Ask, to: SocketAddr) -> Result<Answer> {
    if ask.over_udp { over_udp(ask, to) } else { over_http(ask, to) }
}

fn over_http(ask: &Ask, to: SocketAddr) -> Result<Answer> {
    let headers = ask.headers();
    let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
    let response = http::get_from(ask.from, to, &ask.path(), &headers)?;
    let answer = match &ask.what {
        What::Announce(_) => ferri_tracker::http::announce_answer(response.status, &response.body)
            .map(|answer| Answer::announced(answer.seeders, answer.leechers, answer.peers)),
        What::Scrape(_) => ferri_tracker::http::scrape_answer(response.status, &response.body)
            .map(|swarms| Answer::Scraped(swarms.into_iter().collect())),
    };
    Ok(answer.unwrap_or_else(|error| match error {
        TrackerError::Failure { reason, .. } => Answer::Refused(reason),
        error => Answer::Unusable(error.to_string()),
    }))
}

fn over_udp(ask: &Ask, to: SocketAddr) -> Result<Answer> {
    let socket = UdpSocket::bind((ask.from, 0)).with_context(|| format!("{} is not ours", ask.from))?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(SILENCE))?;
    let exchange = |request: Request| -> Result<Option<Response>> {
        socket.send(&request.encode())?;
        let mut buffer = [0; 4096];
        match socket.recv(&mut buffer) {
            Ok(length) => Ok(Response::decode(&buffer[..length], Family::of(to)).ok()),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error.into()),
        }
    };
    let transaction = 0x0abc_0000 + u32::from(socket.local_addr()?.port());
    let Some(Response::Connect { connection, .. }) = exchange(Request::Connect { transaction })? else {
        bail!("{to} gives no connection id");
    };
    let request = match &ask.what {
        // libtorrent and those around it say path and query (BEP 41).
        What::Announce(announce) => Request::Announce {
            connection,
            transaction,
            announce: announce.clone(),
            url_data: if ask.has_url_data() { b"/announce".to_vec() } else { Vec::new() },
        },
        What::Scrape(info_hashes) => {
            Request::Scrape { connection, transaction, info_hashes: info_hashes.clone() }
        }
    };
    Ok(match (exchange(request)?, &ask.what) {
        (Some(Response::Announce { seeders, leechers, peers, .. }), What::Announce(_)) => {
            Answer::announced(Some(seeders), Some(leechers), peers)
        }
        (Some(Response::Scrape { swarms, .. }), What::Scrape(hashes)) if swarms.len() == hashes.len() => {
            Answer::Scraped(hashes.iter().copied().zip(swarms).collect())
        }
        (Some(Response::Error { message, .. }), _) => Answer::Refused(message),
        (None, _) => Answer::Unusable("no answer over UDP".to_owned()),
        (Some(other), _) => Answer::Unusable(format!("{other:?}")),
    })
}

impl Answer {
    fn announced(seeders: Option<u32>, leechers: Option<u32>, peers: Vec<SocketAddr>) -> Self {
        let (seeders, leechers) = (seeders.unwrap_or(0), leechers.unwrap_or(0));
        Self::Announced { seeders, leechers, peers: peers.into_iter().collect() }
    }
}

/// Ours counts right, names all others to a client that lacks something, and none that is not there.
fn check(ask: &Ask, truth: &Truth, ours: &Answer) -> Result<()> {
    match (&ask.what, ours) {
        (What::Announce(announce), Answer::Announced { seeders, leechers, peers }) => {
            let swarm = &truth[&announce.info_hash];
            let (all_seeders, all_leechers) = counts(truth, &announce.info_hash);
            ensure!(
                (*seeders, *leechers) == (all_seeders, all_leechers),
                "ours counts {seeders} and {leechers}, there are {all_seeders} seeds and {all_leechers} others"
            );
            let asker = SocketAddr::new(ask.from, announce.port);
            let others: BTreeSet<SocketAddr> = swarm.keys().copied().filter(|addr| *addr != asker).collect();
            ensure!(peers.is_subset(&others), "ours names {peers:?}, there are {others:?}");
            let wants_all = announce.left > 0 && announce.event != Some(Event::Stopped);
            ensure!(!wants_all || *peers == others, "ours names {peers:?} only, there are {others:?}");
            ensure!(
                announce.event != Some(Event::Stopped) || peers.is_empty(),
                "who leaves is told of peers"
            );
        }
        (What::Scrape(hashes), Answer::Scraped(swarms)) => {
            for hash in hashes {
                let swarm = swarms.get(hash).with_context(|| format!("ours says nothing of {hash}"))?;
                let found = (swarm.seeders, swarm.leechers);
                ensure!(
                    found == counts(truth, hash),
                    "ours counts {found:?}, it is {:?}",
                    counts(truth, hash)
                );
            }
        }
        (_, other) => bail!("ours answers {other:?}"),
    }
    Ok(())
}

/// Seeds, and others.
fn counts(truth: &Truth, hash: &InfoHash) -> (u32, u32) {
    let members = truth.get(hash).into_iter().flat_map(|swarm| swarm.values());
    members.fold(
        (0, 0),
        |(seeders, leechers), member| {
            if member.is_seed { (seeders + 1, leechers) } else { (seeders, leechers + 1) }
        },
    )
}

impl Differences {
    fn note(&mut self, other: Other, seen: &Seen<'_>) {
        for kind in explained::differences(seen) {
            let text = || {
                format!(
                    "{}\n      ours: {:?}\n      theirs: {:?}",
                    seen.ask.describe(),
                    seen.ours,
                    seen.theirs
                )
            };
            let (count, _) = self.0.entry((other, kind)).or_insert_with(|| (0, text()));
            *count += 1;
        }
    }

    /// # Errors
    /// When one is not explained, or an explanation explains nothing.
    fn judge(&self) -> Result<()> {
        let known = |other: Other, kind: Kind| {
            EXPLAINED.iter().any(|explained| (explained.other, explained.kind) == (other, kind))
        };
        let unknown: Vec<String> = self
            .0
            .iter()
            .filter(|((other, kind), _)| !known(*other, *kind))
            .map(|((other, kind), (count, first))| {
                format!("{other:?}: {kind:?}, {count} times, first:\n    {first}")
            })
            .collect();
        ensure!(unknown.is_empty(), "answers differ for no known reason\n  {}", unknown.join("\n  "));
        let idle: Vec<String> = EXPLAINED
            .iter()
            .filter(|explained| !self.0.contains_key(&(explained.other, explained.kind)))
            .map(|explained| format!("{:?}: {:?}", explained.other, explained.kind))
            .collect();
        ensure!(idle.is_empty(), "these explanations explain nothing any more: {}", idle.join(", "));
        Ok(())
    }
}
