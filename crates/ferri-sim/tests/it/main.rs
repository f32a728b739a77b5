//! Whole swarms: what must hold whatever happens, over many seeds, and what is promised of particular ones.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use ferri_sim::{Kind, Node, Report, Scenario, run};

const SEEDS: u64 = 200;

fn check(scenario: &Scenario, seed: u64) -> Report {
    let report = run(scenario, seed);
    assert!(report.breaches.is_empty(), "{report}\n{scenario:#?}");
    report
}

#[test]
fn in_every_swarm_everybody_finishes_and_nobody_breaks_a_promise() {
    for seed in 0..SEEDS {
        check(&Scenario::random(seed), seed);
    }
}
