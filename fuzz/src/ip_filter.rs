//! Any bytes as a list of blocked addresses.

use std::net::{IpAddr, Ipv4Addr};

use ferri_filter::{Builder, List, Report};

/// Any list, in one and in many portions. What is blocked does not depend on how it came, and what was refused blocks nothing.
pub fn ip_filter(data: &[u8]) {
    let read = |portion: usize| {
        let mut builder = Builder::default();
        let mut list = List::new(&mut builder);
        data.chunks(portion).for_each(|part| list.feed(part));
        let report = list.finish();
        (builder.build(), report)
    };
    let (whole, report) = read(data.len().max(1));
    let (parts, same) = read(3);
    assert_eq!(report, same);
    assert_eq!(whole.range_count(), parts.range_count());
    let Report { ranges, named, .. } = report.unwrap_or_default();
    assert!(named.len() <= 5);
    // A range of IPv6 may hold all of IPv4, and have a part of a network at either end.
    assert!(whole.range_count() <= 4 * ranges);
    let asked = data.windows(4).take(64).map(|bytes| [bytes[0], bytes[1], bytes[2], bytes[3]]);
    for address in asked.map(Ipv4Addr::from) {
        let is_blocked = whole.blocks(address.into());
        assert_eq!(is_blocked, whole.blocks(address.to_ipv6_mapped().into()));
        assert_eq!(is_blocked, parts.blocks(IpAddr::V4(address)));
    }
}
