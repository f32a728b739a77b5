//! What trackers say, told to a person once and to a script each time.

use std::collections::BTreeMap;

use ferri_metainfo::display::redact_url;

use crate::console::Console;
use crate::events::JsonEvent;
use crate::units;

/// What each tracker of a torrent said last: its failure, or nothing when it answered.
#[derive(Debug, Default)]
pub(crate) struct TrackerTalk(BTreeMap<String, String>);

impl TrackerTalk {
    /// Tells of an answer or a failure; other events are none of it. `name` is the torrent's.
    pub(crate) fn hear(
        &mut self,
        event: &ferri_engine::Event,
        info_hash: &str,
        name: &str,
        console: &Console,
    ) {
        use ferri_engine::Event as Engine;
        let (url, news) = match event {
            Engine::TrackerAnswered { url, seeders, leechers, peers, warning } => {
                let (seeders, leechers, peers) = (*seeders, *leechers, *peers);
                console.event(&JsonEvent::Tracker { info_hash, url, seeders, leechers, peers, error: None });
                let warning =
                    warning.as_deref().map_or_else(String::new, |text| format!("; it says: {text}"));
                let answer = format!(
                    "{}, {}, {} to try{warning}",
                    known(seeders, "seed", "seeds"),
                    known(leechers, "leecher", "leechers"),
                    units::count(peers as u64, "address", "addresses")
                );
                // Its numbers change with every answer; a person is told when it begins to work.
                let is_news = self.0.insert(url.clone(), String::new()).is_none_or(|e| !e.is_empty());
                (url, is_news.then_some(answer))
            }
            Engine::TrackerFailed { url, error } => {
                let text = error.to_string();
                let error = Some(text.as_str());
                let (seeders, leechers, peers) = (None, None, 0);
                console.event(&JsonEvent::Tracker { info_hash, url, seeders, leechers, peers, error });
                let is_news = self.0.insert(url.clone(), text.clone()).as_ref() != Some(&text);
                (url, is_news.then_some(text))
            }
            _ => return,
        };
        if let Some(news) = news {
            console.news(name, &format!("tracker {}: {news}", redact_url(url)));
        }
    }
}

/// `12 seeds`; a tracker need not tell how many there are.
fn known(n: Option<u32>, one: &str, many: &str) -> String {
    n.map_or_else(|| format!("? {many}"), |n| units::count(n.into(), one, many))
}
