//! How what serves all torrents reaches them: the listener, the alarm clock, the DHT, the local network and the gateway
//! know no torrent, and are started here with what they are to call.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ferri_metainfo::InfoHash;
use ferri_swarm::Source;
use ferri_wire::Handshake;
use ferri_wire::mse::{Encryption, TorrentDigest};
use tokio::net::TcpListener;

use crate::exchange_turns::ExchangeTurns;
use crate::external::Voter;
use crate::feature::{Feature, NotBuilt};
use crate::handshake::Reception;
use crate::hosts::Hosts;
use crate::network::{Facts, LsdStatus};
use crate::port_mapping::{PortMappingStatus, Transport};
use crate::services::Services;
use crate::torrent::Torrent;
use crate::why_off::WhyOff;
use crate::{dht, keeper, listen, lsd, network, panics, port_mapping};

/// Starts everything that waits for peers, for time to pass, or for news of the networks around.
pub(crate) fn start(
    services: &Arc<Services>,
    hosts: &Arc<Hosts>,
    listener: TcpListener,
    node: Option<dht::Driver>,
) {
    start_listener(services, hosts, listener);
    start_keeper(services, hosts);
    let http = services.trackers.http.clone();
    services.keep("closing idle connections", move || {
        let http = http.clone();
        async move { http.close_idle().await }
    });
    start_network(services, hosts);
    start_lsd(services, hosts);
    start_port_mapping(services);
    if let Some(node) = node {
        start_node(services, hosts, node);
    }
}

/// Wakes torrents that rest when their time has come.
pub(crate) fn start_keeper(services: &Arc<Services>, hosts: &Arc<Hosts>) {
    let (waking, keeper) = (hosts.clone(), services.keeper.clone());
    services.keep("the alarm clock of resting torrents", move || {
        let waking = waking.clone();
        keeper::run(keeper.clone(), move |name| waking.wake(name))
    });
}

fn start_listener(services: &Arc<Services>, hosts: &Arc<Hosts>, listener: TcpListener) {
    let front = Front { services: services.clone(), hosts: hosts.clone() };
    let listener = Arc::new(listener);
    services.keep("the listener", move || listen::run(listener.clone(), front.clone()));
}

/// What the session is to peers that dial it.
#[derive(Debug, Clone)]
pub(crate) struct Front {
    pub(crate) services: Arc<Services>,
    pub(crate) hosts: Arc<Hosts>,
}

impl Reception for Front {
    type Torrent = Torrent;

    fn find(&self, name: &InfoHash) -> Option<(Torrent, Handshake)> {
        let (host, ours) = (self.hosts.get(*name)?, &self.services);
        // A hybrid has two names; a peer that calls it by the second hears that one.
        let handshake = if host.is_private() { ours.private_handshake(*name) } else { ours.handshake(*name) };
        Some((host, handshake))
    }

    fn name_of(&self, digest: &TorrentDigest) -> Option<InfoHash> {
        self.hosts.name_of(digest)
    }

    fn encryption(&self) -> Encryption {
        self.services.capacity.greetings.encryption()
    }

    fn turns(&self) -> &ExchangeTurns {
        &self.services.capacity.exchanges
    }
}

/// Tells everybody where we are. On loopback there is nowhere to move.
fn start_network(services: &Arc<Services>, hosts: &Arc<Hosts>) {
    let (told, dht) = (hosts.clone(), services.dht.clone());
    let tell = move |facts| {
        if let Some(dht) = &dht {
            tell_node(dht, facts);
        }
        told.moved();
    };
    let network = services.network.clone();
    services.keep("telling torrents of the network", move || network::tell(network.clone(), tell.clone()));
    if !services.identity.listen_addr.ip().is_loopback() {
        let dht = services.dht.clone();
        let moved = move || {
            if let Some(dht) = &dht {
                dht.moved();
            }
        };
        let (network, egress) = (services.network.clone(), services.egress.clone());
        let look = move || network::look(network.clone(), egress.clone(), moved.clone());
        services.keep("looking at the routing table", look);
    }
}

/// The DHT node tells others the port, and takes its id from the address (BEP 42).
fn tell_node(dht: &dht::Dht, facts: Facts) {
    dht.set_port(facts.port);
    let ips = [facts.v4.map(IpAddr::V4), facts.v6.map(IpAddr::V6)];
    for ip in ips.into_iter().flatten() {
        dht.seen_as(ip);
    }
}

fn start_lsd(services: &Arc<Services>, hosts: &Arc<Hosts>) {
    let listen_addr = services.identity.listen_addr;
    if let Some(why) = why_off(services.options.lsd, Feature::Lsd, listen_addr) {
        return services.network.update(|status| status.lsd = LsdStatus::Off { why });
    }
    let (ours, told) = (services.clone(), hosts.clone());
    services.keep("local discovery", move || {
        let (lsd, network, egress) = (ours.lsd.clone(), ours.network.clone(), ours.egress.clone());
        let told = told.clone();
        lsd::run(lsd::Ours { lsd, network, listen_addr, egress }, move |neighbour| told.heard(neighbour))
    });
}

/// Has the gateway forward our ports. It ends by itself: they are given back first.
fn start_port_mapping(services: &Arc<Services>) {
    let listen_addr = services.identity.listen_addr;
    if let Some(why) = why_off(services.options.port_mapping, Feature::PortMapping, listen_addr) {
        let off = PortMappingStatus::Off { why };
        return services.network.update(|status| status.port_mapping = off);
    }
    let udp = services.dht.as_ref().map(|dht| (Transport::Udp, dht.udp_port()));
    let ports: Vec<_> = [(Transport::Tcp, listen_addr.port())].into_iter().chain(udp).collect();
    let ours = services.clone();
    let run = move || {
        let network = ours.network.clone();
        let ours = port_mapping::Ours {
            egress: ours.egress.clone(),
            paths: network.paths(),
            stop: ours.shutdown.stop_accepting.clone(),
            tasks: ours.tasks.clone(),
        };
        port_mapping::run(ours, ports.clone(), move |told| match told {
            port_mapping::Told::Status(status, external_port) => network.update(|network| {
                (network.port_mapping, network.external_port) = (status, external_port);
            }),
            port_mapping::Told::Outside(ip) => network.seen_as(Voter::Gateway, ip),
        })
    };
    let stop = services.shutdown.stop_accepting.clone();
    services.tasks.spawn(panics::kept("port mapping", stop, run));
}

fn start_node(services: &Arc<Services>, hosts: &Arc<Hosts>, node: dht::Driver) {
    node.handle().set_port(services.network.facts().port);
    let (told, network) = (hosts.clone(), services.network.clone());
    let tell = move |news| match news {
        dht::Told::Peers(name, peers) => told.found(name, Source::Dht, peers),
        dht::Told::ExternalAddress(ip) => network.seen_as(Voter::Nodes, ip),
    };
    services.tasks.spawn(node.run(services.shutdown.cancel.clone(), tell));
}

/// Whether something that looks for others has nobody to look for, and why.
pub(crate) fn why_off(is_wanted: bool, feature: Feature, listen_addr: SocketAddr) -> Option<WhyOff> {
    if !is_wanted {
        Some(WhyOff::SwitchedOff)
    } else if !feature.is_built() {
        Some(WhyOff::NotBuilt(NotBuilt(feature)))
    } else {
        listen_addr.ip().is_loopback().then_some(WhyOff::ThisHostAlone)
    }
}
