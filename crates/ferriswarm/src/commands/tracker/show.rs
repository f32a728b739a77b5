//! What a tracker shows while it runs.

use std::time::Duration;

use ferri_tracker_server::{Notice, Requests, TrackerServer};

use crate::args::AccessArgs;
use crate::console::Console;
use crate::units;

/// Where it is, in words that can be copied into a torrent.
pub(super) fn greeting(console: &Console, server: &TrackerServer, access: &AccessArgs) {
    let urls = server.announce_urls();
    let key = if access.passkeys.is_some() { "KEY/announce" } else { "announce" };
    for (number, url) in urls.iter().enumerate() {
        let label = if number == 0 { "tracker" } else { "" };
        let url = url.strip_suffix("announce").unwrap_or(url);
        console.line(&format!("{label:<7}  {url}{key}"));
    }
    // Clients come through the proxy, and cannot reach these addresses.
    let is_proxied = !access.behind_proxy.is_empty();
    if is_proxied {
        console.line("in torrents, put the proxy's public address in the place of this one: clients come through the proxy");
    }
    if let Some(url) = server.stats_urls().first() {
        console.line(&format!("stats    {url}"));
    }
    server.lists().iter().for_each(|list| notice(console, list));
    if !is_proxied && server.places().iter().all(|(addr, _)| addr.ip().is_loopback()) {
        console.line("only this machine can reach it; --listen 0.0.0.0:6969 serves others");
    }
}

/// Something that the operator should know.
pub(super) fn notice(console: &Console, notice: &Notice) {
    if notice.is_bad() {
        console.warn(&notice.to_string());
    } else {
        console.line(&crate::text::harmless(&notice.to_string()));
    }
}

pub(super) fn counts(server: &TrackerServer) -> String {
    let (swarms, peers) = server.counts();
    format!(
        "{}, {}",
        units::count(swarms as u64, "swarm", "swarms"),
        units::count(peers as u64, "peer", "peers")
    )
}

/// What the counters were when they were last looked at.
#[derive(Debug, Default)]
pub(super) struct Rates {
    before: Option<[u64; 3]>,
}

impl Rates {
    /// The line that is rewritten in place.
    pub(super) fn line(&mut self, server: &TrackerServer, every: Duration) -> String {
        let counters = server.counters();
        let all = |requests: &[Requests]| {
            requests.iter().map(|requests| requests.connects + requests.announces + requests.scrapes).sum()
        };
        let now = [all(&counters.udp), all(&counters.http), counters.refused()];
        let before = self.before.replace(now).unwrap_or(now);
        let rate = |at: usize| now[at].saturating_sub(before[at]) / every.as_secs().max(1);
        format!(
            "{}; answers a second: {} UDP, {} HTTP; {} refused",
            counts(server),
            rate(0),
            rate(1),
            rate(2)
        )
    }
}
