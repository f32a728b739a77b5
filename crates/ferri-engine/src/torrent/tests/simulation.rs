//! Whole lives of torrents, mixed by a seed: every command, refusals, disks that fail, peers that stall, lie and hang up,
//! stops at any moment. The same seed makes the same choices.
//!
//! What must hold whatever comes: no panic; every command is answered; no state follows one that it cannot follow; what is
//! said to be here is right; once nothing fails any more a download gets done; a shutdown keeps its time and leaves no task.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ferri_metainfo::magnet::Magnet;
use ferri_metainfo::{FileIndex, Metainfo};
use ferri_storage::Data;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::task::JoinSet;

use super::puppet::{Puppet, Role, Then};
use super::scene::{
    Client, Fault, Faults, Faulty, PIECE, PIECES, ROOM, addr, count_panics, payload, tasks_alive,
};
use super::*;
use crate::events::EventsError;
use crate::peer::memory::Net;
use crate::{Check, ErrorReason, FilePriority, SessionLimits};

const SEEDS: u64 = 200;
/// Things that happen before everything is mended.
const STEPS: u64 = 40;
/// A command is answered at once; what waits for a disk or for trackers waits no longer than a shutdown.
const ANSWERED: Duration = Duration::from_secs(20);
/// With a seed that serves, and nothing that fails, a download of twelve pieces is done by then.
const DONE: Duration = Duration::from_secs(1800);
/// The address of the seed that nothing happens to.
const ANCHOR: u8 = 1;

/// SplitMix64: choices that depend on the seed alone.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Less than `below`.
    fn of(&mut self, below: u64) -> u64 {
        self.next() % below
    }

    /// Small as often as large: less than 2 to the power of `bits`.
    fn size(&mut self, bits: u64) -> u64 {
        let power = self.of(bits);
        self.of(1 << power)
    }

    fn is_one_in(&mut self, count: u64) -> bool {
        self.of(count) == 0
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.of(of.len() as u64)).unwrap()]
    }
}

/// A client, and how its torrent has been seen.
struct Life {
    client: Client,
    last: u8,
    events: Events,
    /// The state that was told last.
    state: Option<State>,
    seen: BTreeSet<&'static str>,
    /// What its torrent is told to be when it is added (again).
    is_link: bool,
}

struct World {
    chance: Chance,
    net: Arc<Net>,
    torrent: Arc<(Metainfo, Vec<u8>)>,
    anchor: Client,
    lives: Vec<Life>,
    puppets: JoinSet<()>,
    seen: BTreeSet<&'static str>,
    /// Addresses at which peers may be.
    addrs: Vec<SocketAddr>,
}

impl World {
    async fn new(seed: u64) -> Self {
        let mut chance = Chance(seed);
        let (net, torrent) = (Arc::new(Net::new(ROOM)), Arc::new(payload()));
        let (metainfo, data) = &*torrent;
        let store = MemoryStore::full(metainfo.info(), data);
        let add = AddTorrent::new(metainfo.clone(), "no folder");
        let anchor = Client::on(&net, ANCHOR, chance.next(), add, Arc::new(store.into())).await;
        let mut world = Self {
            chance,
            net,
            torrent: torrent.clone(),
            anchor,
            lives: Vec::new(),
            puppets: JoinSet::new(),
            seen: BTreeSet::new(),
            addrs: vec![addr(ANCHOR)],
        };
        for last in 2..4 + u8::try_from(world.chance.of(2)).unwrap() {
            let store = world.store();
            let is_link = world.chance.is_one_in(3);
            let life = world.begin(last, store, is_link).await;
            world.lives.push(life);
            world.addrs.push(addr(last));
        }
        for last in 20..20 + u8::try_from(world.chance.of(4)).unwrap() {
            world.add_puppet(last);
        }
        for last in [40, 41] {
            world.net.silence(addr(last));
        }
        // The last two are nowhere.
        world.addrs.extend([40, 41, 50, 51].map(addr));
        world
    }

    /// Empty, or with some of the pieces, which may be wrong.
    fn store(&mut self) -> Arc<Faulty> {
        let (metainfo, data) = &*self.torrent;
        let store = MemoryStore::new(metainfo.info());
        for piece in metainfo.info().layout().pieces().filter(|piece| piece.get() % 2 == 0) {
            if self.chance.is_one_in(4) {
                let length = metainfo.info().layout().piece_len(piece) as usize;
                let mut bytes = data[piece.as_usize() * PIECE..][..length].to_vec();
                // Everything is checked first.
                bytes[7] ^= u8::from(self.chance.is_one_in(3));
                store.put(piece, &[bytes.into()]).unwrap();
            }
        }
        Arc::new(store.into())
    }

    async fn begin(&mut self, last: u8, store: Arc<Faulty>, is_link: bool) -> Life {
        let add = self.order(is_link);
        let client = Client::on(&self.net, last, self.chance.next(), add, store).await;
        let events = client.torrent.events();
        Life { client, last, events, state: None, seen: BTreeSet::new(), is_link }
    }

    /// How a torrent is added.
    fn order(&mut self, is_link: bool) -> AddTorrent {
        let (metainfo, _) = &*self.torrent;
        let mut add = if is_link {
            AddTorrent::magnet(Magnet::new(metainfo.info().info_hashes()), "no folder")
        } else {
            AddTorrent::new(metainfo.clone(), "no folder")
        };
        add.check = Check::Full;
        add.paused = self.chance.is_one_in(5);
        add.sequential = self.chance.is_one_in(3);
        add
    }

    /// A peer at an address of its own, which stalls, hangs up or lies.
    fn add_puppet(&mut self, last: u8) {
        let puppet = Puppet {
            says: usize::try_from(self.chance.size(19)).unwrap(),
            then: self.chance.one(&[Then::Silence, Then::HangUp, Then::Deafness]),
            lies: self.chance.is_one_in(3),
            ..Puppet::new(&self.torrent, last)
        };
        let mut calls = self.net.listen(addr(last));
        self.addrs.push(addr(last));
        self.puppets.spawn(async move {
            let mut playing = JoinSet::new();
            while let Some(link) = calls.recv().await {
                playing.spawn(puppet.clone().play(link, Role::IsDialled));
            }
        });
    }

    /// Something happens, and some time passes.
    async fn step(&mut self) {
        let at = usize::try_from(self.chance.of(self.lives.len() as u64)).unwrap();
        match self.chance.of(10) {
            0..=5 => self.command(at).await,
            6 => self.disk(at),
            7 => self.meet(at).await,
            8 => self.calls(at).await,
            _ => self.ends(at).await,
        }
        tokio::time::sleep(Duration::from_millis(self.chance.size(15))).await;
        for life in &mut self.lives {
            life.look(&self.torrent.1).await;
        }
    }

    /// A torrent is told something, or asked.
    async fn command(&mut self, at: usize) {
        let (chance, life) = (&mut self.chance, &self.lives[at]);
        let (torrent, session) = (&life.client.torrent, &life.client.session);
        let rate = |chance: &mut Chance| {
            let rate = chance.one(&[1 << 14, 1 << 16, 1 << 20]);
            (!chance.is_one_in(3)).then_some(rate)
        };
        let priorities = [FilePriority::Skip, FilePriority::Low, FilePriority::Normal, FilePriority::High];
        match chance.of(18) {
            0 => drop(answered(torrent.pause()).await),
            1 | 2 => drop(answered(torrent.resume()).await),
            3 => {
                let count = chance.of(4);
                let wishes = (0..count).map(|_| chance.one(&priorities)).collect();
                let told = answered(torrent.set_priorities(wishes)).await;
                if 2 < count {
                    // Before it is known which files there are that may be noted.
                    assert!(torrent.info().is_none() || told.is_err(), "{count} priorities: {told:?}");
                }
            }
            4 => {
                let (down, up) = (rate(chance), rate(chance));
                drop(answered(torrent.set_limits(down, up)).await);
            }
            5 => drop(answered(torrent.fetch_in_order()).await),
            6 => drop(answered(torrent.fetch_rarest_first()).await),
            7 => assert!(answered(torrent.reannounce()).await.is_err(), "there is no tracker"),
            8 => {
                let count = chance.of(5);
                let peers = (0..count).map(|_| chance.one(&self.addrs)).collect();
                drop(answered(torrent.add_peers(peers)).await);
            }
            9 => drop(answered(torrent.peers()).await),
            10 => {
                let files = answered(torrent.files()).await;
                assert!(files.iter().all(|file| file.verified <= file.length), "{files:?}");
            }
            11 => assert!(answered(torrent.trackers()).await.is_empty()),
            12 => drop(answered(torrent.settings()).await),
            13 => {
                // It may wait for a disk that fails, or for its turn: a caller need not.
                drop(tokio::time::timeout(Duration::from_secs(chance.of(10)), torrent.recheck()).await);
            }
            14 => self.read(at).await,
            15 => {
                let limits = SessionLimits {
                    down: rate(chance),
                    up: rate(chance),
                    memory: chance.one(&[1 << 14, 1 << 17, 64 << 20]),
                    peers_max: chance.one(&[1, 4, 500]),
                    half_open_max: chance.one(&[1, 50]),
                    ..SessionLimits::default()
                };
                session.set_limits(limits).unwrap();
                let none = SessionLimits { peers_max: 0, ..SessionLimits::default() };
                assert!(session.set_limits(none).is_err());
            }
            16 => torrent.follow(),
            _ => {
                // It is there already.
                let add = AddTorrent::new(self.torrent.0.clone(), "no folder");
                let again = answered(session.add(add)).await;
                assert!(again.is_err() || torrent.status().state == State::Stopped || !life.is_there());
                if let Ok(again) = again {
                    answered(again.stop()).await.unwrap();
                }
            }
        }
    }

    /// What a reader gets is right, as far as it comes.
    async fn read(&mut self, at: usize) {
        let torrent = &self.lives[at].client.torrent;
        let file = self.chance.of(3);
        let opened = answered(torrent.reader(FileIndex(u32::try_from(file).unwrap()))).await;
        let Ok(mut reader) = opened else { return };
        assert!(file < 2, "the torrent has two files");
        let from = self.chance.of(reader.length());
        let mut bytes = vec![0; usize::try_from(self.chance.of(1 << 17)).unwrap()];
        let read = async {
            reader.seek(std::io::SeekFrom::Start(from)).await?;
            reader.read(&mut bytes).await
        };
        if let Ok(Ok(count)) = tokio::time::timeout(Duration::from_secs(self.chance.of(20)), read).await {
            let begin = usize::try_from(from).unwrap() + if file == 0 { 0 } else { 3 * PIECE + 5 };
            assert!(bytes[..count] == self.torrent.1[begin..][..count], "{count} bytes at {begin}");
        }
    }

    /// A disk begins to fail, fails otherwise, or is well again.
    fn disk(&mut self, at: usize) {
        let (chance, store) = (&mut self.chance, &self.lives[at].client.store);
        let fault = |chance: &mut Chance| {
            let fault = chance.one(&[Fault::Denied, Fault::Broken, Fault::ReadOnly, Fault::NoFiles]);
            chance.is_one_in(2).then_some(fault)
        };
        match chance.of(5) {
            0 => store.faults().put = fault(chance),
            1 => store.faults().read = fault(chance),
            2 => store.faults().sync = fault(chance),
            3 => store.set_room(chance.of(PIECES as u64 + 1) * PIECE as u64),
            _ => {
                let piece = u32::try_from(chance.of(PIECES as u64)).unwrap();
                store.faults().lost.insert(piece);
            }
        }
    }

    /// Two that know each other connect.
    async fn meet(&mut self, at: usize) {
        let life = &self.lives[at];
        let other = &self.lives[usize::try_from(self.chance.of(self.lives.len() as u64)).unwrap()];
        if self.chance.is_one_in(2) {
            self.anchor.meet(&life.client).await;
        } else if life.last != other.last {
            life.client.meet(&other.client).await;
        }
    }

    /// A strange peer dials.
    async fn calls(&mut self, at: usize) {
        let last = u8::try_from(60 + self.chance.of(100)).unwrap();
        let puppet = Puppet {
            says: usize::try_from(self.chance.size(19)).unwrap(),
            then: self.chance.one(&[Then::Silence, Then::HangUp, Then::Deafness]),
            lies: self.chance.is_one_in(2),
            ..Puppet::new(&self.torrent, last)
        };
        if let Ok(link) = self.net.dial(addr(last), self.lives[at].client.addr).await {
            self.puppets.spawn(puppet.play(link, Role::Dials));
        }
    }

    /// A torrent or its whole session ends, and begins again with the same store.
    async fn ends(&mut self, at: usize) {
        let is_whole = self.chance.is_one_in(2);
        let mut life = self.lives.swap_remove(at);
        let is_link = life.is_link;
        life.look(&self.torrent.1).await;
        let store = life.client.store.clone();
        self.seen.append(&mut life.seen);
        if is_whole {
            self.net.close(life.client.addr);
            life.client.shut_down().await;
        } else {
            let (session, torrent) = (life.client.session.clone(), life.client.torrent.clone());
            match self.chance.of(4) {
                0 => drop(answered(torrent.stop()).await),
                1 => drop(answered(session.remove(torrent.id())).await),
                2 => drop(answered(session.delete(&torrent, Data::Keep)).await),
                // In the middle of what it does.
                _ => torrent.begin_stop().await,
            }
            answered(torrent.wait_stopped()).await;
            life.look(&self.torrent.1).await;
            self.seen.append(&mut life.seen);
            assert!(matches!(torrent.status().state, State::Stopped), "{:?}", torrent.status());
            for refused in [
                answered(torrent.pause()).await,
                answered(torrent.set_limits(None, None)).await,
                answered(torrent.add_peers(vec![addr(ANCHOR)])).await,
            ] {
                assert_eq!(refused, Err(Refused::Stopped));
            }
            life.client.shut_down().await;
        }
        let life = self.begin(life.last, store, is_link).await;
        self.lives.push(life);
    }

    /// Nothing fails any more, and everything is wanted: all get done.
    async fn mend(&mut self) {
        for life in &self.lives {
            let Client { session, torrent, store, .. } = &life.client;
            *store.faults() = Faults::default();
            store.set_room(u64::MAX);
            session.set_limits(SessionLimits::default()).unwrap();
            answered(torrent.set_limits(None, None)).await.unwrap();
            // What is not known yet has all of its files.
            drop(answered(torrent.set_priorities(Vec::new())).await);
            answered(torrent.resume()).await.unwrap();
        }
        let until = tokio::time::Instant::now() + DONE;
        loop {
            for life in &mut self.lives {
                life.look(&self.torrent.1).await;
            }
            let left: Vec<_> = self.lives.iter().filter(|life| !life.is_done()).collect();
            if left.is_empty() {
                break;
            }
            for life in left {
                let status = life.client.torrent.status();
                assert!(tokio::time::Instant::now() < until, "{} never gets done: {status:?}", life.last);
                answered(life.client.torrent.add_peers(vec![addr(ANCHOR)])).await.unwrap();
            }
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
        for life in &self.lives {
            life.client.assert_holds(&self.torrent.1);
        }
    }

    /// What was seen of it all.
    async fn end(mut self) -> BTreeSet<&'static str> {
        while !self.lives.is_empty() {
            let at = usize::try_from(self.chance.of(self.lives.len() as u64)).unwrap();
            let mut life = self.lives.swap_remove(at);
            life.look(&self.torrent.1).await;
            self.seen.append(&mut life.seen);
            life.client.shut_down().await;
        }
        self.anchor.assert_holds(&self.torrent.1);
        self.anchor.shut_down().await;
        self.puppets.shutdown().await;
        assert_eq!(tasks_alive(), 0, "tasks are left");
        self.seen
    }
}

impl Life {
    fn is_there(&self) -> bool {
        !self.client.session.torrents().is_empty()
    }

    fn is_done(&self) -> bool {
        let status = self.client.torrent.status();
        status.is_done() && status.pieces_done as usize == PIECES
    }

    /// Its states are in an order that can be, and the pieces that it says are here are right.
    async fn look(&mut self, data: &[u8]) {
        loop {
            match self.events.try_recv() {
                Ok(Some(Event::StateChanged(state))) => {
                    let is_legal = self.state.as_ref().is_none_or(|before| may_follow(before, &state));
                    assert!(is_legal, "{:?} follows {:?}", state, self.state);
                    self.seen.insert(kind(&state));
                    self.state = Some(state);
                }
                Ok(Some(event)) => self.seen.extend(happened(&event)),
                Ok(None) | Err(EventsError::Ended) => break,
                Err(EventsError::Missed(_)) => self.state = None,
            }
        }
        let torrent = &self.client.torrent;
        self.seen.insert(kind(&torrent.status().state));
        let Ok(map) = answered(torrent.piece_map()).await else { return };
        let Some(info) = torrent.info() else { return };
        for piece in info.layout().pieces().filter(|piece| map.have.get(piece.get())) {
            self.client.assert_right(info, piece, data);
        }
    }
}

/// What the seeds together have to bring about.
const WANTED: [&str; 12] = [
    "resolving",
    "checking",
    "downloading",
    "seeding",
    "paused",
    "failed",
    "stopped",
    "wrong piece",
    "completed",
    "file",
    "said",
    "gone",
];

fn kind(state: &State) -> &'static str {
    match state {
        State::Resolving => "resolving",
        State::Checking { .. } => "checking",
        State::Downloading => "downloading",
        State::Seeding => "seeding",
        State::Paused => "paused",
        State::Error { .. } => "failed",
        State::Stopped => "stopped",
    }
}

fn happened(event: &Event) -> Option<&'static str> {
    match event {
        Event::PieceFailed { .. } => Some("wrong piece"),
        Event::Completed => Some("completed"),
        Event::FilesCompleted { .. } => Some("file"),
        Event::Said { .. } => Some("said"),
        Event::PeerDisconnected { .. } => Some("gone"),
        _ => None,
    }
}

fn may_follow(before: &State, after: &State) -> bool {
    match (before, after) {
        // Nothing comes after the end, and no fault of the program is in order.
        (State::Stopped, _) | (_, State::Error { reason: ErrorReason::Fault, .. }) => false,
        // What is known stays so; only a choice of files that came to nothing may be made again.
        (State::Downloading | State::Seeding, State::Resolving) => false,
        // What is done is checked again before it turns out to lack something, or it is told to want more.
        _ => true,
    }
}

/// An answer comes.
async fn answered<T>(asked: impl Future<Output = T>) -> T {
    tokio::time::timeout(ANSWERED, asked).await.expect("a command is not answered")
}

async fn run(seed: u64) -> BTreeSet<&'static str> {
    let mut world = World::new(seed).await;
    for _ in 0..STEPS {
        world.step().await;
    }
    world.mend().await;
    world.end().await
}

/// `FERRI_SEED=N` runs one seed alone, as a failure names it.
#[test]
fn lives_of_torrents_keep_their_promises_whatever_happens() {
    let one = std::env::var("FERRI_SEED").ok().map(|seed| seed.parse().unwrap());
    let seeds = one.map_or(0..SEEDS, |seed: u64| seed..seed + 1);
    let mut seen = BTreeSet::new();
    for seed in seeds {
        let panics = count_panics();
        let told = SeedOnPanic(seed);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        seen.append(&mut runtime.unwrap().block_on(run(seed)));
        assert_eq!(count_panics(), panics, "a task panicked");
        std::mem::forget(told);
    }
    let unseen: Vec<_> = WANTED.iter().filter(|wanted| !seen.contains(*wanted)).collect();
    assert!(one.is_some() || unseen.is_empty(), "the seeds never bring about {unseen:?}");
}

/// Says which seed failed.
struct SeedOnPanic(u64);

impl Drop for SeedOnPanic {
    #[expect(clippy::print_stderr, reason = "a failure names its seed")]
    fn drop(&mut self) {
        eprintln!("seed {}: FERRI_SEED={} runs it alone", self.0, self.0);
    }
}
