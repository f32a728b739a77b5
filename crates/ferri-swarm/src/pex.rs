//! The peers that we are connected to, as others may be told ([BEP 11]): one list of arrivals and departures for the
//! whole swarm, and for each peer how far it has been told.
//!
//! A message costs what is in it, whatever the number of peers, and nothing is done between messages.
//!
//! [BEP 11]: https://www.bittorrent.org/beps/bep_0011.html

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ferri_wire::extension::pex::PEX_ENTRIES_MAX;

use crate::picker::PeerSlot;

/// Between two messages to the same peer (BEP 11).
pub(crate) const PEX_INTERVAL: Duration = Duration::from_secs(60);
/// Departures that are remembered. A peer that lags behind further is not told of the oldest: an address too many costs
/// it a dial.
const GONE_MAX: usize = 512;

/// Counts comings and goings.
type Number = u64;

/// How far a peer has been told.
#[derive(Debug)]
pub(crate) struct Told {
    /// Its own coming, once it is known where it listens.
    listed: Option<Number>,
    /// Comings below this were told.
    comings: Number,
    /// Goings below this were told.
    goings: Number,
    /// No message before.
    due: Instant,
}

impl Told {
    pub(crate) fn new(now: Instant) -> Self {
        Self { listed: None, comings: 0, goings: 0, due: now }
    }
}

/// Who was there and is gone.
#[derive(Debug)]
struct Gone {
    came: Number,
    went: Number,
    addr: SocketAddr,
}

/// The comings and goings of all peers whose listening address is known.
#[derive(Debug, Default)]
pub(crate) struct Acquaintances {
    here: BTreeMap<Number, (PeerSlot, SocketAddr)>,
    /// In the order of going.
    gone: VecDeque<Gone>,
    next: Number,
}

/// What a peer is to be told.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct News {
    pub(crate) added: Vec<(PeerSlot, SocketAddr)>,
    pub(crate) dropped: Vec<SocketAddr>,
}

impl Acquaintances {
    /// A peer can be dialled at `addr`. The first address of a connection counts.
    pub(crate) fn came(&mut self, told: &mut Told, slot: PeerSlot, addr: SocketAddr) {
        if told.listed.is_none() && is_tellable(addr.ip()) {
            told.listed = Some(self.next);
            self.here.insert(self.next, (slot, addr));
            self.next += 1;
        }
    }

    /// Its connection ended.
    pub(crate) fn went(&mut self, told: &Told) {
        let Some(came) = told.listed else { return };
        let Some((_, addr)) = self.here.remove(&came) else { return };
        if GONE_MAX <= self.gone.len() {
            self.gone.pop_front();
        }
        self.gone.push_back(Gone { came, went: self.next, addr });
        self.next += 1;
    }

    /// What this peer does not know yet, if it is time; it counts as told. `None` when there is nothing to say.
    pub(crate) fn news(&self, told: &mut Told, now: Instant) -> Option<News> {
        if now < told.due || self.next <= told.comings.min(told.goings) {
            return None;
        }
        let mut news = News::default();
        let known = told.comings;
        let itself = told.listed.and_then(|number| self.here.get(&number)).map(|(_, addr)| *addr);
        told.comings = self.next;
        for (number, (slot, addr)) in self.here.range(known..) {
            if news.added.len() == PEX_ENTRIES_MAX {
                told.comings = *number;
                break;
            }
            if Some(*number) != told.listed && Some(*addr) != itself {
                news.added.push((*slot, *addr));
            }
        }
        let from = self.gone.partition_point(|gone| gone.went < told.goings);
        told.goings = self.next;
        for gone in self.gone.range(from..) {
            if news.dropped.len() == PEX_ENTRIES_MAX {
                told.goings = gone.went;
                break;
            }
            // A peer that came and went in between was never told. One that is back is added (BEP 11: not both in one
            // message).
            let is_back = news.added.iter().any(|(_, addr)| *addr == gone.addr);
            if gone.came < known
                && !is_back
                && Some(gone.addr) != itself
                && !news.dropped.contains(&gone.addr)
            {
                news.dropped.push(gone.addr);
            }
        }
        if news == News::default() {
            return None;
        }
        told.due = now + PEX_INTERVAL;
        Some(news)
    }
}

/// Addresses that mean the same to all peers.
fn is_tellable(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local() && !ip.is_unspecified(),
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local() && !ip.is_unspecified(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn addr(n: u32) -> SocketAddr {
        SocketAddr::new(IpAddr::V4((0x0a00_0000 + n).into()), 6881)
    }

    struct Lab {
        all: Acquaintances,
        now: Instant,
    }

    impl Lab {
        fn comes(&mut self, n: u32) -> Told {
            let mut told = Told::new(self.now);
            self.all.came(&mut told, PeerSlot(n), addr(n));
            told
        }

        /// Numbers of the added and the dropped, a minute later.
        fn news(&mut self, told: &mut Told) -> Option<(Vec<u32>, Vec<SocketAddr>)> {
            self.now += PEX_INTERVAL;
            let news = self.all.news(told, self.now)?;
            Some((news.added.iter().map(|(slot, _)| slot.0).collect(), news.dropped))
        }
    }

    fn lab() -> Lab {
        Lab { all: Acquaintances::default(), now: Instant::now() }
    }

    #[test]
    fn each_peer_hears_of_the_others_once_and_of_their_going() {
        let mut lab = lab();
        let (mut one, two) = (lab.comes(1), lab.comes(2));
        assert_eq!(lab.news(&mut one), Some((vec![2], vec![])));
        assert_eq!(lab.news(&mut one), None);
        let three = lab.comes(3);
        lab.all.went(&two);
        assert_eq!(lab.news(&mut one), Some((vec![3], vec![addr(2)])));
        lab.all.went(&three);
        assert_eq!(lab.news(&mut one), Some((vec![], vec![addr(3)])));
        assert_eq!(lab.news(&mut one), None);
    }

    #[test]
    fn who_came_and_went_between_two_messages_is_not_told() {
        let mut lab = lab();
        let mut one = lab.comes(1);
        let two = lab.comes(2);
        lab.all.went(&two);
        assert_eq!(lab.news(&mut one), None);
    }

    #[test]
    fn who_came_back_is_added_and_not_dropped() {
        let mut lab = lab();
        let (mut one, two) = (lab.comes(1), lab.comes(2));
        assert_eq!(lab.news(&mut one), Some((vec![2], vec![])));
        lab.all.went(&two);
        let two = lab.comes(2);
        assert_eq!(lab.news(&mut one), Some((vec![2], vec![])));
        lab.all.went(&two);
        assert_eq!(lab.news(&mut one), Some((vec![], vec![addr(2)])));
    }

    #[test]
    fn a_message_holds_fifty_and_the_next_one_the_rest() {
        let mut lab = lab();
        let mut one = lab.comes(0);
        let others: Vec<_> = (1..=120).map(|n| lab.comes(n)).collect();
        let sizes: Vec<_> = (0..3).map(|_| lab.news(&mut one).unwrap().0.len()).collect();
        assert_eq!(sizes, [50, 50, 20]);
        others.iter().for_each(|told| lab.all.went(told));
        let sizes: Vec<_> = (0..3).map(|_| lab.news(&mut one).unwrap().1.len()).collect();
        assert_eq!((sizes, lab.news(&mut one)), (vec![50, 50, 20], None));
    }

    #[test]
    fn no_message_comes_before_its_minute() {
        let mut lab = lab();
        let mut one = lab.comes(1);
        assert_eq!(lab.all.news(&mut one, lab.now), None);
        lab.comes(2);
        assert!(lab.all.news(&mut one, lab.now).is_some(), "the first one comes at once");
        lab.comes(3);
        assert_eq!(lab.all.news(&mut one, lab.now + PEX_INTERVAL - Duration::from_millis(1)), None);
        assert!(lab.all.news(&mut one, lab.now + PEX_INTERVAL).is_some());
    }

    #[test]
    fn what_is_remembered_is_bounded_and_local_addresses_are_not_told() {
        let mut lab = lab();
        for n in 0..2_000 {
            let told = lab.comes(n);
            lab.all.went(&told);
        }
        assert_eq!((lab.all.gone.len(), lab.all.here.len()), (GONE_MAX, 0));
        for text in ["127.0.0.1:1", "[::1]:1", "169.254.3.4:1", "[fe80::1]:1"] {
            let mut told = Told::new(lab.now);
            lab.all.came(&mut told, PeerSlot(0), text.parse().unwrap());
            assert_eq!(told.listed, None, "{text}");
        }
    }
}
