//! The announces of a torrent, and the turns of all torrents of a session.

use std::borrow::Cow;
use std::time::Instant;

use ferri_tracker::pace::{self, Pace};
use ferri_tracker::{Input, Notice, Output, Schedule, ScheduleOptions};
use serde::{Deserialize, Serialize};

use super::Machine;
use crate::line::Kind;
use crate::urls::Urls;

/// What a [`Schedule`] is made of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ScheduleStart {
    /// The trackers.
    pub tiers: Vec<Vec<String>>,
    /// How it behaves.
    pub options: ScheduleOptions,
    /// Everything that is left to chance.
    pub seed: u64,
}

impl Machine for Schedule {
    const KIND: Kind = Kind::Schedule;
    type Start = ScheduleStart;
    type Input = Input;
    type Output = Output;
    type Mask = Urls;

    fn begin(start: ScheduleStart, now: Instant) -> Result<Self, &'static str> {
        let ScheduleStart { tiers, options, seed } = start;
        if FAMILIES_MAX < options.families.len() {
            return Err("there are two families of addresses");
        }
        Ok(Self::new(tiers, seed, options, now))
    }

    fn handle(&mut self, input: Input, now: Instant) {
        self.handle(input, now);
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.poll_output()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.poll_timeout()
    }

    fn shown_start<'a>(start: &'a ScheduleStart, urls: &mut Urls) -> Cow<'a, ScheduleStart> {
        Cow::Owned(ScheduleStart { tiers: urls.hide_tiers(&start.tiers), ..start.clone() })
    }

    fn shown_input<'a>(input: &'a Input, urls: &mut Urls) -> Cow<'a, Input> {
        match input {
            Input::AddTracker { url } => Cow::Owned(Input::AddTracker { url: urls.hide(url) }),
            Input::SetTrackers { tiers, beside } => {
                let (tiers, beside) = (urls.hide_tiers(tiers), urls.hide_all(beside));
                Cow::Owned(Input::SetTrackers { tiers, beside })
            }
            other => Cow::Borrowed(other),
        }
    }

    fn text(output: &Output, urls: &Urls, since: Instant) -> String {
        match output {
            Output::Announce { tracker, url, family, announce } => {
                let url = urls.shown(url);
                format!("Announce {{ {tracker:?}, url: {url:?}, family: {family:?}, {announce:?} }}")
            }
            // The URL is the tracker's, or made of it.
            Output::Scrape { tracker, url: _, info_hash } => format!("Scrape {{ {tracker:?}, {info_hash} }}"),
            Output::Event(notice) => notice_text(notice, urls, since),
            other => format!("{other:?}"),
        }
    }
}

/// IPv4 and IPv6.
const FAMILIES_MAX: usize = 2;

fn notice_text(notice: &Notice, urls: &Urls, since: Instant) -> String {
    match notice {
        Notice::Asked { url, event } => format!("Asked {{ url: {:?}, {event:?} }}", urls.shown(url)),
        Notice::Answered { url, event, response, peers } => {
            let url = urls.shown(url);
            format!("Answered {{ url: {url:?}, {event:?}, peers: {peers}, {response:?} }}")
        }
        Notice::Failed { url, event, error, retry_at } => {
            let (url, retry_at) = (urls.shown(url), retry_at.map(|at| at.saturating_duration_since(since)));
            format!("Failed {{ url: {url:?}, {event:?}, {error:?}, retry_at: {retry_at:?} }}")
        }
        Notice::Scraped { url, scrape } => format!("Scraped {{ url: {:?}, {scrape:?} }}", urls.shown(url)),
        // Why, depends on what stands in it.
        Notice::Unusable { url, error: _ } => format!("Unusable {{ url: {:?} }}", urls.shown(url)),
        Notice::LeftOut { trackers } => format!("LeftOut {{ trackers: {trackers} }}"),
    }
}

/// What a [`Pace`] is made of.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct PaceStart {}

impl Machine for Pace {
    const KIND: Kind = Kind::Pace;
    type Start = PaceStart;
    type Input = pace::Input;
    type Output = pace::Output;
    type Mask = ();

    fn begin(PaceStart {}: PaceStart, _: Instant) -> Result<Self, &'static str> {
        Ok(Self::default())
    }

    fn handle(&mut self, input: pace::Input, now: Instant) {
        self.handle(input, now);
    }

    fn poll_output(&mut self) -> Option<pace::Output> {
        self.poll_output()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.poll_timeout()
    }

    fn text(output: &pace::Output, _: &(), _: Instant) -> String {
        format!("{output:?}")
    }
}
