//! What each user of a private tracker has registered, for the limits of its passkey. Asked only where there are passkeys.

use std::collections::HashMap;
use std::collections::btree_map::{BTreeMap, Entry};
use std::hash::BuildHasherDefault;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::access::{AsItIs, User};
use super::group::Marks;

/// Parts with a lock each, so that users do not wait for one another.
const PARTS: u64 = 16;

/// Users of one part: all parts together have the numbers that fit the marks of a peer.
const PART_USERS_MAX: usize = (Marks::OWNER_MAX as usize) / PARTS as usize;

/// Seconds for which `announces` of a passkey is counted.
const RATE_SECONDS: u32 = 60;

/// Why a passkey does not let its user do more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LimitReached {
    Peers(u32),
    Torrents(u32),
    Announces(u32),
}

/// All users that were here.
#[derive(Debug)]
pub(super) struct Ledger(Vec<Mutex<Part>>);

#[derive(Debug, Default)]
struct Part {
    /// By the id of a user, its place among the accounts.
    places: HashMap<u64, usize, BuildHasherDefault<AsItIs>>,
    /// `None` may be taken by a new user.
    accounts: Vec<Option<Account>>,
    free: Vec<usize>,
}

#[derive(Debug)]
struct Account {
    id: u64,
    /// Since when announces are counted, in seconds.
    since: u32,
    announces: u32,
    peers: u32,
    /// Peers by torrent. None is 0.
    torrents: BTreeMap<u64, u32>,
}

impl Ledger {
    pub(super) fn new() -> Self {
        Self((0..PARTS).map(|_| Mutex::default()).collect())
    }

    /// Counts an announce. Gives the number of the user, which is never 0.
    pub(super) fn announce(&self, user: &User, now: u32) -> Result<u32, LimitReached> {
        let number = user.id % PARTS;
        let mut part = lock(&self.0[number as usize]);
        let Some(place) = part.place(user.id, now) else { return Ok(0) };
        if let (Some(limit), Some(account)) = (user.limits.announces, &mut part.accounts[place]) {
            if RATE_SECONDS <= now.saturating_sub(account.since) {
                (account.since, account.announces) = (now, 0);
            }
            if limit <= account.announces {
                return Err(LimitReached::Announces(limit));
            }
            account.announces += 1;
        }
        Ok(owner(place, number))
    }

    /// The number of a user who had peers before a restart.
    pub(super) fn restore(&self, id: u64, now: u32) -> u32 {
        let number = id % PARTS;
        lock(&self.0[number as usize]).place(id, now).map_or(0, |place| owner(place, number))
    }

    /// The id of a user with peers.
    pub(super) fn id(&self, owner: u32) -> Option<u64> {
        self.with(owner, |account| account.id)
    }

    /// Whether the user may have another peer, in this torrent.
    pub(super) fn check(&self, owner: u32, user: &User, torrent: u64) -> Result<(), LimitReached> {
        self.with(owner, |account| {
            if let Some(limit) = user.limits.peers.filter(|limit| *limit <= account.peers) {
                return Err(LimitReached::Peers(limit));
            }
            let torrents = u32::try_from(account.torrents.len()).unwrap_or(u32::MAX);
            match user.limits.torrents.filter(|limit| *limit <= torrents) {
                Some(limit) if !account.torrents.contains_key(&torrent) => Err(LimitReached::Torrents(limit)),
                _ => Ok(()),
            }
        })
        .unwrap_or(Ok(()))
    }

    pub(super) fn add(&self, owner: u32, torrent: u64) {
        self.with(owner, |account| {
            account.peers += 1;
            *account.torrents.entry(torrent).or_default() += 1;
        });
    }

    pub(super) fn remove(&self, owner: u32, torrent: u64) {
        self.with(owner, |account| {
            account.peers = account.peers.saturating_sub(1);
            if let Entry::Occupied(mut peers) = account.torrents.entry(torrent) {
                *peers.get_mut() -= 1;
                if *peers.get() == 0 {
                    peers.remove();
                }
            }
        });
    }

    fn with<R>(&self, owner: u32, act: impl FnOnce(&mut Account) -> R) -> Option<R> {
        let number = u64::from(owner).checked_sub(1)?;
        let mut part = lock(&self.0[(number % PARTS) as usize]);
        let account = part.accounts.get_mut((number / PARTS) as usize)?.as_mut()?;
        Some(act(account))
    }
}

impl Part {
    /// `None` when all places are taken by users with peers: more than any tracker has. They are not limited then.
    fn place(&mut self, id: u64, now: u32) -> Option<usize> {
        if let Some(place) = self.places.get(&id) {
            return Some(*place);
        }
        if self.free.is_empty() && PART_USERS_MAX <= self.accounts.len() {
            self.forget_idle(now);
        }
        let account = Account { id, since: now, announces: 0, peers: 0, torrents: BTreeMap::new() };
        let place = match self.free.pop() {
            Some(place) => place,
            None if self.accounts.len() < PART_USERS_MAX => {
                self.accounts.push(None);
                self.accounts.len() - 1
            }
            None => return None,
        };
        self.accounts[place] = Some(account);
        self.places.insert(id, place);
        Some(place)
    }

    /// Gives up accounts without peers and without a rate that still counts.
    fn forget_idle(&mut self, now: u32) {
        for (place, account) in self.accounts.iter_mut().enumerate() {
            if let Some(idle) = account
                .take_if(|account| account.peers == 0 && RATE_SECONDS <= now.saturating_sub(account.since))
            {
                self.places.remove(&idle.id);
                self.free.push(place);
            }
        }
    }
}

/// The number of a user by its place in a part.
fn owner(place: usize, part: u64) -> u32 {
    u32::try_from(place as u64 * PARTS + part + 1).expect("bounded by PART_USERS_MAX")
}

fn lock(part: &Mutex<Part>) -> MutexGuard<'_, Part> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::access::Limits;
    use super::*;

    fn user(id: u64, peers: u32, torrents: u32, announces: u32) -> User {
        let limits = Limits { peers: Some(peers), torrents: Some(torrents), announces: Some(announces) };
        User { id, limits }
    }

    #[test]
    fn a_user_has_as_many_peers_and_torrents_as_its_key_says() {
        let ledger = Ledger::new();
        let user = user(77, 3, 2, 100);
        let owner = ledger.announce(&user, 0).unwrap();
        assert_ne!(owner, 0);
        ledger.add(owner, 1);
        ledger.add(owner, 2);
        assert_eq!(ledger.check(owner, &user, 3), Err(LimitReached::Torrents(2)));
        assert_eq!(ledger.check(owner, &user, 2), Ok(()));
        ledger.add(owner, 2);
        assert_eq!(ledger.check(owner, &user, 2), Err(LimitReached::Peers(3)));
        ledger.remove(owner, 1);
        assert_eq!(ledger.check(owner, &user, 3), Ok(()));
        // Another user of the same part is counted apart.
        let other = User { id: 77 + PARTS, ..user };
        let other_owner = ledger.announce(&other, 0).unwrap();
        assert_ne!(other_owner, owner);
        assert_eq!(ledger.check(other_owner, &other, 3), Ok(()));
    }

    #[test]
    fn announces_are_counted_by_the_minute() {
        let ledger = Ledger::new();
        let user = user(5, 9, 9, 2);
        assert!(ledger.announce(&user, 10).is_ok() && ledger.announce(&user, 40).is_ok());
        assert_eq!(ledger.announce(&user, 69), Err(LimitReached::Announces(2)));
        assert!(ledger.announce(&user, 70).is_ok());
    }

    #[test]
    fn accounts_of_users_who_left_are_taken_by_others() {
        let mut part = Part::default();
        part.place(1, 0).unwrap();
        part.place(2, 0).unwrap();
        part.accounts[1].as_mut().unwrap().peers = 1;
        part.forget_idle(RATE_SECONDS);
        assert_eq!((part.place(2, 100), part.place(3, 100), part.accounts.len()), (Some(1), Some(0), 2));
    }
}
