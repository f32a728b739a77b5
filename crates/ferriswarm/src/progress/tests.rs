//! What the lines look like, in tables.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use ferri_engine::{AllTime, CheckPlace, ErrorReason, Sources, State, TorrentStatus, Wait};
use ferri_metainfo::InfoHash;

use super::*;
use crate::text::width;

fn status(name: &str) -> TorrentStatus {
    TorrentStatus {
        state: State::Downloading,
        total: 4_026_531_840,
        wanted: 4_026_531_840,
        wanted_done: 1_700_000_000,
        downloaded: 1_700_000_000,
        uploaded: 51_000_000,
        down_rate: 40_055_603,
        up_rate: 1_153_434,
        peers: 31,
        seeds: 12,
        pieces_done: 1,
        pieces_total: 2,
        eta: Some(Duration::from_secs(58)),
        ratio: 0.03,
        all_time: AllTime { uploaded: 51_000_000, ..AllTime::default() },
        ..TorrentStatus::new(name.to_owned(), InfoHash::from([7; 20]).into())
    }
}

fn still(name: &str) -> TorrentStatus {
    TorrentStatus { down_rate: 0, up_rate: 0, eta: None, peers: 3, seeds: 0, ..status(name) }
}

fn waiting(wait: Wait) -> TorrentStatus {
    let peers = if matches!(wait, Wait::Alone(_)) { 0 } else { 3 };
    TorrentStatus { wait: Some(Box::new(wait)), peers, ..still("debian-13.iso") }
}

fn seeding(name: &str) -> TorrentStatus {
    TorrentStatus { state: State::Seeding, wanted_done: 4_026_531_840, down_rate: 0, ..status(name) }
}

fn checking(name: &str) -> TorrentStatus {
    let state = State::Checking { done: 100 << 20, total: 400 << 20 };
    TorrentStatus { state, wanted_done: 0, peers: 0, ..still(name) }
}

fn drawn(columns: usize, rows: usize, views: &[View]) -> Vec<String> {
    lines(Size { columns, rows }, Charset::Unicode, views)
}

#[track_caller]
fn check(columns: usize, statuses: &[TorrentStatus], expected: &[&str]) {
    let views: Vec<View> = statuses.iter().map(View::of_torrent).collect();
    let drawn = drawn(columns, 24, &views);
    assert_eq!(drawn, expected, "at {columns}:\n{}\n", drawn.join("\n"));
}

#[test]
fn each_width_shows_what_fits() {
    let one = [status("debian-13.iso")];
    check(20, &one, &["debian-1…iso  42.2%"]);
    check(40, &one, &["debian-…iso  ━━───  42.2%  ↓ 38.1 MiB/s"]);
    check(60, &one, &["debian-13.iso  ━━━━━────────  42.2%  ↓ 38.1 MiB/s  ETA 0:58"]);
    check(80, &one, &["debian-13.iso  ━━━─────  42.2%  1.58/3.75 GiB  ↓ 38.1 MiB/s  peers 31  ETA 0:58"]);
    check(
        120,
        &one,
        &[
            "debian-13.iso  ━━━━╸──────  42.2%  1.58/3.75 GiB  ↓ 38.1 MiB/s  ↑ 1.10 MiB/s  peers 31 (12 seeds)  \
           ratio 0.03  ETA 0:58",
        ],
    );
    check(
        200,
        &one,
        &["debian-13.iso  ━━━━━━━━━━━━━━━━╸───────────────────────  42.2%  1.58/3.75 GiB  ↓ 38.1 MiB/s  \
           ↑ 1.10 MiB/s  peers 31 (12 seeds)  ratio 0.03  ETA 0:58"],
    );
}

#[test]
fn several_stand_below_each_other_with_their_sum() {
    let stalled = TorrentStatus {
        wait: Some(Box::new(Wait::Unseen { first: 7, pieces: 1 })),
        ..still("a-long-name-that-goes-on-and-on.iso")
    };
    let all = [status("debian-13.iso"), seeding("ubuntu.iso"), stalled, checking("x")];
    check(
        40,
        &all,
        &[
            "debian-…iso  ━━───  42.2%  ↓ 38.1 MiB/s",
            "a-long-…iso  ━━───  42.2%  stalled",
            "x            ━────  25.0%  checking",
            "ubuntu.iso   ━━━━━   100%  seeding",
            "4 torrents   ━━───  46.1%  ↓ 38.1 MiB/s",
        ],
    );
    check(
        80,
        &all,
        &[
            "debian-13.iso         ━━───  42.2%  1.58/3.75 GiB  ↓ 38.1 MiB/s  ETA 0:58",
            "a-long-name-t…on.iso  ━━───  42.2%  1.58/3.75 GiB  stalled: no peer has piece 7",
            "x                     ━────  25.0%    100/400 MiB  checking what is there",
            "ubuntu.iso            ━━━━━   100%       3.75 GiB  seeding  ↑ 1.10 MiB/s",
            "4 torrents            ━━───  46.1%    6.91/15 GiB  ↓ 38.1 MiB/s  ETA 3:36",
        ],
    );
}

#[test]
fn a_seed_needs_no_bar() {
    check(40, &[seeding("ubuntu.iso")], &["ubuntu.iso  seeding  ↑ 1.10 MiB/s"]);
    check(
        120,
        &[seeding("ubuntu.iso")],
        &["ubuntu.iso  3.75 GiB  seeding  ↑ 1.10 MiB/s  peers 31 (12 seeds)  sent 48.6 MiB  ratio 0.03"],
    );
}

#[test]
fn every_wait_has_its_words() {
    let sources = Sources { trackers: 2, dht_nodes: Some(12), ..Sources::default() };
    let cases = [
        (Wait::Alone(Sources::default()), "looking for peers: no peer to ask; waiting for peers that call"),
        (Wait::Alone(sources), "looking for peers: DHT with 12 nodes, 2 trackers"),
        (
            Wait::Alone(Sources { connecting: 1, known: 3, ..sources }),
            "connecting to 1 peer (DHT with 12 nodes, 2 trackers, 3 known addresses)",
        ),
        (
            Wait::Alone(Sources { trackers: 1, trackers_failed: 1, known: 1, ..Sources::default() }),
            "looking for peers: 1 tracker, which failed, 1 known address without an answer so far",
        ),
        (Wait::Unseen { first: 7, pieces: 1 }, "stalled: no peer has piece 7"),
        (Wait::Unseen { first: 7, pieces: 3 }, "stalled: no peer has piece 7 or 2 others"),
        (Wait::Choked { peers: 1 }, "choked by the only peer that has something"),
        (Wait::Choked { peers: 3 }, "choked by all 3 peers that have something"),
        (Wait::Silent { peers: 3 }, "stalled: 3 peers let us ask and send nothing"),
        (Wait::Disk, "waiting for the disk"),
    ];
    for (wait, words) in cases {
        let status = waiting(wait);
        assert_eq!(wait_words(&status).unwrap().1, words);
        let line = &drawn(200, 24, &[View::of_torrent(&status)])[0];
        assert!(line.contains(words), "{line}");
        // Where there is little room the state is still told.
        let line = &drawn(40, 24, &[View::of_torrent(&status)])[0];
        let few = ["no peers", "connecting", "stalled", "choked", "writing"];
        assert!(few.iter().any(|word| line.contains(word)), "{line}");
    }
}

#[test]
fn every_state_has_its_words() {
    let error = |text: &str, recoverable, reason| State::Error { reason, text: text.to_owned(), recoverable };
    let full = ErrorReason::DiskFull { missing: 3 << 20 };
    let cases = [
        (State::Paused, "paused"),
        (State::Stopped, "stopped"),
        (State::Checking { done: 1, total: 2 }, "checking what is there"),
        (error("/a/b: no space left", true, full), "disk full: 3 MiB more are needed"),
        (error("/a/b: cannot write", true, ErrorReason::Disk), "waiting for the disk: /a/b: cannot write"),
        (error("/a/b: gone\u{1b}[2J", false, ErrorReason::Disk), "failed: /a/b: gone\u{fffd}[2J"),
        (State::Downloading, "↓ 0 B/s"),
        (State::Seeding, "seeding"),
    ];
    for (state, words) in cases {
        let status = TorrentStatus { state, ..still("debian-13.iso") };
        let line = &drawn(160, 24, &[View::of_torrent(&status)])[0];
        assert!(line.contains(words), "{words}: {line}");
    }
    for (ahead, words) in
        [(1, "waiting for 1 other to be checked"), (2_298, "waiting for 2298 others to be checked")]
    {
        let check_place = Some(CheckPlace::with_ahead(ahead));
        let status = TorrentStatus { check_place, ..checking("debian-13.iso") };
        let line = &drawn(160, 24, &[View::of_torrent(&status)])[0];
        assert!(line.contains(words), "{words}: {line}");
    }
}

#[test]
fn many_torrents_leave_room_for_what_was_said() {
    let statuses: Vec<TorrentStatus> = (0..20).map(|n| status(&format!("t{n}"))).collect();
    let views: Vec<View> = statuses.iter().map(View::of_torrent).collect();
    for (rows, count) in [(1, 1), (5, 1), (8, 2), (12, 4), (24, 6), (100, 6)] {
        let drawn = drawn(80, rows, &views);
        assert_eq!(drawn.len(), count, "{rows}: {}", drawn.join("\n"));
        let total = drawn.last().unwrap();
        let expected = match count {
            1 => "20 torrents  ".to_owned(),
            _ => format!("all 20, {} not shown  ", 21 - count),
        };
        assert!(total.starts_with(&expected), "{total}");
    }
    // One has the terminal for itself.
    assert_eq!(drawn(80, 1, &views[..1]).len(), 1);
}

#[test]
fn those_that_work_are_shown_before_those_that_are_done() {
    let mut statuses: Vec<TorrentStatus> = (0..9).map(|n| seeding(&format!("done {n}"))).collect();
    statuses.push(status("busy"));
    let views: Vec<View> = statuses.iter().map(View::of_torrent).collect();
    assert!(drawn(80, 24, &views)[0].starts_with("busy  "));
}

#[test]
fn no_line_is_as_wide_as_the_terminal_and_the_percentage_is_the_last_to_go() {
    let long = "a name that is longer than most and has 日本 in it, which is twice as wide.iso";
    let stalled =
        TorrentStatus { wait: Some(Box::new(Wait::Unseen { first: 7, pieces: 99 })), ..still(long) };
    let search = View {
        name: long.to_owned(),
        done: None,
        wanted: None,
        doing: Doing::Says(vec!["looking".to_owned(), "looking for peers in all kinds of places".to_owned()]),
        flow: Flow { lasts: Some(Duration::from_secs(99)), ..Flow::default() },
    };
    let views = [
        View::of_torrent(&status(long)),
        View::of_torrent(&stalled),
        View::of_torrent(&seeding(long)),
        View::of_torrent(&checking(long)),
        View::of_work("hashing", 1 << 30, 3 << 30, Duration::from_secs(1)),
        search,
    ];
    for columns in 0..250 {
        for some in
            [&views[..1], &views[1..2], &views[2..3], &views[3..4], &views[4..5], &views[5..], &views[..]]
        {
            for line in drawn(columns, 40, some) {
                assert!(width(&line) <= columns.saturating_sub(1), "{columns}: {line}");
            }
        }
        let line = &drawn(columns, 40, &views[..1])[0];
        assert!(columns < 20 || line.contains("42.2%"), "{columns}: {line}");
    }
}

#[test]
fn work_has_a_rate_and_an_end() {
    let work = [View::of_work("verifying", 300 << 20, 4 << 30, Duration::from_secs(1))];
    assert_eq!(drawn(60, 24, &work), ["verifying  ╸──────   7.3%  0.29/4 GiB  300 MiB/s   ETA 0:12"]);
    let begun = [View::of_work("verifying", 0, 4 << 30, Duration::from_secs(1))];
    assert!(drawn(60, 24, &begun)[0].ends_with("ETA -"));
}

#[test]
fn names_cannot_steer_the_terminal() {
    let line = &drawn(120, 24, &[View::of_torrent(&status("evil\u{1b}[2J\r\u{202e}.iso"))])[0];
    assert!(!line.chars().any(|c| c.is_control() || c == '\u{202e}'), "{line:?}");
}

#[test]
fn a_locale_without_unicode_gets_none() {
    let views = [View::of_torrent(&status("debian-13.iso"))];
    let lines = lines(Size { columns: 40, rows: 24 }, Charset::Ascii, &views);
    assert_eq!(lines, ["debian-~iso  ##---  42.2%  v 38.1 MiB/s"]);
}

#[test]
fn without_a_terminal_everything_is_told_and_no_bar() {
    assert_eq!(
        plain_line(240, &View::of_torrent(&status("debian-13.iso"))),
        "debian-13.iso  42.2%  1.58/3.75 GiB  ↓ 38.1 MiB/s  ↑ 1.10 MiB/s  peers 31 (12 seeds)  ratio 0.03  ETA 0:58"
    );
    let text = plain_line(240, &View::of_torrent(&TorrentStatus { seeds: 0, eta: None, ..status("x") }));
    assert!(text.contains("peers 31  ") && text.ends_with("ETA -"), "{text}");
}
