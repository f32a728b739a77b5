//! 50,000 hostile packets a second for a minute: the node stays as small as it was and goes on with its work. A binary of
//! its own, so that memory can be measured.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use ferri_sim::dht::{Report, Scenario, run};

/// Until then the stores fill up to their bounds, in seconds.
const FILLING: usize = 20;

/// What memory may vary by afterwards: much less than the packets of one second have.
const GROWTH_MAX: u64 = 4 << 20;

#[test]
fn fifty_thousand_hostile_packets_a_second_leave_memory_flat_and_lookups_working() {
    let (mut made, mut found) = (0, 0);
    for seed in [1, 2] {
        let report = flood(seed);
        made += report.old.made;
        found += report.old.found;
    }
    // One seed alone has too few lookups for a share of this size.
    assert!(100 <= made && made * 95 <= found * 100, "{found} of {made}");
}

fn flood(seed: u64) -> Report {
    let scenario = Scenario::flood(50_000, Duration::from_secs(60));
    let report = run(&scenario, seed);
    assert!(report.breaches.is_empty(), "{report}");
    let flood = &report.flood;
    assert_eq!(flood.packets, 3_000_000, "{report}");
    let sizes = &flood.sizes[FILLING..60];
    let memory: Vec<u64> = sizes.iter().map(|sizes| sizes.memory).collect();
    let grown = memory.iter().max().unwrap() - memory[0];
    assert!(grown < GROWTH_MAX, "{memory:?}");
    assert!(sizes.iter().all(|sizes| sizes.items <= scenario.options.items_max), "{sizes:?}");
    assert!(sizes.iter().all(|sizes| sizes.queries_open <= 2_048), "{sizes:?}");
    // There was something to keep small.
    assert!(sizes.iter().all(|sizes| 500 < sizes.peers && 100 < sizes.items), "{report}");
    report
}
