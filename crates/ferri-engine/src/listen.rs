//! Accepting peers: a bounded number of strangers in the handshake, the oldest silent one making room.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ferri_swarm::Network;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

use crate::handshake::{self, Arrival, Reception};
use crate::peer::link::Link;

/// Strangers in the handshake at once. The oldest is cut off when another comes.
const PENDING_MAX: usize = 1024;
/// Of them, from one network.
const PENDING_PER_NETWORK: usize = 32;

/// The torrent that a dialer means.
pub(crate) trait Host: Send + 'static {
    /// Takes over a connection that is for it.
    fn arrive(self, arrival: Arrival) -> impl Future<Output = ()> + Send;
}

/// Accepts until it is dropped.
pub(crate) async fn run<R: Reception<Torrent: Host>>(listener: Arc<TcpListener>, reception: R) {
    let mut strangers = Strangers::default();
    loop {
        tokio::select! {
            biased;
            Some(ended) = strangers.tasks.join_next_with_id() => {
                let id = match &ended {
                    Ok((id, ())) => *id,
                    Err(error) => {
                        if error.is_panic() {
                            tracing::error!(%error, "the handshake of a stranger failed by a fault of ours");
                        }
                        error.id()
                    }
                };
                strangers.forget(id);
            }
            accepted = listener.accept() => match accepted {
                Ok((stream, addr)) => {
                    let addr = canonical(addr);
                    strangers.admit(Network::of(addr.ip()), welcome(stream, addr, reception.clone()));
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

async fn welcome<R: Reception<Torrent: Host>>(stream: TcpStream, addr: SocketAddr, reception: R) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%addr, %error, "no peer came of an incoming connection");
        return;
    }
    let mut link = Link::tcp(stream, addr);
    match handshake::accept(&mut link, &reception).await {
        Ok((host, handshake)) => host.arrive(Arrival::Accepted { link, handshake }).await,
        Err(error) => tracing::debug!(%addr, %error, "no peer came of an incoming connection"),
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
