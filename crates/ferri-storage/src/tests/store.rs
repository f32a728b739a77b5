//! What every place for pieces keeps to: files, memory, and whatever comes.

use std::sync::mpsc;

use super::*;
use crate::{CheckOrder, Done, Job, MemoryStore, PieceHash, PieceStore, PlainStore, Pool, Store};

/// Two files, the first of which ends within a piece.
fn two() -> Fixture {
    Fixture::new(&[("a", 2 * PIECE as u64 + 5, ""), ("b", 2 * PIECE as u64, "")])
}

fn in_memory(t: &Fixture) -> Store {
    let pieces = Arc::new(MemoryStore::new(&t.info));
    Store::Pieces(Box::new(PlainStore::new(t.info.clone(), pieces, &[])))
}

/// The same in files and in memory.
fn each(test: impl Fn(&Fixture, Arc<Store>)) {
    let t = two();
    let store = Store::from(t.storage_with(Fixture::options(), &[]));
    store.resume().unwrap();
    test(&t, Arc::new(store));
    let t = two();
    let store = in_memory(&t);
    assert!(store.resume().unwrap().have.none());
    test(&t, Arc::new(store));
}

fn have(store: &Store) -> Vec<u32> {
    let found = match store {
        Store::Files(files) => PieceStore::have(&**files),
        Store::Pieces(_) => store.resume().unwrap().have,
    };
    found.iter_ones().collect()
}

fn read(t: &Fixture, store: &Store, piece: u32) -> Result<Vec<u8>, StorageError> {
    let mut buffer = vec![1; t.piece_bytes(piece).len()];
    store.read(t.piece(piece), 0, &mut buffer).map(|()| buffer)
}

#[test]
fn what_was_put_is_there_and_can_be_read_in_parts() {
    each(|t, store| {
        assert!(matches!(read(t, &store, 1), Err(StorageError::Missing { .. })));
        for piece in [1, 4] {
            store.put(t.piece(piece), &t.blocks(piece)).unwrap();
        }
        assert_eq!(have(&store), [1, 4]);
        assert_eq!(read(t, &store, 1).unwrap(), t.piece_bytes(1));
        let mut part = [0; 9];
        store.read(t.piece(4), 1, &mut part[..4]).unwrap();
        assert_eq!(&part[..4], &t.piece_bytes(4)[1..5]);
        let beyond = store.read(t.piece(4), 2, &mut part);
        assert!(matches!(beyond, Err(StorageError::Invalid(_))), "{beyond:?}");
        let short = store.put(t.piece(0), &t.blocks(0)[..1]);
        assert!(matches!(short, Err(StorageError::Invalid(_))), "{short:?}");
        assert_eq!(have(&store), [1, 4]);
        store.sync().unwrap();
        store.close().unwrap();
        assert_eq!(have(&store), [1, 4]);
    });
}

#[test]
fn a_piece_too_large_for_memory_is_put_together_and_verified() {
    each(|t, store| {
        let bytes = Bytes::copy_from_slice(t.piece_bytes(1));
        let wrong = Bytes::from(vec![9; 100]);
        store.spill(t.piece(1), 100, &[bytes.slice(100..)]).unwrap();
        store.spill(t.piece(1), 0, &[wrong]).unwrap();
        assert!(!store.commit_spilled(t.piece(1)).unwrap());
        assert_eq!(have(&store), [0; 0]);
        store.spill(t.piece(1), 0, &[bytes.slice(..40), bytes.slice(40..100)]).unwrap();
        assert!(store.commit_spilled(t.piece(1)).unwrap());
        assert_eq!((have(&store), read(t, &store, 1).unwrap()), (vec![1], bytes.to_vec()));
    });
}

#[test]
fn jobs_are_done_by_threads_or_at_once() {
    for threads in [0, 2] {
        each(|t, store| {
            let pool = if threads == 0 { Pool::inline() } else { Pool::new(threads).unwrap() };
            let (sender, answers) = mpsc::channel();
            let reply = || {
                let sender = sender.clone();
                Box::new(move |done| sender.send(done).unwrap())
            };
            let answer = || if threads == 0 { answers.try_recv().unwrap() } else { answers.recv().unwrap() };
            let write = |piece, blocks| Job::WritePiece {
                storage: store.clone(),
                piece: t.piece(piece),
                blocks,
                hash: PieceHash::new(&t.info, t.piece(piece)),
                reply: reply(),
            };
            pool.submit(write(0, t.blocks(0))).unwrap();
            assert!(matches!(answer(), Done::Piece { result: Ok(true), .. }));
            pool.submit(write(2, t.blocks(1))).unwrap();
            assert!(matches!(answer(), Done::Piece { result: Ok(false), .. }));
            pool.submit(Job::Sync { storage: store.clone(), reply: reply() }).unwrap();
            assert!(matches!(answer(), Done::Synced(Ok(()))));
            let order = CheckOrder {
                storage: store.clone(),
                pieces: t.info.layout().pieces().collect::<Vec<_>>().into(),
                device: 1,
                number: pool.number(),
                progress: Box::new(|_| {}),
                reply: reply(),
            };
            let _ticket = pool.check(order).unwrap();
            let Done::Checked(Ok(found)) = answer() else { panic!("a check was to end") };
            assert_eq!(found.iter_ones().collect::<Vec<_>>(), [0]);
            pool.shutdown();
        });
    }
}

#[test]
fn memory_has_as_much_room_as_it_is_given() {
    let t = two();
    let memory = MemoryStore::new(&t.info);
    memory.set_room(PIECE as u64 + 7);
    memory.put(t.piece(0), &t.blocks(0)).unwrap();
    let error = memory.put(t.piece(1), &t.blocks(1)).unwrap_err();
    let StorageError::NoSpace { needed, available, .. } = &error else { panic!("{error}") };
    assert_eq!((*needed, *available), (t.data.len() as u64 - PIECE as u64, 7));
    assert!(error.is_recoverable());
    // The small last one still fits, and what is there may be put again.
    memory.put(t.piece(4), &t.blocks(4)).unwrap();
    memory.put(t.piece(0), &t.blocks(0)).unwrap();
    memory.set_room(u64::MAX);
    memory.put(t.piece(1), &t.blocks(1)).unwrap();
    assert_eq!(memory.have().iter_ones().collect::<Vec<_>>(), [0, 1, 4]);
    assert!(MemoryStore::full(&t.info, &t.data).have().is_full());
}
