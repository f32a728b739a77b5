//! The announces of a whole session: a `Schedule` for each torrent, the one `Pace` between them, and trackers with a virtual
//! clock. Hours pass in seconds.
//!
//! Torrents are started, run short of peers and are stopped by chance. Meanwhile it is counted what reaches each host, and each
//! breach of what is promised is written down; the same session and seed give the same [`Report`].

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

use ferri_metainfo::InfoHash;
use ferri_tracker::pace::{self, BURST, FLIGHTS_MAX, Pace, SPACING};
use ferri_tracker::udp::Family;
use ferri_tracker::{
    AnnounceResponse, Event, Input, Output, Schedule, ScheduleOptions, TrackerError, TrackerId,
};

use crate::chance::Chance;

/// A tracker's host.
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// How long it takes to answer.
    pub takes: Duration,
    /// Whether it does. Else each announce fails after that time.
    pub answers: bool,
    /// How long it wants to be left alone.
    pub interval: Duration,
}

/// A session.
#[derive(Clone, Debug)]
pub struct Session {
    /// Each has one tracker: the hosts in turn.
    pub torrents: usize,
    /// The trackers.
    pub hosts: Vec<Host>,
    /// How long it is watched.
    pub length: Duration,
    /// Of a thousand minutes of a torrent, so many in which it runs short of peers or is stopped and started again.
    pub unrest: u64,
}

/// What reached a host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostReport {
    /// Announces in all.
    pub announces: u64,
    /// Announces under way, at most.
    pub under_way_max: usize,
    /// Regular announces within any second, at most.
    pub busiest_second: usize,
    /// When the last of its torrents had first been announced, if all were.
    pub all_started: Option<Duration>,
}

/// How a session went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// In the order of the session's hosts.
    pub hosts: Vec<HostReport>,
    /// Promises that were not kept.
    pub breaches: Vec<String>,
}

struct Torrent {
    schedule: Schedule,
    host: usize,
    is_started: bool,
    is_running: bool,
}

/// What is counted of a host.
#[derive(Default)]
struct Count {
    report: HostReport,
    under_way: usize,
    /// Regular announces of the last second.
    recent: VecDeque<Instant>,
    started: usize,
}

/// What happens at an instant, in the order of the variants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Answer { torrent: usize, tracker: TrackerId },
    Timeout { torrent: usize },
    Unrest { torrent: usize },
}

struct World<'a> {
    session: &'a Session,
    pace: Pace,
    torrents: Vec<Torrent>,
    counts: Vec<Count>,
    queue: BinaryHeap<Reverse<(Instant, Due)>>,
    /// Announces that were given up: nothing of them is under way any more.
    cancelled: BTreeSet<(usize, TrackerId)>,
    chance: Chance,
    start: Instant,
    now: Instant,
    breaches: Vec<String>,
}

/// Runs a session to its end.
pub fn run(session: &Session, seed: u64) -> Report {
    let start = Instant::now();
    let mut chance = Chance::new(seed);
    let torrents = (0..session.torrents).map(|number| {
        let host = number % session.hosts.len().max(1);
        let options = ScheduleOptions {
            families: vec![Family::V4],
            paced: true,
            ..ScheduleOptions::new(name(number), [2; 20], 6881)
        };
        let tiers = vec![vec![format!("http://{}/announce", host_name(host))]];
        let schedule = Schedule::new(tiers, chance.next(), options, start);
        Torrent { schedule, host, is_started: false, is_running: false }
    });
    let mut world = World {
        torrents: torrents.collect(),
        session,
        pace: Pace::default(),
        counts: session.hosts.iter().map(|_| Count::default()).collect(),
        queue: BinaryHeap::new(),
        cancelled: BTreeSet::new(),
        chance,
        start,
        now: start,
        breaches: Vec::new(),
    };
    world.run();
    world.report()
}

fn name(torrent: usize) -> InfoHash {
    let mut hash = [0; 20];
    hash[..8].copy_from_slice(&(torrent as u64).to_be_bytes());
    hash.into()
}

fn host_name(host: usize) -> String {
    format!("t{host}.example:80")
}

impl World<'_> {
    fn run(&mut self) {
        for torrent in 0..self.torrents.len() {
            self.begin(torrent);
            self.plan_unrest(torrent);
        }
        let end = self.start + self.session.length;
        while let Some(Reverse((at, due))) = self.queue.pop() {
            if end < at {
                return;
            }
            self.now = at;
            match due {
                Due::Answer { torrent, tracker } => self.answer(torrent, tracker),
                Due::Timeout { torrent } => {
                    // One that moved has another entry.
                    if self.torrents[torrent].schedule.poll_timeout().is_some_and(|due| due <= at) {
                        self.handle(torrent, Input::Timeout);
                    }
                }
                Due::Unrest { torrent } => self.unrest(torrent),
            }
        }
    }

    fn begin(&mut self, torrent: usize) {
        self.torrents[torrent].is_running = true;
        self.handle(torrent, Input::Stats { uploaded: 0, downloaded: 0, left: 100 });
        self.handle(torrent, Input::Start);
    }

    fn plan_unrest(&mut self, torrent: usize) {
        if self.session.unrest != 0 {
            let minutes = self.chance.below(2000 / self.session.unrest.min(1000)) + 1;
            let at = self.now + Duration::from_secs(60 * minutes);
            self.queue.push(Reverse((at, Due::Unrest { torrent })));
        }
    }

    fn unrest(&mut self, torrent: usize) {
        match self.chance.below(3) {
            0 if self.torrents[torrent].is_running => {
                self.torrents[torrent].is_running = false;
                self.handle(torrent, Input::Stop);
            }
            1 if !self.torrents[torrent].is_running => self.begin(torrent),
            _ => self.handle(torrent, Input::NeedPeers),
        }
        self.plan_unrest(torrent);
    }

    fn answer(&mut self, torrent: usize, tracker: TrackerId) {
        if self.cancelled.remove(&(torrent, tracker)) {
            return;
        }
        let host = self.torrents[torrent].host;
        self.over(host);
        let Host { answers, interval, .. } = self.session.hosts[host];
        let result = match answers {
            true => Ok(AnnounceResponse::new(interval)),
            false => Err(TrackerError::TimedOut),
        };
        self.handle(torrent, Input::Answer { tracker, result });
    }

    fn over(&mut self, host: usize) {
        self.counts[host].under_way -= 1;
        self.pace.handle(pace::Input::Over { host: host_name(host) }, self.now);
    }

    fn handle(&mut self, torrent: usize, input: Input) {
        self.torrents[torrent].schedule.handle(input, self.now);
        while let Some(output) = self.torrents[torrent].schedule.poll_output() {
            match output {
                Output::WantTurn { host, had } => self.turn(torrent, host, had),
                Output::Announce { tracker, announce, .. } => self.announce(torrent, tracker, announce.event),
                Output::Cancel { tracker } => {
                    self.cancelled.insert((torrent, tracker));
                    self.over(self.torrents[torrent].host);
                }
                Output::Scrape { .. } | Output::Peers(_) | Output::Event(_) | Output::Stopped => {}
            }
        }
        if let Some(at) = self.torrents[torrent].schedule.poll_timeout() {
            self.queue.push(Reverse((at.max(self.now), Due::Timeout { torrent })));
        }
    }

    fn turn(&mut self, torrent: usize, host: String, had: bool) {
        self.pace.handle(pace::Input::Ask { torrent: name(torrent), host, had }, self.now);
        while let Some(pace::Output::Turn { torrent: told, wait }) = self.pace.poll_output() {
            if told != name(torrent) {
                self.breaches.push(format!("torrent {torrent} was given the turn of {told}"));
            }
            self.torrents[torrent].schedule.handle(Input::Turn { wait }, self.now);
        }
    }

    fn announce(&mut self, torrent: usize, tracker: TrackerId, event: Option<Event>) {
        let (now, host) = (self.now, self.torrents[torrent].host);
        self.pace.handle(pace::Input::Begun { host: host_name(host) }, now);
        let is_running = self.torrents[torrent].is_running;
        let count = &mut self.counts[host];
        count.under_way += 1;
        count.report.announces += 1;
        count.report.under_way_max = count.report.under_way_max.max(count.under_way);
        // Those who leave do not wait.
        if is_running && event != Some(Event::Stopped) {
            count.recent.push_back(now);
            while count.recent.front().is_some_and(|at| *at + Duration::from_secs(1) <= now) {
                count.recent.pop_front();
            }
            count.report.busiest_second = count.report.busiest_second.max(count.recent.len());
        }
        if !std::mem::replace(&mut self.torrents[torrent].is_started, true) {
            count.started += 1;
            let of_host =
                (self.session.torrents + self.session.hosts.len() - 1 - host) / self.session.hosts.len();
            if count.started == of_host {
                count.report.all_started = Some(now - self.start);
            }
        }
        let at = now + self.session.hosts[host].takes;
        self.queue.push(Reverse((at, Due::Answer { torrent, tracker })));
    }

    fn report(mut self) -> Report {
        let per_second = (Duration::from_secs(1).as_millis() / SPACING.as_millis()) as usize + BURST as usize;
        for (host, count) in self.counts.iter().enumerate() {
            let HostReport { busiest_second, under_way_max, .. } = count.report;
            if per_second < busiest_second {
                self.breaches.push(format!("host {host} had {busiest_second} announces within a second"));
            }
            // Those who leave do not wait.
            if self.session.unrest == 0 && FLIGHTS_MAX < under_way_max {
                self.breaches.push(format!("host {host} had {under_way_max} announces under way"));
            }
        }
        Report { hosts: self.counts.into_iter().map(|count| count.report).collect(), breaches: self.breaches }
    }
}
