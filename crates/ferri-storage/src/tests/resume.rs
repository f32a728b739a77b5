//! Stops of all kinds, and what the next start believes.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use super::*;
use crate::beneath::Access;
use crate::journal::{Encoder, Record, State};
use crate::resume::{Stamp, parse};
use crate::storage::Location;
use crate::{Change, Op, Witness};
use ferri_metainfo::FileIndex;

/// Pieces 0 to 2 are a, 3 is a and b, 4 to 6 are b.
fn two() -> Fixture {
    Fixture::new(&[("a", 3 * PIECE as u64 + 100, ""), ("b", 4 * PIECE as u64 - 100, "")])
}

fn have(resumed: &Resumed) -> Vec<u32> {
    resumed.have.iter_ones().collect()
}

/// Writes everything and stops in order.
fn stopped(t: &Fixture) {
    let (storage, _) = t.start();
    t.write_all(&storage);
    storage.close().unwrap();
}

/// Rewrites the journal as if `change` had been so.
pub(super) fn edit_journal(t: &Fixture, change: impl FnOnce(&mut State)) {
    let mut parsed = parse(&fs::read(t.state_file("journal")).unwrap()).unwrap();
    change(&mut parsed.state);
    let mut encoder = Encoder::begin(&parsed.identity);
    parsed.state.records().iter().for_each(|record| encoder.push(record));
    fs::write(t.state_file("journal"), encoder.bytes).unwrap();
}

fn set_mtime(path: &Path, time: SystemTime) {
    fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

#[test]
fn after_a_clean_stop_nothing_is_looked_at_and_nothing_is_written() {
    let t = two();
    let (storage, _) = t.start();
    t.write(&storage, [0, 3, 6]);
    storage.close().unwrap();
    drop(storage);
    let journal = fs::read(t.state_file("journal")).unwrap();
    for _ in 0..3 {
        let (storage, resumed) = t.start();
        assert_eq!(have(&resumed), [0, 3, 6]);
        assert!(resumed.recheck.is_empty() && resumed.why.is_empty(), "{:?}", resumed.why);
        storage.close().unwrap();
    }
    assert_eq!(fs::read(t.state_file("journal")).unwrap(), journal);
    let (storage, _) = t.start();
    t.write(&storage, [1]);
    storage.close().unwrap();
    drop(storage);
    assert_eq!(have(&t.start().1), [0, 1, 3, 6]);
}

#[test]
fn after_a_kill_only_what_was_not_synced_is_looked_at() {
    let t = two();
    let (storage, _) = t.start();
    t.write(&storage, [0, 4]);
    storage.sync().unwrap();
    t.write(&storage, [1, 3]);
    drop(storage);
    let (storage, resumed) = t.start();
    assert_eq!(have(&resumed), [0, 4]);
    assert_eq!(numbers(&resumed.recheck), [1, 3]);
    assert_eq!(resumed.why, ["2 pieces were written but not yet synced when it stopped"]);
    for &piece in &resumed.recheck {
        assert!(storage.check_piece(piece, &mut Vec::new()).unwrap());
    }
    storage.sync().unwrap();
    drop(storage);
    let (storage, resumed) = t.start();
    assert_eq!(have(&resumed), [0, 1, 3, 4], "what was checked is remembered");
    assert!(resumed.recheck.is_empty());
    storage.close().unwrap();
}

#[test]
fn a_kill_during_the_check_leaves_it_to_be_done() {
    let t = two();
    let (storage, _) = t.start();
    t.write(&storage, [1, 2]);
    drop(storage);
    drop(t.start());
    let (_, resumed) = t.start();
    assert_eq!(numbers(&resumed.recheck), [1, 2]);
}

#[test]
fn a_start_after_a_kill_waits_for_no_sync_and_says_what_it_found_later() {
    let t = two();
    die_in_the_middle(&t);
    // A durable piece is cut away too.
    fs::File::options().write(true).open(t.file("b")).unwrap().set_len(PIECE as u64).unwrap();
    let journal = fs::read(t.state_file("journal")).unwrap();
    let changes = Arc::new(AtomicUsize::new(0));
    let witnessed = || {
        let changes = Arc::clone(&changes);
        let witness = Witness::new(crate::clock::boot_id(), move |_| {
            changes.fetch_add(1, Ordering::Relaxed);
        });
        StorageOptions { witness: Some(witness), ..Fixture::options() }
    };
    for _ in 0..2 {
        let (_, resumed) = t.start_with(witnessed(), &[]);
        assert_eq!((have(&resumed), numbers(&resumed.recheck)), (vec![0], vec![1, 3]), "{:?}", resumed.why);
    }
    assert_eq!(changes.load(Ordering::Relaxed), 0, "not a byte is written, nothing is synced");
    assert_eq!(fs::read(t.state_file("journal")).unwrap(), journal);
    let (storage, resumed) = t.start_with(witnessed(), &[]);
    for &piece in &resumed.recheck {
        assert!(!storage.check_piece(piece, &mut Vec::new()).unwrap());
    }
    t.write(&storage, [2]);
    storage.sync().unwrap();
    assert_ne!(changes.load(Ordering::Relaxed), 0);
    drop(storage);
    let (storage, resumed) = t.start();
    assert_eq!((have(&resumed), numbers(&resumed.recheck)), (vec![0, 2], vec![]), "{:?}", resumed.why);
    t.write(&storage, [1, 3, 4, 5, 6]);
    storage.close().unwrap();
    drop(storage);
    assert!(t.start().1.have.is_full());
}

/// Dies between the announcement of piece 1 and its end, with half of it written.
fn die_in_the_middle(t: &Fixture) {
    let (storage, _) = t.start();
    t.write(&storage, [0, 4]);
    storage.sync().unwrap();
    let file = storage.open(Location::File(FileIndex(0)), Access::Create).unwrap().unwrap();
    storage.ledger.begin(Some(1), &[(0, &file)]).unwrap();
    let raw = fs::File::options().write(true).open(t.file("a")).unwrap();
    raw.write_all_at(&t.piece_bytes(1)[..8_000], PIECE as u64).unwrap();
}

#[test]
fn our_own_unfinished_write_is_not_mistaken_for_a_strangers_change() {
    let t = two();
    die_in_the_middle(&t);
    let (storage, resumed) = t.start();
    assert_eq!(have(&resumed), [0, 4]);
    assert_eq!(numbers(&resumed.recheck), [1]);
    assert!(!storage.check_piece(t.piece(1), &mut Vec::new()).unwrap());
    drop(storage);
    assert!(t.start().1.recheck.is_empty(), "it is known not to be there");
}

#[test]
fn a_strangers_change_is_not_mistaken_for_our_unfinished_write() {
    let t = two();
    die_in_the_middle(&t);
    set_mtime(&t.file("a"), SystemTime::now() + Duration::from_secs(30));
    let (_, resumed) = t.start();
    assert_eq!(have(&resumed), [4]);
    assert_eq!(numbers(&resumed.recheck), [0, 1, 2, 3]);
    assert!(resumed.why[0].ends_with("a was changed"), "{:?}", resumed.why);
}

#[test]
fn a_change_of_a_file_we_were_not_writing_is_seen_after_a_kill() {
    let t = two();
    let (storage, _) = t.start();
    t.write_all(&storage);
    storage.sync().unwrap();
    drop(storage);
    fs::File::options().write(true).open(t.file("b")).unwrap().write_all_at(b"x", 20_000).unwrap();
    let (_, resumed) = t.start();
    assert_eq!(have(&resumed), [0, 1, 2]);
    assert_eq!(numbers(&resumed.recheck), [3, 4, 5, 6]);
}

#[test]
fn a_changed_file_is_checked_alone() {
    let t = two();
    stopped(&t);
    fs::File::options().write(true).open(t.file("a")).unwrap().write_all_at(b"x", 20_000).unwrap();
    let (storage, resumed) = t.start();
    assert_eq!(have(&resumed), [4, 5, 6]);
    assert_eq!(numbers(&resumed.recheck), [0, 1, 2, 3]);
    assert_eq!(resumed.why, ["t/a was changed"]);
    let good = check::run(&storage, &resumed.recheck, 2, &|_| {}).unwrap();
    assert_eq!(good.iter_ones().collect::<Vec<_>>(), [0, 2, 3]);
    storage.close().unwrap();
    drop(storage);
    let (_, resumed) = t.start();
    assert_eq!(have(&resumed), [0, 2, 3, 4, 5, 6]);
    assert!(resumed.recheck.is_empty());
}

#[test]
fn a_truncated_file_keeps_what_is_left_of_it() {
    let t = two();
    stopped(&t);
    fs::File::options().write(true).open(t.file("a")).unwrap().set_len(2 * PIECE as u64 + 5).unwrap();
    let (_, resumed) = t.start();
    assert_eq!(have(&resumed), [4, 5, 6]);
    assert_eq!(numbers(&resumed.recheck), [0, 1]);
    assert_eq!(resumed.why, ["t/a was cut short"]);
}

#[test]
fn a_replaced_file_is_noticed_even_with_the_same_size_and_time() {
    let t = two();
    stopped(&t);
    let time = fs::metadata(t.file("b")).unwrap().modified().unwrap();
    fs::copy(t.file("b"), t.file("copy")).unwrap();
    fs::rename(t.file("copy"), t.file("b")).unwrap();
    set_mtime(&t.file("b"), time);
    let (_, resumed) = t.start();
    assert_eq!(have(&resumed), [0, 1, 2]);
    assert_eq!(numbers(&resumed.recheck), [3, 4, 5, 6]);
    assert_eq!(resumed.why, ["t/b was replaced"]);
}

#[test]
fn a_missing_file_is_forgotten_and_can_be_written_again() {
    let t = two();
    stopped(&t);
    fs::remove_file(t.file("b")).unwrap();
    let (storage, resumed) = t.start();
    assert_eq!(have(&resumed), [0, 1, 2]);
    assert!(resumed.recheck.is_empty());
    assert_eq!(resumed.why, ["t/b is missing"]);
    t.write(&storage, 3..7);
    storage.close().unwrap();
    drop(storage);
    assert!(t.start().1.have.is_full());
}

#[test]
fn a_change_while_we_run_is_noticed_at_the_next_write_and_checked_at_the_next_start() {
    let t = two();
    let (storage, _) = t.start();
    t.write(&storage, [0, 1]);
    storage.sync().unwrap();
    fs::File::options().write(true).open(t.file("a")).unwrap().write_all_at(b"xyz", 5).unwrap();
    t.write(&storage, [2]);
    storage.close().unwrap();
    drop(storage);
    let (storage, resumed) = t.start();
    assert_eq!(have(&resumed), [2]);
    assert_eq!(numbers(&resumed.recheck), [0, 1]);
    assert!(!storage.check_piece(t.piece(0), &mut Vec::new()).unwrap());
    assert!(storage.check_piece(t.piece(1), &mut Vec::new()).unwrap());
}

#[test]
fn without_a_journal_what_lies_there_is_checked() {
    let t = two();
    stopped(&t);
    fs::remove_dir_all(t.state()).unwrap();
    fs::remove_file(t.file("a")).unwrap();
    let (_, resumed) = t.start();
    assert!(resumed.have.none());
    assert_eq!(numbers(&resumed.recheck), [4, 5, 6]);
}

#[test]
fn a_journal_that_is_not_for_this_is_set_aside_whole() {
    let t = two();
    stopped(&t);
    let journal = fs::read(t.state_file("journal")).unwrap();
    let mut newer = journal.clone();
    newer[8] = 9;
    let mut others = Vec::new();
    for change in 0..3 {
        let mut identity = parse(&journal).unwrap().identity;
        match change {
            0 => identity.info_hash = [7; 20],
            1 => identity.root = "/somewhere/else".into(),
            _ => identity.paths = [0; 8],
        }
        others.push(Encoder::begin(&identity).bytes);
    }
    others.extend([newer, b"something else".to_vec(), Vec::new()]);
    for (number, content) in others.into_iter().enumerate() {
        fs::write(t.state_file("journal"), &content).unwrap();
        let (storage, resumed) = t.start();
        assert!(resumed.have.none());
        assert_eq!(resumed.recheck.len(), 7, "so everything is checked");
        assert!(resumed.why[0].starts_with("the journal was set aside as"), "{:?}", resumed.why);
        drop(storage);
        assert_eq!(fs::read(t.state_file(&format!("journal.aside-{}", number + 1))).unwrap(), content);
    }
}

#[test]
fn a_second_process_is_kept_away_while_there_is_something_to_write() {
    let t = two();
    let (first, _) = t.start();
    let second = t.storage_with(Fixture::options(), &[]);
    assert!(matches!(second.resume(), Err(StorageError::Busy { .. })));
    t.write_all(&first);
    first.close().unwrap();
    let resumed = second.resume().unwrap();
    assert!(resumed.have.is_full());
    let (_third, resumed) = t.start();
    assert!(resumed.have.is_full(), "two may share what is complete");
}

#[test]
fn a_journal_cut_anywhere_or_with_any_bit_flipped_claims_nothing_that_is_not_so() {
    let t = two();
    let (storage, _) = t.start();
    t.write(&storage, [0, 3, 5]);
    storage.sync().unwrap();
    t.write(&storage, [1]);
    storage.close().unwrap();
    drop(storage);
    let journal = fs::read(t.state_file("journal")).unwrap();
    let cuts = (0..journal.len()).step_by(7).map(|cut| journal[..cut].to_vec());
    let flips = (0..journal.len()).step_by(9).map(|at| {
        let mut flipped = journal.clone();
        flipped[at] ^= 1 << (at % 8);
        flipped
    });
    let written = [0, 1, 3, 5];
    for (number, content) in cuts.chain(flips).enumerate() {
        fs::write(t.state_file("journal"), &content).unwrap();
        let (storage, resumed) = t.start();
        assert!(have(&resumed).iter().all(|piece| written.contains(piece)), "case {number}: {resumed:?}");
        drop(storage);
        let asides = tree(t.state_file("journal").parent().unwrap());
        for aside in asides.iter().filter(|name| name.contains("aside")) {
            fs::remove_file(t.state_file(aside)).unwrap();
        }
    }
}

#[test]
fn a_damaged_journal_makes_everything_it_does_not_vouch_for_be_checked() {
    let t = two();
    let (storage, _) = t.start();
    t.write(&storage, [0]);
    storage.close().unwrap();
    t.write(&storage, [4, 5]);
    storage.close().unwrap();
    drop(storage);
    let mut journal = fs::read(t.state_file("journal")).unwrap();
    let end = journal.len() - 1;
    journal[end] ^= 1;
    fs::write(t.state_file("journal"), journal).unwrap();
    let (storage, resumed) = t.start();
    assert_eq!(have(&resumed), [0, 4, 5], "only the last word was lost");
    assert!(resumed.why[0].starts_with("the journal is damaged after"), "{:?}", resumed.why);
    assert_eq!(numbers(&resumed.recheck), [1, 2, 3, 6]);
    drop(storage);
}

#[test]
fn after_a_power_cut_durable_pieces_stand_and_the_rest_is_checked() {
    let t = two();
    let (storage, _) = t.start();
    t.write(&storage, [0, 4]);
    storage.sync().unwrap();
    let synced = fs::metadata(t.state_file("journal")).unwrap().len();
    t.write(&storage, [1, 3]);
    drop(storage);
    let journal = fs::read(t.state_file("journal")).unwrap();
    // Whatever of the unsynced tail and of the unsynced pieces survived:
    for (number, length) in (synced as usize..=journal.len()).enumerate() {
        fs::write(t.state_file("journal"), &journal[..length]).unwrap();
        edit_boot(&t);
        let raw = fs::File::options().write(true).open(t.file("a")).unwrap();
        let keeps = |bit: usize| if number >> bit & 1 == 1 { PIECE } else { 0 };
        raw.write_all_at(&vec![0; PIECE], PIECE as u64).unwrap();
        raw.write_all_at(&t.piece_bytes(1)[..keeps(0)], PIECE as u64).unwrap();
        let (storage, resumed) = t.start();
        let good = t.good(&storage);
        assert!(have(&resumed).iter().all(|piece| good.contains(piece)), "a claim that does not hold");
        assert!(
            have(&resumed).contains(&0) && have(&resumed).contains(&4),
            "no durable piece is lost: {resumed:?}"
        );
        drop(storage);
    }
}

#[test]
fn a_file_that_was_slow_to_make_is_not_older_than_its_session() {
    const SLOW: Duration = Duration::from_millis(100);
    // File times have the granularity of the kernel's tick.
    const TICK: i64 = 20_000_000;
    let t = two();
    let (made, parts) = (Arc::new(AtomicI64::new(0)), t.state_file("parts"));
    let seen = Arc::clone(&made);
    // Its folder is synced when the file is there, and before the first record.
    let plan = FaultPlan::new(move |op, _, _| {
        if op == Op::FolderSync
            && seen.load(Ordering::Relaxed) == 0
            && let Ok(stat) = rustix::fs::stat(&parts)
        {
            seen.store(Stamp::of(&stat).mtime, Ordering::Relaxed);
            std::thread::sleep(SLOW);
        }
        None
    });
    let options = StorageOptions { faults: Some(plan), ..Fixture::options() };
    let (storage, _) = t.start_with(options, &[true, false]);
    t.write(&storage, [4]);
    drop(storage);
    let journal = parse(&fs::read(t.state_file("journal")).unwrap()).unwrap();
    // A power cut may bring the first time back.
    let since = journal.state.session.time - made.load(Ordering::Relaxed);
    assert!(since <= TICK, "{since}");
}

/// As if the machine had been started again. A torn tail is dropped, which a rewritten journal cannot have.
pub(super) fn edit_boot(t: &Fixture) {
    edit_journal(t, |state| state.session.boot = [1; 16]);
}

#[test]
fn after_a_reboot_a_later_change_is_still_a_change() {
    let t = two();
    let (storage, _) = t.start();
    t.write_all(&storage);
    storage.sync().unwrap();
    drop(storage);
    edit_boot(&t);
    set_mtime(&t.file("a"), SystemTime::now() + Duration::from_secs(100));
    let (_, resumed) = t.start();
    assert_eq!(have(&resumed), [4, 5, 6]);
    assert_eq!(numbers(&resumed.recheck), [0, 1, 2, 3]);
}

#[test]
fn a_length_may_survive_a_power_cut_without_its_time() {
    const HOUR: i64 = 3_600_000_000_000;
    // An hour later another boot goes on, and dies when the parts file has grown and its time was not written. Or it died an
    // hour ago, and another program let the file grow since then and set its time again.
    for (passed, kept) in [(HOUR, vec![4]), (-HOUR, vec![])] {
        let t = two();
        let (storage, _) = t.start_with(Fixture::options(), &[true, false]);
        t.write(&storage, [4]);
        storage.sync().unwrap();
        drop(storage);
        let parts = fs::File::options().write(true).open(t.state_file("parts")).unwrap();
        let found = parts.metadata().unwrap();
        parts.set_len(found.len() + 1_000).unwrap();
        parts.set_modified(found.modified().unwrap()).unwrap();
        edit_journal(&t, |state| {
            state.session.boot = [1; 16];
            state.session.time += passed;
            state.session.last = state.session.time;
        });
        let (_, resumed) = t.start_with(Fixture::options(), &[true, false]);
        assert_eq!(have(&resumed), kept, "{:?}", resumed.why);
        assert_eq!(numbers(&resumed.recheck).is_empty(), !kept.is_empty());
    }
}

/// A journal whose bytes of now are what a power cut leaves of it, whenever they are synced.
struct SyncedJournal {
    path: PathBuf,
    length: Arc<AtomicUsize>,
}

impl SyncedJournal {
    fn new(t: &Fixture) -> (Self, Witness) {
        let journal = Self { path: t.state_file("journal"), length: Arc::default() };
        let (path, length) = (journal.path.clone(), Arc::clone(&journal.length));
        let witness = Witness::new([1; 16], move |change| {
            if matches!(change, Change::Synced(synced, _) if synced == path) {
                length.store(fs::metadata(&path).unwrap().len() as usize, Ordering::Relaxed);
            }
        });
        (journal, witness)
    }

    fn forget_the_rest(self) {
        let file = fs::File::options().write(true).open(self.path).unwrap();
        file.set_len(self.length.load(Ordering::Relaxed) as u64).unwrap();
    }
}

#[test]
fn a_file_that_becomes_ours_in_a_session_is_known_to_be_so_before_it_gets_a_byte() {
    let made = |t: &Fixture, storage: &Storage| {
        t.write(storage, [0]);
        storage.sync().unwrap();
        storage.set_wanted(&[true, true]).unwrap();
    };
    let empty = |t: &Fixture, storage: &Storage| {
        t.write(storage, [0]);
        fs::write(t.file("b"), []).unwrap();
        storage.set_wanted(&[true, true]).unwrap();
    };
    let found = |t: &Fixture, storage: &Storage| {
        t.write(storage, [0]);
        let start = 4 * PIECE - 3 * PIECE - 100;
        fs::write(t.file("b"), [&vec![0; start][..], t.piece_bytes(4)].concat()).unwrap();
        storage.set_wanted(&[true, true]).unwrap();
    };
    for become_ours in [&made as &dyn Fn(&Fixture, &Storage), &empty, &found] {
        let t = two();
        let options = |witness| StorageOptions { witness: Some(witness), ..Fixture::options() };
        let (journal, witness) = SyncedJournal::new(&t);
        let (storage, _) = t.start_with(options(witness), &[true, false]);
        become_ours(&t, &storage);
        t.write(&storage, [5]);
        drop(storage);
        // The power goes. Of the last piece not all sectors are there.
        journal.forget_the_rest();
        let file = fs::File::options().write(true).open(t.file("b")).unwrap();
        let time = file.metadata().unwrap().modified().unwrap();
        file.write_all_at(&[0; 1024], 2 * PIECE as u64 + 512).unwrap();
        file.set_modified(time).unwrap();
        let (storage, resumed) = t.start_with(options(Witness::new([2; 16], |_| {})), &[true, true]);
        for &piece in &resumed.recheck {
            storage.check_piece(piece, &mut Vec::new()).unwrap();
        }
        storage.guard().unwrap();
        t.write_all(&storage);
        assert_eq!(t.good(&storage), [0, 1, 2, 3, 4, 5, 6]);
    }
}

#[test]
fn a_long_journal_is_compacted_and_says_the_same() {
    let t = two();
    let (storage, _) = t.start();
    t.write(&storage, [0, 5]);
    storage.sync().unwrap();
    let file = storage.open(Location::File(FileIndex(0)), Access::Create).unwrap().unwrap();
    for _ in 0..20_000 {
        storage.ledger.begin(Some(1), &[(0, &file)]).unwrap();
        storage.ledger.end(Some(crate::ledger::Ended::Failed(1)), &[(0, &file)]);
    }
    t.write(&storage, [2]);
    let long = fs::metadata(t.state_file("journal")).unwrap().len();
    assert!(1 << 20 < long);
    storage.sync().unwrap();
    assert!(fs::metadata(t.state_file("journal")).unwrap().len() < 1_000);
    t.write(&storage, [3]);
    drop(storage);
    let (_, resumed) = t.start();
    assert_eq!(have(&resumed), [0, 2, 5]);
    assert_eq!(numbers(&resumed.recheck), [3]);
}

#[test]
fn pieces_written_by_many_threads_at_once_are_all_remembered() {
    let t = Fixture::new(&[("a", 50 * PIECE as u64 + 9, ""), ("b", 50 * PIECE as u64, "")]);
    let (storage, _) = t.start();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (t, storage) = (&t, &storage);
            scope.spawn(move || t.write(storage, (0..100).filter(|piece| piece % 4 == thread)));
        }
        let storage = &storage;
        scope.spawn(move || (0..20).for_each(|_| storage.sync().unwrap()));
    });
    drop(storage);
    let (storage, resumed) = t.start();
    assert_eq!(resumed.have.count_ones() as usize + resumed.recheck.len(), 100, "{:?}", resumed.why);
    assert!(resumed.why.iter().all(|why| why.contains("not yet synced")), "{:?}", resumed.why);
    t.write(&storage, [100]);
    storage.close().unwrap();
    assert_eq!(t.good(&storage).len(), 101);
}

#[test]
fn a_record_in_the_journal_is_small() {
    let t = two();
    let (storage, _) = t.start();
    t.write(&storage, [0, 1]);
    let before = fs::metadata(t.state_file("journal")).unwrap().len();
    t.write(&storage, [2]);
    let after = fs::metadata(t.state_file("journal")).unwrap().len();
    assert_eq!(after - before, 19 + 43 + 11);
    drop(storage);
    edit_journal(&t, |state| assert!(state.apply(&Record::Written { piece: 2 })));
}

/// Descriptors of this process whose link matches.
fn descriptors(below: &Path) -> usize {
    let links =
        fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    links.filter(|link| link.starts_with(below)).count()
}

#[test]
fn an_idle_torrent_holds_no_descriptor_of_its_own() {
    let t = two();
    let (storage, _) = t.start();
    assert_eq!(descriptors(t.folder.path()), 2, "lock and claims of the session, for it is not complete");
    t.write(&storage, [0, 4]);
    assert_eq!(descriptors(t.folder.path()), 5, "the journal and two files in the cache");
    storage.sync().unwrap();
    assert_eq!(descriptors(t.folder.path()), 4);
    storage.close_idle();
    assert_eq!(descriptors(t.folder.path()), 2);
    t.write_all(&storage);
    storage.close().unwrap();
    storage.leave();
    assert_eq!(descriptors(t.folder.path()), 0);
    drop(storage);
    let (storage, _) = t.start();
    assert_eq!(descriptors(t.folder.path()), 0, "complete: nothing to lock");
    t.read(&storage, 0).unwrap();
    storage.close_idle();
    assert_eq!(descriptors(t.folder.path()), 0);
}
