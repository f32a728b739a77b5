//! What a torrent does, in words where it does nothing that has a rate. The facts are the engine's.

use std::time::Duration;

use ferri_engine::{ErrorReason, Sources, State, TorrentStatus, Wait};

use super::view::{Doing, Flow, View};
use crate::text::harmless;
use crate::units;

impl View {
    pub(crate) fn of_torrent(status: &TorrentStatus) -> Self {
        let done = match status.state {
            State::Checking { done, total } => (done, total),
            _ => (status.wanted_done, status.wanted),
        };
        Self {
            name: harmless(&status.name),
            done: Some(done),
            wanted: Some((status.wanted_done, status.wanted)),
            doing: doing(status),
            flow: Flow {
                down: status.down_rate,
                up: status.up_rate,
                peers: Some(status.peers),
                seeds: status.seeds,
                sent: status.all_time.uploaded,
                ratio: Some(status.ratio),
                eta: status.eta,
                lasts: None,
            },
        }
    }

    /// Work that has a rate since it began: `hashing`, `verifying`.
    pub(crate) fn of_work(what: &str, done: u64, total: u64, since: Duration) -> Self {
        let down = units::mean_rate(done, since);
        let eta = (0 < done).then(|| Duration::from_secs(total.saturating_sub(done) / down.max(1)));
        Self {
            name: harmless(what),
            done: Some((done, total)),
            wanted: None,
            doing: Doing::Works,
            flow: Flow { down, eta, ..Flow::default() },
        }
    }

    /// Files that are looked at; how many there are is not known.
    pub(crate) fn of_files(what: &str, done: u64, since: Duration) -> Self {
        let files = units::count(done, "file", "files");
        Self {
            name: harmless(what),
            done: None,
            wanted: None,
            doing: Doing::Says(vec![files]),
            flow: Flow { lasts: Some(since), ..Flow::default() },
        }
    }
}

/// Why it waits, in a few words and in all of them; `None` while it does not.
pub(crate) fn wait_words(status: &TorrentStatus) -> Option<(String, String)> {
    match doing(status) {
        Doing::Says(words) if status.wait.is_some() && status.state == State::Downloading => {
            let few = words.get(1).or_else(|| words.first())?.clone();
            Some((few, words.last()?.clone()))
        }
        _ => None,
    }
}

/// Whose files are looked at first; `None` when it does not wait for that.
pub(crate) fn queue_words(status: &TorrentStatus) -> Option<String> {
    let ahead = units::count(status.checks_ahead()? as u64, "other", "others");
    Some(format!("waiting for {ahead} to be checked"))
}

fn doing(status: &TorrentStatus) -> Doing {
    match &status.state {
        State::Resolving => says(["looking", "looking for its description"]),
        State::Checking { .. } => match queue_words(status) {
            Some(words) => says(["queued".to_owned(), words]),
            None => says(["checking", "checking what is there"]),
        },
        State::Downloading => status.wait.as_deref().map_or(Doing::Flows, |wait| waits(*wait)),
        State::Seeding => Doing::Serves,
        State::Paused => says(["paused"]),
        State::Stopped => says(["stopped"]),
        State::Error { recoverable: false, text, .. } => {
            says(["failed".to_owned(), format!("failed: {text}")])
        }
        State::Error { reason: ErrorReason::DiskFull { missing }, .. } => {
            says(["disk full".to_owned(), format!("disk full: {} more are needed", units::size(*missing))])
        }
        State::Error { text, .. } => {
            let more = "waiting for the disk".to_owned();
            says(["disk".to_owned(), more.clone(), format!("{more}: {text}")])
        }
        _ => Doing::Flows,
    }
}

fn waits(wait: Wait) -> Doing {
    match wait {
        Wait::Alone(sources) => {
            let few = if sources.connecting == 0 { "looking for peers" } else { "connecting" };
            says(["no peers".to_owned(), few.to_owned(), looking(&sources)])
        }
        Wait::Unseen { first, pieces: 1 } => {
            says(["stalled".to_owned(), format!("stalled: no peer has piece {first}")])
        }
        Wait::Unseen { first, pieces } => {
            let few = format!("stalled: no peer has piece {first}");
            let others = units::count(u64::from(pieces) - 1, "other", "others");
            says(["stalled".to_owned(), few.clone(), format!("{few} or {others}")])
        }
        Wait::Choked { peers: 1 } => says(["choked", "choked by the only peer that has something"]),
        Wait::Choked { peers } => says([
            "choked".to_owned(),
            "choked by all peers".to_owned(),
            format!("choked by all {peers} peers that have something"),
        ]),
        Wait::Silent { peers } => {
            let peers = units::count(peers as u64, "peer", "peers");
            says([
                "stalled".to_owned(),
                "stalled: peers send nothing".to_owned(),
                format!("stalled: {peers} let us ask and send nothing"),
            ])
        }
        Wait::Disk => says(["writing", "waiting for the disk"]),
    }
}

/// What is done to find a first peer.
pub(crate) fn looking(sources: &Sources) -> String {
    match sources.connecting as u64 {
        0 if sources.known != 0 => format!("looking for peers: {} without an answer so far", places(sources)),
        0 => format!("looking for peers: {}", places(sources)),
        dials => format!("connecting to {} ({})", units::count(dials, "peer", "peers"), places(sources)),
    }
}

/// Where addresses of peers come from.
pub(crate) fn places(sources: &Sources) -> String {
    let mut places = Vec::new();
    match sources.dht_nodes {
        None => {}
        Some(0) => places.push("entering the DHT".to_owned()),
        Some(nodes) => places.push(format!("DHT with {}", units::count(nodes as u64, "node", "nodes"))),
    }
    if sources.lsd {
        places.push("the local network".to_owned());
    }
    match (sources.trackers as u64, sources.trackers_failed as u64) {
        (0, _) => {}
        (all, 0) => places.push(units::count(all, "tracker", "trackers")),
        (1, _) => places.push("1 tracker, which failed".to_owned()),
        (all, failed) if all == failed => places.push(format!("{all} trackers, which all failed")),
        (all, failed) => places.push(format!("{all} trackers, {failed} of them failed")),
    }
    places.extend(match (sources.known as u64, sources.connecting) {
        (0, _) => None,
        (known, _) => Some(units::count(known, "known address", "known addresses")),
    });
    if places.is_empty() {
        return "no peer to ask; waiting for peers that call".to_owned();
    }
    places.join(", ")
}

fn says<const N: usize>(words: [impl AsRef<str>; N]) -> Doing {
    Doing::Says(words.iter().map(|words| harmless(words.as_ref())).collect())
}
