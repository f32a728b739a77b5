//! Our address as the world sees it, one a family, by vote: every source that saw it may say so, and none is believed
//! alone that could be an impostor.
//!
//! A tracker and the gateway count as [`STRONG`] votes each: the user chose them, and they are right unless they mean
//! harm. So does the DHT node, which has asked several others (BEP 42) before it says anything. Peers (BEP 10 `yourip`) come
//! from anywhere and have one vote a network, so that a host with many addresses is not a crowd. An address is the session's when at least
//! [`STRONG`] votes are for it and more than half of all in its family; it stays until another one is.
//!
//! An address that only means something at home is no answer, however many give it, except in a session that is bound to
//! such an address and has no other votes: there the home is the world. No I/O, and time is an argument.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

/// What a tracker or the gateway counts: as much as the fewest strangers who are believed.
const STRONG: u32 = 3;
/// Votes kept in a family: enough that a few liars lose, few enough that an address which changed behind the gateway's
/// back is outvoted soon. The oldest goes first.
const VOTES_MAX: usize = 32;
/// A vote counts this long. Providers give new addresses at night without a word.
const VOTE_AGE_MAX: Duration = Duration::from_secs(2 * 60 * 60);

/// Who says what our address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Voter {
    /// The gateway that maps our ports.
    Gateway,
    /// A tracker (BEP 24); which one, as a number.
    Tracker(u64),
    /// A peer at this address.
    Stranger(IpAddr),
    /// The DHT node, once enough others agree (BEP 42).
    Nodes,
}

impl Voter {
    /// The tracker with this URL. Trackers of one host are one voter.
    pub(crate) fn tracker(url: &str) -> Self {
        let host = url.split_once("://").map_or(url, |(_, rest)| rest).split(['/', '?', '#']).next();
        let mut hasher = DefaultHasher::new();
        host.map(str::to_ascii_lowercase).hash(&mut hasher);
        Self::Tracker(hasher.finish())
    }
}

/// The votes, and what they came to.
#[derive(Debug, Default)]
pub(crate) struct Votes {
    /// Addresses of a home are good enough.
    at_home: bool,
    v4: Family,
    v6: Family,
}

/// One family's votes, the latest last, and the address they agreed on.
#[derive(Debug, Default)]
struct Family {
    votes: VecDeque<Vote>,
    elected: Option<IpAddr>,
}

#[derive(Debug)]
struct Vote {
    voter: VoterKey,
    ip: IpAddr,
    at: Instant,
}

/// Who has one vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum VoterKey {
    Gateway,
    Nodes,
    Tracker(u64),
    V4([u8; 3]),
    V6([u8; 8]),
}

impl Votes {
    /// `bind`: the address that the session is bound to, if it is to one.
    pub(crate) fn new(bind: Option<IpAddr>) -> Self {
        Self { at_home: bind.is_some_and(|ip| scope(ip) == Scope::Home), ..Self::default() }
    }

    /// A source says that it sees us at `ip`. Returns whether that changed what we believe.
    pub(crate) fn vote(&mut self, voter: Voter, ip: IpAddr, now: Instant) -> bool {
        let ip = ip.to_canonical();
        let key = match voter {
            Voter::Gateway => VoterKey::Gateway,
            Voter::Nodes => VoterKey::Nodes,
            Voter::Tracker(number) => VoterKey::Tracker(number),
            Voter::Stranger(by) => match by.to_canonical() {
                // Who sees us from home cannot know what the world sees.
                by if scope(ip) == Scope::World && scope(by) != Scope::World => return false,
                IpAddr::V4(by) => VoterKey::V4(first(by.octets())),
                IpAddr::V6(by) => VoterKey::V6(first(by.octets())),
            },
        };
        match scope(ip) {
            Scope::World => {}
            Scope::Home if self.at_home => {}
            Scope::Home | Scope::Nowhere => return false,
        }
        let family = if ip.is_ipv4() { &mut self.v4 } else { &mut self.v6 };
        family
            .votes
            .retain(|vote| vote.voter != key && now.saturating_duration_since(vote.at) < VOTE_AGE_MAX);
        if VOTES_MAX <= family.votes.len() {
            family.votes.pop_front();
        }
        family.votes.push_back(Vote { voter: key, ip, at: now });
        family.elect()
    }

    /// We are somewhere else: nothing that was said is worth anything.
    pub(crate) fn forget(&mut self) {
        (self.v4, self.v6) = (Family::default(), Family::default());
    }

    /// What the world sees over IPv4.
    pub(crate) fn v4(&self) -> Option<Ipv4Addr> {
        match self.v4.elected {
            Some(IpAddr::V4(ip)) => Some(ip),
            _ => None,
        }
    }

    /// What the world sees over IPv6.
    pub(crate) fn v6(&self) -> Option<Ipv6Addr> {
        match self.v6.elected {
            Some(IpAddr::V6(ip)) => Some(ip),
            _ => None,
        }
    }
}

impl Family {
    /// Counts. Nothing changes while no address has a majority.
    fn elect(&mut self) -> bool {
        // Addresses of a home count only while no better one is known.
        let best = self.votes.iter().map(|vote| scope(vote.ip)).max();
        let counted = || self.votes.iter().filter(|vote| Some(scope(vote.ip)) == best);
        let all: u32 = counted().map(Vote::weight).sum();
        let has_won = |ip: IpAddr| {
            let votes: u32 = counted().filter(|vote| vote.ip == ip).map(Vote::weight).sum();
            STRONG <= votes && all < 2 * votes
        };
        let winner = counted().map(|vote| vote.ip).find(|ip| has_won(*ip));
        if winner.is_none() || winner == self.elected {
            return false;
        }
        self.elected = winner;
        true
    }
}

impl Vote {
    fn weight(&self) -> u32 {
        match self.voter {
            VoterKey::Gateway | VoterKey::Nodes | VoterKey::Tracker(_) => STRONG,
            VoterKey::V4(_) | VoterKey::V6(_) => 1,
        }
    }
}

/// How far an address is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    /// This host, this link, a group, or nothing.
    Nowhere,
    /// A private network.
    Home,
    /// Everywhere.
    World,
}

/// How far `ip` is known.
pub(crate) fn scope(ip: IpAddr) -> Scope {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            let is_carriers = a == 100 && (64..128).contains(&b);
            if a == 0 || ip.is_loopback() || ip.is_link_local() || ip.is_multicast() || 240 <= a {
                Scope::Nowhere
            } else if ip.is_private() || is_carriers {
                Scope::Home
            } else {
                Scope::World
            }
        }
        IpAddr::V6(ip) => {
            if ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || ip.is_unicast_link_local() {
                Scope::Nowhere
            } else if ip.is_unique_local() {
                Scope::Home
            } else {
                Scope::World
            }
        }
    }
}

/// The network that an address is in, as far as one vote goes: a /24 or a /64.
fn first<const N: usize, const M: usize>(octets: [u8; N]) -> [u8; M] {
    std::array::from_fn(|n| octets[n])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn stranger(text: &str) -> Voter {
        Voter::Stranger(ip(text))
    }

    /// All at one instant, in a session that is not bound; what they came to, and how often it changed.
    fn check(votes: &[(Voter, &str)], v4: Option<&str>, changes: usize) {
        check_bound(None, votes, v4, changes);
    }

    fn check_bound(bind: Option<&str>, votes: &[(Voter, &str)], v4: Option<&str>, changes: usize) {
        let (mut all, now) = (Votes::new(bind.map(ip)), Instant::now());
        let changed = votes.iter().filter(|(voter, text)| all.vote(*voter, ip(text), now)).count();
        assert_eq!(all.v4().map(IpAddr::V4), v4.map(ip), "{votes:?}");
        assert_eq!(changed, changes, "{votes:?}");
    }

    #[test]
    fn one_tracker_or_the_gateway_is_believed_alone() {
        check(&[(Voter::Tracker(1), "9.9.9.9")], Some("9.9.9.9"), 1);
        check(&[(Voter::Gateway, "9.9.9.9"), (Voter::Gateway, "9.9.9.9")], Some("9.9.9.9"), 1);
    }

    #[test]
    fn strangers_are_believed_when_three_networks_agree() {
        let [a, b, c] = ["1.1.1.1", "2.2.2.2", "3.3.3.3"].map(stranger);
        check(&[(a, "9.9.9.9"), (b, "9.9.9.9")], None, 0);
        check(&[(a, "9.9.9.9"), (b, "9.9.9.9"), (c, "9.9.9.9")], Some("9.9.9.9"), 1);
        check(&[(a, "9.9.9.9"), (b, "9.9.9.9"), (c, "8.8.8.8")], None, 0);
    }

    #[test]
    fn a_network_has_one_vote_its_last() {
        let crowd: Vec<_> = (1..=50).map(|n| (stranger(&format!("1.1.1.{n}")), "9.9.9.9")).collect();
        check(&crowd, None, 0);
        let [a, b, c] = ["1.1.1.1", "2.2.2.2", "3.3.3.3"].map(stranger);
        check(&[(a, "8.8.8.8"), (b, "9.9.9.9"), (c, "9.9.9.9"), (a, "9.9.9.9")], Some("9.9.9.9"), 1);
        let mut votes = Votes::new(None);
        for n in 0..100 {
            votes.vote(stranger(&format!("2001:db8:0:1::{n}")), ip("2001:db9::1"), Instant::now());
        }
        assert_eq!(votes.v6(), None);
    }

    #[test]
    fn a_lie_of_one_tracker_loses_against_many_strangers() {
        let mut votes = vec![(Voter::Tracker(1), "6.6.6.6")];
        let names: Vec<_> = (1..=4).map(|n| format!("{n}.1.1.1")).collect();
        votes.extend(names.iter().map(|name| (stranger(name), "9.9.9.9")));
        check(&votes, Some("9.9.9.9"), 2);
    }

    #[test]
    fn between_two_that_are_equal_the_first_stays() {
        check(&[(Voter::Tracker(1), "9.9.9.9"), (Voter::Tracker(2), "8.8.8.8")], Some("9.9.9.9"), 1);
    }

    #[test]
    fn what_only_means_something_at_home_is_no_answer_unless_we_are_bound_there() {
        for text in
            ["10.0.0.1", "192.168.1.2", "100.64.0.1", "127.0.0.1", "169.254.1.1", "0.0.0.0", "224.0.0.1"]
        {
            check(&[(Voter::Tracker(1), text), (Voter::Gateway, text)], None, 0);
        }
        let bind = Some("10.0.0.1");
        check_bound(bind, &[(Voter::Tracker(1), "10.0.0.1")], Some("10.0.0.1"), 1);
        check_bound(bind, &[(Voter::Tracker(1), "127.0.0.1")], None, 0);
        let both = [(Voter::Tracker(1), "10.0.0.1"), (Voter::Tracker(2), "9.9.9.9")];
        check_bound(bind, &both, Some("9.9.9.9"), 2);
        check_bound(Some("9.9.9.9"), &[(Voter::Tracker(1), "10.0.0.1")], None, 0);
    }

    #[test]
    fn a_neighbour_does_not_know_what_the_world_sees() {
        let neighbours =
            ["192.168.1.1", "10.1.1.1", "172.16.1.1", "127.0.0.1"].map(|by| (stranger(by), "9.9.9.9"));
        check(&neighbours, None, 0);
    }

    #[test]
    fn families_are_counted_apart_and_mapped_addresses_are_what_they_stand_for() {
        let (mut votes, now) = (Votes::new(None), Instant::now());
        assert!(votes.vote(Voter::Tracker(1), ip("::ffff:9.9.9.9"), now));
        assert!(votes.vote(Voter::Tracker(1), ip("2a00::1"), now));
        assert_eq!(
            (votes.v4().map(IpAddr::V4), votes.v6().map(IpAddr::V6)),
            (Some(ip("9.9.9.9")), Some(ip("2a00::1")))
        );
    }

    #[test]
    fn trackers_of_one_host_are_one_voter() {
        let [a, b, c] = ["udp://t.example:1/announce", "UDP://T.example:1/x?y", "udp://u.example:1/announce"]
            .map(Voter::tracker);
        assert!(a == b && a != c);
    }

    #[test]
    fn old_votes_do_not_count_and_a_new_network_forgets_them_all() {
        let (mut votes, start) = (Votes::new(None), Instant::now());
        for n in 1..=20 {
            votes.vote(stranger(&format!("{n}.1.1.1")), ip("9.9.9.9"), start);
        }
        assert!(!votes.vote(Voter::Tracker(1), ip("8.8.8.8"), start));
        assert!(votes.vote(Voter::Tracker(1), ip("8.8.8.8"), start + VOTE_AGE_MAX));
        votes.forget();
        assert_eq!(votes.v4(), None);
    }

    #[test]
    fn memory_for_votes_is_bounded() {
        let (mut votes, now) = (Votes::new(None), Instant::now());
        for n in 0..10_000 {
            votes.vote(Voter::Tracker(n), ip("9.9.9.9"), now);
        }
        assert_eq!(votes.v4.votes.len(), VOTES_MAX);
    }
}
