//! What a session knows by which info hash: one place a hash, whatever stands there. A hybrid torrent has two names on the
//! wire and one place.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use ferri_metainfo::{InfoHash, InfoHashes};
use ferri_wire::mse::{TorrentDigest, torrent_digest};

use crate::Error;

/// Places by name.
#[derive(Debug)]
pub(crate) struct Registry<H> {
    places: Mutex<Places<H>>,
}

#[derive(Debug)]
struct Places<H> {
    by_name: BTreeMap<InfoHash, Place<H>>,
    /// The other names of hybrids: what each is known by in `by_name`.
    aliases: BTreeMap<InfoHash, InfoHash>,
    /// All names, by that which a key exchange says instead of them.
    by_digest: BTreeMap<TorrentDigest, InfoHash>,
    is_closed: bool,
    next_number: u64,
}

#[derive(Debug)]
struct Place<H> {
    host: H,
    alias: Option<InfoHash>,
    /// No other place ever has it.
    number: u64,
}

/// A place that is taken; free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Entry {
    /// `None` once the place was left.
    registry: Option<Weak<dyn Forget>>,
    name: InfoHash,
    number: u64,
}

/// A registry, whatever stands in it.
trait Forget: std::fmt::Debug + Send + Sync {
    fn forget(&self, name: InfoHash, number: u64);
}

impl<H> Default for Registry<H> {
    fn default() -> Self {
        let places = Places {
            by_name: BTreeMap::new(),
            aliases: BTreeMap::new(),
            by_digest: BTreeMap::new(),
            is_closed: false,
            next_number: 0,
        };
        Self { places: Mutex::new(places) }
    }
}

impl<H: Clone> Registry<H> {
    /// What goes by this name, be it its second one.
    pub(crate) fn get(&self, name: InfoHash) -> Option<H> {
        let places = self.lock();
        places.by_name.get(&places.main_name(name)).map(|place| place.host.clone())
    }

    /// The name, be it a second one, that a key exchange says this instead of.
    pub(crate) fn name_of(&self, digest: &TorrentDigest) -> Option<InfoHash> {
        self.lock().by_digest.get(digest).copied()
    }

    /// Everything, in the order of the names.
    pub(crate) fn all(&self) -> Vec<H> {
        self.lock().by_name.values().map(|place| place.host.clone()).collect()
    }

    /// Whether these names could be taken.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::AlreadyRunning`].
    pub(crate) fn refuse_known(&self, hashes: &InfoHashes) -> Result<(), Error> {
        self.lock().refuse_known(hashes)
    }

    /// Takes no newcomers from here on. Whoever asks for all afterwards misses none.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
    }
}

impl<H: Clone + std::fmt::Debug + Send + Sync + 'static> Registry<H> {
    /// Gives a place to a newcomer.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::AlreadyRunning`].
    pub(crate) fn enter(self: &Arc<Self>, hashes: &InfoHashes, host: H) -> Result<Entry, Error> {
        let name = hashes.wire();
        let mut places = self.lock();
        places.refuse_known(hashes)?;
        let number = places.next_number;
        places.next_number += 1;
        places.put(hashes, number, host);
        drop(places);
        let registry: Arc<dyn Forget> = self.clone();
        Ok(Entry { registry: Some(Arc::downgrade(&registry)), name, number })
    }

    /// What has this place goes by these names from here on. The place is not empty in between. Others that have one of
    /// the names lose their place, if they `yield` it.
    ///
    /// # Errors
    /// [`Error::AlreadyRunning`] when one that does not yield has one of the names; [`Error::Closed`]. Nothing has changed then.
    pub(crate) fn rename(
        &self,
        entry: &mut Entry,
        hashes: &InfoHashes,
        yields: impl Fn(&H) -> bool,
    ) -> Result<Vec<H>, Error> {
        let mut places = self.lock();
        if places.is_closed {
            return Err(Error::Closed);
        }
        let mut others = Vec::new();
        for name in hashes.names().map(|name| places.main_name(name)) {
            match places.by_name.get(&name) {
                Some(place) if place.number != entry.number && !yields(&place.host) => {
                    return Err(Error::AlreadyRunning(name));
                }
                Some(place) if place.number != entry.number => others.push((name, place.number)),
                _ => {}
            }
        }
        let gone = others.into_iter().filter_map(|(name, number)| places.take(name, number));
        let gone = gone.map(|place| place.host).collect();
        if let Some(place) = places.take(entry.name, entry.number) {
            places.put(hashes, entry.number, place.host);
        }
        entry.name = hashes.wire();
        Ok(gone)
    }
}

impl<H> Registry<H> {
    fn lock(&self) -> MutexGuard<'_, Places<H>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<H> Places<H> {
    fn main_name(&self, name: InfoHash) -> InfoHash {
        self.aliases.get(&name).copied().unwrap_or(name)
    }

    fn refuse_known(&self, hashes: &InfoHashes) -> Result<(), Error> {
        if self.is_closed {
            return Err(Error::Closed);
        }
        let names = hashes.names().map(|name| self.main_name(name));
        match names.into_iter().find(|name| self.by_name.contains_key(name)) {
            Some(name) => Err(Error::AlreadyRunning(name)),
            None => Ok(()),
        }
    }

    /// Gives these names, which are free, to the place of this number.
    fn put(&mut self, hashes: &InfoHashes, number: u64, host: H) {
        let (name, alias) = (hashes.wire(), hashes.other());
        if let Some(alias) = alias {
            self.aliases.insert(alias, name);
        }
        self.by_digest.extend(hashes.names().map(|name| (torrent_digest(&name), name)));
        self.by_name.insert(name, Place { host, alias, number });
    }

    fn take(&mut self, name: InfoHash, number: u64) -> Option<Place<H>> {
        // Another one may have the name by now.
        self.by_name.get(&name).filter(|place| place.number == number)?;
        let gone = self.by_name.remove(&name)?;
        if let Some(alias) = gone.alias {
            self.aliases.remove(&alias);
        }
        for name in [Some(name), gone.alias].into_iter().flatten() {
            self.by_digest.remove(&torrent_digest(&name));
        }
        Some(gone)
    }
}

impl<H: std::fmt::Debug + Send + Sync> Forget for Registry<H> {
    fn forget(&self, name: InfoHash, number: u64) {
        let gone = self.lock().take(name, number);
        // Its end may want the lock.
        drop(gone);
    }
}

impl Entry {
    /// Frees the place at once.
    pub(crate) fn leave(&mut self) {
        if let Some(registry) = self.registry.take().and_then(|registry| registry.upgrade()) {
            registry.forget(self.name, self.number);
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn hash(n: u8) -> InfoHash {
        InfoHash::from([n; 20])
    }

    fn v1(n: u8) -> InfoHashes {
        InfoHashes { v1: Some(hash(n)), v2: None }
    }

    fn hybrid(n: u8, m: u8) -> InfoHashes {
        InfoHashes { v1: Some(hash(n)), v2: Some([m; 32].into()) }
    }

    #[test]
    fn a_hybrid_has_two_names_and_one_place() {
        let registry = Arc::new(Registry::default());
        let entry = registry.enter(&hybrid(1, 2), "a").unwrap();
        assert_eq!(
            (registry.get(hash(1)), registry.get(hash(2)), registry.all()),
            (Some("a"), Some("a"), vec!["a"])
        );
        assert!(matches!(registry.enter(&v1(1), "b"), Err(Error::AlreadyRunning(_))));
        assert!(matches!(registry.refuse_known(&v1(2)), Err(Error::AlreadyRunning(_))));
        drop(entry);
        assert_eq!((registry.get(hash(1)), registry.get(hash(2))), (None, None));
        assert!(registry.refuse_known(&v1(2)).is_ok());
    }

    #[test]
    fn by_whichever_name_it_was_sought_a_hybrid_has_both_once_they_are_known() {
        for sought in [1, 2] {
            let registry = Arc::new(Registry::default());
            let mut entry = registry.enter(&v1(sought), "torrent").unwrap();
            assert_eq!(registry.rename(&mut entry, &hybrid(1, 2), |_| false).unwrap(), [""; 0]);
            assert_eq!((registry.get(hash(1)), registry.get(hash(2))), (Some("torrent"), Some("torrent")));
            assert_eq!(registry.rename(&mut entry, &hybrid(1, 2), |_| false).unwrap(), [""; 0]);
            drop(entry);
            assert_eq!((registry.get(hash(1)), registry.get(hash(2))), (None, None));
        }
    }

    #[test]
    fn of_two_that_are_sought_by_the_names_of_one_torrent_one_yields_or_both_stay() {
        for [first_name, second_name] in [[1, 2], [2, 1]] {
            let registry = Arc::new(Registry::default());
            let mut first = registry.enter(&v1(first_name), "first").unwrap();
            let second = registry.enter(&v1(second_name), "second").unwrap();
            let stays = registry.rename(&mut first, &hybrid(1, 2), |_| false);
            assert!(matches!(stays, Err(Error::AlreadyRunning(name)) if name == hash(second_name)));
            assert_eq!(registry.get(hash(first_name)), Some("first"));
            assert_eq!(registry.get(hash(second_name)), Some("second"));
            assert_eq!(registry.rename(&mut first, &hybrid(1, 2), |_| true).unwrap(), ["second"]);
            drop(second);
            assert_eq!((registry.get(hash(1)), registry.get(hash(2))), (Some("first"), Some("first")));
            drop(first);
            assert_eq!((registry.get(hash(1)), registry.get(hash(2))), (None, None));
        }
    }

    #[test]
    fn each_name_is_found_by_its_digest_while_it_is_taken() {
        let registry = Arc::new(Registry::default());
        let named = |n| registry.name_of(&torrent_digest(&hash(n)));
        let mut first = registry.enter(&v1(1), "first").unwrap();
        let second = registry.enter(&v1(2), "second").unwrap();
        assert_eq!((named(1), named(2), named(3)), (Some(hash(1)), Some(hash(2)), None));
        registry.rename(&mut first, &hybrid(1, 2), |_| true).unwrap();
        drop(second);
        assert_eq!((named(1), named(2)), (Some(hash(1)), Some(hash(2))));
        drop(first);
        assert_eq!((named(1), named(2)), (None, None));
        assert!(registry.lock().by_digest.is_empty());
    }

    #[test]
    fn nobody_enters_after_the_end() {
        let registry = Arc::new(Registry::default());
        let mut entry = registry.enter(&v1(1), "torrent").unwrap();
        registry.close();
        assert!(matches!(registry.enter(&v1(2), "a"), Err(Error::Closed)));
        assert!(matches!(registry.rename(&mut entry, &hybrid(1, 2), |_| true), Err(Error::Closed)));
        assert_eq!(registry.all(), ["torrent"]);
    }
}
