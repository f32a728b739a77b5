//! One torrent's progress as one line of text: cut to the terminal's width, least important parts first.

use std::time::Duration;

use ferri_engine::{State, TorrentStatus};

use crate::text::{harmless, shorten, width};
use crate::units;

/// `debian-13.iso  42.1%  1.58/3.75 GiB  ↓ 38.2 MiB/s  ↑ 1.1 MiB/s  peers 31 (12 seeds)  ratio 0.03  ETA 0:58`,
/// no wider than `columns`.
pub(crate) fn line(status: &TorrentStatus, columns: usize) -> String {
    let name = harmless(&status.name);
    let parts = parts(status);
    // The last column stays free: many terminals wrap when it is written.
    let columns = columns.saturating_sub(1);
    for lowest_kept in 0..=IMPORTANCE_MAX {
        let kept: Vec<&str> = parts
            .iter()
            .filter(|part| lowest_kept <= part.importance)
            .map(|part| part.text.as_str())
            .collect();
        let rest = kept.join("  ");
        let needed = width(&rest) + 2;
        let room = columns.saturating_sub(needed);
        if width(&name) <= room || NAME_MIN <= room {
            return format!("{}  {rest}", shorten(&name, room));
        }
    }
    shorten(parts.first().map_or(name.as_str(), |part| part.text.as_str()), columns)
}

/// A name shorter than this is no longer recognised; parts of lower importance go first.
const NAME_MIN: usize = 16;

struct Part {
    /// 0 is dropped first.
    importance: u8,
    text: String,
}

const IMPORTANCE_MAX: u8 = 5;

fn parts(status: &TorrentStatus) -> Vec<Part> {
    let part = |importance, text: String| Part { importance, text };
    let percent = units::percent(status.wanted_done, status.wanted);
    let sizes = units::size_of(status.wanted_done, status.wanted);
    let peers = part(2, peers(status));
    let ratio = part(0, format!("ratio {:.2}", status.ratio));
    let down = part(4, format!("↓ {}", units::rate(status.down_rate)));
    let up = part(1, format!("↑ {}", units::rate(status.up_rate)));
    match &status.state {
        State::Checking { done, total } => {
            vec![
                part(5, format!("checking {}", units::percent(*done, *total))),
                part(3, units::size_of(*done, *total)),
            ]
        }
        State::Downloading => {
            let eta = status.eta.map_or_else(|| "-".to_owned(), units::clock);
            let eta = part(3, format!("ETA {eta}"));
            vec![part(5, percent), part(2, sizes), down, up, peers, ratio, eta]
        }
        State::Seeding => {
            vec![
                part(5, "seeding".to_owned()),
                part(1, units::size(status.wanted)),
                part(4, up.text),
                part(3, format!("sent {}", units::size(status.uploaded))),
                peers,
                part(2, ratio.text),
            ]
        }
        State::Paused => vec![part(5, "paused".to_owned()), part(4, percent), part(3, sizes)],
        State::Error { .. } => vec![part(5, "waiting".to_owned()), part(4, percent), part(3, sizes)],
        State::Stopped => vec![part(5, "stopped".to_owned()), part(4, percent), part(3, sizes)],
    }
}

fn peers(status: &TorrentStatus) -> String {
    match status.seeds as u64 {
        0 => format!("peers {}", status.peers),
        seeds => format!("peers {} ({})", status.peers, units::count(seeds, "seed", "seeds")),
    }
}

/// A line while something other than a torrent is worked on: `hashing  42.1%  1.58/3.75 GiB  1.2 GiB/s  ETA 0:02`.
pub(crate) fn work_line(what: &str, done: u64, total: u64, since: Duration, columns: usize) -> String {
    let rate = units::mean_rate(done, since);
    let eta = match rate {
        0 => "-".to_owned(),
        rate => units::clock(Duration::from_secs(total.saturating_sub(done) / rate)),
    };
    let line = format!(
        "{what}  {}  {}  {}  ETA {eta}",
        units::percent(done, total),
        units::size_of(done, total),
        units::rate(rate)
    );
    shorten(&line, columns.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use ferri_metainfo::{InfoHash, InfoHashes};

    use super::*;

    fn status(name: &str) -> TorrentStatus {
        TorrentStatus {
            name: name.to_owned(),
            info_hashes: InfoHashes { v1: Some(InfoHash::from([7; 20])), v2: None },
            state: State::Downloading,
            total: 4_026_531_840,
            wanted: 4_026_531_840,
            wanted_done: 1_700_000_000,
            downloaded: 1_700_000_000,
            uploaded: 51_000_000,
            wasted: 0,
            down_rate: 40_055_603,
            up_rate: 1_153_434,
            peers: 31,
            seeds: 12,
            pieces_done: 1,
            pieces_total: 2,
            eta: Some(Duration::from_secs(58)),
            ratio: 0.03,
            complete_since: None,
        }
    }

    #[test]
    fn a_wide_terminal_shows_everything() {
        assert_eq!(
            line(&status("debian-13.iso"), 120),
            "debian-13.iso  42.2%  1.58/3.75 GiB  ↓ 38.1 MiB/s  ↑ 1.10 MiB/s  peers 31 (12 seeds)  \
             ratio 0.03  ETA 0:58"
        );
    }

    #[test]
    fn no_width_is_exceeded_and_the_percentage_is_the_last_to_go() {
        for columns in 0..140 {
            let line = line(&status("a name that is longer than most and has 日本 in it.iso"), columns);
            assert!(width(&line) <= columns.saturating_sub(1), "{columns}: {line}");
            assert!(columns < 30 || line.contains("42.2%"), "{columns}: {line}");
        }
    }

    #[test]
    fn names_cannot_steer_the_terminal() {
        let line = line(&status("evil\u{1b}[2J\r\u{202e}.iso"), 120);
        assert!(!line.chars().any(|c| c.is_control() || c == '\u{202e}'), "{line:?}");
    }

    #[test]
    fn without_seeds_or_an_estimate_nothing_is_invented() {
        let text = line(&TorrentStatus { seeds: 0, eta: None, ..status("x") }, 120);
        assert!(text.contains("peers 31  ") && text.ends_with("ETA -"), "{text}");
    }
}
