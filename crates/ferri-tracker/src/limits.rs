//! Every bound of this crate, in one place, each with its reason.

use std::time::Duration;

/// Bytes of an HTTP answer that are read, after decompression. 2,000 peers in the wordy form are 200 KiB; the rest is
/// room for trackers that send everything they know. The caller that reads the body stops here.
pub const RESPONSE_BYTES_MAX: usize = 2 << 20;

/// Peers taken from one answer. More than any client dials before it announces again.
pub const PEERS_MAX: usize = 2_000;

/// The shortest time between two announces to one tracker, whatever it says.
pub const INTERVAL_MIN: Duration = Duration::from_secs(60);

/// The longest interval a tracker may ask for: it forgets us, or we it, long before.
pub const INTERVAL_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The interval of a tracker that names none.
pub const INTERVAL_DEFAULT: Duration = Duration::from_secs(30 * 60);

/// How soon a tracker that names no `min interval` is asked again when peers run short.
pub const MIN_INTERVAL_DEFAULT: Duration = Duration::from_secs(5 * 60);

/// The first wait after a failure; it doubles with each further one.
pub const BACKOFF_FIRST: Duration = Duration::from_secs(15);

/// The longest wait after failures.
pub const BACKOFF_MAX: Duration = Duration::from_secs(30 * 60);

/// The shortest `Retry-After` that is obeyed once. A server that is still busy then is asked ever more rarely.
pub const RETRY_AFTER_MIN: Duration = Duration::from_secs(1);

/// How long a family waits that a tracker's name does not have, or that we do not have.
pub const NO_WAY_WAIT: Duration = BACKOFF_MAX;

/// The time one announce or scrape may take in all: name look-up, connecting, redirects and reading.
pub const REQUEST_TIME_MAX: Duration = Duration::from_secs(30);

/// Redirects followed for one request.
pub const REDIRECTS_MAX: usize = 5;

/// Bytes kept of a reason, warning or error that a tracker sends. Longer ones are cut.
pub const TEXT_BYTES_MAX: usize = 1024;

/// Characters of a page that is no tracker's answer, shown so that a person recognises it.
pub const EXCERPT_CHARS_MAX: usize = 80;

/// Bytes of a tracker id that are kept and sent back. A longer one is forgotten, not cut: half an id is a wrong id.
pub const TRACKER_ID_BYTES_MAX: usize = 512;

/// Bytes of a tracker's URL, and of a query that our own tracker reads.
pub const URL_BYTES_MAX: usize = 8 << 10;

/// Trackers of one torrent. Torrents that collect them list hundreds, of which a handful live.
pub const TRACKERS_MAX: usize = 200;

/// Info hashes in one scrape; more do not fit a datagram (BEP 15).
pub const SCRAPE_MAX: usize = 74;
