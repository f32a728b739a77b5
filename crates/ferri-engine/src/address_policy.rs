//! Which addresses a request may be sent to.
//!
//! A torrent names trackers, and a server answers with redirects: both are strangers that make this machine send requests,
//! from inside of a home network that strangers cannot reach. So each address is judged when it is about to be connected to,
//! after the name was resolved and at every hop: what a name stands for is not known before, and may change in between.
//!
//! - What the user typed goes anywhere at the first hop.
//! - No redirect leads nearer than where it came from: not from the public network into the home network, and from neither
//!   to this host.
//! - A torrent's tracker in the home network or on this host has a path that only trackers have, and one on this host
//!   no query of its own, so that no other service there understands the request.
//!
//! A home network whose addresses are public is not recognised as one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How near an address is. What comes later is nearer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Zone {
    /// Any program can send there.
    Public,
    /// Private, link-local, unique local, or shared with others behind the same provider (RFC 1918, 3927, 4193, 6598).
    Home,
    /// This host.
    Host,
    /// No server is there: multicast, unspecified, reserved. Some systems take the unspecified address for this host.
    Nowhere,
}

/// Who named the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Named {
    /// The user: an address on the command line, `--tracker`.
    ByUser,
    /// A torrent or a magnet link. Whether the tracker's address has a query of its own.
    ByTorrent { own_query: bool },
}

/// A request that is about to be sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hop<'a> {
    pub(crate) named: Named,
    /// Where the server is that redirected here.
    pub(crate) from: Option<Zone>,
    /// The path that is asked for.
    pub(crate) path: &'a str,
}

/// Why an address is not connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// A redirect goes where its sender cannot.
    #[error("the server redirects into the local network")]
    IntoHome,
    /// As [`Self::IntoHome`].
    #[error("the server redirects to this machine")]
    IntoHost,
    /// No server can be there.
    #[error("it leads to an address where no server can be")]
    Nowhere,
    /// A torrent asks for something in the home network that is no tracker.
    #[error(
        "it leads into the local network to something that is no tracker: a torrent's tracker there must end in \
         /announce or /announce.php; give it with --tracker if you trust it"
    )]
    NoTracker,
    /// A torrent asks for something on this host.
    #[error(
        "it leads to this machine with a query of its own, which a torrent's tracker may not have there; \
         give it with --tracker if you trust it"
    )]
    OwnQuery,
}

/// The last parts of a tracker's path, and of those that ask it for numbers (BEP 48).
const TRACKER_PATHS: [&str; 4] = ["/announce", "/announce.php", "/scrape", "/scrape.php"];

/// Where `ip` is, if `hop` may go there.
pub(crate) fn judge(hop: &Hop<'_>, ip: IpAddr) -> Result<Zone, Refusal> {
    let zone = zone(ip);
    match (hop.named, hop.from) {
        (Named::ByUser, None) => return Ok(zone),
        _ if zone == Zone::Nowhere => return Err(Refusal::Nowhere),
        (_, Some(from)) if from < zone && zone == Zone::Host => return Err(Refusal::IntoHost),
        (_, Some(from)) if from < zone => return Err(Refusal::IntoHome),
        _ => {}
    }
    let Named::ByTorrent { own_query } = hop.named else { return Ok(zone) };
    match zone {
        Zone::Public => Ok(zone),
        _ if !TRACKER_PATHS.iter().any(|path| hop.path.ends_with(path)) => Err(Refusal::NoTracker),
        Zone::Host if own_query => Err(Refusal::OwnQuery),
        _ => Ok(zone),
    }
}

/// Whether a datagram of the tracker protocol may be sent to `ip`: its bytes mean nothing to any other service, so only what
/// reaches many at once is left out.
pub(crate) fn judge_datagram(named: Named, ip: IpAddr) -> Result<(), Refusal> {
    match named {
        Named::ByTorrent { .. } if zone(ip) == Zone::Nowhere => Err(Refusal::Nowhere),
        _ => Ok(()),
    }
}

/// Where an address is. One that carries another one is where that is, or where it is itself if that is nearer.
pub(crate) fn zone(ip: IpAddr) -> Zone {
    match ip {
        IpAddr::V4(ip) => zone_v4(ip),
        IpAddr::V6(ip) => zone_v6(ip),
    }
}

fn zone_v4(ip: Ipv4Addr) -> Zone {
    match ip.octets() {
        [127, ..] => Zone::Host,
        [0 | 224.., ..] => Zone::Nowhere,
        [10, ..] | [192, 168, ..] | [169, 254, ..] => Zone::Home,
        [172, 16..=31, ..] | [100, 64..=127, ..] => Zone::Home,
        // Gateways that translate addresses (RFC 7335), and networks that are measured (RFC 2544).
        [192, 0, 0, _] | [198, 18 | 19, ..] => Zone::Home,
        _ => Zone::Public,
    }
}

fn zone_v6(ip: Ipv6Addr) -> Zone {
    let [a, b, ..] = ip.segments();
    match ip.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Zone::Nowhere,
        [0, 0, 0, 0, 0, 0, 0, 1] => Zone::Host,
        // Mapped (RFC 4291), compatible (there, deprecated), translated (RFC 2765).
        [0, 0, 0, 0, 0, 0xffff | 0, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] => {
            zone_v4(embedded(high, low))
        }
        // NAT64: by the well-known prefix (RFC 6052), or by one of the network's own (RFC 8215).
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => zone_v4(embedded(high, low)),
        [0x64, 0xff9b, 1, ..] => Zone::Home,
        // 6to4 (RFC 3056) and Teredo (RFC 4380), whose client's address is written inverted.
        [0x2002, high, low, ..] => zone_v4(embedded(high, low)),
        [0x2001, 0, high, low, _, _, client_high, client_low] => {
            zone_v4(embedded(high, low)).max(zone_v4(embedded(!client_high, !client_low)))
        }
        // Unique local, link-local, and site-local, which some networks still use.
        _ if a & 0xfe00 == 0xfc00 || a & 0xffc0 == 0xfe80 || a & 0xffc0 == 0xfec0 => Zone::Home,
        _ if 0xff00 <= a || (a, b) == (0x100, 0) => Zone::Nowhere,
        _ => Zone::Public,
    }
}

fn embedded(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[track_caller]
    fn check(expected: Zone, ips: &[&str]) {
        for ip in ips {
            assert_eq!(zone(ip.parse().unwrap()), expected, "{ip}");
        }
    }

    #[test]
    fn every_kind_of_address_has_its_zone() {
        check(Zone::Host, &["127.0.0.1", "127.255.255.254", "::1"]);
        check(Zone::Home, &["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1"]);
        check(Zone::Home, &["169.254.169.254", "fe80::1", "febf::1", "fec0::1"]);
        check(Zone::Home, &["100.64.0.1", "100.127.255.255", "192.0.0.170", "198.18.0.1", "198.19.0.1"]);
        check(Zone::Home, &["fc00::1", "fdff::1"]);
        check(Zone::Nowhere, &["0.0.0.0", "0.1.2.3", "::", "224.0.0.1", "239.255.255.250", "ff02::1"]);
        check(Zone::Nowhere, &["240.0.0.1", "255.255.255.255", "100::1"]);
        check(Zone::Public, &["8.8.8.8", "172.32.0.1", "100.128.0.1", "192.0.2.1", "2001:db8::1"]);
        check(Zone::Public, &["2606:4700::1", "fbff::1", "172.15.0.1", "11.0.0.1", "198.20.0.1"]);
    }

    #[test]
    fn an_address_inside_of_another_is_found() {
        check(Zone::Host, &["::ffff:127.0.0.1", "::ffff:0:127.0.0.1", "::127.0.0.1", "64:ff9b::127.0.0.1"]);
        check(Zone::Host, &["2002:7f00:1::1"]);
        check(Zone::Home, &["::ffff:192.168.1.1", "64:ff9b::10.0.0.1", "64:ff9b:1::1", "2002:c0a8:101::1"]);
        check(Zone::Home, &["::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "::ffff:100.64.0.1"]);
        // Teredo by way of 65.54.227.120, for the client at 192.168.1.1; and by way of a server at home.
        check(Zone::Home, &["2001:0:4136:e378:8000:63bf:3f57:fefe", "2001:0:a00:1:0:0:f7f7:f7f7"]);
        check(Zone::Nowhere, &["::ffff:0.0.0.0", "2002:e000:1::1"]);
        check(Zone::Public, &["::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1"]);
        check(Zone::Public, &["2001:0:4136:e378:8000:63bf:f7f7:f7f7"]);
    }

    const TYPED: Named = Named::ByUser;
    const LISTED: Named = Named::ByTorrent { own_query: false };
    const WITH_QUERY: Named = Named::ByTorrent { own_query: true };

    #[track_caller]
    fn check_hop(named: Named, from: Option<&str>, ip: &str, path: &str, expected: Result<(), Refusal>) {
        let from = from.map(|ip| zone(ip.parse().unwrap()));
        let judged = judge(&Hop { named, from, path }, ip.parse().unwrap());
        assert_eq!(judged.map(|_| ()), expected, "{named:?} {from:?} {ip} {path}");
    }

    #[test]
    fn what_the_user_typed_goes_anywhere_and_its_redirects_never_nearer() {
        for ip in ["8.8.8.8", "192.168.1.1", "127.0.0.1", "0.0.0.0", "::1"] {
            check_hop(TYPED, None, ip, "/any", Ok(()));
        }
        check_hop(TYPED, Some("8.8.8.8"), "9.9.9.9", "/any", Ok(()));
        check_hop(TYPED, Some("8.8.8.8"), "10.0.0.1", "/any", Err(Refusal::IntoHome));
        check_hop(TYPED, Some("8.8.8.8"), "127.0.0.1", "/announce", Err(Refusal::IntoHost));
        check_hop(TYPED, Some("8.8.8.8"), "0.0.0.0", "/announce", Err(Refusal::Nowhere));
        check_hop(TYPED, Some("10.0.0.1"), "10.0.0.2", "/any", Ok(()));
        check_hop(TYPED, Some("10.0.0.1"), "127.0.0.1", "/any", Err(Refusal::IntoHost));
        check_hop(TYPED, Some("127.0.0.1"), "127.0.0.1", "/any", Ok(()));
        check_hop(TYPED, Some("127.0.0.1"), "10.0.0.1", "/any", Ok(()));
        check_hop(TYPED, Some("0.0.0.0"), "127.0.0.1", "/any", Ok(()));
    }

    #[test]
    fn what_a_torrent_names_near_us_is_a_tracker() {
        check_hop(LISTED, None, "8.8.8.8", "/any", Ok(()));
        check_hop(WITH_QUERY, None, "8.8.8.8", "/any", Ok(()));
        for (path, is_tracker) in [
            ("/announce", true),
            ("/a/announce.php", true),
            ("/scrape", true),
            ("/scrape.php", true),
            ("/", false),
            ("/announced", false),
            ("/announce/", false),
            ("/reannounce", false),
            ("/api/v1/shutdown", false),
        ] {
            let expected = if is_tracker { Ok(()) } else { Err(Refusal::NoTracker) };
            check_hop(LISTED, None, "192.168.1.1", path, expected);
            check_hop(LISTED, None, "127.0.0.1", path, expected);
            check_hop(LISTED, Some("192.168.1.1"), "192.168.1.2", path, expected);
        }
        // Passkeys stand in queries; only this host is closed to them.
        check_hop(WITH_QUERY, None, "192.168.1.1", "/announce.php", Ok(()));
        check_hop(WITH_QUERY, None, "127.0.0.1", "/announce", Err(Refusal::OwnQuery));
        check_hop(WITH_QUERY, None, "::ffff:127.0.0.1", "/announce", Err(Refusal::OwnQuery));
        check_hop(LISTED, None, "0.0.0.0", "/announce", Err(Refusal::Nowhere));
        check_hop(LISTED, Some("8.8.8.8"), "192.168.1.1", "/announce", Err(Refusal::IntoHome));
    }

    #[test]
    fn datagrams_go_to_no_group() {
        let to = |named, ip: &str| judge_datagram(named, ip.parse().unwrap()).is_ok();
        assert!(to(LISTED, "127.0.0.1") && to(LISTED, "10.0.0.1") && to(LISTED, "2001:db8::1"));
        assert!(!to(LISTED, "239.255.255.250") && !to(LISTED, "255.255.255.255") && !to(LISTED, "ff02::1"));
        assert!(to(TYPED, "0.0.0.0"));
    }
}
