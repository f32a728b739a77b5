//! A session ends in time, and a torrent that was stopped refuses everything, whatever it was doing.

use std::time::Duration;

use ferri_metainfo::FileIndex;
use ferri_metainfo::magnet::Magnet;

use super::scene::{Client, Fault, ROOM, addr, count_panics, payload, tasks_alive};
use super::*;
use crate::peer::memory::Net;

/// What a torrent is doing when its end comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    Searching,
    SearchingPaused,
    WaitingForAChoice,
    WaitingForPeers,
    Dialling,
    Downloading,
    Paused,
    FailedToWrite,
    FailedToRead,
    Seeding,
    Resting,
    Reading,
}

const ALL: [Doing; 12] = [
    Doing::Searching,
    Doing::SearchingPaused,
    Doing::WaitingForAChoice,
    Doing::WaitingForPeers,
    Doing::Dialling,
    Doing::Downloading,
    Doing::Paused,
    Doing::FailedToWrite,
    Doing::FailedToRead,
    Doing::Seeding,
    Doing::Resting,
    Doing::Reading,
];

/// A client that does it, and the seed that it knows.
async fn at_work(doing: Doing) -> [Client; 2] {
    use Doing::{Searching, SearchingPaused, WaitingForAChoice};
    let net = Arc::new(Net::new(ROOM));
    let (metainfo, data) = payload();
    let link = Magnet::new(metainfo.info().info_hashes());
    let full = || Arc::new(MemoryStore::full(metainfo.info(), &data).into());
    let seed = Client::on(&net, 1, 1, AddTorrent::new(metainfo.clone(), "no folder"), full()).await;
    let add = match doing {
        Searching | SearchingPaused => AddTorrent::magnet(link, "no folder"),
        WaitingForAChoice => AddTorrent::magnet_on_hold(link),
        _ => AddTorrent::new(metainfo.clone(), "no folder"),
    };
    let is_full = matches!(doing, Doing::Seeding | Doing::Resting | Doing::FailedToRead);
    let store = if is_full { full() } else { Arc::new(MemoryStore::new(metainfo.info()).into()) };
    let client = Client::on(&net, 2, 2, add, store).await;
    let torrent = &client.torrent;
    let seeds = vec![seed.addr];
    match doing {
        Searching | Doing::WaitingForPeers => tokio::time::sleep(Duration::from_secs(30)).await,
        SearchingPaused | Doing::Paused => torrent.pause().await.unwrap(),
        WaitingForAChoice => {
            torrent.add_peers(seeds).await.unwrap();
            torrent.resolved().await.unwrap();
        }
        Doing::Dialling => {
            net.silence(addr(9));
            torrent.add_peers(vec![addr(9)]).await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Doing::Downloading => {
            torrent.set_limits(Some(1 << 14), None).await.unwrap();
            torrent.add_peers(seeds).await.unwrap();
            client.until(|status| status.downloaded != 0).await;
        }
        Doing::FailedToWrite => {
            client.store.faults().put = Some(Fault::Broken);
            torrent.add_peers(seeds).await.unwrap();
            client.until(|status| matches!(status.state, State::Error { .. })).await;
        }
        Doing::FailedToRead => {
            client.store.faults().read = Some(Fault::Denied);
            // What cannot be read is no answer; it goes on being asked for.
            drop(tokio::time::timeout(Duration::from_secs(30), torrent.recheck()).await);
        }
        Doing::Seeding => drop(client.until(TorrentStatus::is_done).await),
        Doing::Resting => {
            client.until(TorrentStatus::is_done).await;
            tokio::time::sleep(Duration::from_secs(60)).await;
            assert!(torrent.is_resting());
        }
        Doing::Reading => {
            let mut reader = torrent.reader(FileIndex(1)).await.unwrap();
            let mut bytes = [0; 100];
            let read = tokio::io::AsyncReadExt::read(&mut reader, &mut bytes);
            assert!(tokio::time::timeout(Duration::from_secs(5), read).await.is_err(), "nothing is here");
        }
    }
    [client, seed]
}

#[tokio::test(start_paused = true)]
async fn a_session_ends_in_time_whatever_its_torrent_does() {
    let panics = count_panics();
    for doing in ALL {
        for client in at_work(doing).await {
            client.shut_down().await;
        }
        assert_eq!(tasks_alive(), 0, "{doing:?}");
    }
    assert_eq!(count_panics(), panics);
}

#[tokio::test(start_paused = true)]
async fn a_torrent_that_was_stopped_refuses_what_it_is_told_whatever_it_did() {
    for doing in ALL {
        let [client, seed] = at_work(doing).await;
        let torrent = client.torrent.clone();
        torrent.stop().await.unwrap();
        let stopped = Err(Refused::Stopped);
        for (what, told) in [
            ("pause", torrent.pause().await),
            ("resume", torrent.resume().await),
            ("reannounce", torrent.reannounce().await),
            ("peers", torrent.add_peers(vec![seed.addr]).await),
            ("priorities", torrent.set_priorities(Vec::new()).await),
            ("limits", torrent.set_limits(Some(1), None).await),
            ("in order", torrent.fetch_in_order().await),
            ("rarest first", torrent.fetch_rarest_first().await),
            ("stop", torrent.stop().await),
            ("recheck", torrent.recheck().await.map(drop)),
            ("reader", torrent.reader(FileIndex(0)).await.map(drop)),
            ("settings", torrent.settings().await.map(drop)),
            ("piece map", torrent.piece_map().await.map(drop)),
        ] {
            assert_eq!(told, stopped, "{doing:?}: {what}");
        }
        assert!(torrent.peers().await.is_empty() && torrent.trackers().await.is_empty());
        assert!(torrent.files().await.is_empty(), "{doing:?}");
        // Its place is free.
        let (metainfo, _) = payload();
        let mut add = AddTorrent::new(metainfo, "no folder");
        add.stored = Some(crate::Stored::In(client.store.clone()));
        client.session.add(add).await.unwrap().stop().await.unwrap();
        for client in [client, seed] {
            client.shut_down().await;
        }
    }
}
