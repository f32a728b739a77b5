//! One thing that is worked on, as numbers and words. No widths: those are the layout's.

use std::time::Duration;

/// A torrent, a search for one, or any other long work.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct View {
    /// Harmless to print.
    pub(crate) name: String,
    /// Bytes done and bytes in all. `None` while that is not known.
    pub(crate) done: Option<(u64, u64)>,
    /// Bytes verified and bytes wanted, whatever is being worked on: what sums are made of.
    pub(crate) wanted: Option<(u64, u64)>,
    pub(crate) doing: Doing,
    pub(crate) flow: Flow,
}

/// What is told behind the sizes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Doing {
    /// Data comes: its rate and when that ends.
    Flows,
    /// Everything is here and is served.
    Serves,
    /// Something else than a torrent is worked on, at a rate.
    Works,
    /// Anything else: the same in more and more words. Never empty.
    Says(Vec<String>),
}

/// How much goes through.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Flow {
    /// Bytes a second.
    pub(crate) down: u64,
    pub(crate) up: u64,
    /// `None` of what has no peers.
    pub(crate) peers: Option<usize>,
    pub(crate) seeds: usize,
    /// Bytes.
    pub(crate) sent: u64,
    pub(crate) ratio: Option<f64>,
    pub(crate) eta: Option<Duration>,
    /// How long it has lasted, where that is worth telling.
    pub(crate) lasts: Option<Duration>,
}

impl View {
    /// Nothing of it is missing.
    pub(crate) fn is_complete(&self) -> bool {
        self.done.is_some_and(|(done, total)| done == total) && self.doing == Doing::Serves
    }

    /// All of them as one.
    pub(crate) fn total(views: &[Self]) -> Self {
        let wanted = views.iter().filter_map(|view| view.wanted).reduce(|a, b| (a.0 + b.0, a.1 + b.1));
        let sum = |what: fn(&Flow) -> u64| views.iter().map(|view| what(&view.flow)).sum();
        let down: u64 = sum(|flow| flow.down);
        let left = wanted.map_or(0, |(done, total)| total.saturating_sub(done));
        let eta = (0 < down && 0 < left).then(|| Duration::from_secs(left / down.max(1)));
        let doing =
            if views.iter().all(|view| view.doing == Doing::Serves) { Doing::Serves } else { Doing::Flows };
        Self {
            name: format!("{} torrents", views.len()),
            done: wanted,
            wanted,
            doing,
            flow: Flow {
                down,
                up: sum(|flow| flow.up),
                peers: Some(views.iter().filter_map(|view| view.flow.peers).sum()),
                seeds: views.iter().map(|view| view.flow.seeds).sum(),
                sent: sum(|flow| flow.sent),
                eta,
                ..Flow::default()
            },
        }
    }
}
