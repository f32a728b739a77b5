//! Jobs through disk threads.

use std::sync::atomic::Ordering;
use std::sync::mpsc;

use super::*;
use crate::{BlockPool, Done, Job, PieceHash, Pool, Rejected, Reply};

fn three() -> Fixture {
    Fixture::new(&[("a", 3 * PIECE as u64 - 5, "")])
}

fn channel() -> (impl Fn() -> Reply, mpsc::Receiver<Done>) {
    let (sender, receiver) = mpsc::channel();
    let reply = move || {
        let sender = sender.clone();
        Box::new(move |done| sender.send(done).unwrap()) as Reply
    };
    (reply, receiver)
}

#[test]
fn a_piece_is_hashed_and_written_only_if_it_is_right() {
    let t = three();
    let storage = Arc::new(t.start().0);
    let pool = Pool::new(2).unwrap();
    let (reply, answers) = channel();
    let write = |piece, blocks| Job::WritePiece {
        storage: Arc::clone(&storage),
        piece: t.piece(piece),
        blocks,
        hash: PieceHash::new(&storage, t.piece(piece)),
        reply: reply(),
    };
    let mut wrong = t.blocks(0);
    wrong[0] = Bytes::from(vec![3; wrong[0].len()]);
    pool.submit(write(0, wrong)).unwrap();
    let Done::Piece { result: Ok(false), .. } = answers.recv().unwrap() else { panic!("it was wrong") };
    assert_eq!(tree(&t.root()), Vec::<String>::new(), "bad data never touches the disk");

    pool.submit(write(2, t.blocks(2))).unwrap();
    let Done::Piece { piece, result: Ok(true) } = answers.recv().unwrap() else { panic!("it was right") };
    assert_eq!(piece.get(), 2);

    let blocks: Vec<_> =
        t.info.layout().blocks(t.piece(2)).chain(t.info.layout().blocks(t.piece(1))).collect();
    let buffers = BlockPool::new(4);
    pool.submit(Job::ReadBlocks { storage: Arc::clone(&storage), blocks, buffers, reply: reply() }).unwrap();
    let Done::Blocks(blocks) = answers.recv().unwrap() else { panic!("blocks") };
    assert_eq!(blocks[0].1.as_ref().unwrap()[..], *t.piece_bytes(2));
    assert!(blocks[1].1.is_ok(), "sparse: its hash is not checked when it is read");

    pool.submit(Job::Sync { storage: Arc::clone(&storage), reply: reply() }).unwrap();
    let Done::Synced(Ok(())) = answers.recv().unwrap() else { panic!("synced") };
    pool.shutdown();
    assert!(matches!(pool.submit(write(1, t.blocks(1))), Err(Rejected::Closed(_))));
}

#[test]
fn a_check_uses_all_threads_lets_writes_pass_and_answers_once() {
    let t = Fixture::new(&[("a", 2_000 * PIECE as u64, "")]);
    let storage = Arc::new(t.start().0);
    t.write(&storage, (0..2_000).filter(|piece| piece % 3 == 0));
    let pool = Pool::new(3).unwrap();
    let (reply, answers) = channel();
    let check = |cancel: bool| Job::CheckPieces {
        storage: Arc::clone(&storage),
        pieces: t.info.layout().pieces().collect(),
        cancel: Arc::new(AtomicBool::new(cancel)),
        progress: Box::new(|_| {}),
        reply: reply(),
    };
    pool.submit(check(false)).unwrap();
    let ran = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&ran);
    pool.submit(Job::Run(Box::new(move || flag.store(true, Ordering::Relaxed)))).unwrap();
    let Done::Checked(Ok(found)) = answers.recv().unwrap() else { panic!("checked") };
    assert_eq!(found.count_ones(), 667);
    assert!(ran.load(Ordering::Relaxed), "other work did not wait for the whole check");
    pool.submit(check(true)).unwrap();
    let Done::Checked(Ok(found)) = answers.recv().unwrap() else { panic!("checked") };
    assert!(found.none());
    pool.submit(check(false)).unwrap();
    pool.shutdown();
    assert!(matches!(answers.recv().unwrap(), Done::Checked(Ok(_))), "shutdown answers everything");
    assert!(answers.try_recv().is_err(), "and once only");
}

#[test]
fn a_panic_in_a_job_harms_no_other_job() {
    let pool = Pool::new(1).unwrap();
    std::panic::set_hook(Box::new(|_| {}));
    pool.submit(Job::Run(Box::new(|| panic!("on purpose")))).unwrap();
    let (sender, receiver) = mpsc::channel();
    pool.submit(Job::Run(Box::new(move || sender.send(7).unwrap()))).unwrap();
    assert_eq!(receiver.recv().unwrap(), 7);
    let _ = std::panic::take_hook();
    pool.shutdown();
    pool.shutdown();
}

#[test]
fn pieces_hashed_while_they_arrive_are_written_when_whole() {
    let t = Fixture::new(&[("a", 40 * PIECE as u64 - 5, "")]);
    let storage = Arc::new(t.start().0);
    let pool = Pool::new(3).unwrap();
    let (reply, answers) = channel();
    let hashes: Vec<_> = (0..40).map(|piece| PieceHash::new(&storage, t.piece(piece))).collect();
    // Piece 7 arrives damaged; of every third nothing is known before it is whole.
    let blocks = |piece: u32| {
        let mut blocks = t.blocks(piece);
        if piece == 7 {
            blocks[0] = Bytes::from(vec![3; blocks[0].len()]);
        }
        blocks
    };
    for round in 0..t.blocks(0).len() {
        let early = (0..40).filter(|piece| piece % 3 != 0);
        let part = |piece| Some((hashes[piece as usize].clone(), vec![blocks(piece).get(round)?.clone()]));
        pool.hash_ahead(early.filter_map(part));
    }
    for piece in (0..40).rev() {
        let (storage, hash) = (storage.clone(), hashes[piece as usize].clone());
        let job =
            Job::WritePiece { storage, piece: t.piece(piece), blocks: blocks(piece), hash, reply: reply() };
        pool.submit(job).unwrap();
    }
    for _ in 0..40 {
        let Done::Piece { piece, result } = answers.recv().unwrap() else { panic!("a piece") };
        assert_eq!(result.unwrap(), piece.get() != 7, "piece {}", piece.get());
    }
    pool.shutdown();
    assert_eq!(pool.queued(), 0);
    for piece in (0..40).filter(|piece| *piece != 7) {
        assert!(storage.check_piece(t.piece(piece), &mut Vec::new()).unwrap(), "piece {piece}");
    }
}
