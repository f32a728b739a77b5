//! Jobs through disk threads.

use std::sync::atomic::Ordering;
use std::sync::mpsc;

use std::collections::BTreeSet;
use std::sync::Mutex;

use super::*;
use crate::{
    BlockPool, CheckOrder, CheckTicket, Closed, Done, Job, Lanes, PieceHash, Pool, PoolOptions, Rejected,
    Reply, Store,
};

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
    let storage = Arc::new(Store::from(t.start().0));
    let pool = Pool::new(2).unwrap();
    let (reply, answers) = channel();
    let write = |piece, blocks| Job::WritePiece {
        storage: Arc::clone(&storage),
        piece: t.piece(piece),
        blocks,
        hash: PieceHash::new(&t.info, t.piece(piece)),
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
    let storage = Arc::new(Store::from(t.start().0));
    t.write(storage.files().unwrap(), (0..2_000).filter(|piece| piece % 3 == 0));
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
    let storage = Arc::new(Store::from(t.start().0));
    let pool = Pool::new(3).unwrap();
    let (reply, answers) = channel();
    let hashes: Vec<_> = (0..40).map(|piece| PieceHash::new(&t.info, t.piece(piece))).collect();
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
        assert!(
            storage.files().unwrap().check_piece(t.piece(piece), &mut Vec::new()).unwrap(),
            "piece {piece}"
        );
    }
}

/// Lanes with room for one job each.
const NARROW: Lanes = Lanes { pieces: 1, others: 1, syncs: 1, reads: 1, looks: 1 };

/// The pool's only thread waits until the answer is dropped.
fn hold(pool: &Pool) -> mpsc::Sender<()> {
    let (release, wait) = mpsc::channel::<()>();
    let (began, begins) = mpsc::channel();
    let job = Job::Run(Box::new(move || {
        began.send(()).unwrap();
        let _ = wait.recv();
    }));
    pool.submit(job).unwrap();
    begins.recv().unwrap();
    release
}

#[test]
fn a_lane_that_is_full_takes_no_room_from_the_others() {
    let t = three();
    let storage = Arc::new(Store::from(t.start().0));
    t.write_all(storage.files().unwrap());
    let pool = Pool::with(&PoolOptions { lanes: NARROW, ..PoolOptions::new(1) }).unwrap();
    let (reply, answers) = channel();
    let jobs: [(&str, &dyn Fn() -> Job); 5] = [
        ("reads", &|| Job::ReadBlocks {
            storage: Arc::clone(&storage),
            blocks: t.info.layout().blocks(t.piece(0)).collect(),
            buffers: BlockPool::new(4),
            reply: reply(),
        }),
        ("looks", &|| Job::CheckPieces {
            storage: Arc::clone(&storage),
            pieces: vec![t.piece(0)],
            cancel: Arc::default(),
            progress: Box::new(|_| {}),
            reply: reply(),
        }),
        ("syncs", &|| Job::Sync { storage: Arc::clone(&storage), reply: reply() }),
        ("pieces", &|| Job::WritePiece {
            storage: Arc::clone(&storage),
            piece: t.piece(1),
            blocks: t.blocks(1),
            hash: PieceHash::new(&t.info, t.piece(1)),
            reply: reply(),
        }),
        ("others", &|| Job::Run(Box::new(|| {}))),
    ];
    let held = hold(&pool);
    for (lane, job) in jobs {
        pool.submit(job()).unwrap_or_else(|_| panic!("{lane}: another lane is full"));
        assert!(matches!(pool.submit(job()), Err(Rejected::Full(_))), "{lane} has room for one");
    }
    // Neither are checks refused that wait for their turn.
    let ticket = pool.check(order(&t, &storage, &pool, 0, reply())).unwrap();
    drop(held);
    for _ in 0..5 {
        answers.recv().unwrap();
    }
    for (lane, job) in jobs {
        pool.submit(job()).unwrap_or_else(|_| panic!("{lane}: there is room again"));
    }
    drop(ticket);
    pool.shutdown();
}

/// A check of one piece.
fn order(t: &Fixture, storage: &Arc<Store>, pool: &Pool, device: u64, reply: Reply) -> CheckOrder {
    CheckOrder {
        storage: Arc::clone(storage),
        pieces: [t.piece(0)].into(),
        device,
        number: pool.number(),
        progress: Box::new(|_| {}),
        reply,
    }
}

#[test]
fn any_number_of_torrents_is_checked_two_of_a_device_at_a_time() {
    const MANY: usize = 2_300;
    let t = three();
    let storage = Arc::new(Store::from(t.start().0));
    t.write_all(storage.files().unwrap());
    let options = PoolOptions { checks_at_once: 2, lanes: NARROW, ..PoolOptions::new(8) };
    let pool = Pool::with(&options).unwrap();
    let (sender, answers) = mpsc::channel();
    let at_work = [(); 2].map(|()| Arc::new(Mutex::new(BTreeSet::new())));
    let tickets: Vec<CheckTicket> = (0..MANY)
        .map(|n| {
            let (sender, at_work) = (sender.clone(), Arc::clone(&at_work[n % 2]));
            let begun = Arc::clone(&at_work);
            let reply = Box::new(move |done| {
                let Done::Checked(Ok(found)) = done else { panic!("checked") };
                at_work.lock().unwrap().remove(&n);
                sender.send((n, found.count_ones())).unwrap();
            });
            let progress = Box::new(move |_| {
                let mut begun = begun.lock().unwrap();
                begun.insert(n);
                assert!(begun.len() <= 2, "{begun:?}");
            });
            let order = CheckOrder { progress, ..order(&t, &storage, &pool, n as u64 % 2, reply) };
            pool.check(order).unwrap()
        })
        .collect();
    let mut done: Vec<_> = (0..MANY).map(|_| answers.recv().unwrap()).collect();
    done.sort_unstable();
    assert_eq!(done, (0..MANY).map(|n| (n, 1)).collect::<Vec<_>>());
    assert!(tickets.iter().all(|ticket| ticket.place().ahead().is_none()));
    pool.shutdown();
}

#[test]
fn torrents_are_checked_in_the_order_in_which_they_were_added() {
    let t = three();
    let storage = Arc::new(Store::from(t.start().0));
    let pool = Pool::with(&PoolOptions { checks_at_once: 1, ..PoolOptions::new(1) }).unwrap();
    let held = hold(&pool);
    let (sender, answers) = mpsc::channel();
    let enter = |name: &'static str, device, number| {
        let sender = sender.clone();
        let reply = Box::new(move |done| {
            let Done::Checked(Ok(_)) = done else { panic!("checked") };
            sender.send(name).unwrap();
        });
        pool.check(CheckOrder { number, ..order(&t, &storage, &pool, device, reply) }).unwrap()
    };
    let (first, second, third) = (pool.number(), pool.number(), pool.number());
    let working = enter("working", 7, pool.number());
    let ahead = |tickets: &[&CheckTicket]| -> Vec<Option<usize>> {
        tickets.iter().map(|ticket| ticket.place().ahead()).collect()
    };
    // The third was opened first: the others come before it all the same.
    let c = enter("third", 7, third);
    assert_eq!(ahead(&[&working, &c]), [None, Some(1)]);
    let (a, b) = (enter("first", 7, first), enter("second", 7, second));
    assert_eq!(ahead(&[&a, &b, &c]), [Some(1), Some(2), Some(3)]);
    let elsewhere = enter("elsewhere", 8, pool.number());
    assert_eq!(elsewhere.place().ahead(), None, "another device");
    // A torrent that is stopped leaves the line at once, and gets an answer.
    b.cancel();
    assert_eq!(answers.recv().unwrap(), "second");
    assert_eq!(ahead(&[&a, &b, &c]), [Some(1), None, Some(2)]);
    drop(held);
    let mut order: Vec<_> = (0..4).map(|_| answers.recv().unwrap()).collect();
    order.retain(|name| *name != "elsewhere");
    assert_eq!(order, ["working", "first", "third"]);
    assert_eq!(ahead(&[&a, &c]), [None, None]);
    pool.shutdown();
}

#[test]
fn how_many_checks_a_device_has_at_once_changes_while_they_wait() {
    let t = three();
    let storage = Arc::new(Store::from(t.start().0));
    let pool = Pool::with(&PoolOptions { checks_at_once: 1, ..PoolOptions::new(1) }).unwrap();
    let (reply, answers) = channel();
    let held = hold(&pool);
    let tickets: Vec<_> =
        (0..5).map(|_| pool.check(order(&t, &storage, &pool, 0, reply())).unwrap()).collect();
    let waiting = || tickets.iter().filter(|ticket| ticket.place().ahead().is_some()).count();
    assert_eq!(waiting(), 4);
    pool.set_checks_at_once(3);
    assert_eq!(waiting(), 2, "two more have their turn");
    pool.set_checks_at_once(0);
    assert_eq!(waiting(), 2, "none is broken off");
    drop(held);
    for _ in &tickets {
        assert!(matches!(answers.recv().unwrap(), Done::Checked(Ok(_))));
    }
    pool.shutdown();
}

#[test]
fn the_end_of_the_pool_answers_those_whose_turn_never_came() {
    let t = three();
    let storage = Arc::new(Store::from(t.start().0));
    let pool = Pool::with(&PoolOptions { checks_at_once: 1, ..PoolOptions::new(1) }).unwrap();
    let (reply, answers) = channel();
    let held = hold(&pool);
    let tickets: Vec<_> =
        (0..3).map(|_| pool.check(order(&t, &storage, &pool, 0, reply())).unwrap()).collect();
    drop(held);
    pool.shutdown();
    for _ in &tickets {
        assert!(matches!(answers.recv().unwrap(), Done::Checked(Ok(_))));
    }
    assert!(matches!(pool.check(order(&t, &storage, &pool, 0, reply())), Err(Closed)));
    assert_eq!(pool.queued(), 0);
}
