//! Magnet links whose torrents are not known yet: what is waited for, in words, until they are.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ferri_engine::{Error, EventsError, ResolveMagnet, ResolveStatus, Resolved, Resolving, Session, Sources};
use ferri_metainfo::Metainfo;
use ferri_metainfo::magnet::Magnet;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

use crate::args::Network;
use crate::args::life::Patience;
use crate::console::Console;
use crate::env::{Env, Interrupts};
use crate::events::Event;
use crate::exit::{Exit, Failure};
use crate::progress::{Doing, Flow, View, looking, places};
use crate::talk::TrackerTalk;
use crate::text::harmless;
use crate::work::wait_for;
use crate::{network, session, units};

/// Links whose torrents are looked for. Those that are left when it is dropped are given up.
#[derive(Debug)]
pub(crate) struct Seekers {
    /// In the order in which they were typed.
    seekers: BTreeMap<usize, Seeker>,
    ends: JoinSet<(usize, Result<Resolved, Error>)>,
    streams: JoinSet<()>,
    events: (mpsc::Sender<Heard>, mpsc::Receiver<Heard>),
    /// Between two lines on an output that cannot be rewritten.
    every: Option<Duration>,
    /// What has told nothing new for so long is given up.
    patience: Option<Duration>,
    next_id: usize,
}

/// What happened to which link.
type Heard = (usize, ferri_engine::Event);

/// One of them, and what was already said about it.
#[derive(Debug)]
struct Seeker {
    magnet: Magnet,
    name: String,
    info_hash: String,
    status: watch::Receiver<ResolveStatus>,
    talk: TrackerTalk,
    since: Instant,
    told: String,
    told_at: Option<Instant>,
    /// When there was a part more of the description, and how many there were.
    moved: (Instant, u32),
    task: AbortHandle,
}

/// What was found of a link.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) magnet: Magnet,
    pub(crate) resolved: Resolved,
    /// What the trackers said so far.
    pub(crate) talk: TrackerTalk,
}

/// What happened to a link.
#[derive(Debug)]
pub(crate) enum News {
    Event(usize, ferri_engine::Event),
    End(usize, Result<Resolved, Error>),
}

impl News {
    /// Whose they are.
    pub(crate) fn id(&self) -> usize {
        match self {
            Self::Event(id, _) | Self::End(id, _) => *id,
        }
    }
}

/// Events of all links that wait to be told.
const EVENTS_MAX: usize = 256;
/// Words that changed are repeated on an output that cannot be rewritten after so long.
const PLAIN_EVERY: Duration = Duration::from_secs(10);
/// Between two JSON lines of a link.
const JSON_EVERY: Duration = Duration::from_secs(1);
/// Digits of the hash that stand for a torrent without a name.
const SHORT_HASH: usize = 12;

impl Seekers {
    /// `every`: how often a plain output is told; `patience`: for how long nothing may move.
    pub(crate) fn new(every: Option<Duration>, patience: Option<Duration>) -> Self {
        Self {
            seekers: BTreeMap::new(),
            ends: JoinSet::new(),
            streams: JoinSet::new(),
            events: mpsc::channel(EVENTS_MAX),
            every,
            patience,
            next_id: 0,
        }
    }

    pub(crate) fn every(&self) -> Option<Duration> {
        self.every
    }

    /// Waits for one more, says what it is, and gives the number by which its news are known.
    pub(crate) fn add(&mut self, magnet: Magnet, resolving: Resolving, console: &Console) -> usize {
        let id = self.next_id;
        self.next_id += 1;
        let info_hash = resolving.info_hash().to_string();
        let (mut events, status) = (resolving.events(), resolving.watch());
        let task = self.ends.spawn(async move { (id, resolving.wait().await) });
        let seeker = Seeker {
            moved: (Instant::now(), 0),
            task,
            name: magnet.display_name.clone().unwrap_or_else(|| format!("{}…", &info_hash[..SHORT_HASH])),
            info_hash,
            status,
            talk: TrackerTalk::default(),
            since: Instant::now(),
            told: String::new(),
            told_at: None,
            magnet,
        };
        seeker.introduce(console);
        self.seekers.insert(id, seeker);
        let to = self.events.0.clone();
        self.streams.spawn(async move {
            loop {
                match events.recv().await {
                    Ok(event) => {
                        if to.send((id, event)).await.is_err() {
                            return;
                        }
                    }
                    // What was missed shows in the next snapshot.
                    Err(EventsError::Missed(_)) => {}
                    Err(EventsError::Ended) => return,
                }
            }
        });
        id
    }

    /// Gives up those of which nothing was heard for too long.
    pub(crate) fn take_stalled(&mut self) -> Vec<usize> {
        let Some(patience) = self.patience else { return Vec::new() };
        let stalled = |seeker: &mut Seeker| {
            let parts = seeker.status.borrow().parts_had;
            if seeker.moved.1 < parts {
                seeker.moved = (Instant::now(), parts);
            }
            patience <= seeker.moved.0.elapsed()
        };
        let ids: Vec<usize> =
            self.seekers.iter_mut().filter_map(|(id, seeker)| stalled(seeker).then_some(*id)).collect();
        ids.iter().for_each(|id| self.give_up(*id));
        ids
    }

    /// Ends a search.
    pub(crate) fn give_up(&mut self, id: usize) {
        if let Some(seeker) = self.seekers.remove(&id) {
            seeker.task.abort();
        }
    }

    /// The next thing that happens, for [`Self::take`]. May be dropped while it waits.
    pub(crate) async fn next(&mut self) -> News {
        loop {
            tokio::select! {
                biased;
                Some((id, event)) = self.events.1.recv() => return News::Event(id, event),
                ended = self.ends.join_next(), if !self.ends.is_empty() => {
                    // Only a task of a session that is no more ends otherwise.
                    if let Some(Ok((id, end))) = ended {
                        return News::End(id, end);
                    }
                }
            }
        }
    }

    /// Tells what happened. What was found is the caller's.
    pub(crate) fn take(&mut self, news: News, console: &Console) -> Result<Option<Found>, Failure> {
        match news {
            News::Event(id, event) => {
                if let Some(seeker) = self.seekers.get_mut(&id) {
                    seeker.hear(&event, console);
                }
                Ok(None)
            }
            News::End(id, end) => {
                let Some(seeker) = self.seekers.remove(&id) else { return Ok(None) };
                let resolved = end.map_err(|error| session::failure(&error))?;
                seeker.tell_found(&resolved, console);
                Ok(Some(Found { magnet: seeker.magnet, resolved, talk: seeker.talk }))
            }
        }
    }

    /// Four times a second: says what is waited for, if that is due.
    pub(crate) fn tell(&mut self, console: &Console) {
        for seeker in self.seekers.values_mut() {
            seeker.tell(console, self.every);
        }
    }

    /// What is looked for.
    pub(crate) fn views(&self) -> impl Iterator<Item = View> {
        self.seekers.values().map(Seeker::view)
    }
}

impl Seeker {
    fn introduce(&self, console: &Console) {
        console.line(&format!("{}  magnet link", console.strong(&harmless(&self.name))));
        let hashes = self.magnet.info_hashes;
        if let Some(hash) = hashes.v1 {
            console.line(&format!("  info hash {hash}"));
        }
        if let Some(hash) = hashes.v2 {
            console.line(&format!("  info hash v2 {hash}"));
        }
    }

    fn hear(&mut self, event: &ferri_engine::Event, console: &Console) {
        if let ferri_engine::Event::Note(text) = event {
            console.event(&Event::Note { info_hash: &self.info_hash, message: text });
            return console.news(&self.name, text);
        }
        self.talk.hear(event, &self.info_hash, &self.name, console);
    }

    fn tell_found(&self, resolved: &Resolved, console: &Console) {
        let (took, from_state) = (self.since.elapsed(), resolved.is_from_state());
        let (info_hash, name) = (self.info_hash.as_str(), resolved.metainfo().info().name());
        console.event(&Event::Found { info_hash, name, seconds: took.as_secs_f64(), from_state });
        let how = if from_state {
            "its description is here from an earlier run".to_owned()
        } else {
            let size = units::size(resolved.metainfo().info_bytes().len() as u64);
            format!("found its description: {size} in {}", units::took(took))
        };
        console.news(&self.name, &how);
    }

    fn tell(&mut self, console: &Console, every: Option<Duration>) {
        if console.is_live() {
            return;
        }
        let status = self.status.borrow().clone();
        let words = words(&status);
        let default = if console.is_json() { JSON_EVERY } else { PLAIN_EVERY };
        let is_late = self.told_at.is_none_or(|at| every.unwrap_or(default) <= at.elapsed());
        let is_due = match (console.is_json(), every) {
            // Of those that wait in vain the same words need no second line, unless the user wants one.
            (false, None) => is_late && words != self.told,
            _ => is_late,
        };
        if !is_due {
            return;
        }
        self.told_at = Some(Instant::now());
        console.event(&Event::Searching {
            info_hash: &self.info_hash,
            name: status.name.as_deref(),
            message: &words,
            peers: status.peers,
            connecting: status.connecting,
            asked: status.asked,
            parts: status.parts_had,
            part_count: status.parts_total,
            trackers: status.trackers,
            trackers_failed: status.trackers_failed,
            seconds: self.since.elapsed().as_secs_f64(),
        });
        console.news(&self.name, &words);
        self.told = words;
    }

    fn view(&self) -> View {
        let status = self.status.borrow();
        View {
            name: harmless(&self.name),
            done: None,
            wanted: None,
            doing: Doing::Says(vec![few_words(&status).to_owned(), words(&status)]),
            flow: Flow { lasts: Some(self.since.elapsed()), ..Flow::default() },
        }
    }
}

/// Looks for the torrent of one link, in a session of its own. `None`: Ctrl-C.
pub(crate) async fn fetch(
    env: &Env,
    console: &Console,
    magnet: Magnet,
    network: &Network,
    patience: Patience,
    interrupts: &Interrupts,
) -> Result<Option<Metainfo>, Failure> {
    let Some(peers) = network::peers(network, console, interrupts).await else { return Ok(None) };
    let session = session::start(network::session_options(env, network)?).await?;
    let magnet = network::resolve(magnet, network, &peers);
    let found = fetch_in(&session, console, magnet, patience.stop_after_stalled, interrupts).await;
    session.shutdown().await;
    found
}

async fn fetch_in(
    session: &Session,
    console: &Console,
    magnet: ResolveMagnet,
    patience: Option<Duration>,
    interrupts: &Interrupts,
) -> Result<Option<Metainfo>, Failure> {
    let mut seekers = Seekers::new(None, patience);
    let resolving = session::resolve(session, magnet.clone()).await?;
    seekers.add(magnet.magnet, resolving, console);
    let live = console.live_area();
    let next = async |seekers: &mut Seekers| {
        let news = seekers.next().await;
        Ok(seekers.take(news, console)?.map(|found| found.resolved.metainfo().clone()))
    };
    let tell = |seekers: &mut Seekers| {
        console.look_at_output();
        seekers.tell(console);
        live.set(console.table(&seekers.views().collect::<Vec<_>>()));
        match seekers.take_stalled().is_empty() {
            true => Ok(()),
            false => Err(stalled("no peer told what the link stands for", patience)),
        }
    };
    wait_for(&mut seekers, next, tell, interrupts).await
}

/// How it ends when nothing has moved for as long as was allowed.
pub(crate) fn stalled(why: &str, patience: Option<Duration>) -> Failure {
    let patience = units::took(patience.unwrap_or_default());
    Failure::new(Exit::Stalled, format!("{why}; nothing moved for {patience}"))
        .hint("the same command goes on where it was")
}

/// What a search does, where there is little room.
fn few_words(status: &ResolveStatus) -> &'static str {
    match (status.parts_total, status.peers) {
        (0, 0) => "looking for peers",
        (0, _) => "asking peers",
        _ => "fetching",
    }
}

/// What a search waits for.
fn words(status: &ResolveStatus) -> String {
    let peers = |count: usize| units::count(count as u64, "peer", "peers");
    let mut words = if status.parts_total != 0 {
        let parts = format!("{} of {} parts", status.parts_had, status.parts_total);
        match status.asked {
            0 => format!("{parts} of the description are here; {} to ask again", peers(status.peers)),
            asked => format!("asking {} for the description, {parts}", peers(asked)),
        }
    } else if status.peers == 0 {
        looking(&sources(status))
    } else if status.without < status.peers {
        format!("{} connected; waiting to hear whether they have the description", peers(status.peers))
    } else {
        format!(
            "{} connected, none has the description; looking for others: {}",
            peers(status.peers),
            places(&sources(status))
        )
    };
    if status.corrupt != 0 {
        words.push_str(&format!(
            "; {} was wrong",
            units::count(status.corrupt.into(), "description", "descriptions")
        ));
    }
    words
}

/// Where addresses of peers come from.
fn sources(status: &ResolveStatus) -> Sources {
    Sources {
        dht_nodes: status.dht_nodes,
        lsd: status.lsd,
        trackers: status.trackers,
        trackers_failed: status.trackers_failed,
        // Connected ones are told of otherwise.
        known: status.candidates,
        connecting: status.connecting,
    }
}

#[cfg(test)]
mod tests {
    use ferri_engine::ResolveState;
    use ferri_metainfo::InfoHashes;

    use super::*;

    fn status() -> ResolveStatus {
        let info_hashes = InfoHashes { v1: Some([7; 20].into()), v2: None };
        ResolveStatus::new(info_hashes, None, ResolveState::Searching)
    }

    #[track_caller]
    fn check(status: &ResolveStatus, expected: &str) {
        assert_eq!(words(status), expected);
    }

    #[test]
    fn every_wait_has_its_words() {
        check(&status(), "looking for peers: nobody to ask; waiting for peers that call");
        let entering = ResolveStatus { dht_nodes: Some(0), lsd: true, ..status() };
        check(&entering, "looking for peers: entering the DHT, the local network");
        check(&ResolveStatus { dht_nodes: Some(12), ..status() }, "looking for peers: DHT with 12 nodes");
        let asking = ResolveStatus { trackers: 2, ..status() };
        check(&asking, "looking for peers: 2 trackers");
        check(
            &ResolveStatus { trackers_failed: 1, ..asking.clone() },
            "looking for peers: 2 trackers, 1 of them failed",
        );
        let dead = ResolveStatus { candidates: 1, ..status() };
        check(&dead, "looking for peers: 1 known address without an answer so far");
        let failed = ResolveStatus { trackers_failed: 2, ..asking.clone() };
        check(&failed, "looking for peers: 2 trackers, which all failed");
        let dialling = ResolveStatus { connecting: 4, candidates: 9, ..asking.clone() };
        check(&dialling, "connecting to 4 peers (2 trackers, 9 known addresses)");
        let connected = ResolveStatus { peers: 2, ..asking };
        check(&connected, "2 peers connected; waiting to hear whether they have the description");
        let without = ResolveStatus { without: 2, ..connected.clone() };
        check(&without, "2 peers connected, none has the description; looking for others: 2 trackers");
        let coming = ResolveStatus { asked: 3, parts_had: 2, parts_total: 5, peers: 4, ..connected };
        check(&coming, "asking 3 peers for the description, 2 of 5 parts");
        let again = ResolveStatus { asked: 0, corrupt: 1, ..coming };
        check(
            &again,
            "2 of 5 parts of the description are here; 4 peers to ask again; 1 description was wrong",
        );
    }
}
