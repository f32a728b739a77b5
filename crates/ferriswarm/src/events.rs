//! The JSON lines of `--json`: one object each, bytes and seconds as numbers.

use ferri_engine::{State, TorrentStatus};
use ferri_metainfo::display::redact_url;
use serde::{Serialize, Serializer};

use crate::facts::Redacted;
use crate::progress::{queue_words, wait_words};

/// What happened, under the key `event`.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum JsonEvent<'a> {
    /// A magnet link's torrent is not known yet: what is waited for. Once a second, and when the words change.
    Searching {
        info_hash: &'a str,
        /// The link's name for it.
        name: Option<&'a str>,
        /// In words.
        message: &'a str,
        peers: usize,
        connecting: usize,
        /// Peers asked for parts that have not answered yet.
        asked: usize,
        /// Parts of the description that are here.
        parts: u32,
        /// Its parts in all, 0 while no peer told.
        part_count: u32,
        trackers: usize,
        trackers_failed: usize,
        seconds: f64,
    },
    /// A magnet link's torrent is known.
    Found { info_hash: &'a str, name: &'a str, seconds: f64, from_state: bool },
    /// A torrent was read and starts.
    Added {
        info_hash: &'a str,
        #[serde(flatten)]
        facts: Redacted<'a>,
        /// Bytes of the wanted files.
        wanted_size: u64,
        /// Where its file or folder is.
        path: &'a str,
    },
    /// What lies on disk is hashed.
    Checking { info_hash: &'a str, done: u64, total: u64 },
    /// Once a second, and when the state changes.
    Progress {
        info_hash: &'a str,
        #[serde(flatten)]
        progress: Progress<'a>,
    },
    /// A piece was verified and written, or failed its hash.
    Piece { info_hash: &'a str, piece: u32, ok: bool },
    /// Every piece of a file is verified.
    File { info_hash: &'a str, number: Option<usize>, path: &'a str },
    /// A tracker answered or failed.
    Tracker {
        info_hash: &'a str,
        /// Redacted: events end up in logs.
        #[serde(serialize_with = "redacted")]
        url: &'a str,
        seeders: Option<u32>,
        leechers: Option<u32>,
        peers: usize,
        error: Option<&'a str>,
    },
    /// Everything wanted is verified and on disk.
    Done {
        info_hash: &'a str,
        name: &'a str,
        path: &'a str,
        size: u64,
        downloaded: u64,
        uploaded: u64,
        wasted: u64,
        seconds: f64,
        /// Mean download rate, bytes a second.
        rate: u64,
        ratio: f64,
    },
    /// It is being served.
    Seeding { info_hash: &'a str, name: &'a str, size: u64, port: u16 },
    /// A source is read or fetched, which takes a while.
    Loading {
        /// In words.
        message: &'a str,
    },
    /// What is odd in a source and could be understood, or was left out.
    Warning { source: &'a str, message: &'a str },
    /// A program of `--on-done` ended; `message` says what went wrong, if anything did.
    OnDone {
        info_hash: &'a str,
        program: &'a str,
        code: Option<i32>,
        signal: Option<i32>,
        message: Option<&'a str>,
    },
    /// The command, or one of its sources, cannot go on.
    Failed {
        /// Which one, when there are several.
        source: Option<&'a str>,
        /// The exit code.
        code: u8,
        message: &'a str,
        hint: Option<&'a str>,
    },
    /// What became of several sources, in the order in which they were named.
    Summary { sources: &'a [SourceEnd] },
    /// Worth telling a person once.
    Note { info_hash: &'a str, message: &'a str },
    /// A disk or the network is in the way; the torrent waits if `recoverable`.
    Error {
        info_hash: &'a str,
        message: &'a str,
        recoverable: bool,
        /// Bytes missing on the device, when it is full.
        missing: Option<u64>,
    },
    /// Lines were left out: the reader took nothing for so long, or more happened at once than is kept.
    Lost { lines: u64 },
    /// Ended before the goal; `command` continues.
    Stopped { command: &'a str },
}

/// What became of a source.
#[derive(Debug, Serialize)]
pub(crate) struct SourceEnd {
    pub(crate) source: String,
    pub(crate) info_hash: Option<String>,
    /// `done`, `same`, `failed` or `stopped`.
    pub(crate) outcome: &'static str,
    /// As an exit code.
    pub(crate) code: u8,
    pub(crate) message: Option<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Progress<'a> {
    name: &'a str,
    state: &'static str,
    /// Verified bytes of the wanted pieces.
    done: u64,
    /// Bytes of the wanted pieces.
    size: u64,
    downloaded: u64,
    uploaded: u64,
    wasted: u64,
    /// Of all runs with this state folder, as `ratio` is.
    total_downloaded: u64,
    total_uploaded: u64,
    down_rate: u64,
    up_rate: u64,
    peers: usize,
    seeds: usize,
    pieces: u32,
    piece_count: u32,
    ratio: f64,
    /// Seconds, or null when it cannot be said.
    eta: Option<u64>,
    /// Why nothing comes, or null while it does.
    message: Option<String>,
}

impl<'a> Progress<'a> {
    pub(crate) fn new(status: &'a TorrentStatus) -> Self {
        Self {
            name: &status.name,
            state: state_word(&status.state),
            done: status.wanted_done,
            size: status.wanted,
            downloaded: status.downloaded,
            uploaded: status.uploaded,
            wasted: status.wasted,
            total_downloaded: status.all_time.downloaded,
            total_uploaded: status.all_time.uploaded,
            down_rate: status.down_rate,
            up_rate: status.up_rate,
            peers: status.peers,
            seeds: status.seeds,
            pieces: status.pieces_done,
            piece_count: status.pieces_total,
            ratio: status.ratio,
            eta: status.eta.map(|eta| eta.as_secs()),
            message: queue_words(status).or_else(|| Some(wait_words(status)?.1)),
        }
    }
}

fn redacted<S: Serializer>(url: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&redact_url(url))
}

/// One word a state, for scripts and for noticing a change.
pub(crate) fn state_word(state: &State) -> &'static str {
    match state {
        State::Resolving => "resolving",
        State::Checking { .. } => "checking",
        State::Downloading => "downloading",
        State::Seeding => "seeding",
        State::Paused => "paused",
        State::Error { .. } => "error",
        State::Stopped => "stopped",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use ferri_metainfo::Metainfo;

    use super::*;
    use crate::facts::Facts;
    use crate::json;

    #[test]
    fn events_tell_no_secrets_and_show_tells_everything() {
        let url = "https://t.example/0123456789abcdef/announce?key=abcabcabc";
        let torrent = format!(
            "d8:announce{}:{url}4:infod6:lengthi1e4:name1:n12:piece lengthi16384e6:pieces20:{}ee",
            url.len(),
            "x".repeat(20)
        );
        let facts = Facts::new(&Metainfo::parse(torrent.as_bytes()).unwrap());
        let added = JsonEvent::Added { info_hash: "", facts: facts.redacted(), wanted_size: 1, path: "n" };
        let (seeders, leechers, peers, error) = (None, None, 0, None);
        let tracker = JsonEvent::Tracker { info_hash: "", url, seeders, leechers, peers, error };
        for event in [added, tracker] {
            let line = json::line(&event).unwrap();
            assert!(line.contains("https://t.example/***/announce?***"), "{line}");
            assert!(!line.contains("0123456789abcdef") && !line.contains("abcabcabc"), "{line}");
        }
        assert!(json::line(&facts).unwrap().contains(url));
        let keys = |value: serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let (whole, redacted) = (serde_json::to_value(&facts), serde_json::to_value(facts.redacted()));
        assert_eq!(keys(whole.unwrap()), keys(redacted.unwrap()));
    }
}
