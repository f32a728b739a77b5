//! When one torrent announces, to which trackers, and what it says ([BEP 3], [7], [12], [21], [31]).
//!
//! A machine without I/O or clock: it says which announces to send, and is told how they went.
//!
//! The tiers of a torrent are a chain, as BEP 12 has it: a round asks the first tracker, then the next one, until one
//! answers, which then comes first in its tier; the next round begins when the interval of the one that answered has
//! passed, again with the first. So one tracker is in use at a time, and those of later tiers only while the ones
//! before fail. The first round does not wait long: when a tracker is silent for [`PATIENCE`] the next one is asked,
//! too. A tracker that the user adds is a chain of its own: it is asked in any case. [`Order::EveryTier`] makes every
//! tier such a chain.
//!
//! A session lasts from [`Input::Start`] to [`Input::Stop`]. Each tracker that is asked in it hears, by each family of
//! addresses (BEP 7), `started` until it has answered to that, `completed` until it has answered if the torrent was not complete by
//! then, and `stopped` once if it may have heard `started`. What is owed is repeated after a back-off, or when a busy server says, and
//! goes before `stopped`. Numbers count from the beginning of the session and are taken at the moment of each announce.
//!
//! The list may be changed at any time ([`Input::SetTrackers`]). What is said above holds for one that is taken off it: it hears
//! `stopped` if it may have heard `started`, and nothing more. One that is new is asked at once.
//!
//! When a schedule is [`paced`](ScheduleOptions::paced), a round begins when it is the torrent's turn. What a person wants, what
//! is owed, `stopped`, and the next tracker of a round that is under way wait for no turn.
//!
//! [BEP 3]: https://www.bittorrent.org/beps/bep_0003.html
//! [7]: https://www.bittorrent.org/beps/bep_0007.html
//! [12]: https://www.bittorrent.org/beps/bep_0012.html
//! [21]: https://www.bittorrent.org/beps/bep_0021.html
//! [31]: https://www.bittorrent.org/beps/bep_0031.html

mod list;
mod messages;
mod status;
mod tier;
mod tracker;
mod turn;
mod way;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::announce::{Announce, AnnounceResponse, Event, Scrape, TrackerError};
use crate::http::scrape_url;
use crate::limits::{INTERVAL_MIN, PEERS_MAX, REQUEST_TIME_MAX};
use crate::random::Random;
use crate::url::Transport;
pub use list::NEW_AT_ONCE;
pub use messages::{Input, Notice, Order, Output, Role, ScheduleOptions, TrackerId};
pub use status::{ScheduledTracker, TrackerState};
pub use tier::TIERS_AT_ONCE;
use tier::{Chain, Round};
use tracker::{Listing, Tracker};
use turn::Turn;
use way::{Flight, Known, Purpose, Way};

/// How long the first round of a session waits for a tracker before it asks the next one as well. A dead tracker then
/// costs a download these seconds, not the whole [`REQUEST_TIME_MAX`].
pub const PATIENCE: Duration = Duration::from_secs(5);

/// How long `stopped` (or `started` after it) waits for an announce that is under way to the same tracker. Sent at once,
/// the two could overtake each other; waited for, they would hold up the user.
pub const HAND_OVER: Duration = Duration::from_secs(2);

/// How long those who leave try to tell a tracker what it is still owed; then it hears `stopped`. Together with that announce it
/// stays within the five seconds that a user waits.
pub const OWED_TIME: Duration = Duration::from_secs(3);

/// An announce without a report is given up after this: the time it may take, and some for the report.
const FLIGHT_TIME_MAX: Duration = REQUEST_TIME_MAX.saturating_add(Duration::from_secs(10));

/// The announces of one torrent.
#[derive(Debug)]
pub struct Schedule {
    options: ScheduleOptions,
    random: Random,
    /// The same in every announce of this run (BEP 7).
    key: u32,
    /// Those that are listed, in the order of their tiers, and then those that were taken off the list and are still to hear that
    /// we go. Chains know them by their place.
    trackers: Vec<Tracker>,
    /// Each tracker that is listed is in one of them.
    chains: Vec<Chain>,
    phase: Phase,
    totals: Totals,
    /// The totals when the session began.
    base: Totals,
    role: Role,
    /// Until when those who leave tell what is owed.
    owed_until: Option<Instant>,
    /// Peers ran short since the last answer that named some.
    needs_peers: bool,
    turn: Turn,
    /// The number of the latest request.
    request: u32,
    outputs: VecDeque<Output>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    Running,
    Stopping,
    /// Stopping, and then a session begins again.
    Restarting,
}

#[derive(Clone, Copy, Debug)]
struct Totals {
    uploaded: u64,
    downloaded: u64,
    left: u64,
}

impl Schedule {
    /// A schedule at rest for the tiers of a torrent; `seed` decides the order inside of tiers, and the key.
    pub fn new(tiers: Vec<Vec<String>>, seed: u64, options: ScheduleOptions, now: Instant) -> Self {
        let mut random = Random::new(seed);
        let mut schedule = Self {
            options,
            key: random.next_u32(),
            random,
            trackers: Vec::new(),
            chains: Vec::new(),
            phase: Phase::Idle,
            totals: Totals { uploaded: 0, downloaded: 0, left: u64::MAX },
            base: Totals { uploaded: 0, downloaded: 0, left: u64::MAX },
            role: Role::Downloading,
            owed_until: None,
            needs_peers: false,
            turn: Turn::Unasked,
            request: 0,
            outputs: VecDeque::new(),
        };
        schedule.set_trackers(tiers, Vec::new(), now);
        schedule
    }

    /// Takes note of what happened.
    pub fn handle(&mut self, input: Input, now: Instant) {
        match input {
            Input::Start => self.start(now),
            Input::Stats { uploaded, downloaded, left } => {
                self.totals = Totals { uploaded, downloaded, left }
            }
            Input::Role(role) => self.role = role,
            Input::Completed => self.totals.left = 0,
            Input::NeedPeers => self.need_peers(now),
            Input::Turn { wait } => self.turn_given(wait, now),
            Input::Answer { tracker, result } => self.answer(tracker, result, now),
            Input::ScrapeAnswer { tracker, result } => self.scrape_answer(tracker, result),
            Input::AddTracker { url } => self.add_tracker(&url, now),
            Input::SetTrackers { tiers, beside } => self.set_trackers(tiers, beside, now),
            Input::Reannounce => self.reannounce(now),
            Input::Scrape => self.scrape(now),
            Input::ListenPort(port) => self.listen_port(port, now),
            Input::Stop => self.stop(now),
            Input::Timeout => {}
        }
        self.advance(now);
    }

    /// What to do; ask until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front();
        if output.is_none() {
            // The next one may be half an hour away, and there may be thousands of torrents.
            self.outputs = VecDeque::new();
        }
        output
    }

    /// When to hand in [`Input::Timeout`]. `None` when only other inputs can change anything.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let ways = self.every_way().filter_map(|(index, way)| match &self.trackers[index].ways[way].flight {
            Some(flight) => Some(flight.ends_at),
            None if self.phase == Phase::Running => {
                self.owes_completed(index, way).then(|| self.trackers[index].owed_after(way)).flatten()
            }
            None => self.parting(index, way).and_then(|(at, _)| at),
        });
        let chains = self.chains.iter().filter_map(|chain| match &chain.round {
            Some(round) => round.impatient_at,
            None if self.has_flight(chain) => None,
            None => chain.next_round.map(|due| self.in_turn(due)),
        });
        ways.chain(chains.filter(|_| self.phase == Phase::Running)).min()
    }

    /// How every tracker stands, in the order of the torrent; those added later behind.
    pub fn trackers(&self) -> Vec<ScheduledTracker> {
        (0..self.listed()).map(|index| self.status(index)).collect()
    }

    /// The URL of the tracker that a request is for.
    pub fn url(&self, id: TrackerId) -> Option<&str> {
        self.place(id).map(|index| self.trackers[index].url.as_str())
    }

    fn place(&self, id: TrackerId) -> Option<usize> {
        self.trackers.iter().position(|tracker| tracker.number == id.number())
    }

    fn start(&mut self, now: Instant) {
        match self.phase {
            Phase::Running | Phase::Restarting => {}
            Phase::Idle => self.begin_session(now),
            Phase::Stopping => {
                self.phase = Phase::Restarting;
                self.hurry_flights(now);
            }
        }
    }

    fn begin_session(&mut self, now: Instant) {
        self.phase = Phase::Running;
        self.base = self.totals;
        self.needs_peers = false;
        self.turn = Turn::Unasked;
        self.trackers.truncate(self.listed());
        for tracker in &mut self.trackers {
            tracker.begin_session();
        }
        for chain in &mut self.chains {
            chain.next_round = Some(now);
        }
    }

    fn stop(&mut self, now: Instant) {
        match self.phase {
            Phase::Idle => self.outputs.push_back(Output::Stopped),
            Phase::Stopping => {}
            Phase::Restarting => self.phase = Phase::Stopping,
            Phase::Running => {
                self.phase = Phase::Stopping;
                self.owed_until = Some(now + OWED_TIME);
                for chain in &mut self.chains {
                    chain.rest();
                }
                self.hurry_flights(now);
            }
        }
    }

    fn hurry_flights(&mut self, now: Instant) {
        let ways = self.trackers.iter_mut().flat_map(|tracker| &mut tracker.ways);
        for flight in ways.filter_map(|way| way.flight.as_mut()) {
            flight.hurry(now + HAND_OVER);
        }
    }

    fn need_peers(&mut self, now: Instant) {
        self.needs_peers = true;
        self.hasten_rounds(now);
    }

    fn reannounce(&mut self, now: Instant) {
        for tracker in &mut self.trackers {
            tracker.forgive();
        }
        // A person does not wait for others.
        self.turn = Turn::Ours;
        self.hasten_rounds(now);
    }

    fn listen_port(&mut self, port: u16, now: Instant) {
        if port != self.options.port {
            self.options.port = port;
            self.hasten_rounds(now);
        }
    }

    /// Moves every round to the earliest instant that its trackers allow.
    fn hasten_rounds(&mut self, now: Instant) {
        for index in 0..self.chains.len() {
            let soonest = match self.chains[index].current {
                Some(current) if self.trackers[current].is_usable() => {
                    self.trackers[current].allowed_at(self.totals.left).unwrap_or(now)
                }
                _ => self.next_try(index, now).unwrap_or(now),
            };
            self.chains[index].hasten(soonest.max(now));
        }
    }

    fn scrape(&mut self, now: Instant) {
        for index in 0..self.listed() {
            let tracker = &self.trackers[index];
            let in_use = self.chains.iter().any(|chain| chain.current == Some(index));
            let rested = tracker.scraped_at.is_none_or(|at| at + INTERVAL_MIN <= now);
            if !in_use || !rested || !tracker.is_usable() {
                continue;
            }
            let info_hash = self.options.info_hash;
            let url = match tracker.transport {
                Ok(Transport::Udp) => Some(tracker.url.clone()),
                _ => scrape_url(&tracker.url, &[info_hash]),
            };
            if let Some(url) = url {
                let id = self.next_request(index);
                self.trackers[index].scrape = Some(id.request());
                self.trackers[index].scraped_at = Some(now);
                self.outputs.push_back(Output::Scrape { tracker: id, url, info_hash });
            }
        }
    }

    fn scrape_answer(&mut self, id: TrackerId, result: Result<Scrape, TrackerError>) {
        let Some(index) = self.place(id) else { return };
        let tracker = &mut self.trackers[index];
        if tracker.scrape != Some(id.request()) {
            return;
        }
        tracker.scrape = None;
        if let Ok(scrape) = result {
            tracker.heard.seeders = Some(scrape.seeders);
            tracker.heard.leechers = Some(scrape.leechers);
            tracker.heard.downloaded = Some(scrape.downloaded);
            let url = tracker.url.clone();
            self.outputs.push_back(Output::Event(Notice::Scraped { url, scrape }));
        }
    }

    fn answer(&mut self, id: TrackerId, result: Result<AnnounceResponse, TrackerError>, now: Instant) {
        let Some(index) = self.place(id) else { return };
        let is_meant = |way: &Way| way.flight.as_ref().is_some_and(|flight| flight.request == id.request());
        if let Some(way) = self.trackers[index].ways.iter().position(is_meant) {
            self.conclude(index, way, result, now);
        }
    }

    /// Ends the flight to a tracker by one way.
    fn conclude(
        &mut self,
        index: usize,
        way: usize,
        result: Result<AnnounceResponse, TrackerError>,
        now: Instant,
    ) {
        let tracker = &mut self.trackers[index];
        let Some(flight) = tracker.ways[way].flight.take() else { return };
        let (url, event) = (tracker.url.clone(), flight.event);
        match result {
            Ok(mut response) => {
                response.peers.truncate(PEERS_MAX);
                let is_news = tracker.answered(way, &flight, &mut response, now);
                let peers = std::mem::take(&mut response.peers);
                let count = tracker.heard.peers.unwrap_or(0);
                if is_news {
                    let notice = Notice::Answered { url, event, response, peers: count };
                    self.outputs.push_back(Output::Event(notice));
                }
                // One that is not listed any more names no peers to us.
                if self.phase == Phase::Running && index < self.listed() {
                    if !peers.is_empty() {
                        self.needs_peers = false;
                        self.outputs.push_back(Output::Peers(peers));
                    }
                    self.succeeded(index, flight.purpose, now);
                }
            }
            Err(error) => {
                let Some(error) = tracker.failed(way, &flight, error, now) else {
                    // The other family works, and so the tracker does.
                    if self.phase == Phase::Running && !self.trackers[index].is_flying() {
                        self.succeeded(index, flight.purpose, now);
                    }
                    return;
                };
                let retry_at = tracker.is_usable().then(|| tracker.pace.blocked_until()).flatten();
                self.outputs.push_back(Output::Event(Notice::Failed { url, event, error, retry_at }));
                if self.phase == Phase::Running {
                    self.news_failed(index, flight.purpose, retry_at);
                }
            }
        }
    }

    /// A tracker answered: its chain's round is over, and the next one is due when it says.
    fn succeeded(&mut self, index: usize, purpose: Purpose, now: Instant) {
        let tracker = &self.trackers[index];
        let due = tracker.pace.due_at();
        let due = if self.needs_peers { due.min(tracker.allowed_at(self.totals.left)) } else { due };
        let due = due.map(|at| self.late(at, now));
        for chain in self.chains.iter_mut().filter(|chain| chain.contains(index)) {
            // Of two that were asked side by side the earlier one in the list is used, whichever was faster.
            let takes_over =
                purpose == Purpose::Round && (chain.round.is_some() || chain.is_before_current(index));
            if purpose == Purpose::Round {
                chain.promote(index);
            }
            if takes_over {
                chain.round = None;
                chain.current = Some(index);
            }
            if chain.current == Some(index) && chain.round.is_none() {
                chain.next_round = due;
            }
        }
    }

    /// When the tracker in use cannot be told its news, a round is due earlier than it said.
    fn news_failed(&mut self, index: usize, purpose: Purpose, retry_at: Option<Instant>) {
        for chain in &mut self.chains {
            if purpose == Purpose::News && chain.current == Some(index) {
                retry_at.into_iter().for_each(|at| chain.hasten(at));
            }
        }
    }

    /// Does what is due.
    fn advance(&mut self, now: Instant) {
        for (index, way) in self.every_way().collect::<Vec<_>>() {
            let flight = self.trackers[index].ways[way].flight.as_ref();
            if let Some(flight) = flight.filter(|flight| flight.ends_at <= now) {
                let tracker = TrackerId::new(self.trackers[index].number, flight.request);
                self.outputs.push_back(Output::Cancel { tracker });
                self.conclude(index, way, Err(TrackerError::TimedOut), now);
            }
        }
        if matches!(self.phase, Phase::Stopping | Phase::Restarting) {
            self.say_stopped(now);
        }
        if self.phase == Phase::Running {
            self.say_completed(now);
            self.part(now);
            self.greet(now);
            let may_begin = self.may_begin(now);
            for chain in 0..self.chains.len() {
                if may_begin || self.chains[chain].round.is_some() {
                    self.walk(chain, now);
                }
            }
        }
        if self.turn == Turn::Ours {
            self.turn = Turn::Unasked;
        }
        self.forget_parted();
    }

    /// Every tracker by every family.
    fn every_way(&self) -> impl Iterator<Item = (usize, usize)> {
        let ways = self.trackers.iter().map(|tracker| tracker.ways.len()).enumerate();
        ways.flat_map(|(index, count)| (0..count).map(move |way| (index, way)))
    }

    /// Tells all trackers that must know that we leave, and comes to rest when that is done.
    fn say_stopped(&mut self, now: Instant) {
        if self.owed_until.is_some_and(|until| until <= now) {
            self.owed_until = None;
        }
        for (index, way) in self.every_way().collect::<Vec<_>>() {
            if let Some((at, event)) = self.parting(index, way)
                && at.is_none_or(|at| at <= now)
            {
                self.tell(index, way, Some(event), now);
            }
        }
        let is_done = |(index, way): (usize, usize)| {
            self.trackers[index].ways[way].flight.is_none() && self.parting(index, way).is_none()
        };
        if !self.every_way().all(is_done) {
            return;
        }
        self.owed_until = None;
        if self.phase == Phase::Restarting {
            self.begin_session(now);
        } else {
            self.phase = Phase::Idle;
            self.outputs.push_back(Output::Stopped);
        }
    }

    /// What a tracker still has to hear by this way when we leave, and not before when.
    fn parting(&self, index: usize, way: usize) -> Option<(Option<Instant>, Event)> {
        let tracker = &self.trackers[index];
        let (session, left) = (&tracker.ways[way].session, self.totals.left);
        if !tracker.is_usable() || tracker.ways[way].flight.is_some() || self.phase == Phase::Idle {
            return None;
        }
        let owed = if session.owes_completed(left) {
            Some(Event::Completed)
        } else {
            session.owes_started(left).then_some(Event::Started)
        };
        if let (Some(event), Some(until), false) = (owed, self.owed_until, session.gave_up) {
            // A wish beyond our time cannot be granted: it is asked once all the same.
            return Some((tracker.wished_until(way).filter(|at| *at < until), event));
        }
        (session.known != Known::No).then_some((None, Event::Stopped))
    }

    /// Whether a tracker waits to hear that we have it all, whether in use or not.
    fn owes_completed(&self, index: usize, way: usize) -> bool {
        let tracker = &self.trackers[index];
        let is_listed = tracker.listing != Listing::Gone;
        let is_free = is_listed && tracker.is_usable() && tracker.ways[way].flight.is_none();
        is_free && tracker.ways[way].session.owes_completed(self.totals.left)
    }

    fn say_completed(&mut self, now: Instant) {
        for (index, way) in self.every_way().collect::<Vec<_>>() {
            let is_due = |at: Option<Instant>| at.is_none_or(|at| at <= now);
            if self.owes_completed(index, way) && is_due(self.trackers[index].owed_after(way)) {
                self.tell(index, way, Some(Event::Completed), now);
            }
        }
    }

    /// Begins a chain's round when it is due, and asks the next tracker when its turn has come.
    fn walk(&mut self, chain_index: usize, now: Instant) {
        let chain = &self.chains[chain_index];
        if chain.round.is_none() {
            if self.has_flight(chain) || chain.next_round.is_none_or(|at| now < at) {
                return;
            }
            self.chains[chain_index].next_round = None;
            self.chains[chain_index].round = Some(Round::default());
        }
        let chain = &self.chains[chain_index];
        let Some(round) = &chain.round else { return };
        let waiting = round.tried.iter().any(|&index| self.trackers[index].is_flying());
        if waiting && round.impatient_at.is_none_or(|at| now < at) {
            return;
        }
        let next = chain.trackers().find(|&index| self.may_be_asked(index, round, now));
        let first_round = chain.current.is_none();
        let next_try = self.next_try(chain_index, now).map(|at| self.late(at, now));
        let chain = &mut self.chains[chain_index];
        let Some(round) = &mut chain.round else { return };
        round.impatient_at = None;
        match next {
            Some(index) => {
                round.tried.insert(index);
                round.impatient_at = first_round.then(|| now + PATIENCE);
                self.ask(index, now);
            }
            None if waiting => {}
            None => {
                chain.round = None;
                chain.next_round = next_try.map(|at| at.max(now + Duration::from_secs(1)));
            }
        }
    }

    fn may_be_asked(&self, index: usize, round: &Round, now: Instant) -> bool {
        let tracker = &self.trackers[index];
        tracker.is_usable()
            && !tracker.is_flying()
            && !round.tried.contains(&index)
            && tracker.allowed_at(self.totals.left).is_none_or(|at| at <= now)
    }

    /// When the first tracker of a chain may be asked again. `None` when none ever may.
    fn next_try(&self, chain: usize, now: Instant) -> Option<Instant> {
        let trackers = self.chains[chain].trackers().map(|index| &self.trackers[index]);
        let usable = trackers.filter(|tracker| tracker.is_usable());
        usable.map(|tracker| tracker.allowed_at(self.totals.left).unwrap_or(now)).min()
    }

    fn has_flight(&self, chain: &Chain) -> bool {
        chain.trackers().any(|index| self.trackers[index].is_flying())
    }

    /// What the next announce to a tracker must say.
    fn due_event(&self, index: usize, way: usize) -> Option<Event> {
        let session = &self.trackers[index].ways[way].session;
        if !matches!(session.known, Known::Yes { .. }) {
            // BEP 21 wants `paused` at every announce, but a tracker that does not know us must hear `started` first.
            Some(Event::Started)
        } else if session.owes_completed(self.totals.left) {
            Some(Event::Completed)
        } else {
            (self.role == Role::PartialSeed && 0 < self.totals.left).then_some(Event::Paused)
        }
    }

    /// Asks a tracker as part of its chain's round.
    fn ask(&mut self, index: usize, now: Instant) {
        let mut told = Vec::new();
        for way in self.trackers[index].open_ways(self.totals.left, now) {
            let event = self.due_event(index, way);
            if !told.contains(&event) {
                told.push(event);
                let url = self.trackers[index].url.clone();
                self.outputs.push_back(Output::Event(Notice::Asked { url, event }));
            }
            self.send(index, way, event, Purpose::Round, now);
        }
    }

    /// Tells a tracker something by one way. The user hears of it once for both.
    fn tell(&mut self, index: usize, way: usize, event: Option<Event>, now: Instant) {
        let tracker = &self.trackers[index];
        let is_told = |other: &Way| other.flight.as_ref().is_some_and(|flight| flight.event == event);
        if !tracker.ways.iter().any(is_told) {
            let url = tracker.url.clone();
            self.outputs.push_back(Output::Event(Notice::Asked { url, event }));
        }
        self.send(index, way, event, Purpose::News, now);
    }

    fn send(&mut self, index: usize, way: usize, event: Option<Event>, purpose: Purpose, now: Instant) {
        let tracker_id = self.trackers[index].heard.id.clone();
        let session = &mut self.trackers[index].ways[way].session;
        let mut left = self.totals.left;
        if event == Some(Event::Started) {
            left = session.left_at_start(left);
            session.begun.get_or_insert(left);
        }
        let announce = Announce {
            uploaded: self.totals.uploaded.saturating_sub(self.base.uploaded),
            downloaded: self.totals.downloaded.saturating_sub(self.base.downloaded),
            left,
            event,
            numwant: Some(self.numwant(event)),
            key: self.key,
            tracker_id,
            ip: self.options.ip,
            ..Announce::new(self.options.info_hash, self.options.peer_id, self.options.port)
        };
        // A torrent that waits to join again is in a hurry, and what is owed does not hold up `stopped`.
        let hurried = self.phase == Phase::Restarting;
        let parting = self.phase != Phase::Running || self.trackers[index].listing == Listing::Gone;
        let owed_until = self.owed_until.filter(|_| event != Some(Event::Stopped));
        let time = if hurried { HAND_OVER } else { FLIGHT_TIME_MAX };
        let ends_at = owed_until.map_or(now + time, |until| until.min(now + time));
        let id = self.next_request(index);
        let tracker = &mut self.trackers[index];
        let way = &mut tracker.ways[way];
        let request = id.request();
        way.flight = Some(Flight { request, event, left, ends_at, purpose, hurried, parting });
        let (url, family) = (tracker.url.clone(), way.family);
        self.outputs.push_back(Output::Announce { tracker: id, url, family, announce });
    }

    fn numwant(&self, event: Option<Event>) -> u32 {
        match event {
            Some(Event::Stopped) => 0,
            _ if self.totals.left == 0 || self.role == Role::PartialSeed => self.options.numwant_seeding,
            _ => self.options.numwant_leeching,
        }
    }

    fn next_request(&mut self, index: usize) -> TrackerId {
        self.request = self.request.wrapping_add(1);
        TrackerId::new(self.trackers[index].number, self.request)
    }

    fn status(&self, index: usize) -> ScheduledTracker {
        let Tracker { url, tier, listing, heard, .. } = &self.trackers[index];
        let state = self.state(index);
        let chain = self.chains.iter().find(|chain| chain.contains(index));
        let next_round = chain.and_then(|chain| chain.next_round);
        let next_announce = match state {
            TrackerState::Working if chain.is_some_and(|chain| chain.current == Some(index)) => next_round,
            TrackerState::Failing => next_round.max(self.trackers[index].pace.blocked_until()),
            _ => None,
        };
        ScheduledTracker {
            url: url.clone(),
            tier: *tier,
            is_beside: *listing == Listing::Beside,
            state,
            seeders: heard.seeders,
            leechers: heard.leechers,
            downloaded: heard.downloaded,
            peers: heard.peers,
            next_announce,
            last_error: heard.error.clone(),
            warning: heard.warning.clone(),
        }
    }

    fn state(&self, index: usize) -> TrackerState {
        let tracker = &self.trackers[index];
        if tracker.transport.is_err() {
            TrackerState::Unusable
        } else if tracker.is_flying() {
            TrackerState::Announcing
        } else if tracker.pace.is_refused() {
            TrackerState::Refused
        } else if self.phase != Phase::Running {
            TrackerState::Stopped
        } else if tracker.pace.is_failing() {
            TrackerState::Failing
        } else if tracker.pace.has_answered() {
            TrackerState::Working
        } else {
            TrackerState::Unused
        }
    }
}
