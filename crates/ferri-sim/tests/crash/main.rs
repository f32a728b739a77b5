//! The power goes at any time, and the next start has what was promised and claims nothing else.

#![allow(clippy::unwrap_used)]

use ferri_sim::disk::{CrashReport, Sabotage, run, run_with};

/// Runs in every test; `cargo xtask sim` does more.
const SEEDS: u64 = 40;

/// In each, with three disks each.
const POINTS: usize = 10;

#[test]
fn after_any_crash_nothing_false_is_claimed_and_nothing_promised_is_lost() {
    let mut total = CrashReport::default();
    for seed in 0..SEEDS {
        let report = run(seed, POINTS).unwrap();
        assert!(report.breaches.is_empty(), "{report}");
        total.images += report.images;
        total.rechecked += report.rechecked;
        total.moved += report.moved;
        total.lost_max = total.lost_max.max(report.lost_max);
    }
    // That there was something to lose.
    assert!(
        total.images as u64 == SEEDS * POINTS as u64 * 3 && 100 < total.rechecked && 100_000 < total.lost_max
    );
    assert!(100 < total.moved, "{}", total.moved);
}

#[test]
fn mistakes_in_the_order_of_syncs_are_found() {
    for (sabotage, sign) in [
        (Sabotage::JournalFirst, "is claimed and wrong"),
        (Sabotage::NoDataSync, "is claimed and wrong"),
        (Sabotage::NoJournalSync, "is not had"),
        (Sabotage::NoFolderSync, "is not had"),
        (Sabotage::NoTargetSync, "is not had"),
        (Sabotage::NoAnnouncement, "is no file of the torrent"),
        (Sabotage::NoCopySync, "is claimed and wrong"),
    ] {
        let found = (0..SEEDS).any(|seed| {
            let report = run_with(seed, POINTS, Some(sabotage)).unwrap();
            report.breaches.iter().any(|breach| breach.contains(sign))
        });
        assert!(found, "{sabotage:?}");
    }
}
