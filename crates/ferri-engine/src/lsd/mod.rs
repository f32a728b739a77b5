//! Local service discovery ([BEP 14]): torrents are announced to the local networks, and who announces one of ours is a
//! peer of it.
//!
//! Private torrents are not here, for whoever adds a torrent says only those that may be known. Nothing is answered: a
//! peer that is found is dialled, or dials us when it hears us. `registry` decides what is said and who is heard, `links`
//! knows the interfaces.
//!
//! [BEP 14]: https://www.bittorrent.org/beps/bep_0014.html

mod links;
mod registry;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ferri_metainfo::InfoHash;
use ferri_swarm::Source;
use ferri_wire::lsd::{Announce, PACKET_MAX};
use tokio::net::UdpSocket;
use tokio::sync::{Notify, mpsc};

use self::links::{Families, GROUPS, Link};
use self::registry::{For, Registry};
use crate::network::LsdStatus;
use crate::session::Shared;

/// Interfaces come and go; between two looks at them.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);

/// What is announced on the local networks. With the switch off, or on loopback, nothing ever is.
#[derive(Debug)]
pub(crate) struct Lsd {
    /// Whether anybody carries out what the registry says.
    is_on: bool,
    registry: Mutex<Registry>,
    /// Something may be due sooner.
    changed: Notify,
}

impl Lsd {
    /// `is_on`: whether [`run`] will be run.
    pub(crate) fn new(is_on: bool) -> Self {
        let cookie = format!("{:016x}", rand::random::<u64>());
        Self { is_on, registry: Mutex::new(Registry::new(cookie, Instant::now())), changed: Notify::new() }
    }

    /// Whether the local networks hear of anything.
    pub(crate) fn is_on(&self) -> bool {
        self.is_on
    }

    /// Announces a torrent of the session, now and from here on. Never a private one (BEP 27).
    pub(crate) fn announce(&self, info_hash: InfoHash) {
        if self.is_on {
            self.registry().announce(info_hash, Instant::now());
            self.changed.notify_one();
        }
    }

    /// No longer announces a torrent of the session.
    pub(crate) fn forget(&self, info_hash: InfoHash) {
        self.registry().forget(info_hash);
    }

    /// Announces an info hash whose torrent is not known yet, and receives the peers that have it. Ends when the
    /// receiver is dropped. For v2 the info hash is the truncated one.
    pub(crate) fn listen(&self, info_hash: InfoHash) -> mpsc::Receiver<SocketAddr> {
        if !self.is_on {
            // Nobody sends: it has ended.
            return mpsc::channel(1).1;
        }
        let found = self.registry().listen(info_hash, Instant::now());
        self.changed.notify_one();
        found
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Announces and listens, until it is dropped.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut local = Local::default();
    let mut look_at = Instant::now();
    let mut paths = shared.network.paths();
    let mut buffers = [[0; PACKET_MAX + 1]; 2];
    let [buffer_v4, buffer_v6] = &mut buffers;
    loop {
        let now = Instant::now();
        if look_at <= now {
            look_at = now + LOOK_INTERVAL;
            if local.look(&shared) {
                shared.lsd.registry().announce_all(now);
            }
        }
        local.announce_due(&shared, now);
        let due = shared.lsd.registry().poll_timeout().filter(|_| !local.links.is_empty());
        let wake = due.map_or(look_at, |due| due.min(look_at));
        let [v4, v6] = &local.sockets;
        tokio::select! {
            biased;
            () = shared.lsd.changed.notified() => {}
            Ok(()) = paths.changed() => look_at = Instant::now(),
            () = tokio::time::sleep_until(wake.into()) => {}
            (length, from) = receive(v4.as_ref(), buffer_v4) => local.heard(&shared, &buffer_v4[..length], from),
            (length, from) = receive(v6.as_ref(), buffer_v6) => local.heard(&shared, &buffer_v6[..length], from),
        }
    }
}

/// A datagram of one family. What went wrong with a socket shows when it is looked at next.
async fn receive(socket: Option<&UdpSocket>, buffer: &mut [u8]) -> (usize, SocketAddr) {
    let Some(socket) = socket else { return std::future::pending().await };
    match socket.recv_from(buffer).await {
        Ok(received) => received,
        Err(error) => {
            tracing::debug!(%error, "local service discovery cannot receive");
            std::future::pending().await
        }
    }
}

/// The local networks as they are.
#[derive(Debug, Default)]
struct Local {
    /// In the order of [`GROUPS`].
    sockets: [Option<UdpSocket>; 2],
    /// Where at least one group is joined.
    links: Vec<Link>,
}

impl Local {
    /// Joins the groups on all interfaces there are. Returns whether there is a new one.
    fn look(&mut self, shared: &Shared) -> bool {
        let families = Families::of(shared.listen_addr);
        let found = links::links(families, shared.options.bind).unwrap_or_else(|error| {
            tracing::debug!(%error, "the interfaces are not to be had");
            Vec::new()
        });
        let mut trouble = None;
        for (n, group) in GROUPS.into_iter().enumerate() {
            let is_wanted = if group.is_ipv4() { families.v4 } else { families.v6 };
            if is_wanted && self.sockets[n].is_none() {
                match links::open(group) {
                    Ok(socket) => self.sockets[n] = Some(socket),
                    Err(error) => trouble = Some(error),
                }
            }
        }
        let joined = |link: &Link| {
            let each = self.sockets.iter().zip(GROUPS).map(|(socket, group)| {
                socket.as_ref().is_some_and(|socket| links::join(socket, group, link))
            });
            // Both families are tried.
            each.fold(false, |any, joined| any | joined)
        };
        let links: Vec<Link> = found.into_iter().filter(joined).collect();
        let is_new = links.iter().any(|link| !self.links.contains(link));
        self.links = links;
        let status = match trouble {
            Some(error) if self.sockets.iter().all(Option::is_none) => {
                LsdStatus::Off { why: format!("its port is not to be had: {error}") }
            }
            _ => LsdStatus::On { interfaces: self.links.iter().map(|link| link.name.clone()).collect() },
        };
        shared.network.update(|network| network.lsd = status);
        is_new
    }

    /// Says what is due, on every interface.
    fn announce_due(&self, shared: &Shared, now: Instant) {
        if self.links.is_empty() {
            return;
        }
        let mut registry = shared.lsd.registry();
        let due = registry.take_due(now);
        if due.is_empty() {
            return;
        }
        // Neighbours reach us without the gateway, at the port that is ours.
        let announce = registry.say(due, shared.listen_addr.port());
        drop(registry);
        for (socket, group) in self.sockets.iter().zip(GROUPS) {
            let Some(socket) = socket else { continue };
            let datagram = announce.encode(group);
            for link in &self.links {
                if let Err(error) = links::send(socket, group, link, &datagram) {
                    tracing::debug!(link = link.name, %error, "an announce was not sent");
                }
            }
        }
    }

    fn heard(&self, shared: &Shared, datagram: &[u8], from: SocketAddr) {
        if !links::is_near(&self.links, from.ip()) || !shared.lsd.registry().admit(from.ip(), Instant::now())
        {
            return;
        }
        let announce = match Announce::decode(datagram) {
            Ok(announce) => announce,
            Err(error) => {
                tracing::debug!(%from, %error, "no announce");
                return;
            }
        };
        let mut peer = from;
        // The scope of an address on the link stays: without it there is no way there.
        peer.set_port(announce.port);
        let wanted = shared.lsd.registry().hear(&announce, peer, Instant::now());
        let torrent = |info_hash| shared.torrents().get(&info_hash).cloned();
        for one in wanted {
            match one {
                // A torrent that lacks nothing tries a newcomer, who heard our last announce hardly ever, and once: if
                // it lacks nothing either, they need not meet again.
                For::TorrentAnew(info_hash) => {
                    if let Some(torrent) = torrent(info_hash) {
                        torrent.bring_peers(Source::Lsd, vec![peer]);
                    }
                }
                For::Torrent(info_hash) => {
                    if let Some(torrent) = torrent(info_hash) {
                        torrent.offer_peers(Source::Lsd, vec![peer]);
                    }
                }
                // A listener that has too many peers already needs no more.
                For::Listener(found) => drop(found.try_send(peer)),
            }
        }
    }
}
