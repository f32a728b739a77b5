//! From a magnet link to a torrent: the info dictionary is fetched from peers, or taken from the state folder where an
//! earlier run left it.
//!
//! A [`Resolving`] is a task like a torrent's (`search`), with a machine that knows peers but no pieces. What comes of it,
//! a [`Resolved`], is a whole [`Metainfo`] and a claim to everything the search has: connections, addresses and the talk
//! with the trackers go on in the torrent (`handover`), for a peer that dialled us may be out of reach for us.

mod cache;
mod discovery;
mod farewell;
mod handover;
mod search;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ferri_metainfo::magnet::{Magnet, PeerAddress};
use ferri_metainfo::{Info, InfoHash, InfoHashes, Metainfo};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use self::cache::Cached;
use crate::crew::Door;
use crate::egress::Egress;
use crate::events::{EventLog, Events};
use crate::registry::Entry;
use crate::services::Services;
use crate::{Error, Event, ResolveMagnet};

pub(crate) use self::handover::Estate;

/// A search for the info dictionary of a magnet link. Dropping it ends the search, and trackers are told.
#[derive(Debug)]
pub struct Resolving {
    info_hash: InfoHash,
    status: watch::Receiver<ResolveStatus>,
    events: EventLog,
    found: oneshot::Receiver<Result<Resolved, Error>>,
    /// Ends the search.
    stop: CancellationToken,
}

/// A torrent that was known by its hash only and now is known.
///
/// The search is over, but its connections stay, for [`Session::add_resolved`](crate::Session::add_resolved); dropping it
/// closes them and tells the trackers.
#[derive(Debug)]
pub struct Resolved {
    metainfo: Metainfo,
    /// Whom a person named; whoever takes over from the search knows them already.
    peers: Vec<PeerAddress>,
    from_state: bool,
    /// How to get what the search has; `None` when there was none.
    claim: Option<Claim>,
}

/// Asks a search for what it has.
#[derive(Debug)]
struct Claim {
    info_hash: InfoHash,
    ask: oneshot::Sender<oneshot::Sender<Box<Estate>>>,
}

/// What a search is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResolveState {
    /// Asking for the info dictionary, or for peers to ask.
    Searching,
    /// It has been found; [`Resolving::wait`] has it.
    Found,
    /// Over: cancelled, or its connections went over to the torrent.
    Ended,
}

/// A search at one moment.
#[derive(Debug, Clone)]
pub struct ResolveStatus {
    /// What it is doing.
    pub state: ResolveState,
    /// The hashes of the link.
    pub info_hashes: InfoHashes,
    /// The link's name for it, as given: sanitise before printing.
    pub name: Option<String>,
    /// Since the search began.
    pub elapsed: Duration,
    /// Connected peers.
    pub peers: usize,
    /// Connections being opened.
    pub connecting: usize,
    /// Addresses known.
    pub candidates: usize,
    /// Peers that have been asked for parts and have not answered yet.
    pub asked: usize,
    /// Connected peers that do not have the info dictionary or do not give it.
    pub without: usize,
    /// Parts of 16 KiB that are here, of the info dictionary that is nearest to completion.
    pub parts_had: u32,
    /// Its parts in all; 0 while no peer has told its size.
    pub parts_total: u32,
    /// Info dictionaries that were complete and had the wrong hash.
    pub corrupt: u32,
    /// Nodes that the DHT is asked through; `None` when it is off.
    pub dht_nodes: Option<usize>,
    /// Whether the local network is asked.
    pub lsd: bool,
    /// Trackers.
    pub trackers: usize,
    /// Of them, those whose last word was a failure.
    pub trackers_failed: usize,
}

impl ResolveStatus {
    /// Of a search in which nothing has happened yet.
    #[must_use]
    pub fn new(info_hashes: InfoHashes, name: Option<String>, state: ResolveState) -> Self {
        Self {
            state,
            info_hashes,
            name,
            elapsed: Duration::ZERO,
            peers: 0,
            connecting: 0,
            candidates: 0,
            asked: 0,
            without: 0,
            parts_had: 0,
            parts_total: 0,
            corrupt: 0,
            dht_nodes: None,
            lsd: false,
            trackers: 0,
            trackers_failed: 0,
        }
    }
}

impl Resolving {
    /// The hash by which peers know the torrent (BEP 3; for a link of version 2 alone the beginning of its hash).
    #[must_use]
    pub fn info_hash(&self) -> InfoHash {
        self.info_hash
    }

    /// How it stands, at most a quarter of a second old. Never waits.
    #[must_use]
    pub fn status(&self) -> ResolveStatus {
        self.status.borrow().clone()
    }

    /// A stream of snapshots: `changed().await` waits for the next one.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<ResolveStatus> {
        self.status.clone()
    }

    /// What happens: trackers' answers, peers that come and go. For the first caller from the beginning.
    #[must_use]
    pub fn events(&self) -> Events {
        self.events.subscribe()
    }

    /// Waits for the info dictionary. There is no deadline: peers may come at any time. Dropping the future ends the search.
    ///
    /// # Errors
    /// [`Error::Closed`] when the session shuts down first; [`Error::Fault`]; [`Error::BadInfo`] when what the hash stands for is no torrent
    /// that can be used.
    pub async fn wait(mut self) -> Result<Resolved, Error> {
        match (&mut self.found).await {
            Ok(found) => found,
            Err(_) if self.stop.is_cancelled() => Err(Error::Closed),
            Err(_) => Err(Error::Fault("the search for the torrent's description ended".to_owned())),
        }
    }

    /// Ends the search and waits until the trackers have been told, for at most five seconds.
    pub async fn cancel(self) {
        self.stop.cancel();
        let mut status = self.status.clone();
        // What was found meanwhile is dropped with it, and ends as well.
        drop(self);
        let _ = status.wait_for(|status| status.state == ResolveState::Ended).await;
    }
}

impl Resolved {
    /// The torrent: the info dictionary from the peers, trackers and web seeds of the link.
    #[must_use]
    pub fn metainfo(&self) -> &Metainfo {
        &self.metainfo
    }

    /// Whether an earlier run had left the info dictionary in the state folder, so that nobody was asked for it.
    #[must_use]
    pub fn is_from_state(&self) -> bool {
        self.from_state
    }

    /// What the search has, if that can be used for the torrent `info_hash`.
    pub(crate) async fn claim(&mut self, info_hash: InfoHash) -> Option<Box<Estate>> {
        // A hybrid that was sought by its version 2 hash: those connections speak of another swarm.
        let claim = self.claim.take_if(|claim| claim.info_hash == info_hash)?;
        let (give, estate) = oneshot::channel();
        claim.ask.send(give).ok()?;
        estate.await.ok()
    }

    /// Whether the torrent `info_hash` may be added though a search for it is registered: it is this one.
    pub(crate) fn is_search_for(&self, info_hash: InfoHash) -> bool {
        self.claim.as_ref().is_some_and(|claim| claim.info_hash == info_hash)
    }

    /// Whom a person named, for a torrent that starts anew.
    pub(crate) fn into_peers(self) -> Vec<PeerAddress> {
        self.peers
    }
}

/// Begins a search, or ends it at once with what an earlier one found. `enter` registers it.
pub(crate) async fn resolve(
    services: &Arc<Services>,
    resolve: ResolveMagnet,
    enter: impl FnOnce(Door) -> Result<Entry, Error>,
) -> Result<Resolving, Error> {
    let magnet = &resolve.magnet;
    let info_hash = magnet.info_hashes.wire();
    let about = |state| ResolveStatus::new(magnet.info_hashes, magnet.display_name.clone(), state);
    let (events, stop) = (EventLog::new(), services.shutdown.stop_accepting.child_token());
    let (give, found) = oneshot::channel();
    let (state_dir, wanted) = (services.options.state_dir.clone(), magnet.info_hashes);
    let cached = tokio::task::spawn_blocking(move || cache::read(&state_dir, &wanted));
    match cached.await? {
        Cached::Info(info) => {
            let resolved = Resolved {
                metainfo: metainfo(*info, &resolve.magnet),
                peers: peers(&resolve),
                from_state: true,
                claim: None,
            };
            // It is only now that somebody could listen.
            let _ = give.send(Ok(resolved));
            let (_, status) = watch::channel(about(ResolveState::Ended));
            return Ok(Resolving { info_hash, status, events, found, stop });
        }
        Cached::Nothing => {}
        Cached::Damaged(why) => events.send(Event::Note(why)),
    }
    let (status, snapshot) = watch::channel(about(ResolveState::Searching));
    let view = search::View { status, events: events.clone(), since: Instant::now() };
    search::start(services, resolve, view, give, stop.clone(), enter)?;
    Ok(Resolving { info_hash, status: snapshot, events, found, stop })
}

/// The torrent of a magnet link, if an earlier run left its info dictionary in `state_dir`. Asks nobody; waits for the disk.
#[must_use]
pub fn known_torrent(state_dir: &Path, magnet: &Magnet) -> Option<Metainfo> {
    cache::peek(state_dir, &magnet.info_hashes).map(|info| metainfo(info, magnet))
}

/// The link's part of a torrent. A link has no tiers: each tracker is one of its own.
fn metainfo(info: Info, magnet: &Magnet) -> Metainfo {
    let tiers = magnet.trackers.iter().map(|url| vec![url.clone()]).collect();
    Metainfo::from_info(info, tiers, magnet.web_seeds.clone())
}

/// Whom a person named.
fn peers(resolve: &ResolveMagnet) -> Vec<PeerAddress> {
    let typed = resolve.peers.iter().copied().map(PeerAddress::Socket);
    resolve.magnet.peers.iter().cloned().chain(typed).collect()
}

/// The addresses of a host that a magnet link names; none when nobody knows it.
pub(crate) async fn look_up(egress: &Egress, name: &str, port: u16) -> Vec<SocketAddr> {
    match egress.look_up(name, port, None).await {
        Ok(addrs) => addrs.into_iter().take(ADDRESSES_MAX).collect(),
        Err(error) => {
            tracing::debug!(name, %error, "a peer of the magnet link has no address");
            Vec::new()
        }
    }
}

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;
