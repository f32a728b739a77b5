//! How the session stands with the network around it: which address and port the world knows it by, and what was done
//! about that. Each part that finds something out says so here; torrents hear what concerns them, callers look.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::SessionOptions;
use crate::clock;
use crate::egress::Egress;
use crate::external::{Voter, Votes};
use crate::port_mapping::PortMappingStatus;
use crate::route::{self, Paths};
use crate::why_off::WhyOff;

/// Between two looks at the routing table.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// How a session stands with the network around it. Its `Display` of parts is for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkStatus {
    /// The TCP port that the session listens on.
    pub listen_port: u16,
    /// The TCP port that the gateway forwards to it, when it does; trackers, peers and the DHT are told this one.
    pub external_port: Option<u16>,
    /// The session's IPv4 address as the world sees it, when enough others agree on one.
    pub external_v4: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub external_v6: Option<Ipv6Addr>,
    /// Whether peers are looked for on the local network.
    pub lsd: LsdStatus,
    /// What became of the ports at the gateway.
    pub port_mapping: PortMappingStatus,
}

impl NetworkStatus {
    /// The port at which peers from outside reach the session, as far as it knows.
    #[must_use]
    pub fn announced_port(&self) -> u16 {
        self.external_port.unwrap_or(self.listen_port)
    }
}

/// Whether peers are looked for on the local network (BEP 14).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LsdStatus {
    /// They are not.
    Off {
        /// Why.
        why: WhyOff,
    },
    /// They are, on these interfaces; on none while no network is there.
    On {
        /// The names of the interfaces, in the system's order.
        interfaces: Vec<String>,
    },
}

impl fmt::Display for LsdStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off { why } => write!(f, "off: {why}"),
            Self::On { interfaces } if interfaces.is_empty() => {
                f.write_str("on, but there is no local network")
            }
            Self::On { interfaces } => write!(f, "on {}", interfaces.join(", ")),
        }
    }
}

/// What torrents need to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts {
    /// To be announced.
    pub(crate) port: u16,
    /// As the world sees us.
    pub(crate) v4: Option<Ipv4Addr>,
    /// As the world sees us.
    pub(crate) v6: Option<Ipv6Addr>,
}

/// What the session knows of the network.
#[derive(Debug)]
pub(crate) struct Network {
    votes: Mutex<Votes>,
    status: watch::Sender<NetworkStatus>,
    /// `None` until they were looked for.
    paths: watch::Sender<Option<Paths>>,
}

impl Network {
    pub(crate) fn new(options: &SessionOptions, listen_port: u16) -> Self {
        let status = NetworkStatus {
            listen_port,
            external_port: None,
            external_v4: None,
            external_v6: None,
            lsd: LsdStatus::Off { why: WhyOff::NotYet },
            port_mapping: PortMappingStatus::Off { why: WhyOff::NotYet },
        };
        Self {
            votes: Mutex::new(Votes::new(options.bind)),
            status: watch::Sender::new(status),
            paths: watch::Sender::new(None),
        }
    }

    /// A source outside says what our address is. Cheap, and never waits.
    pub(crate) fn seen_as(&self, voter: Voter, ip: IpAddr) {
        let mut votes = self.votes();
        if votes.vote(voter, ip, clock::now()) {
            let (v4, v6) = (votes.v4(), votes.v6());
            self.update(|status| (status.external_v4, status.external_v6) = (v4, v6));
        }
    }

    pub(crate) fn facts(&self) -> Facts {
        let status = self.status.borrow();
        Facts { port: status.announced_port(), v4: status.external_v4, v6: status.external_v6 }
    }

    pub(crate) fn status(&self) -> NetworkStatus {
        self.status.borrow().clone()
    }

    pub(crate) fn watch(&self) -> watch::Receiver<NetworkStatus> {
        self.status.subscribe()
    }

    /// Where the gateways are; `None` before the first look. A change means that we are somewhere else.
    pub(crate) fn paths(&self) -> watch::Receiver<Option<Paths>> {
        self.paths.subscribe()
    }

    /// Changes what people see; who watches wakes only when it is something else than before.
    pub(crate) fn update(&self, change: impl FnOnce(&mut NetworkStatus)) {
        self.status.send_if_modified(|status| {
            let mut new = status.clone();
            change(&mut new);
            let is_new = *status != new;
            *status = new;
            is_new
        });
    }

    /// We are on another network than before, or on none.
    fn moved(&self, paths: Paths) {
        let mut votes = self.votes();
        votes.forget();
        self.update(|status| (status.external_v4, status.external_v6) = (None, None));
        drop(votes);
        self.paths.send_replace(Some(paths));
    }

    fn votes(&self) -> MutexGuard<'_, Votes> {
        self.votes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks at the routing table now and then, until it is dropped. `moved` hears of another network.
pub(crate) async fn look(network: Arc<Network>, egress: Arc<Egress>, moved: impl Fn()) {
    let mut known = None;
    loop {
        // A look reads two small files that are no files, and asks the kernel for two addresses.
        let way = egress.clone();
        let paths = tokio::task::spawn_blocking(move || route::look(&way)).await.unwrap_or_default();
        if known.as_ref() != Some(&paths) {
            // The first look finds out where we are; what was voted until then was voted here.
            if known.is_some() {
                tracing::debug!("the network changed");
                network.moved(paths.clone());
                moved();
            } else {
                network.paths.send_replace(Some(paths.clone()));
            }
            known = Some(paths);
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// Calls `tell` with what is news to torrents, until it is dropped.
pub(crate) async fn tell(network: Arc<Network>, tell: impl Fn(Facts)) {
    let mut status = network.watch();
    let mut told = network.facts();
    while status.changed().await.is_ok() {
        let facts = network.facts();
        if facts != told {
            told = facts;
            tell(facts);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network() -> Network {
        Network::new(&SessionOptions::new("state"), 6881)
    }

    #[test]
    fn the_port_of_the_gateway_is_announced_and_ours_while_there_is_none() {
        let network = network();
        assert_eq!(network.facts().port, 6881);
        network.update(|status| status.external_port = Some(7));
        assert_eq!(network.facts().port, 7);
        network.update(|status| status.external_port = None);
        assert_eq!(network.facts().port, 6881);
    }

    #[test]
    fn a_vote_that_changes_nothing_wakes_nobody() {
        let network = network();
        let mut watch = network.watch();
        network.seen_as(Voter::Tracker(1), [9, 9, 9, 9].into());
        assert!(watch.has_changed().is_ok_and(|changed| changed));
        assert_eq!(watch.borrow_and_update().external_v4, Some([9, 9, 9, 9].into()));
        network.seen_as(Voter::Tracker(2), [9, 9, 9, 9].into());
        network.seen_as(Voter::Tracker(3), [10, 9, 9, 9].into());
        assert!(watch.has_changed().is_ok_and(|changed| !changed));
    }

    #[test]
    fn on_another_network_the_address_is_another_one() {
        let network = network();
        network.seen_as(Voter::Gateway, [9, 9, 9, 9].into());
        network.moved(Paths::default());
        assert_eq!(network.facts().v4, None);
        network.seen_as(Voter::Gateway, [8, 8, 8, 8].into());
        assert_eq!(network.facts().v4, Some([8, 8, 8, 8].into()));
    }
}
