//! Any bytes from the multicast groups of local service discovery.

use ferri_wire::lsd::{Announce, COOKIE_MAX, GROUP_V4, GROUP_V6, INFO_HASHES_MAX, PACKET_MAX};

/// Any datagram. What is understood keeps the bounds and says the same when it is written, for either group.
pub fn lsd(data: &[u8]) {
    let Ok(announce) = Announce::decode(data) else { return };
    assert!(data.len() <= PACKET_MAX);
    assert_ne!(announce.port, 0);
    assert!((1..=INFO_HASHES_MAX).contains(&announce.info_hashes.len()));
    assert!(announce.cookie.as_ref().is_none_or(|cookie| cookie.len() <= COOKIE_MAX));
    for group in [GROUP_V4.into(), GROUP_V6.into()] {
        let datagram = announce.encode(group);
        assert!(datagram.len() <= PACKET_MAX);
        assert_eq!(Announce::decode(&datagram).as_ref(), Ok(&announce));
    }
}
