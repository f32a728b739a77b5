//! What a session does about the network around it: on loopback nothing.

use ferri_engine::{LsdStatus, PortMappingStatus, Session, SessionOptions};
use tempfile::TempDir;

use crate::support;

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
