//! The tracker over UDP ([BEP 15], [BEP 41]).
//!
//! Source addresses of datagrams can be forged, so whoever has not shown a connection id gets no more bytes than it
//! sent, and nothing is remembered of it. A connection id is a keyed hash of the address and the minute, so that none
//! needs to be stored; SipHash was made for just this, short inputs from strangers who must not foresee the output.
//!
//! [BEP 15]: https://www.bittorrent.org/beps/bep_0015.html
//! [BEP 41]: https://www.bittorrent.org/beps/bep_0041.html

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::access::Access;
use super::registry::{Registry, Swarms};
use crate::announce::Announce;
use crate::siphash::siphash;
use crate::udp::{Family, Request, Response};

/// A connection id is good until the end of the minute after the one it was given in: at least one minute, which clients
/// count on, and at most two (BEP 15).
const CONNECTION_SECONDS: u64 = 60;

/// Peers in one datagram, so that it is not split on the way: 1,280 bytes is what every IPv6 link carries.
const PEERS_V4_MAX: u32 = 200;
const PEERS_V6_MAX: u32 = 66;

const NOT_CONNECTED: &str = "connection id unknown";

/// Bytes of the longest answer; a buffer of this size never cuts one short.
pub const ANSWER_BYTES_MAX: usize = 1500;

/// Answers a datagram: writes the answer to the front of `out` and says how long it is. `None` when there is nothing to say.
/// `out` has [`ANSWER_BYTES_MAX`] bytes.
pub fn answer(
    registry: &Registry,
    access: &Access,
    datagram: &[u8],
    from: SocketAddr,
    now: Instant,
    out: &mut [u8],
) -> Option<usize> {
    let mut swarms = registry.lock();
    let reply = match Request::decode(datagram) {
        Ok(Request::Announce { transaction, announce, .. })
            if access.torrent(&announce.info_hash).is_err() =>
        {
            refuse(&mut swarms, transaction, "this tracker does not serve this torrent", datagram.len())?
        }
        _ => udp_reply(&mut swarms, datagram, from, now)?,
    };
    out.get_mut(..reply.len())?.copy_from_slice(&reply);
    Some(reply.len())
}

/// The reply to a datagram. `None` for what is not of this protocol.
fn udp_reply(registry: &mut Swarms, datagram: &[u8], from: SocketAddr, now: Instant) -> Option<Vec<u8>> {
    let request = Request::decode(datagram).inspect_err(|_| registry.counters.refused += 1).ok()?;
    let ip = from.ip().to_canonical();
    let response = match request {
        Request::Connect { transaction } => {
            let connection = connection_id(registry, ip, minute(registry, now));
            Response::Connect { transaction, connection }
        }
        Request::Announce { connection, transaction, announce, url_data: _ } => {
            if !is_connected(registry, connection, ip, now) {
                return refuse(registry, transaction, NOT_CONNECTED, datagram.len());
            }
            return Some(announced(registry, transaction, announce, from, now));
        }
        Request::Scrape { connection, transaction, info_hashes } => {
            if !is_connected(registry, connection, ip, now) {
                return refuse(registry, transaction, NOT_CONNECTED, datagram.len());
            }
            registry.counters.udp_scrapes += 1;
            let swarms = info_hashes.iter().map(|info_hash| registry.scrape(info_hash)).collect();
            Response::Scrape { transaction, swarms }
        }
    };
    Some(response.encode())
}

fn announced(
    registry: &mut Swarms,
    transaction: u32,
    mut announce: Announce,
    from: SocketAddr,
    now: Instant,
) -> Vec<u8> {
    let family = Family::of(from);
    let room = match family {
        Family::V4 => PEERS_V4_MAX,
        Family::V6 => PEERS_V6_MAX,
    };
    let wanted = announce.numwant.or_else(|| u32::try_from(registry.options().numwant_default).ok());
    announce.numwant = Some(wanted.unwrap_or(room).min(room));
    let interval = i32::try_from(registry.options().interval.as_secs()).unwrap_or(i32::MAX);
    let response = match registry.announce(&announce, from.ip(), Some(family), now) {
        Ok(announced) => {
            registry.counters.udp_announces += 1;
            Response::Announce {
                transaction,
                interval,
                leechers: announced.numbers.leechers,
                seeders: announced.numbers.seeders,
                peers: announced.peers.into_iter().map(|(addr, _)| addr).collect(),
            }
        }
        Err(refusal) => {
            registry.counters.refused += 1;
            Response::Error { transaction, message: refusal.to_string() }
        }
    };
    response.encode()
}

/// An error for somebody who may not be who the address says, unless it would be longer than the request.
fn refuse(registry: &mut Swarms, transaction: u32, message: &str, request_length: usize) -> Option<Vec<u8>> {
    registry.counters.refused += 1;
    let packet = Response::Error { transaction, message: message.to_owned() }.encode();
    (packet.len() <= request_length).then_some(packet)
}

fn minute(registry: &Swarms, now: Instant) -> u64 {
    registry.age(now).as_secs() / CONNECTION_SECONDS
}

/// The address without its port: clients may use several sockets.
fn connection_id(registry: &Swarms, ip: IpAddr, minute: u64) -> u64 {
    let mut message = match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    message.extend_from_slice(&minute.to_be_bytes());
    siphash(registry.secret(), &message)
}

fn is_connected(registry: &Swarms, connection: u64, ip: IpAddr, now: Instant) -> bool {
    let minute = minute(registry, now);
    connection == connection_id(registry, ip, minute)
        || minute.checked_sub(1).is_some_and(|minute| connection == connection_id(registry, ip, minute))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use ferri_metainfo::InfoHash;

    use super::super::registry::RegistryOptions;
    use super::*;

    fn registry() -> (Swarms, Instant) {
        let now = Instant::now();
        (Swarms::new(RegistryOptions::default(), [1; 16], now), now)
    }

    fn addr(last: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], 5000))
    }

    fn connect(registry: &mut Swarms, from: SocketAddr, now: Instant) -> u64 {
        let reply = udp_reply(registry, &Request::Connect { transaction: 7 }.encode(), from, now).unwrap();
        match Response::decode(&reply, Family::of(from)) {
            Ok(Response::Connect { transaction: 7, connection }) => connection,
            other => panic!("{other:?}"),
        }
    }

    fn announce(registry: &mut Swarms, connection: u64, from: SocketAddr, now: Instant) -> Response {
        let [.., last] = from.ip().to_string().into_bytes()[..] else { panic!() };
        let announce = Announce { left: 1, ..Announce::new(InfoHash::from([3; 20]), [last; 20], 6881) };
        let request =
            Request::Announce { connection, transaction: 9, announce, url_data: b"/announce".to_vec() };
        let reply = udp_reply(registry, &request.encode(), from, now).unwrap();
        Response::decode(&reply, Family::of(from)).unwrap()
    }

    #[test]
    fn a_connection_id_lasts_between_one_and_two_minutes_and_belongs_to_an_address() {
        let (mut registry, begin) = registry();
        for issued in [0, 1, 30, 59] {
            let issued = begin + Duration::from_secs(issued);
            let id = connect(&mut registry, addr(1), issued);
            for (after, accepted) in [(0, true), (60, true), (121, false), (3600, false)] {
                let now = issued + Duration::from_secs(after);
                assert_eq!(is_connected(&registry, id, addr(1).ip(), now), accepted, "{after}");
                assert!(!is_connected(&registry, id, addr(2).ip(), now));
            }
        }
        assert!(!is_connected(&registry, 0, addr(1).ip(), begin));
    }

    #[test]
    fn peers_find_each_other_by_family() {
        let (mut registry, now) = registry();
        let v6: SocketAddr = "[2001:db8::7]:5000".parse().unwrap();
        for from in [addr(1), addr(2), v6] {
            let id = connect(&mut registry, from, now);
            let Response::Announce { peers, interval: 600, .. } = announce(&mut registry, id, from, now)
            else {
                panic!()
            };
            let expected: Vec<SocketAddr> =
                if from == addr(2) { vec!["192.0.2.1:6881".parse().unwrap()] } else { Vec::new() };
            assert_eq!(peers, expected);
        }
        assert_eq!((registry.peer_count(), registry.counters().udp_announces), (3, 3));
    }

    #[test]
    fn whoever_has_no_connection_id_gets_no_more_than_it_sent_and_leaves_no_trace() {
        let (mut registry, now) = registry();
        let Response::Error { message, transaction: 9 } = announce(&mut registry, 1, addr(1), now) else {
            panic!()
        };
        assert_eq!(message, NOT_CONNECTED);
        for count in 0..74 {
            let info_hashes = vec![InfoHash::from([3; 20]); count];
            let scrape = Request::Scrape { connection: 1, transaction: 9, info_hashes }.encode();
            let reply = udp_reply(&mut registry, &scrape, addr(1), now);
            assert!(reply.is_none_or(|reply| reply.len() <= scrape.len()));
        }
        let connect = Request::Connect { transaction: 9 }.encode();
        assert_eq!(udp_reply(&mut registry, &connect, addr(1), now).unwrap().len(), connect.len());
        assert_eq!((registry.peer_count(), registry.counters().refused), (0, 75));
    }

    #[test]
    fn scrapes_are_answered_in_order() {
        let (mut registry, now) = registry();
        let connection = connect(&mut registry, addr(1), now);
        announce(&mut registry, connection, addr(1), now);
        let info_hashes = vec![InfoHash::from([1; 20]), InfoHash::from([3; 20])];
        let scrape = Request::Scrape { connection, transaction: 9, info_hashes }.encode();
        let reply = udp_reply(&mut registry, &scrape, addr(1), now).unwrap();
        let Ok(Response::Scrape { swarms, .. }) = Response::decode(&reply, Family::V4) else { panic!() };
        assert_eq!(swarms.iter().map(|swarm| swarm.leechers).collect::<Vec<_>>(), [0, 1]);
    }
}
