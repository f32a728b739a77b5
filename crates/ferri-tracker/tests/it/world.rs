//! A schedule among scripted trackers, with a clock of its own: hours pass in microseconds. Watches the rules that hold
//! at any moment.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ferri_metainfo::InfoHash;
use ferri_tracker::limits::BACKOFF_FIRST;
use ferri_tracker::schedule::OWED_TIME;
use ferri_tracker::{
    Announce, AnnounceResponse, Event, Input, Notice, Output, Schedule, ScheduleOptions, TrackerError,
    TrackerId, udp::Family,
};

pub(crate) const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

pub(crate) const fn minutes(count: u64) -> Duration {
    seconds(60 * count)
}

pub(crate) const fn hours(count: u64) -> Duration {
    minutes(60 * count)
}

/// How long a tracker takes, and what it says then.
pub(crate) type Reaction = (Duration, Result<AnnounceResponse, TrackerError>);

type Script = Box<dyn FnMut(&Announce, Duration) -> Reaction>;

/// Says how long a torrent waits for its turn, told whether it had one.
type Turns = Box<dyn FnMut(bool) -> Duration>;

/// An announce that was sent.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    /// Since the world began.
    pub(crate) at: Duration,
    pub(crate) url: String,
    pub(crate) family: Family,
    pub(crate) announce: Announce,
    pub(crate) answered: bool,
}

pub(crate) struct World {
    pub(crate) schedule: Schedule,
    begin: Instant,
    now: Instant,
    scripts: BTreeMap<String, Script>,
    /// By IPv6. A tracker without one has no such address.
    scripts6: BTreeMap<String, Script>,
    /// Of a schedule that is paced. Without it every turn is ours.
    turns: Option<Turns>,
    /// Until when a session that was stopped may still be ending.
    leaving_until: Instant,
    pending: BTreeMap<(Instant, TrackerId), (usize, Result<AnnounceResponse, TrackerError>)>,
    pub(crate) sent: Vec<Sent>,
    pub(crate) peers: usize,
    pub(crate) notices: Vec<Notice>,
    /// Trackers that an edit took off the list, with what was sent to anyone until then. One that is listed again is asked at
    /// once if it never knew us.
    unlisted: BTreeMap<String, usize>,
    /// When each [`Output::Stopped`] came.
    pub(crate) stopped: Vec<Duration>,
    pub(crate) cancelled: usize,
    /// The shortest time between an announce that failed and the next one.
    pub(crate) patience: Duration,
}

pub(crate) fn options() -> ScheduleOptions {
    ScheduleOptions::new(InfoHash::from([1; 20]), *b"-FS0001-000000000000", 6881)
}

impl World {
    pub(crate) fn new(tiers: &[&[&str]]) -> Self {
        Self::with_options(tiers, options(), 1)
    }

    pub(crate) fn with_options(tiers: &[&[&str]], options: ScheduleOptions, seed: u64) -> Self {
        let tiers = tiers.iter().map(|tier| tier.iter().map(|name| url(name)).collect()).collect();
        let now = Instant::now();
        let mut world = Self {
            schedule: Schedule::new(tiers, seed, options, now),
            begin: now,
            now,
            scripts: BTreeMap::new(),
            scripts6: BTreeMap::new(),
            turns: None,
            leaving_until: now,
            pending: BTreeMap::new(),
            sent: Vec::new(),
            peers: 0,
            notices: Vec::new(),
            unlisted: BTreeMap::new(),
            stopped: Vec::new(),
            cancelled: 0,
            patience: BACKOFF_FIRST,
        };
        world.input(Input::Stats { uploaded: 0, downloaded: 0, left: 1000 });
        world
    }

    /// Has a tracker react like this to every announce; the second argument is the time since the world began.
    pub(crate) fn tracker(
        &mut self,
        name: &str,
        script: impl FnMut(&Announce, Duration) -> Reaction + 'static,
    ) {
        self.scripts.insert(url(name), Box::new(script));
    }

    /// The same by IPv6.
    pub(crate) fn tracker6(
        &mut self,
        name: &str,
        script: impl FnMut(&Announce, Duration) -> Reaction + 'static,
    ) {
        self.scripts6.insert(url(name), Box::new(script));
    }

    /// Has turns given like this.
    pub(crate) fn turns(&mut self, turns: impl FnMut(bool) -> Duration + 'static) {
        self.turns = Some(Box::new(turns));
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.now - self.begin
    }

    pub(crate) fn input(&mut self, input: Input) {
        if matches!(input, Input::Stop) {
            self.leaving_until = self.now + OWED_TIME;
        }
        if let Input::SetTrackers { tiers, beside } = &input {
            let is_listed = |url: &String| tiers.iter().flatten().chain(beside).any(|listed| listed == url);
            let gone = self.sent.iter().map(|sent| &sent.url).filter(|url| !is_listed(url));
            let gone: Vec<_> = gone.map(|url| (url.clone(), self.sent.len())).collect();
            self.unlisted.extend(gone);
        }
        self.schedule.handle(input, self.now);
        self.drain();
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        for turn in 0.. {
            assert!(turn < 50_000, "time stands still");
            let answer = self.pending.first_key_value().map(|((at, _), _)| *at);
            let timeout = self.schedule.poll_timeout();
            let Some(next) = answer.into_iter().chain(timeout).min().filter(|&next| next <= end) else {
                break;
            };
            assert!(self.now <= next, "a timeout in the past");
            self.now = next;
            if answer == Some(next) {
                let ((_, tracker), (index, result)) = self.pending.pop_first().unwrap();
                if let Some(sent) = self.sent.get_mut(index) {
                    sent.answered = result.is_ok();
                }
                self.schedule.handle(Input::Answer { tracker, result }, next);
                self.drain();
            } else {
                self.schedule.handle(Input::Timeout, next);
                self.drain();
                assert!(
                    self.schedule.poll_timeout().is_none_or(|at| next < at),
                    "a timeout that changes nothing"
                );
            }
        }
        self.now = end;
    }

    fn drain(&mut self) {
        while let Some(output) = self.schedule.poll_output() {
            match output {
                Output::Announce { tracker, url, family, announce } => {
                    self.announce(tracker, url, family, announce);
                }
                Output::Cancel { tracker } => {
                    self.pending.retain(|(_, other), _| *other != tracker);
                    self.cancelled += 1;
                }
                Output::WantTurn { host, had } => {
                    assert!(!host.contains('/'), "{host}");
                    let wait = self.turns.as_mut().map_or(Duration::ZERO, |turns| turns(had));
                    self.schedule.handle(Input::Turn { wait }, self.now);
                }
                Output::Peers(peers) => self.peers += peers.len(),
                Output::Event(notice) => self.notices.push(notice),
                Output::Stopped => self.stopped.push(self.elapsed()),
                Output::Scrape { .. } => {}
            }
        }
    }

    fn announce(&mut self, tracker: TrackerId, url: String, family: Family, announce: Announce) {
        let at = self.elapsed();
        if family == Family::V6 && !self.scripts6.contains_key(&url) {
            let no_way = Err(TrackerError::NoWay { why: "no such address".to_owned() });
            self.pending.insert((self.now, tracker), (usize::MAX, no_way));
            return;
        }
        let is_same = |sent: &&Sent| sent.url == url && sent.family == family;
        let in_flight =
            self.pending.values().any(|(index, _)| self.sent.get(*index).as_ref().is_some_and(is_same));
        assert!(!in_flight, "two announces to {url} at once");
        let is_owed = matches!(announce.event, Some(Event::Started | Event::Completed));
        let since = self.unlisted.get(&url).copied().unwrap_or(0);
        let earlier = self.sent[since..].iter().rev().find(is_same);
        if let Some(earlier) = earlier {
            // `stopped` is said at once, and after it everything begins anew.
            let least = match (earlier.announce.event, announce.event) {
                (Some(Event::Stopped), _) | (_, Some(Event::Stopped)) => Duration::ZERO,
                _ if is_owed && self.now <= self.leaving_until => Duration::ZERO,
                _ if !earlier.answered => self.patience,
                (_, None | Some(Event::Paused)) => minutes(1),
                _ => Duration::ZERO,
            };
            assert!(earlier.at + least <= at, "{url} asked again after {:?}", at - earlier.at);
        }
        let scripts = if family == Family::V4 { &mut self.scripts } else { &mut self.scripts6 };
        let (delay, result) = match scripts.get_mut(&url) {
            Some(script) => script(&announce, at),
            None => dead(),
        };
        self.pending.insert((self.now + delay, tracker), (self.sent.len(), result));
        self.sent.push(Sent { at, url, family, announce, answered: false });
    }

    /// As [`Self::log`], by IPv6.
    pub(crate) fn log6(&self, name: &str) -> Vec<(u64, Option<Event>)> {
        self.log_by(name, Family::V6)
    }

    /// Announces to a tracker: when, in seconds, and what event.
    pub(crate) fn log(&self, name: &str) -> Vec<(u64, Option<Event>)> {
        self.log_by(name, Family::V4)
    }

    fn log_by(&self, name: &str, family: Family) -> Vec<(u64, Option<Event>)> {
        let url = url(name);
        let sent = self.sent.iter().filter(|sent| sent.url == url && sent.family == family);
        sent.map(|sent| (sent.at.as_secs(), sent.announce.event)).collect()
    }

    /// Announces of this event to a tracker, those answered only.
    pub(crate) fn heard(&self, name: &str, event: Event) -> usize {
        let url = url(name);
        let heard = |sent: &&Sent| sent.url == url && sent.answered && sent.announce.event == Some(event);
        self.sent.iter().filter(heard).count()
    }

    pub(crate) fn last(&self) -> &Announce {
        &self.sent.last().unwrap().announce
    }
}

pub(crate) fn url(name: &str) -> String {
    if name.contains(':') { name.to_owned() } else { format!("http://{name}/announce") }
}

/// A tracker that answers at once with so many peers.
pub(crate) fn alive(interval: Duration, peers: u8) -> Reaction {
    let peers = (0..peers).map(|last| ([10, 0, 0, last], 6881).into()).collect();
    (seconds(0), Ok(AnnounceResponse { peers, ..AnnounceResponse::new(interval) }))
}

/// A server that has no time, and says when it has.
pub(crate) fn busy(retry_after: Option<u64>) -> Reaction {
    let retry_after = retry_after.map(seconds);
    (seconds(0), Err(TrackerError::Status { status: 503, excerpt: String::new(), retry_after }))
}

/// A tracker that takes every announce and says nothing.
pub(crate) fn dead() -> Reaction {
    (seconds(30), Err(TrackerError::TimedOut))
}

/// A tracker that is not there.
pub(crate) fn absent() -> Reaction {
    (seconds(0), Err(TrackerError::Unreachable { why: "connection refused".to_owned() }))
}
