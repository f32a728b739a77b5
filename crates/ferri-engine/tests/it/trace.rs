//! What a session records can be replayed, and its machines say the same again.

use std::time::Instant;

use ferri_engine::trace::{Kind, Replay, What};
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
    options.dht = true;
    let session = Session::start(options).await.unwrap();
    // No tracker is there; the attempt is recorded, and its secret is not.
    let tracker = "http://127.0.0.1:9/sesame-open/announce";
    let mut add = AddTorrent::new(payload.metainfo(&[tracker.to_owned()]), dir.path().join("out"));
    add.peers = vec![seed.session.listen_addr()];
    let torrent = session.add(add).await.unwrap();
    within(torrent.wait_done()).await;
    session.shutdown().await;

    let trace = std::fs::read_to_string(&path).unwrap();
    assert!(!trace.contains("sesame-open"));
    let mut replay = Replay::new(Instant::now());
    let mut outputs = std::collections::BTreeMap::new();
    for line in trace.lines() {
        if let Some(step) = replay.feed(line).unwrap()
            && let What::Output { .. } = step.what
        {
            *outputs.entry(step.machine).or_insert(0) += 1;
        }
    }
    assert!(100 < outputs[&Kind::Swarm] && outputs.contains_key(&Kind::Schedule), "{outputs:?}");
    assert!(outputs.contains_key(&Kind::Pace) && outputs.contains_key(&Kind::Dht), "{outputs:?}");
    let (of, swarm) = replay.swarms().next().unwrap();
    assert_eq!(of, torrent.info_hashes().wire().to_string());
    assert!(swarm.have().is_full());

    let meddled = trace.replacen("Unchoke", "Choke", 1);
    let mut replay = Replay::new(Instant::now());
    assert!(meddled.lines().any(|line| replay.feed(line).is_err()), "a changed trace is noticed");
}
