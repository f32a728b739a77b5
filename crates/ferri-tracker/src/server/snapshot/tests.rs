//! Snapshots there and back, and damaged ones.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::super::access::{Access, Passkeys};
use super::super::http::{Request, Via, answer};
use super::super::registry::RegistryOptions;
use super::*;
use crate::announce::Scrape;

const UNIX: u64 = 1_700_000_000;

/// Magic, version, second and two secrets.
const HEAD_LENGTH: usize = HEAD_BYTES;

fn registry(secret: u8, now: Instant) -> Registry {
    Registry::new(RegistryOptions::default(), [secret; 16], now)
}

fn announce(registry: &Registry, swarm: u8, number: u16, more: &str, now: Instant) -> Vec<u8> {
    let from = if number.is_multiple_of(5) {
        [0x2001, 0xdb8, 0, number, 0, 0, 0, 1].into()
    } else {
        let [high, low] = number.to_be_bytes();
        [10, 0, high, low].into()
    };
    let hash = format!("%{swarm:02x}").repeat(20);
    let target =
        format!("/announce?info_hash={hash}&peer_id=bbbbbbbbbbbbbbb{number:05}&port=6881&key={number}{more}");
    let request = Request { method: b"GET", target: target.as_bytes(), from, via: Via::Direct };
    let mut body = Vec::new();
    answer(registry, &Access::default(), &request, now, &mut body);
    body
}

fn snapshot(registry: &Registry, now: Instant) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut snapshot = Snapshot::begin(registry, now, UNIX, &mut bytes);
    while snapshot.next_chunk(&mut bytes) {}
    bytes
}

/// Of swarm 1 the first peers, of others some more.
fn filled(now: Instant) -> Registry {
    let registry = registry(1, now);
    for number in 0..300 {
        let more = ["&left=0", "&left=1", "&left=1&event=paused", "&left=0&event=completed"]
            [usize::from(number % 4)];
        announce(&registry, (number % 7) as u8, number, more, now);
    }
    registry
}

fn numbers(registry: &Registry) -> Vec<Scrape> {
    (0..8).map(|swarm| registry.scrape(&InfoHash::from([swarm; 20]))).collect()
}

#[test]
fn a_restart_loses_nobody() {
    let now = Instant::now();
    let before = filled(now);
    let bytes = snapshot(&before, now);
    // Another secret, another clock.
    let begin = Instant::now();
    let after = registry(2, begin);
    let restored = restore(&after, &bytes, begin, UNIX + 30).unwrap();
    assert_eq!(restored, Restored { peers: 300, silent: 0, no_room: 0 });
    assert_eq!(numbers(&after), numbers(&before));
    let (one, other) = (before.census(), after.census());
    assert_eq!(
        (one.swarms, one.peers, one.peers_v6, one.seeds),
        (other.swarms, other.peers, other.peers_v6, other.seeds)
    );
    // All peers are known: none completes twice, and `stopped` is heard.
    announce(&after, 3, 3, "&left=0&event=completed", begin);
    assert_eq!(numbers(&after), numbers(&before));
    announce(&after, 3, 3, "&left=0&event=stopped", begin);
    assert_eq!(after.census().peers, 299);
    // Twice the same changes nothing.
    announce(&after, 3, 3, "&left=0", begin);
    restore(&after, &bytes, begin, UNIX).unwrap();
    assert_eq!(after.census().peers, 300);
}

#[test]
fn the_time_off_counts_as_silence() {
    let now = Instant::now();
    let before = filled(now);
    let lifetime = before.options().peer_lifetime;
    let later = now + lifetime / 2;
    announce(&before, 1, 1, "&left=0", later);
    let bytes = snapshot(&before, later);
    let restore_after = |off: u64| {
        let begin = Instant::now();
        let after = registry(2, begin);
        restore(&after, &bytes, begin, UNIX + off).unwrap();
        let peers = after.census().peers;
        // A peer that comes back old leaves in time.
        after.sweep(begin + lifetime / 2 + Duration::from_secs(off + 200));
        (peers, after.census().peers)
    };
    assert_eq!(restore_after(0), (300, 1));
    assert_eq!(restore_after(lifetime.as_secs() / 2 + 5), (1, 0));
    assert_eq!(restore_after(lifetime.as_secs() + 5), (0, 0));
}

#[test]
fn a_snapshot_comes_in_chunks_of_bounded_size() {
    let now = Instant::now();
    let registry = registry(1, now);
    let mut bytes = Vec::new();
    let head = {
        let mut snapshot = Snapshot::begin(&registry, now, UNIX, &mut bytes);
        let head = bytes.len();
        assert!(snapshot.next_chunk(&mut bytes) && !snapshot.next_chunk(&mut bytes));
        head
    };
    assert_eq!((head, bytes.len()), (HEAD_LENGTH, HEAD_LENGTH + CHUNK_HEAD_LENGTH));
    assert_eq!(restore(&registry, &bytes, now, UNIX), Ok(Restored::default()));
    // 30,000 torrents of one peer are 47 bytes each.
    for number in 0..30_000u32 {
        let mut hash = [0; 20];
        hash[..4].copy_from_slice(&number.to_be_bytes());
        let known = Known { seen: 0, identity: number, marks: Marks::new(Has::All) };
        let info_hash = InfoHash::from(hash);
        let mut shard = registry.lock_shard_of(&info_hash);
        assert!(shard.restore(registry.shared(), info_hash, 0, ([10, 0, 0, 1], 6881).into(), known));
    }
    let mut sizes = Vec::new();
    let mut snapshot = Snapshot::begin(&registry, now, UNIX, &mut Vec::new());
    loop {
        let mut chunk = Vec::new();
        if !snapshot.next_chunk(&mut chunk) {
            break;
        }
        sizes.push(chunk.len());
    }
    assert_eq!(sizes.iter().sum::<usize>(), 30_000 * 47 + sizes.len() * CHUNK_HEAD_LENGTH);
    assert!(5 < sizes.len() && sizes.iter().all(|size| *size < CHUNK_BYTES + 100), "{sizes:?}");
}

#[test]
fn what_goes_while_a_snapshot_is_made_leaves_no_other_out() {
    let now = Instant::now();
    let options = RegistryOptions { shards: 1, ..RegistryOptions::default() };
    let registry = Registry::new(options, [1; 16], now);
    for number in 1..200 {
        announce(&registry, number, u16::from(number), "&left=0", now);
    }
    let mut bytes = Vec::new();
    let snapshot = Snapshot { swarms: 100, ..Snapshot::begin(&registry, now, UNIX, &mut bytes) };
    // As if half of the shard were written: what is at its end moves to where others leave.
    for number in (1..200).step_by(9) {
        announce(&registry, number, u16::from(number), "&left=0&event=stopped", now);
    }
    let mut snapshot = snapshot;
    while snapshot.next_chunk(&mut bytes) {}
    let after = Registry::new(RegistryOptions::default(), [2; 16], now);
    restore(&after, &bytes, now, UNIX).unwrap();
    let lost = (1..=100u8).filter(|number| {
        let info_hash = InfoHash::from([*number; 20]);
        registry.scrape(&info_hash).seeders != 0 && after.scrape(&info_hash).seeders == 0
    });
    assert_eq!(lost.count(), 0);
}

#[test]
fn a_damaged_snapshot_says_where() {
    let now = Instant::now();
    let bytes = snapshot(&filled(now), now);
    let error = |bytes: &[u8]| restore(&registry(2, now), bytes, now, UNIX).unwrap_err().0;
    assert_eq!(error(b""), SnapshotError::NotASnapshot);
    assert_eq!(error(b"d8:announce"), SnapshotError::NotASnapshot);
    for length in [8, 11, 19, 20, 35, 36, 51, 52, 63, 64, 100, bytes.len() - 13, bytes.len() - 1] {
        assert_eq!(error(&bytes[..length]), SnapshotError::Cut { at: length });
    }
    let mut newer = bytes.clone();
    newer[11] = 4;
    assert_eq!(error(&newer), SnapshotError::Version(4));
    let words = "a newer program wrote it: its version is 4, and this one reads 3";
    assert_eq!(error(&newer).to_string(), words);
    newer[11] = 0;
    assert_eq!(error(&newer), SnapshotError::Damaged { begin: 8, end: 12 });
    let end = bytes.len() - CHUNK_HEAD_LENGTH;
    for at in [56, 63, 64, 500, end - 1] {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert_eq!(error(&damaged), SnapshotError::Damaged { begin: HEAD_LENGTH, end });
    }
    let mut huge = bytes.clone();
    huge[HEAD_LENGTH] = 0xff;
    let end_of_heads = HEAD_LENGTH + CHUNK_HEAD_LENGTH;
    assert_eq!(error(&huge), SnapshotError::Damaged { begin: HEAD_LENGTH, end: end_of_heads });
    // The chunk before the damage is kept.
    let after = registry(2, now);
    let mut damaged = bytes.clone();
    damaged[end + 5] ^= 1;
    let (error, restored) = restore(&after, &damaged, now, UNIX).unwrap_err();
    assert_eq!(error, SnapshotError::Damaged { begin: end, end: bytes.len() });
    assert_eq!((restored.peers, after.census().peers), (300, 300));
}

/// A snapshot of one chunk whose checksum is right, whatever it says.
fn sealed(chunk: &[u8]) -> Vec<u8> {
    let now = Instant::now();
    let mut bytes = Vec::new();
    let _ = Snapshot::begin(&registry(1, now), now, UNIX, &mut bytes);
    bytes.extend_from_slice(&u32::try_from(chunk.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(&siphash(&CHECKSUM_KEY, chunk).to_be_bytes());
    bytes.extend_from_slice(chunk);
    bytes
}

#[test]
fn a_chunk_that_lies_about_its_swarms_is_refused() {
    let now = Instant::now();
    let mut chunk = vec![7; 20];
    chunk.extend_from_slice(&[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    chunk.extend_from_slice(&[1; 15]);
    let bytes = sealed(&chunk);
    let (error, _) = restore(&registry(2, now), &bytes, now, UNIX).unwrap_err();
    assert_eq!(error, SnapshotError::Damaged { begin: HEAD_LENGTH, end: bytes.len() });
}

#[test]
fn a_snapshot_of_an_earlier_version_is_taken_whole() {
    let now = Instant::now();
    for (version, secrets) in [(1, 20..HEAD_LENGTH), (2, 36..HEAD_LENGTH)] {
        let mut bytes = snapshot(&filled(now), now);
        bytes.drain(secrets);
        bytes[11] = version;
        let after = registry(2, now);
        assert_eq!(restore(&after, &bytes, now, UNIX).map(|restored| restored.peers), Ok(300));
        assert_eq!(
            (connections(&bytes, UNIX), users(&bytes)),
            ([None, Some([1; 16])][version as usize - 1], None)
        );
    }
}

/// What a user is told who announces a peer to a tracker that knows users by this secret.
fn announce_as(registry: &Registry, secret: u8, key: &str, number: u16, now: Instant) -> String {
    let list = Passkeys::parse(b"alice-0001 peers=3\nbob-000001 peers=3\n", [secret; 16]).unwrap().0;
    let access = Access { passkeys: Some(Arc::new(list)), ..Access::default() };
    let hash = "%01".repeat(20);
    let target =
        format!("/{key}/announce?info_hash={hash}&peer_id=bbbbbbbbbbbbbbb{number:05}&port={number}&left=1");
    let from = [10, 0, 0, 1].into();
    let request = Request { method: b"GET", target: target.as_bytes(), from, via: Via::Direct };
    let mut body = Vec::new();
    answer(registry, &access, &request, now, &mut body);
    String::from_utf8_lossy(&body).into_owned()
}

#[test]
fn what_a_user_has_counts_for_its_passkey_after_a_restart() {
    let now = Instant::now();
    let is_served = |registry: &Registry, secret, key: &str, number| {
        let told = announce_as(registry, secret, key, number, now);
        assert_ne!(told.contains("interval"), told.contains("failure reason"), "{told}");
        told.contains("interval")
    };
    let mut before = registry(1, now);
    before.share_users([5; 16]);
    assert!((2_001..2_004).all(|number| is_served(&before, 5, "alice-0001", number)));
    assert!(is_served(&before, 5, "bob-000001", 3_001));
    let bytes = snapshot(&before, now);
    assert_eq!((users(&bytes), users(&bytes[..HEAD_BYTES])), (Some([5; 16]), Some([5; 16])));
    assert!(!bytes.windows(5).any(|window| window == b"alice"));

    let restart = |secret: u8| {
        let mut after = registry(2, now);
        after.share_users([secret; 16]);
        assert_eq!(restore(&after, &bytes, now, UNIX).map(|restored| restored.peers), Ok(4));
        after
    };
    let after = restart(5);
    // Others come first, in vain; those who were there stay.
    assert!(!is_served(&after, 5, "alice-0001", 2_004));
    assert!((2_001..2_004).all(|number| is_served(&after, 5, "alice-0001", number)));
    assert!((3_002..3_004).all(|number| is_served(&after, 5, "bob-000001", number)));
    assert!(!is_served(&after, 5, "bob-000001", 3_004));
    // And the next restart knows it too.
    let mut again = registry(3, now);
    again.share_users([5; 16]);
    restore(&again, &snapshot(&after, now), now, UNIX).unwrap();
    assert!(!is_served(&again, 5, "alice-0001", 2_004));
    // Under another secret no user is known, and no user's account is taken.
    let strange = restart(6);
    assert!((2_004..2_007).all(|number| is_served(&strange, 6, "alice-0001", number)));
}

#[test]
fn the_secret_of_connection_ids_is_kept_while_any_may_be_in_use() {
    let now = Instant::now();
    let mut before = registry(1, now);
    before.share_connections([9; 16], UNIX);
    let bytes = snapshot(&before, now);
    assert_eq!(connections(&bytes, UNIX + 120), Some([9; 16]));
    assert_eq!(connections(&bytes, UNIX + 3_600), None);
    assert_eq!(connections(&bytes[..HEAD_LENGTH - 1], UNIX), None);
    assert_eq!(connections(b"nonsense", UNIX), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_a_chunk_says_is_taken_within_bounds_or_refused(
        hash in any::<[u8; 20]>(),
        counts in prop::array::uniform3(0..4_u32),
        peers in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let now = Instant::now();
        let counts: Vec<u8> = counts.iter().flat_map(|count| count.to_be_bytes()).collect();
        let bytes = sealed(&[&hash[..], &counts, &peers].concat());
        let registry = registry(2, now);
        // It has no end.
        let (_, restored) = restore(&registry, &bytes, now, UNIX).unwrap_err();
        prop_assert!((restored.peers + restored.silent + restored.no_room) * (6 + PEER_TAIL_LENGTH) <= peers.len());
        prop_assert!(registry.census().peers <= restored.peers);
    }
}
