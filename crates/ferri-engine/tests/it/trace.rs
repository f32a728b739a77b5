//! What a session records can be replayed, and the machine says the same again.

use std::time::Instant;

use ferri_engine::trace::{Replay, Step};
use ferri_engine::{AddTorrent, Session};

use crate::support::{Payload, Seed, options, within};

#[tokio::test]
async fn a_recorded_download_replays_to_the_same_outputs() {
    let payload = Payload::single(2_000_000, 65536);
    let seed = Seed::start(&payload, &[]).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("trace.jsonl");
    let mut options = options(&dir);
    options.trace = Some(path.clone());
    let session = Session::start(options).await.unwrap();
    let mut add = AddTorrent::new(payload.metainfo(&[]), dir.path().join("out"));
    add.peers = vec![seed.session.listen_addr()];
    let torrent = session.add(add).await.unwrap();
    within(torrent.wait_done()).await;
    session.shutdown().await;

    let trace = std::fs::read_to_string(&path).unwrap();
    let mut replay = Replay::new(Instant::now());
    let mut outputs = 0;
    for line in trace.lines() {
        if let Some(Step::Output { .. }) = replay.feed(line).unwrap() {
            outputs += 1;
        }
    }
    assert!(100 < outputs, "{outputs}");
    let (_, swarm) = replay.swarms().next().unwrap();
    assert!(swarm.have().is_full());

    let meddled = trace.replacen("Unchoke", "Choke", 1);
    let mut replay = Replay::new(Instant::now());
    assert!(meddled.lines().any(|line| replay.feed(line).is_err()), "a changed trace is noticed");
}
