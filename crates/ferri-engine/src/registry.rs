//! What a session knows by which info hash: one place a hash, whatever stands there. A hybrid torrent has two names on the
//! wire and one place.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use ferri_metainfo::{InfoHash, InfoHashes};

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
    is_closed: bool,
}

#[derive(Debug)]
struct Place<H> {
    host: H,
    alias: Option<InfoHash>,
}

/// A place that is taken; free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Entry {
    /// `None` once the place was left.
    registry: Option<Weak<dyn Forget>>,
    name: InfoHash,
}

/// A registry, whatever stands in it.
trait Forget: std::fmt::Debug + Send + Sync {
    fn forget(&self, name: InfoHash);
}

impl<H> Default for Registry<H> {
    fn default() -> Self {
        let places = Places { by_name: BTreeMap::new(), aliases: BTreeMap::new(), is_closed: false };
        Self { places: Mutex::new(places) }
    }
}

impl<H: Clone> Registry<H> {
    /// What goes by this name, be it its second one.
    pub(crate) fn get(&self, name: InfoHash) -> Option<H> {
        let places = self.lock();
        places.by_name.get(&places.main_name(name)).map(|place| place.host.clone())
    }

    /// Everything, in the order of the names.
    pub(crate) fn all(&self) -> Vec<H> {
        self.lock().by_name.values().map(|place| place.host.clone()).collect()
    }

    /// Whether this name could be taken.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::AlreadyRunning`].
    pub(crate) fn refuse_known(&self, name: InfoHash) -> Result<(), Error> {
        self.lock().refuse_known(name)
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
        places.refuse_known(name)?;
        places.put(hashes, host);
        drop(places);
        let registry: Arc<dyn Forget> = self.clone();
        Ok(Entry { registry: Some(Arc::downgrade(&registry)), name })
    }

    /// Puts another one where `entry` is, which may know another name of it. Nobody finds the place empty meanwhile.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub(crate) fn replace(&self, entry: &Entry, hashes: &InfoHashes, host: H) -> Result<(), Error> {
        debug_assert_eq!(entry.name, hashes.wire());
        let mut places = self.lock();
        if places.is_closed {
            return Err(Error::Closed);
        }
        let before = places.put(hashes, host);
        drop(places);
        // Its end may want the lock.
        drop(before);
        Ok(())
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

    fn refuse_known(&self, name: InfoHash) -> Result<(), Error> {
        if self.is_closed {
            return Err(Error::Closed);
        }
        let name = self.main_name(name);
        if self.by_name.contains_key(&name) { Err(Error::AlreadyRunning(name)) } else { Ok(()) }
    }

    fn put(&mut self, hashes: &InfoHashes, host: H) -> Option<Place<H>> {
        let (name, alias) = (hashes.wire(), hashes.other());
        if let Some(alias) = alias {
            self.aliases.insert(alias, name);
        }
        self.by_name.insert(name, Place { host, alias })
    }
}

impl<H: std::fmt::Debug + Send + Sync> Forget for Registry<H> {
    fn forget(&self, name: InfoHash) {
        let mut places = self.lock();
        let gone = places.by_name.remove(&name);
        if let Some(alias) = gone.as_ref().and_then(|place| place.alias)
            && places.aliases.get(&alias) == Some(&name)
        {
            places.aliases.remove(&alias);
        }
        drop(places);
        // Its end may want the lock.
        drop(gone);
    }
}

impl Entry {
    /// Frees the place at once.
    pub(crate) fn leave(&mut self) {
        if let Some(registry) = self.registry.take().and_then(|registry| registry.upgrade()) {
            registry.forget(self.name);
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
        assert!(matches!(registry.refuse_known(hash(2)), Err(Error::AlreadyRunning(_))));
        drop(entry);
        assert_eq!((registry.get(hash(1)), registry.get(hash(2))), (None, None));
        assert!(registry.refuse_known(hash(2)).is_ok());
    }

    #[test]
    fn what_takes_a_place_over_brings_its_own_second_name() {
        let registry = Arc::new(Registry::default());
        let entry = registry.enter(&v1(1), "search").unwrap();
        registry.replace(&entry, &hybrid(1, 2), "torrent").unwrap();
        assert_eq!((registry.get(hash(1)), registry.get(hash(2))), (Some("torrent"), Some("torrent")));
        drop(entry);
        assert_eq!((registry.get(hash(1)), registry.get(hash(2))), (None, None));
    }

    #[test]
    fn who_was_sought_by_the_second_name_keeps_it_when_the_search_ends() {
        let registry = Arc::new(Registry::default());
        let search = registry.enter(&v1(2), "search").unwrap();
        let torrent = registry.enter(&hybrid(1, 2), "torrent").unwrap();
        drop(search);
        assert_eq!(registry.get(hash(2)), Some("torrent"));
        drop(torrent);
        assert_eq!(registry.get(hash(2)), None);
    }

    #[test]
    fn nobody_enters_after_the_end() {
        let registry = Arc::new(Registry::default());
        let entry = registry.enter(&v1(1), "search").unwrap();
        registry.close();
        assert!(matches!(registry.enter(&v1(2), "a"), Err(Error::Closed)));
        assert!(matches!(registry.replace(&entry, &v1(1), "torrent"), Err(Error::Closed)));
        assert_eq!(registry.all(), ["search"]);
    }
}
