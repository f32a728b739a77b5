//! Many sources in one command: each is loaded, started when it is its turn, watched to its goal, and has an end of its
//! own. What becomes of one is nothing to the others.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsString;
use std::sync::Arc;

use ferri_engine::{Events, Session, Torrent};
use ferri_metainfo::Metainfo;
use ferri_metainfo::magnet::Magnet;
use tokio::task::JoinSet;

use super::plan::{Measured, Plan};
use super::summary::Summary;
use crate::console::Console;
use crate::ends::{self, End, Outcome};
use crate::env::{Env, Interrupts};
use crate::events::JsonEvent;
use crate::exit::{Exit, Failure};
use crate::hook::Hooks;
use crate::loading::{Load, Loads};
use crate::seek::{Found, News, Seekers};
use crate::session::Hearing;
use crate::source::Source;
use crate::space::Room;
use crate::watch::{Crew, Watched};
use crate::work::looks;
use crate::{session, units};

/// Sources that are loaded at once.
const LOADS_MAX: usize = 4;
/// Sources that are loaded and wait for their turn: each is as large as its torrent file.
const READY_MAX: usize = 64;

/// What is loaded and waits for its turn.
#[derive(Debug)]
enum Ready {
    Torrent(Box<Metainfo>),
    Magnet(Box<Magnet>),
    Found(Box<Found>),
}

/// What a start gave.
enum Started {
    Torrent { watched: Box<Watched>, missing: u64, room: Option<Room> },
    Seeking { magnet: Box<Magnet>, added: (Torrent, Events) },
}

/// What each torrent still lacks when it starts, by the file system that it goes to.
#[derive(Debug)]
struct Need {
    device: u64,
    missing: u64,
    had: u64,
}

/// All of them.
pub(super) struct Batch<'a> {
    plan: Arc<Plan>,
    load: Load<Source>,
    env: &'a mut Env,
    console: &'a Console,
    interrupts: &'a Interrupts,
    orders: Vec<End>,
    unloaded: VecDeque<usize>,
    loads: Loads<Source>,
    ready: BTreeMap<usize, Ready>,
    session: Option<Arc<Session>>,
    starts: JoinSet<(usize, Result<Started, Failure>)>,
    starting: usize,
    /// Which of those are links whose search begins.
    linked: BTreeSet<usize>,
    seekers: Seekers,
    /// Which order a search is for.
    sought: BTreeMap<usize, usize>,
    crew: Crew,
    /// Which order a torrent of the crew is for.
    order_of: Vec<usize>,
    needs: BTreeMap<usize, Need>,
    hooks: Hooks,
    stops: JoinSet<()>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(
        plan: Plan,
        sources: Vec<OsString>,
        load: Load<Source>,
        env: &'a mut Env,
        console: &'a Console,
        interrupts: &'a Interrupts,
    ) -> Result<Self, Failure> {
        let hooks = Hooks::new(env, plan.on_done.as_deref())?;
        let orders: Vec<End> = sources.into_iter().map(End::new).collect();
        Ok(Self {
            load,
            env,
            console,
            interrupts,
            unloaded: (0..orders.len()).collect(),
            orders,
            loads: Loads::new(),
            ready: BTreeMap::new(),
            session: None,
            starts: JoinSet::new(),
            starting: 0,
            linked: BTreeSet::new(),
            seekers: Seekers::new(plan.report.progress, plan.patience),
            sought: BTreeMap::new(),
            crew: Crew::new(console),
            order_of: Vec::new(),
            needs: BTreeMap::new(),
            hooks,
            stops: JoinSet::new(),
            plan: Arc::new(plan),
        })
    }

    /// Runs all of it to its end: whatever happens, torrents are stopped, data is synced and trackers are told.
    pub(super) async fn run(mut self) -> Result<Exit, Failure> {
        let worked = self.work().await;
        let is_interrupted = matches!(worked, Ok(Ended::Interrupted));
        if let Some(session) = self.session.take() {
            if is_interrupted {
                self.console.line(
                    "stopping: telling the trackers, writing what is verified (Ctrl-C again ends at once)",
                );
            }
            self.starts.abort_all();
            session.shutdown().await;
        }
        self.hooks.finish(self.console, self.interrupts, u32::from(is_interrupted)).await;
        worked?;
        for index in 0..self.orders.len() {
            if self.orders[index].outcome.is_none() {
                let trouble = self.crew_of(index).and_then(|at| self.crew.torrents()[at].trouble());
                self.orders[index].outcome = Some(Outcome::Stopped(trouble.unwrap_or(Exit::Interrupted)));
            }
        }
        let summary = Summary { ends: self.orders, is_interrupted, goal: self.plan.goal };
        summary.tell(self.env, self.console, self.crew.torrents())
    }

    async fn work(&mut self) -> Result<Ended, Failure> {
        let mut ticks = looks();
        loop {
            self.load_some();
            if !self.start_some().await? {
                return Ok(Ended::Interrupted);
            }
            if self.is_over() {
                return Ok(Ended::Reached);
            }
            tokio::select! {
                biased;
                () = self.interrupts.pressed(1) => return Ok(Ended::Interrupted),
                heard = self.crew.next() => self.crew.hear(heard, &mut (), self.console),
                news = self.seekers.next() => self.sought(news),
                (index, loaded) = self.loads.next() => self.loaded(index, loaded),
                Some(started) = self.starts.join_next(), if !self.starts.is_empty() => self.started(started)?,
                ended = self.hooks.next(), if !self.hooks.is_idle() => self.hooks.ended(ended, self.console),
                Some(_) = self.stops.join_next(), if !self.stops.is_empty() => {}
                _ = ticks.tick() => self.tick(),
            }
            self.look_for_ends();
        }
    }

    fn is_over(&self) -> bool {
        self.orders.iter().all(|order| order.outcome.is_some())
    }

    fn load_some(&mut self) {
        while self.loads.len() < LOADS_MAX && self.loads.len() + self.ready.len() < READY_MAX {
            let Some(index) = self.unloaded.pop_front() else { return };
            self.loads.start(index, self.env, self.orders[index].source.clone(), self.load.clone());
        }
    }

    fn loaded(&mut self, index: usize, loaded: Result<Source, Failure>) {
        let source = match loaded {
            Ok(source) => source,
            Err(failure) => return self.end(index, Outcome::Failed(failure)),
        };
        source.warn(&self.orders[index].source, self.console);
        let (hashes, ready) = match source {
            Source::Torrent(metainfo) => (metainfo.info().info_hashes(), Ready::Torrent(metainfo)),
            Source::Magnet(magnet) => (magnet.info_hashes, Ready::Magnet(magnet)),
        };
        self.orders[index].hashes = Some(hashes);
        let twins = self.twins_of(index);
        let Some((&first, others)) = twins.split_first() else {
            self.ready.insert(index, ready);
            return;
        };
        // A hybrid has two names, and links to both are known to be one torrent by the torrent alone.
        for &other in others {
            if let (Ready::Torrent(_), Some(Ready::Magnet(_))) = (&ready, self.ready.get(&other)) {
                self.ready.remove(&other);
                self.same(other, first);
            }
        }
        // No peer needs to be asked for what is here.
        if let (Ready::Torrent(_), Some(place @ Ready::Magnet(_))) = (&ready, self.ready.get_mut(&first)) {
            *place = ready;
            self.orders[first].hashes = Some(hashes);
        }
        self.same(index, first);
    }

    /// The other orders for the torrent of this one.
    fn twins_of(&self, index: usize) -> Vec<usize> {
        let Some(hashes) = self.orders[index].hashes else { return Vec::new() };
        let same = |order: &End| order.hashes.is_some_and(|other| ends::is_same(&hashes, &other));
        (0..self.orders.len()).filter(|other| *other != index && same(&self.orders[*other])).collect()
    }

    /// An order turned out to be for the torrent of another one.
    fn same(&mut self, index: usize, twin: usize) {
        let (this, first) = (self.name_of(index), self.name_of(twin));
        let message = format!("{this} is the same torrent as {first}: it is one download");
        let info_hash = self.orders[index].hashes.map(|hashes| hashes.wire().to_string()).unwrap_or_default();
        self.console.event(&JsonEvent::Note { info_hash: &info_hash, message: &message });
        self.console.line(&message);
        self.end(index, Outcome::SameAs(twin));
    }

    /// What a link stands for is known by more names than the link's, and other links may be for it. `false`: it is here already.
    fn is_first(&mut self, index: usize, found: &Found) -> bool {
        self.orders[index].hashes = Some(found.info.info_hashes());
        let mut twins = self.twins_of(index);
        twins.retain(|twin| self.orders[*twin].outcome.is_none());
        for twin in twins {
            let id = self.sought.iter().find(|(_, order)| **order == twin).map(|(id, _)| *id);
            if let Some(id) = id {
                self.sought.remove(&id);
                self.seekers.give_up(id);
            } else if let Some(Ready::Magnet(_)) = self.ready.get(&twin) {
                self.ready.remove(&twin);
            } else if !self.linked.contains(&twin) {
                self.same(index, twin);
                return false;
            }
            self.same(twin, index);
        }
        true
    }

    /// Starts what there is room for. `false`: Ctrl-C.
    async fn start_some(&mut self) -> Result<bool, Failure> {
        // What is on this machine is looked at first: it may be what a link stands for.
        let is_early = self.ready.len() < READY_MAX && self.loads.has_near();
        while !is_early && self.at_work() < self.plan.at_once {
            let Some((index, ready)) = self.ready.pop_first() else { break };
            let session = match &self.session {
                Some(session) => session.clone(),
                None => {
                    let options = self.plan.session.clone();
                    let session = tokio::select! {
                        biased;
                        () = self.interrupts.pressed(1) => return Ok(false),
                        session = session::start(options) => session?,
                    };
                    self.session = Some(session.clone());
                    session
                }
            };
            if matches!(ready, Ready::Magnet(_)) {
                self.linked.insert(index);
            }
            let plan = self.plan.clone();
            self.starting += 1;
            self.starts.spawn(async move { (index, start(&plan, session, ready).await) });
        }
        Ok(true)
    }

    /// Those that hold a place of `--at-once`.
    fn at_work(&self) -> usize {
        let downloading =
            self.crew.torrents().iter().filter(|watched| !watched.has_ended() && !watched.is_complete());
        self.starting + self.sought.len() + downloading.count()
    }

    fn started(
        &mut self,
        started: Result<(usize, Result<Started, Failure>), tokio::task::JoinError>,
    ) -> Result<(), Failure> {
        self.starting -= 1;
        let (index, started) = started.map_err(|error| {
            Failure::new(Exit::Internal, format!("a torrent could not be started: {error}"))
        })?;
        self.linked.remove(&index);
        match started {
            // Another link was for the same torrent and has found it meanwhile.
            _ if self.orders[index].outcome.is_some() => {}
            Err(failure) => self.end(index, Outcome::Failed(failure)),
            // The loop hears of it too.
            Ok(Started::Seeking { magnet, added }) => {
                let id = self.seekers.add(*magnet, added, self.console);
                self.sought.insert(id, index);
            }
            Ok(Started::Torrent { watched, missing, room }) => {
                watched.introduce(self.console);
                if let Some(room) = room {
                    self.compare(index, &watched, missing, &room);
                }
                self.order_of.push(index);
                self.crew.add(*watched, index);
            }
        }
        Ok(())
    }

    /// Warns when what all torrents of a file system lack is more than it has room for.
    fn compare(&mut self, index: usize, watched: &Watched, missing: u64, room: &Room) {
        self.needs.insert(index, Need { device: room.device, missing, had: watched.status().wanted_done });
        let mut need = 0;
        for (order, lacks) in self.needs.iter().filter(|(_, lacks)| lacks.device == room.device) {
            let came = self
                .crew_of(*order)
                .map_or(0, |at| self.crew.torrents()[at].status().wanted_done.saturating_sub(lacks.had));
            need += lacks.missing.saturating_sub(came);
        }
        if missing == 0 || need <= room.free {
            return;
        }
        let who = if missing == need { "needs" } else { "and the other downloads need" };
        let message = format!(
            "{} {who} {} on the file system of {}, which has {} free; a download waits when the disk is full",
            watched.name(),
            units::size(need),
            room.folder.display(),
            units::size(room.free),
        );
        self.console.event(&JsonEvent::Note { info_hash: watched.info_hash(), message: &message });
        self.console.warn(&message);
    }

    fn sought(&mut self, news: News) {
        let id = news.id();
        let taken = self.seekers.take(news, self.console);
        let Some(&index) = self.sought.get(&id) else { return };
        match taken {
            Ok(None) => {}
            Ok(Some(found)) => {
                self.sought.remove(&id);
                if !self.is_first(index, &found) {
                    return;
                }
                // It goes on in the place that it holds.
                self.starting += 1;
                let Some(session) = self.session.clone() else { return };
                let plan = self.plan.clone();
                let ready = Ready::Found(Box::new(found));
                self.starts.spawn(async move { (index, start(&plan, session, ready).await) });
            }
            Err(failure) => {
                self.sought.remove(&id);
                self.end(index, Outcome::Failed(failure));
            }
        }
    }

    fn tick(&mut self) {
        self.console.look_at_output();
        self.loads.tell(self.console);
        self.seekers.tell(self.console);
        for id in self.seekers.take_stalled() {
            if let Some(index) = self.sought.remove(&id) {
                let message = "no peer told what the link stands for";
                self.end(index, Outcome::Failed(self.plan.stalled(message)));
            }
        }
        self.crew.tick(&self.seekers, &self.loads, self.console);
    }

    /// Torrents that are complete, have reached their goal, or cannot.
    fn look_for_ends(&mut self) {
        for at in 0..self.order_of.len() {
            let index = self.order_of[at];
            let source = self.orders[index].source.to_string_lossy().into_owned();
            let patience = self.plan.patience;
            let watched = &mut self.crew.torrents_mut()[at];
            if watched.has_ended() {
                continue;
            }
            if let Some(done) = watched.take_done(&source) {
                self.hooks.tell(done);
            }
            let outcome = if let Some(failure) = watched.take_failure() {
                Outcome::Failed(failure)
            } else if watched.has_reached_its_goal() {
                Outcome::Done
            } else if patience.is_some_and(|patience| watched.has_stalled(patience)) {
                let failure = self.plan.stalled(&watched.why_stalled());
                let exit = watched.trouble().unwrap_or(failure.exit);
                Outcome::Failed(Failure { exit, ..failure })
            } else {
                continue;
            };
            watched.end();
            let torrent = watched.torrent().clone();
            // Trackers are told; one that ended by itself is as good.
            self.stops.spawn(async move { drop(torrent.stop().await) });
            self.end(index, outcome);
        }
    }

    fn end(&mut self, index: usize, outcome: Outcome) {
        if let (Outcome::Failed(failure), true) = (&outcome, 1 < self.orders.len()) {
            let source = self.name_of(index);
            self.console.failure_of(&source, failure);
        }
        self.orders[index].outcome = Some(outcome);
    }

    fn crew_of(&self, index: usize) -> Option<usize> {
        self.order_of.iter().position(|order| *order == index)
    }

    /// A source as it was typed, without what only its tracker may know.
    fn name_of(&self, index: usize) -> String {
        ends::short_name(&self.orders[index].source)
    }
}

/// Why the work ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Reached,
    Interrupted,
}

async fn start(plan: &Plan, session: Arc<Session>, ready: Ready) -> Result<Started, Failure> {
    let (metainfo, found) = match ready {
        Ready::Magnet(magnet) => {
            let added = session::add(&session, plan.on_hold(&magnet), Hearing::Events).await?;
            return Ok(Started::Seeking { magnet, added });
        }
        Ready::Torrent(metainfo) => (*metainfo, None),
        Ready::Found(found) => (found.magnet.metainfo(found.info.clone()), Some(*found)),
    };
    let magnet = found.as_ref().map(|found| &found.magnet);
    let add = plan.add(metainfo.clone(), magnet)?;
    let Measured { add, lies, missing, room } = plan.measure(add, &metainfo).await?;
    let watched = plan.start(&session, &metainfo, (add, lies), found).await?;
    Ok(Started::Torrent { watched: Box::new(watched), missing, room })
}
