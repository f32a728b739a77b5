//! A torrent's trackers change while it is in a session: what was wanted, what is taken of it, and why not the rest.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Instant;

use ferri_metainfo::display::redact_url;
use ferri_tracker::TrackerError;
use ferri_tracker::limits::TRACKERS_MAX;
use ferri_tracker::schedule::Input;
use ferri_tracker::url::{Transport, UdpTarget};
use url::Url;

use super::lists::TrackerLists;
use super::{Announced, Trackers};
use crate::feature::{Feature, NotBuilt};
use crate::store::RecordTrackers;

/// What is to become of a torrent's trackers.
#[derive(Debug)]
pub(crate) enum TrackerEdit {
    /// These tiers take the place of all.
    Set(Vec<Vec<String>>),
    /// These come beside them.
    Add(Vec<String>),
    /// These go.
    Remove(Vec<String>),
    /// One takes the place of another one.
    Replace { url: String, with: String },
}

/// A URL that was to be a torrent's tracker, or no tracker any more, and why it is not. Its `Display` has no passkey in it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RefusedTracker {
    /// As it was given, blanks around it removed. May hold a passkey.
    pub url: String,
    /// Why.
    pub why: TrackerRefusal,
}

impl fmt::Display for RefusedTracker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", redact_url(&self.url), self.why)
    }
}

/// Why a URL does not become a torrent's tracker, or does not cease to be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrackerRefusal {
    /// It names no tracker that can be asked.
    #[error(transparent)]
    Unusable(TrackerError),
    /// The build cannot ask it.
    #[error(transparent)]
    NotBuilt(NotBuilt),
    /// The torrent has this tracker, or it was given twice.
    #[error("the torrent has this tracker already")]
    Listed,
    /// A torrent may have 200 trackers.
    #[error("a torrent may have {TRACKERS_MAX} trackers, and has them; remove some first")]
    TooMany,
    /// There is nothing to remove or to replace.
    #[error("the torrent has no such tracker")]
    NotListed,
}

impl Trackers {
    /// Changes which trackers are asked. Returns what was not taken, and whether anything changed.
    pub(crate) fn edit(
        &mut self,
        edit: TrackerEdit,
        about: &impl Announced,
        now: Instant,
    ) -> (Vec<RefusedTracker>, bool) {
        let old = self.lists();
        let (new, refused) = edited(&old, edit);
        if new == old {
            return (refused, false);
        }
        let (had, has): (BTreeSet<_>, BTreeSet<_>) = (old.urls().collect(), new.urls().collect());
        self.typed.retain(|url| has.contains(url));
        self.typed.extend(has.difference(&had).map(|url| (*url).clone()));
        self.is_edited = true;
        self.tell(about, now);
        self.schedule.handle(Input::SetTrackers { tiers: new.tiers, beside: new.extra }, now);
        (refused, true)
    }

    /// Whether its trackers are others than those that it was added with.
    pub(crate) fn is_edited(&self) -> bool {
        self.is_edited
    }

    /// As they are listed.
    pub(crate) fn lists(&self) -> TrackerLists {
        let mut lists = TrackerLists { typed: self.typed.clone(), ..TrackerLists::default() };
        let mut last = None;
        for tracker in self.schedule.trackers() {
            if tracker.is_beside {
                lists.extra.push(tracker.url);
            } else {
                if last.replace(tracker.tier) != Some(tracker.tier) {
                    lists.tiers.push(Vec::new());
                }
                lists.tiers.last_mut().into_iter().for_each(|tier| tier.push(tracker.url.clone()));
            }
        }
        lists
    }

    /// As they are kept for the next start. Those that other torrents brought are not: they come again.
    pub(crate) fn to_record(&self) -> RecordTrackers {
        let TrackerLists { tiers, mut extra, .. } = self.lists();
        extra.retain(|url| self.typed.contains(url));
        RecordTrackers { edited: Some(tiers), extra, none: false }
    }
}

/// The lists that an edit makes of these, and what it cannot do.
fn edited(old: &TrackerLists, edit: TrackerEdit) -> (TrackerLists, Vec<RefusedTracker>) {
    let mut editor = Editor { old, room: TRACKERS_MAX, refused: Vec::new() };
    let mut new = old.clone();
    match edit {
        TrackerEdit::Set(tiers) => {
            let mut taken = BTreeSet::new();
            let tiers = tiers.into_iter().map(|tier| editor.take(tier, &mut taken));
            new.tiers = tiers.filter(|tier| !tier.is_empty()).collect();
            new.extra.clear();
        }
        TrackerEdit::Add(urls) => {
            let mut taken = old.urls().cloned().collect();
            editor.room = TRACKERS_MAX.saturating_sub(old.urls().count());
            new.extra.extend(editor.take(urls, &mut taken));
        }
        TrackerEdit::Remove(urls) => {
            for url in urls {
                editor.remove(&mut new, url.trim());
            }
        }
        TrackerEdit::Replace { url, with } => editor.replace(&mut new, url.trim(), with.trim()),
    }
    (new, editor.refused)
}

struct Editor<'a> {
    old: &'a TrackerLists,
    /// So many may still come.
    room: usize,
    refused: Vec<RefusedTracker>,
}

impl Editor<'_> {
    fn refuse(&mut self, url: &str, why: TrackerRefusal) {
        self.refused.push(RefusedTracker { url: url.to_owned(), why });
    }

    /// Those of `urls` that may be listed and are not among `taken`.
    fn take(&mut self, urls: Vec<String>, taken: &mut BTreeSet<String>) -> Vec<String> {
        let mut good = Vec::new();
        for url in urls {
            let url = url.trim();
            if taken.contains(url) {
                self.refuse(url, TrackerRefusal::Listed);
            } else if let Err(why) = self.check(url) {
                self.refuse(url, why);
            } else if self.room == 0 {
                self.refuse(url, TrackerRefusal::TooMany);
            } else {
                self.room -= 1;
                taken.insert(url.to_owned());
                good.push(url.to_owned());
            }
        }
        good
    }

    /// A torrent may list what cannot be used; who sets its list again need not know that.
    fn check(&self, url: &str) -> Result<(), TrackerRefusal> {
        if self.old.urls().any(|old| old == url) {
            return Ok(());
        }
        match Transport::of(url).map_err(TrackerRefusal::Unusable)? {
            Transport::Http => match Url::parse(url) {
                Ok(url) if url.scheme() == "https" && !Feature::Tls.is_built() => {
                    Err(TrackerRefusal::NotBuilt(NotBuilt(Feature::Tls)))
                }
                Ok(_) => Ok(()),
                Err(error) => Err(TrackerRefusal::Unusable(TrackerError::BadUrl { why: error.to_string() })),
            },
            Transport::Udp => UdpTarget::parse(url).map(drop).map_err(TrackerRefusal::Unusable),
        }
    }

    fn remove(&mut self, new: &mut TrackerLists, url: &str) {
        if !new.urls().any(|listed| listed == url) {
            return self.refuse(url, TrackerRefusal::NotListed);
        }
        for tier in new.tiers.iter_mut().chain([&mut new.extra]) {
            tier.retain(|listed| listed != url);
        }
        new.tiers.retain(|tier| !tier.is_empty());
    }

    fn replace(&mut self, new: &mut TrackerLists, url: &str, with: &str) {
        if !new.urls().any(|listed| listed == url) {
            return self.refuse(url, TrackerRefusal::NotListed);
        }
        if new.urls().any(|listed| listed == with && listed != url) {
            return self.refuse(with, TrackerRefusal::Listed);
        }
        if let Err(why) = self.check(with) {
            return self.refuse(with, why);
        }
        let listed = new.tiers.iter_mut().flatten().chain(&mut new.extra);
        listed.filter(|listed| *listed == url).for_each(|listed| with.clone_into(listed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lists(tiers: &[&[&str]], extra: &[&str]) -> TrackerLists {
        let owned = |urls: &[&str]| urls.iter().map(|url| format!("http://{url}/")).collect::<Vec<_>>();
        TrackerLists {
            tiers: tiers.iter().map(|tier| owned(tier)).collect(),
            extra: owned(extra),
            typed: Vec::new(),
        }
    }

    fn check(old: &TrackerLists, edit: TrackerEdit, expected: &TrackerLists, expected_refused: &[&str]) {
        let (new, refused) = edited(old, edit);
        assert_eq!(new, *expected);
        assert_eq!(refused.iter().map(ToString::to_string).collect::<Vec<_>>(), expected_refused);
    }

    fn urls(urls: &[&str]) -> Vec<String> {
        urls.iter().map(|url| (*url).to_owned()).collect()
    }

    #[test]
    fn what_is_set_takes_the_place_of_all_and_each_tracker_comes_once() {
        let old = lists(&[&["a", "b"], &["c"]], &["x"]);
        let tiers =
            vec![urls(&["http://x/", " http://b/ "]), urls(&[]), urls(&["http://b/", "http://n/", ""])];
        let refused = [
            "http://b/: the torrent has this tracker already",
            "***: unusable tracker URL: it has no scheme such as http://",
        ];
        check(&old, TrackerEdit::Set(tiers), &lists(&[&["x", "b"], &["n"]], &[]), &refused);
        check(&old, TrackerEdit::Set(Vec::new()), &lists(&[], &[]), &[]);
    }

    #[test]
    fn what_is_added_stands_beside_the_tiers() {
        let old = lists(&[&["a"]], &["x"]);
        let added = urls(&["http://a/", "http://n/", "wss://w/", "udp://noport", "http://n:x/", "http://n/"]);
        let refused = [
            "http://a/: the torrent has this tracker already",
            "wss://w/: unusable tracker URL: WebTorrent trackers are not supported",
            "udp://noport: unusable tracker URL: a UDP tracker needs a port",
            "http://n:x/: unusable tracker URL: invalid port number",
            "http://n/: the torrent has this tracker already",
        ];
        check(&old, TrackerEdit::Add(added), &lists(&[&["a"]], &["x", "n"]), &refused);
    }

    #[test]
    fn what_is_removed_leaves_no_empty_tier() {
        let old = lists(&[&["a"], &["b", "c"]], &["x"]);
        let removed = urls(&["http://a/", "http://c/ ", "http://x/", "http://a/", "http://user:word@n/"]);
        let refused =
            ["http://a/: the torrent has no such tracker", "http://***@n/: the torrent has no such tracker"];
        check(&old, TrackerEdit::Remove(removed), &lists(&[&["b"]], &[]), &refused);
    }

    #[test]
    fn what_is_replaced_keeps_its_place() {
        let old = lists(&[&["a", "b"]], &["x"]);
        let replace =
            |url: &str, with: &str| TrackerEdit::Replace { url: url.to_owned(), with: with.to_owned() };
        check(&old, replace("http://a/", " http://n/"), &lists(&[&["n", "b"]], &["x"]), &[]);
        check(&old, replace("http://x/", "http://n/"), &lists(&[&["a", "b"]], &["n"]), &[]);
        check(&old, replace("http://a/", "http://a/"), &old, &[]);
        check(&old, replace("http://n/", "http://m/"), &old, &["http://n/: the torrent has no such tracker"]);
        let listed = ["http://b/: the torrent has this tracker already"];
        check(&old, replace("http://a/", "http://b/"), &old, &listed);
        let bad = ["***: unusable tracker URL: it has no scheme such as http://"];
        check(&old, replace("http://a/", "gone"), &old, &bad);
    }

    #[test]
    fn there_is_a_bound_and_what_cannot_be_used_may_stay() {
        let mut old = lists(&[], &[]);
        old.tiers = vec![
            (0..TRACKERS_MAX - 1).map(|n| format!("http://{n}/")).collect(),
            vec!["wss://w/".to_owned()],
        ];
        let (new, refused) = edited(&old, TrackerEdit::Add(urls(&["http://n/"])));
        assert_eq!((&new, refused[0].why.clone()), (&old, TrackerRefusal::TooMany));
        let tiers = [old.tiers.clone(), vec![urls(&["http://n/"])]].concat();
        let (new, refused) = edited(&old, TrackerEdit::Set(tiers));
        assert_eq!((&new, refused[0].why.clone(), refused.len()), (&old, TrackerRefusal::TooMany, 1));
    }
}
