//! Peers that mean harm, on real sockets: they cost little and are gone; honest ones do not notice.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use ferri_engine::{AddTorrent, Check, Encryption, Event, Session, SessionOptions};
use ferri_metainfo::Bitfield;
use ferri_wire::mse::PUBLIC_KEY_LEN;
use ferri_wire::{Message, Reserved, encode};

use crate::support::{Payload, Seed, options, resident_bytes, shake, within};

const FAST: Reserved = Reserved::NONE.with_fast();

/// The other side hangs up, rather than us waiting.
fn assert_hung_up(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut buffer = [0; 65536];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return,
            Err(error) => panic!("still connected: {error}"),
        }
    }
}

/// Sends `bytes` again and again until the seed hangs up or `times` is reached; its memory must not follow.
async fn flood(bytes: Vec<u8>, times: usize) {
    let payload = Payload::single(1_000_000, 32768);
    let seed = Seed::start(&payload, &[]).await;
    let addr = seed.session.listen_addr();
    let before = resident_bytes();
    tokio::task::spawn_blocking(move || {
        let mut stream = shake(addr, &Payload::single(1_000_000, 32768), FAST);
        for _ in 0..times {
            if stream.write_all(&bytes).is_err() {
                return;
            }
        }
        assert_hung_up(&mut stream);
    })
    .await
    .unwrap();
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 32 << 20, "memory grew by {} KiB", grown >> 10);
}

fn encoded(message: &Message, times: usize) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    for _ in 0..times {
        encode(message, &mut bytes);
    }
    bytes.to_vec()
}

#[tokio::test]
async fn a_length_beyond_all_limits_ends_the_connection() {
    flood(b"\xff\xff\xff\xff\x14".to_vec(), 1).await;
}

#[tokio::test]
async fn a_flood_of_requests_while_choked_ends_the_connection() {
    flood(encoded(&Message::Request { piece: 0, begin: 0, length: 16384 }, 1000), 2000).await;
}

#[tokio::test]
async fn a_flood_of_keep_alives_ends_the_connection() {
    flood(encoded(&Message::KeepAlive, 10_000), 2000).await;
}

#[tokio::test]
async fn a_flood_of_haves_ends_the_connection() {
    flood(encoded(&Message::Have { piece: 3 }, 1000), 2000).await;
}

#[tokio::test]
async fn a_piece_beyond_the_torrent_ends_the_connection() {
    flood(encoded(&Message::Have { piece: u32::MAX }, 1), 1).await;
}

/// A public key has no form, so another protocol may be one until the padding behind it is too long.
#[tokio::test]
async fn another_protocol_is_hung_up_on_at_once_or_when_it_can_be_no_key_exchange() {
    let payload = Payload::single(100_000, 32768);
    for (encryption, request) in [
        (Encryption::Disable, b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        (Encryption::Allow, b"GET / HTTP/1.1\r\n".repeat(40)),
    ] {
        let seed = Seed::start_with(&payload, &[], |options, _| options.encryption = encryption).await;
        let addr = seed.session.listen_addr();
        let waited = tokio::task::spawn_blocking(move || {
            let mut stream = TcpStream::connect(addr).unwrap();
            stream.write_all(&request).unwrap();
            let since = Instant::now();
            assert_hung_up(&mut stream);
            since.elapsed()
        });
        // Without a reason to, it would be after ten.
        assert!(waited.await.unwrap() < Duration::from_secs(8), "{encryption:?}");
    }
}

#[tokio::test]
async fn half_done_key_exchanges_do_not_keep_an_honest_peer_out() {
    let payload = Payload::single(1_000_000, 32768);
    let seed = Seed::start(&payload, &[]).await;
    let addr = seed.session.listen_addr();
    let strangers: Vec<TcpStream> = tokio::task::spawn_blocking(move || {
        let begin = |_| {
            let mut stream = TcpStream::connect_timeout(&addr, Duration::from_secs(5)).ok()?;
            stream.write_all(&[0xee; PUBLIC_KEY_LEN]).ok()?;
            Some(stream)
        };
        (0..400).filter_map(begin).collect()
    })
    .await
    .unwrap();
    assert!(300 < strangers.len());
    for encryption in [Encryption::Disable, Encryption::Require] {
        let dir = tempfile::tempdir().unwrap();
        let session = Session::start(SessionOptions { encryption, ..options(&dir) }).await.unwrap();
        let mut add = AddTorrent::new(payload.metainfo(&[]), dir.path());
        add.peers = vec![addr];
        let since = Instant::now();
        let torrent = session.add(add).await.unwrap();
        within(torrent.wait_done()).await;
        payload.assert_at(dir.path());
        // The strangers have ten seconds, so it did not wait for them.
        assert!(since.elapsed() < Duration::from_secs(8), "{encryption:?}: {:?}", since.elapsed());
    }
}

#[tokio::test]
async fn silent_strangers_do_not_keep_an_honest_peer_out() {
    let payload = Payload::single(1_000_000, 32768);
    let seed = Seed::start(&payload, &[]).await;
    let addr = seed.session.listen_addr();
    let silent: Vec<TcpStream> = tokio::task::spawn_blocking(move || {
        (0..400).filter_map(|_| TcpStream::connect_timeout(&addr, Duration::from_secs(5)).ok()).collect()
    })
    .await
    .unwrap();
    assert!(300 < silent.len());
    let dir = tempfile::tempdir().unwrap();
    let session = Session::start(options(&dir)).await.unwrap();
    let mut add = AddTorrent::new(payload.metainfo(&[]), dir.path());
    add.peers = vec![addr];
    let torrent = session.add(add).await.unwrap();
    within(torrent.wait_done()).await;
    payload.assert_at(dir.path());
}

#[tokio::test]
async fn a_poisoner_is_found_and_the_honest_seed_is_not_blamed() {
    let payload = Payload::single(4_000_000, 262_144);
    let honest = Seed::start(&payload, &[]).await;
    let mut poisoned = Payload::single(4_000_000, 262_144);
    for byte in poisoned.files[0].1.iter_mut().step_by(16384) {
        *byte ^= 0xff;
    }
    let dir = tempfile::tempdir().unwrap();
    poisoned.write(dir.path());
    let liar = Session::start(options(&dir)).await.unwrap();
    let mut add = AddTorrent::new(payload.metainfo(&[]), dir.path());
    add.check = Check::Trust(Bitfield::full(payload.metainfo(&[]).info().layout().piece_count()));
    add.seed_only = true;
    liar.add(add).await.unwrap();

    let out = tempfile::tempdir().unwrap();
    let session = Session::start(options(&out)).await.unwrap();
    let mut add = AddTorrent::new(payload.metainfo(&[]), out.path());
    add.peers = vec![liar.listen_addr(), honest.session.listen_addr()];
    let torrent = session.add(add).await.unwrap();
    let mut events = torrent.events();
    within(torrent.wait_done()).await;
    payload.assert_at(out.path());
    let honest_addr = honest.session.listen_addr().to_string();
    while let Ok(Some(event)) = events.try_recv() {
        if let Event::Note(note) = event {
            assert!(!note.to_string().contains(&honest_addr), "{note}");
        }
    }
    assert!(torrent.status().wasted < 4_000_000, "{}", torrent.status().wasted);
}

#[tokio::test]
async fn one_address_has_four_connections_over_all_torrents_once_half_of_the_slots_are_taken() {
    let first = Payload::single(100_000, 32768);
    let second = Payload { name: "other.bin", ..Payload::single(200_000, 32768) };
    let seed = Seed::start_with(&first, &[], |options, _| options.limits.peers_max = 10).await;
    second.write(seed.dir.path());
    let mut add = AddTorrent::new(second.metainfo(&[]), seed.dir.path());
    add.seed_only = true;
    within(seed.session.add(add).await.unwrap().wait_checked()).await;
    let addr = seed.session.listen_addr();
    tokio::task::spawn_blocking(move || {
        let open = |payload: &Payload| {
            let mut stream = shake(addr, payload, FAST);
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            // Who is let in hears at once what we have: one message of one byte.
            stream.read_exact(&mut [0; 5]).is_ok().then_some(stream)
        };
        let mut held: Vec<TcpStream> = (0..4).filter_map(|_| open(&first)).collect();
        held.extend(open(&second));
        assert_eq!(held.len(), 5, "below half everybody is welcome");
        assert!(open(&second).is_none() && open(&first).is_none());
    })
    .await
    .unwrap();
}
