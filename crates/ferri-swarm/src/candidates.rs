//! Addresses we might dial: where they came from, which comes next, when one may be tried again, and which never.
//!
//! Any peer can tell us addresses, so the list is bounded, and what may be on it depends on the source.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ferri_wire::extension::pex::PexFlags;

use crate::bans::{Bans, Known};
use crate::bep40;
use crate::input::Source;
use crate::network::Network;
use crate::reason::DisconnectReason;
use crate::rng::Rng;
use crate::status::SourceCounts;

/// Addresses remembered. A swarm of a million needs no more at a time, and a liar gets no more out of us.
pub(crate) const CANDIDATES_MAX: usize = 3_000;
/// Addresses of one source, at most: no tracker, no stranger and no flood in the DHT fills the list alone. People may.
const fn quota(source: Source) -> usize {
    match source {
        Source::Explicit => CANDIDATES_MAX,
        Source::Tracker => 2_000,
        Source::Dht => 1_500,
        Source::Resume | Source::Incoming | Source::Pex => 1_000,
        Source::Lsd => 500,
    }
}
/// Addresses that one peer (a host: connections are cheap) told us and that have not been connected, at most: twice what it
/// may say at a time.
const PER_TELLER_MAX: usize = 100;
/// Ports of one host, from sources that any peer can feed: a few people share an address, an attacker names thousands
/// of ports of a victim.
const PORTS_MAX: usize = 4;
/// An address that failed this often is forgotten (unless a person gave it).
const FAILURES_MAX: u32 = 6;
/// Wait after the first failure; four times as long after each further one.
const RETRY_FIRST: Duration = Duration::from_secs(15);
/// No wait is longer.
const RETRY_MAX: Duration = Duration::from_secs(30 * 60);
/// Wait before dialling a peer again whose connection had worked.
const RECONNECT: Duration = Duration::from_secs(30);
/// The same when no other peer is left; twice as long after each further connection that brought little.
const RECONNECT_SOON: Duration = Duration::from_secs(1);
/// A peer that says it listens at an address which others name too, and that gives us nothing for so long, may have named a
/// neighbour's.
const CLAIM_BELIEVED: Duration = Duration::from_secs(10);
/// A dial without an answer for this long counts as failed; the caller's own limit is shorter.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(60);
/// Services that strangers' address lists could make us knock at: shells, mail, names, files, databases.
const FOREIGN_PORTS: [u16; 26] = [
    7, 9, 19, 21, 22, 23, 25, 53, 110, 111, 123, 135, 139, 143, 179, 389, 445, 465, 514, 587, 636, 993, 995,
    3306, 5432, 6379,
];

/// Which peers it makes sense to dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// No peer that is known to have everything: so have we.
    NotSeeds,
    /// Any peer.
    Any,
    /// Any peer, and none is left that gives us anything: peers that did are dialled again soon.
    AnyAtOnce,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parting {
    /// It brought a good deal.
    Fruitful,
    /// The peer speaks our language; little came of it this time.
    Useful,
    /// Nothing came of it.
    Useless,
    /// The peer broke a rule.
    Guilty,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// May be dialled from this instant on.
    Idle(Instant),
    /// Being dialled since then.
    Connecting(Instant),
    Connected,
    /// A peer that called us says that it listens there. From this instant on it is doubted.
    Claimed(Instant),
}

#[derive(Clone, Debug)]
struct Candidate {
    source: Source,
    /// Another source than the peer itself says that a peer is there.
    named: bool,
    state: State,
    /// When it was to be dialled at the latest, while it is dialled sooner because no other peer is left.
    due: Instant,
    failures: u32,
    /// From when on it may be dialled if no other peer is left. `None`: we never met, or parted after a fault.
    soon: Option<Instant>,
    /// Connections that brought little, one after the other.
    partings: u32,
    /// BEP 40 priority, or chance while our own address is unknown.
    rank: u32,
    /// It had everything: of no use once we have too.
    seed: bool,
    /// The peer that named it (BEP 11), until there was a connection.
    teller: Option<IpAddr>,
}

/// The list.
#[derive(Debug)]
pub(crate) struct Candidates {
    known: BTreeMap<SocketAddr, Candidate>,
    /// How many of `known` are in state `Connecting`.
    connecting: usize,
    /// How many of `known` came from where.
    from: SourceCounts,
    /// How many of `known` have which teller. None of them is 0.
    told: BTreeMap<IpAddr, usize>,
    bans: Bans,
    /// Addresses at which we met ourselves.
    own: BTreeSet<SocketAddr>,
    /// Our addresses as the world sees them, one a family.
    external_v4: Option<IpAddr>,
    external_v6: Option<IpAddr>,
    listen_port: Option<u16>,
    rng: Rng,
}

impl Candidates {
    pub(crate) fn new(listen_port: Option<u16>, seed: u64) -> Self {
        Self {
            known: BTreeMap::new(),
            connecting: 0,
            from: SourceCounts::default(),
            told: BTreeMap::new(),
            bans: Bans::default(),
            own: BTreeSet::new(),
            external_v4: None,
            external_v6: None,
            listen_port,
            rng: Rng::new(seed),
        }
    }

    /// Learns addresses. Those that cannot be a peer's are dropped, as are those for which there is no room.
    pub(crate) fn found(&mut self, source: Source, addrs: &[SocketAddr], now: Instant) {
        for addr in addrs {
            if !self.learn(source, *addr, None, now) {
                return;
            }
        }
    }

    /// Learns what the peer at `teller` says about others (BEP 11).
    pub(crate) fn told(&mut self, teller: IpAddr, added: &[(SocketAddr, PexFlags)], now: Instant) {
        let teller = teller.to_canonical();
        for (addr, flags) in added {
            if PER_TELLER_MAX <= self.told.get(&teller).copied().unwrap_or(0) {
                return;
            }
            if !self.learn(Source::Pex, *addr, Some(teller), now) {
                return;
            }
            // What was seen counts more than what is said: only news are believed.
            if let Some(known) = self.known.get_mut(&canonical(*addr))
                && known.teller == Some(teller)
                && known.failures == 0
            {
                known.seed = flags.has(PexFlags::SEED);
            }
        }
    }

    /// Whether there is room for more.
    fn learn(&mut self, source: Source, addr: SocketAddr, teller: Option<IpAddr>, now: Instant) -> bool {
        let addr = canonical(addr);
        if !self.is_usable(source, addr) {
            return true;
        }
        let named = source != Source::Incoming;
        if let Some(known) = self.known.get_mut(&addr) {
            known.named |= named;
            // A person who names an address wants it tried now.
            if source == Source::Explicit {
                (known.failures, known.partings) = (0, 0);
                if let State::Idle(at) = &mut known.state {
                    *at = now;
                }
            }
            // What a tracker or a person names too no longer depends on strangers: private torrents keep it (BEP 27).
            if source == Source::Explicit || known.source.is_public() && !source.is_public() {
                self.from.remove(known.source);
                self.from.add(source);
                known.source = source;
                self.forget_teller(addr);
            }
            return true;
        }
        if source.is_public() && PORTS_MAX <= self.ports_of(addr.ip()) {
            return true;
        }
        if !self.make_room(source) {
            return false;
        }
        let rank = self.rank(addr);
        let state = State::Idle(now);
        let new = Candidate {
            source,
            named,
            state,
            due: now,
            failures: 0,
            soon: None,
            partings: 0,
            rank,
            seed: false,
            teller,
        };
        self.known.insert(addr, new);
        self.from.add(source);
        if let Some(teller) = teller {
            *self.told.entry(teller).or_default() += 1;
        }
        true
    }

    fn ports_of(&self, ip: IpAddr) -> usize {
        self.known.range(SocketAddr::new(ip, 0)..=SocketAddr::new(ip, u16::MAX)).count()
    }

    /// The address no longer counts as its teller's.
    fn forget_teller(&mut self, addr: SocketAddr) {
        let teller = self.known.get_mut(&addr).and_then(|known| known.teller.take());
        self.take_from_teller(teller);
    }

    fn take_from_teller(&mut self, teller: Option<IpAddr>) {
        let Some(teller) = teller else { return };
        if let Some(count) = self.told.get_mut(&teller) {
            *count -= 1;
            if *count == 0 {
                self.told.remove(&teller);
            }
        }
    }

    /// The addresses to dial, best first; they count as being dialled from here on.
    pub(crate) fn next(&mut self, count: usize, need: Need, now: Instant) -> Vec<SocketAddr> {
        if count == 0 {
            return Vec::new();
        }
        let mut ready: Vec<_> = self
            .known
            .iter()
            .filter(|(_, c)| c.dial_at(need).is_some_and(|at| at <= now))
            .map(|(addr, c)| (c.source != Source::Explicit, c.failures, u32::MAX - c.rank, *addr))
            .collect();
        ready.sort_unstable();
        ready.truncate(count);
        for (.., addr) in &ready {
            if let Some(candidate) = self.known.get_mut(addr) {
                candidate.begin_dial(now);
                self.connecting += 1;
            }
        }
        ready.into_iter().map(|(.., addr)| addr).collect()
    }

    /// The caller dials these itself. What is not on the list or has begun otherwise stays as it is.
    pub(crate) fn dialling(&mut self, addrs: &[SocketAddr], now: Instant) {
        for addr in addrs {
            if let Some(candidate) = self.known.get_mut(&canonical(*addr))
                && let State::Idle(_) = candidate.state
            {
                candidate.begin_dial(now);
                self.connecting += 1;
            }
        }
    }

    /// Peers we left for reasons of our own that no longer hold (a pause, a wish fulfilled) may be dialled at once;
    /// those that failed wait as before.
    pub(crate) fn welcome_back(&mut self, now: Instant) {
        for candidate in self.known.values_mut().filter(|candidate| candidate.failures == 0) {
            if let State::Idle(at) = &mut candidate.state {
                *at = now;
            }
        }
    }

    /// How many addresses `next` would give now.
    pub(crate) fn ready(&self, need: Need, now: Instant) -> usize {
        let ready = |c: &&Candidate| c.dial_at(need).is_some_and(|at| at <= now);
        self.known.values().filter(ready).count()
    }

    /// Whether any address is being dialled, or may be at some time.
    pub(crate) fn are_of_use(&self, need: Need) -> bool {
        self.known.values().any(|c| matches!(c.state, State::Connecting(_)) || c.dial_at(need).is_some())
    }

    /// When an address may be dialled that may not be now, or a dial is given up.
    pub(crate) fn next_change(&self, need: Need, now: Instant) -> Option<Instant> {
        let change = |c: &Candidate| match c.state {
            State::Idle(_) => c.dial_at(need).filter(|at| now < *at),
            State::Connecting(since) => Some(since + CONNECT_TIMEOUT),
            State::Claimed(_) => c.dial_at(need).filter(|at| now < *at),
            State::Connected => None,
        };
        self.known.values().filter_map(change).min()
    }

    /// Gives up dials that were never answered.
    pub(crate) fn expire(&mut self, now: Instant) {
        let late =
            |c: &Candidate| matches!(c.state, State::Connecting(since) if CONNECT_TIMEOUT <= now - since);
        let late: Vec<_> = self.known.iter().filter(|(_, c)| late(c)).map(|(addr, _)| *addr).collect();
        for addr in late {
            self.failed(addr, now);
        }
    }

    /// A dial failed, or the connection never became one.
    pub(crate) fn failed(&mut self, addr: SocketAddr, now: Instant) {
        let addr = canonical(addr);
        let is_open = |c: &&mut Candidate| !matches!(c.state, State::Connected | State::Claimed(_));
        let Some(candidate) = self.known.get_mut(&addr).filter(is_open) else { return };
        self.connecting -= usize::from(matches!(candidate.state, State::Connecting(_)));
        if candidate.soon.is_some() || candidate.source == Source::Explicit {
            candidate.part(now);
            if now < candidate.due {
                // It was tried out of its turn.
                candidate.state = State::Idle(candidate.due);
                return;
            }
        }
        candidate.failures += 1;
        candidate.state = State::Idle(now + retry_after(candidate.failures));
        if FAILURES_MAX <= candidate.failures && candidate.source != Source::Explicit {
            self.forget(addr);
        }
    }

    /// A connection that we opened to this address is refused. `connected`: there is another one to the peer that is there.
    pub(crate) fn refused(
        &mut self,
        addr: SocketAddr,
        reason: DisconnectReason,
        connected: bool,
        now: Instant,
    ) {
        match reason {
            DisconnectReason::Ourselves => self.met_ourselves(addr),
            // The other connection keeps its state.
            DisconnectReason::Duplicate if connected => self.connected(addr),
            _ => self.failed(addr, now),
        }
    }

    /// There is a connection to this address. Addresses of incoming connections are usually not on the list.
    pub(crate) fn connected(&mut self, addr: SocketAddr) {
        let addr = canonical(addr);
        let Some(candidate) = self.known.get_mut(&addr) else { return };
        self.connecting -= usize::from(matches!(candidate.state, State::Connecting(_)));
        candidate.state = State::Connected;
        // The teller was right.
        self.forget_teller(addr);
    }

    /// A peer that called us says that it listens at this address, which is for later. If others name the address too
    /// it may be a neighbour's, and is dialled all the same when no peer gives us anything.
    pub(crate) fn claimed(&mut self, addr: SocketAddr, now: Instant) {
        self.learn(Source::Incoming, addr, None, now);
        let Some(candidate) = self.known.get_mut(&canonical(addr)) else { return };
        match candidate.state {
            State::Connected | State::Claimed(_) => return,
            State::Connecting(_) => self.connecting -= 1,
            State::Idle(_) => {}
        }
        candidate.state = State::Claimed(now + CLAIM_BELIEVED);
    }

    /// The connection to this address ended. `seed`: the peer had everything.
    pub(crate) fn disconnected(&mut self, addr: SocketAddr, parting: Parting, seed: bool, now: Instant) {
        let addr = canonical(addr);
        let Some(candidate) = self.known.get_mut(&addr) else { return };
        let is_claim = matches!(candidate.state, State::Claimed(_));
        if candidate.state != State::Connected && !is_claim {
            return;
        }
        candidate.seed = seed;
        candidate.due = now;
        if parting == Parting::Fruitful {
            candidate.partings = 0;
        }
        match parting {
            Parting::Fruitful | Parting::Useful => {
                candidate.failures = 0;
                candidate.state = State::Idle(now + RECONNECT);
                candidate.part(now);
            }
            // What was wrong with the peer says nothing about the next one at this address.
            Parting::Useless | Parting::Guilty if is_claim && candidate.named => {
                candidate.state = State::Idle(now + RETRY_FIRST);
            }
            Parting::Useless | Parting::Guilty => {
                candidate.state = State::Idle(now);
                candidate.soon = Some(now).filter(|_| parting == Parting::Useless);
                self.failed(addr, now);
            }
        }
    }

    /// Refuses the culprit at this address from here on, and all peers around it if it is not the first one there. Port
    /// 0 stands for all of them.
    pub(crate) fn ban(&mut self, addr: SocketAddr, known: Known) {
        let addr = canonical(addr);
        self.bans.add(addr, known);
        if self.bans.has_all_of(addr) {
            let around = Network::of(addr.ip()).range();
            let same: Vec<_> = self.known.range(around).map(|(addr, _)| *addr).collect();
            same.into_iter().for_each(|addr| self.forget(addr));
        } else if known == Known::Connected {
            self.forget(addr);
        }
    }

    /// Whether a peer that calls us and says that it listens there is refused.
    pub(crate) fn is_claim_banned(&self, addr: SocketAddr) -> bool {
        self.bans.has_claim(canonical(addr))
    }

    /// Whether the address is refused.
    pub(crate) fn is_banned(&self, addr: SocketAddr) -> bool {
        self.bans.has(canonical(addr))
    }

    /// This address is ourselves.
    fn met_ourselves(&mut self, addr: SocketAddr) {
        let addr = canonical(addr);
        self.forget(addr);
        if self.own.len() < OWN_MAX {
            self.own.insert(addr);
        }
    }

    /// Our address as the world sees it: ranks can be computed.
    pub(crate) fn set_external(&mut self, ip: IpAddr) {
        let ip = ip.to_canonical();
        let external = if ip.is_ipv4() { &mut self.external_v4 } else { &mut self.external_v6 };
        *external = Some(ip);
        self.rank_all();
    }

    /// The port we listen on.
    pub(crate) fn set_listen_port(&mut self, port: u16) {
        self.listen_port = Some(port);
        self.rank_all();
    }

    pub(crate) fn connecting(&self) -> usize {
        self.connecting
    }

    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    /// How many addresses came from where.
    pub(crate) fn from(&self) -> SourceCounts {
        self.from
    }

    /// Who named this address.
    pub(crate) fn source(&self, addr: SocketAddr) -> Option<Source> {
        self.known.get(&canonical(addr)).map(|candidate| candidate.source)
    }

    /// The canonical priority (BEP 40) of a connection to this address. `None` while our own of that family is unknown.
    pub(crate) fn priority(&self, addr: SocketAddr) -> Option<u32> {
        let addr = canonical(addr);
        let ip = if addr.is_ipv4() { self.external_v4 } else { self.external_v6 };
        ip.map(|ip| bep40::priority(SocketAddr::new(ip, self.listen_port.unwrap_or(0)), addr))
    }

    /// Where peers may be in a later run, at most `count`: first those that are connected, then those that were, then those
    /// that have not failed.
    pub(crate) fn worth_keeping(&self, count: usize) -> Vec<SocketAddr> {
        let is_there = |c: &Candidate| matches!(c.state, State::Connected | State::Claimed(_));
        let was_there = |c: &Candidate| !is_there(c) && c.soon.is_some() && c.failures == 0;
        let may_be_there = |c: &Candidate| !is_there(c) && c.soon.is_none() && c.failures == 0;
        let there = self.known.iter().filter(|(_, c)| is_there(c));
        let others = self.known.iter().filter(|(_, c)| was_there(c));
        let others = others.chain(self.known.iter().filter(|(_, c)| may_be_there(c)));
        there.chain(others).map(|(addr, _)| *addr).take(count).collect()
    }

    /// The list as another one may learn it: what is being dialled or connected, and what is not, by source.
    pub(crate) fn by_source(&self) -> BTreeMap<Source, (Vec<SocketAddr>, Vec<SocketAddr>)> {
        let mut all: BTreeMap<Source, (Vec<SocketAddr>, Vec<SocketAddr>)> = BTreeMap::new();
        for (addr, candidate) in &self.known {
            let (busy, idle) = all.entry(candidate.source).or_default();
            match candidate.state {
                State::Connecting(_) | State::Connected | State::Claimed(_) => busy.push(*addr),
                // What failed again and again would be tried anew at once.
                State::Idle(_) if candidate.failures < 3 => idle.push(*addr),
                State::Idle(_) => {}
            }
        }
        all
    }

    /// Our own addresses, as far as they are known.
    pub(crate) fn external(&self) -> impl Iterator<Item = IpAddr> {
        self.external_v4.into_iter().chain(self.external_v6)
    }

    /// What is refused; port 0 stands for all peers around an address.
    pub(crate) fn banned(&self) -> Vec<SocketAddr> {
        self.bans.list()
    }

    /// Nothing is being dialled any more: the caller was told to stop.
    pub(crate) fn forget_dials(&mut self, now: Instant) {
        for candidate in self.known.values_mut() {
            if matches!(candidate.state, State::Connecting(_)) {
                candidate.state = State::Idle(now);
            }
        }
        self.connecting = 0;
    }

    fn forget(&mut self, addr: SocketAddr) {
        if let Some(candidate) = self.known.remove(&addr) {
            self.connecting -= usize::from(matches!(candidate.state, State::Connecting(_)));
            self.from.remove(candidate.source);
            self.take_from_teller(candidate.teller);
        }
    }

    fn rank_all(&mut self) {
        let addrs: Vec<_> = self.known.keys().copied().collect();
        for addr in addrs {
            if self.is_own(addr) {
                self.forget(addr);
                continue;
            }
            let rank = self.rank(addr);
            if let Some(candidate) = self.known.get_mut(&addr) {
                candidate.rank = rank;
            }
        }
    }

    fn rank(&mut self, addr: SocketAddr) -> u32 {
        match self.priority(addr) {
            Some(priority) => priority,
            None => self.rng.next() as u32,
        }
    }

    fn is_own(&self, addr: SocketAddr) -> bool {
        self.own.contains(&addr)
            || (self.listen_port == Some(addr.port()) && self.external().any(|ip| ip == addr.ip()))
    }

    fn is_usable(&self, source: Source, addr: SocketAddr) -> bool {
        let ip_ok = match addr.ip() {
            IpAddr::V4(ip) => {
                !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast() && ip.octets()[0] != 0
            }
            IpAddr::V6(ip) => !ip.is_unspecified() && !ip.is_multicast(),
        };
        let port_ok =
            addr.port() != 0 && (source == Source::Explicit || !FOREIGN_PORTS.contains(&addr.port()));
        ip_ok
            && port_ok
            && (source.may_name_loopback() || !addr.ip().is_loopback())
            && !self.is_own(addr)
            && !self.is_banned(addr)
    }

    /// Whether there is room for an address of this source, if need be after addresses that failed were forgotten: those of the
    /// same source when its share is used up, all when the list is full. Only people get room made from addresses that did not.
    fn make_room(&mut self, source: Source) -> bool {
        let quota = quota(source);
        if quota <= self.from.get(source) {
            self.forget_failed(|of| of == source);
        }
        if CANDIDATES_MAX <= self.known.len() {
            self.forget_failed(|_| true);
        }
        if CANDIDATES_MAX <= self.known.len() && source == Source::Explicit {
            let idle = self.known.iter().filter(|(_, c)| c.is_forgettable());
            if let Some(worst) = idle.min_by_key(|(_, c)| c.rank).map(|(addr, _)| *addr) {
                self.forget(worst);
            }
        }
        self.known.len() < CANDIDATES_MAX && self.from.get(source) < quota
    }

    fn forget_failed(&mut self, of: impl Fn(Source) -> bool) {
        let failed = |c: &Candidate| c.is_forgettable() && c.failures != 0 && of(c.source);
        let failed: Vec<_> = self.known.iter().filter(|(_, c)| failed(c)).map(|(addr, _)| *addr).collect();
        failed.into_iter().for_each(|addr| self.forget(addr));
    }
}

impl Candidate {
    /// When it may be dialled for this need. `None` while it is being dialled or connected, and if it is of no use.
    fn dial_at(&self, need: Need) -> Option<Instant> {
        match (self.state, need) {
            (State::Idle(_), Need::NotSeeds) if self.seed => None,
            (State::Idle(at), Need::AnyAtOnce) => Some(self.soon.map_or(at, |soon| soon.min(at))),
            (State::Idle(at), Need::NotSeeds | Need::Any) => Some(at),
            (State::Claimed(at), Need::AnyAtOnce) if self.named => Some(at),
            (State::Connecting(_) | State::Connected | State::Claimed(_), _) => None,
        }
    }

    fn begin_dial(&mut self, now: Instant) {
        if let State::Idle(at) = self.state {
            self.due = at;
        }
        self.state = State::Connecting(now);
    }

    /// It is gone, and would be dialled again soon if no other peer were left.
    fn part(&mut self, now: Instant) {
        self.soon = Some(now + RECONNECT_SOON.saturating_mul(1 << self.partings.min(PARTINGS_MAX)));
        self.partings = self.partings.saturating_add(1);
    }

    /// Nothing is lost that a request waits for.
    fn is_forgettable(&self) -> bool {
        matches!(self.state, State::Idle(_)) && self.source != Source::Explicit
    }
}

/// Further partings make no wait longer: a minute is longer than [`RECONNECT`].
const PARTINGS_MAX: u32 = 6;

/// Addresses at which we can meet ourselves are few; a peer that causes more than this is playing with us.
const OWN_MAX: usize = 16;

fn retry_after(failures: u32) -> Duration {
    RETRY_FIRST.saturating_mul(4u32.saturating_pow(failures.saturating_sub(1))).min(RETRY_MAX)
}

/// One address, one spelling: an IPv4 address inside an IPv6 one is the IPv4 address.
pub(crate) fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::new(ip.into(), addr.port()),
        // The scope of an address on the link stays: without it there is no way there.
        IpAddr::V6(_) => addr,
    }
}

#[cfg(test)]
mod tests;
