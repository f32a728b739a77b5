//! Items that others put with us (BEP 44). Bounded, and forgotten in time.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::id::NodeId;
use crate::items::Item;
use crate::krpc::code;
use crate::net::owner;

/// BEP 44: an item that is not put again is forgotten after two hours.
const ITEM_LIFETIME: Duration = Duration::from_secs(2 * 60 * 60);

/// Items that one IPv4 address or one IPv6 /64 may have put.
const ITEMS_PER_OWNER: usize = 50;

/// What is stored.
#[derive(Debug)]
pub(crate) struct ItemStore {
    items: BTreeMap<NodeId, Kept>,
    items_max: usize,
}

#[derive(Debug)]
struct Kept {
    item: Item,
    /// Who put it first.
    owner: u128,
    put: Instant,
}

/// Why an item was not taken: the code and the words of the error that is answered.
pub(crate) type Refusal = (i64, &'static str);

impl ItemStore {
    pub(crate) fn new(items_max: usize) -> Self {
        Self { items: BTreeMap::new(), items_max }
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    pub(crate) fn get(&self, target: NodeId) -> Option<&Item> {
        self.items.get(&target).map(|kept| &kept.item)
    }

    /// Stores an item, or brings it up to date.
    pub(crate) fn put(
        &mut self,
        item: Item,
        cas: Option<i64>,
        from: SocketAddr,
        us: NodeId,
        now: Instant,
    ) -> Result<(), Refusal> {
        let target = item.target();
        if let Some(kept) = self.items.get_mut(&target) {
            return kept.renew(item, cas, now);
        }
        let owner = owner(from);
        if ITEMS_PER_OWNER <= self.items.values().filter(|kept| kept.owner == owner).count() {
            return Err((code::SERVER, "too many items from your address"));
        }
        if self.items_max <= self.items.len() {
            // Others look for items near their key: the one that is farthest from us is missed least.
            let farthest = self.items.keys().max_by_key(|known| known.distance(us)).copied();
            match farthest {
                Some(farthest) if target.distance(us) < farthest.distance(us) => self.items.remove(&farthest),
                _ => return Err((code::SERVER, "no room for items this far from here")),
            };
        }
        self.items.insert(target, Kept { item, owner, put: now });
        Ok(())
    }

    /// Forgets items that were not put again for long.
    pub(crate) fn expire(&mut self, now: Instant) {
        self.items.retain(|_, kept| now.saturating_duration_since(kept.put) < ITEM_LIFETIME);
    }
}

impl Kept {
    fn renew(&mut self, item: Item, cas: Option<i64>, now: Instant) -> Result<(), Refusal> {
        if item.author().is_some() {
            // BEP 44: a mismatch must be told, before anything else about the version.
            if cas.is_some_and(|cas| cas != self.item.seq()) {
                return Err((code::CAS, "another version is stored than the one to be replaced"));
            }
            let same_version = item.seq() == self.item.seq();
            if item.seq() < self.item.seq() || (same_version && item.value() != self.item.value()) {
                return Err((code::SEQ, "the sequence number is not higher than the one stored"));
            }
        }
        self.item = item;
        self.put = now;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bytes::Bytes;

    use super::*;
    use crate::items::SigningKey;

    const US: [u8; 20] = [0; 20];

    fn from(n: u8) -> SocketAddr {
        SocketAddr::new([8, 8, 8, n].into(), 1)
    }

    fn version(seq: i64, value: &'static str) -> Item {
        let key = SigningKey::from_seed(&[1; 32]);
        Item::sign(&key, Bytes::new(), seq, Bytes::from_static(value.as_bytes())).unwrap()
    }

    fn number(n: usize) -> Item {
        Item::immutable(Bytes::from(format!("i{n}e"))).unwrap()
    }

    #[test]
    fn versions_only_go_up() {
        let now = Instant::now();
        let mut store = ItemStore::new(10);
        let mut check = |seq, value, cas, expected: Result<(), i64>| {
            let result = store.put(version(seq, value), cas, from(1), NodeId::from(US), now);
            assert_eq!(result.map_err(|(code, _)| code), expected, "{seq} {value} {cas:?}");
        };
        check(4, "1:a", Some(99), Ok(()));
        check(4, "1:a", None, Ok(()));
        check(4, "1:b", None, Err(code::SEQ));
        check(3, "1:a", None, Err(code::SEQ));
        check(5, "1:b", Some(3), Err(code::CAS));
        check(5, "1:b", Some(4), Ok(()));
        assert_eq!(store.get(version(5, "1:b").target()).unwrap().seq(), 5);
    }

    #[test]
    fn items_are_forgotten_after_two_hours_unless_put_again() {
        let start = Instant::now();
        let mut store = ItemStore::new(10);
        store.put(number(1), None, from(1), NodeId::from(US), start).unwrap();
        store.put(number(2), None, from(1), NodeId::from(US), start).unwrap();
        store.put(number(2), None, from(1), NodeId::from(US), start + ITEM_LIFETIME / 2).unwrap();
        store.expire(start + ITEM_LIFETIME);
        assert!(store.get(number(1).target()).is_none());
        assert!(store.get(number(2).target()).is_some());
    }

    #[test]
    fn a_full_shelf_keeps_what_is_close_and_no_address_fills_it() {
        let now = Instant::now();
        let mut store = ItemStore::new(100);
        let stored = (0..100).filter(|n| store.put(number(*n), None, from(1), NodeId::from(US), now).is_ok());
        assert_eq!(stored.count(), ITEMS_PER_OWNER);
        for n in 100..1_000 {
            let _ = store.put(number(n), None, from(n as u8), NodeId::from(US), now);
            assert!(store.len() <= 100);
        }
        let mut all: Vec<_> = (0..1_000).map(|n| number(n).target()).collect();
        all.sort_unstable();
        assert!(store.get(all[0]).is_some());
        assert!(store.get(all[999]).is_none());
    }
}
