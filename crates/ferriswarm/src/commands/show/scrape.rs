//! `show --scrape`: how many take part, as each tracker says. Nothing is announced.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use ferri_engine::Scraper;
use ferri_metainfo::InfoHash;
use ferri_metainfo::display::redact_url;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::args::ShowArgs;
use crate::console::Console;
use crate::env::Interrupts;
use crate::exit::{Exit, Failure};
use crate::text::harmless;
use crate::units;

/// Trackers that are asked at once, each with a descriptor; a torrent names 200 at most, and each has 30 seconds.
const AT_ONCE: usize = 32;
/// A user without a live display hears of what takes longer than this.
const TOLD_AFTER: Duration = Duration::from_secs(1);

/// What is asked, and which trackers are.
#[derive(Debug)]
pub(super) struct Scrape {
    info_hash: InfoHash,
    bind: Option<IpAddr>,
    /// Announce addresses in the order in which they are told.
    trackers: Vec<Tracker>,
}

#[derive(Debug, Clone)]
struct Tracker {
    url: String,
    /// On the command line.
    is_typed: bool,
}

/// What a tracker says, key for key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct TrackerNumbers {
    url: String,
    seeders: Option<u32>,
    leechers: Option<u32>,
    /// How often it was ever completed.
    downloads: Option<u32>,
    /// Leechers that still want something, where the tracker tells them apart.
    downloaders: Option<u32>,
    error: Option<String>,
    /// Whether it spoke of the torrent, if only to say that it does not know it.
    #[serde(skip)]
    is_answered: bool,
}

impl Scrape {
    /// `None`: it is not wanted.
    pub(super) fn of(args: &ShowArgs, info_hash: InfoHash, tiers: &[Vec<String>]) -> Option<Self> {
        let named = tiers.iter().flatten().filter(|url| !args.network.tracker.contains(url));
        let mut trackers: Vec<Tracker> = Vec::new();
        let all = named.map(|url| (url, false)).chain(args.network.tracker.iter().map(|url| (url, true)));
        for (url, is_typed) in all {
            if trackers.iter().all(|tracker| tracker.url != *url) {
                trackers.push(Tracker { url: url.clone(), is_typed });
            }
        }
        args.scrape.then_some(Self { info_hash, bind: args.network.bind, trackers })
    }

    /// Asks all. Fails on Ctrl-C.
    pub(super) async fn ask(
        self,
        console: &Console,
        interrupts: &Interrupts,
    ) -> Result<Vec<TrackerNumbers>, Failure> {
        let wait = console.aside();
        if self.trackers.is_empty() {
            wait.warn("it names no tracker: --tracker URL asks one");
        }
        let what = format!("asking {}", units::count(self.trackers.len() as u64, "tracker", "trackers"));
        let live = wait.live_area();
        live.set(vec![what.clone()]);
        let scraper = Scraper::new(self.bind);
        let mut waiting = self.trackers.into_iter().enumerate();
        let mut asking = JoinSet::new();
        let mut answers = BTreeMap::new();
        let mut told = std::pin::pin!(sleep(TOLD_AFTER));
        let mut is_told = wait.is_live();
        loop {
            while asking.len() < AT_ONCE
                && let Some((number, tracker)) = waiting.next()
            {
                let (scraper, info_hash) = (scraper.clone(), self.info_hash);
                asking.spawn(async move { (number, ask(&scraper, tracker, info_hash).await) });
            }
            tokio::select! {
                biased;
                () = interrupts.pressed(1) => {
                    return Err(Failure::new(Exit::Interrupted, "stopped before every tracker answered"));
                }
                answered = asking.join_next() => match answered {
                    None => return Ok(answers.into_values().collect()),
                    Some(answered) => {
                        let (number, answer) = answered.map_err(|error| {
                            Failure::new(Exit::Internal, format!("asking a tracker failed: {error}"))
                        })?;
                        answers.insert(number, answer);
                    }
                },
                () = &mut told, if !is_told => {
                    wait.line(&what);
                    is_told = true;
                }
            }
        }
    }
}

async fn ask(scraper: &Scraper, tracker: Tracker, info_hash: InfoHash) -> TrackerNumbers {
    let Tracker { url, is_typed } = tracker;
    let answer =
        if is_typed { scraper.ask_typed(&url, info_hash).await } else { scraper.ask(&url, info_hash).await };
    let is_answered = answer.is_ok();
    let (numbers, error) = match answer {
        Ok(Some(numbers)) => (Some(numbers), None),
        Ok(None) => (None, Some("it does not know this torrent".to_owned())),
        Err(error) => (None, Some(error.to_string())),
    };
    TrackerNumbers {
        url,
        seeders: numbers.map(|numbers| numbers.seeders),
        leechers: numbers.map(|numbers| numbers.leechers),
        downloads: numbers.map(|numbers| numbers.downloaded),
        downloaders: numbers.and_then(|numbers| numbers.downloaders),
        error,
        is_answered,
    }
}

/// A line each.
pub(super) fn describe(answers: &[TrackerNumbers]) -> String {
    let mut out = String::new();
    for answer in answers {
        if out.is_empty() {
            out.push_str("\nTrackers say:\n");
        }
        let known = |number: Option<u32>, one: &str, many: &str| {
            number.map_or_else(String::new, |number| units::count(number.into(), one, many))
        };
        let says = match &answer.error {
            Some(error) => harmless(error),
            None => format!(
                "{}, {}, {}",
                known(answer.seeders, "seed", "seeds"),
                known(answer.leechers, "leecher", "leechers"),
                known(answer.downloads, "download", "downloads")
            ),
        };
        out.push_str(&format!("  {}  {says}\n", harmless(&redact_url(&answer.url))));
    }
    out
}

/// One answer is enough.
pub(super) fn exit(answers: &[TrackerNumbers]) -> Exit {
    if answers.is_empty() || answers.iter().any(|answer| answer.is_answered) {
        Exit::Done
    } else {
        Exit::Network
    }
}
