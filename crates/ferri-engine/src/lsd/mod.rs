//! Local service discovery ([BEP 14]): torrents are announced to the local networks, and who announces one of ours is a
//! peer of it.
//!
//! Private torrents are not here, for the code that adds a torrent says only those that may be known. Nothing is
//! answered: a peer that is found is dialled, or dials us when it hears us. `registry` decides what is said and which
//! neighbours are heard, `owed` remembers what did not leave, and `links` knows the interfaces.
//!
//! [BEP 14]: https://www.bittorrent.org/beps/bep_0014.html

mod links;
mod owed;
mod registry;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ferri_metainfo::{InfoHash, InfoHashes};
use ferri_wire::lsd::{Announce, PACKET_MAX, PORT};
use tokio::net::UdpSocket;
use tokio::sync::Notify;

use self::links::{Families, GROUPS, Link};
use self::owed::{Lane, Owed};
use self::registry::{For, Registry};
use crate::egress::Egress;
use crate::network::{LsdStatus, Network};
use crate::why_off::WhyOff;

/// Interfaces come and go; the longest time between two looks at them.
const LOOK_MAX: Duration = Duration::from_secs(60);
/// The first look after a change; each further one waits twice as long. What is just coming up is soon there: Linux says
/// so a second late.
const LOOK_MIN: Duration = Duration::from_secs(1);

/// What is announced on the local networks. With the switch off, or on loopback, nothing ever is.
#[derive(Debug)]
pub(crate) struct Lsd {
    /// Whether a task carries out what the registry says.
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

    /// Announces a torrent of the session by all of its names, now and from here on: who knows a hybrid by one of them looks
    /// for that one only. Never a private one (BEP 27).
    pub(crate) fn announce(&self, hashes: &InfoHashes) {
        if self.is_on {
            let (mut registry, now) = (self.registry(), Instant::now());
            hashes.names().for_each(|name| registry.announce(name, now));
            self.changed.notify_one();
        }
    }

    /// No longer announces a torrent of the session.
    pub(crate) fn forget(&self, hashes: &InfoHashes) {
        let mut registry = self.registry();
        hashes.names().for_each(|name| registry.forget(name));
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What local discovery knows of its session.
#[derive(Debug)]
pub(crate) struct Ours {
    pub(crate) lsd: Arc<Lsd>,
    pub(crate) network: Arc<Network>,
    pub(crate) listen_addr: SocketAddr,
    pub(crate) egress: Arc<Egress>,
}

/// A peer of a torrent of ours that announces it here.
#[derive(Debug)]
pub(crate) enum Neighbour {
    /// It did not before.
    New(InfoHash, SocketAddr),
    /// It did before.
    Known(InfoHash, SocketAddr),
}

/// Announces and listens, until it is dropped. `tell` hears of neighbours.
pub(crate) async fn run(ours: Ours, tell: impl Fn(Neighbour)) {
    let mut local = Local::default();
    let (mut look_at, mut pause) = (Instant::now(), LOOK_MIN);
    let mut paths = ours.network.paths();
    let mut buffers = [[0; PACKET_MAX + 1]; 2];
    let [buffer_v4, buffer_v6] = &mut buffers;
    loop {
        let now = Instant::now();
        if look_at <= now {
            pause = if local.look(&ours, now) { LOOK_MIN } else { LOOK_MAX.min(pause * 2) };
            look_at = now + pause;
        }
        local.announce_due(&ours, now);
        local.announce_owed(&ours, now);
        let due = ours.lsd.registry().poll_timeout().filter(|_| !local.links.is_empty());
        let wake = [due, local.owed.poll_timeout()].into_iter().flatten().fold(look_at, Instant::min);
        let [v4, v6] = &local.sockets;
        tokio::select! {
            biased;
            () = ours.lsd.changed.notified() => {}
            Ok(()) = paths.changed() => (look_at, pause) = (Instant::now(), LOOK_MIN),
            () = tokio::time::sleep_until(wake.into()) => {}
            (length, from) = receive(v4.as_ref(), buffer_v4) => local.heard(&ours, &buffer_v4[..length], from, &tell),
            (length, from) = receive(v6.as_ref(), buffer_v6) => local.heard(&ours, &buffer_v6[..length], from, &tell),
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
    /// What did not leave on some of them.
    owed: Owed,
}

impl Local {
    /// Joins the groups on all interfaces there are. Returns whether they are others than before, or others in part.
    fn look(&mut self, ours: &Ours, now: Instant) -> bool {
        let families = Families::of(ours.listen_addr);
        let found = links::links(families, ours.egress.source()).unwrap_or_else(|error| {
            tracing::debug!(%error, "the interfaces are not to be had");
            Vec::new()
        });
        let mut trouble = None;
        for (n, group) in GROUPS.into_iter().enumerate() {
            let is_wanted = if group.is_ipv4() { families.v4 } else { families.v6 };
            if is_wanted && self.sockets[n].is_none() {
                match ours.egress.group(SocketAddr::new(group, PORT)) {
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
        let is_changed = self.take(links, &mut ours.lsd.registry(), now);
        let status = match trouble {
            Some(error) if self.sockets.iter().all(Option::is_none) => {
                LsdStatus::Off { why: WhyOff::NoPort(error.to_string()) }
            }
            _ => LsdStatus::On { interfaces: self.links.iter().map(|link| link.name.clone()).collect() },
        };
        ours.network.update(|network| network.lsd = status);
        is_changed
    }

    /// These are the links from here on. What has not been said on a new one is said at once; where our address is another one,
    /// everything is said again.
    fn take(&mut self, links: Vec<Link>, registry: &mut Registry, now: Instant) -> bool {
        let is_changed = self.links != links;
        let before = std::mem::replace(&mut self.links, links);
        let is_moved = |link: &&Link| before.iter().any(|old| old.index == link.index && old != *link);
        if self.links.iter().any(|link| is_moved(&link)) {
            registry.announce_all(now);
        }
        let (known, lanes) = (lanes(&before), lanes(&self.links));
        for lane in lanes.iter().filter(|lane| !known.contains(lane)) {
            self.owed.missed(*lane, registry.announced(), now);
        }
        self.owed.keep(|lane| lanes.contains(&lane));
        is_changed
    }

    /// Says what is due, on every interface.
    fn announce_due(&mut self, ours: &Ours, now: Instant) {
        if self.links.is_empty() {
            return;
        }
        let mut registry = ours.lsd.registry();
        let due = registry.take_due(now);
        if due.is_empty() {
            return;
        }
        // Neighbours reach us without the gateway, at the port that is ours.
        let announce = registry.say(due, ours.listen_addr.port());
        drop(registry);
        for lane in lanes(&self.links) {
            self.say(lane, &announce, now);
        }
    }

    /// Says what did not leave before, where it did not.
    fn announce_owed(&mut self, ours: &Ours, now: Instant) {
        for (lane, batch) in self.owed.due(now) {
            let registry = ours.lsd.registry();
            let (wanted, gone): (Vec<_>, Vec<_>) =
                batch.into_iter().partition(|info_hash| registry.is_wanted(*info_hash));
            // What was forgotten meanwhile is not said any more.
            self.owed.sent(lane, &gone, now);
            if !wanted.is_empty() {
                let announce = registry.say(wanted, ours.listen_addr.port());
                drop(registry);
                self.say(lane, &announce, now);
            }
        }
    }

    /// Says something to one family on one link; what does not leave is owed.
    fn say(&mut self, lane: Lane, announce: &Announce, now: Instant) {
        let (socket, group) = (self.sockets.get(lane.group).and_then(Option::as_ref), GROUPS[lane.group]);
        let link = self.links.iter().find(|link| link.index == lane.link);
        let (Some(socket), Some(link)) = (socket, link) else { return self.owed.keep(|owed| owed != lane) };
        match links::send(socket, group, link, &announce.encode(group)) {
            Ok(()) => self.owed.sent(lane, &announce.info_hashes, now),
            Err(error) => {
                tracing::debug!(link = link.name, %group, %error, "an announce was not sent, and is repeated soon");
                self.owed.failed(lane, &announce.info_hashes, now);
            }
        }
    }

    fn heard(&self, ours: &Ours, datagram: &[u8], from: SocketAddr, tell: &impl Fn(Neighbour)) {
        if !links::is_near(&self.links, from.ip()) || !ours.lsd.registry().admit(from.ip(), Instant::now()) {
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
        let wanted = ours.lsd.registry().hear(&announce, peer, Instant::now());
        for one in wanted {
            match one {
                For::TorrentAnew(info_hash) => tell(Neighbour::New(info_hash, peer)),
                For::Torrent(info_hash) => tell(Neighbour::Known(info_hash, peer)),
            }
        }
    }
}

/// Everything that can be spoken to on these links.
fn lanes(links: &[Link]) -> Vec<Lane> {
    let on = |link: &Link| {
        let groups = GROUPS.iter().enumerate().filter(|(_, group)| link.has(**group));
        groups.map(|(group, _)| Lane { link: link.index, group }).collect::<Vec<_>>()
    };
    links.iter().flat_map(on).collect()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::Ipv4Addr;

    use super::*;

    const INFO_HASH: [u8; 20] = [7; 20];

    /// Something to say on loopback, from this address.
    fn local(v4: Ipv4Addr) -> (Local, Announce) {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let link = Link::of_test(1, v4);
        let sockets = [Some(UdpSocket::from_std(socket).unwrap()), None];
        let local = Local { sockets, links: vec![link], owed: Owed::default() };
        (local, Announce { port: 1, info_hashes: vec![INFO_HASH.into()], cookie: None })
    }

    #[test]
    fn a_hybrid_is_announced_and_forgotten_by_both_of_its_names() {
        let hashes = InfoHashes { v1: Some([9; 20].into()), v2: Some([7; 32].into()) };
        let both = [INFO_HASH.into(), [9; 20].into()];
        let due = |lsd: &Lsd| lsd.registry().take_due(Instant::now() + Duration::from_secs(600));
        let lsd = Lsd::new(true);
        lsd.announce(&hashes);
        assert_eq!(due(&lsd), both);
        lsd.forget(&hashes);
        assert!(both.iter().all(|name| !lsd.registry().is_wanted(*name)));
        let off = Lsd::new(false);
        off.announce(&hashes);
        assert!(due(&off).is_empty());
    }

    #[tokio::test]
    async fn an_address_that_is_not_usable_yet_costs_seconds_and_no_minutes() {
        let now = Instant::now();
        // TEST-NET-1, which is the address of no host.
        let (mut local, announce) = local([192, 0, 2, 1].into());
        let lane = Lane { link: 1, group: 0 };
        local.say(lane, &announce, now);
        assert_eq!(local.owed.poll_timeout(), Some(now + Duration::from_secs(1)));
        local.links = vec![Link::of_test(1, Ipv4Addr::LOCALHOST)];
        local.say(lane, &announce, now + Duration::from_secs(1));
        assert_eq!(local.owed.poll_timeout(), None);
    }

    #[tokio::test]
    async fn a_link_that_comes_up_is_told_at_once_and_one_that_goes_is_forgotten() {
        let now = Instant::now();
        let mut registry = Registry::new("ours".to_owned(), now);
        registry.announce(INFO_HASH.into(), now);
        let (mut local, announce) = local(Ipv4Addr::LOCALHOST);
        let first = local.links.clone();
        local.links.clear();
        assert!(local.take(first.clone(), &mut registry, now));
        assert_eq!(local.owed.poll_timeout(), None, "what was never said is due anyway");
        registry.take_due(now);
        let later = now + Duration::from_secs(3);
        let second = Link::of_test(2, [192, 0, 2, 1].into());
        assert!(local.take([first.clone(), vec![second]].concat(), &mut registry, later));
        assert_eq!(local.owed.due(later), [(Lane { link: 2, group: 0 }, vec![INFO_HASH.into()])]);
        local.say(Lane { link: 2, group: 0 }, &announce, later);
        assert!(local.owed.poll_timeout().is_some());
        assert!(local.take(first.clone(), &mut registry, later));
        assert_eq!(local.owed.poll_timeout(), None);
        assert!(!local.take(first, &mut registry, later));
    }
}
