//! A peer that stops at every step of what it says: it holds up neither a download nor the end of the session.

use std::sync::Arc;
use std::time::Duration;

use ferri_metainfo::Metainfo;
use ferri_metainfo::magnet::Magnet;
use tokio::task::JoinSet;

use super::puppet::{Puppet, Role, Then};
use super::scene::{Client, PATIENCE, PIECES, ROOM, addr, count_panics, payload, tasks_alive};
use super::*;
use crate::AddTorrent;
use crate::peer::memory::Net;

/// A download that a peer holds up is done by then: a silent peer is given up after two minutes, one that holds a block sooner.
const HELD_UP: Duration = Duration::from_secs(600);
/// Messages of the stalling peer at which it is stopped: all that come before the first block, and a few blocks.
const STEPS: usize = 8;

/// How the torrent is known when it is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Whole,
    ByLink,
}

/// A client that has nothing, and a peer that is moved by a script.
struct Stage {
    net: Arc<Net>,
    torrent: Arc<(Metainfo, Vec<u8>)>,
    puppets: JoinSet<()>,
}

impl Stage {
    fn new() -> Self {
        Self { net: Arc::new(Net::new(ROOM)), torrent: Arc::new(payload()), puppets: JoinSet::new() }
    }

    async fn leech(&self, known: Known) -> Client {
        let (metainfo, _) = &*self.torrent;
        let add = match known {
            Known::Whole => AddTorrent::new(metainfo.clone(), "no folder"),
            Known::ByLink => AddTorrent::magnet(Magnet::new(metainfo.info().info_hashes()), "no folder"),
        };
        let store = MemoryStore::new(metainfo.info());
        Client::on(&self.net, 1, 1, add, Arc::new(store.into())).await
    }

    async fn seed(&self) -> Client {
        let (metainfo, data) = &*self.torrent;
        let add = AddTorrent::new(metainfo.clone(), "no folder");
        let store = MemoryStore::full(metainfo.info(), data);
        Client::on(&self.net, 2, 2, add, Arc::new(store.into())).await
    }

    /// Connects the peer to the client.
    async fn enter(&mut self, puppet: Puppet, role: Role, leech: &Client) {
        let theirs = addr(puppet.name);
        match role {
            Role::Dials => {
                let link = self.net.dial(theirs, leech.addr).await.unwrap();
                self.puppets.spawn(puppet.play(link, role));
            }
            Role::IsDialled => {
                let mut calls = self.net.listen(theirs);
                self.puppets.spawn(async move {
                    let mut playing = JoinSet::new();
                    while let Some(link) = calls.recv().await {
                        playing.spawn(puppet.clone().play(link, role));
                    }
                });
                leech.torrent.add_peers(vec![theirs]).await.unwrap();
            }
        }
    }

    /// Nothing is left of it.
    async fn end(mut self) {
        self.puppets.shutdown().await;
        assert_eq!(tasks_alive(), 0);
    }
}

/// Where the steps of a peer that behaves end, in bytes that it says.
async fn steps(known: Known, role: Role) -> Vec<usize> {
    let mut stage = Stage::new();
    let leech = stage.leech(known).await;
    let puppet = Puppet::new(&stage.torrent, 9);
    let ends = puppet.ends.clone();
    stage.enter(puppet, role, &leech).await;
    leech.until(TorrentStatus::is_done).await;
    leech.assert_holds(&stage.torrent.1);
    leech.shut_down().await;
    stage.end().await;
    let ends = ends.lock().unwrap().clone();
    assert!(STEPS + PIECES < ends.len(), "{ends:?}");
    ends[..STEPS].to_vec()
}

/// Each place at which a peer can stop: before, within and after every step, and what it does then.
async fn each_stop(known: Known, mut check: impl AsyncFnMut(Puppet, Role)) {
    for role in [Role::Dials, Role::IsDialled] {
        let mut before = 0_usize;
        for end in steps(known, role).await {
            for says in [before, before + 1, before.midpoint(end), end - 1] {
                for then in [Then::Silence, Then::HangUp, Then::Deafness] {
                    let puppet = Puppet { says, then, ..Puppet::new(&Stage::new().torrent, 9) };
                    check(puppet, role).await;
                }
            }
            before = end;
        }
    }
}

/// Beside a peer that stops there, a seed that comes later is enough.
async fn is_held_up_by_no_peer(known: Known) {
    let panics = count_panics();
    each_stop(known, async |puppet, role| {
        let said = format!("{role:?} says {} bytes, then {:?}", puppet.says, puppet.then);
        let mut stage = Stage::new();
        let leech = stage.leech(known).await;
        stage.enter(puppet, role, &leech).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let seed = stage.seed().await;
        leech.torrent.add_peers(vec![seed.addr]).await.unwrap();
        let done = leech.until_within(HELD_UP, TorrentStatus::is_done).await;
        assert_eq!(done.pieces_done as usize, PIECES, "{said}");
        leech.assert_holds(&stage.torrent.1);
        leech.shut_down().await;
        seed.shut_down().await;
        stage.end().await;
    })
    .await;
    assert_eq!(count_panics(), panics);
}

/// While a peer stands there, the session ends in time and leaves no task.
async fn ends_at_every_step(known: Known) {
    let panics = count_panics();
    each_stop(known, async |puppet, role| {
        let mut stage = Stage::new();
        let leech = stage.leech(known).await;
        stage.enter(puppet, role, &leech).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        leech.shut_down().await;
        stage.end().await;
    })
    .await;
    assert_eq!(count_panics(), panics);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_stops_at_any_step_holds_up_no_download() {
    is_held_up_by_no_peer(Known::Whole).await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_stops_at_any_step_holds_up_no_search() {
    is_held_up_by_no_peer(Known::ByLink).await;
}

#[tokio::test(start_paused = true)]
async fn a_download_ends_in_time_at_every_step_of_a_peer() {
    ends_at_every_step(Known::Whole).await;
}

#[tokio::test(start_paused = true)]
async fn a_search_ends_in_time_at_every_step_of_a_peer() {
    ends_at_every_step(Known::ByLink).await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_lies_spoils_neither_a_search_nor_a_download() {
    for known in [Known::Whole, Known::ByLink] {
        for role in [Role::Dials, Role::IsDialled] {
            let mut stage = Stage::new();
            let leech = stage.leech(known).await;
            let liar = Puppet { lies: true, ..Puppet::new(&stage.torrent, 9) };
            stage.enter(liar, role, &leech).await;
            tokio::time::sleep(Duration::from_secs(30)).await;
            assert!(!leech.torrent.status().is_done());
            let seed = stage.seed().await;
            leech.torrent.add_peers(vec![seed.addr]).await.unwrap();
            leech.until_within(HELD_UP, TorrentStatus::is_done).await;
            leech.assert_holds(&stage.torrent.1);
            leech.shut_down().await;
            seed.shut_down().await;
            stage.end().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_address_that_never_answers_holds_up_neither_a_download_nor_its_end() {
    for known in [Known::Whole, Known::ByLink] {
        let stage = Stage::new();
        let silent: Vec<_> = (100..150).map(addr).collect();
        silent.iter().for_each(|addr| stage.net.silence(*addr));
        let leech = stage.leech(known).await;
        leech.torrent.add_peers(silent.clone()).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        leech.shut_down().await;
        let (leech, seed) = (stage.leech(known).await, stage.seed().await);
        leech.torrent.add_peers(silent).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        leech.torrent.add_peers(vec![seed.addr]).await.unwrap();
        leech.until_within(PATIENCE, TorrentStatus::is_done).await;
        leech.shut_down().await;
        seed.shut_down().await;
        stage.end().await;
    }
}
