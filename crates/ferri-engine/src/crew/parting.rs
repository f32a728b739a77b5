//! A torrent that was looked for by one of its names and is announced by another one: trackers hear of the first that we
//! went.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ferri_tracker::schedule::Role;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tracing::{Instrument, Span};

use super::{Crew, Inbox, Machine};
use crate::clock;
use crate::events::EventLog;
use crate::services::Services;
use crate::trackers::{Announced, Answer, Totals, Trackers};

/// Trackers are told within this that we went, or not at all.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// The end of a talk with trackers that the torrent has left.
struct Parting {
    services: Arc<Services>,
    events: EventLog,
    trackers: Trackers,
    sender: UnboundedSender<Box<Answer>>,
    answers: UnboundedReceiver<Box<Answer>>,
}

/// Nothing was fetched while only a name was known.
struct Nothing;

impl Announced for Nothing {
    fn totals(&self) -> Totals {
        Totals { uploaded: 0, downloaded: 0, have: 0, role: Role::Downloading }
    }
}

impl<M: Machine> Crew<M> {
    /// Talks with other trackers from here on, or with the same by another name. Those that were talked with are told that we
    /// went, in a task of its own; `inbox` is the crew's.
    pub(crate) fn replace_trackers(&mut self, trackers: Trackers, inbox: &mut Inbox) {
        let (sender, answers) = unbounded_channel();
        let parting = Parting {
            services: self.services.clone(),
            events: self.base.reporter.events.clone(),
            trackers: std::mem::replace(&mut self.base.trackers, trackers),
            sender: std::mem::replace(&mut self.senders.answers, sender),
            answers: std::mem::replace(&mut inbox.answers, answers),
        };
        let span = self.base.span.clone();
        let farewells = self.services.shutdown.farewells.clone();
        self.services.tasks.spawn(farewells.track_future(parting.run(span.clone()).instrument(span)));
    }
}

impl Parting {
    async fn run(mut self, span: Span) {
        let cancel = self.services.shutdown.cancel.clone();
        let told = async {
            self.trackers.stop(&Nothing, clock::now());
            loop {
                // The torrent asks for peers by its other name.
                self.trackers.drain(&self.events, &self.services, &self.sender, &span);
                if self.trackers.is_stopped() {
                    return;
                }
                let due = self.trackers.poll_timeout();
                tokio::select! {
                    Some(answer) = self.answers.recv() => {
                        self.trackers.answered(*answer, &Nothing, clock::now());
                    }
                    () = sleep_until(due) => {
                        self.trackers.timeout(&Nothing, clock::now());
                    }
                }
            }
        };
        tokio::select! {
            biased;
            () = cancel.cancelled() => {}
            () = tokio::time::sleep(STOP_TIMEOUT) => {}
            () = told => {}
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
