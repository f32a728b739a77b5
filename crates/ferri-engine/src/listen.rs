//! Accepting peers: a bounded number of strangers in the handshake, the oldest silent one making room.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ferri_metainfo::InfoHash;
use ferri_swarm::Network;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

use crate::session::Shared;
use crate::torrent::{Arrival, Torrent};
use crate::{handshake, resolve};

/// Strangers in the handshake at once. The oldest is cut off when another comes.
const PENDING_MAX: usize = 1024;
/// Of them, from one network.
const PENDING_PER_NETWORK: usize = 32;

/// Accepts until it is dropped.
pub(crate) async fn run(listener: TcpListener, shared: Arc<Shared>) {
    let mut strangers = Strangers::default();
    loop {
        tokio::select! {
            biased;
            Some(ended) = strangers.tasks.join_next_with_id() => {
                let id = match &ended {
                    Ok((id, ())) => *id,
                    Err(error) => error.id(),
                };
                strangers.forget(id);
            }
            accepted = listener.accept() => match accepted {
                Ok((stream, addr)) => {
                    let addr = canonical(addr);
                    strangers.admit(Network::of(addr.ip()), welcome(stream, addr, shared.clone()));
                }
                Err(error) => {
                    // Out of descriptors, most likely: connections that end make room.
                    tracing::warn!(%error, "cannot accept peers for a moment");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
}

/// IPv4 as itself, however the listener heard it. Other addresses keep their scope: one on the link is nowhere without.
fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::new(ip.into(), addr.port()),
        IpAddr::V6(_) => addr,
    }
}

async fn welcome(mut stream: TcpStream, addr: SocketAddr, shared: Arc<Shared>) {
    let find = |info_hash: &InfoHash| {
        // A hybrid has two names; whoever calls it by the second hears that one.
        let torrent = shared.torrent(*info_hash).map(Host::Torrent);
        let host = torrent.or_else(|| shared.search(*info_hash).map(Host::Search))?;
        let is_private = matches!(&host, Host::Torrent(torrent) if torrent.info().is_private());
        let ours =
            if is_private { shared.private_handshake(*info_hash) } else { shared.handshake(*info_hash) };
        Some((host, ours))
    };
    match handshake::accept(&mut stream, find).await {
        Ok((host, handshake)) => host.arrive(Arrival::Accepted { stream, addr, handshake }).await,
        Err(error) => tracing::debug!(%addr, %error, "no peer came of an incoming connection"),
    }
}

/// Whom a dialer means.
enum Host {
    Torrent(Torrent),
    Search(resolve::Door),
}

impl Host {
    async fn arrive(&self, arrival: Arrival) {
        match self {
            Self::Torrent(torrent) => torrent.arrive(arrival).await,
            // It may have ended since.
            Self::Search(search) => drop(search.arrivals.send(arrival).await),
        }
    }
}

/// Connections whose handshake is under way, oldest first.
#[derive(Default)]
struct Strangers {
    tasks: JoinSet<()>,
    order: VecDeque<(tokio::task::Id, Network, AbortHandle)>,
    of: BTreeMap<Network, usize>,
}

impl Strangers {
    fn admit(&mut self, network: Network, task: impl Future<Output = ()> + Send + 'static) {
        if PENDING_PER_NETWORK <= self.of.get(&network).copied().unwrap_or(0) {
            self.cut(|(_, other, _)| *other == network);
        } else if PENDING_MAX <= self.order.len() {
            self.cut(|_| true);
        }
        let handle = self.tasks.spawn(task);
        self.order.push_back((handle.id(), network, handle));
        *self.of.entry(network).or_default() += 1;
    }

    /// Ends the oldest that matches.
    fn cut(&mut self, matches: impl Fn(&(tokio::task::Id, Network, AbortHandle)) -> bool) {
        if let Some((id, _, handle)) = self.order.iter().find(|entry| matches(entry)) {
            handle.abort();
            let id = *id;
            self.forget(id);
        }
    }

    fn forget(&mut self, id: tokio::task::Id) {
        let Some(at) = self.order.iter().position(|(other, _, _)| *other == id) else { return };
        if let Some((_, network, _)) = self.order.remove(at)
            && let Some(count) = self.of.get_mut(&network)
        {
            *count -= 1;
            if *count == 0 {
                self.of.remove(&network);
            }
        }
    }
}
