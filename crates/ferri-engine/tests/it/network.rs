//! What a session does about the network around it: on loopback nothing.

use ferri_engine::dht::{DhtNode, DhtOptions};
use ferri_engine::{AddTorrent, LsdStatus, PortMappingStatus, Session, SessionOptions};
use tempfile::TempDir;

use crate::support::{self, Payload, Seed};

/// Why nobody on the local network, and no gateway, is spoken to.
async fn check(change: impl FnOnce(&mut SessionOptions), why: &str) {
    let dir = TempDir::new().unwrap();
    let mut options = SessionOptions { lsd: true, port_mapping: true, ..support::options(&dir) };
    change(&mut options);
    let session = Session::start(options).await.unwrap();
    let network = session.network();
    assert_eq!(network.lsd, LsdStatus::Off { why: why.to_owned() });
    assert_eq!(network.port_mapping, PortMappingStatus::Off { why: why.to_owned() });
    assert_eq!(network.announced_port(), session.listen_addr().port());
    session.shutdown().await;
}

#[tokio::test]
async fn a_session_on_loopback_speaks_to_nobody_around() {
    check(|_| {}, "the session is bound to this host alone").await;
    check(|options| options.bind = Some([127, 0, 0, 77].into()), "the session is bound to this host alone")
        .await;
}

#[tokio::test]
async fn switches_that_are_off_are_off_on_every_network() {
    let off = |options: &mut SessionOptions| {
        (options.bind, options.lsd, options.port_mapping) = (None, false, false);
    };
    check(off, "switched off").await;
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
    // Who comes first finds nobody, and looks again soon.
    let seed = Seed::start_with(&payload, &[], |options, _| know_it(options)).await;
    support::within(torrent.wait_done()).await;
    payload.assert_at(&out);
    leech.shutdown().await;
    seed.session.shutdown().await;
    node.shutdown().await;
}
