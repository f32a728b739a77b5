//! The end of a search's talk with its trackers.

use std::time::{Duration, Instant};

use ferri_swarm::MetadataSwarm;

use crate::clock;
use crate::crew::{Crew, Happened, Inbox};
use crate::services::Services;

/// Trackers are told within this that the search is over, or not at all.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Tells the trackers that we stopped, within [`STOP_TIMEOUT`].
pub(super) async fn farewell(services: &Services, mut crew: Crew<MetadataSwarm>, mut inbox: Inbox) {
    let told = async {
        crew.stop_trackers(clock::now());
        loop {
            // Nobody wants peers any more.
            while crew.poll(clock::now()).is_some() {}
            if crew.trackers().is_stopped() {
                return;
            }
            let due = crew.trackers().poll_timeout();
            tokio::select! {
                Some(answer) = inbox.answer() => crew.happened(Happened::Answer(answer), clock::now()),
                () = sleep_until(due) => crew.timeout(clock::now()),
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
