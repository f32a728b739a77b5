//! A switch of a case's own, beside the lab's: what is said to all hosts on it is heard by no other.
//!
//! Hosts keep their address in the lab, by which the test program talks to their remote controls; clients talk to each
//! other through the segment. Its addresses are those of an Internet ([`Terrain::Internet`]), each in a network of
//! its own, because clients have rules about addresses (BEP 42, one node a network) that private ones are excepted
//! from; or those of one link in a house ([`Terrain::Link`]), whose gateway is its first host.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Context, Result, ensure};

use super::{Host, Lab, ip, run};

/// How the addresses of a segment lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Terrain {
    /// Each in a network of its own, all of them reachable.
    Internet,
    /// One network.
    Link,
}

/// Which Internet protocols a segment has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

/// The device of a host that leads to its segment.
pub(crate) const DEVICE: &str = "eth1";

/// Addresses are made of one byte; some numbers are left for what a case wants to itself.
const ADDRESSES_MAX: u16 = 200;

/// The switch. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct Segment {
    lab: Lab,
    number: u16,
    terrain: Terrain,
    family: Family,
    taken: AtomicU16,
    /// Its addresses of IPv6 are of use a second after they were given.
    is_late: bool,
}

impl Segment {
    /// An empty one.
    ///
    /// # Errors
    /// When `ip` fails.
    pub(crate) fn new(lab: &Lab, terrain: Terrain, family: Family) -> Result<Self> {
        let number = lab.segments.fetch_add(1, Ordering::Relaxed);
        let lab = lab.clone();
        let segment = Self { lab, number, terrain, family, taken: AtomicU16::new(0), is_late: false };
        let bridge = segment.bridge();
        // Without snooping the switch passes on what is said to a group, as it does in most houses.
        ip(&[format!("link add {bridge} type bridge mcast_snooping 0"), format!("link set {bridge} up")])?;
        run("sh", &["-c", &format!("echo 1 > /proc/sys/net/ipv6/conf/{bridge}/disable_ipv6")])?;
        Ok(segment)
    }

    /// The same as a machine that has just started meets it: an address of IPv6 is first looked for on the link, for a
    /// second, in which no program can listen at it.
    pub(crate) fn with_late_addresses(mut self) -> Self {
        self.is_late = true;
        self
    }

    /// A host with so many addresses on the segment.
    ///
    /// # Errors
    /// When addresses are used up or `ip` fails.
    pub(crate) fn host(&self, addresses: u16) -> Result<Host> {
        let first = self.taken.fetch_add(addresses, Ordering::Relaxed);
        ensure!(first + addresses <= ADDRESSES_MAX, "the segment has no free address");
        let mut host = self.lab.host()?;
        host.segment = (first..first + addresses).map(|n| self.address(n)).collect::<Result<_>>()?;
        let (number, bridge, name) = (host.number, self.bridge(), host.namespace());
        ip(&[
            format!("link add w{number} master {bridge} type veth peer name {DEVICE} netns {name}"),
            format!("link set w{number} up"),
        ])?;
        run("nsenter", &[&format!("--net=/run/netns/{name}"), "sh", "-ec", &self.settings(&host, first)])?;
        Ok(host)
    }

    /// The address that the segment's host number `n` has or will have.
    ///
    /// # Errors
    /// When there can be no such host.
    pub(crate) fn address(&self, n: u16) -> Result<IpAddr> {
        address(self.terrain, self.family, n)
    }

    fn settings(&self, host: &Host, first: u16) -> String {
        let mut script = String::new();
        let family = match self.family {
            Family::V4 => "-4",
            Family::V6 => {
                let looks = u8::from(self.is_late);
                for device in ["lo", DEVICE] {
                    script.push_str(&format!(
                        "echo {looks} > /proc/sys/net/ipv6/conf/{device}/accept_dad; \
                         echo 0 > /proc/sys/net/ipv6/conf/{device}/disable_ipv6; "
                    ));
                }
                "-6"
            }
        };
        script.push_str(&format!("ip link set {DEVICE} up; "));
        let prefix = match (self.terrain, self.family) {
            (Terrain::Link, Family::V4) => 24,
            (Terrain::Link, Family::V6) => 64,
            (Terrain::Internet, Family::V4) => 32,
            (Terrain::Internet, Family::V6) => 128,
        };
        // Without the search for doubles an address of IPv6 can be used at once, not only when the kernel gets round to it.
        let ready = if self.family == Family::V6 && !self.is_late { "nodad" } else { "" };
        for address in &host.segment {
            script.push_str(&format!("ip {family} addr add {address}/{prefix} dev {DEVICE} {ready}; "));
        }
        let gateway = match (self.terrain, first) {
            (Terrain::Internet, _) | (Terrain::Link, 0) => String::new(),
            (Terrain::Link, _) => self.address(0).map_or_else(|_| String::new(), |to| format!("via {to}")),
        };
        script.push_str(&format!("ip {family} route add default {gateway} dev {DEVICE}"));
        script
    }

    fn bridge(&self) -> String {
        format!("segment{}", self.number)
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        let _ = ip(&[format!("link del {}", self.bridge())]);
    }
}

/// The address of host number `n` of a segment like this.
pub(super) fn address(terrain: Terrain, family: Family, n: u16) -> Result<IpAddr> {
    ensure!(n < ADDRESSES_MAX, "a segment has fewer hosts");
    let byte = u8::try_from(n).context("checked before")?;
    Ok(match (terrain, family) {
        (Terrain::Link, Family::V4) => Ipv4Addr::new(192, 168, 9, 1 + byte).into(),
        (Terrain::Link, Family::V6) => Ipv6Addr::new(0xfd00, 9, 0, 0, 0, 0, 0, 1 + n).into(),
        // Spread over the bits that BEP 42 makes node ids of; all of them in use on the real Internet.
        (Terrain::Internet, Family::V4) => {
            let spread = |step: u16, size: u16| u8::try_from(1 + n * step % size).unwrap_or(1);
            Ipv4Addr::new(76 + spread(1, 18), spread(37, 199), spread(53, 251), 10 + byte).into()
        }
        (Terrain::Internet, Family::V6) => {
            Ipv6Addr::new(0x2a00 + n % 16, n * 0x133, n * 0x141, n, 0, 0, 0, 0x10 + n).into()
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn hosts_of_an_internet_lie_in_networks_of_their_own() {
        let networks: BTreeSet<[u8; 3]> = (0..ADDRESSES_MAX)
            .map(|n| match address(Terrain::Internet, Family::V4, n).unwrap() {
                IpAddr::V4(ip) => ip.octets()[..3].try_into().unwrap(),
                IpAddr::V6(_) => unreachable!("version 4 was asked for"),
            })
            .collect();
        assert_eq!(networks.len(), usize::from(ADDRESSES_MAX));
        let networks: BTreeSet<[u8; 8]> = (0..ADDRESSES_MAX)
            .map(|n| match address(Terrain::Internet, Family::V6, n).unwrap() {
                IpAddr::V6(ip) => ip.octets()[..8].try_into().unwrap(),
                IpAddr::V4(_) => unreachable!("version 6 was asked for"),
            })
            .collect();
        assert_eq!(networks.len(), usize::from(ADDRESSES_MAX));
    }
}
