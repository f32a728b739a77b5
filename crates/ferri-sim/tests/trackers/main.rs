//! The announces of whole sessions: what reaches the trackers.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use ferri_sim::Chance;
use ferri_sim::trackers::{Host, Report, Session, run};

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn good() -> Host {
    Host { takes: Duration::from_millis(100), answers: true, interval: seconds(1800) }
}

fn dead() -> Host {
    Host { takes: seconds(30), answers: false, ..good() }
}

fn check(session: &Session, seed: u64) -> Report {
    let report = run(session, seed);
    assert!(report.breaches.is_empty(), "{report:?}\n{session:?}");
    report
}

fn session(torrents: usize, hosts: &[Host]) -> Session {
    Session { torrents, hosts: hosts.to_vec(), length: seconds(2 * 3600), unrest: 0 }
}

#[test]
fn two_thousand_torrents_of_a_tracker_are_a_trickle_and_stay_one() {
    let report = check(&session(2000, &[good()]), 1);
    let host = &report.hosts[0];
    // 20 a second.
    let all = host.all_started.unwrap();
    assert!((seconds(90)..seconds(110)).contains(&all), "{all:?}");
    assert!((7_000..9_000).contains(&host.announces), "every half hour: {host:?}");
}

#[test]
fn a_dead_tracker_costs_little_and_holds_up_no_other() {
    let report = check(&session(1000, &[dead(), good()]), 2);
    assert!(report.hosts[0].under_way_max <= 32, "{report:?}");
    assert!(report.hosts[1].all_started.unwrap() < seconds(30), "{report:?}");
}

#[test]
fn a_few_torrents_do_not_wait() {
    let report = check(&session(10, &[good()]), 3);
    assert_eq!(report.hosts[0].all_started, Some(Duration::ZERO));
}

#[test]
fn sessions_of_every_kind_keep_their_promises() {
    for seed in 0..100 {
        let mut chance = Chance::new(seed);
        let hosts = (0..=chance.below(4)).map(|_| Host {
            takes: Duration::from_millis(chance.below(40_000)),
            answers: chance.below(3) != 0,
            interval: seconds(60 + chance.below(3600)),
        });
        let hosts: Vec<_> = hosts.collect();
        let torrents = 1 + chance.below(150) as usize;
        let session = Session { torrents, hosts, length: seconds(3600), unrest: chance.below(200) };
        let report = check(&session, seed);
        assert!(report.hosts.iter().all(|host| host.announces != 0 || torrents < report.hosts.len()));
        if seed < 5 {
            assert_eq!(report, run(&session, seed), "the same again");
        }
    }
}
