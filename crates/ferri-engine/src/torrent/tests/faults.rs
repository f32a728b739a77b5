//! A store that fails in each way, at each thing it is asked for: it is told, costs nothing, and is over when it is.

use std::sync::Arc;
use std::time::Duration;

use ferri_metainfo::PieceIndex;

use super::scene::{Client, Fault, Faults, Faulty, PATIENCE, PIECE, PIECES, ROOM, payload};
use super::*;
use crate::ErrorReason;
use crate::peer::memory::Net;

const FAULTS: [Fault; 4] = [Fault::Denied, Fault::Broken, Fault::ReadOnly, Fault::NoFiles];
/// Longer than a few tries.
const A_WHILE: Duration = Duration::from_secs(60);

/// A seed, and a client that has nothing, at addresses at which they are found again.
async fn pair() -> (Client, Client, Vec<u8>) {
    let (seed, leech, data, _) = on_net().await;
    (seed, leech, data)
}

async fn on_net() -> (Client, Client, Vec<u8>, Arc<Net>) {
    let net = Arc::new(Net::new(ROOM));
    let (metainfo, data) = payload();
    let add = || AddTorrent::new(metainfo.clone(), "no folder");
    let full = MemoryStore::full(metainfo.info(), &data);
    let seed = Client::on(&net, 1, 1, add(), Arc::new(full.into())).await;
    let empty = MemoryStore::new(metainfo.info());
    let leech = Client::on(&net, 2, 2, add(), Arc::new(empty.into())).await;
    seed.until(TorrentStatus::is_done).await;
    (seed, leech, data, net)
}

fn mend(store: &Faulty) {
    *store.faults() = Faults::default();
}

fn is_failed(status: &TorrentStatus) -> bool {
    matches!(
        status.state,
        State::Error { recoverable: true, reason: ErrorReason::Disk | ErrorReason::DiskFull { .. }, .. }
    )
}

async fn end(clients: [Client; 2]) {
    for client in clients {
        client.shut_down().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_takes_no_piece_is_told_and_no_byte_is_fetched_twice() {
    for fault in FAULTS {
        let (seed, leech, data) = pair().await;
        leech.store.faults().put = Some(fault);
        let mut events = leech.torrent.events();
        seed.meet(&leech).await;
        leech.until(is_failed).await;
        tokio::time::sleep(A_WHILE).await;
        assert!(leech.store.have().none(), "{fault:?}");
        mend(&leech.store);
        let done = leech.until(TorrentStatus::is_done).await;
        assert_eq!((done.downloaded as usize, done.wasted), (data.len(), 0), "{fault:?}");
        leech.assert_holds(&data);
        let told = std::iter::from_fn(|| events.try_recv().unwrap());
        let told = told.filter(|event| matches!(event, Event::StateChanged(State::Error { .. })));
        assert_eq!(told.count(), 1, "{fault:?}");
        end([leech, seed]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_sync_is_told_and_recovers() {
    for fault in FAULTS {
        let (seed, leech, data) = pair().await;
        leech.store.faults().sync = Some(fault);
        seed.meet(&leech).await;
        leech.until(is_failed).await;
        mend(&leech.store);
        leech.until(TorrentStatus::is_done).await;
        leech.assert_holds(&data);
        end([leech, seed]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_seed_whose_store_cannot_be_read_serves_again_when_it_can() {
    for fault in FAULTS {
        let (seed, leech, data) = pair().await;
        seed.store.faults().read = Some(fault);
        seed.meet(&leech).await;
        tokio::time::sleep(A_WHILE).await;
        assert!(leech.store.have().none() && !leech.torrent.status().is_done(), "{fault:?}");
        mend(&seed.store);
        // Where they parted they meet again.
        for _ in 0..10 {
            seed.meet(&leech).await;
            tokio::time::sleep(A_WHILE).await;
        }
        leech.until(TorrentStatus::is_done).await;
        leech.assert_holds(&data);
        end([leech, seed]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_piece_that_is_gone_from_a_store_is_fetched_again_and_served_on() {
    let (seed, first, data, net) = on_net().await;
    seed.meet(&first).await;
    first.until(TorrentStatus::is_done).await;
    let (metainfo, _) = payload();
    let empty = MemoryStore::new(metainfo.info());
    let add = AddTorrent::new(metainfo, "no folder");
    let last = Client::on(&net, 3, 3, add, Arc::new(empty.into())).await;
    first.store.faults().lost.extend([2, 7]);
    first.meet(&last).await;
    tokio::time::sleep(A_WHILE).await;
    first.torrent.add_peers(vec![seed.addr]).await.unwrap();
    // It is noticed when it is asked for, and fetched from the one that still has it.
    let done = last.until_within(10 * PATIENCE, TorrentStatus::is_done).await;
    assert_eq!(done.pieces_done as usize, PIECES);
    last.assert_holds(&data);
    assert!(first.store.faults().lost.is_empty(), "it was put again");
    last.shut_down().await;
    end([first, seed]).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_in_a_store_is_found_by_a_second_look_and_mended() {
    let (metainfo, data) = payload();
    let seed = Client::start(1, &metainfo, MemoryStore::full(metainfo.info(), &data)).await;
    let mut wrong = data.clone();
    wrong[3 * PIECE + 100] ^= 1;
    let store = MemoryStore::full(metainfo.info(), &wrong);
    let leech = Client::start(2, &metainfo, store).await;
    leech.until(TorrentStatus::is_done).await;
    let found = leech.torrent.recheck().await.unwrap();
    assert_eq!((found.have as usize, found.lost, found.found), (PIECES - 1, 1, 0));
    assert!(!leech.torrent.status().is_done());
    seed.meet(&leech).await;
    let done = leech.until(TorrentStatus::is_done).await;
    let layout = metainfo.info().layout();
    let piece = layout.piece(3).map_or(0, |piece: PieceIndex| layout.piece_len(piece));
    assert_eq!(done.downloaded, u64::from(piece), "one piece was fetched");
    leech.assert_holds(&data);
    end([leech, seed]).await;
}

#[tokio::test(start_paused = true)]
async fn a_reader_gets_what_comes_although_the_disk_takes_a_break() {
    use tokio::io::AsyncReadExt;
    let (seed, leech, data) = pair().await;
    leech.store.faults().put = Some(Fault::Broken);
    seed.meet(&leech).await;
    let mut reader = leech.torrent.reader(ferri_metainfo::FileIndex(0)).await.unwrap();
    let store: Arc<Faulty> = leech.store.clone();
    let mended = async {
        tokio::time::sleep(A_WHILE).await;
        mend(&store);
    };
    let mut bytes = Vec::new();
    let (read, ()) = tokio::join!(reader.read_to_end(&mut bytes), mended);
    assert_eq!(read.unwrap(), 3 * PIECE + 5);
    assert!(bytes == data[..bytes.len()]);
    drop(reader);
    end([leech, seed]).await;
}
