//! Which network an address lies in, for limits that one person with many addresses should not get around.

use std::net::{IpAddr, SocketAddr};

use crate::id::is_local;

/// Who an address probably belongs to: the IPv4 address, or the /64 that an IPv6 host chooses its addresses from. On
/// local networks, and that includes the machines of tests, each port counts on its own.
pub(crate) fn owner(addr: SocketAddr) -> u128 {
    if is_local(addr.ip()) {
        return local(addr);
    }
    match addr.ip() {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => (1 << 127) | (u128::from(ip) >> 64),
    }
}

/// The /24 of an IPv4 address, the /64 of an IPv6 one: of these a bucket holds one node, and a lookup asks one.
pub(crate) fn network(addr: SocketAddr) -> u128 {
    match addr.ip() {
        IpAddr::V4(ip) if !is_local(ip.into()) => u128::from(u32::from(ip) >> 8),
        _ => owner(addr),
    }
}

/// The /16 of an IPv4 address, the /40 of an IPv6 one: about what one provider hands to one customer who asks for much.
pub(crate) fn neighbourhood(addr: SocketAddr) -> u128 {
    if is_local(addr.ip()) {
        return local(addr);
    }
    match addr.ip() {
        IpAddr::V4(ip) => u128::from(u32::from(ip) >> 16),
        IpAddr::V6(ip) => (1 << 127) | (u128::from(ip) >> 88),
    }
}

fn local(addr: SocketAddr) -> u128 {
    let ip = match addr.ip() {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip),
    };
    // The bit that no other number of this file has set.
    (1 << 126) | (ip.rotate_left(16) >> 3) ^ u128::from(addr.port()) << 64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn check(of: fn(SocketAddr) -> u128, a: &str, b: &str, same: bool) {
        assert_eq!(of(a.parse().unwrap()) == of(b.parse().unwrap()), same, "{a} {b}");
    }

    #[test]
    fn neighbours_share_their_network_and_local_nodes_share_nothing() {
        check(owner, "8.8.8.8:1", "8.8.8.8:2", true);
        check(owner, "8.8.8.8:1", "8.8.8.9:1", false);
        check(network, "8.8.8.8:1", "8.8.8.9:2", true);
        check(network, "8.8.8.8:1", "8.8.9.8:1", false);
        check(neighbourhood, "8.8.8.8:1", "8.8.9.8:1", true);
        check(network, "[2001:db8::1]:1", "[2001:db8::2]:9", true);
        check(network, "[2001:db8::1]:1", "[2001:db8:0:1::1]:1", false);
        check(neighbourhood, "[2001:db8::1]:1", "[2001:db8:0:1::1]:1", true);
        for of in [owner, network, neighbourhood] {
            check(of, "127.0.0.1:1", "127.0.0.1:2", false);
            check(of, "10.0.0.1:1", "10.0.0.2:1", false);
            check(of, "[fd00::1]:1", "[fd00::2]:1", false);
            check(of, "[fd00::1]:1", "[fd00::1]:2", false);
            check(of, "10.0.0.1:1", "10.0.0.1:1", true);
        }
    }
}
