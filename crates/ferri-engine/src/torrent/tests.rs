//! A torrent's task over links and stores in memory, in time that the test moves: no socket, no file, no sleep.

#![allow(clippy::unwrap_used)]

mod ends;
mod faults;
mod puppet;
mod scene;
mod simulation;
mod stalls;

use std::time::Duration;

use ferri_storage::{MemoryStore, PieceStore};

use self::scene::{Client, PIECE, PIECES, payload};
use super::*;
use crate::{ErrorReason, Event};

#[tokio::test(start_paused = true)]
async fn a_torrent_is_fetched_over_a_link_in_memory_into_a_store_in_memory() {
    let (metainfo, data) = payload();
    let seed = Client::start(1, &metainfo, MemoryStore::full(metainfo.info(), &data)).await;
    let leech = Client::start(2, &metainfo, MemoryStore::new(metainfo.info())).await;
    seed.until(TorrentStatus::is_done).await;
    leech.until(|status| status.state == State::Downloading).await;
    let mut events = leech.torrent.events();
    seed.meet(&leech).await;
    let done = leech.until(TorrentStatus::is_done).await;
    assert_eq!((done.pieces_done as usize, done.downloaded as usize), (PIECES, data.len()));
    leech.assert_holds(&data);
    let events: Vec<_> = std::iter::from_fn(|| events.try_recv().unwrap()).collect();
    assert_eq!(events.iter().filter(|event| matches!(event, Event::Completed)).count(), 1);
    for client in [leech, seed] {
        client.torrent.stop().await.unwrap();
        assert_eq!(client.torrent.status().state, State::Stopped);
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_full_is_told_once_costs_nothing_and_is_gone_on_with_when_it_has_room() {
    let (metainfo, data) = payload();
    let seed = Client::start(1, &metainfo, MemoryStore::full(metainfo.info(), &data)).await;
    let leech = Client::start(2, &metainfo, MemoryStore::new(metainfo.info())).await;
    leech.store.set_room(5 * PIECE as u64);
    let mut events = leech.torrent.events();
    seed.meet(&leech).await;
    let full = leech.until(|status| matches!(status.state, State::Error { .. })).await;
    let State::Error { reason, recoverable, .. } = &full.state else { panic!("just seen") };
    assert!(*recoverable && matches!(reason, ErrorReason::DiskFull { .. }), "{reason:?}");
    // It is tried every five seconds.
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(matches!(leech.torrent.status().state, State::Error { .. }));
    let held = leech.store.have().count_ones();
    assert_eq!(held, 5);
    leech.store.set_room(u64::MAX);
    let done = leech.until(TorrentStatus::is_done).await;
    assert_eq!((done.downloaded as usize, done.wasted), (data.len(), 0), "no byte is fetched twice");
    leech.assert_holds(&data);
    let states: Vec<State> = std::iter::from_fn(|| events.try_recv().unwrap())
        .filter_map(|event| match event {
            Event::StateChanged(state) => Some(state),
            _ => None,
        })
        .collect();
    let errors = states.iter().filter(|state| matches!(state, State::Error { .. })).count();
    assert_eq!(errors, 1, "{states:?}");
}
