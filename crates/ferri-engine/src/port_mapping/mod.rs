//! The session's ports at the gateway: asked for by PCP (RFC 6887), NAT-PMP (RFC 6886) or UPnP, kept while the session
//! runs, given back at its end.
//!
//! The gateway is the one in the routing table, and no other host is asked: PCP and NAT-PMP ask its address, and a UPnP
//! device counts only when its answer, its description and its controls are all at that address. `lease` decides what
//! is done when, `ask` does it, `upnp` knows what routers grant in which way. Only IPv4 is mapped: most gateways of
//! IPv6 have no address that PCP can be spoken to from the address that is to be opened, as it has to be.

mod ask;
mod lease;
mod upnp;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::ask::Held;
use self::lease::{Input, Leases, Output};
use crate::egress::Egress;
use crate::external::{Scope, scope};
use crate::route::Paths;
use crate::why_off::WhyOff;

/// Giving ports back may take this long at the end of a session.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(2);
/// And before that, a question that is under way gets this long.
const LANDING_TIMEOUT: Duration = Duration::from_secs(1);

/// What a port is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        })
    }
}

/// How a gateway was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MappingProtocol {
    /// The Port Control Protocol, RFC 6887.
    Pcp,
    /// Its predecessor, RFC 6886.
    NatPmp,
    /// The Internet Gateway Device of UPnP.
    Upnp,
}

impl fmt::Display for MappingProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pcp => "PCP",
            Self::NatPmp => "NAT-PMP",
            Self::Upnp => "UPnP",
        })
    }
}

/// A port that the gateway forwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MappedPort {
    /// What it is for.
    pub transport: Transport,
    /// Ours. Never 0.
    pub internal: u16,
    /// The gateway's, for the world; it chooses. Never 0.
    pub external: u16,
}

/// What became of the session's ports at the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortMappingStatus {
    /// No gateway is asked.
    Off {
        /// Why.
        why: WhyOff,
    },
    /// The gateway has not answered yet.
    Asking {
        /// The gateway that is asked.
        gateway: IpAddr,
    },
    /// It forwards.
    Mapped {
        /// Who.
        gateway: IpAddr,
        /// How it was asked.
        protocol: MappingProtocol,
        /// What it forwards.
        ports: Vec<MappedPort>,
        /// Its own address on the other side, as far as it said. Where that is a private one there is another gateway
        /// behind it, and peers do not come through.
        outside: Option<IpAddr>,
    },
    /// It does not; it is asked again later.
    Failed {
        /// Who.
        gateway: IpAddr,
        /// What was tried and what came of it, in words.
        why: String,
    },
}

impl fmt::Display for PortMappingStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off { why } => write!(f, "off: {why}"),
            Self::Asking { gateway } => write!(f, "asking the gateway {gateway}"),
            Self::Failed { gateway, why } => write!(f, "the gateway {gateway} opens no port ({why})"),
            Self::Mapped { gateway, protocol, ports, outside } => {
                for (n, port) in ports.iter().enumerate() {
                    let comma = if n == 0 { "" } else { ", " };
                    write!(f, "{comma}{} {}", port.transport, port.external)?;
                    if port.external != port.internal {
                        write!(f, " (here {})", port.internal)?;
                    }
                }
                write!(f, " open at the gateway {gateway}, by {protocol}")?;
                match outside {
                    Some(ip) if scope(*ip) != Scope::World => {
                        write!(f, "; but it is behind another gateway itself, at {ip}")
                    }
                    _ => Ok(()),
                }
            }
        }
    }
}

/// Where the gateway is, and what is wanted there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) gateway: Ipv4Addr,
    /// Our address as the gateway sees it.
    pub(crate) local: Ipv4Addr,
    /// Not empty; the first one is what is announced.
    pub(crate) ports: Vec<(Transport, u16)>,
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_became_of_the_ports_is_said_in_words() {
        let gateway = IpAddr::from([192, 168, 1, 1]);
        let port = |transport, external| MappedPort { transport, internal: 6881, external };
        let mapped = |outside: [u8; 4]| PortMappingStatus::Mapped {
            gateway,
            protocol: MappingProtocol::NatPmp,
            ports: vec![port(Transport::Tcp, 6881), port(Transport::Udp, 7000)],
            outside: Some(outside.into()),
        };
        let words = "TCP 6881, UDP 7000 (here 6881) open at the gateway 192.168.1.1, by NAT-PMP";
        assert_eq!(mapped([9, 9, 9, 9]).to_string(), words);
        let behind = format!("{words}; but it is behind another gateway itself, at 10.0.0.2");
        assert_eq!(mapped([10, 0, 0, 2]).to_string(), behind);
    }
}
