//! Who counts as one: an IPv4 address, an IPv6 /64; and who counts as sixteen of those, a /48.

use std::net::IpAddr;

/// An IPv4 address or an IPv6 /64, which is what one household or server has at its disposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Network {
    V4(u32),
    V6(u64),
}

impl From<IpAddr> for Network {
    fn from(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self::V4(ip.to_bits()),
            IpAddr::V6(ip) => Self::V6((ip.to_bits() >> 64) as u64),
        }
    }
}

/// An IPv6 /48, the most that a customer is given (RFC 6177): its owner has 65,536 networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Site(u64);

/// A site counts as so many networks: a household or an office uses a few, and an attacker who makes more up gains
/// nothing by them.
pub(crate) const SITE_NETWORKS: usize = 16;

impl Network {
    pub(crate) fn site(self) -> Option<Site> {
        match self {
            Self::V4(_) => None,
            Self::V6(network) => Some(Site(network >> 16)),
        }
    }
}
