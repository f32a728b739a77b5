//! What is kept, what is dialled, and what never.

#![allow(clippy::unwrap_used)]

use super::*;

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn check_usable(source: Source, text: &str, expected: bool) {
    let mut candidates = Candidates::new(Some(6881), 1);
    candidates.set_external([9, 9, 9, 9].into());
    candidates.found(source, &[addr(text)], Instant::now());
    assert_eq!(candidates.len() == 1, expected, "{source:?} {text}");
}

#[test]
fn addresses_that_cannot_be_a_peer_are_never_kept() {
    check_usable(Source::Dht, "1.2.3.4:6881", true);
    check_usable(Source::Dht, "1.2.3.4:0", false);
    check_usable(Source::Dht, "0.0.0.0:6881", false);
    check_usable(Source::Dht, "0.1.2.3:6881", false);
    check_usable(Source::Dht, "224.0.0.1:6881", false);
    check_usable(Source::Dht, "255.255.255.255:6881", false);
    check_usable(Source::Dht, "[::]:6881", false);
    check_usable(Source::Dht, "[ff02::1]:6881", false);
    check_usable(Source::Pex, "[::ffff:127.0.0.1]:6881", false);
    check_usable(Source::Dht, "9.9.9.9:6881", false);
    check_usable(Source::Dht, "9.9.9.9:6882", true);
}

#[test]
fn loopback_and_foreign_services_depend_on_who_says_so() {
    check_usable(Source::Tracker, "127.0.0.1:6881", true);
    check_usable(Source::Explicit, "[::1]:6881", true);
    check_usable(Source::Dht, "127.0.0.1:6881", true);
    check_usable(Source::Pex, "127.0.0.1:6881", false);
    check_usable(Source::Lsd, "[::1]:6881", false);
    check_usable(Source::Incoming, "127.1.2.3:6881", false);
    check_usable(Source::Tracker, "1.2.3.4:25", false);
    check_usable(Source::Explicit, "1.2.3.4:25", true);
}

#[test]
fn the_list_is_bounded_and_failed_addresses_leave_first() {
    let now = Instant::now();
    let mut candidates = Candidates::new(None, 1);
    let many: Vec<_> =
        (0..5_000u32).map(|n| SocketAddr::new(IpAddr::V4((0x0b00_0000 + n).into()), 1)).collect();
    candidates.found(Source::Tracker, &many[..1_900], now);
    candidates.found(Source::Dht, &many[1_900..], now);
    assert_eq!(candidates.len(), CANDIDATES_MAX);
    candidates.found(Source::Pex, &[addr("1.2.3.4:1")], now);
    assert_eq!(candidates.len(), CANDIDATES_MAX);
    let dialled = candidates.next(2, Need::Any, now);
    candidates.failed(dialled[0], now);
    candidates.found(Source::Pex, &[addr("1.2.3.4:1")], now);
    assert!(candidates.known.contains_key(&addr("1.2.3.4:1")) && !candidates.known.contains_key(&dialled[0]));
    candidates.found(Source::Explicit, &[addr("1.2.3.5:1")], now);
    assert!(candidates.known.contains_key(&addr("1.2.3.5:1")));
    assert_eq!(candidates.len(), CANDIDATES_MAX);
}

fn hosts(from: u32, count: u32) -> Vec<SocketAddr> {
    (from..from + count).map(|n| SocketAddr::new(IpAddr::V4((0x0b00_0000 + n).into()), 1)).collect()
}

#[test]
fn no_source_fills_the_list_alone_and_what_failed_makes_room_within_it() {
    let now = Instant::now();
    for source in [Source::Tracker, Source::Resume, Source::Lsd, Source::Incoming, Source::Pex, Source::Dht] {
        let mut candidates = Candidates::new(None, 1);
        candidates.found(source, &hosts(0, 5_000), now);
        assert_eq!(candidates.len(), quota(source));
        assert!(quota(source) < CANDIDATES_MAX);
        candidates.found(Source::Explicit, &hosts(9_000, 1), now);
        assert_eq!(candidates.from().get(source), quota(source));
        let dialled = candidates.next(2, Need::Any, now)[1];
        candidates.failed(dialled, now);
        candidates.found(source, &hosts(6_000, 5), now);
        assert_eq!(candidates.from().get(source), quota(source));
        assert!(!candidates.known.contains_key(&dialled), "{source:?}");
    }
}

#[test]
fn what_is_kept_for_a_later_run_is_those_who_are_there_before_those_who_were_and_may_be() {
    let now = Instant::now();
    let mut candidates = Candidates::new(None, 1);
    let all = hosts(0, 5);
    candidates.found(Source::Tracker, &all, now);
    candidates.dialling(&all[2..], now);
    candidates.connected(all[4]);
    candidates.connected(all[3]);
    candidates.disconnected(all[3], Parting::Useful, false, now);
    candidates.failed(all[2], now);
    assert_eq!(candidates.worth_keeping(9), [all[4], all[3], all[0], all[1]]);
    assert_eq!(candidates.worth_keeping(2), [all[4], all[3]]);
}

#[test]
fn a_peer_tells_a_hundred_addresses_and_more_only_as_they_prove_true() {
    let now = Instant::now();
    let mut candidates = Candidates::new(None, 1);
    let told = |from, count| -> Vec<_> {
        hosts(from, count).into_iter().map(|addr| (addr, PexFlags::NONE)).collect()
    };
    let (one, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
    candidates.told(one, &told(0, 150), now);
    assert_eq!(candidates.len(), 100);
    candidates.told(other, &told(150, 10), now);
    assert_eq!(candidates.len(), 110);
    candidates.connected(hosts(0, 1)[0]);
    candidates.found(Source::Tracker, &hosts(1, 1), now);
    candidates.ban(hosts(2, 1)[0], Known::Connected);
    candidates.told(one, &told(200, 9), now);
    assert_eq!(candidates.len(), 112, "three of the hundred are no longer its own");
    assert_eq!((candidates.from().get(Source::Pex), candidates.from().get(Source::Tracker)), (111, 1));
}

#[test]
fn the_seed_flag_of_a_stranger_is_taken_over() {
    let now = Instant::now();
    let mut candidates = Candidates::new(None, 1);
    let added = [(addr("11.0.0.1:1"), PexFlags::SEED), (addr("11.0.0.2:1"), PexFlags::NONE)];
    candidates.told([10, 0, 0, 1].into(), &added, now);
    assert_eq!((candidates.ready(Need::Any, now), candidates.ready(Need::NotSeeds, now)), (2, 1));
    // Another one cannot take it back.
    candidates.told([10, 0, 0, 2].into(), &[(addr("11.0.0.1:1"), PexFlags::NONE)], now);
    assert_eq!(candidates.ready(Need::NotSeeds, now), 1);
}

#[test]
fn strangers_name_few_ports_of_a_host_and_trackers_as_many_as_they_like() {
    let now = Instant::now();
    let mut candidates = Candidates::new(None, 1);
    let ports: Vec<_> = (1_000..1_050).map(|port| SocketAddr::from(([11, 0, 0, 1], port))).collect();
    candidates.found(Source::Dht, &ports, now);
    assert_eq!(candidates.len(), PORTS_MAX);
    candidates.found(Source::Tracker, &ports, now);
    assert_eq!(candidates.len(), 50);
    assert_eq!(candidates.from().get(Source::Dht), 0, "the tracker vouches for them");
}

#[test]
fn a_failing_address_is_tried_less_and_less_and_then_forgotten() {
    let mut now = Instant::now();
    let mut candidates = Candidates::new(None, 1);
    candidates.found(Source::Tracker, &[addr("1.2.3.4:1")], now);
    let mut waits = Vec::new();
    while candidates.len() == 1 {
        assert_eq!(candidates.next(5, Need::Any, now), [addr("1.2.3.4:1")]);
        assert_eq!(candidates.connecting(), 1);
        candidates.failed(addr("1.2.3.4:1"), now);
        assert_eq!(candidates.connecting(), 0);
        if let Some(at) = candidates.next_change(Need::Any, now) {
            assert!(candidates.next(5, Need::Any, at - Duration::from_millis(1)).is_empty());
            waits.push((at - now).as_secs());
            now = at;
        }
    }
    assert_eq!(waits, [15, 60, 240, 960, 1800]);
}

#[test]
fn the_better_rank_is_dialled_first_and_failures_come_last() {
    let now = Instant::now();
    let mut candidates = Candidates::new(Some(6881), 1);
    candidates.set_external([123, 213, 32, 10].into());
    let addrs = [addr("98.76.54.32:1"), addr("123.213.32.234:1"), addr("5.5.5.5:1")];
    candidates.found(Source::Dht, &addrs, now);
    let mut expected = addrs.to_vec();
    expected.sort_by_key(|a| std::cmp::Reverse(bep40::priority(addr("123.213.32.10:6881"), *a)));
    let first = candidates.next(1, Need::Any, now);
    assert_eq!(first, expected[..1]);
    candidates.failed(first[0], now);
    let later = now + Duration::from_secs(20);
    assert_eq!(candidates.next(9, Need::Any, later), [expected[1], expected[2], expected[0]]);
}

#[test]
fn who_is_banned_is_not_dialled_and_with_the_second_culprit_nobody_there() {
    let now = Instant::now();
    let mut candidates = Candidates::new(None, 1);
    let all = ["1.2.3.4:1", "1.2.3.4:2", "1.2.3.4:3", "127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"].map(addr);
    candidates.found(Source::Tracker, &all, now);
    candidates.ban(addr("1.2.3.4:1"), Known::Connected);
    candidates.ban(addr("127.0.0.1:1"), Known::Connected);
    assert_eq!(candidates.len(), 4);
    assert!(candidates.is_banned(addr("[::ffff:1.2.3.4]:1")) && !candidates.is_banned(addr("1.2.3.4:2")));
    candidates.ban(addr("1.2.3.4:2"), Known::Connected);
    candidates.ban(addr("127.0.0.1:2"), Known::Connected);
    assert_eq!(candidates.next(9, Need::Any, now), [addr("127.0.0.1:3")]);
    assert!(candidates.is_banned(addr("1.2.3.4:77")));
    candidates.found(Source::Tracker, &all, now);
    assert_eq!(candidates.len(), 1);
}

#[test]
fn who_hangs_up_again_and_again_is_dialled_after_a_growing_second_when_nobody_else_is_left() {
    let mut now = Instant::now();
    let peer = addr("198.51.100.7:6881");
    let mut candidates = Candidates::new(None, 1);
    candidates.found(Source::Tracker, &[peer], now);
    let mut waits = Vec::new();
    for parting in [[Parting::Useful; 7], [Parting::Fruitful; 7]].concat() {
        assert_eq!(candidates.next(1, Need::AnyAtOnce, now), [peer]);
        candidates.connected(peer);
        candidates.disconnected(peer, parting, false, now);
        let (at, later) = (Need::AnyAtOnce, Need::Any);
        assert_eq!(candidates.next_change(later, now), Some(now + RECONNECT));
        let next = candidates.next_change(at, now).unwrap();
        waits.push((next - now).as_secs());
        assert_eq!(candidates.ready(at, next - Duration::from_millis(1)), 0);
        now = next;
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30, 1, 1, 1, 1, 1, 1, 1]);
}

#[test]
fn a_peer_that_is_away_for_a_moment_is_found_again_soon_and_not_forgotten_sooner() {
    let mut now = Instant::now();
    let peer = addr("198.51.100.7:6881");
    let mut candidates = Candidates::new(None, 1);
    candidates.found(Source::Tracker, &[peer], now);
    candidates.next(1, Need::AnyAtOnce, now);
    candidates.connected(peer);
    candidates.disconnected(peer, Parting::Fruitful, true, now);
    let start = now;
    for _ in 0..4 {
        now = candidates.next_change(Need::AnyAtOnce, now).unwrap();
        assert_eq!(candidates.next(1, Need::AnyAtOnce, now), [peer]);
        candidates.failed(peer, now);
    }
    assert_eq!(now - start, Duration::from_secs(1 + 2 + 4 + 8));
    assert_eq!(candidates.known[&peer].failures, 0);
    assert_eq!(candidates.next_change(Need::Any, now), Some(start + RECONNECT));
}

#[test]
fn who_broke_a_rule_is_not_called_back_soon() {
    let now = Instant::now();
    let peer = addr("198.51.100.7:6881");
    let mut candidates = Candidates::new(None, 1);
    candidates.found(Source::Tracker, &[peer], now);
    candidates.next(1, Need::AnyAtOnce, now);
    candidates.connected(peer);
    candidates.disconnected(peer, Parting::Guilty, false, now);
    assert_eq!(candidates.next_change(Need::AnyAtOnce, now), Some(now + RETRY_FIRST));
}

#[test]
fn what_a_peer_says_of_itself_keeps_nobody_from_an_address_that_others_name() {
    let now = Instant::now();
    let (named, own) = (addr("198.51.100.7:6881"), addr("198.51.100.7:6882"));
    for said_first in [false, true] {
        let mut candidates = Candidates::new(None, 1);
        let claim = |candidates: &mut Candidates| [named, own].map(|addr| candidates.claimed(addr, now));
        if said_first {
            claim(&mut candidates);
        }
        candidates.found(Source::Dht, &[named], now);
        if !said_first {
            claim(&mut candidates);
        }
        let doubted = now + CLAIM_BELIEVED;
        assert_eq!(candidates.next_change(Need::AnyAtOnce, now), Some(doubted));
        assert_eq!((candidates.ready(Need::AnyAtOnce, now), candidates.ready(Need::Any, doubted)), (0, 0));
        // The same again does not put it off.
        candidates.claimed(named, doubted);
        assert_eq!(candidates.next(9, Need::AnyAtOnce, doubted), [named]);
        candidates.connected(named);
        assert_eq!((candidates.ready(Need::AnyAtOnce, doubted), candidates.connecting()), (0, 0));
    }
}

#[test]
fn a_liar_cannot_have_an_address_forgotten_that_it_names() {
    let mut now = Instant::now();
    let peer = addr("198.51.100.7:6881");
    let mut candidates = Candidates::new(None, 1);
    candidates.found(Source::Tracker, &[peer], now);
    for _ in 0..2 * FAILURES_MAX {
        candidates.claimed(peer, now);
        candidates.disconnected(peer, Parting::Guilty, false, now);
        now += RETRY_FIRST;
    }
    assert_eq!(candidates.next(1, Need::Any, now), [peer]);
}

#[test]
fn ourselves_are_not_dialled_twice() {
    let now = Instant::now();
    let mut candidates = Candidates::new(Some(5), 1);
    candidates.found(Source::Tracker, &[addr("10.0.0.1:5")], now);
    candidates.next(1, Need::Any, now);
    candidates.met_ourselves(addr("10.0.0.1:5"));
    candidates.found(Source::Tracker, &[addr("10.0.0.1:5")], now);
    assert_eq!((candidates.len(), candidates.connecting()), (0, 0));
}

#[test]
fn a_person_who_names_an_address_has_it_dialled_at_once() {
    let now = Instant::now();
    let mut candidates = Candidates::new(None, 1);
    let peer = addr("198.51.100.7:6881");
    candidates.found(Source::Explicit, &[peer], now);
    assert_eq!(candidates.next(1, Need::Any, now), [peer]);
    candidates.failed(peer, now);
    assert!(candidates.next(1, Need::Any, now).is_empty(), "it backs off");
    candidates.found(Source::Explicit, &[peer], now);
    assert_eq!(candidates.next(1, Need::Any, now), [peer]);
}

#[test]
fn peers_left_for_a_pause_are_welcome_after_it_and_failed_ones_wait() {
    let now = Instant::now();
    let mut candidates = Candidates::new(None, 1);
    let (left, failed) = (addr("198.51.100.7:6881"), addr("198.51.100.8:6881"));
    candidates.found(Source::Tracker, &[left, failed], now);
    assert_eq!(candidates.next(2, Need::Any, now).len(), 2);
    candidates.connected(left);
    candidates.disconnected(left, Parting::Useful, false, now);
    candidates.failed(failed, now);
    candidates.welcome_back(now);
    assert_eq!(candidates.next(2, Need::Any, now), [left]);
}

#[test]
fn a_seed_is_not_dialled_again_when_we_are_one() {
    let now = Instant::now();
    let mut candidates = Candidates::new(None, 1);
    candidates.found(Source::Tracker, &[addr("10.0.0.1:5")], now);
    candidates.next(1, Need::Any, now);
    candidates.connected(addr("10.0.0.1:5"));
    candidates.disconnected(addr("10.0.0.1:5"), Parting::Useful, true, now);
    let later = now + RECONNECT;
    assert_eq!(candidates.ready(Need::NotSeeds, later), 0);
    assert_eq!(candidates.next(1, Need::Any, later).len(), 1);
}

#[test]
fn a_dial_nobody_answers_is_given_up() {
    let now = Instant::now();
    let mut candidates = Candidates::new(None, 1);
    candidates.found(Source::Tracker, &[addr("10.0.0.1:5")], now);
    candidates.next(1, Need::Any, now);
    candidates.expire(now + Duration::from_secs(59));
    assert_eq!(candidates.connecting(), 1);
    candidates.expire(now + Duration::from_secs(60));
    assert_eq!(candidates.connecting(), 0);
}
