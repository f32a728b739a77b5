//! Any bytes as the files of our own tracker: lists of torrents, passkeys, a snapshot of the registry.

use std::time::Instant;

use ferri_tracker::server::Registry;
use ferri_tracker::server::access::{FAULTS_NAMED_MAX, Faults, InfoHashList, Passkeys};
use ferri_tracker::server::snapshot::{Restored, Snapshot, SnapshotError, restore};

use crate::tracker_server::OPTIONS;

/// Bytes of the shortest peer in a snapshot.
const PEER_BYTES_MIN: usize = 15;

/// Any text as a list of torrents and as one of passkeys: each line is an entry, a fault or nothing, and faults are short.
pub fn tracker_lists(data: &[u8]) {
    let lines = data.split(|byte| *byte == b'\n').count();
    let check = |entries: usize, faults: &Faults| {
        assert!(entries + faults.count <= lines + 1, "{entries} entries and {} faults", faults.count);
        assert_eq!(faults.first.len(), faults.count.min(FAULTS_NAMED_MAX));
        for fault in &faults.first {
            let text = fault.to_string();
            assert!((1..=lines).contains(&fault.line) && text.len() < 1024, "{text}");
            assert!(!text.contains(char::is_control), "{text:?}");
        }
    };
    let (torrents, faults) = InfoHashList::parse(data).expect("far below the bound");
    check(torrents.len(), &faults);
    let (passkeys, faults) = Passkeys::parse(data, [7; 16]).expect("far below the bound");
    check(passkeys.len(), &faults);
    // A passkey is said nowhere.
    let said = format!("{passkeys:?} {faults:?}");
    for word in data.split(|byte| !byte.is_ascii_alphanumeric()).filter(|word| 24 <= word.len()) {
        let word = std::str::from_utf8(word).expect("letters and digits");
        assert!(!said.contains(word), "{word} in {said}");
    }
}

/// Any bytes as a snapshot: what is taken is within the bounds of the registry and makes a snapshot that is taken whole.
pub fn tracker_snapshot(data: &[u8]) {
    let now = Instant::now();
    let registry = Registry::new(OPTIONS, [7; 16], now);
    let restored = match restore(&registry, data, now, u64::MAX / 2) {
        Ok(restored) => restored,
        Err((error, restored)) => {
            if let SnapshotError::Cut { at } | SnapshotError::Damaged { end: at, .. } = error {
                assert!(at <= data.len(), "{error}");
            }
            restored
        }
    };
    let Restored { peers, silent, no_room } = restored;
    assert!(
        PEER_BYTES_MIN * (peers + silent + no_room) <= data.len(),
        "{restored:?} of {} bytes",
        data.len()
    );
    let census = registry.census();
    assert!(census.peers <= OPTIONS.peers_max.min(peers) && census.swarms <= OPTIONS.swarms_max);
    let again = Registry::new(OPTIONS, [8; 16], now);
    let whole = restore(&again, &snapshot(&registry, now), now, 0).expect("our own snapshot");
    assert_eq!((whole.peers, again.census().peers), (census.peers, census.peers));
}

/// A registry as bytes.
pub(crate) fn snapshot(registry: &Registry, now: Instant) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut snapshot = Snapshot::begin(registry, now, u64::MAX / 2, &mut bytes);
    while snapshot.next_chunk(&mut bytes) {}
    bytes
}
