//! The end of a search's talk with its trackers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ferri_tracker::schedule::Role;
use tokio::sync::mpsc;

use crate::events::EventLog;
use crate::services::Services;
use crate::trackers::{Announced, Answer, Totals, Trackers};

/// Trackers are told within this that the search is over, or not at all.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// A search's channel of trackers' answers.
pub(crate) type Answers = (mpsc::UnboundedSender<Answer>, mpsc::UnboundedReceiver<Answer>);

/// Of a torrent that is not known nothing is here.
pub(super) struct Unknown;

impl Announced for Unknown {
    fn totals(&self) -> Totals {
        Totals { uploaded: 0, downloaded: 0, have: 0, role: Role::Downloading }
    }
}

/// Tells the trackers that we stopped, within [`STOP_TIMEOUT`].
pub(super) async fn farewell(
    services: &Arc<Services>,
    events: &EventLog,
    mut trackers: Trackers,
    answers: Answers,
) {
    let (sender, mut answers) = answers;
    let told = async {
        trackers.stop(&Unknown, Instant::now());
        loop {
            // Nobody wants peers any more.
            trackers.drain(events, services, &sender);
            if trackers.is_stopped() {
                return;
            }
            let due = trackers.poll_timeout();
            tokio::select! {
                Some(answer) = answers.recv() => trackers.answered(answer, &Unknown, Instant::now()),
                () = sleep_until(due) => trackers.timeout(&Unknown, &services.trackers.pace, Instant::now()),
            }
        }
    };
    tokio::select! {
        biased;
        () = services.shutdown.cancel.cancelled() => {}
        () = tokio::time::sleep(STOP_TIMEOUT) => {}
        () = told => {}
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
