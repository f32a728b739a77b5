//! What stands around the info dictionary: trackers, web seeds, nodes, and who made it when.
//!
//! None of it decides what is downloaded, so what is odd here is dropped with a warning and never refused.

use std::sync::Arc;

use ferri_bencode::Value;

use super::place::{Place, Shown, Table};
use super::text::{self, Decoder};
use super::{Draft, Warnings, document, layers};
use crate::error::{MetainfoError, MetainfoErrorKind};
use crate::limits::{URL_BYTES_MAX, URLS_MAX};
use crate::metainfo::Metainfo;
use crate::warning::WarningKind;

/// A whole .torrent file.
pub(crate) fn metainfo(bytes: &[u8]) -> Result<Metainfo, MetainfoError> {
    let mut warnings = Warnings::default();
    let (document, consumed) = document(bytes)?;
    warnings.irregular(&document);
    if consumed < bytes.len() {
        let behind = WarningKind::BehindTheEnd(bytes.len() - consumed);
        warnings.push(Place::ROOT.warning(behind));
    }
    let table = Table::new(document.root(), &Place::ROOT)?;
    let value = table.get("info").ok_or_else(|| no_info(&table))?;
    let encoding = table.get("encoding").and_then(Value::as_bytes);
    let declared = text::declared(encoding, table.get("codepage").and_then(Value::as_int));
    let place = Place::ROOT.key(b"info");
    let draft = Draft::parse(value, &place, declared, &mut warnings)?;
    let layers = match draft.layout.version().has_v2() {
        true => layers::layers(&table, &draft, value.raw(), &mut warnings)?,
        false => None,
    };
    let mut names = Decoder::new(Table::new(value, &place)?.dict, declared);
    let mut around = Around { table, warnings: &mut warnings };
    let trackers = around.trackers();
    let web_seeds = around.web_seeds();
    let nodes = around.nodes();
    let comment = around.text("comment", "comment.utf-8", &mut names);
    let created_by = around.text("created by", "created by.utf-8", &mut names);
    let creation_date = around.creation_date();
    let encoding =
        encoding.map(|encoding| String::from_utf8_lossy(&encoding[..encoding.len().min(64)]).into_owned());
    let span = value.span();
    drop(document);
    let info = Arc::new(draft.finish(bytes, span, layers));
    let warnings = warnings.0;
    Ok(Metainfo { info, trackers, web_seeds, nodes, comment, created_by, creation_date, encoding, warnings })
}

/// A document without `info` is none of ours; a tracker's or an indexer's refusal is told in its words.
fn no_info(table: &Table<'_, '_>) -> MetainfoError {
    match table.get("failure reason").and_then(Value::as_bytes) {
        Some(reason) => {
            let reason = MetainfoErrorKind::FailureReason(Shown(reason).to_string());
            Place::ROOT.error(None, reason)
        }
        None => table.error("info", MetainfoErrorKind::Missing),
    }
}

/// Bytes of a comment that are kept.
const COMMENT_BYTES_MAX: usize = 64 << 10;

struct Around<'d, 'p, 'w> {
    table: Table<'d, 'p>,
    warnings: &'w mut Warnings,
}

impl<'d> Around<'d, '_, '_> {
    fn warn(&mut self, key: &str, kind: WarningKind) {
        self.warnings.push(self.table.warning(key, kind));
    }

    /// BEP 12: an `announce-list` replaces `announce`.
    fn trackers(&mut self) -> Vec<Vec<String>> {
        let key = "announce-list";
        let mut seen = std::collections::BTreeSet::new();
        let mut tiers: Vec<Vec<String>> = Vec::new();
        let list = self.table.get(key).and_then(Value::as_list);
        for tier in list.into_iter().flatten() {
            // A list of URLs instead of a list of lists is a common slip: each is its own tier then.
            let urls = tier.as_list().into_iter().flatten().chain(tier.as_bytes().is_some().then_some(tier));
            let mut kept = Vec::new();
            for url in urls.filter_map(|url| self.url(key, url)) {
                if seen.len() == URLS_MAX {
                    self.warn(key, WarningKind::TooManyTrackers);
                    break;
                }
                if seen.insert(url.clone()) {
                    kept.push(url);
                }
            }
            if !kept.is_empty() {
                tiers.push(kept);
            }
            if seen.len() == URLS_MAX {
                break;
            }
        }
        if self.table.get(key).is_some() && list.is_none() {
            self.warn(key, WarningKind::Ignored("a list"));
        }
        if tiers.is_empty()
            && let Some(announce) = self.table.get("announce")
        {
            tiers.extend(self.url("announce", announce).map(|url| vec![url]));
        }
        tiers
    }

    /// BEP 19: one URL or a list of them.
    fn web_seeds(&mut self) -> Vec<String> {
        let key = "url-list";
        let Some(value) = self.table.get(key) else { return Vec::new() };
        let mut urls: Vec<String> = Vec::new();
        let values = value.as_list().into_iter().flatten();
        for value in values.chain(value.as_bytes().is_some().then_some(value)).take(URLS_MAX) {
            let url = self.url(key, value);
            urls.extend(url.filter(|url| !urls.contains(url)));
        }
        urls
    }

    /// BEP 5: `[host, port]` pairs.
    fn nodes(&mut self) -> Vec<(String, u16)> {
        let key = "nodes";
        let list = self.table.get(key).and_then(Value::as_list);
        let mut nodes = Vec::new();
        for value in list.into_iter().flatten().take(URLS_MAX) {
            let mut pair = value.as_list().into_iter().flatten();
            let host =
                pair.next().and_then(Value::as_str).filter(|host| !host.is_empty() && host.len() < 256);
            let port = pair.next().and_then(Value::as_int).and_then(|port| u16::try_from(port).ok());
            match (host, port.filter(|port| *port != 0)) {
                (Some(host), Some(port)) => nodes.push((host.to_owned(), port)),
                _ => self.warn(key, WarningKind::Ignored("a host and a port")),
            }
        }
        nodes
    }

    fn creation_date(&mut self) -> Option<i64> {
        let key = "creation date";
        let date = self.table.get(key)?.as_int();
        if date.is_none() {
            self.warn(key, WarningKind::Ignored("a number of seconds"));
        }
        date
    }

    /// A text for people.
    fn text(&mut self, key: &str, utf8_key: &str, names: &mut Decoder<'_>) -> Option<String> {
        if let Some(text) = self.table.get(utf8_key).and_then(Value::as_str)
            && text.len() <= COMMENT_BYTES_MAX
        {
            return Some(text.to_owned());
        }
        let bytes = self.table.get(key)?.as_bytes();
        let Some(bytes) = bytes else {
            self.warn(key, WarningKind::Ignored("a text"));
            return None;
        };
        if COMMENT_BYTES_MAX < bytes.len() {
            self.warn(key, WarningKind::Cut(COMMENT_BYTES_MAX));
        }
        let mut cut = bytes.len().min(COMMENT_BYTES_MAX);
        // Not in the middle of a letter.
        while cut < bytes.len() && 0 < cut && bytes[cut] & 0xc0 == 0x80 {
            cut -= 1;
        }
        Some(names.text(&bytes[..cut]).into_owned()).filter(|text| !text.is_empty())
    }

    fn url(&mut self, key: &str, value: Value<'d>) -> Option<String> {
        let Some(url) = value.as_str().map(str::trim).filter(|url| url.len() <= URL_BYTES_MAX) else {
            self.warn(key, WarningKind::Ignored("a URL"));
            return None;
        };
        (!url.is_empty()).then(|| url.to_owned())
    }
}
