//! When regular announces may leave: so many a second to one tracker's host, and so many under way.
//!
//! A session with thousands of torrents has as many announces to make when it starts. Each takes a turn; those whose turn is
//! later wait for it, so that a tracker sees a trickle and not a flood, and a dead one costs a few sockets. One machine for all
//! torrents of a session, without I/O or clock; each torrent's [`Schedule`](crate::Schedule) asks it
//! ([`Output::WantTurn`](crate::Output::WantTurn)) and is told by [`Input::Turn`](crate::Input::Turn). What a person or the
//! end of a torrent wants said does not wait.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use ferri_metainfo::InfoHash;

/// Between two turns at one host. 5,000 torrents of one tracker take four minutes.
pub const SPACING: Duration = Duration::from_millis(50);
/// Turns that may be taken at once after a pause: a few torrents are nothing to be spread.
pub const BURST: u32 = 10;
/// Announces under way to one host, each with a socket of its own at worst.
pub const FLIGHTS_MAX: usize = 32;
/// Hosts remembered before those are forgotten that nothing is known of.
const HOSTS_MAX: usize = 256;

/// What happens to the pace of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Input {
    /// A torrent has something regular to say to a host. [`Output::Turn`] answers it at once.
    Ask {
        /// Which torrent.
        torrent: InfoHash,
        /// Host and port of the tracker, as its URL has them.
        host: String,
        /// It was given a turn, which has come. It keeps it, if there is room for one more announce.
        had: bool,
    },
    /// An announce left for a host, with a turn or without.
    Begun {
        /// Which.
        host: String,
    },
    /// An announce to a host is over, however it went.
    Over {
        /// Which.
        host: String,
    },
}

/// What the pace says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// The answer to [`Input::Ask`].
    Turn {
        /// Whose turn.
        torrent: InfoHash,
        /// Nothing: it may announce. Else it is to ask again after this time, with `had`.
        wait: Duration,
    },
}

/// Whose turn it is.
#[derive(Debug, Default)]
pub struct Pace {
    hosts: BTreeMap<String, Host>,
    outputs: VecDeque<Output>,
}

#[derive(Debug)]
struct Host {
    /// The next turn that is free.
    next: Instant,
    flights: usize,
}

impl Pace {
    /// Takes note of what happened.
    pub fn handle(&mut self, input: Input, now: Instant) {
        match input {
            Input::Ask { torrent, host, had } => {
                let wait = self.ask(host, had, now);
                self.outputs.push_back(Output::Turn { torrent, wait });
            }
            Input::Begun { host } => self.host(host, now).flights += 1,
            Input::Over { host } => {
                if let Some(host) = self.hosts.get_mut(&host) {
                    host.flights = host.flights.saturating_sub(1);
                }
            }
        }
    }

    /// What to do; ask until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Always `None`: those who wait ask again by themselves.
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    fn ask(&mut self, host: String, had: bool, now: Instant) -> Duration {
        if HOSTS_MAX <= self.hosts.len() {
            self.hosts.retain(|_, host| 0 < host.flights || now < host.next);
        }
        let host = self.host(host, now);
        host.next = host.next.max(rested(now));
        if host.flights < FLIGHTS_MAX && (had || host.next < now) {
            if !had {
                host.next += SPACING;
            }
            return Duration::ZERO;
        }
        let at = host.next.max(now + SPACING);
        host.next = at + SPACING;
        at - now
    }

    fn host(&mut self, name: String, now: Instant) -> &mut Host {
        self.hosts.entry(name).or_insert_with(|| Host { next: rested(now), flights: 0 })
    }
}

/// A host that heard nothing for long: several turns may be taken at once.
fn rested(now: Instant) -> Instant {
    now.checked_sub(SPACING * BURST).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const HOST: &str = "tracker.example:80";

    fn ask(pace: &mut Pace, host: &str, had: bool, now: Instant) -> Duration {
        let torrent = InfoHash::from([7; 20]);
        pace.handle(Input::Ask { torrent, host: host.to_owned(), had }, now);
        let Some(Output::Turn { torrent: told, wait }) = pace.poll_output() else { panic!("no answer") };
        assert_eq!((told, pace.poll_output()), (torrent, None));
        wait
    }

    #[test]
    fn a_few_announces_leave_at_once_and_many_one_after_the_other() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        let waits: Vec<_> = (0..1000).map(|_| ask(&mut pace, HOST, false, now)).collect();
        let at_once = waits.iter().filter(|wait| wait.is_zero()).count();
        assert_eq!(at_once, BURST as usize);
        assert!(waits[at_once..].windows(2).all(|pair| pair[1] - pair[0] == SPACING));
        assert!(waits.iter().all(|wait| ask(&mut pace, HOST, true, now + *wait).is_zero()), "a turn is kept");
        assert!(ask(&mut pace, "other.example:6969", false, now).is_zero(), "each host by itself");
    }

    #[test]
    fn a_host_that_does_not_answer_has_few_announces_under_way() {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        let mut under_way = 0;
        let mut waiting: Vec<Option<Instant>> = vec![Some(now); 500];
        for _ in 0..10_000 {
            now += SPACING;
            for due in waiting.iter_mut().filter(|due| due.is_some_and(|at| at <= now)) {
                let wait = ask(&mut pace, HOST, true, now);
                *due = (!wait.is_zero()).then(|| now + wait);
                if wait.is_zero() {
                    under_way += 1;
                    pace.handle(Input::Begun { host: HOST.to_owned() }, now);
                }
            }
        }
        assert_eq!(under_way, FLIGHTS_MAX);
        for _ in 0..under_way + 5 {
            pace.handle(Input::Over { host: HOST.to_owned() }, now);
        }
        assert!(ask(&mut pace, HOST, true, now).is_zero());
    }

    #[test]
    fn hosts_that_are_at_rest_are_forgotten() {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        pace.handle(Input::Begun { host: HOST.to_owned() }, now);
        for n in 0..10_000 {
            now += Duration::from_secs(1);
            ask(&mut pace, &format!("{n}.example:80"), false, now);
        }
        assert!(pace.hosts.len() <= HOSTS_MAX + 1 && pace.hosts.contains_key(HOST));
    }
}
