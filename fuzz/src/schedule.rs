//! Any course of events for the announces of a torrent.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ferri_tracker::pace::{self, Pace};
use ferri_tracker::schedule::{
    Input, Notice, Order, Output, Role, Schedule, ScheduleOptions, TrackerId, TrackerState,
};
use ferri_tracker::udp::Family;
use ferri_tracker::{AnnounceResponse, Event, RetryIn, TrackerError};

use crate::script::{Script, Sleeper};

/// After the script everything falls silent; then the schedule comes to rest within this time.
const REST: Duration = Duration::from_secs(120);

/// A torrent's trackers, that answer or not, and a user who does anything. Each tracker has one announce under way at most, hears
/// `stopped` only after `started` and once, and after a stop everything comes to rest.
pub fn schedule(data: &[u8]) {
    let mut script = Script::new(data);
    let start = Instant::now();
    let mut options = ScheduleOptions::new([1; 20].into(), [2; 20], 6881);
    let flags = script.u8();
    options.order = if flags & 1 == 0 { Order::Sequential } else { Order::EveryTier };
    options.paced = flags & 2 != 0;
    let tiers: Vec<Vec<String>> = (0..flags >> 5).map(|_| urls(&mut script)).collect();
    let schedule = Schedule::new(tiers, u64::from(script.u32()), options, start);
    let mut driver = Driver {
        schedule,
        pace: Pace::default(),
        now: start,
        flights: Vec::new(),
        heard: BTreeMap::new(),
        stopped: 0,
    };
    driver.drain();
    while !script.is_empty() {
        driver.step(&mut script);
    }
    driver.rest();
}

fn tiers(script: &mut Script<'_>) -> Vec<Vec<String>> {
    (0..script.u8() % 4).map(|_| urls(script)).collect()
}

fn urls(script: &mut Script<'_>) -> Vec<String> {
    (0..script.u8() % 4).map(|_| url(script)).collect()
}

fn url(script: &mut Script<'_>) -> String {
    match script.u8() % 8 {
        7 => String::from_utf8_lossy(script.short()).into_owned(),
        6 => "wss://x.example".to_owned(),
        number if number % 2 == 0 => format!("http://t{number}.example/announce"),
        number => format!("udp://t{number}.example:80"),
    }
}

/// A tracker's URL, and whether it is asked by IPv4.
type Place = (String, bool);

/// What a tracker has been told since the session began.
#[derive(Debug, Default)]
struct Heard {
    started: bool,
    completed: bool,
    stopped: bool,
}

struct Driver {
    schedule: Schedule,
    pace: Pace,
    now: Instant,
    /// Announces without a report.
    flights: Vec<(TrackerId, Place)>,
    heard: BTreeMap<Place, Heard>,
    /// How often it came to rest.
    stopped: usize,
}

impl Sleeper for Driver {
    const WAKES_MAX: usize = 8;

    fn clock(&mut self) -> &mut Instant {
        &mut self.now
    }

    fn due(&self) -> Option<Instant> {
        self.schedule.poll_timeout()
    }

    fn wake(&mut self) {
        self.handle(Input::Timeout);
    }
}

impl Driver {
    fn step(&mut self, script: &mut Script<'_>) {
        let kind = script.u8();
        let input = match kind % 16 {
            0 => Input::Start,
            1 => Input::Stop,
            2 => Input::Stats {
                uploaded: script.u32().into(),
                downloaded: script.u32().into(),
                left: script.u8().into(),
            },
            3 => Input::Completed,
            4 => Input::NeedPeers,
            5 if kind & 16 != 0 => Input::SetTrackers { tiers: tiers(script), beside: urls(script) },
            5 => Input::AddTracker { url: url(script) },
            6 => Input::Reannounce,
            7 => Input::Scrape,
            8 => Input::ListenPort(script.u16()),
            9 => Input::Role(if kind & 16 == 0 { Role::Downloading } else { Role::PartialSeed }),
            10 | 11 => {
                self.now += Duration::from_secs(u64::from(script.u16()));
                Input::Timeout
            }
            12 if kind & 16 != 0 => self.other_torrent(script),
            12 => return self.sleep(),
            _ if self.flights.is_empty() => return self.sleep(),
            _ => {
                let (tracker, _) = self.flights.swap_remove(script.below(self.flights.len()));
                Input::Answer { tracker, result: answer(script) }
            }
        };
        self.handle(input);
    }

    /// Another torrent of the session asks for a turn, or announces.
    fn other_torrent(&mut self, script: &mut Script<'_>) -> Input {
        let host = format!("t{}.example", script.u8() % 8);
        let input = match script.u8() {
            0..100 => pace::Input::Ask { torrent: [9; 20].into(), host, had: false },
            100..200 => pace::Input::Begun { host },
            _ => pace::Input::Over { host },
        };
        self.pace.handle(input, self.now);
        while self.pace.poll_output().is_some() {}
        Input::Turn { wait: Duration::from_secs(u64::from(script.u8())) }
    }

    /// The answer comes before time goes on.
    fn turn(&mut self, host: String, had: bool) {
        assert!(!host.is_empty() && !host.contains('/'), "{host:?} is no host");
        let torrent = [1; 20].into();
        self.pace.handle(pace::Input::Ask { torrent, host, had }, self.now);
        let Some(pace::Output::Turn { wait, .. }) = self.pace.poll_output() else { panic!("no turn") };
        assert!(self.pace.poll_output().is_none() && wait <= Duration::from_secs(3600));
        self.schedule.handle(Input::Turn { wait }, self.now);
    }

    fn handle(&mut self, input: Input) {
        self.schedule.handle(input, self.now);
        self.drain();
    }

    fn drain(&mut self) {
        let mut count = 0;
        while let Some(output) = self.schedule.poll_output() {
            count += 1;
            assert!(count < 1000, "no end of outputs");
            match output {
                Output::Announce { tracker, url, family, announce } => {
                    self.announce(tracker, (url, family == Family::V4), announce.event);
                }
                Output::WantTurn { host, had } => self.turn(host, had),
                Output::Cancel { tracker } => self.flights.retain(|(flight, _)| *flight != tracker),
                Output::Stopped => {
                    self.stopped += 1;
                    assert!(self.flights.is_empty(), "at rest with announces under way");
                    self.heard.clear();
                }
                Output::Event(Notice::LeftOut { trackers }) => assert!(0 < trackers),
                Output::Peers(peers) => assert!(!peers.is_empty()),
                Output::Scrape { .. } | Output::Event(_) => {}
            }
        }
        for tracker in self.schedule.trackers() {
            let flying = self.flights.iter().any(|(_, (url, _))| *url == tracker.url);
            assert!(flying || tracker.state != TrackerState::Announcing, "{} flies unseen", tracker.url);
        }
    }

    fn announce(&mut self, tracker: TrackerId, place: Place, event: Option<Event>) {
        let url = place.0.clone();
        assert!(self.flights.iter().all(|(_, flight)| *flight != place), "two announces to {url} at once");
        let heard = self.heard.entry(place.clone()).or_default();
        match event {
            Some(Event::Started) => {
                // A session that begins while the last one ends has no rest in between.
                if heard.stopped {
                    *heard = Heard::default();
                }
                heard.started = true;
            }
            Some(Event::Stopped) => {
                assert!(heard.started, "{url} never heard of us");
                assert!(!heard.stopped, "{url} hears twice that we stop");
                heard.stopped = true;
            }
            Some(Event::Completed) => {
                assert!(heard.started && !heard.stopped, "{url} is told of completion out of turn");
                heard.completed = true;
            }
            Some(Event::Paused) | None => assert!(heard.started, "{url} hears no start"),
        }
        self.flights.push((tracker, place));
    }

    /// Stops, and answers nothing any more.
    fn rest(&mut self) {
        self.handle(Input::Stop);
        let (deadline, before) = (self.now + REST, self.stopped);
        while self.schedule.poll_timeout().is_some() {
            self.sleep();
            assert!(self.now <= deadline, "it does not come to rest");
        }
        assert!(self.stopped <= before + 1);
        assert!(0 < self.stopped, "it never said that it is at rest");
    }
}

fn answer(script: &mut Script<'_>) -> Result<AnnounceResponse, TrackerError> {
    let kind = script.u8();
    let seconds = Duration::from_secs(u64::from(script.u16()));
    let reason = "no".to_owned();
    match kind % 8 {
        0 => Err(TrackerError::TimedOut),
        1 => Err(TrackerError::Unreachable { why: "gone".to_owned() }),
        2 => Err(TrackerError::Failure { reason, retry_in: RetryIn::Never }),
        3 => Err(TrackerError::Failure { reason, retry_in: RetryIn::After(seconds) }),
        4 if kind & 8 == 0 => Err(TrackerError::Failure { reason, retry_in: RetryIn::Unspecified }),
        4 => {
            let retry_after = (kind & 16 != 0).then_some(seconds);
            Err(TrackerError::Status { status: 503, excerpt: reason, retry_after })
        }
        5 if kind & 24 == 24 => Err(TrackerError::NoWay { why: reason }),
        _ => {
            let mut answer = AnnounceResponse::new(seconds);
            answer.min_interval = (kind & 8 != 0).then_some(seconds / 2);
            answer.tracker_id = (kind & 16 != 0).then(|| vec![kind]);
            answer.peers = (0..kind >> 5).map(|host| ([10, 0, 0, host], 6881).into()).collect();
            Ok(answer)
        }
    }
}
