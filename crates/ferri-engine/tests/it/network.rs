//! What a session does about the network around it: on loopback nothing.

use std::net::SocketAddr;

use ferri_engine::dht::{DhtNode, DhtOptions};
use ferri_engine::{AddTorrent, LsdStatus, PortMappingStatus, Session, SessionOptions, WhyOff};
use ferri_tracker::udp::{Request, Response};
use tempfile::TempDir;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use crate::support::{self, Payload, Seed};

/// Why no host on the local network, and no gateway, is spoken to.
async fn check(change: impl FnOnce(&mut SessionOptions), why: WhyOff) {
    let dir = TempDir::new().unwrap();
    let mut options = SessionOptions { lsd: true, port_mapping: true, ..support::options(&dir) };
    change(&mut options);
    let session = Session::start(options).await.unwrap();
    let network = session.network();
    assert_eq!(network.lsd, LsdStatus::Off { why: why.clone() });
    assert_eq!(network.port_mapping, PortMappingStatus::Off { why });
    assert_eq!(network.announced_port(), session.listen_addr().port());
    session.shutdown().await;
}

#[tokio::test]
async fn a_session_on_loopback_speaks_to_nobody_around() {
    check(|_| {}, WhyOff::ThisHostAlone).await;
    check(|options| options.bind = Some([127, 0, 0, 77].into()), WhyOff::ThisHostAlone).await;
}

#[tokio::test]
async fn switches_that_are_off_are_off_on_every_network() {
    let off = |options: &mut SessionOptions| {
        (options.bind, options.lsd, options.port_mapping) = (None, false, false);
    };
    check(off, WhyOff::SwitchedOff).await;
}

/// A node that both know is all they have in common; nothing else is on.
#[tokio::test]
async fn two_sessions_that_know_one_node_meet_by_it() {
    let payload = Payload::single(300_000, 16_384);
    let bind = Some([127, 0, 0, 1].into());
    let node = DhtNode::start(DhtOptions { bind, ..DhtOptions::default() }).await.unwrap();
    let router = format!("127.0.0.1:{}", node.dht().udp_port());
    let know_it = |options: &mut SessionOptions| {
        (options.dht, options.dht_routers) = (true, vec![router.clone()]);
    };
    let dir = TempDir::new().unwrap();
    let mut options = support::options(&dir);
    know_it(&mut options);
    let leech = Session::start(options).await.unwrap();
    let out = dir.path().join("out");
    let torrent = leech.add(AddTorrent::new(payload.metainfo(&[]), &out)).await.unwrap();
    // The one that comes first finds no peer, and looks again soon.
    let seed = Seed::start_with(&payload, &[], |options, _| know_it(options)).await;
    support::within(torrent.wait_done()).await;
    payload.assert_at(&out);
    leech.shutdown().await;
    seed.session.shutdown().await;
    node.shutdown().await;
}

/// A UDP tracker that knows no peers, and the addresses that ask it.
async fn tracker() -> (String, mpsc::UnboundedReceiver<SocketAddr>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let url = format!("udp://{}/announce", socket.local_addr().unwrap());
    let (tell, asked) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let response = match Request::decode(&buffer[..length]).unwrap() {
                Request::Connect { transaction } => Response::Connect { transaction, connection: 7 },
                Request::Announce { transaction, .. } => {
                    tell.send(from).unwrap();
                    let (interval, leechers, seeders, peers) = (1800, 0, 0, Vec::new());
                    Response::Announce { transaction, interval, leechers, seeders, peers }
                }
                other => panic!("{other:?}"),
            };
            socket.send_to(&response.encode(), from).await.unwrap();
        }
    });
    (url, asked)
}

#[tokio::test]
async fn udp_trackers_are_asked_by_the_sockets_of_the_session_without_a_dht_too() {
    let (first, mut ask_first) = tracker().await;
    let (second, mut ask_second) = tracker().await;
    let dir = TempDir::new().unwrap();
    let session = Session::start(support::options(&dir)).await.unwrap();
    assert!(session.dht().is_none());
    for (length, url) in [(10_000, first), (20_000, second)] {
        let metainfo = Payload::single(length, 16_384).metainfo(&[url]);
        session.add(AddTorrent::new(metainfo, dir.path().join(length.to_string()))).await.unwrap();
    }
    let first = support::within(ask_first.recv()).await.unwrap();
    let second = support::within(ask_second.recv()).await.unwrap();
    assert_eq!(first, second);
    assert_eq!(first.ip(), session.listen_addr().ip());
    session.shutdown().await;
}
