//! What a client tells a tracker and what it hears, whichever way the two talk ([BEP 3], [15], [21], [24], [31]).
//!
//! [BEP 3]: https://www.bittorrent.org/beps/bep_0003.html
//! [15]: https://www.bittorrent.org/beps/bep_0015.html
//! [21]: https://www.bittorrent.org/beps/bep_0021.html
//! [24]: https://www.bittorrent.org/beps/bep_0024.html
//! [31]: https://www.bittorrent.org/beps/bep_0031.html

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ferri_metainfo::InfoHash;
use ferri_metainfo::display::redact_words;

use crate::limits::{
    INTERVAL_MAX, INTERVAL_MIN, REQUEST_TIME_MAX, RESPONSE_BYTES_MAX, RETRY_AFTER_MIN, TEXT_BYTES_MAX,
};

/// One announce: who we are and how far we have come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announce {
    /// The swarm.
    pub info_hash: InfoHash,
    /// Our peer id, the one of our handshakes.
    pub peer_id: [u8; 20],
    /// Where we listen for peers. 0 when we do not.
    pub port: u16,
    /// Payload bytes sent to peers since `started`.
    pub uploaded: u64,
    /// Payload bytes received from peers since `started`.
    pub downloaded: u64,
    /// Bytes that the torrent has and we have not. Above `i64::MAX` it is sent as that.
    pub left: u64,
    /// What happened; `None` for the announce that is merely due.
    pub event: Option<Event>,
    /// Peers wanted; `None` leaves it to the tracker.
    pub numwant: Option<u32>,
    /// A number that only we and the tracker know: it shows that we are still we when our address has changed.
    pub key: u32,
    /// What the tracker gave us to give back (HTTP only).
    pub tracker_id: Option<Vec<u8>>,
    /// An address of ours that the tracker cannot see. Hardly any tracker believes it, and BEP 7 advises against it.
    pub ip: Option<IpAddr>,
}

impl Announce {
    /// An announce with nothing to report yet.
    pub fn new(info_hash: InfoHash, peer_id: [u8; 20], port: u16) -> Self {
        Self {
            info_hash,
            peer_id,
            port,
            uploaded: 0,
            downloaded: 0,
            left: 0,
            event: None,
            numwant: None,
            key: 0,
            tracker_id: None,
            ip: None,
        }
    }
}

/// The occasion of an announce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// We join the swarm.
    Started,
    /// The last piece has come. Not for those who had everything when they joined (BEP 3).
    Completed,
    /// We leave the swarm.
    Stopped,
    /// We lack pieces but want none of them: a partial seed, said at every announce (BEP 21). UDP has no code for it.
    Paused,
}

impl Event {
    /// The value of the HTTP parameter `event`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Completed => "completed",
            Self::Stopped => "stopped",
            Self::Paused => "paused",
        }
    }

    /// The event with this name. `None` for other names, among them the empty one.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        [Self::Started, Self::Completed, Self::Stopped, Self::Paused]
            .into_iter()
            .find(|event| event.as_str().as_bytes() == name)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a tracker answers to an announce. Text is as it came, cut to [`TEXT_BYTES_MAX`]; a caller that shows it
/// sanitises it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct AnnounceResponse {
    /// When to announce again, between [`INTERVAL_MIN`] and [`INTERVAL_MAX`].
    pub interval: Duration,
    /// How soon we may announce again when peers run short, within the same bounds.
    pub min_interval: Option<Duration>,
    /// Addresses that can be peers, each once, IPv4 and IPv6, at most [`PEERS_MAX`](crate::limits::PEERS_MAX).
    pub peers: Vec<SocketAddr>,
    /// Peers that have everything (`complete`).
    pub seeders: Option<u32>,
    /// Peers that have not (`incomplete`).
    pub leechers: Option<u32>,
    /// How often the torrent was ever completed.
    pub downloaded: Option<u32>,
    /// To be sent back with the next announce.
    pub tracker_id: Option<Vec<u8>>,
    /// A remark for the user; the announce was accepted all the same.
    pub warning: Option<String>,
    /// The address the tracker saw us at (BEP 24).
    pub external_ip: Option<IpAddr>,
}

impl AnnounceResponse {
    /// An answer without peers.
    pub fn new(interval: Duration) -> Self {
        Self {
            interval,
            min_interval: None,
            peers: Vec::new(),
            seeders: None,
            leechers: None,
            downloaded: None,
            tracker_id: None,
            warning: None,
            external_ip: None,
        }
    }
}

/// What a tracker knows of one swarm (BEP 48).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Scrape {
    /// Peers that have everything (`complete`).
    pub seeders: u32,
    /// Peers that have not (`incomplete`).
    pub leechers: u32,
    /// How often the torrent was ever completed.
    pub downloaded: u32,
    /// Those of `leechers` that still want something (BEP 21); `None` when the tracker does not tell them apart.
    pub downloaders: Option<u32>,
}

/// Why an announce or a scrape brought nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum TrackerError {
    /// The tracker understood and refused. `reason` is as it came, cut to [`TEXT_BYTES_MAX`].
    #[error("the tracker refused: {reason}")]
    Failure {
        /// The tracker's words.
        reason: String,
        /// When it may be asked again.
        retry_in: RetryIn,
    },
    /// Something answered that is no tracker, or one that is confused.
    #[error("not a tracker's answer: {why}")]
    Malformed {
        /// What is wrong, with a sanitised excerpt where that helps.
        why: String,
    },
    /// An HTTP status other than 200, and no tracker's answer with it.
    #[error("HTTP status {status}: {excerpt}")]
    Status {
        /// The status code.
        status: u16,
        /// How the body begins, sanitised.
        excerpt: String,
        /// How long it wants to be left alone (`Retry-After`), when it says.
        retry_after: Option<Duration>,
    },
    /// The body went on beyond [`RESPONSE_BYTES_MAX`].
    #[error("the answer is longer than {} MiB", RESPONSE_BYTES_MAX >> 20)]
    TooLong,
    /// The tracker cannot have seen the request: no such name, connection refused, no answer to a connect request.
    #[error("cannot be reached: {why}")]
    Unreachable {
        /// What failed, in words.
        why: String,
    },
    /// There is no way by the family that was asked for: the tracker has no address of it, or this machine has none.
    #[error("cannot be reached: {why}")]
    NoWay {
        /// What is missing, in words.
        why: String,
    },
    /// The tracker may have seen the request, but did not answer in time.
    #[error("no answer within {} seconds", REQUEST_TIME_MAX.as_secs())]
    TimedOut,
    /// The URL cannot be announced to.
    #[error("unusable tracker URL: {why}")]
    BadUrl {
        /// What is wrong with it.
        why: String,
    },
}

impl TrackerError {
    /// The same without the secrets of `url`, under which the tracker was asked and which it may repeat.
    #[must_use]
    pub fn without_secrets(mut self, url: &str) -> Self {
        match &mut self {
            Self::Failure { reason: words, .. }
            | Self::Malformed { why: words }
            | Self::Status { excerpt: words, .. }
            | Self::Unreachable { why: words }
            | Self::NoWay { why: words }
            | Self::BadUrl { why: words } => *words = redact_words(words, url),
            Self::TooLong | Self::TimedOut => {}
        }
        self
    }

    /// The same from a server whose HTTP header says how long it wants to be left alone.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Option<Duration>) -> Self {
        match (&mut self, wait) {
            (Self::Status { retry_after, .. }, _) => *retry_after = wait,
            (Self::Failure { retry_in: retry_in @ RetryIn::Unspecified, .. }, Some(wait)) => {
                *retry_in = RetryIn::After(wait);
            }
            _ => {}
        }
        self
    }

    /// Whether the tracker may have taken note of the request that failed like this.
    pub fn may_have_been_seen(&self) -> bool {
        match self {
            Self::Failure { .. } | Self::Unreachable { .. } | Self::NoWay { .. } | Self::BadUrl { .. } => {
                false
            }
            Self::Malformed { .. } | Self::Status { .. } | Self::TooLong | Self::TimedOut => true,
        }
    }
}

impl TrackerError {
    /// Of two families that failed, the one whose error says more.
    pub(crate) fn or_more_telling(self, other: Self) -> Self {
        let rank = |error: &Self| match error {
            Self::NoWay { .. } | Self::BadUrl { .. } => 0,
            Self::Unreachable { .. } => 1,
            Self::TimedOut => 2,
            Self::Malformed { .. } | Self::Status { .. } | Self::TooLong => 3,
            Self::Failure { .. } => 4,
        };
        if rank(&self) < rank(&other) { other } else { self }
    }

    /// How long the tracker wants to be left alone.
    pub(crate) fn wish(&self) -> Option<Duration> {
        match self {
            Self::Failure { retry_in: RetryIn::After(wait), .. } => {
                Some((*wait).clamp(INTERVAL_MIN, INTERVAL_MAX))
            }
            Self::Status { retry_after, .. } => {
                retry_after.map(|wait| wait.clamp(RETRY_AFTER_MIN, INTERVAL_MAX))
            }
            _ => None,
        }
    }
}

/// When a tracker that refused may be asked again (BEP 31).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum RetryIn {
    /// It did not say.
    #[default]
    Unspecified,
    /// After this time.
    After(Duration),
    /// Never.
    Never,
}

/// A tracker's interval in seconds, forced into [`INTERVAL_MIN`]..=[`INTERVAL_MAX`].
pub(crate) fn interval_from_seconds(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0)).clamp(INTERVAL_MIN, INTERVAL_MAX)
}

/// Text from outside, cut to [`TEXT_BYTES_MAX`]; what is not UTF-8 in it is replaced.
pub(crate) fn bounded_text(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(TEXT_BYTES_MAX)];
    let mut text = String::with_capacity(cut.len());
    for chunk in cut.utf8_chunks() {
        text.push_str(chunk.valid());
        // A character cut in two at the end is left out rather than shown as damaged.
        let is_cut = cut.len() < bytes.len() && cut.ends_with(chunk.invalid());
        if !chunk.invalid().is_empty() && !is_cut {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn intervals_that_lie_are_brought_within_bounds() {
        for (said, seconds) in [(-1, 60), (0, 60), (59, 60), (61, 61), (86_401, 86_400), (i64::MAX, 86_400)] {
            assert_eq!(interval_from_seconds(said), Duration::from_secs(seconds), "{said}");
        }
        assert_eq!(interval_from_seconds(i64::MIN), INTERVAL_MIN);
    }

    #[test]
    fn text_is_cut_between_characters() {
        let text = bounded_text("ä".repeat(TEXT_BYTES_MAX).as_bytes());
        assert_eq!(text, "ä".repeat(TEXT_BYTES_MAX / 2));
        let text = bounded_text(format!("a{}", "ä".repeat(TEXT_BYTES_MAX)).as_bytes());
        assert!(text.ends_with('ä') && text.len() == TEXT_BYTES_MAX - 1);
        assert_eq!(bounded_text(b"caf\xe9!"), "caf\u{fffd}!");
        assert_eq!(bounded_text(b"caf\xe9"), "caf\u{fffd}");
    }

    #[test]
    fn every_event_is_found_by_its_name() {
        for event in [Event::Started, Event::Completed, Event::Stopped, Event::Paused] {
            assert_eq!(Event::from_name(event.to_string().as_bytes()), Some(event));
        }
        assert_eq!(Event::from_name(b""), None);
        assert_eq!(Event::from_name(b"empty"), None);
    }
}
