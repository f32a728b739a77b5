//! Client and server of this crate, put together without a network.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use ferri_metainfo::InfoHash;
use ferri_tracker::exchange::{Answer, Exchange, Input, Output, Query};
use ferri_tracker::server::{Registry, RegistryOptions};
use ferri_tracker::udp::Family;
use ferri_tracker::{Announce, AnnounceResponse, Event, Scrape, http};
use proptest::prelude::*;

use crate::asking::{http_reply, udp_reply};

fn registry(now: Instant) -> Registry {
    Registry::new(RegistryOptions::default(), [3; 16], now)
}

fn over_http(registry: &Registry, announce: &Announce, from: IpAddr, now: Instant) -> AnnounceResponse {
    let url = http::announce_url("http://tracker.example/announce?passkey=1", announce).unwrap();
    let path = url.strip_prefix("http://tracker.example").unwrap();
    let (status, body) = http_reply(registry, path, from, now);
    http::announce_answer(status.code, &body).unwrap()
}

fn over_udp(registry: &Registry, query: Query, from: SocketAddr, now: Instant) -> Answer {
    let url_data = b"/announce?passkey=1".to_vec();
    let mut exchange = Exchange::new(query, url_data, Family::of(from), None, 11, now);
    loop {
        match exchange.poll_output() {
            Some(Output::Send(packet)) => {
                let reply = udp_reply(registry, &packet, from, now).unwrap();
                exchange.handle(Input::Datagram(&reply), now);
            }
            Some(Output::Done(result)) => return result.unwrap(),
            None => panic!("nothing more to do, and no answer"),
        }
    }
}

#[test]
fn a_swarm_meets_across_both_transports() {
    let now = Instant::now();
    let registry = registry(now);
    let info_hash = InfoHash::from([0xff; 20]);
    let announce = |number: u8, left| Announce {
        left,
        event: Some(Event::Started),
        ..Announce::new(info_hash, [number; 20], 1000 + u16::from(number))
    };
    over_http(&registry, &announce(1, 0), [10, 0, 0, 1].into(), now);
    let query = Query::Announce(announce(2, 5));
    let Answer::Announce(answer) = over_udp(&registry, query, ([10, 0, 0, 2], 9).into(), now) else {
        panic!()
    };
    assert_eq!(answer.peers, [([10, 0, 0, 1], 1001).into()]);
    assert_eq!((answer.seeders, answer.leechers), (Some(1), Some(1)));
    let v6: IpAddr = "2001:db8::3".parse().unwrap();
    let answer = over_http(&registry, &announce(3, 5), v6, now);
    assert_eq!((answer.peers.len(), answer.external_ip), (2, Some(v6)));
    let answer = over_http(&registry, &announce(1, 0), [10, 0, 0, 1].into(), now);
    assert_eq!(answer.peers.len(), 2);
    assert!(answer.peers.contains(&(v6, 1003).into()));

    let expected = Scrape { seeders: 1, leechers: 2, downloaded: 0, downloaders: None };
    let query = Query::Scrape(vec![info_hash]);
    let answer = over_udp(&registry, query, ([10, 0, 0, 2], 9).into(), now);
    assert_eq!(answer, Answer::Scrape(vec![expected]));
    let url = http::scrape_url("http://t/announce", &[info_hash]).unwrap();
    let (status, body) = http_reply(&registry, url.strip_prefix("http://t").unwrap(), v6, now);
    let answer = http::scrape_answer(status.code, &body).unwrap();
    assert_eq!(answer, [(info_hash, Scrape { downloaders: Some(2), ..expected })]);
}

fn any_announce() -> impl Strategy<Value = Announce> {
    let event = prop::option::of(prop::sample::select(vec![Event::Started, Event::Completed, Event::Paused]));
    let ids = (any::<[u8; 20]>(), any::<[u8; 20]>(), 1..=u16::MAX, any::<u32>());
    let numbers = (any::<u64>(), any::<u64>(), any::<u64>());
    let rest =
        (event, prop::option::of(any::<u32>()), prop::option::of(prop::collection::vec(any::<u8>(), 0..50)));
    (ids, numbers, rest).prop_map(|((hash, peer_id, port, key), (uploaded, downloaded, left), rest)| {
        Announce {
            uploaded,
            downloaded,
            left,
            key,
            event: rest.0,
            numwant: rest.1,
            tracker_id: rest.2,
            ..Announce::new(InfoHash::from(hash), peer_id, port)
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn whatever_is_announced_arrives(announce in any_announce(), from in any::<[u8; 4]>(), udp in any::<bool>()) {
        let now = Instant::now();
        let registry = registry(now);
        let from = IpAddr::from(from);
        if udp {
            over_udp(&registry, Query::Announce(announce.clone()), (from, 9).into(), now);
        } else {
            let answer = over_http(&registry, &announce, from, now);
            prop_assert_eq!(answer.external_ip, Some(from));
        }
        let is_peer = ferri_tracker::is_peer_address((from, announce.port).into());
        prop_assert_eq!(registry.census().peers, usize::from(is_peer));
        let scrape = registry.scrape(&announce.info_hash);
        // A client that says `completed` is a seed, whatever it says is left.
        let is_seed = announce.left == 0 || announce.event == Some(Event::Completed);
        prop_assert_eq!(scrape.seeders, u32::from(is_peer && is_seed));
        prop_assert_eq!(scrape.leechers, u32::from(is_peer && !is_seed));
        // The key came through: only with it does `stopped` count.
        let stopped = Announce { event: Some(Event::Stopped), ..announce };
        let forged = Announce { key: !stopped.key, ..stopped.clone() };
        over_http(&registry, &forged, from, now);
        prop_assert_eq!(registry.census().peers, usize::from(is_peer));
        over_http(&registry, &stopped, from, now);
        prop_assert_eq!(registry.census().peers, 0);
    }

    #[test]
    fn every_named_peer_is_understood(
        peers in prop::collection::btree_map(any::<u32>(), 1..=u16::MAX, 0..60),
        form in prop::sample::select(vec!["", "&compact=0", "&compact=0&no_peer_id=1"]),
    ) {
        let now = Instant::now();
        let registry = registry(now);
        let info_hash = InfoHash::from([5; 20]);
        let mut expected = Vec::new();
        for (number, (ip, port)) in peers.into_iter().enumerate() {
            let from: IpAddr = if number % 3 == 0 {
                IpAddr::from([0x2001, 0xdb8, 0, number as u16, 0, 0, (ip >> 16) as u16, ip as u16])
            } else {
                IpAddr::from(ip.to_be_bytes())
            };
            let mut peer_id = [0; 20];
            peer_id[0] = 1 + number as u8;
            let announce = Announce { left: 1, ..Announce::new(info_hash, peer_id, port) };
            over_http(&registry, &announce, from, now);
            let addr = SocketAddr::new(from, port);
            if ferri_tracker::is_peer_address(addr) && !from.is_loopback() {
                expected.push(addr);
            }
        }
        let mut path = http::announce_url("http://t/announce", &Announce {
            left: 1, numwant: Some(200), ..Announce::new(info_hash, [0xee; 20], 1)
        }).unwrap().replace("&compact=1&no_peer_id=1", form);
        path.drain(.."http://t".len());
        let (_, body) = http_reply(&registry, &path, [203, 0, 113, 1].into(), now);
        let mut named = http::parse_announce(&body).unwrap().peers;
        named.sort_unstable();
        expected.sort_unstable();
        expected.retain(|addr| *addr != ([203, 0, 113, 1], 1).into());
        prop_assert_eq!(named, expected);
    }
}
