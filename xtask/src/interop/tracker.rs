//! Trackers for the tests: Debian's opentracker, and our own.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;

use super::payload::info_hash;
use crate::clients::Tools;
use crate::http;
use crate::lab::{self, Host, Process};
use crate::opentracker;

const PORT: u16 = 6969;

/// From a tracker's start to its first answer, and from a client's to its first announce.
const LIMIT: Duration = Duration::from_secs(60);

/// Which tracker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Debian's.
    Opentracker,
    /// `ferriswarm tracker`.
    Ours,
}

/// How clients talk to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// BEP 3.
    Http,
    /// BEP 15.
    Udp,
}

impl Protocol {
    /// For the names of cases.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Udp => "udp",
        }
    }
}

/// A running tracker on a host of its own.
#[derive(Debug)]
pub(crate) struct Tracker {
    process: Process,
    host: Arc<Host>,
    /// The info hash as a URL has it.
    escaped: String,
}

impl Tracker {
    /// Starts a tracker that serves this torrent (opentracker as Debian builds it takes listed torrents only).
    ///
    /// # Errors
    /// When it does not start or does not answer.
    pub(crate) fn start(kind: Kind, host: Host, home: &Path, torrent: &Path, tools: &Tools) -> Result<Self> {
        fs::create_dir_all(home)?;
        let hash = info_hash(torrent)?;
        let escaped =
            hash.as_bytes().chunks(2).map(|pair| format!("%{}", String::from_utf8_lossy(pair))).collect();
        let mut command = match kind {
            Kind::Opentracker => {
                let listen = (host.address(), PORT).into();
                opentracker::command(home, listen, &hash, |program| host.command(program))?
            }
            Kind::Ours => {
                let mut command = host.command(&tools.ferriswarm);
                command.args(["tracker", "--no-state", "--listen", &format!("{}:{PORT}", host.address())]);
                command
            }
        };
        command.current_dir(home);
        let process = Process::start(&mut command, &home.join("log"))?;
        let mut tracker = Self { process, host: Arc::new(host), escaped };
        lab::wait_until(LIMIT, "the tracker", || {
            tracker.process.ensure_running()?;
            Ok(tracker.scrape().is_some())
        })?;
        Ok(tracker)
    }

    /// What a torrent's `announce` says.
    pub(crate) fn url(&self, protocol: Protocol) -> String {
        match protocol {
            Protocol::Http => format!("http://{}/announce", self.address()),
            Protocol::Udp => format!("udp://{}/announce", self.address()),
        }
    }

    /// Waits until so many seeds, and so many leechers, have announced themselves.
    ///
    /// # Errors
    /// When they do not come.
    pub(crate) fn wait_for(&self, seeds: u64, leechers: u64) -> Result<()> {
        lab::wait_until(LIMIT, &format!("{seeds} seeds and {leechers} leechers at the tracker"), || {
            Ok(self
                .scrape()
                .is_some_and(|(complete, incomplete)| complete >= seeds && incomplete >= leechers))
        })
    }

    fn address(&self) -> SocketAddr {
        (self.host.address(), PORT).into()
    }

    /// Complete and incomplete peers; zeros while the torrent is unknown.
    fn scrape(&self) -> Option<(u64, u64)> {
        let answer = http::get(self.address(), &format!("/scrape?info_hash={}", self.escaped)).ok()?;
        let number = |key: &str| number_after(&answer.body, key).unwrap_or(0);
        (answer.status == 200).then(|| (number("8:completei"), number("10:incompletei")))
    }
}

fn number_after(bytes: &[u8], key: &str) -> Option<u64> {
    let at = bytes.windows(key.len()).position(|window| window == key.as_bytes())? + key.len();
    let digits = bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&bytes[at..at + digits]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::number_after;

    #[test]
    fn numbers_of_a_scrape_are_found() {
        let body = b"d5:filesd20:aaaaaaaaaaaaaaaaaaaad8:completei1e10:downloadedi0e10:incompletei22eeee";
        assert_eq!(number_after(body, "8:completei"), Some(1));
        assert_eq!(number_after(body, "10:incompletei"), Some(22));
        assert_eq!(number_after(body, "5:other"), None);
    }
}
