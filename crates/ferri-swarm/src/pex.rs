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
pub(crate) struct PexCursor {
    /// Its own coming, once it is known where it listens.
    listed: Option<Number>,
    /// Comings below this were told.
    comings: Number,
    /// Goings below this were told.
    goings: Number,
    /// No message before.
    due: Instant,
}

impl PexCursor {
    pub(crate) fn new(now: Instant) -> Self {
        Self { listed: None, comings: 0, goings: 0, due: now }
    }
}

/// Who was there and is gone.
#[derive(Debug)]
struct Departure {
    came: Number,
    went: Number,
    addr: SocketAddr,
}

/// The comings and goings of all peers whose listening address is known.
#[derive(Debug, Default)]
pub(crate) struct PexLog {
    here: BTreeMap<Number, (PeerSlot, SocketAddr)>,
    /// In the order of going.
    gone: VecDeque<Departure>,
    next: Number,
}

/// What a peer is to be told.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct PexUpdate {
    pub(crate) added: Vec<(PeerSlot, SocketAddr)>,
    pub(crate) dropped: Vec<SocketAddr>,
}

impl PexLog {
    /// A peer can be dialled at `addr`. The first address of a connection counts.
    pub(crate) fn came(&mut self, cursor: &mut PexCursor, slot: PeerSlot, addr: SocketAddr) {
        if cursor.listed.is_none() && is_tellable(addr.ip()) {
            cursor.listed = Some(self.next);
            self.here.insert(self.next, (slot, addr));
            self.next += 1;
        }
    }

    /// Its connection ended.
    pub(crate) fn went(&mut self, cursor: &PexCursor) {
        let Some(came) = cursor.listed else { return };
        let Some((_, addr)) = self.here.remove(&came) else { return };
        if GONE_MAX <= self.gone.len() {
            self.gone.pop_front();
        }
        self.gone.push_back(Departure { came, went: self.next, addr });
        self.next += 1;
    }

    /// What this peer does not know yet, if it is time; it counts as told. `None` when there is nothing to say.
    pub(crate) fn update(&self, cursor: &mut PexCursor, now: Instant) -> Option<PexUpdate> {
        if now < cursor.due || self.next <= cursor.comings.min(cursor.goings) {
            return None;
        }
        let mut update = PexUpdate::default();
        let known = cursor.comings;
        let itself = cursor.listed.and_then(|number| self.here.get(&number)).map(|(_, addr)| *addr);
        cursor.comings = self.next;
        for (number, (slot, addr)) in self.here.range(known..) {
            if update.added.len() == PEX_ENTRIES_MAX {
                cursor.comings = *number;
                break;
            }
            if Some(*number) != cursor.listed && Some(*addr) != itself {
                update.added.push((*slot, *addr));
            }
        }
        let from = self.gone.partition_point(|gone| gone.went < cursor.goings);
        cursor.goings = self.next;
        for gone in self.gone.range(from..) {
            if update.dropped.len() == PEX_ENTRIES_MAX {
                cursor.goings = gone.went;
                break;
            }
            // A peer that came and went in between was never told. One that is back is added (BEP 11: not both in one
            // message).
            let is_back = update.added.iter().any(|(_, addr)| *addr == gone.addr);
            if gone.came < known
                && !is_back
                && Some(gone.addr) != itself
                && !update.dropped.contains(&gone.addr)
            {
                update.dropped.push(gone.addr);
            }
        }
        if update == PexUpdate::default() {
            return None;
        }
        cursor.due = now + PEX_INTERVAL;
        Some(update)
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
        all: PexLog,
        now: Instant,
    }

    impl Lab {
        fn comes(&mut self, n: u32) -> PexCursor {
            let mut cursor = PexCursor::new(self.now);
            self.all.came(&mut cursor, PeerSlot(n), addr(n));
            cursor
        }

        /// Numbers of the added and the dropped, a minute later.
        fn update(&mut self, cursor: &mut PexCursor) -> Option<(Vec<u32>, Vec<SocketAddr>)> {
            self.now += PEX_INTERVAL;
            let update = self.all.update(cursor, self.now)?;
            Some((update.added.iter().map(|(slot, _)| slot.0).collect(), update.dropped))
        }
    }

    fn lab() -> Lab {
        Lab { all: PexLog::default(), now: Instant::now() }
    }

    #[test]
    fn each_peer_hears_of_the_others_once_and_of_their_going() {
        let mut lab = lab();
        let (mut one, two) = (lab.comes(1), lab.comes(2));
        assert_eq!(lab.update(&mut one), Some((vec![2], vec![])));
        assert_eq!(lab.update(&mut one), None);
        let three = lab.comes(3);
        lab.all.went(&two);
        assert_eq!(lab.update(&mut one), Some((vec![3], vec![addr(2)])));
        lab.all.went(&three);
        assert_eq!(lab.update(&mut one), Some((vec![], vec![addr(3)])));
        assert_eq!(lab.update(&mut one), None);
    }

    #[test]
    fn who_came_and_went_between_two_messages_is_not_told() {
        let mut lab = lab();
        let mut one = lab.comes(1);
        let two = lab.comes(2);
        lab.all.went(&two);
        assert_eq!(lab.update(&mut one), None);
    }

    #[test]
    fn who_came_back_is_added_and_not_dropped() {
        let mut lab = lab();
        let (mut one, two) = (lab.comes(1), lab.comes(2));
        assert_eq!(lab.update(&mut one), Some((vec![2], vec![])));
        lab.all.went(&two);
        let two = lab.comes(2);
        assert_eq!(lab.update(&mut one), Some((vec![2], vec![])));
        lab.all.went(&two);
        assert_eq!(lab.update(&mut one), Some((vec![], vec![addr(2)])));
    }

    #[test]
    fn a_message_holds_fifty_and_the_next_one_the_rest() {
        let mut lab = lab();
        let mut one = lab.comes(0);
        let others: Vec<_> = (1..=120).map(|n| lab.comes(n)).collect();
        let sizes: Vec<_> = (0..3).map(|_| lab.update(&mut one).unwrap().0.len()).collect();
        assert_eq!(sizes, [50, 50, 20]);
        others.iter().for_each(|cursor| lab.all.went(cursor));
        let sizes: Vec<_> = (0..3).map(|_| lab.update(&mut one).unwrap().1.len()).collect();
        assert_eq!((sizes, lab.update(&mut one)), (vec![50, 50, 20], None));
    }

    #[test]
    fn no_message_comes_before_its_minute() {
        let mut lab = lab();
        let mut one = lab.comes(1);
        assert_eq!(lab.all.update(&mut one, lab.now), None);
        lab.comes(2);
        assert!(lab.all.update(&mut one, lab.now).is_some(), "the first one comes at once");
        lab.comes(3);
        assert_eq!(lab.all.update(&mut one, lab.now + PEX_INTERVAL - Duration::from_millis(1)), None);
        assert!(lab.all.update(&mut one, lab.now + PEX_INTERVAL).is_some());
    }

    #[test]
    fn what_is_remembered_is_bounded_and_local_addresses_are_not_told() {
        let mut lab = lab();
        for n in 0..2_000 {
            let cursor = lab.comes(n);
            lab.all.went(&cursor);
        }
        assert_eq!((lab.all.gone.len(), lab.all.here.len()), (GONE_MAX, 0));
        for text in ["127.0.0.1:1", "[::1]:1", "169.254.3.4:1", "[fe80::1]:1"] {
            let mut cursor = PexCursor::new(lab.now);
            lab.all.came(&mut cursor, PeerSlot(0), text.parse().unwrap());
            assert_eq!(cursor.listed, None, "{text}");
        }
    }
}
