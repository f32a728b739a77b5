//! The DHT as callers hold it: a handle that asks by message.
//!
//! One task ([`driver`]) owns the node, a machine without I/O, and carries out what it says. A session has one and
//! announces its torrents with it; it can also be had alone.

mod announces;
mod driver;
mod news;
mod reach;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ferri_dht::{ContactKind, Input, Lookup};
use ferri_metainfo::InfoHash;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use ferri_dht::{
    BucketStatus, Family, FamilyStatus, Item, ItemError, ItemKey, NodeId, NodeStatus, Options, Outcome,
    Quality, SALT_MAX, Scrape, SigningKey, TableNodeStatus, VALUE_MAX,
};

use self::announces::{Announces, Purpose};
pub(crate) use self::driver::{Driver, Told, Ways};
use self::news::News;
use crate::egress::{Egress, once_usable};
use crate::trace_file::TraceFile;
use crate::udp::{BATCHES_MAX, Sockets};
use crate::{Error, SessionOptions};

/// Nodes that are known everywhere, for the first time and for when all saved ones are gone.
pub const ROUTERS: [&str; 4] = [
    "dht.libtorrent.org:25401",
    "dht.transmissionbt.com:6881",
    "router.bittorrent.com:6881",
    "router.utorrent.com:6881",
];

/// The file in a state folder that remembers nodes.
pub const STATE_FILE: &str = "dht.state";
/// Requests waiting for the node's task; a caller with a further one waits.
const COMMANDS_MAX: usize = 64;
/// Nodes named by a torrent that are tried.
const HOSTS_MAX: usize = 16;
/// Findings waiting for the caller that searches; a listener that sleeps misses further ones.
const FOUND_MAX: usize = 256;

/// How to run a node.
#[derive(Debug, Clone, Default)]
pub struct DhtOptions {
    /// The address to speak from; `None` is every address, both families.
    pub bind: Option<IpAddr>,
    /// The UDP port; `None` or 0 lets the system pick one.
    pub port: Option<u16>,
    /// Nodes to begin with, `host:port`, beside [`ROUTERS`].
    pub routers: Vec<String>,
    /// Where ids and nodes are kept from one run to the next; `None` forgets them.
    pub state: Option<PathBuf>,
    /// How the node behaves.
    pub node: Options,
}

/// A DHT node at work. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Dht {
    commands: mpsc::Sender<Command>,
    udp_port: u16,
    torrents: Arc<Torrents>,
}

/// The torrents to announce, which every task may change without waiting.
#[derive(Debug, Default)]
struct Torrents {
    announces: Mutex<Announces>,
    news: Mutex<News>,
    /// Something may be due sooner.
    changed: Notify,
    /// The TCP port told to others, 0 while there is none; it changes when a router maps it.
    port: AtomicU16,
    /// Good nodes in the tables, as of the last look.
    good: AtomicUsize,
}

impl Torrents {
    fn tell(&self, change: impl FnOnce(&mut News)) {
        change(&mut self.news.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_one();
    }

    fn take_news(&self) -> News {
        std::mem::take(&mut *self.news.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn announces(&self) -> MutexGuard<'_, Announces> {
        self.announces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a search found, as it comes.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// Peers of the torrent; any node may have claimed them.
    Peers(Vec<SocketAddr>),
    /// The item, or a newer version of it.
    Item(Item),
    /// Info hashes that a node knows (BEP 51).
    Samples {
        /// The node.
        from: SocketAddr,
        /// Some of what it knows.
        info_hashes: Vec<InfoHash>,
        /// How many it knows.
        total: u64,
    },
}

/// A search under way. Dropping it ends it.
#[derive(Debug)]
pub struct Search {
    found: mpsc::Receiver<Found>,
    outcome: oneshot::Receiver<Outcome>,
}

impl Search {
    /// The next finding; `None` when the search is over.
    pub async fn next(&mut self) -> Option<Found> {
        self.found.recv().await
    }

    /// Waits until it is over; findings that were not taken are dropped. `None` when the node stopped.
    pub async fn outcome(mut self) -> Option<Outcome> {
        while self.found.recv().await.is_some() {}
        self.outcome.await.ok()
    }
}

/// A session's node, if it is wanted.
pub(crate) async fn open(
    options: &SessionOptions,
    ways: Ways,
    trace: Option<Arc<TraceFile>>,
) -> Option<Driver> {
    if !options.dht {
        return None;
    }
    let node = DhtOptions {
        bind: options.bind,
        port: options.dht_port,
        routers: options.dht_routers.clone(),
        state: Some(options.state_dir.join(STATE_FILE)),
        node: Options::default(),
    };
    Some(Driver::new(node, ways, trace).await)
}

/// A node that runs by itself, without a session.
#[derive(Debug)]
pub struct DhtNode {
    dht: Dht,
    cancel: CancellationToken,
    tasks: TaskTracker,
}

impl DhtNode {
    /// Opens the sockets and begins to look for other nodes.
    ///
    /// # Errors
    /// [`Error::Listen`] when the address or port is not to be had.
    pub async fn start(options: DhtOptions) -> Result<Self, Error> {
        let egress = Arc::new(Egress::new(options.bind));
        let sockets = once_usable(|| Sockets::bind(&egress, options.port.unwrap_or(0))).await?;
        let (batches, datagrams) = mpsc::channel(BATCHES_MAX);
        let ways = Ways { egress, sockets: sockets.clone(), datagrams };
        let driver = Driver::new(options, ways, None).await;
        let (dht, tasks, cancel) = (driver.handle(), TaskTracker::new(), CancellationToken::new());
        tasks.spawn(cancel.clone().run_until_cancelled_owned(sockets.read(Some(batches))));
        // This node has no torrents' peers to tell others of: it announces none.
        tasks.spawn(driver.run(cancel.clone(), |_| {}));
        Ok(Self { dht, cancel, tasks })
    }

    /// To ask it something.
    #[must_use]
    pub fn dht(&self) -> &Dht {
        &self.dht
    }

    /// Saves what it knows and ends.
    pub async fn shutdown(self) {
        self.cancel.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// What the handle asks of the node's task.
#[derive(Debug)]
enum Command {
    Search {
        input: Wish,
        found: mpsc::Sender<Found>,
        outcome: oneshot::Sender<Outcome>,
    },
    Input(Input),
    Status(oneshot::Sender<NodeStatus>),
    Buckets(Family, oneshot::Sender<Vec<BucketStatus>>),
    /// Has the node's task panic.
    #[cfg(test)]
    Panic,
}

/// A search without its name.
#[derive(Debug)]
enum Wish {
    GetPeers(InfoHash),
    Announce { info_hash: InfoHash, port: u16, seed: bool },
    Scrape(InfoHash),
    Get(ItemKey),
    Put { item: Item, cas: Option<i64> },
    Sample(NodeId),
}

impl Wish {
    fn named(self, lookup: Lookup) -> Input {
        match self {
            Self::GetPeers(info_hash) => Input::GetPeers { lookup, info_hash },
            Self::Announce { info_hash, port, seed } => {
                Input::Announce { lookup, info_hash, port, implied_port: false, seed }
            }
            Self::Scrape(info_hash) => Input::Scrape { lookup, info_hash },
            Self::Get(key) => Input::Get { lookup, key, newer_than: None },
            Self::Put { item, cas } => Input::Put { lookup, item, cas },
            Self::Sample(target) => Input::Sample { lookup, target },
        }
    }
}

impl Dht {
    /// The UDP port it speaks from.
    #[must_use]
    pub fn udp_port(&self) -> u16 {
        self.udp_port
    }

    /// Nodes of both families that are good, half a second ago.
    #[must_use]
    pub fn good_nodes(&self) -> usize {
        self.torrents.good.load(Ordering::Relaxed)
    }

    /// Looks for peers of a torrent (BEP 5).
    pub async fn get_peers(&self, info_hash: InfoHash) -> Search {
        self.search(Wish::GetPeers(info_hash)).await
    }

    /// Tells the nodes closest to a torrent that its peer listens on this TCP port here, once. A session's torrents
    /// are announced without being asked.
    pub async fn announce(&self, info_hash: InfoHash, port: u16, seed: bool) -> Search {
        self.search(Wish::Announce { info_hash, port, seed }).await
    }

    /// Estimates the size of a swarm (BEP 33).
    pub async fn scrape(&self, info_hash: InfoHash) -> Search {
        self.search(Wish::Scrape(info_hash)).await
    }

    /// Looks for an item (BEP 44); of a mutable one, each newer version that is met is told.
    pub async fn get(&self, key: ItemKey) -> Search {
        self.search(Wish::Get(key)).await
    }

    /// Stores an item; with `cas` only in place of this sequence number.
    pub async fn put(&self, item: Item, cas: Option<i64>) -> Search {
        self.search(Wish::Put { item, cas }).await
    }

    /// Asks nodes on the way to `target` what they know (BEP 51).
    pub async fn sample(&self, target: NodeId) -> Search {
        self.search(Wish::Sample(target)).await
    }

    /// How the node stands; `None` when it stopped.
    pub async fn status(&self) -> Option<NodeStatus> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Status(reply)).await.ok()?;
        answer.await.ok()
    }

    /// The routing table of a family, the bucket farthest from us first.
    pub async fn buckets(&self, family: Family) -> Vec<BucketStatus> {
        let (reply, answer) = oneshot::channel();
        // A node that stopped has no table.
        let _ = self.commands.send(Command::Buckets(family, reply)).await;
        answer.await.unwrap_or_default()
    }

    /// Nodes may be at these addresses.
    pub async fn add_nodes(&self, addrs: Vec<SocketAddr>) {
        self.send(Command::Input(Input::Contacts { addrs, kind: ContactKind::Torrent })).await;
    }

    /// The same, with names that have to be resolved; the `nodes` of a torrent (BEP 5).
    pub(crate) fn add_hosts(&self, hosts: &[(String, u16)]) {
        let hosts = &hosts[..hosts.len().min(HOSTS_MAX)];
        if !hosts.is_empty() {
            self.torrents.tell(|news| news.hosts(hosts));
        }
    }

    /// Announces a torrent from here on, and has it told of the peers found. Never a private one (BEP 27).
    pub(crate) fn add(&self, info_hash: InfoHash, seed: bool) {
        self.add_for(info_hash, if seed { Purpose::Seed } else { Purpose::Leech });
    }

    /// Looks for the peers of a torrent of which more is not known, and does not say that we are one.
    pub(crate) fn find(&self, info_hash: InfoHash) {
        self.add_for(info_hash, Purpose::Find);
    }

    fn add_for(&self, info_hash: InfoHash, purpose: Purpose) {
        self.torrents.announces().add(info_hash, purpose, Instant::now());
        self.torrents.changed.notify_one();
    }

    pub(crate) fn remove(&self, info_hash: InfoHash) {
        self.torrents.announces().remove(info_hash);
        self.torrents.changed.notify_one();
    }

    /// A torrent became complete, or lacks something again.
    pub(crate) fn set_seed(&self, info_hash: InfoHash, seed: bool) {
        self.torrents.announces().set_purpose(info_hash, if seed { Purpose::Seed } else { Purpose::Leech });
    }

    /// A torrent has too few peers.
    pub(crate) fn want(&self, info_hash: InfoHash) {
        self.torrents.announces().want(info_hash, Instant::now());
        self.torrents.changed.notify_one();
    }

    /// A peer says that a node is there (BEP 5, PORT).
    pub(crate) fn hint(&self, addr: SocketAddr) {
        self.torrents.tell(|news| news.contact(addr));
    }

    /// We are on another network.
    pub(crate) fn moved(&self) {
        self.torrents.tell(|news| news.has_moved = true);
    }

    /// Others see us at this address.
    pub(crate) fn seen_as(&self, ip: IpAddr) {
        self.torrents.tell(|news| news.seen_as(ip));
    }

    /// From here on peers are told to come to this TCP port. Another one means that a router forwards it, or does not any more.
    pub(crate) fn set_port(&self, port: u16) {
        if self.torrents.port.swap(port, Ordering::Relaxed) != port {
            self.torrents.tell(|news| news.is_reach_new = true);
        }
    }

    async fn search(&self, input: Wish) -> Search {
        let (found, findings) = mpsc::channel(FOUND_MAX);
        let (outcome, end) = oneshot::channel();
        self.send(Command::Search { input, found, outcome }).await;
        Search { found: findings, outcome: end }
    }

    /// A node that stopped hears nothing more, and its searches end at once.
    async fn send(&self, command: Command) {
        let _ = self.commands.send(command).await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_node_that_panics_is_followed_by_another_one() {
        let options = DhtOptions {
            bind: Some([127, 0, 0, 1].into()),
            port: None,
            routers: Vec::new(),
            state: None,
            node: Options::default(),
        };
        let node = DhtNode::start(options).await.unwrap();
        let before = node.dht().status().await.unwrap();
        node.dht().send(Command::Panic).await;
        // Questions that were on their way are lost with it.
        let after = loop {
            if let Some(status) = node.dht().status().await {
                break status;
            }
        };
        assert_ne!(before.families[0].id, after.families[0].id);
        node.shutdown().await;
    }
}
