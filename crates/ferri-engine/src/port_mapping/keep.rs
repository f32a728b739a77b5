//! Ports are kept mapped: carries out what the leases want, and tells the session how it stands.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ask::{self, Held};
use super::lease::{Input, Leases, Output};
use super::{PortMappingStatus, Transport};
use crate::egress::Egress;
use crate::route::Paths;

/// Giving ports back may take this long at the end of a session.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(2);
/// And before that, a question that is under way gets this long.
const LANDING_TIMEOUT: Duration = Duration::from_secs(1);

/// What the session hears.
#[derive(Debug)]
pub(crate) enum Told {
    /// How it stands, and the port at the gateway for the first port that was wished for.
    Status(PortMappingStatus, Option<u16>),
    /// The gateway's address on the other side.
    Outside(IpAddr),
}

/// What keeping ports mapped needs of its session.
#[derive(Debug)]
pub(crate) struct Ours {
    pub(crate) egress: Arc<Egress>,
    /// Where the gateways are, as soon as it is known.
    pub(crate) paths: watch::Receiver<Option<Paths>>,
    /// Cancelled when no new peer is accepted.
    pub(crate) stop: CancellationToken,
    /// For what outlives a lease.
    pub(crate) tasks: TaskTracker,
}

/// Keeps `ports` mapped until the session accepts no peers any more, and then gives them back. The first one, which
/// peers connect to, is announced as the session's.
pub(crate) async fn run(ours: Ours, ports: Vec<(Transport, u16)>, tell: impl Fn(Told) + Send) {
    let Ours { egress, mut paths, stop, tasks } = ours;
    let mut leases = Leases::new(ports, Instant::now());
    let mut driver = Driver { tell, egress, tasks, held: None, flights: JoinSet::new(), number: 0 };
    loop {
        let path = paths.borrow_and_update().clone();
        if let Some(path) = path {
            leases.handle(Input::Paths(path), Instant::now());
            driver.drain(&mut leases);
        }
        loop {
            let wake = leases.poll_timeout();
            tokio::select! {
                biased;
                () = stop.cancelled() => return driver.end().await,
                Some(flight) = driver.flights.join_next() => driver.landed(&mut leases, flight.ok()),
                Ok(()) = paths.changed() => break,
                () = sleep_until(wake) => leases.handle(Input::Timeout, Instant::now()),
            }
            driver.drain(&mut leases);
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// An answer, and the number of the question.
type Flight = (u64, Result<Held, String>);

/// Carries out what the leases want.
struct Driver<T> {
    tell: T,
    egress: Arc<Egress>,
    tasks: TaskTracker,
    held: Option<Held>,
    flights: JoinSet<Flight>,
    number: u64,
}

impl<T: Fn(Told)> Driver<T> {
    fn drain(&mut self, leases: &mut Leases) {
        while let Some(output) = leases.poll_output() {
            match output {
                Output::Ask { number, wish } => {
                    self.number = number;
                    let (egress, held) = (self.egress.clone(), self.held.clone());
                    self.flights.spawn(async move { (number, ask::ask(&egress, &wish, held).await) });
                }
                Output::Renew { number } => {
                    self.number = number;
                    if let Some(held) = self.held.clone() {
                        self.flights.spawn(async move { (number, held.renew().await) });
                    }
                }
                Output::Drop => {
                    if let Some(held) = self.held.take() {
                        // The gateway may be gone; then its leases end by themselves.
                        self.tasks.spawn(tokio::time::timeout(REMOVE_TIMEOUT, held.remove()));
                    }
                }
                Output::Status { status, external_port } => {
                    tracing::debug!(%status, "port mapping");
                    (self.tell)(Told::Status(status, external_port));
                }
            }
        }
    }

    fn landed(&mut self, leases: &mut Leases, flight: Option<Flight>) {
        // A flight that panicked has no number; the question is asked again like one without an answer.
        let (number, result) = flight.unwrap_or_else(|| (self.number, Err("asking failed".to_owned())));
        let now = Instant::now();
        match result {
            Ok(held) if leases.awaits(number) => {
                let granted = held.granted();
                if let Some(ip) = granted.outside {
                    (self.tell)(Told::Outside(ip));
                }
                self.held = Some(held);
                leases.handle(Input::Granted { number, granted }, now);
            }
            // What was opened where we are no longer.
            Ok(held) => drop(self.tasks.spawn(tokio::time::timeout(REMOVE_TIMEOUT, held.remove()))),
            Err(why) => leases.handle(Input::Refused { number, why }, now),
        }
    }

    /// Gives everything back, what is just being granted included.
    async fn end(mut self) {
        let landing = async {
            while let Some(flight) = self.flights.join_next().await {
                if let Ok((_, Ok(held))) = flight {
                    self.held = Some(held);
                }
            }
        };
        // A question that has no answer by then has opened nothing.
        let _ = tokio::time::timeout(LANDING_TIMEOUT, landing).await;
        if let Some(held) = self.held.take()
            && tokio::time::timeout(REMOVE_TIMEOUT, held.remove()).await.is_err()
        {
            tracing::warn!(
                "the gateway did not say in time that it closed our ports; it will when the lease ends"
            );
        }
    }
}
