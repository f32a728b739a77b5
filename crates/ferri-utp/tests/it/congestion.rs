//! Streams are fast on links that lose packets, do not make others wait, and make room for TCP.

use std::time::Duration;

use crate::measure::{FAST, Measured, Scenario, bottleneck, measure};

const ROUND_TRIP: Duration = Duration::from_millis(50);
const MILLISECOND: Duration = Duration::from_millis(1);

/// One stream over a link of 100 Mbit/s and 50 ms; the part of the link that it gets.
fn alone(loss: f64) -> Measured {
    let scenario = Scenario {
        link: bottleneck(FAST, ROUND_TRIP, 300 * MILLISECOND, loss),
        streams: vec![Duration::ZERO],
        tcp: None,
        from: Duration::ZERO,
        until: Duration::from_secs(10),
    };
    measure(&scenario, 1)
}

#[test]
fn a_link_without_loss_is_filled_and_the_queue_stays_short() {
    let measured = alone(0.0);
    assert!(0.85 * FAST < measured.streams[0], "{measured:?}");
    assert!(measured.waited < 120 * MILLISECOND && measured.waited_max < 200 * MILLISECOND, "{measured:?}");
}

#[test]
fn damage_on_the_way_is_not_taken_for_congestion() {
    for (loss, part) in [(0.001, 0.5), (0.01, 0.2), (0.05, 0.01)] {
        let measured = alone(loss);
        assert!(part * FAST < measured.streams[0], "{loss}: {measured:?}");
    }
}

#[test]
fn tcp_keeps_what_it_had() {
    // A buffer that is deeper than the target, and one that never shows it.
    for queue in [200, 50] {
        let scenario = |streams| Scenario {
            link: bottleneck(FAST / 5.0, ROUND_TRIP, queue * MILLISECOND, 0.0),
            streams,
            tcp: Some(Duration::ZERO),
            from: Duration::from_secs(15),
            until: Duration::from_secs(60),
        };
        let before = measure(&scenario(vec![]), 1).tcp;
        let beside = measure(&scenario(vec![Duration::from_secs(10)]), 1);
        assert!(0.9 * before < beside.tcp, "{queue} ms: {before}, then {beside:?}");
    }
}
