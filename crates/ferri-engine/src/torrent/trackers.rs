//! A torrent's talk with its trackers: the schedule decides, this carries it out.
//!
//! Every announce is a task of its own that ends by itself within the transport's deadline; its answer comes back to
//! the torrent's task. Regular announces, the first one included, wait for their turn at the tracker's host; see `pace`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use ferri_metainfo::InfoHash;
use ferri_swarm::{Input as SwarmInput, Role as SwarmRole, Source, Swarm};
use ferri_tracker::schedule::{Input, Notice, Output, Role, Schedule, ScheduleOptions, TrackerId};
use ferri_tracker::{AnnounceResponse, Scrape, TrackerError};
use ferri_wire::PeerId;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::task::View;
use crate::external::Voter;
use crate::network::Network;
use crate::pace::Pace;
use crate::session::Shared;
use crate::status::{Event, TrackerStatus};
use crate::tracker_client;

/// A regular announce is up to this part of its interval late, by chance: those that were due together drift apart.
const LATE: f64 = 20.0;

/// What announces are made of.
pub(super) struct TrackersOptions {
    pub(super) tiers: Vec<Vec<String>>,
    /// Asked in any case, whatever those of the torrent say.
    pub(super) extra: Vec<String>,
    /// Bytes of the torrent.
    pub(super) total: u64,
    pub(super) info_hash: InfoHash,
    pub(super) peer_id: PeerId,
    pub(super) port: u16,
}

/// What a tracker said, or why it did not.
#[derive(Debug)]
pub(super) enum Answer {
    Announce(TrackerId, Result<AnnounceResponse, TrackerError>),
    Scrape(TrackerId, Result<Scrape, TrackerError>),
}

/// A torrent's trackers.
pub(super) struct Trackers {
    schedule: Schedule,
    /// Bytes of the torrent.
    total: u64,
    flights: BTreeMap<TrackerId, CancellationToken>,
    /// The session with the trackers begins when it is our turn, wished for since then.
    starting: Option<Instant>,
    /// Our turn to announce.
    turn: Option<Instant>,
    /// Not before this instant is there anything regular to be said.
    late: Option<Instant>,
    stopped: bool,
}

impl Trackers {
    pub(super) fn new(options: TrackersOptions, now: Instant) -> Self {
        let schedule = ScheduleOptions::new(options.info_hash, *options.peer_id.as_bytes(), options.port);
        let mut schedule = Schedule::new(options.tiers, rand::random(), schedule, now);
        for url in options.extra {
            schedule.handle(Input::AddTracker { url }, now);
        }
        Self {
            schedule,
            total: options.total,
            flights: BTreeMap::new(),
            starting: None,
            turn: None,
            late: None,
            stopped: true,
        }
    }

    /// The next [`Self::timeout`] begins, or one after it.
    pub(super) fn start(&mut self, now: Instant) {
        self.stopped = false;
        self.starting = Some(now);
    }

    pub(super) fn stop(&mut self, swarm: &Swarm, now: Instant) {
        self.starting = None;
        if !self.stopped {
            self.tell(swarm, now);
            self.schedule.handle(Input::Stop, now);
        }
    }

    /// Everybody who should know that we stopped has been told, or there was nobody.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped
    }

    pub(super) fn completed(&mut self, swarm: &Swarm, now: Instant) {
        self.tell(swarm, now);
        self.schedule.handle(Input::Completed, now);
    }

    pub(super) fn reannounce(&mut self, swarm: &Swarm, now: Instant) {
        (self.turn, self.late) = (None, None);
        self.tell(swarm, now);
        if self.starting.take().is_some() {
            self.schedule.handle(Input::Start, now);
        }
        self.schedule.handle(Input::Reannounce, now);
    }

    /// The port that peers are told is another one: the trackers are told as soon as they allow it.
    pub(super) fn listen_port(&mut self, port: u16, now: Instant) {
        self.late = None;
        self.schedule.handle(Input::ListenPort(port), now);
    }

    pub(super) fn want_peers(&mut self, swarm: &Swarm, now: Instant) {
        self.tell(swarm, now);
        self.schedule.handle(Input::NeedPeers, now);
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let due = self.starting.or_else(|| self.schedule.poll_timeout())?;
        let held = if self.flights.is_empty() { self.turn.max(self.late) } else { None };
        Some(held.map_or(due, |until| until.max(due)))
    }

    pub(super) fn timeout(&mut self, swarm: &Swarm, pace: &Pace, now: Instant) {
        if self.poll_timeout().is_none_or(|at| now < at) {
            return;
        }
        if self.flights.is_empty()
            && let Some(url) = self.schedule.next_url()
            && let Err(turn) = pace.turn(url, self.turn, now)
        {
            self.turn = Some(turn);
            return;
        }
        (self.turn, self.late) = (None, None);
        self.tell(swarm, now);
        let due = if self.starting.take().is_some() { Input::Start } else { Input::Timeout };
        self.schedule.handle(due, now);
    }

    pub(super) fn answered(&mut self, answer: Answer, swarm: &Swarm, now: Instant) {
        self.tell(swarm, now);
        match answer {
            Answer::Announce(tracker, result) => {
                self.flights.remove(&tracker);
                self.schedule.handle(Input::Answer { tracker, result }, now);
                let wait = self.schedule.poll_timeout().map(|due| due.saturating_duration_since(now));
                self.late = wait.map(|wait| now + wait + wait.mul_f64(rand::random::<f64>() / LATE));
            }
            Answer::Scrape(tracker, result) => {
                self.flights.remove(&tracker);
                self.schedule.handle(Input::ScrapeAnswer { tracker, result }, now);
            }
        }
    }

    /// Numbers are taken at the moment of each announce.
    fn tell(&mut self, swarm: &Swarm, now: Instant) {
        let stats = swarm.stats();
        let left = self.total - stats.have_bytes;
        let totals = Input::Stats { uploaded: stats.uploaded, downloaded: stats.downloaded, left };
        self.schedule.handle(totals, now);
        let role = match swarm.role() {
            SwarmRole::PartialSeed => Role::PartialSeed,
            SwarmRole::Leech | SwarmRole::Seed => Role::Downloading,
        };
        self.schedule.handle(Input::Role(role), now);
    }

    /// Carries out what the schedule wants and returns what the swarm should hear.
    pub(super) fn drain(
        &mut self,
        view: &View,
        shared: &Arc<Shared>,
        answers: &mpsc::UnboundedSender<Answer>,
    ) -> Vec<SwarmInput> {
        let mut inputs = Vec::new();
        while let Some(output) = self.schedule.poll_output() {
            match output {
                Output::Announce { tracker, url, announce } => {
                    let event = announce.event.map_or("", |event| event.as_str());
                    view.event(Event::Announcing { url: url.clone(), event });
                    let flight = shared.pace.flight(&url, Instant::now());
                    let (http, bind) = (shared.http.clone(), shared.options.bind);
                    self.fly(tracker, shared, answers, async move {
                        let result = tracker_client::announce(&http, bind, &url, announce).await;
                        drop(flight);
                        Answer::Announce(tracker, result)
                    });
                }
                Output::Scrape { tracker, url, info_hash } => {
                    let (http, bind) = (shared.http.clone(), shared.options.bind);
                    self.fly(tracker, shared, answers, async move {
                        Answer::Scrape(tracker, tracker_client::scrape(&http, bind, &url, info_hash).await)
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
                Output::Event(notice) => tell_of(notice, view, &shared.network),
                Output::Stopped => self.stopped = true,
            }
        }
        inputs
    }

    fn fly(
        &mut self,
        tracker: TrackerId,
        shared: &Shared,
        answers: &mpsc::UnboundedSender<Answer>,
        question: impl Future<Output = Answer> + Send + 'static,
    ) {
        let cancel = shared.shutdown.cancel.child_token();
        self.flights.insert(tracker, cancel.clone());
        let answers = answers.clone();
        let flight = async move {
            let answer = question.await;
            // The torrent may have ended without waiting for it.
            let _ = answers.send(answer);
        };
        shared.tasks.spawn(cancel.run_until_cancelled_owned(flight));
    }

    pub(super) fn statuses(&self, now: Instant) -> Vec<TrackerStatus> {
        let status = |tracker: ferri_tracker::schedule::TrackerStatus| TrackerStatus {
            url: tracker.url,
            tier: tracker.tier,
            state: tracker.state.to_string(),
            seeders: tracker.seeders,
            leechers: tracker.leechers,
            error: tracker.last_error,
            next_announce: tracker.next_announce.map(|at| at.saturating_duration_since(now)),
        };
        self.schedule.trackers().into_iter().map(status).collect()
    }
}

fn tell_of(notice: Notice, view: &View, network: &Network) {
    let event = match notice {
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
            Event::TrackerFailed { url, text: error.to_string() }
        }
        Notice::Scraped { url, scrape } => {
            let (seeders, leechers) = (Some(scrape.seeders), Some(scrape.leechers));
            Event::TrackerAnswered { url, seeders, leechers, peers: 0, warning: None }
        }
        Notice::LeftOut { trackers } => {
            Event::Note(format!("{trackers} of the torrent's trackers are not used: there are too many"))
        }
    };
    view.event(event);
}
