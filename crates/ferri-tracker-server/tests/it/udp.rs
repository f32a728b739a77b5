//! Datagrams, of which many come at once.

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};

use ferri_tracker_server::{Listen, Options, Scheme, TrackerServer};

use super::{Client, PATIENCE, announce, tracker, who};

fn client(to: SocketAddr, last: u8) -> UdpSocket {
    let from = if to.is_ipv4() { SocketAddr::new(who(last), 0) } else { "[::1]:0".parse().unwrap() };
    let socket = UdpSocket::bind(from).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.connect(to).unwrap();
    socket
}

fn connect_request(transaction: u32) -> Vec<u8> {
    [&0x0417_2710_1980_u64.to_be_bytes()[..], &0_u32.to_be_bytes(), &transaction.to_be_bytes()].concat()
}

fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = [0; 2048];
    let length = socket.recv(&mut buffer).unwrap();
    buffer[..length].to_vec()
}

fn connect(socket: &UdpSocket) -> Vec<u8> {
    socket.send(&connect_request(7)).unwrap();
    let reply = receive(socket);
    assert_eq!(reply[..8], [0, 0, 0, 0, 0, 0, 0, 7]);
    reply[8..16].to_vec()
}

fn announce_request(connection: &[u8], swarm: u8, peer: u8, left: u64) -> Vec<u8> {
    let mut packet = connection.to_vec();
    packet.extend_from_slice(&1_u32.to_be_bytes());
    packet.extend_from_slice(&9_u32.to_be_bytes());
    packet.extend_from_slice(&[swarm; 20]);
    packet.extend_from_slice(&[peer; 20]);
    packet.extend_from_slice(&0_u64.to_be_bytes());
    packet.extend_from_slice(&left.to_be_bytes());
    packet.extend_from_slice(&0_u64.to_be_bytes());
    // No event, no address, key 5, as many peers as the tracker likes.
    packet.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 255, 255, 255, 255]);
    packet.extend_from_slice(&(6000 + u16::from(peer)).to_be_bytes());
    packet
}

#[test]
fn peers_find_each_other_over_udp_and_http() {
    let tracker = tracker();
    assert_eq!(Client::from(tracker.addr(), who(2)).get(&announce(1, 1, 1)).status, 200);
    let socket = client(tracker.addr(), 3);
    let connection = connect(&socket);
    socket.send(&announce_request(&connection, 1, 2, 0)).unwrap();
    let reply = receive(&socket);
    assert_eq!(reply[..8], [0, 0, 0, 1, 0, 0, 0, 9]);
    assert_eq!(reply[20..], [127, 0, 0, 2, 0x17, 0x71]);
    assert_eq!(tracker.counts(), (1, 2));
}

#[test]
fn every_datagram_of_a_burst_is_answered_to_its_sender() {
    let tracker = tracker();
    let sockets: Vec<UdpSocket> = (2..34).map(|last| client(tracker.addr(), last)).collect();
    for round in 0..8_u32 {
        for (number, socket) in sockets.iter().enumerate() {
            socket.send(&connect_request(round << 16 | number as u32)).unwrap();
            // What makes no sense is between them.
            socket.send(b"nonsense").unwrap();
        }
        for (number, socket) in sockets.iter().enumerate() {
            let reply = receive(socket);
            assert_eq!(reply[4..8], (round << 16 | number as u32).to_be_bytes());
        }
    }
}

#[test]
fn an_error_is_never_longer_than_what_it_answers() {
    let tracker = tracker();
    let socket = client(tracker.addr(), 2);
    socket.send(&announce_request(&[1; 8], 1, 2, 0)).unwrap();
    let reply = receive(&socket);
    assert_eq!(reply[..8], [0, 0, 0, 3, 0, 0, 0, 9]);
    assert!(reply.len() <= 98 && 8 < reply.len());
}

#[test]
fn both_families_are_served_on_one_port_and_ipv4_is_itself() {
    let tracker = TrackerServer::start(Options { workers: 2, ..Options::on("[::]:0") }).unwrap();
    let port = tracker.addr().port();
    for (last, to) in [(2, "127.0.0.1"), (3, "::1")] {
        let socket = client(SocketAddr::new(to.parse().unwrap(), port), last);
        let connection = connect(&socket);
        socket.send(&announce_request(&connection, 1, last, 1)).unwrap();
        assert_eq!(receive(&socket)[..4], [0, 0, 0, 1]);
    }
    let socket = client(SocketAddr::new("127.0.0.1".parse().unwrap(), port), 4);
    let connection = connect(&socket);
    socket.send(&announce_request(&connection, 1, 4, 0)).unwrap();
    assert_eq!(receive(&socket)[20..], [127, 0, 0, 2, 0x17, 0x72]);
    assert_eq!(tracker.counts(), (1, 3));
}

#[test]
fn an_answer_comes_from_the_address_that_was_asked() {
    for place in ["0.0.0.0:0", "[::]:0"] {
        let tracker = TrackerServer::start(Options { workers: 2, ..Options::on(place) }).unwrap();
        let port = tracker.addr().port();
        // Left alone, the system would answer all of them from 127.0.0.1.
        for last in [1, 5, 77] {
            // Connected: it takes no datagram from elsewhere.
            let socket = client(SocketAddr::new(who(last), port), 1);
            let connection = connect(&socket);
            for peer in 1..4 {
                socket.send(&announce_request(&connection, 1, peer, 1)).unwrap();
                assert_eq!(receive(&socket)[..4], [0, 0, 0, 1], "{place} {last}");
            }
        }
    }
}

#[test]
fn a_connection_id_is_good_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("peers");
    let start = || {
        let state = Some(path.clone());
        TrackerServer::start(Options { state, ..Options::on("127.0.0.1:0") }).unwrap()
    };
    let first = start();
    let connection = connect(&client(first.addr(), 1));
    first.shutdown();
    let second = start();
    let socket = client(second.addr(), 1);
    socket.send(&announce_request(&connection, 1, 1, 1)).unwrap();
    assert_eq!(receive(&socket)[..4], [0, 0, 0, 1]);
    // Another client's is none.
    let socket = client(second.addr(), 2);
    socket.send(&announce_request(&connection, 1, 2, 1)).unwrap();
    assert_eq!(receive(&socket)[..4], [0, 0, 0, 3]);
}

#[test]
fn several_addresses_are_one_tracker() {
    let listen = ["127.0.0.1:0", "127.0.0.5:0", "[::1]:0"];
    let listen = listen.map(|place| Listen { place: place.to_owned(), scheme: Scheme::Http }).to_vec();
    let tracker = TrackerServer::start(Options { listen, workers: 1, ..Options::default() }).unwrap();
    let addrs: Vec<SocketAddr> = tracker.places().iter().map(|(addr, _)| *addr).collect();
    assert_eq!(addrs.iter().collect::<BTreeSet<_>>().len(), 3);
    for (peer, addr) in (1..).zip(&addrs) {
        let socket = client(*addr, 2);
        let connection = connect(&socket);
        socket.send(&announce_request(&connection, 1, peer, 1)).unwrap();
        assert_eq!(receive(&socket)[..4], [0, 0, 0, 1]);
    }
    assert_eq!(tracker.counts(), (1, 3));
}
