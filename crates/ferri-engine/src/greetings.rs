//! How peers that we dial are greeted: in plain or encrypted, what is tried first, and what worked.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ferri_wire::Greeting;
use ferri_wire::mse::Encryption;

/// So many addresses are remembered for which the first greeting was the wrong one; a hundred bytes each.
const ODD_MAX: usize = 4096;

/// How a session greets peers.
#[derive(Debug)]
pub(crate) struct Greetings {
    encryption: Encryption,
    odd: Mutex<Odd>,
}

/// Peers that were reached with the second greeting, since they were last reached.
#[derive(Debug, Default)]
struct Odd {
    addrs: BTreeSet<SocketAddr>,
    /// The same, as they came. The first makes room.
    order: VecDeque<SocketAddr>,
}

impl Greetings {
    pub(crate) fn new(encryption: Encryption) -> Self {
        Self { encryption, odd: Mutex::default() }
    }

    pub(crate) fn encryption(&self) -> Encryption {
        self.encryption
    }

    /// The greeting that this peer is tried with first, and the one after it, if there is one.
    pub(crate) fn of(&self, addr: SocketAddr) -> (Greeting, Option<Greeting>) {
        use Greeting::{Exchange, Plain};
        match (self.encryption, self.odd().addrs.contains(&addr)) {
            (Encryption::Disable, _) => (Plain, None),
            (Encryption::Allow, false) | (Encryption::Prefer, true) => (Plain, Some(Exchange)),
            (Encryption::Prefer, false) | (Encryption::Allow, true) => (Exchange, Some(Plain)),
            (Encryption::Require, _) => (Exchange, None),
        }
    }

    /// A peer was reached with its second greeting: that is its first from here on.
    pub(crate) fn second_worked(&self, addr: SocketAddr) {
        let mut odd = self.odd();
        let Odd { addrs, order } = &mut *odd;
        if addrs.remove(&addr) {
            order.retain(|other| *other != addr);
            return;
        }
        addrs.insert(addr);
        order.push_back(addr);
        if ODD_MAX < order.len()
            && let Some(oldest) = order.pop_front()
        {
            addrs.remove(&oldest);
        }
    }

    fn odd(&self) -> MutexGuard<'_, Odd> {
        self.odd.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(n: usize) -> SocketAddr {
        ([10, 0, (n >> 8) as u8, n as u8], 6881).into()
    }

    #[test]
    fn what_worked_goes_first_until_it_does_not() {
        use Greeting::{Exchange, Plain};
        for (encryption, first, second) in [
            (Encryption::Disable, Plain, None),
            (Encryption::Allow, Plain, Some(Exchange)),
            (Encryption::Prefer, Exchange, Some(Plain)),
            (Encryption::Require, Exchange, None),
        ] {
            let greetings = Greetings::new(encryption);
            assert_eq!(greetings.of(addr(1)), (first, second), "{encryption:?}");
            let Some(second) = second else { continue };
            greetings.second_worked(addr(1));
            assert_eq!(greetings.of(addr(1)), (second, Some(first)));
            assert_eq!(greetings.of(addr(2)), (first, Some(second)), "another peer");
            greetings.second_worked(addr(1));
            assert_eq!(greetings.of(addr(1)), (first, Some(second)));
        }
    }

    #[test]
    fn of_too_many_peers_the_oldest_is_forgotten() {
        let greetings = Greetings::new(Encryption::Allow);
        (0..=ODD_MAX).for_each(|n| greetings.second_worked(addr(n)));
        assert_eq!(greetings.of(addr(0)).0, Greeting::Plain);
        assert_eq!(greetings.of(addr(1)).0, Greeting::Exchange);
        assert_eq!(greetings.of(addr(ODD_MAX)).0, Greeting::Exchange);
        let odd = greetings.odd();
        assert_eq!((odd.addrs.len(), odd.order.len()), (ODD_MAX, ODD_MAX));
    }
}
