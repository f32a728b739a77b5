//! Where the gateways to the world are, and which of our addresses they see: the routing tables of Linux, read as text.
//!
//! Other systems have no such text; there no gateway is known, and nothing is mapped.

use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV6};

use crate::egress::Egress;

/// As much of a table is read: some thousands of routes. A host with more is a router itself.
const TABLE_BYTES_MAX: u64 = 1 << 20;
/// The route can be used, and it leads through a gateway (`RTF_UP`, `RTF_GATEWAY` of <linux/route.h>).
const UP: u32 = 1;
const GATEWAY: u32 = 2;
/// Nothing is sent there: a socket that is joined to it shows which of our addresses it would send from.
const DISCARD: u16 = 9;
/// Somewhere in the part of IPv6 that is given out (RFC 4291, section 2.4).
const SOMEWHERE: Ipv6Addr = Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 1);

/// The ways to the world.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Paths {
    /// Over IPv4: the gateway and our address on its side, or why there is none.
    pub(crate) v4: Option<Path>,
    /// Why `v4` is none, when there is more to say than that.
    pub(crate) why: Option<String>,
    /// Over IPv6: the gateway, which is mostly known by its address on the link alone, and our address.
    pub(crate) v6: Option<(Ipv6Addr, Ipv6Addr)>,
}

/// A gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Path {
    /// Where it is.
    pub(crate) gateway: Ipv4Addr,
    /// Our address as it sees it.
    pub(crate) local: Ipv4Addr,
}

/// Looks at the routing tables; for the address that everything leaves from, when there is one.
pub(crate) fn look(egress: &Egress) -> Paths {
    let bind = egress.source();
    let mut paths = Paths::default();
    if !cfg!(target_os = "linux") {
        paths.why = Some("where the gateway is can only be found out on Linux".to_owned());
        return paths;
    }
    let link = bind.and_then(link_of);
    match bind {
        Some(IpAddr::V6(_)) => paths.why = Some("the session is bound to an IPv6 address".to_owned()),
        _ => match v4(&read("/proc/net/route"), link.as_deref()) {
            Some(gateway) => match egress.source_to((gateway, DISCARD).into()) {
                Some(IpAddr::V4(local)) if bind.is_none_or(|ip| ip == local) => {
                    paths.v4 = Some(Path { gateway, local });
                }
                _ => {
                    paths.why = Some(format!(
                        "the gateway {gateway} is not reached from the address that is bound to"
                    ));
                }
            },
            None => paths.why = Some("there is no gateway".to_owned()),
        },
    }
    if !matches!(bind, Some(IpAddr::V4(_)))
        && let Some(gateway) = v6(&read("/proc/net/ipv6_route"), link.as_deref())
        && let Some(IpAddr::V6(local)) =
            bind.or_else(|| egress.source_to(SocketAddrV6::new(SOMEWHERE, DISCARD, 0, 0).into()))
    {
        paths.v6 = Some((gateway, local));
    }
    paths
}

/// The interface that has an address.
fn link_of(ip: IpAddr) -> Option<String> {
    let links = if_addrs::get_if_addrs().unwrap_or_default();
    links.into_iter().find(|link| link.ip() == ip).map(|link| link.name)
}

/// The beginning of a table; empty when there is none.
fn read(path: &str) -> String {
    let mut text = String::new();
    // What cannot be read is as good as not there.
    let _ = File::open(path).and_then(|file| file.take(TABLE_BYTES_MAX).read_to_string(&mut text));
    text
}

/// The gateway to the world of a table as in `/proc/net/route`; `link`: only through this interface.
///
/// Tunnels cover the default route by two halves of the world, so the longer of them counts, and then the lower metric.
/// A way to the world without a gateway, as into a tunnel, means that there is none.
fn v4(table: &str, link: Option<&str>) -> Option<Ipv4Addr> {
    let routes = table.lines().skip(1).filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let name = words.next()?;
        let mut number = || words.next();
        let (to, gateway, flags) = (hex(number()?)?, hex(number()?)?, hex(number()?)?);
        let (_uses, _references, metric, mask) = (number()?, number()?, number()?, hex(number()?)?);
        // The kernel prints the bytes of an address as the number that they are in this machine's memory.
        let (to, mask) = (u32::from_be_bytes(to.to_ne_bytes()), u32::from_be_bytes(mask.to_ne_bytes()));
        let is_to_the_world = mask.leading_ones() <= 1 && mask.count_ones() <= 1 && to & !(1 << 31) == 0;
        let counts = is_to_the_world && flags & UP != 0 && link.is_none_or(|link| link == name);
        let by_rank = (!mask, metric.parse::<u32>().ok()?);
        counts.then_some((by_rank, (flags & GATEWAY != 0).then(|| Ipv4Addr::from(gateway.to_ne_bytes()))))
    });
    let (_, gateway) = routes.min_by_key(|(rank, _)| *rank)?;
    gateway.filter(|ip| !ip.is_unspecified() && !ip.is_loopback() && !ip.is_multicast())
}

/// The same for a table as in `/proc/net/ipv6_route`.
fn v6(table: &str, link: Option<&str>) -> Option<Ipv6Addr> {
    let routes = table.lines().filter_map(|line| {
        let words: Vec<_> = line.split_ascii_whitespace().take(10).collect();
        let [to, length, _from, _, next, metric, _, _, flags, name] = words[..] else { return None };
        let is_to_the_world = to.bytes().all(|digit| digit == b'0') && length == "00";
        let counts = is_to_the_world
            && hex(flags)? & (UP | GATEWAY) == UP | GATEWAY
            && link.is_none_or(|link| link == name);
        let next = (next.len() == 32).then(|| u128::from_str_radix(next, 16).ok()).flatten()?;
        counts.then_some((hex(metric)?, Ipv6Addr::from(next)))
    });
    let (_, gateway) = routes.min_by_key(|(metric, _)| *metric)?;
    Some(gateway).filter(|ip| !ip.is_unspecified() && !ip.is_loopback() && !ip.is_multicast())
}

fn hex(word: &str) -> Option<u32> {
    (word.len() <= 8).then(|| u32::from_str_radix(word, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT                       \n";

    /// A line of `/proc/net/route` on this machine.
    fn route(link: &str, to: [u8; 4], gateway: [u8; 4], flags: u32, metric: u32, mask: [u8; 4]) -> String {
        let [to, gateway, mask] = [to, gateway, mask].map(u32::from_ne_bytes);
        format!("{link}\t{to:08X}\t{gateway:08X}\t{flags:04X}\t0\t0\t{metric}\t{mask:08X}\t0\t0\t0\n")
    }

    fn check(routes: &[String], link: Option<&str>, expected: Option<[u8; 4]>) {
        let table = format!("{HEAD}{}", routes.concat());
        assert_eq!(v4(&table, link), expected.map(Ipv4Addr::from), "{table}");
    }

    const WORLD: [u8; 4] = [0; 4];

    #[test]
    fn the_gateway_of_the_default_route_is_found() {
        let home = route("eth0", [192, 168, 1, 0], WORLD, 1, 0, [255, 255, 255, 0]);
        let default = route("eth0", WORLD, [192, 168, 1, 1], 3, 100, WORLD);
        check(&[home.clone(), default.clone()], None, Some([192, 168, 1, 1]));
        check(&[home.clone(), default], Some("eth1"), None);
        check(&[home], None, None);
    }

    #[test]
    fn of_two_the_lower_metric_counts_and_each_interface_has_its_own() {
        let wifi = route("wlan0", WORLD, [10, 0, 0, 1], 3, 600, WORLD);
        let wire = route("eth0", WORLD, [192, 168, 1, 1], 3, 100, WORLD);
        check(&[wifi.clone(), wire.clone()], None, Some([192, 168, 1, 1]));
        check(&[wifi, wire], Some("wlan0"), Some([10, 0, 0, 1]));
    }

    #[test]
    fn a_tunnel_that_covers_the_default_route_is_the_way() {
        let wire = route("eth0", WORLD, [192, 168, 1, 1], 3, 0, WORLD);
        let half = |to, gateway, flags| route("tun0", to, gateway, flags, 50, [128, 0, 0, 0]);
        let (low, high) = (half(WORLD, [10, 8, 0, 1], 3), half([128, 0, 0, 0], [10, 8, 0, 1], 3));
        check(&[wire.clone(), low, high], None, Some([10, 8, 0, 1]));
        check(&[wire, half(WORLD, WORLD, 1)], None, None);
    }

    #[test]
    fn a_route_that_is_down_or_leads_nowhere_is_none() {
        check(&[route("eth0", WORLD, [192, 168, 1, 1], 2, 0, WORLD)], None, None);
        check(&[route("eth0", WORLD, [127, 0, 0, 1], 3, 0, WORLD)], None, None);
        check(&[route("eth0", [10, 0, 0, 0], [192, 168, 1, 1], 3, 0, [255, 0, 0, 0])], None, None);
    }

    #[test]
    fn what_is_no_table_has_no_gateway() {
        for text in
            ["", "\n\n", "a b c d e f g h\na b c d e f g h", "eth0 00000000 zz 3 0 0 0 0", "\u{fffd}\t\t"]
        {
            assert_eq!((v4(text, None), v6(text, None)), (None, None), "{text:?}");
        }
        let long = format!("{HEAD}eth0 000000000 0101A8C0 0003 0 0 0 00000000 0 0 0");
        assert_eq!(v4(&long, None), None);
    }

    #[test]
    fn the_gateway_of_ipv6_is_found_on_its_link() {
        let zero = "0".repeat(32);
        let line = |metric: &str, next: &str, flags: &str, link: &str| {
            format!("{zero} 00 {zero} 00 {next} {metric} 00000001 00000000 {flags} {link}\n")
        };
        let next = "fe80000000000000021122fffe334455";
        let unreachable = line("ffffffff", &zero, "00200200", "lo");
        let table = [line("00000400", next, "00450003", "eth0"), unreachable.clone()].concat();
        let gateway = "fe80::211:22ff:fe33:4455".parse().ok();
        assert_eq!(v6(&table, None), gateway);
        assert_eq!(v6(&table, Some("eth0")), gateway);
        assert_eq!(v6(&table, Some("eth1")), None);
        assert_eq!(v6(&unreachable, None), None);
    }
}
