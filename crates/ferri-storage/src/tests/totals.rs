//! What is remembered of all sessions, in a real state folder.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::Duration;

use super::*;
use crate::{Op, Totals};

fn totals(uploaded: u64) -> Totals {
    let seeding = Duration::from_secs(uploaded);
    Totals { uploaded, downloaded: 2, wasted: 1, seeding, active: seeding * 2 }
}

fn fixture() -> Fixture {
    Fixture::new(&[("a", PIECE as u64, "")])
}

#[test]
fn totals_are_those_of_the_last_session_and_its_users_alone() {
    let t = fixture();
    for round in 1..=5 {
        let storage = t.start().0;
        let expected = if round == 1 { Totals::default() } else { totals(10 * round - 8) };
        assert_eq!(storage.read_totals().unwrap(), (expected, None));
        storage.write_totals(&totals(10 * round)).unwrap();
        storage.write_totals(&totals(10 * round + 1)).unwrap();
        storage.write_totals(&totals(10 * round + 2)).unwrap();
        // Nothing is closed: the process dies here.
    }
    let path = t.state_file("totals");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(fs::metadata(&path).unwrap().len() < 1024);
}

#[test]
fn a_write_that_is_cut_off_leaves_the_one_before() {
    let t = fixture();
    let cut = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&cut);
    // The process dies in the middle of a slot.
    let plan = FaultPlan::new(move |op, path, length| {
        let is_cut = switch.load(Ordering::Relaxed) && path.ends_with("totals");
        match op {
            Op::JournalWrite if is_cut && length < 40 => Some(Fault::Errno(5)),
            Op::JournalWrite if is_cut => Some(Fault::Short(30)),
            _ => None,
        }
    });
    let storage = t.start_with_faults(plan);
    storage.write_totals(&totals(1)).unwrap();
    storage.write_totals(&totals(2)).unwrap();
    cut.store(true, Ordering::Relaxed);
    assert!(storage.write_totals(&totals(3)).is_err());
    assert!(
        storage.write_totals(&totals(4)).is_err(),
        "the good slot is not touched before the other one is"
    );
    drop(storage);
    assert_eq!(t.start().0.read_totals().unwrap(), (totals(2), None));
}

#[test]
fn what_is_damaged_is_set_aside_and_named_and_what_is_no_file_is_not_followed() {
    for kind in ["damaged", "of a later version", "folder", "link"] {
        let t = fixture();
        let path = t.state_file("totals");
        let storage = t.start().0;
        storage.write_totals(&totals(7)).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let victim = t.folder.path().join("victim");
        fs::write(&victim, &bytes).unwrap();
        match kind {
            "damaged" => {
                bytes.iter_mut().for_each(|byte| *byte ^= 1);
                fs::write(&path, &bytes).unwrap();
            }
            "of a later version" => fs::write(&path, b"ferritot\x02\0 whatever comes then").unwrap(),
            "folder" => fs::create_dir(&path).unwrap(),
            _ => symlink(&victim, &path).unwrap(),
        }
        let (found, note) = storage.read_totals().unwrap();
        assert_eq!(found, Totals::default(), "{kind}");
        assert!(note.unwrap().ends_with("totals.aside-1"), "{kind}");
        storage.write_totals(&totals(9)).unwrap();
        assert_eq!(storage.read_totals().unwrap(), (totals(9), None), "{kind}");
        assert_ne!(fs::read(&victim).unwrap().len(), 0, "{kind}");
    }
}

#[test]
fn a_file_that_was_made_and_never_written_is_no_damage() {
    let t = fixture();
    let storage = t.start().0;
    fs::write(t.state_file("totals"), b"").unwrap();
    assert_eq!(storage.read_totals().unwrap(), (Totals::default(), None));
    storage.write_totals(&totals(1)).unwrap();
    assert_eq!(storage.read_totals().unwrap(), (totals(1), None));
}

#[test]
fn without_a_state_folder_nothing_is_remembered() {
    let t = fixture();
    let place = Place { root: t.root(), state_dir: None };
    let paths = LocalPaths::new(&t.info).unwrap();
    let storage = Storage::new(Arc::clone(&t.info), paths, place, Fixture::options(), &[]).unwrap();
    storage.write_totals(&totals(1)).unwrap();
    assert_eq!(storage.read_totals().unwrap(), (Totals::default(), None));
}
