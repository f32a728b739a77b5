//! A thousand nodes of the DHT, sybils around a target, and networks with IPv6: what lookups cost and find.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use ferri_sim::dht::{Families, Networks, Report, Scenario, quantile, run};

fn check(scenario: &Scenario, seed: u64) -> Report {
    let report = run(scenario, seed);
    assert!(report.breaches.is_empty(), "{report}");
    report
}

#[test]
fn a_thousand_nodes_find_what_was_announced_with_few_questions() {
    let scenario = Scenario::internet(1_000);
    let report = check(&scenario, 1);
    let allowed = scenario.queries_allowed();
    for lookups in [&report.old, &report.fresh] {
        assert!(90 < lookups.made, "{report}");
        let median = quantile(&lookups.queries_to_peers, 0.5) as f64;
        assert!(median <= allowed, "{median} queries instead of {allowed}: {report}");
    }
    let (found, made) = (report.old.found + report.fresh.found, report.old.made + report.fresh.made);
    assert!(made * 99 <= found * 100, "{report}");
    assert!(report.abandoned * 20 < made, "{report}");
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_seed_another() {
    let scenario = Scenario { announces: 10, fresh: 3, families: Families::Mixed, ..Scenario::internet(40) };
    let report = check(&scenario, 5);
    assert_eq!(check(&scenario, 5), report);
    assert_ne!(check(&scenario, 6).trace, report.trace);
}

#[test]
fn networks_with_ipv6_find_what_was_announced() {
    for families in [Families::V6, Families::Mixed] {
        let scenario = Scenario { families, announces: 100, fresh: 20, ..Scenario::internet(100) };
        let report = check(&scenario, 2);
        let (found, made) = (report.old.found + report.fresh.found, report.old.made + report.fresh.made);
        assert!(100 <= made && made * 99 <= found * 100, "{families:?}: {report}");
    }
}

#[test]
fn sybils_whose_ids_are_not_theirs_hide_nobody() {
    for networks in [Networks::Slash24(4), Networks::Slash16(4), Networks::Everywhere] {
        let report = check(&Scenario::sybils(networks, false), 3);
        assert_eq!(report.old.made, 200, "{report}");
        assert!(190 <= report.old.found, "{networks:?}: {report}");
        // Nor do they mislead many about their own address.
        assert!(report.misfits * 10 <= report.online, "{networks:?}: {report}");
    }
}

#[test]
fn a_network_of_three_works() {
    let scenario = Scenario {
        nodes: 3,
        join_over: Duration::from_secs(1),
        settle: Duration::from_secs(30),
        announces: 4,
        fresh: 0,
        loss: 0,
        nat: 0,
        session: None,
        ..Scenario::internet(3)
    };
    let report = check(&scenario, 1);
    assert_eq!(report.old.found, 4, "{report}");
}
