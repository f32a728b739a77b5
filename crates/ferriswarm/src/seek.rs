//! Magnet links whose torrents are not known yet: what is waited for, in words, until they are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ferri_engine::{
    AddTorrent, Error, Events, EventsError, Resolving, Session, Torrent, TorrentStatus, Watch,
};
use ferri_metainfo::magnet::Magnet;
use ferri_metainfo::{Info, Metainfo};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use crate::args::Network;
use crate::args::life::Patience;
use crate::console::Console;
use crate::env::{Env, Interrupts};
use crate::events::JsonEvent;
use crate::exit::{Exit, Failure};
use crate::progress::{Doing, Flow, View, looking, places};
use crate::session::Hearing;
use crate::talk::TrackerTalk;
use crate::text::harmless;
use crate::work::wait_for;
use crate::{network, session, units};

/// Links whose torrents are looked for. Those that are left when it is dropped are given up.
#[derive(Debug)]
pub(crate) struct Seekers {
    /// In the order in which they were typed.
    seekers: BTreeMap<usize, Seeker>,
    ends: JoinSet<(usize, Result<Arc<Info>, Error>)>,
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
    torrent: Torrent,
    from_state: bool,
    name: String,
    info_hash: String,
    status: Watch<TorrentStatus>,
    talk: TrackerTalk,
    since: Instant,
    told: String,
    told_at: Option<Instant>,
    /// When there was a part more of the description, and how many there were.
    moved: (Instant, u32),
    /// Those that wait for its end and for its events.
    tasks: [AbortHandle; 2],
}

/// What was found of a link.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) magnet: Magnet,
    /// It waits for what becomes of it.
    pub(crate) torrent: Torrent,
    pub(crate) info: Arc<Info>,
    /// What the trackers said so far.
    pub(crate) talk: TrackerTalk,
}

/// What happened to a link.
#[derive(Debug)]
pub(crate) enum News {
    Event(usize, ferri_engine::Event),
    End(usize, Result<Arc<Info>, Error>),
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
    pub(crate) fn add(
        &mut self,
        magnet: Magnet,
        (torrent, mut events): (Torrent, Events),
        console: &Console,
    ) -> usize {
        let id = self.next_id;
        self.next_id += 1;
        let info_hash = torrent.info_hashes().wire().to_string();
        let waiting = torrent.clone();
        let task = self.ends.spawn(async move { (id, waiting.resolved().await) });
        let to = self.events.0.clone();
        let stream = self.streams.spawn(async move {
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
        let seeker = Seeker {
            moved: (Instant::now(), 0),
            tasks: [task, stream],
            name: magnet.display_name.clone().unwrap_or_else(|| format!("{}…", &info_hash[..SHORT_HASH])),
            info_hash,
            status: torrent.watch(),
            // No peer had to be asked.
            from_state: torrent.info().is_some(),
            torrent,
            talk: TrackerTalk::default(),
            since: Instant::now(),
            told: String::new(),
            told_at: None,
            magnet,
        };
        seeker.introduce(console);
        self.seekers.insert(id, seeker);
        id
    }

    /// Gives up those of which nothing was heard for too long.
    pub(crate) fn take_stalled(&mut self) -> Vec<usize> {
        let Some(patience) = self.patience else { return Vec::new() };
        let stalled = |seeker: &mut Seeker| {
            let parts = seeker.status.get().resolving.unwrap_or_default().parts_had;
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
            seeker.tasks.iter().for_each(AbortHandle::abort);
            // Trackers are told; one that ended by itself is as good.
            self.streams.spawn(async move { drop(seeker.torrent.stop().await) });
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
                // Its events are heard anew from here on.
                seeker.tasks[1].abort();
                let info = end.map_err(|error| session::failure(&error))?;
                seeker.tell_found(&info, console);
                Ok(Some(Found { magnet: seeker.magnet, torrent: seeker.torrent, info, talk: seeker.talk }))
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
        if let ferri_engine::Event::Note(note) = event {
            let text = note.to_string();
            console.event(&JsonEvent::Note { info_hash: &self.info_hash, message: &text });
            return console.news(&self.name, &text);
        }
        self.talk.hear(event, &self.info_hash, &self.name, console);
    }

    fn tell_found(&self, info: &Info, console: &Console) {
        let (took, from_state) = (self.since.elapsed(), self.from_state);
        let (info_hash, name) = (self.info_hash.as_str(), info.name());
        console.event(&JsonEvent::Found { info_hash, name, seconds: took.as_secs_f64(), from_state });
        let how = if from_state {
            "its description is here from an earlier run".to_owned()
        } else {
            let size = units::size(info.bytes().len() as u64);
            format!("found its description: {size} in {}", units::took(took))
        };
        console.news(&self.name, &how);
    }

    fn tell(&mut self, console: &Console, every: Option<Duration>) {
        if console.is_live() {
            return;
        }
        let status = self.status.get();
        let resolving = status.resolving.as_deref().copied().unwrap_or_default();
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
        console.event(&JsonEvent::Searching {
            info_hash: &self.info_hash,
            name: self.magnet.display_name.as_deref(),
            message: &words,
            peers: status.peers,
            connecting: resolving.sources.connecting,
            asked: resolving.asked,
            parts: resolving.parts_had,
            part_count: resolving.parts_total,
            trackers: resolving.sources.trackers,
            trackers_failed: resolving.sources.trackers_failed,
            seconds: self.since.elapsed().as_secs_f64(),
        });
        console.news(&self.name, &words);
        self.told = words;
    }

    fn view(&self) -> View {
        let status = self.status.get();
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
    let add = network::on_hold(magnet.clone(), network, &peers);
    let found = fetch_in(&session, console, (magnet, add), patience.stop_after_stalled, interrupts).await;
    session.shutdown().await;
    found
}

async fn fetch_in(
    session: &Arc<Session>,
    console: &Console,
    (magnet, add): (Magnet, AddTorrent),
    patience: Option<Duration>,
    interrupts: &Interrupts,
) -> Result<Option<Metainfo>, Failure> {
    let mut seekers = Seekers::new(None, patience);
    let added = session::add(session, add, Hearing::Events).await?;
    seekers.add(magnet, added, console);
    let live = console.live_area();
    let next = async |seekers: &mut Seekers| {
        let news = seekers.next().await;
        Ok(seekers.take(news, console)?.map(|found| found.magnet.metainfo(found.info)))
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
fn few_words(status: &TorrentStatus) -> &'static str {
    match (status.resolving.as_deref().copied().unwrap_or_default().parts_total, status.peers) {
        (0, 0) => "looking for peers",
        (0, _) => "asking peers",
        _ => "fetching",
    }
}

/// What a search waits for.
fn words(status: &TorrentStatus) -> String {
    say(status.peers, &status.resolving.as_deref().copied().unwrap_or_default())
}

fn say(connected: usize, resolving: &Resolving) -> String {
    let peers = |count: usize| units::count(count as u64, "peer", "peers");
    let mut words = if resolving.parts_total != 0 {
        let parts = format!("{} of {} parts", resolving.parts_had, resolving.parts_total);
        match resolving.asked {
            0 => format!("{parts} of the description are here; {} to ask again", peers(connected)),
            asked => format!("asking {} for the description, {parts}", peers(asked)),
        }
    } else if connected == 0 {
        looking(&resolving.sources)
    } else if resolving.without < connected {
        format!("{} connected; waiting to hear whether they have the description", peers(connected))
    } else {
        format!(
            "{} connected, none has the description; looking for others: {}",
            peers(connected),
            places(&resolving.sources)
        )
    };
    if resolving.corrupt != 0 {
        words.push_str(&format!(
            "; {} was wrong",
            units::count(resolving.corrupt.into(), "description", "descriptions")
        ));
    }
    words
}

#[cfg(test)]
mod tests {
    use ferri_engine::Sources;

    use super::*;

    #[track_caller]
    fn check(connected: usize, resolving: Resolving, expected: &str) {
        assert_eq!(say(connected, &resolving), expected);
    }

    fn from(sources: Sources) -> Resolving {
        Resolving { sources, ..Resolving::default() }
    }

    #[test]
    fn every_wait_has_its_words() {
        let nobody = Sources::default();
        check(0, from(nobody), "looking for peers: no peer to ask; waiting for peers that call");
        let entering = Sources { dht_nodes: Some(0), lsd: true, ..nobody };
        check(0, from(entering), "looking for peers: entering the DHT, the local network");
        let dht = Sources { dht_nodes: Some(12), ..nobody };
        check(0, from(dht), "looking for peers: DHT with 12 nodes");
        let asking = Sources { trackers: 2, ..nobody };
        check(0, from(asking), "looking for peers: 2 trackers");
        let failing = Sources { trackers_failed: 1, ..asking };
        check(0, from(failing), "looking for peers: 2 trackers, 1 of them failed");
        let dead = Sources { known: 1, ..nobody };
        check(0, from(dead), "looking for peers: 1 known address without an answer so far");
        let failed = Sources { trackers_failed: 2, ..asking };
        check(0, from(failed), "looking for peers: 2 trackers, which all failed");
        let dialling = Sources { connecting: 4, known: 9, ..asking };
        check(0, from(dialling), "connecting to 4 peers (2 trackers, 9 known addresses)");
        let connected = from(asking);
        check(2, connected, "2 peers connected; waiting to hear whether they have the description");
        let without = Resolving { without: 2, ..connected };
        check(2, without, "2 peers connected, none has the description; looking for others: 2 trackers");
        let coming = Resolving { asked: 3, parts_had: 2, parts_total: 5, ..connected };
        check(4, coming, "asking 3 peers for the description, 2 of 5 parts");
        let again = Resolving { asked: 0, corrupt: 1, ..coming };
        let words = "2 of 5 parts of the description are here; 4 peers to ask again; 1 description was wrong";
        check(4, again, words);
    }
}
