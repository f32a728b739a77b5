//! Stand-ins for the URLs of trackers, which may hold passkeys: as good for a schedule, and of no use to anybody else.

use std::collections::{BTreeMap, BTreeSet};

use ferri_metainfo::display::redact_url;
use ferri_tracker::url::Transport;

/// Which URL is written down as what. Without any, as in a replay, each is shown as it is.
#[derive(Debug, Default)]
pub struct Urls {
    stand_ins: BTreeMap<String, String>,
    taken: BTreeSet<String>,
}

impl Urls {
    /// The stand-in of a URL: the same for the same URL, and another one for any other. It names the same host, and can be used
    /// if the URL can.
    pub(crate) fn hide(&mut self, url: &str) -> String {
        let url = url.trim();
        if let Some(known) = self.stand_ins.get(url) {
            return known.clone();
        }
        let plain = match Transport::of(url) {
            _ if url.is_empty() => return String::new(),
            Ok(_) => redact_url(url),
            Err(_) => "unusable".to_owned(),
        };
        let mut stand_in = plain.clone();
        for number in 2u32.. {
            if self.taken.insert(stand_in.clone()) {
                break;
            }
            // A fragment, which is not sent to anybody.
            stand_in = format!("{plain}#{number}");
        }
        self.stand_ins.insert(url.to_owned(), stand_in.clone());
        stand_in
    }

    pub(crate) fn hide_all(&mut self, urls: &[String]) -> Vec<String> {
        urls.iter().map(|url| self.hide(url)).collect()
    }

    pub(crate) fn hide_tiers(&mut self, tiers: &[Vec<String>]) -> Vec<Vec<String>> {
        tiers.iter().map(|tier| self.hide_all(tier)).collect()
    }

    /// How a URL that was hidden is shown.
    pub(crate) fn shown<'a>(&'a self, url: &'a str) -> &'a str {
        match self.stand_ins.get(url.trim()) {
            Some(stand_in) => stand_in,
            None if self.stand_ins.is_empty() => url,
            None => "***",
        }
    }
}

#[cfg(test)]
mod tests {
    use ferri_tracker::url::authority;

    use super::*;

    #[test]
    fn a_stand_in_is_as_good_and_tells_nothing() {
        let mut urls = Urls::default();
        let (one, other) =
            ("https://ann:sesame@t.example:80/0123456789abcdef/announce?passkey=open", "http://t.example/k2");
        let hidden = urls.hide(one);
        for secret in ["ann:", "sesame", "0123456789abcdef", "open"] {
            assert!(!hidden.contains(secret), "{hidden}");
        }
        assert_eq!((Transport::of(&hidden), authority(&hidden)), (Transport::of(one), authority(one)));
        assert_eq!((urls.hide(&format!(" {one} ")), urls.shown(one)), (hidden.clone(), hidden.as_str()));
        assert_ne!(urls.hide(other), urls.hide("http://t.example/k3"));
        assert_eq!(urls.shown("http://never.seen/k4"), "***");
        assert_eq!(urls.hide(""), "");
    }

    #[test]
    fn what_cannot_be_used_stays_so() {
        let mut urls = Urls::default();
        let bad = ["ftp://t.example/secret", "no URL", "http://t.example/a b"].map(|url| urls.hide(url));
        assert!(bad.iter().all(|url| Transport::of(url).is_err() && url.starts_with("unusable")), "{bad:?}");
        assert_eq!(BTreeSet::from(bad).len(), 3);
    }

    #[test]
    fn without_any_each_is_shown_as_it_is() {
        assert_eq!(Urls::default().shown("http://t.example/***"), "http://t.example/***");
    }
}
