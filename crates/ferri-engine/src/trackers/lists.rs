//! Which trackers a torrent has: as it was added, or as they were edited since.

use crate::AddTorrent;
use crate::store::Record;

/// A torrent's trackers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TrackerLists {
    /// By tier (BEP 12).
    pub(crate) tiers: Vec<Vec<String>>,
    /// Asked in any case, whatever those of the tiers say.
    pub(crate) extra: Vec<String>,
    /// Those of both that a person named; all others came with the torrent.
    pub(crate) typed: Vec<String>,
}

impl TrackerLists {
    /// Those of a torrent that is added so, and of which this is kept.
    pub(crate) fn of(add: &AddTorrent, record: Option<&Record>) -> Self {
        if add.no_trackers {
            return Self::default();
        }
        let (own, extra) = (add.source.tiers(), add.extra_trackers.clone());
        let Some(tiers) = record.and_then(|record| record.trackers.edited.clone()) else {
            return Self { tiers: own, typed: extra.clone(), extra };
        };
        let is_own = |url: &&String| own.iter().flatten().any(|own| own.trim() == *url);
        let typed = tiers.iter().flatten().filter(|url| !is_own(url)).chain(&extra).cloned().collect();
        Self { tiers, extra, typed }
    }

    /// All of them.
    pub(crate) fn urls(&self) -> impl Iterator<Item = &String> {
        self.tiers.iter().flatten().chain(&self.extra)
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use ferri_metainfo::InfoHash;
    use ferri_metainfo::magnet::Magnet;

    use super::*;

    #[test]
    fn who_named_a_tracker_is_known_after_an_edit_too() {
        let texts = |urls: &[&str]| urls.iter().map(|url| (*url).to_owned()).collect::<Vec<_>>();
        let mut magnet = Magnet::new(InfoHash::from([7; 20]).into());
        magnet.trackers = texts(&["http://a/", "http://b/"]);
        let mut add = AddTorrent::magnet(magnet, "/d");
        add.extra_trackers = texts(&["http://x/"]);
        let mut record = Record::new(&add, SystemTime::UNIX_EPOCH);
        let lists = TrackerLists::of(&add, Some(&record));
        assert_eq!(
            (lists.tiers.len(), &*lists.extra, &*lists.typed),
            (2, &*texts(&["http://x/"]), &*lists.extra)
        );
        record.trackers.edited = Some(vec![texts(&["http://n/", "http://b/"])]);
        let lists = TrackerLists::of(&add, Some(&record));
        assert_eq!(
            (lists.tiers, lists.typed),
            (vec![texts(&["http://n/", "http://b/"])], texts(&["http://n/", "http://x/"]))
        );
        add.no_trackers = true;
        assert_eq!(TrackerLists::of(&add, Some(&record)), TrackerLists::default());
    }
}
