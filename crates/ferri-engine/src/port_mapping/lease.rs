//! When the gateway is asked for ports, and what is believed of its answers. A machine without I/O.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use super::{MappedPort, MappingFailure, MappingProtocol, PortMappingStatus, Transport};
use crate::route::Paths;
use crate::why_off::WhyOff;

/// The first try after one that failed; each further one waits twice as long.
const BACK_OFF_MIN: Duration = Duration::from_secs(10);
const BACK_OFF_MAX: Duration = Duration::from_secs(15 * 60);
/// A renewal that failed is tried again when half of what is left of the lease has passed, but not sooner than this (RFC 6887,
/// section 11.2.1).
const RENEW_AGAIN_MIN: Duration = Duration::from_secs(4);
/// What a gateway grants is renewed at half of it; for shorter or longer leases, as for these.
const LIFETIME_MIN: Duration = Duration::from_secs(20);
const LIFETIME_MAX: Duration = Duration::from_secs(2 * 60 * 60);

/// Where the gateway is, and what is wanted there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) gateway: Ipv4Addr,
    /// Our address as the gateway sees it.
    pub(super) local: Ipv4Addr,
    /// Not empty; the first one is what is announced.
    pub(super) ports: Vec<(Transport, u16)>,
}

/// What happened.
#[derive(Debug)]
pub(super) enum Input {
    /// Where the gateway is.
    Paths(Paths),
    /// It forwards; answers `Ask` or `Renew`.
    Granted { number: u64, granted: Granted },
    /// It does not; answers `Ask` or `Renew`.
    Refused { number: u64, why: String },
    /// The instant of `poll_timeout` has come.
    Timeout,
}

/// What the gateway granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Granted {
    pub(super) protocol: MappingProtocol,
    /// At least the first of those that were wished.
    pub(super) ports: Vec<MappedPort>,
    /// The shortest of theirs.
    pub(super) lifetime: Duration,
    pub(super) outside: Option<IpAddr>,
}

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// Ask the gateway for these ports, by whatever it speaks. Questions before this one are forgotten.
    Ask { number: u64, wish: Wish },
    /// Ask for what is held once more, the same way.
    Renew { number: u64 },
    /// Give back what is held, if the gateway can still be asked.
    Drop,
    /// What people see, and the port that is announced.
    Status { status: PortMappingStatus, external_port: Option<u16> },
}

/// The session's ports at one gateway after the other.
#[derive(Debug)]
pub(super) struct Leases {
    ports: Vec<(Transport, u16)>,
    wish: Option<Wish>,
    held: Option<Lease>,
    /// A question is under way.
    is_asking: bool,
    /// The number of the latest question.
    number: u64,
    /// When it was asked: a lease may count from there.
    asked: Instant,
    failures: u32,
    /// When the next question is due, if there is none under way.
    next: Option<Instant>,
    outputs: VecDeque<Output>,
}

#[derive(Debug)]
struct Lease {
    granted: Granted,
    until: Instant,
}

impl Leases {
    /// `ports`: what is wanted; the first is the one that is announced.
    pub(super) fn new(ports: Vec<(Transport, u16)>, now: Instant) -> Self {
        Self {
            ports,
            wish: None,
            held: None,
            is_asking: false,
            number: 0,
            asked: now,
            failures: 0,
            next: None,
            outputs: VecDeque::new(),
        }
    }

    /// Takes note of what happened.
    pub(super) fn handle(&mut self, input: Input, now: Instant) {
        match input {
            Input::Paths(paths) => self.paths(&paths, now),
            Input::Granted { number, granted } if self.awaits(number) => {
                self.granted(granted, now);
            }
            Input::Refused { number, why } if self.awaits(number) => self.refused(why, now),
            // The answer to a question about somewhere else.
            Input::Granted { .. } | Input::Refused { .. } => {}
            Input::Timeout => self.timeout(now),
        }
    }

    /// What to do; ask until `None`.
    pub(super) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Whether the answer to this question is still of use.
    pub(super) fn awaits(&self, number: u64) -> bool {
        self.is_asking && number == self.number
    }

    /// When to hand in [`Input::Timeout`].
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let ends = self.held.as_ref().map(|held| held.until);
        let next = self.next.filter(|_| !self.is_asking);
        [ends, next].into_iter().flatten().min()
    }

    fn paths(&mut self, paths: &Paths, now: Instant) {
        let wish =
            paths.v4.map(|path| Wish { gateway: path.gateway, local: path.local, ports: self.ports.clone() });
        if self.wish.is_some() && self.wish == wish {
            return;
        }
        self.wish = wish;
        if self.held.take().is_some() {
            self.outputs.push_back(Output::Drop);
        }
        (self.is_asking, self.failures, self.next) = (false, 0, None);
        // Whatever is under way is about another place.
        self.number += 1;
        match &self.wish {
            Some(wish) => {
                let gateway = wish.gateway.into();
                self.tell(PortMappingStatus::Asking { gateway });
                self.ask(now);
            }
            None => {
                let why = paths.why.clone().unwrap_or_else(|| "there is no gateway".to_owned());
                self.tell(PortMappingStatus::Off { why: WhyOff::NoGateway(why) });
            }
        }
    }

    fn ask(&mut self, now: Instant) {
        let Some(wish) = self.wish.clone() else { return };
        self.number += 1;
        (self.is_asking, self.next, self.asked) = (true, None, now);
        let number = self.number;
        // What is held and was renewed without trouble is renewed the same way; after trouble everything is tried.
        self.outputs.push_back(match self.held {
            Some(_) if self.failures == 0 => Output::Renew { number },
            _ => Output::Ask { number, wish },
        });
    }

    fn granted(&mut self, granted: Granted, now: Instant) {
        let Some(wish) = &self.wish else { return };
        let lifetime = granted.lifetime.clamp(LIFETIME_MIN, LIFETIME_MAX);
        // A busy machine may hear of it late. The gateway counts from before.
        let since = self.asked;
        (self.is_asking, self.failures, self.next) = (false, 0, Some(now.max(since + lifetime / 2)));
        let status = PortMappingStatus::Mapped {
            gateway: wish.gateway.into(),
            protocol: granted.protocol,
            ports: granted.ports.clone(),
            outside: granted.outside,
        };
        let is_news = self.held.as_ref().is_none_or(|held| {
            (&held.granted.ports, held.granted.outside, held.granted.protocol)
                != (&granted.ports, granted.outside, granted.protocol)
        });
        self.held = Some(Lease { granted, until: since + lifetime });
        if is_news {
            self.tell(status);
        }
    }

    fn refused(&mut self, why: String, now: Instant) {
        self.is_asking = false;
        let wait = BACK_OFF_MIN.saturating_mul(1 << self.failures.min(16)).min(BACK_OFF_MAX);
        let left = self.held.as_ref().map(|held| held.until.saturating_duration_since(now));
        let wait = left.map_or(wait, |left| wait.min(left / 2).max(RENEW_AGAIN_MIN));
        self.failures += 1;
        self.next = Some(now + wait);
        // While the lease lasts, the port is open: people need not be frightened.
        if self.held.is_none() {
            self.fail(MappingFailure::Refused(why));
        }
    }

    fn timeout(&mut self, now: Instant) {
        if self.held.as_ref().is_some_and(|held| held.until <= now) {
            self.held = None;
            self.fail(MappingFailure::LeaseEnded);
        }
        if !self.is_asking && self.next.is_some_and(|at| at <= now) {
            self.ask(now);
        }
    }

    fn fail(&mut self, why: MappingFailure) {
        if let Some(wish) = &self.wish {
            let gateway = wish.gateway.into();
            self.tell(PortMappingStatus::Failed { gateway, why });
        }
    }

    fn tell(&mut self, status: PortMappingStatus) {
        let announced = self.ports.first();
        let external_port = self.held.as_ref().and_then(|held| {
            let ports = &held.granted.ports;
            ports
                .iter()
                .find(|port| announced == Some(&(port.transport, port.internal)))
                .map(|port| port.external)
        });
        self.outputs.push_back(Output::Status { status, external_port });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::route::Path;

    const HOUR: Duration = Duration::from_secs(3600);

    fn paths(gateway: u8) -> Paths {
        let path = Path { gateway: [192, 168, gateway, 1].into(), local: [192, 168, gateway, 2].into() };
        Paths { v4: Some(path), ..Paths::default() }
    }

    fn grant(external: u16, lifetime: Duration) -> Granted {
        let port = |transport| MappedPort { transport, internal: 6881, external };
        let ports = vec![port(Transport::Tcp), port(Transport::Udp)];
        Granted { protocol: MappingProtocol::Pcp, ports, lifetime, outside: None }
    }

    /// Drives the machine, and keeps what it said.
    struct Run {
        leases: Leases,
        now: Instant,
        number: u64,
        external_port: Option<u16>,
    }

    impl Run {
        fn new() -> Self {
            let now = Instant::now();
            let leases = Leases::new(vec![(Transport::Tcp, 6881), (Transport::Udp, 6881)], now);
            Self { leases, now, number: 0, external_port: None }
        }

        /// What it wants done, in a word each.
        fn give(&mut self, input: Input) -> Vec<&'static str> {
            self.leases.handle(input, self.now);
            let mut said = Vec::new();
            while let Some(output) = self.leases.poll_output() {
                said.push(match output {
                    Output::Ask { number, .. } => {
                        self.number = number;
                        "ask"
                    }
                    Output::Renew { number } => {
                        self.number = number;
                        "renew"
                    }
                    Output::Drop => "drop",
                    Output::Status { status, external_port } => {
                        self.external_port = external_port;
                        match status {
                            PortMappingStatus::Off { .. } => "off",
                            PortMappingStatus::Asking { .. } => "asking",
                            PortMappingStatus::Mapped { .. } => "mapped",
                            PortMappingStatus::Failed { .. } => "failed",
                        }
                    }
                });
            }
            said
        }

        fn granted(&mut self, external: u16, lifetime: Duration) -> Vec<&'static str> {
            let (number, granted) = (self.number, grant(external, lifetime));
            self.give(Input::Granted { number, granted })
        }

        fn refused(&mut self) -> Vec<&'static str> {
            let number = self.number;
            self.give(Input::Refused { number, why: "no".to_owned() })
        }

        /// Goes to the next instant that is due; how long that was.
        fn wait(&mut self) -> (u64, Vec<&'static str>) {
            let at = self.leases.poll_timeout().unwrap();
            let passed = at.saturating_duration_since(self.now).as_secs();
            self.now = at;
            (passed, self.give(Input::Timeout))
        }
    }

    #[test]
    fn a_lease_is_renewed_at_half_of_its_time() {
        let mut run = Run::new();
        assert_eq!(run.give(Input::Paths(paths(1))), ["asking", "ask"]);
        assert_eq!(run.leases.poll_timeout(), None);
        assert_eq!(run.granted(6881, HOUR), ["mapped"]);
        for _ in 0..3 {
            assert_eq!(run.wait(), (1800, vec!["renew"]));
            assert_eq!(run.granted(6881, HOUR), [] as [&str; 0]);
        }
        assert_eq!(run.external_port, Some(6881));
    }

    #[test]
    fn a_port_that_changes_is_told() {
        let mut run = Run::new();
        run.give(Input::Paths(paths(1)));
        run.granted(7000, HOUR);
        assert_eq!(run.external_port, Some(7000));
        run.wait();
        assert_eq!(run.granted(7001, HOUR), ["mapped"]);
        assert_eq!(run.external_port, Some(7001));
    }

    #[test]
    fn a_gateway_that_refuses_is_asked_again_less_and_less_often() {
        let mut run = Run::new();
        run.give(Input::Paths(paths(1)));
        let mut waits = Vec::new();
        for _ in 0..9 {
            assert_eq!(run.refused(), ["failed"]);
            let (wait, said) = run.wait();
            waits.push(wait);
            assert_eq!(said, ["ask"]);
        }
        assert_eq!(waits, [10, 20, 40, 80, 160, 320, 640, 900, 900]);
        assert_eq!(run.granted(6881, HOUR), ["mapped"]);
    }

    #[test]
    fn a_renewal_that_fails_leaves_the_port_until_the_lease_ends() {
        let mut run = Run::new();
        run.give(Input::Paths(paths(1)));
        run.granted(6881, Duration::from_secs(60));
        assert_eq!(run.wait(), (30, vec!["renew"]));
        assert_eq!(run.refused(), [] as [&str; 0]);
        assert_eq!(run.external_port, Some(6881));
        // The shorter what is left, the sooner.
        for wait in [10, 10, 5, 4] {
            assert_eq!(run.wait(), (wait, vec!["ask"]));
            assert_eq!(run.refused(), [] as [&str; 0]);
            assert_eq!(run.external_port, Some(6881));
        }
        assert_eq!(run.wait(), (1, vec!["failed"]));
        assert_eq!(run.external_port, None);
        assert_eq!(run.wait(), (3, vec!["ask"]));
        assert_eq!(run.granted(6881, HOUR), ["mapped"]);
    }

    #[test]
    fn a_lease_counts_from_the_question_however_late_the_answer_is_heard() {
        let mut run = Run::new();
        run.give(Input::Paths(paths(1)));
        run.now += Duration::from_secs(15);
        run.granted(6881, Duration::from_secs(40));
        assert_eq!(run.wait(), (5, vec!["renew"]));
        run.now += Duration::from_secs(25);
        assert_eq!(run.give(Input::Timeout), ["failed"]);
    }

    #[test]
    fn another_network_means_another_gateway_and_old_answers_do_not_count() {
        let mut run = Run::new();
        run.give(Input::Paths(paths(1)));
        let old = run.number;
        assert_eq!(run.give(Input::Paths(paths(2))), ["asking", "ask"]);
        assert_eq!(run.give(Input::Granted { number: old, granted: grant(6881, HOUR) }), [] as [&str; 0]);
        assert_eq!(run.granted(6881, HOUR), ["mapped"]);
        assert_eq!(run.give(Input::Paths(paths(2))), [] as [&str; 0]);
        assert_eq!(run.give(Input::Paths(Paths::default())), ["drop", "off"]);
        assert_eq!(run.external_port, None);
        assert_eq!(run.leases.poll_timeout(), None);
    }

    #[test]
    fn a_lease_of_nothing_or_for_ever_is_renewed_in_good_time() {
        for (lifetime, wait) in [(Duration::ZERO, 10), (Duration::MAX, 3600)] {
            let mut run = Run::new();
            run.give(Input::Paths(paths(1)));
            run.granted(6881, lifetime);
            assert_eq!(run.wait(), (wait, vec!["renew"]));
        }
    }
}
