//! The local networks, and the two sockets that are joined to the groups on all of them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};

use ferri_wire::lsd::{GROUP_V4, GROUP_V6, PORT};
use if_addrs::IfAddr;
use socket2::{InterfaceIndexOrAddress, SockRef};
use tokio::net::UdpSocket;

/// Interfaces that are used; a host with containers has many that lead nowhere.
const LINKS_MAX: usize = 16;

/// An interface on which others may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    /// Our first address there.
    v4: Option<Ipv4Addr>,
    has_v6: bool,
    /// Networks that begin there: address and the length of its prefix.
    networks: Vec<(IpAddr, u8)>,
}

impl Link {
    /// Whether a group can be spoken to there.
    pub(super) fn has(&self, group: IpAddr) -> bool {
        match group {
            IpAddr::V4(_) => self.v4.is_some(),
            IpAddr::V6(_) => self.has_v6,
        }
    }

    /// A link with one address.
    #[cfg(test)]
    pub(super) fn of_test(index: u32, v4: Ipv4Addr) -> Self {
        Self { index, name: format!("test{index}"), v4: Some(v4), has_v6: false, networks: Vec::new() }
    }
}

/// Which families the session's listener takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Families {
    pub(super) v4: bool,
    pub(super) v6: bool,
}

impl Families {
    /// Of a listener at this address.
    pub(super) fn of(listener: SocketAddr) -> Self {
        Self { v4: listener.is_ipv4() || listener.ip().is_unspecified(), v6: listener.is_ipv6() }
    }
}

/// The interfaces that are up, neither this host alone nor a line to somewhere else, in the system's order. `bind`: only
/// the one with this address.
pub(super) fn links(families: Families, bind: Option<IpAddr>) -> io::Result<Vec<Link>> {
    let mut links: Vec<Link> = Vec::new();
    for interface in if_addrs::get_if_addrs()? {
        let Some(index) = interface.index else { continue };
        if interface.is_loopback() || interface.is_p2p() || !interface.is_oper_up() {
            continue;
        }
        let (ip, prefix) = match &interface.addr {
            IfAddr::V4(addr) if families.v4 => (IpAddr::V4(addr.ip), addr.prefixlen),
            IfAddr::V6(addr) if families.v6 => (IpAddr::V6(addr.ip), addr.prefixlen),
            IfAddr::V4(_) | IfAddr::V6(_) => continue,
        };
        if bind.is_some_and(|bind| bind != ip) {
            continue;
        }
        let at = match links.iter().position(|link| link.index == index) {
            Some(at) => at,
            None => {
                let (name, networks) = (interface.name.clone(), Vec::new());
                links.push(Link { index, name, v4: None, has_v6: false, networks });
                links.len() - 1
            }
        };
        let link = &mut links[at];
        match ip {
            IpAddr::V4(ip) => link.v4 = link.v4.or(Some(ip)),
            IpAddr::V6(_) => link.has_v6 = true,
        }
        link.networks.push((ip, prefix));
    }
    links.sort_by_key(|link| link.index);
    links.truncate(LINKS_MAX);
    Ok(links)
}

/// Whether a host at this address can be on one of these networks. Datagrams from farther away are not meant for us.
pub(super) fn is_near(links: &[Link], ip: IpAddr) -> bool {
    let networks = || links.iter().flat_map(|link| &link.networks);
    match ip {
        IpAddr::V4(ip) if ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() => false,
        // The group reaches as far as an organization does, and so do these addresses.
        IpAddr::V4(ip) => {
            ip.is_private() || ip.is_link_local() || networks().any(|net| is_in(*net, ip.into()))
        }
        IpAddr::V6(ip) if ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() => false,
        IpAddr::V6(ip) => {
            ip.is_unique_local() || ip.is_unicast_link_local() || networks().any(|net| is_in(*net, ip.into()))
        }
    }
}

fn is_in((network, prefix): (IpAddr, u8), ip: IpAddr) -> bool {
    // A prefix of nothing is no network that a host is near in.
    if prefix == 0 {
        return false;
    }
    match (network, ip) {
        (IpAddr::V4(network), IpAddr::V4(ip)) => {
            (network.to_bits() ^ ip.to_bits()).leading_zeros() >= u32::from(prefix)
        }
        (IpAddr::V6(network), IpAddr::V6(ip)) => {
            (network.to_bits() ^ ip.to_bits()).leading_zeros() >= u32::from(prefix)
        }
        _ => false,
    }
}

/// Joins the group on an interface; it may have been joined before. Returns whether it is.
pub(super) fn join(socket: &UdpSocket, group: IpAddr, link: &Link) -> bool {
    let socket = SockRef::from(socket);
    let joined = match group {
        IpAddr::V4(group) if link.v4.is_some() => {
            socket.join_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(link.index))
        }
        IpAddr::V6(group) if link.has_v6 => socket.join_multicast_v6(&group, link.index),
        IpAddr::V4(_) | IpAddr::V6(_) => return false,
    };
    match joined {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::AddrInUse,
    }
}

/// Sends to the group on one interface. Does not wait.
///
/// # Errors
/// What the system says, which often is true for a second or two alone: an address is not usable yet, a link is just coming
/// up, a queue is full.
pub(super) fn send(socket: &UdpSocket, group: IpAddr, link: &Link, datagram: &[u8]) -> io::Result<()> {
    let options = SockRef::from(socket);
    let to = match (group, link.v4) {
        (IpAddr::V4(group), Some(ours)) => {
            options.set_multicast_if_v4(&ours)?;
            SocketAddr::new(group.into(), PORT)
        }
        (IpAddr::V6(group), _) if link.has_v6 => {
            options.set_multicast_if_v6(link.index)?;
            SocketAddrV6::new(group, PORT, 0, 0).into()
        }
        _ => return Ok(()),
    };
    // Past the runtime, which knows of a new socket only after a while that it can be written to.
    options.send_to(datagram, &to.into()).map(drop)
}

/// The groups, with the family of each.
pub(super) const GROUPS: [IpAddr; 2] = [IpAddr::V4(GROUP_V4), IpAddr::V6(GROUP_V6)];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn link(networks: &[(&str, u8)]) -> Link {
        let networks = networks.iter().map(|(ip, prefix)| (ip.parse().unwrap(), *prefix)).collect();
        Link { index: 2, name: "eth0".to_owned(), v4: None, has_v6: true, networks }
    }

    #[test]
    fn who_is_near_is_on_our_network_or_has_an_address_that_means_nothing_elsewhere() {
        let links = [link(&[("44.0.0.9", 24), ("2a00:1:2:3::9", 64)])];
        for near in
            ["44.0.0.1", "10.1.2.3", "192.168.9.9", "169.254.1.1", "2a00:1:2:3::1", "fe80::1", "fd00::1"]
        {
            assert!(is_near(&links, near.parse().unwrap()), "{near}");
        }
        for far in ["44.0.1.1", "8.8.8.8", "127.0.0.1", "0.0.0.0", "2a00:1:2:4::1", "::1", "ff02::1"] {
            assert!(!is_near(&links, far.parse().unwrap()), "{far}");
        }
        assert!(!is_near(&[link(&[("8.8.8.8", 0)])], [8, 8, 8, 8].into()));
    }

    #[test]
    fn families_are_those_of_the_listener() {
        let check = |addr: &str, v4, v6| assert_eq!(Families::of(addr.parse().unwrap()), Families { v4, v6 });
        check("[::]:1", true, true);
        check("0.0.0.0:1", true, false);
        check("10.0.0.1:1", true, false);
        check("[fd00::1]:1", false, true);
    }

    #[test]
    fn loopback_is_no_local_network() {
        let both = Families { v4: true, v6: true };
        assert!(links(both, Some([127, 0, 0, 1].into())).unwrap().is_empty());
        assert!(links(both, None).unwrap().iter().all(|link| link.name != "lo"));
    }
}
