//! When regular announces may leave: so many a second to one tracker's host, and so many under way.
//!
//! A session with thousands of torrents has as many announces to make when it starts. Each takes a turn; those whose
//! turn is later wait for it (at rest, see `torrent/rest.rs`), so that a tracker sees a trickle and not a flood, and a
//! dead one costs a few sockets. What a person or the end of a torrent wants said does not wait.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ferri_tracker::url::authority;

/// Between two turns at one host. 5,000 torrents of one tracker take four minutes.
const SPACING: Duration = Duration::from_millis(50);
/// Turns that may be taken at once after a pause: a few torrents are nothing to be spread.
const BURST: u32 = 10;
/// Announces under way to one host, each with a socket of its own at worst.
const FLIGHTS_MAX: usize = 32;
/// Hosts remembered before those are forgotten that nothing is known of.
const HOSTS_MAX: usize = 256;

/// Whose turn it is.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    hosts: Mutex<BTreeMap<String, Host>>,
}

#[derive(Debug)]
struct Host {
    /// The next turn that nobody has.
    next: Instant,
    flights: usize,
}

/// An announce under way; over when dropped.
#[derive(Debug)]
pub(crate) struct Flight {
    pace: Arc<Pace>,
    host: String,
}

impl Pace {
    /// Asks for a turn at the tracker's host. `kept` is the turn that was given before.
    ///
    /// # Errors
    /// The instant to come again at, with it as `kept`.
    pub(crate) fn turn(&self, url: &str, kept: Option<Instant>, now: Instant) -> Result<(), Instant> {
        let mut hosts = self.lock();
        if HOSTS_MAX <= hosts.len() {
            hosts.retain(|_, host| 0 < host.flights || now < host.next);
        }
        let host = host_of(&mut hosts, url, now);
        host.next = host.next.max(now.checked_sub(SPACING * BURST).unwrap_or(now));
        let is_due = kept.is_some_and(|at| at <= now);
        if host.flights < FLIGHTS_MAX && (is_due || host.next < now) {
            if !is_due {
                host.next += SPACING;
            }
            return Ok(());
        }
        let at = host.next.max(now + SPACING);
        host.next = at + SPACING;
        Err(at)
    }

    /// Counts an announce to the tracker's host until the answer is dropped.
    pub(crate) fn flight(self: &Arc<Self>, url: &str, now: Instant) -> Flight {
        host_of(&mut self.lock(), url, now).flights += 1;
        Flight { pace: self.clone(), host: name(url).to_owned() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Host>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if let Some(host) = self.pace.lock().get_mut(&self.host) {
            host.flights = host.flights.saturating_sub(1);
        }
    }
}

fn host_of<'a>(hosts: &'a mut BTreeMap<String, Host>, url: &str, now: Instant) -> &'a mut Host {
    let fresh = || Host { next: now.checked_sub(SPACING * BURST).unwrap_or(now), flights: 0 };
    hosts.entry(name(url).to_owned()).or_insert_with(fresh)
}

/// What cannot be asked anyway has a line of its own.
fn name(url: &str) -> &str {
    authority(url).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "http://tracker.example:80/announce";

    #[test]
    fn a_few_announces_leave_at_once_and_many_one_after_the_other() {
        let (pace, now) = (Pace::default(), Instant::now());
        let turns: Vec<_> = (0..1000).map(|_| pace.turn(URL, None, now)).collect();
        let at_once = turns.iter().filter(|turn| turn.is_ok()).count();
        assert_eq!(at_once, BURST as usize);
        let waits: Vec<_> = turns.iter().filter_map(|turn| turn.err()).collect();
        assert!(waits.windows(2).all(|pair| pair[1] - pair[0] == SPACING));
        assert!(waits.iter().all(|at| pace.turn(URL, Some(*at), *at).is_ok()), "a turn is kept");
        assert_eq!(pace.turn("udp://other.example:6969", None, now), Ok(()), "each host by itself");
    }

    #[test]
    fn a_host_that_does_not_answer_holds_few_sockets() {
        let (pace, mut now) = (Arc::new(Pace::default()), Instant::now());
        let mut flights = Vec::new();
        let mut waiting: Vec<Instant> = vec![now; 500];
        for _ in 0..10_000 {
            now += SPACING;
            for kept in &mut waiting {
                if *kept <= now {
                    match pace.turn(URL, Some(*kept), now) {
                        Ok(()) => {
                            flights.push(pace.flight(URL, now));
                            *kept = now + Duration::from_secs(86400);
                        }
                        Err(at) => *kept = at,
                    }
                }
            }
        }
        assert_eq!(flights.len(), FLIGHTS_MAX);
        flights.clear();
        assert_eq!(pace.turn(URL, Some(now), now), Ok(()));
    }
}
