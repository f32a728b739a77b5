//! Whole swarms in a registry: which peers find each other, which stay, which make room.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;

use proptest::prelude::*;

use super::super::access::{Limits, User};
use super::super::group::Has;
use super::super::hashing::identity;
use super::super::ledger::LimitReached;
use super::super::swarm::Families;
use super::*;
use crate::announce::Event;

const HASH: [u8; 20] = [7; 20];

fn registry(options: RegistryOptions) -> (Registry, Instant) {
    let now = Instant::now();
    (Registry::new(options, [1; 16], now), now)
}

fn ask(number: u8, has: Has, event: Option<Event>) -> Ask {
    Ask {
        info_hash: InfoHash::from(HASH),
        addr: SocketAddr::from(([10, 0, 0, number], 1000 + u16::from(number))),
        identity: identity(&[number; 20], 5),
        has,
        event,
        numwant: None,
        families: Families::Both,
        user: None,
    }
}

struct Told {
    numbers: Scrape,
    peers: Vec<SocketAddr>,
}

fn tell(registry: &Registry, ask: &Ask, now: Instant) -> Result<Told, Refusal> {
    use super::super::group::Compact;
    registry.announce(ask, now, |answer| {
        let v4 = answer.picks.v4().map(Compact::addr);
        Told { numbers: answer.numbers, peers: v4.chain(answer.picks.v6().map(Compact::addr)).collect() }
    })
}

fn say(registry: &Registry, number: u8, has: Has, event: Option<Event>, now: Instant) -> Told {
    tell(registry, &ask(number, has, event), now).unwrap()
}

fn peers(registry: &Registry) -> usize {
    registry.census().peers
}

#[test]
fn peers_find_each_other_and_leave() {
    let (registry, now) = registry(RegistryOptions::default());
    assert!(say(&registry, 1, Has::All, Some(Event::Started), now).peers.is_empty());
    let second = say(&registry, 2, Has::Some, Some(Event::Started), now);
    assert_eq!(second.peers, ["10.0.0.1:1001".parse().unwrap()]);
    assert_eq!((second.numbers.seeders, second.numbers.leechers), (1, 1));
    assert_eq!(say(&registry, 1, Has::All, None, now).peers.len(), 1);
    say(&registry, 2, Has::All, Some(Event::Completed), now);
    let scrape = registry.scrape(&InfoHash::from(HASH));
    assert_eq!((scrape.seeders, scrape.downloaded), (2, 1));
    say(&registry, 2, Has::All, Some(Event::Completed), now);
    assert_eq!(registry.scrape(&InfoHash::from(HASH)).downloaded, 1);
    assert!(say(&registry, 1, Has::All, Some(Event::Stopped), now).peers.is_empty());
    say(&registry, 2, Has::All, Some(Event::Stopped), now);
    let census = registry.census();
    assert_eq!((census.swarms, census.peers, census.seeds), (0, 0, 0));
}

#[test]
fn stopped_of_an_unknown_peer_is_normal() {
    let (registry, now) = registry(RegistryOptions::default());
    let told = say(&registry, 1, Has::Some, Some(Event::Stopped), now);
    assert_eq!((told.numbers.seeders, told.numbers.leechers), (0, 0));
    say(&registry, 2, Has::Some, None, now);
    let told = say(&registry, 1, Has::Some, Some(Event::Stopped), now);
    assert_eq!((told.numbers.leechers, told.peers.len(), peers(&registry)), (1, 0, 1));
}

#[test]
fn a_magnet_download_that_says_it_lacks_nothing_is_told_of_seeds() {
    let (registry, now) = registry(RegistryOptions::default());
    for number in 1..=60 {
        say(&registry, number, Has::All, Some(Event::Started), now);
    }
    // aria2 and rqbit announce so before they have the info dictionary.
    assert_eq!(say(&registry, 100, Has::All, Some(Event::Started), now).peers.len(), 20);
    assert_eq!(say(&registry, 100, Has::All, None, now).peers.len(), 20);
    // A peer that downloaded all of it wants no seeds.
    say(&registry, 101, Has::Some, Some(Event::Started), now);
    assert_eq!(say(&registry, 101, Has::All, Some(Event::Completed), now).peers.len(), 0);
    assert_eq!(say(&registry, 101, Has::All, None, now).peers.len(), 0);
    // Those who want more come first.
    for number in 110..140 {
        say(&registry, number, Has::Some, None, now);
    }
    let told = say(&registry, 100, Has::All, None, now).peers;
    assert_eq!((told.len(), told.iter().all(|addr| 1110 <= addr.port())), (30, true));
}

#[test]
fn a_partial_seed_is_no_seed_and_wants_only_those_who_want_more() {
    let (registry, now) = registry(RegistryOptions::default());
    say(&registry, 1, Has::All, None, now);
    say(&registry, 2, Has::Enough, Some(Event::Paused), now);
    say(&registry, 3, Has::Some, None, now);
    let told = say(&registry, 2, Has::Enough, Some(Event::Paused), now);
    assert_eq!(told.peers, ["10.0.0.3:1003".parse().unwrap()]);
    let numbers = told.numbers;
    assert_eq!((numbers.seeders, numbers.leechers, numbers.downloaders), (1, 2, Some(1)));
    assert_eq!(say(&registry, 3, Has::Some, None, now).peers.len(), 2);
}

#[test]
fn the_silent_are_forgotten_and_others_stay() {
    let (registry, now) = registry(RegistryOptions::default());
    let lifetime = registry.options().peer_lifetime;
    for number in 1..100 {
        say(&registry, number, Has::Some, None, now);
    }
    say(&registry, 200, Has::Some, None, now + lifetime);
    registry.sweep(now + lifetime);
    assert_eq!(peers(&registry), 100);
    // In small steps, as it is called; the last of them well after a whole round.
    for second in 1..=SWEEP_TIME_MAX.as_secs() + 10 {
        registry.sweep(now + lifetime + Duration::from_secs(second));
    }
    assert_eq!((peers(&registry), registry.counters().expired), (1, 99));
    // At once, when no client called for long.
    registry.sweep(now + 3 * lifetime);
    let census = registry.census();
    assert_eq!((census.swarms, census.peers, census.peers_v6), (0, 0, 0));
}

#[test]
fn nobody_says_stopped_for_another() {
    let (registry, now) = registry(RegistryOptions::default());
    say(&registry, 1, Has::Some, None, now);
    let stopped = ask(1, Has::Some, Some(Event::Stopped));
    tell(&registry, &Ask { identity: identity(&[1; 20], 6), ..stopped.clone() }, now).unwrap();
    assert_eq!(peers(&registry), 1);
    let elsewhere = Ask { addr: "10.0.0.2:1001".parse().unwrap(), ..stopped.clone() };
    tell(&registry, &elsewhere, now).unwrap();
    assert_eq!(peers(&registry), 1);
    tell(&registry, &stopped, now).unwrap();
    assert_eq!(peers(&registry), 0);
}

#[test]
fn a_client_that_moved_is_one_peer_and_a_dual_stacked_one_is_two() {
    let (registry, now) = registry(RegistryOptions::default());
    say(&registry, 1, Has::All, Some(Event::Completed), now);
    let at = |addr: &str| Ask { addr: addr.parse().unwrap(), ..ask(1, Has::All, None) };
    tell(&registry, &at("10.0.0.99:1001"), now).unwrap();
    let scrape = registry.scrape(&InfoHash::from(HASH));
    assert_eq!((peers(&registry), scrape.downloaded), (1, 1));
    let told = tell(&registry, &at("[2001:db8::1]:1001"), now).unwrap();
    assert_eq!((peers(&registry), told.peers.len()), (2, 0));
    // The same id with another key is another client, and cannot push the first one out.
    let other = Ask { identity: identity(&[1; 20], 1), ..at("10.0.0.50:1001") };
    tell(&registry, &other, now).unwrap();
    assert_eq!(peers(&registry), 3);
}

/// A peer of a network that has no others.
fn honest(number: u32, hash: [u8; 20]) -> Ask {
    let [_, b, c, d] = number.to_be_bytes();
    Ask {
        info_hash: InfoHash::from(hash),
        addr: SocketAddr::from(([10, b, c, d], 6881)),
        identity: identity(&[9; 20], number),
        ..ask(1, Has::Some, Some(Event::Started))
    }
}

/// An info hash that no other torrent has.
fn invented(number: u32) -> [u8; 20] {
    let mut hash = [0xee; 20];
    hash[..4].copy_from_slice(&number.to_be_bytes());
    hash
}

fn attack(registry: &Registry, number: u32, now: Instant) -> Result<Told, Refusal> {
    let addr = SocketAddr::from(([192, 0, 2, 66], 1 + (number % 60_000) as u16));
    tell(registry, &Ask { addr, ..honest(number, invented(number)) }, now)
}

#[test]
fn one_address_that_invents_torrents_changes_nothing_for_the_next_honest_one() {
    let options = RegistryOptions { swarms_max: 3_000, peers_max: 6_000, ..RegistryOptions::default() };
    let (registry, now) = registry(options);
    for number in 0..500 {
        tell(&registry, &honest(number, [number as u8; 20]), now).unwrap();
    }
    let refused = (0..20_000).filter(|number| attack(&registry, *number, now).is_err()).count();
    assert!(refused > 15_000, "{refused}");
    assert_eq!(registry.census().swarms, 3_000);
    // As many honest torrents as there are places for them: all have room, and none pushes out another.
    for number in 1_000..3_000 {
        tell(&registry, &honest(number, invented(1_000_000 + number)), now).unwrap();
        let _ = attack(&registry, 50_000 + number, now);
    }
    let stayed = (1_000..3_000)
        .filter(|number| registry.scrape(&InfoHash::from(invented(1_000_000 + number))).leechers == 1);
    assert_eq!(stayed.count(), 2_000);
    assert!((0..=255).all(|byte| 0 < registry.scrape(&InfoHash::from([byte; 20])).leechers));
    assert_eq!((registry.census().swarms, registry.counters().evicted >= 2_000), (3_000, true));
}

/// Fills the tracker with invented torrents, each with peers at all of `addrs`, and says how many of 20 honest new ones were
/// served then.
fn served_after_flood(addrs: &[SocketAddr]) -> usize {
    let options = RegistryOptions { swarms_max: 3_000, peers_max: 30_000, ..RegistryOptions::default() };
    let (registry, now) = registry(options);
    for number in 0..500 {
        tell(&registry, &honest(number, [number as u8; 20]), now).unwrap();
    }
    for number in 0..4_000 {
        for (at, addr) in addrs.iter().enumerate() {
            let identity = number * 100 + at as u32;
            let _ = tell(&registry, &Ask { addr: *addr, identity, ..honest(0, invented(number)) }, now);
        }
    }
    assert_eq!(registry.census().swarms, 3_000);
    let served = (1_000..1_020)
        .filter(|number| tell(&registry, &honest(*number, invented(1_000_000 + number)), now).is_ok());
    let served = served.count();
    assert!((0..=255).all(|byte| 0 < registry.scrape(&InfoHash::from([byte; 20])).leechers));
    served
}

#[test]
fn invented_torrents_with_several_peers_each_make_room_for_honest_ones() {
    let at = |addr: &str| addr.parse::<SocketAddr>().unwrap();
    let v4 = at("192.0.2.66:1000");
    assert_eq!(served_after_flood(&[v4, at("192.0.2.67:1000")]), 20);
    assert_eq!(served_after_flood(&[v4, at("[2001:db8::66]:1000")]), 20);
    assert_eq!(served_after_flood(&[at("[2001:db8::66]:1000"), at("[2001:db8:0:1::66]:1000")]), 20);
    let ports = [1, 2, 3, 4, 5].map(|port| SocketAddr::new(v4.ip(), port));
    assert_eq!(served_after_flood(&ports), 20);
}

/// A flood of invented torrents, each with as many peers of each kind of network as the numbers say.
#[derive(Clone, Debug)]
struct Flood {
    torrents: u32,
    v4: u16,
    v6: u16,
    /// Networks of one /48, with a peer each.
    site: u16,
}

impl Flood {
    fn peers(&self) -> usize {
        usize::from(self.v4) + usize::from(self.v6) + usize::from(self.site)
    }

    /// The addresses of one invented torrent's peers.
    fn addrs(&self, torrent: u32) -> impl Iterator<Item = SocketAddr> {
        let v4 = (1..=self.v4).map(|port| SocketAddr::from(([192, 0, 2, 66], port)));
        let v6 = (1..=self.v6).map(|port| SocketAddr::from(([0x2001, 0xdb8, 9, 9, 0, 0, 0, 1], port)));
        // Other ones for each torrent.
        let first = (torrent * u32::from(self.site)) as u16;
        let at = move |number| [0x2001, 0xdb8, 8, first.wrapping_add(number), 0, 0, 0, 1];
        let site = (1..=self.site).map(move |number| SocketAddr::from((at(number), 6881)));
        v4.chain(v6).chain(site)
    }

    fn announce(&self, registry: &Registry, now: Instant, hash: [u8; 20], torrent: u32) {
        for (at, addr) in self.addrs(torrent).enumerate() {
            let identity = (1 << 31) + torrent * 10_000 + at as u32;
            let _ = tell(registry, &Ask { addr, identity, ..honest(0, hash) }, now);
        }
    }
}

/// Whatever the limits: honest torrents stay, and new ones have room, each with a peer that is not pushed out.
fn check_flood(flood: &Flood, swarms_max: usize) {
    let options = RegistryOptions {
        swarms_max,
        // The places for peers never run out.
        peers_max: 2 * (1 + flood.peers()) * swarms_max,
        ..RegistryOptions::default()
    };
    let (registry, now) = registry(options);
    let old: Vec<Ask> = (0..10).map(|number| honest(number, [number as u8; 20])).collect();
    for (number, ask) in old.iter().enumerate() {
        // Some of them the attacker joins, before or afterwards.
        if number == 0 {
            flood.announce(&registry, now, [0; 20], 0);
        }
        tell(&registry, ask, now).unwrap();
        if number == 1 {
            flood.announce(&registry, now, [1; 20], 1);
        }
    }
    for torrent in 0..flood.torrents {
        flood.announce(&registry, now, invented(torrent), torrent);
    }
    assert_eq!(registry.census().swarms, swarms_max, "{flood:?}");
    let new: Vec<Ask> = (1_000..1_005).map(|number| honest(number, invented(1_000_000 + number))).collect();
    for ask in &new {
        assert!(tell(&registry, ask, now).is_ok(), "no room after {flood:?}");
        flood.announce(&registry, now, invented(5_000_000), 9);
    }
    for ask in old.iter().chain(&new) {
        assert!(0 < registry.scrape(&ask.info_hash).leechers, "{ask:?} is gone after {flood:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_limits_a_flood_of_invented_torrents_makes_room(
        swarms_max in 80usize..100,
        v4 in prop_oneof![Just(0u16), 2u16..4, 65u16..100],
        v6 in prop_oneof![Just(0u16), 2u16..4, 65u16..100],
        site in prop_oneof![Just(0u16), 65u16..100],
    ) {
        prop_assume!(0 < v4 + v6 + site);
        check_flood(&Flood { torrents: 105, v4, v6, site }, swarms_max);
    }
}

#[test]
fn invented_torrents_that_are_full_of_one_network_make_room() {
    // As many peers as one network may have in a torrent.
    check_flood(&Flood { torrents: 22, v4: 4_096, v6: 0, site: 0 }, 20);
}

#[test]
fn a_site_with_a_network_for_each_invented_torrent_makes_room() {
    let options = RegistryOptions { swarms_max: 3_000, peers_max: 12_000, ..RegistryOptions::default() };
    let (registry, now) = registry(options);
    let flood = Flood { torrents: 10_000, v4: 0, v6: 0, site: 1 };
    for torrent in 0..flood.torrents {
        flood.announce(&registry, now, invented(torrent), torrent);
    }
    assert_eq!(registry.census().swarms, 3_000);
    for number in 0..500 {
        tell(&registry, &honest(number, invented(1_000_000 + number)), now).unwrap();
    }
    let stayed = (0..500)
        .filter(|number| registry.scrape(&InfoHash::from(invented(1_000_000 + number))).leechers == 1);
    assert_eq!(stayed.count(), 500);
}

#[test]
fn a_site_does_not_fill_a_swarm_alone() {
    let options = RegistryOptions { address_peers_max: 4, ..RegistryOptions::default() };
    let (registry, now) = registry(options);
    let flood = Flood { torrents: 1, v4: 0, v6: 0, site: 1_000 };
    flood.announce(&registry, now, HASH, 0);
    assert_eq!(peers(&registry), 64);
    // A place that another peer may take is no loss.
    tell(&registry, &honest(1, HASH), now).unwrap();
    assert_eq!(peers(&registry), 65);
}

#[test]
fn a_million_invented_torrents_change_nothing_for_the_next_honest_one() {
    let options = RegistryOptions { swarms_max: 50_000, peers_max: 200_000, ..RegistryOptions::default() };
    let (registry, now) = registry(options);
    let first = honest(1, [1; 20]);
    tell(&registry, &first, now).unwrap();
    for number in 0..1_000_000 {
        let _ = attack(&registry, number, now);
    }
    assert_eq!(registry.census().swarms, 50_000);
    for number in 1_000..1_100 {
        tell(&registry, &honest(number, invented(2_000_000 + number)), now).unwrap();
        assert_eq!(registry.scrape(&InfoHash::from(invented(2_000_000 + number))).leechers, 1);
    }
    assert_eq!(registry.scrape(&first.info_hash).leechers, 1);
}

/// Numbers of invented torrents that fall to one shard.
fn invented_for(registry: &Registry, shard: usize) -> impl Iterator<Item = u32> {
    let number = move |hash: u64| (hash >> 12) as usize & (registry.shards.len() - 1);
    (0..).filter(move |at| number(registry.hash(&InfoHash::from(invented(*at)))) == shard)
}

#[test]
fn every_shard_is_asked_for_room() {
    let most = |swarms_max| {
        let options = RegistryOptions { swarms_max, peers_max: 2 * swarms_max, ..RegistryOptions::default() };
        let (registry, now) = registry(options);
        // All that could make room is in one shard, wherever that is.
        let flood = swarms_max / 2;
        for number in invented_for(&registry, 40).take(flood) {
            attack(&registry, number, now).unwrap();
        }
        for number in 0..(swarms_max - flood) as u32 {
            tell(&registry, &honest(number, invented(10_000_000 + number)), now).unwrap();
        }
        let newcomer = |number: &u32| {
            let hash = invented(20_000_000 + number);
            tell(&registry, &honest(100_000 + number, hash), now).is_ok()
        };
        (0..64).filter(newcomer).count()
    };
    assert_eq!(most(ALL_ASKED_SWARMS_MAX), 64);
    // In a large one each newcomer asks some, and others the others.
    assert!(8 <= most(2_000));
}

#[test]
fn one_newcomer_is_made_room_for_as_a_peer_and_as_a_torrent() {
    let options = RegistryOptions { swarms_max: 200, peers_max: 400, ..RegistryOptions::default() };
    let (registry, now) = registry(options);
    // Every place for a torrent is taken, and every one for a peer.
    for number in 0..400u32 {
        let addr = SocketAddr::from(([192, 0, 2, 66], 1 + number as u16));
        tell(&registry, &Ask { addr, ..honest(number, invented(number / 2)) }, now).unwrap();
    }
    let served = (0..20).filter(|number| {
        tell(&registry, &honest(1_000 + number, invented(1_000_000 + number)), now).unwrap();
        registry.scrape(&InfoHash::from(invented(1_000_000 + number))).leechers == 1
    });
    assert_eq!(served.count(), 20);
}

#[test]
fn a_peer_seen_during_a_sweep_stays() {
    let (registry, now) = registry(RegistryOptions::default());
    say(&registry, 1, Has::Some, None, now + Duration::from_secs(100));
    let moment = registry.moment(now + Duration::from_secs(99));
    for shard in &registry.shards {
        lock(shard).sweep(&registry.shared, moment, 100);
    }
    assert_eq!(peers(&registry), 1);
}

#[test]
fn one_address_that_invents_peers_makes_room_too() {
    let options = RegistryOptions { peers_max: 4_000, ..RegistryOptions::default() };
    let (registry, now) = registry(options);
    // Two peers a torrent, so that no torrent has a single one.
    for number in 0..5_000 {
        let addr = SocketAddr::from(([192, 0, 2, 66], 1 + number as u16));
        tell(&registry, &Ask { addr, ..honest(number, invented(number / 2)) }, now).unwrap();
    }
    assert_eq!((peers(&registry), registry.counters().unremembered), (4_000, 1_000));
    let remembered = (0..500).filter(|number| tell(&registry, &honest(*number, [7; 20]), now).is_ok());
    assert_eq!(remembered.count(), 500);
    assert_eq!(registry.scrape(&InfoHash::from(HASH)).leechers, 500);
    assert_eq!(peers(&registry), 4_000);
}

#[test]
fn every_bound_holds() {
    let options = RegistryOptions {
        swarms_max: 3,
        address_peers_max: 2,
        peers_max: 8,
        numwant_max: 2,
        shards: 4,
        ..RegistryOptions::default()
    };
    let (registry, now) = registry(options);
    for number in 0..100u8 {
        for hash in 0..6 {
            for port in 1..4 {
                let ask = ask(number, Has::Some, None);
                let addr = SocketAddr::new(ask.addr.ip(), port);
                let identity = identity(&[number; 20], u32::from(port));
                let info_hash = InfoHash::from([hash; 20]);
                let numwant = Some(u32::MAX);
                match tell(&registry, &Ask { info_hash, addr, identity, numwant, ..ask }, now) {
                    Ok(told) => assert!(told.peers.len() <= 2),
                    Err(refusal) => assert_eq!(refusal, Refusal::TorrentsFull),
                }
            }
        }
        let census = registry.census();
        assert!(census.peers <= 8 && census.swarms <= 3);
    }
    assert_eq!(peers(&registry), 8);
}

#[test]
fn who_cannot_be_reached_is_served_and_not_named() {
    let (registry, now) = registry(RegistryOptions::default());
    say(&registry, 1, Has::Some, None, now);
    let unreachable = Ask { addr: "10.0.0.2:0".parse().unwrap(), ..ask(2, Has::Some, None) };
    assert_eq!(tell(&registry, &unreachable, now).unwrap().peers.len(), 1);
    assert_eq!(peers(&registry), 1);
    let alone = Ask { info_hash: InfoHash::from([1; 20]), ..unreachable };
    assert!(tell(&registry, &alone, now).unwrap().peers.is_empty());
    assert_eq!(registry.census().swarms, 1);
}

#[test]
fn a_loopback_address_is_named_on_its_own_machine_only() {
    let (registry, now) = registry(RegistryOptions::default());
    let local = |port| Ask {
        addr: SocketAddr::from(([127, 0, 0, 1], port)),
        identity: u32::from(port),
        ..ask(1, Has::Some, None)
    };
    tell(&registry, &local(1), now).unwrap();
    assert_eq!(tell(&registry, &local(2), now).unwrap().peers.len(), 1);
    assert_eq!(say(&registry, 9, Has::Some, None, now).peers.len(), 0);
}

#[test]
fn an_asker_is_told_of_both_families_and_more_of_its_own() {
    let (registry, now) = registry(RegistryOptions::default());
    for number in 1..=100u8 {
        say(&registry, number, Has::Some, None, now);
        let addr = SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(number)], 6881));
        let identity = identity(&[number; 20], 77);
        tell(&registry, &Ask { addr, identity, ..ask(number, Has::Some, None) }, now).unwrap();
    }
    let told = say(&registry, 1, Has::Some, None, now).peers;
    let own = told.iter().filter(|addr| addr.is_ipv4()).count();
    assert!(told.len() == 50 && (25..=50).contains(&own), "{own} of {}", told.len());
    let own_only = Ask { families: Families::Own, numwant: Some(200), ..ask(1, Has::Some, None) };
    let told = tell(&registry, &own_only, now).unwrap().peers;
    assert_eq!((told.len(), told.iter().all(SocketAddr::is_ipv4)), (99, true));
}

#[test]
fn seeds_and_downloaders_are_told_equally_often_to_who_wants_more() {
    let (registry, now) = registry(RegistryOptions::default());
    for number in 1..=200u8 {
        let has = if number % 4 == 0 { Has::All } else { Has::Some };
        say(&registry, number, has, None, now);
    }
    let asker = Ask { numwant: Some(30), ..ask(201, Has::Some, None) };
    let mut times = [0u32; 201];
    for _ in 0..20_000 {
        let told = tell(&registry, &asker, now).unwrap().peers;
        assert_eq!(told.len(), 30);
        told.iter().for_each(|addr| times[usize::from(addr.port() - 1000)] += 1);
    }
    // 20,000 times 30 of 200.
    assert!(times[1..].iter().all(|times| (2_800..3_200).contains(times)), "{times:?}");
}

#[test]
fn intervals_spread_a_herd_and_are_never_longer_than_said() {
    let (registry, now) = registry(RegistryOptions::default());
    let mut intervals: Vec<u32> = (0..1000)
        .map(|_| registry.announce(&ask(1, Has::Some, None), now, |answer| answer.interval).unwrap())
        .collect();
    intervals.sort_unstable();
    assert!(525 <= intervals[0] && intervals[999] <= 600);
    intervals.dedup();
    assert!(50 < intervals.len());
}

#[test]
fn a_passkey_lets_in_as_many_as_it_says() {
    let (registry, now) = registry(RegistryOptions::default());
    let limits = Limits { peers: Some(3), torrents: Some(2), announces: Some(7) };
    let by = |number, hash| Ask {
        info_hash: InfoHash::from([hash; 20]),
        user: Some(User { id: 99, limits }),
        ..ask(number, Has::Some, None)
    };
    let told = |number, hash, seconds| {
        tell(&registry, &by(number, hash), now + Duration::from_secs(seconds)).map(|_| ())
    };
    assert_eq!((told(1, 1, 0), told(1, 2, 0)), (Ok(()), Ok(())));
    assert_eq!(told(1, 3, 0), Err(Refusal::Limit(LimitReached::Torrents(2))));
    assert_eq!(told(2, 2, 0), Ok(()));
    assert_eq!(told(3, 2, 0), Err(Refusal::Limit(LimitReached::Peers(3))));
    // A peer that is registered already may go on.
    assert_eq!((told(1, 1, 0), told(2, 2, 0)), (Ok(()), Ok(())));
    // The place that a peer leaves is free again.
    let stopped = Ask { event: Some(Event::Stopped), ..by(1, 1) };
    tell(&registry, &stopped, now).unwrap();
    assert_eq!(told(1, 3, 0), Err(Refusal::Limit(LimitReached::Announces(7))));
    assert_eq!(told(1, 3, 60), Ok(()));
    // What fell silent too.
    registry.sweep(now + 3 * registry.options().peer_lifetime);
    assert_eq!(peers(&registry), 0);
    assert_eq!((told(7, 7, 9_000), told(7, 8, 9_000)), (Ok(()), Ok(())));
}

#[test]
fn peers_without_an_owner_count_for_the_passkey_they_come_back_with() {
    let limits = Limits { peers: Some(2), torrents: Some(1), announces: None };
    let user = Some(User { id: 99, limits });
    let (registry, now) = registry(RegistryOptions::default());
    let by = |number, hash| Ask { info_hash: InfoHash::from([hash; 20]), ..ask(number, Has::Some, None) };
    // As a snapshot leaves them.
    for (number, hash) in [(1, 1), (2, 1), (3, 1), (4, 2), (5, 2)] {
        tell(&registry, &by(number, hash), now).unwrap();
    }
    let back = |ask: Ask| tell(&registry, &Ask { user, ..ask }, now).map(|_| ());
    assert_eq!(back(by(1, 1)), Ok(()));
    assert_eq!(back(by(4, 2)), Err(Refusal::Limit(LimitReached::Torrents(1))));
    // From another address of the same client too.
    let moved = Ask { addr: "10.0.0.99:1005".parse().unwrap(), ..by(5, 2) };
    assert_eq!(back(moved), Err(Refusal::Limit(LimitReached::Torrents(1))));
    assert_eq!(back(by(2, 1)), Ok(()));
    assert_eq!(back(by(3, 1)), Err(Refusal::Limit(LimitReached::Peers(2))));
    assert_eq!((back(by(1, 1)), back(by(2, 1))), (Ok(()), Ok(())));
}

#[test]
fn who_announces_too_often_may_still_leave() {
    let limits = Limits { peers: None, torrents: None, announces: Some(1) };
    let (registry, now) = registry(RegistryOptions::default());
    let by = |event| Ask { user: Some(User { id: 99, limits }), ..ask(1, Has::Some, event) };
    tell(&registry, &by(Some(Event::Started)), now).unwrap();
    assert!(tell(&registry, &by(None), now).is_err());
    tell(&registry, &by(Some(Event::Stopped)), now).unwrap();
    assert_eq!(peers(&registry), 0);
}

#[test]
fn limits_are_those_that_hold() {
    let options =
        RegistryOptions { peers_max: 100_000_000, swarms_max: usize::MAX, ..RegistryOptions::default() };
    let (registry, _) = registry(options);
    assert_eq!((registry.options().peers_max, registry.options().swarms_max), (PEERS_LIMIT, PEERS_LIMIT));
}

#[test]
fn memory_stays_small_for_many_peers_in_any_arrangement() {
    let options = RegistryOptions { address_peers_max: usize::MAX, ..RegistryOptions::default() };
    for (swarms, each, bound) in [(400, 50, 40), (20_000, 1, 90), (1, 20_000, 40)] {
        let (registry, now) = registry(options.clone());
        let empty = registry.census().bytes;
        for number in 0..swarms * each {
            tell(&registry, &honest(number, invented(number % swarms)), now).unwrap();
        }
        let bytes = (registry.census().bytes - empty) as f64 / f64::from(swarms * each);
        assert_eq!(peers(&registry), (swarms * each) as usize);
        assert!(bytes <= f64::from(bound), "{bytes} bytes a peer in {swarms} swarms");
        // All of it goes with the peers.
        registry.sweep(now + 3 * registry.options().peer_lifetime);
        let left = registry.census().bytes - empty;
        assert!(left < 64 << 10, "{left} bytes left");
    }
}

#[test]
fn the_largest_are_listed_largest_first() {
    let (registry, now) = registry(RegistryOptions::default());
    for number in 0..60 {
        tell(&registry, &honest(number, [(number % 11 % 4) as u8; 20]), now).unwrap();
    }
    let largest = registry.largest(3);
    let counts: Vec<u32> = largest.iter().map(|(_, numbers)| numbers.leechers).collect();
    assert!(counts.len() == 3 && counts.is_sorted_by(|a, b| a >= b), "{counts:?}");
}

#[test]
fn threads_that_ask_at_once_leave_the_sums_right() {
    let (registry, now) = registry(RegistryOptions::default());
    std::thread::scope(|scope| {
        for thread in 0..4u32 {
            let registry = &registry;
            scope.spawn(move || {
                for number in 0..2_000 {
                    let ask = honest(thread * 10_000 + number, invented(number % 50));
                    tell(registry, &ask, now).unwrap();
                    if number % 3 == 0 {
                        tell(registry, &Ask { event: Some(Event::Stopped), ..ask }, now).unwrap();
                    }
                    registry.sweep(now);
                }
            });
        }
    });
    let counted: u32 =
        (0..50).map(|number| registry.scrape(&InfoHash::from(invented(number))).leechers).sum();
    assert_eq!((peers(&registry), registry.census().swarms), (counted as usize, 50));
    assert_eq!(counted, 4 * (2_000 - 667));
}
