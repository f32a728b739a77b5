//! Whole swarms: what must hold whatever happens, over many seeds, and what is promised of particular ones.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use ferri_sim::{Kind, Node, Report, Scenario, run};

/// Swarms of everything that can happen.
const SEEDS: u64 = 200;

fn check(scenario: &Scenario, seed: u64) -> Report {
    let report = run(scenario, seed);
    assert!(report.breaches.is_empty(), "{report}\n{scenario:#?}");
    report
}

fn seed() -> Node {
    Node { seed: true, ..Node::default() }
}

fn nodes(count: usize, node: &Node) -> impl Iterator<Item = Node> {
    std::iter::repeat_n(node.clone(), count)
}

fn time_of(report: &Report, node: usize) -> f64 {
    report.nodes[node].completed.unwrap().as_secs_f64()
}

#[test]
fn in_every_swarm_everybody_finishes_and_nobody_breaks_a_promise() {
    for seed in 0..SEEDS {
        check(&Scenario::random(seed), seed);
    }
}

/// Swarms that once stood still because suspects, stallers and little memory met, or cancelled what they had just asked for.
#[test]
fn swarms_that_once_went_wrong_go_right() {
    for seed in [123, 310, 429, 7_170, 13_526, 13_832, 29_792, 47_450] {
        check(&Scenario::random(seed), seed);
    }
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_seed_another() {
    for seed in 0..10 {
        let scenario = Scenario::random(seed);
        assert_eq!(run(&scenario, seed), run(&scenario, seed));
        assert_ne!(run(&scenario, seed).trace, run(&scenario, seed + 1000).trace);
    }
}

#[test]
fn a_link_is_used_to_the_full_whatever_the_distance() {
    for (latency, up) in [(1, 1 << 20), (100, 1 << 20), (5, 16 << 20), (50, 100 << 10)] {
        let latency = Duration::from_millis(latency);
        let total = up * 40;
        let down = 64 << 20;
        let nodes =
            vec![Node { up, latency, ..seed() }, Node { down, latency, memory: 64 << 20, ..Node::default() }];
        let report = check(&Scenario { total, piece_length: 256 << 10, nodes, ..Scenario::default() }, 1);
        let best = total as f64 / up as f64;
        let took = time_of(&report, 1);
        assert!(took < best * 1.05 + 1.0, "{took} s instead of {best} s at {latency:?} and {up} bytes/s");
        assert_eq!(report.nodes[1].wasted, 0);
    }
}

#[test]
fn stallers_cost_next_to_nothing() {
    let node = Node { latency: Duration::from_millis(30), ..Node::default() };
    let honest: Vec<Node> = nodes(3, &Node { seed: true, ..node.clone() }).chain(nodes(1, &node)).collect();
    let scenario =
        |nodes| Scenario { total: 64 << 20, piece_length: 256 << 10, nodes, ..Scenario::default() };
    for run in 0..3 {
        let without = time_of(&check(&scenario(honest.clone()), run), 3);
        let staller = Node { kind: Kind::Staller, seed: true, ..node.clone() };
        for stallers in [1, 5, 20] {
            let all = honest.iter().cloned().chain(nodes(stallers, &staller)).collect();
            let report = check(&scenario(all), run);
            let with = time_of(&report, 3);
            assert!(with <= without * 1.05, "{stallers} stallers: {with} s instead of {without} s");
            assert!(report.nodes[3].wasted <= 2 << 20, "{} bytes wasted", report.nodes[3].wasted);
        }
    }
}

#[test]
fn peers_that_keep_half_of_each_piece_cost_little() {
    let node =
        Node { latency: Duration::from_millis(2), down: 64 << 20, memory: 64 << 20, ..Node::default() };
    let halver = Node { kind: Kind::HalfPiece, seed: true, up: 64 << 20, ..node.clone() };
    for (up, total) in [(4 << 20, 16 << 20), (1 << 20, 16 << 20), (10 << 20, 128 << 20)] {
        let honest = [Node { seed: true, up, ..node.clone() }, node.clone()];
        let scenario = |nodes| Scenario { total, piece_length: 256 << 10, nodes, ..Scenario::default() };
        for seed_of_run in 0..3 {
            let without = time_of(&check(&scenario(honest.to_vec()), seed_of_run), 1);
            for count in [1, 5, 20] {
                let all = honest.iter().cloned().chain(nodes(count, &halver)).collect();
                let report = check(&scenario(all), seed_of_run);
                let with = time_of(&report, 1);
                assert!(with <= without * 1.15, "{count} of {up}: {with} s instead of {without} s");
            }
        }
    }
}

#[test]
fn twenty_stallers_leave_a_slow_seed_its_rate() {
    let slow = Node { up: 100 << 10, ..seed() };
    let staller = Node { kind: Kind::Staller, ..seed() };
    let nodes: Vec<Node> = [slow, Node::default()].into_iter().chain(nodes(20, &staller)).collect();
    for memory in [1 << 20, 16 << 20] {
        let mut nodes = nodes.clone();
        nodes[1].memory = memory;
        let scenario = Scenario { total: 8 << 20, piece_length: 256 << 10, nodes, ..Scenario::default() };
        let took = time_of(&check(&scenario, 3), 1);
        assert!(took < 82.0 / 0.9, "{took} s instead of 82 s");
    }
}

#[test]
fn a_disk_that_gives_some_blocks_and_not_others_delays_and_blames_nobody() {
    for fast in [true, false] {
        let poor = Node { unreadable: 50, fast, ..seed() };
        let nodes = vec![poor.clone(), poor, Node { fast, ..Node::default() }];
        for seed_of_run in 0..5 {
            let scenario = Scenario { total: 16 << 20, nodes: nodes.clone(), ..Scenario::default() };
            let report = check(&scenario, seed_of_run);
            let leech = &report.nodes[2];
            let took = leech.completed.unwrap();
            assert!(leech.banned.is_empty() && took < Duration::from_secs(60), "{took:?}, fast: {fast}");
        }
    }
}

#[test]
fn a_liar_is_found_out_and_banned() {
    for permille in [10, 100, 1000] {
        for seed_of_run in 0..20 {
            let liar = Node { kind: Kind::Liar { permille }, ..seed() };
            let nodes = vec![seed(), seed(), liar, Node::default()];
            let scenario =
                Scenario { total: 64 << 20, piece_length: 256 << 10, nodes, ..Scenario::default() };
            let report = check(&scenario, seed_of_run);
            let leech = &report.nodes[3];
            assert!(leech.wasted <= 4 << 20, "{} bytes wasted, {permille} in a thousand", leech.wasted);
            assert!(leech.banned == [2] || permille == 10 && leech.wasted == 0, "{report}");
        }
    }
}

#[test]
fn nine_liars_do_not_keep_one_honest_seed_from_serving() {
    let liar = Node { kind: Kind::Liar { permille: 500 }, ..seed() };
    let nodes: Vec<Node> = [seed(), Node::default()].into_iter().chain(nodes(9, &liar)).collect();
    for seed_of_run in 0..20 {
        let scenario = Scenario {
            total: 16 << 20,
            piece_length: 256 << 10,
            nodes: nodes.clone(),
            ..Scenario::default()
        };
        let report = check(&scenario, seed_of_run);
        let mut banned = report.nodes[1].banned.clone();
        banned.sort_unstable();
        banned.dedup();
        assert!(7 <= banned.len(), "{banned:?}");
    }
}

#[test]
fn a_seed_shares_its_slots_fairly() {
    let leech = Node { uploads: false, memory: 2 << 20, ..Node::default() };
    let nodes: Vec<Node> = [Node { slots: Some(3), ..seed() }].into_iter().chain(nodes(12, &leech)).collect();
    let limit = Duration::from_secs(600);
    let scenario = Scenario {
        total: 1 << 30,
        piece_length: 256 << 10,
        nodes,
        limit,
        stop_when_done: false,
        ..Scenario::default()
    };
    for seed_of_run in 0..3 {
        let report = check(&scenario, seed_of_run);
        let sent = &report.nodes[0].sent_to[1..];
        let (least, most) = (sent.iter().min().unwrap(), sent.iter().max().unwrap());
        assert!(*most < least * 2, "{sent:?}");
        let total: u64 = sent.iter().sum();
        assert!(total > 570 << 20, "{total}");
    }
}

#[test]
fn everybody_gets_the_optimistic_slot() {
    let leech = Node { up: 200 << 10, slots: Some(2), ..Node::default() };
    let nodes: Vec<Node> = [Node { up: 100 << 10, ..seed() }].into_iter().chain(nodes(8, &leech)).collect();
    let limit = Duration::from_secs(1800);
    let scenario = Scenario {
        total: 1 << 30,
        piece_length: 64 << 10,
        nodes,
        limit,
        stop_when_done: false,
        ..Scenario::default()
    };
    let report = check(&scenario, 5);
    for node in 1..=8 {
        let strangers = report.nodes[node].optimistic.iter().filter(|times| **times != 0).count();
        assert!(4 <= strangers, "node {node}: {:?}", report.nodes[node].optimistic);
    }
}

#[test]
fn those_who_give_get_more() {
    let giver = Node { up: 400 << 10, slots: Some(3), ..Node::default() };
    let taker = Node { uploads: false, ..giver.clone() };
    let nodes: Vec<Node> = [Node { up: 1 << 20, slots: Some(3), ..seed() }]
        .into_iter()
        .chain(nodes(6, &giver))
        .chain(nodes(4, &taker))
        .collect();
    let scenario = Scenario { total: 48 << 20, piece_length: 128 << 10, nodes, ..Scenario::default() };
    let report = check(&scenario, 9);
    let mean = |nodes: std::ops::RangeInclusive<usize>| {
        let count = nodes.clone().count() as f64;
        nodes.map(|node| time_of(&report, node)).sum::<f64>() / count
    };
    assert!(mean(1..=6) * 1.1 < mean(7..=10), "{} {}", mean(1..=6), mean(7..=10));
}

#[test]
fn a_crowd_finishes_in_little_more_than_the_time_of_one() {
    let nodes: Vec<Node> = [seed()].into_iter().chain(nodes(30, &Node::default())).collect();
    let scenario = Scenario { total: 32 << 20, piece_length: 128 << 10, nodes, ..Scenario::default() };
    let report = check(&scenario, 4);
    let last = (1..=30).map(|node| time_of(&report, node)).fold(0.0, f64::max);
    assert!(last < 32.0 * 2.5, "{last}");
    let wasted: u64 = report.nodes.iter().map(|node| node.wasted).sum();
    assert!(wasted < 30 * (1 << 20), "{wasted}");
}

/// One seeder of 10 MiB/s, leechers that exchange at a gigabit a second: how long until all have everything, as a multiple
/// of the time in which the seeder can send it once, and which share of it the seeder sent again.
fn behind_a_slow_seeder(total: u64, piece_length: u32, leecher: &Node, seed_of_run: u64) -> (f64, f64) {
    let seeder = Node { up: 10 << 20, ..Node { seed: true, ..leecher.clone() } };
    let nodes: Vec<Node> = [seeder].into_iter().chain(nodes(8, leecher)).collect();
    let report = check(&Scenario { total, piece_length, nodes, ..Scenario::default() }, seed_of_run);
    let last = (1..=8).map(|node| time_of(&report, node)).fold(0.0, f64::max);
    let bound = total as f64 / f64::from(10 << 20);
    assert!(report.nodes[0].sent_all.unwrap().as_secs_f64() <= last);
    (last / bound, report.nodes[0].sent_again as f64 / total as f64)
}

#[test]
fn a_seeder_sends_everything_once_and_its_leechers_do_the_rest() {
    let latency = Duration::from_micros(150);
    let leecher = Node { up: 125 << 20, down: 125 << 20, latency, memory: 64 << 20, ..Node::default() };
    for piece_length in [64 << 10, 256 << 10, 1 << 20] {
        for seed_of_run in 0..3 {
            let (time, again) = behind_a_slow_seeder(128 << 20, piece_length, &leecher, seed_of_run);
            assert!(time < 1.10, "{time} times the bound with pieces of {piece_length}");
            assert!(again < 0.10, "{again} of it twice with pieces of {piece_length}");
        }
    }
}

#[test]
fn one_piece_of_memory_is_enough() {
    let nodes = vec![seed(), seed(), Node { memory: 1, ..Node::default() }];
    let report = check(&Scenario { piece_length: 256 << 10, nodes, ..Scenario::default() }, 2);
    assert_eq!(report.nodes[2].memory_peak, 256 << 10);
}
