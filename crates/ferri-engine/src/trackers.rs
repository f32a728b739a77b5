//! A torrent's talk with its trackers: the schedule decides, this carries it out.
//!
//! Every announce is a task of its own that ends by itself within the transport's deadline; its answer comes back to
//! the torrent's task. When it is the torrent's turn, among all of the session, is said by `ferri_tracker::pace`.

mod edit;
mod lists;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use ferri_metainfo::InfoHash;
use ferri_metainfo::display::redact_url;
use ferri_swarm::{Input as SwarmInput, Role as SwarmRole, Source, Swarm};
use ferri_trace::machines::ScheduleStart;
use ferri_tracker::schedule::{Input, Notice, Order, Output, Role, Schedule, ScheduleOptions, TrackerId};
use ferri_tracker::udp::Family;
use ferri_tracker::{AnnounceResponse, Scrape, TrackerError};
use ferri_wire::PeerId;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};

pub(crate) use edit::TrackerEdit;
pub use edit::{RefusedTracker, TrackerRefusal};
pub(crate) use lists::TrackerLists;

use crate::clock;
use crate::events::EventLog;
use crate::external::Voter;
use crate::network::Network;
use crate::note::Note;
use crate::panics::{Panic, caught};
use crate::services::Services;
use crate::status::{Event, TrackerStatus};
use crate::trace_file::{TraceFile, Traced};
use crate::tracker_client::{self, Client};

/// What announces are made of.
pub(crate) struct TrackersOptions {
    pub(crate) lists: TrackerLists,
    /// Bytes of the torrent; `None` while nothing but its hash is known.
    pub(crate) total: Option<u64>,
    /// How its tiers relate.
    pub(crate) order: Order,
    pub(crate) info_hash: InfoHash,
    pub(crate) peer_id: PeerId,
    pub(crate) port: u16,
    /// The address that the session is bound to.
    pub(crate) bind: Option<IpAddr>,
    /// Where the schedule is recorded.
    pub(crate) trace: Option<Arc<TraceFile>>,
}

/// Whoever is announced.
pub(crate) trait Announced {
    /// How far it is, at this moment.
    fn totals(&self) -> Totals;
}

/// What trackers are told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Totals {
    /// Payload bytes sent.
    pub(crate) uploaded: u64,
    /// Payload bytes received.
    pub(crate) downloaded: u64,
    /// Bytes that are verified and here.
    pub(crate) have: u64,
    /// What is wanted of the rest.
    pub(crate) role: Role,
}

impl Announced for Swarm {
    fn totals(&self) -> Totals {
        let stats = self.stats();
        let role = match self.role() {
            SwarmRole::PartialSeed => Role::PartialSeed,
            SwarmRole::Leech | SwarmRole::Seed => Role::Downloading,
        };
        Totals { uploaded: stats.uploaded, downloaded: stats.downloaded, have: stats.have_bytes, role }
    }
}

/// What a tracker said, or why it did not.
#[derive(Debug)]
pub(crate) enum Answer {
    Announce(TrackerId, Result<AnnounceResponse, TrackerError>),
    Scrape(TrackerId, Result<Scrape, TrackerError>),
}

/// A torrent's trackers.
#[derive(Debug)]
pub(crate) struct Trackers {
    schedule: Traced<Schedule>,
    /// Bytes of the torrent; `None` while nothing but its hash is known.
    total: Option<u64>,
    flights: BTreeMap<TrackerId, CancellationToken>,
    /// Trackers that the user named himself.
    typed: Vec<String>,
    /// The user changed which there are.
    is_edited: bool,
    /// Who we are among the torrents of the session.
    info_hash: InfoHash,
    /// The session with the trackers begins as soon as numbers are told, wished for since then.
    starting: Option<Instant>,
    stopped: bool,
}

impl Trackers {
    pub(crate) fn new(options: TrackersOptions, now: Instant) -> Self {
        let schedule_options = ScheduleOptions {
            order: options.order,
            families: families(options.bind),
            paced: true,
            ..ScheduleOptions::new(options.info_hash, *options.peer_id.as_bytes(), options.port)
        };
        let TrackerLists { tiers, extra, typed } = options.lists;
        let start = ScheduleStart { tiers, options: schedule_options, seed: rand::random() };
        let of = options.info_hash.to_string();
        let mut schedule = Traced::<Schedule>::new(options.trace.as_ref(), &of, start, now);
        for url in extra {
            schedule.handle(Input::AddTracker { url }, now);
        }
        Self {
            schedule,
            total: options.total,
            flights: BTreeMap::new(),
            typed: typed.iter().map(|url| url.trim().to_owned()).collect(),
            is_edited: false,
            info_hash: options.info_hash,
            starting: None,
            stopped: true,
        }
    }

    /// Its size has become known, and these trackers with it. Those that are known already stay as they are.
    pub(crate) fn learn(&mut self, total: u64, lists: TrackerLists, now: Instant) {
        self.total = Some(total);
        self.add(lists.tiers.into_iter().flatten(), now);
        self.add_typed(lists.extra, now);
    }

    /// The user names these too.
    pub(crate) fn add_typed(&mut self, urls: Vec<String>, now: Instant) {
        self.typed.extend(urls.iter().map(|url| url.trim().to_owned()));
        self.add(urls, now);
    }

    /// These may know the torrent too.
    pub(crate) fn add(&mut self, urls: impl IntoIterator<Item = String>, now: Instant) {
        for url in urls {
            self.schedule.handle(Input::AddTracker { url }, now);
        }
    }

    /// The next [`Self::timeout`] begins, or one after it.
    pub(crate) fn start(&mut self, now: Instant) {
        self.stopped = false;
        self.starting = Some(now);
    }

    pub(crate) fn stop(&mut self, about: &impl Announced, now: Instant) {
        self.starting = None;
        if !self.stopped {
            self.tell(about, now);
            self.schedule.handle(Input::Stop, now);
        }
    }

    /// Nobody is asked.
    pub(crate) fn is_empty(&self) -> bool {
        self.schedule.trackers().is_empty()
    }

    /// Everybody who should know that we stopped has been told, or there was nobody.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Everything wanted has come. Trackers hear of it when that is everything there is (BEP 21).
    pub(crate) fn completed(&mut self, about: &impl Announced, now: Instant) {
        if self.tell(about, now) == 0 {
            self.schedule.handle(Input::Completed, now);
        }
    }

    pub(crate) fn reannounce(&mut self, about: &impl Announced, now: Instant) {
        self.tell(about, now);
        if self.starting.take().is_some() {
            self.schedule.handle(Input::Start, now);
        }
        self.schedule.handle(Input::Reannounce, now);
    }

    /// The port that peers are told is another one: the trackers are told as soon as they allow it.
    pub(crate) fn listen_port(&mut self, port: u16, now: Instant) {
        self.schedule.handle(Input::ListenPort(port), now);
    }

    pub(crate) fn want_peers(&mut self, about: &impl Announced, now: Instant) {
        self.tell(about, now);
        self.schedule.handle(Input::NeedPeers, now);
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.starting.or_else(|| self.schedule.poll_timeout())
    }

    pub(crate) fn timeout(&mut self, about: &impl Announced, now: Instant) {
        if self.poll_timeout().is_none_or(|at| now < at) {
            return;
        }
        self.tell(about, now);
        let due = if self.starting.take().is_some() { Input::Start } else { Input::Timeout };
        self.schedule.handle(due, now);
    }

    pub(crate) fn answered(&mut self, answer: Answer, about: &impl Announced, now: Instant) {
        self.tell(about, now);
        match answer {
            Answer::Announce(tracker, result) => {
                self.flights.remove(&tracker);
                self.schedule.handle(Input::Answer { tracker, result }, now);
            }
            Answer::Scrape(tracker, result) => {
                self.flights.remove(&tracker);
                self.schedule.handle(Input::ScrapeAnswer { tracker, result }, now);
            }
        }
    }

    /// Numbers are taken at the moment of each announce. Returns the bytes that are not here.
    fn tell(&mut self, about: &impl Announced, now: Instant) -> u64 {
        let Totals { uploaded, downloaded, have, role } = about.totals();
        let left = self.total.map_or(u64::MAX, |total| total - have);
        self.schedule.handle(Input::Stats { uploaded, downloaded, left }, now);
        self.schedule.handle(Input::Role(role), now);
        left
    }

    /// Carries out what the schedule wants and returns what the swarm should hear.
    pub(crate) fn drain(
        &mut self,
        events: &EventLog,
        services: &Arc<Services>,
        answers: &mpsc::UnboundedSender<Box<Answer>>,
        span: &Span,
    ) -> Vec<SwarmInput> {
        let mut inputs = Vec::new();
        while let Some(output) = self.schedule.poll_output() {
            match output {
                Output::WantTurn { host, had } => {
                    let now = clock::now();
                    let wait = services.trackers.turns.ask(self.info_hash, host, had, now);
                    self.schedule.handle(Input::Turn { wait }, now);
                }
                Output::Announce { tracker, url, family, announce } => {
                    let flight = services.trackers.turns.flight(&url, clock::now());
                    let client = self.client(services, &url);
                    let span = tracing::error_span!(parent: span, "announce", url = %redact_url(&url));
                    self.fly(tracker, services, answers, span, async move {
                        let result = caught(tracker_client::announce(&client, &url, family, announce)).await;
                        drop(flight);
                        Answer::Announce(tracker, result.unwrap_or_else(failed))
                    });
                }
                Output::Scrape { tracker, url, info_hash } => {
                    let client = self.client(services, self.schedule.url(tracker).unwrap_or(&url));
                    let span = tracing::error_span!(parent: span, "scrape", url = %redact_url(&url));
                    self.fly(tracker, services, answers, span, async move {
                        let result = caught(tracker_client::scrape(&client, &url, info_hash)).await;
                        Answer::Scrape(tracker, result.unwrap_or_else(failed))
                    });
                }
                Output::Cancel { tracker } => {
                    if let Some(flight) = self.flights.remove(&tracker) {
                        flight.cancel();
                    }
                }
                Output::Peers(addrs) => {
                    inputs.push(SwarmInput::PeersFound { source: Source::Tracker, addrs });
                }
                Output::Event(notice) => tell_of(notice, events, &services.network),
                Output::Stopped => self.stopped = true,
            }
        }
        inputs
    }

    /// Who asks the tracker with this URL.
    fn client(&self, services: &Services, url: &str) -> Client {
        let (http, udp) = (services.trackers.http.clone(), services.trackers.udp.clone());
        Client { http, udp, is_typed: self.typed.iter().any(|typed| typed == url) }
    }

    fn fly(
        &mut self,
        tracker: TrackerId,
        services: &Services,
        answers: &mpsc::UnboundedSender<Box<Answer>>,
        span: Span,
        question: impl Future<Output = Answer> + Send + 'static,
    ) {
        let cancel = services.shutdown.cancel.child_token();
        self.flights.insert(tracker, cancel.clone());
        let answers = answers.clone();
        let flight = async move {
            let answer = question.await;
            // The torrent may have ended without waiting for it.
            let _ = answers.send(Box::new(answer));
        };
        services.tasks.spawn(cancel.run_until_cancelled_owned(flight).instrument(span));
    }

    /// Their addresses by tier.
    pub(crate) fn tiers(&self, now: Instant) -> Vec<Vec<String>> {
        let mut tiers: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        for tracker in self.statuses(now) {
            tiers.entry(tracker.tier).or_default().push(tracker.url);
        }
        tiers.into_values().collect()
    }

    pub(crate) fn statuses(&self, now: Instant) -> Vec<TrackerStatus> {
        let status = |tracker: ferri_tracker::schedule::ScheduledTracker| TrackerStatus {
            url: tracker.url,
            tier: tracker.tier,
            state: tracker.state,
            seeders: tracker.seeders,
            leechers: tracker.leechers,
            error: tracker.last_error,
            next_announce: tracker.next_announce.map(|at| at.saturating_duration_since(now)),
        };
        self.schedule.trackers().into_iter().map(status).collect()
    }
}

/// A question that nobody will answer is over all the same: the tracker is asked again.
fn failed<T>(panic: Panic) -> Result<T, TrackerError> {
    tracing::error!(%panic, "asking a tracker failed by a fault of ours");
    Err(TrackerError::Unreachable { why: format!("this is a fault of the program ({panic})") })
}

/// The families that a session speaks.
fn families(bind: Option<IpAddr>) -> Vec<Family> {
    match bind {
        Some(IpAddr::V4(_)) => vec![Family::V4],
        Some(IpAddr::V6(ip)) if !ip.is_unspecified() => vec![Family::V6],
        // A socket on `::` takes both.
        _ => vec![Family::V4, Family::V6],
    }
}

fn tell_of(notice: Notice, events: &EventLog, network: &Network) {
    let event = match notice {
        Notice::Asked { url, event } => {
            Event::Announcing { url, event: event.map_or("", |event| event.as_str()) }
        }
        Notice::Answered { url, response, peers, .. } => {
            if let Some(ip) = response.external_ip {
                network.seen_as(Voter::tracker(&url), ip);
            }
            Event::TrackerAnswered {
                url,
                seeders: response.seeders,
                leechers: response.leechers,
                peers,
                warning: response.warning,
            }
        }
        Notice::Failed { url, error, .. } | Notice::Unusable { url, error } => {
            Event::TrackerFailed { url, error }
        }
        Notice::Scraped { url, scrape } => {
            let (seeders, leechers) = (Some(scrape.seeders), Some(scrape.leechers));
            Event::TrackerAnswered { url, seeders, leechers, peers: 0, warning: None }
        }
        Notice::LeftOut { trackers } => Event::Note(Note::TrackersLeftOut { trackers }),
    };
    events.send(event);
}
