//! Who stands behind an address, as far as addresses can tell: one IPv4 address, or the 64 bits of an IPv6 address that a
//! customer has to himself.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// What costs an attacker about as much as one IPv4 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network(IpAddr);

impl Network {
    /// The network of an address.
    #[must_use]
    pub fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            // All neighbours on a link share these bits, and each is a host of its own.
            IpAddr::V6(ip) if !ip.is_unicast_link_local() => {
                let bits = ip.to_bits() & !u128::from(u64::MAX);
                Self(Ipv6Addr::from_bits(bits).into())
            }
            ip => Self(ip),
        }
    }

    /// The same, with any address inside of it in return: `of` gives the same network for it.
    pub(crate) fn address(self) -> IpAddr {
        self.0
    }

    /// All addresses with ports that lie in it, from the first to the last.
    pub(crate) fn range(self) -> std::ops::RangeInclusive<SocketAddr> {
        let last = match self.0 {
            IpAddr::V6(ip) if !ip.is_unicast_link_local() => {
                Ipv6Addr::from_bits(ip.to_bits() | u128::from(u64::MAX)).into()
            }
            ip => ip,
        };
        SocketAddr::new(self.0, 0)..=SocketAddr::new(last, u16::MAX)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn check(one: &str, other: &str, same: bool) {
        let network = |ip: &str| Network::of(ip.parse().unwrap());
        assert_eq!(network(one) == network(other), same, "{one} {other}");
        let range = network(one).range();
        let other = SocketAddr::new(other.parse::<IpAddr>().unwrap().to_canonical(), 6881);
        assert_eq!(range.contains(&other), same, "{one} {other}");
    }

    #[test]
    fn an_ipv4_address_stands_for_itself_and_an_ipv6_address_for_its_64_bits() {
        check("1.2.3.4", "1.2.3.4", true);
        check("1.2.3.4", "1.2.3.5", false);
        check("1.2.3.4", "::ffff:1.2.3.4", true);
        check("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", true);
        check("2001:db8:0:1::1", "2001:db8:0:2::1", false);
        check("fe80::1", "fe80::2", false);
    }
}
