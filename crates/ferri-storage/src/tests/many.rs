//! Torrents of many files: they are looked at in fewer calls, with the same results, and no caller has to wait for the
//! end.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::places::Places;
use crate::{Halt, Op};

/// Tiny files in folders of 20, so that a piece lies over all of them; each tenth is empty, each seventh executable.
fn many(count: u32) -> Fixture {
    let names: Vec<String> = (0..count).map(|n| format!("folder {}/file {n}", n / 20)).collect();
    let spec = |(n, name): (u32, &'_ String)| -> (String, u64, &'static str) {
        let length = if n % 10 == 9 { 0 } else { 100 };
        (name.clone(), length, if n % 7 == 6 { "x" } else { "" })
    };
    let files: Vec<_> = (0..).zip(&names).map(spec).collect();
    let files: Vec<Spec<'_>> = files.iter().map(|(name, length, attr)| (&**name, *length, *attr)).collect();
    Fixture::new(&files)
}

/// Lays the payload down, whole.
fn lay_down(t: &Fixture) {
    let layout = t.info.layout();
    for file in layout.files() {
        let path = t.file(&t.info.file(file).unwrap().path().join("/"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let range = layout.file_range(file);
        fs::write(path, &t.data[range.start as usize..range.end as usize]).unwrap();
    }
}

/// Something that happens to a file.
type Change = fn(&Path);

#[test]
fn what_is_read_in_fewer_calls_is_found_as_by_the_usual_ones() {
    let odd: [(&str, Change); 7] = [
        ("nothing", |_| {}),
        ("absent", |file| fs::remove_file(file).unwrap()),
        ("short", |file| fs::File::options().write(true).open(file).unwrap().set_len(50).unwrap()),
        ("longer", |file| fs::File::options().write(true).open(file).unwrap().set_len(200).unwrap()),
        ("a folder", |file| {
            fs::remove_file(file).unwrap();
            fs::create_dir(file).unwrap();
        }),
        ("other bytes", |file| fs::write(file, [1; 100]).unwrap()),
        ("no folder", |file| fs::remove_dir_all(file.parent().unwrap()).unwrap()),
    ];
    for (what, change) in odd {
        let t = many(1000);
        lay_down(&t);
        change(&t.file("folder 2/file 45"));
        let (storage, _) = t.start();
        let found = t.good(&storage);
        // A listener that hears of every call gets every call.
        let heard = StorageOptions { faults: Some(FaultPlan::new(|_, _, _| None)), ..Fixture::options() };
        let usual = t.good(&t.storage_with(heard, &[]));
        assert_eq!(found, usual, "{what}");
        let is_whole = matches!(what, "nothing" | "longer");
        assert_eq!(found.len(), t.info.layout().piece_count() as usize - usize::from(!is_whole), "{what}");
    }
}

#[test]
fn a_link_in_the_way_of_many_files_is_an_error_and_where_they_are_only_shared_a_loss() {
    let t = many(1000);
    lay_down(&t);
    let outside = t.folder.path().join("outside");
    fs::rename(t.file("folder 2"), &outside).unwrap();
    symlink(&outside, t.file("folder 2")).unwrap();
    let pieces: Vec<_> = t.info.layout().pieces().collect();
    let check = |read_only| {
        let place = Place { root: t.root(), state_dir: None };
        let options = StorageOptions { read_only, ..Fixture::options() };
        let paths = LocalPaths::new(&t.info).unwrap();
        let storage = Storage::new(t.info.clone(), paths, place, options, &[]).unwrap();
        check::run(&storage, &pieces, 1, &|_| {})
    };
    assert!(matches!(check(false), Err(StorageError::Symlink { .. })));
    assert!(!check(true).unwrap().get(0));
}

/// Raises `halt` at the `last` operation of a kind, and counts them.
fn halting(halt: &Halt, op: Op, last: usize) -> (FaultPlan, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let plan = {
        let (halt, count) = (halt.clone(), count.clone());
        FaultPlan::new(move |asked, _, _| {
            if asked == op && count.fetch_add(1, Ordering::Relaxed) + 1 == last {
                halt.raise();
            }
            None
        })
    };
    (plan, count)
}

fn options_with(halt: &Halt, plan: FaultPlan) -> StorageOptions {
    StorageOptions { halt: halt.clone(), faults: Some(plan), ..Fixture::options() }
}

#[test]
fn a_start_ends_at_the_file_at_which_it_is_asked_to() {
    let t = many(500);
    lay_down(&t);
    let halt = Halt::default();
    let (plan, count) = halting(&halt, Op::Stat, 30);
    let storage = t.storage_with(options_with(&halt, plan), &[]);
    assert!(matches!(storage.resume(), Err(StorageError::Halted)));
    assert_eq!(count.load(Ordering::Relaxed), 30);
}

#[test]
fn looking_for_unwanted_files_ends_at_the_file_at_which_it_is_asked_to() {
    let t = many(500);
    lay_down(&t);
    let halt = Halt::default();
    let (plan, count) = halting(&halt, Op::Stat, 30);
    let wanted = vec![false; 500];
    let paths = LocalPaths::new(&t.info).unwrap();
    let made = Storage::new(t.info.clone(), paths, t.place(), options_with(&halt, plan), &wanted);
    assert!(matches!(made, Err(StorageError::Halted)));
    assert_eq!(count.load(Ordering::Relaxed), 30);
}

#[test]
fn a_check_ends_at_the_file_at_which_it_is_asked_to_and_says_nothing_of_its_pieces() {
    let t = many(500);
    lay_down(&t);
    let pieces: Vec<_> = t.info.layout().pieces().collect();
    let halt = Halt::default();
    let (plan, count) = halting(&halt, Op::Open, 30);
    let (storage, _) = t.start_with(options_with(&halt, plan), &[]);
    let before = count.load(Ordering::Relaxed);
    assert!(matches!(check::run(&storage, &pieces, 1, &|_| {}), Err(StorageError::Halted)));
    // Those that the device was asked for ahead are not counted against it.
    assert!(count.load(Ordering::Relaxed) - before <= 30 + 64);
    drop(storage);
    // The same torrent without a listener.
    assert_eq!(t.good(&t.start().0).len(), pieces.len());
}

#[test]
fn a_check_of_a_storage_that_was_halted_is_not_a_result() {
    let t = many(500);
    lay_down(&t);
    let pieces: Vec<_> = t.info.layout().pieces().collect();
    let (storage, _) = t.start();
    storage.halt();
    let checked = check::run(&storage, &pieces, 2, &|_| {});
    assert!(matches!(checked, Err(StorageError::Halted)));
    assert!(matches!(storage.guard(), Ok(()) | Err(StorageError::Halted)));
    storage.close().unwrap();
}

#[test]
fn the_last_touches_end_at_the_file_at_which_they_are_asked_to_and_the_next_start_puts_them() {
    let t = many(500);
    let halt = Halt::default();
    let (plan, count) = halting(&halt, Op::Allocate, usize::MAX);
    let made = Arc::new(Mutex::new(0));
    let (storage, _) = t.start_with(options_with(&halt, plan), &[]);
    t.write_all(&storage);
    *made.lock().unwrap() = count.load(Ordering::Relaxed);
    assert!(!storage.is_finished());
    storage.halt();
    assert!(matches!(storage.finish(), Err(StorageError::Halted)));
    assert_eq!(count.load(Ordering::Relaxed), *made.lock().unwrap(), "nothing more was made");
    // What was downloaded is kept in order all the same.
    storage.close().unwrap();
    drop(storage);
    let (storage, resumed) = t.start();
    assert!(resumed.have.is_full() && resumed.why.is_empty(), "{:?}", resumed.why);
    assert!(!storage.is_finished());
    storage.finish().unwrap();
    assert!(storage.is_finished());
}

#[test]
fn moving_what_the_parts_file_holds_ends_when_it_is_asked_to() {
    let t = many(500);
    let mut wanted = vec![true; 500];
    wanted[..250].fill(false);
    let (storage, _) = t.start_wanting(&wanted);
    t.write_all(&storage);
    storage.halt();
    assert!(matches!(storage.set_wanted(&[true; 500]), Err(StorageError::Halted)));
    storage.close().unwrap();
    drop(storage);
    let (storage, _) = t.start();
    storage.guard().unwrap();
    assert_eq!(t.good(&storage).len(), t.info.layout().piece_count() as usize);
}

#[test]
fn nobody_looks_for_places_or_at_files_who_was_asked_to_stop() {
    let t = many(500);
    lay_down(&t);
    let halt = Halt::default();
    let paths = LocalPaths::new(&t.info).unwrap();
    let places = Places::find_until(&t.info, paths.clone(), &t.root(), None, &halt).unwrap();
    let mut seen = 0;
    let looked = places.look_at(&t.root(), t.info.layout().files(), &halt, |_, _| {
        seen += 1;
        if seen == 30 {
            halt.raise();
        }
    });
    assert!(matches!(looked, Err(StorageError::Halted)) && seen == 30);
    assert!(matches!(Places::find_until(&t.info, paths, &t.root(), None, &halt), Err(StorageError::Halted)));
}

#[test]
fn a_look_at_many_files_says_what_lies_in_their_places() {
    let t = many(100);
    lay_down(&t);
    fs::remove_file(t.file("folder 0/file 3")).unwrap();
    symlink("file 5", t.file("folder 0/file 3")).unwrap();
    fs::remove_dir_all(t.file("folder 1")).unwrap();
    let halt = Halt::default();
    let paths = LocalPaths::new(&t.info).unwrap();
    let places = Places::find_until(&t.info, paths, &t.root(), None, &halt).unwrap();
    let mut found = Vec::new();
    places.look_at(&t.root(), t.info.layout().files(), &halt, |_, what| found.push(what)).unwrap();
    for (n, what) in found.into_iter().enumerate() {
        let expected = match n {
            3 => crate::Found::Other,
            20..40 => crate::Found::Nothing,
            _ => match what {
                crate::Found::File { length, .. } => {
                    assert_eq!(length, if n % 10 == 9 { 0 } else { 100 });
                    what
                }
                other => panic!("{n}: {other:?}"),
            },
        };
        assert_eq!(what, expected, "{n}");
    }
}
