//! `demo --explain`: the conversation in plain words. The first of each kind in full, the rest in sums, and never
//! faster than a person can read.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ferri_engine::{Event, Said};
use ferri_metainfo::display::redact_url;

use crate::text::harmless;
use crate::units;

/// Who takes part.
#[derive(Debug)]
pub(crate) struct Cast {
    pub(crate) peers: BTreeMap<IpAddr, &'static str>,
    pub(crate) piece_count: u32,
}

/// What is not told one by one is summed up this often.
const SUM_EVERY: Duration = Duration::from_secs(1);

/// This many of a kind are told in full; by then it is clear how it goes.
const IN_FULL: u32 = 3;

/// A reader takes in about this many lines a second.
const LINES_PER_SECOND: u32 = 12;

/// Events become sentences.
#[derive(Debug)]
pub(crate) struct Story {
    cast: Cast,
    told: BTreeMap<&'static str, u32>,
    /// Since the last sum.
    requested: u32,
    received: u64,
    verified: u32,
    verified_in_all: u32,
    summed_at: Option<Instant>,
    second: Option<Instant>,
    lines_this_second: u32,
}

/// One sentence, the kind it is one of, and why it is said: told with the first of its kind.
struct Sentence {
    kind: &'static str,
    text: String,
    why: &'static str,
}

impl Story {
    pub(crate) fn new(cast: Cast) -> Self {
        Self {
            cast,
            told: BTreeMap::new(),
            requested: 0,
            received: 0,
            verified: 0,
            verified_in_all: 0,
            summed_at: None,
            second: None,
            lines_this_second: 0,
        }
    }

    /// What to print about it, if anything; harmless already.
    pub(crate) fn tell(&mut self, event: &Event, now: Instant) -> Option<String> {
        self.add_up(event);
        let sentence = match event {
            Event::Said { addr, outgoing, message } => self.said(*addr, *outgoing, *message)?,
            event => self.happened(event)?,
        };
        if self.second.is_none_or(|start| Duration::from_secs(1) <= now.saturating_duration_since(start)) {
            self.second = Some(now);
            self.lines_this_second = 0;
        }
        let times = self.told.entry(sentence.kind).or_default();
        if IN_FULL <= *times || LINES_PER_SECOND <= self.lines_this_second && *times != 0 {
            return None;
        }
        *times += 1;
        self.lines_this_second += 1;
        let why = if *times == 1 && !sentence.why.is_empty() {
            format!("\n{:>11}{}", "", sentence.why)
        } else {
            String::new()
        };
        // The explanation is a line of its own; what came from outside cannot make one.
        Some(format!("{}{}", harmless(&sentence.text), why))
    }

    fn add_up(&mut self, event: &Event) {
        match event {
            Event::Said { outgoing: true, message: Said::Request { .. }, .. } => self.requested += 1,
            Event::Said { outgoing: false, message: Said::Piece { length, .. }, .. } => {
                self.received += u64::from(*length);
            }
            Event::PieceVerified { .. } => {
                self.verified += 1;
                self.verified_in_all += 1;
            }
            _ => {}
        }
    }

    /// The sums since the last time, once a second if there are any.
    pub(crate) fn sum(&mut self, now: Instant) -> Option<String> {
        let is_due = self.summed_at.is_none_or(|at| SUM_EVERY <= now.saturating_duration_since(at));
        if !is_due {
            return None;
        }
        self.summed_at = Some(now);
        let (requested, received) = (std::mem::take(&mut self.requested), std::mem::take(&mut self.received));
        let verified = std::mem::take(&mut self.verified);
        if (requested, received, verified) == (0, 0, 0) {
            return None;
        }
        Some(format!(
            "   ...     {} asked for, {} received, {} verified ({} of {} so far)",
            units::count(requested.into(), "block", "blocks"),
            units::size(received),
            units::count(verified.into(), "piece", "pieces"),
            self.verified_in_all,
            self.cast.piece_count
        ))
    }

    fn name(&self, addr: SocketAddr) -> String {
        self.cast.peers.get(&addr.ip()).map_or_else(|| addr.to_string(), ToString::to_string)
    }

    fn happened(&self, event: &Event) -> Option<Sentence> {
        let sentence = |kind, text: String, why| Some(Sentence { kind, text, why });
        match event {
            Event::Announcing { url, event } => {
                let says = match *event {
                    "started" => "I am starting; who else has this torrent?",
                    "completed" => "I have all of it now.",
                    "stopped" => "I am leaving.",
                    _ => "I am still here; who else is?",
                };
                let kind = match *event {
                    "completed" => "announce completed",
                    "stopped" => "announce stopped",
                    _ => "announce",
                };
                sentence(
                    kind,
                    format!("we -> tracker  \"{says}\" ({})", redact_url(url)),
                    "An announce names the info hash, our port, and how much is left to download.",
                )
            }
            Event::TrackerAnswered { seeders, leechers, peers, .. } => {
                let count = |n: Option<u32>| n.map_or_else(|| "?".to_owned(), |n| n.to_string());
                sentence(
                    "answer",
                    format!(
                        "tracker -> we  \"I know {} seeds and {} others; try these {peers} addresses.\"",
                        count(*seeders),
                        count(*leechers)
                    ),
                    "The tracker has no payload. It only introduces peers to each other.",
                )
            }
            Event::TrackerFailed { error, .. } => {
                sentence("tracker failed", format!("tracker: {error}"), "The next tier is asked instead.")
            }
            Event::PeerConnected { addr, client, incoming } => {
                let how = if *incoming { "dialled us" } else { "answered our call" };
                let name = self.name(*addr);
                sentence(
                    "handshake",
                    format!("we <-> {name}  {name} {how} and shook hands; its program is {client}"),
                    "Both sides named the same info hash, or one would have hung up.",
                )
            }
            Event::PeerDisconnected { addr, reason } => {
                sentence("gone", format!("{} is gone: {reason}", self.name(*addr)), "")
            }
            Event::PieceVerified { piece } => sentence(
                "verified",
                format!("piece {piece} is complete: its SHA-1 matches, it is on disk"),
                "Only now do others hear that we have it; nothing unverified is ever passed on.",
            ),
            Event::PieceFailed { piece } => sentence(
                "failed",
                format!("piece {piece} does not match its hash; it is fetched again"),
                "The peer that sent the wrong bytes is found out and banned.",
            ),
            Event::Completed => sentence("completed", "every piece is verified: done".to_owned(), ""),
            _ => None,
        }
    }

    fn said(&self, addr: SocketAddr, outgoing: bool, message: Said) -> Option<Sentence> {
        let name = self.name(addr);
        let (who, whom) = if outgoing { ("we", name.as_str()) } else { (name.as_str(), "we") };
        let (kind, text, why) = words(message, self.cast.piece_count, outgoing)?;
        Some(Sentence { kind, text: format!("{who} -> {whom}  {text}"), why })
    }
}

/// What a message means, and why it is sent.
fn words(message: Said, piece_count: u32, outgoing: bool) -> Option<(&'static str, String, &'static str)> {
    Some(match message {
        Said::ExtensionHandshake => (
            "extension handshake",
            "\"I also speak these extensions.\"".to_owned(),
            "BEP 10: programs tell each other what they can do beyond the protocol of 2001.",
        ),
        Said::Bitfield(count) => (
            if outgoing { "our bitfield" } else { "bitfield" },
            format!("\"I have {count} of {piece_count} pieces.\""),
            "From these lists we learn which pieces are rare, and fetch those first.",
        ),
        Said::Have(piece) => (
            if outgoing { "our have" } else { "have" },
            format!("\"I have piece {piece}, too.\""),
            "Every verified piece is told to all who lack it, so that they can ask us for it.",
        ),
        Said::Interested => (
            if outgoing { "interested" } else { "peer interested" },
            "\"You have something I want.\"".to_owned(),
            "Saying so costs nothing; it asks to be let in.",
        ),
        Said::NotInterested => ("not interested", "\"You have nothing I want.\"".to_owned(), ""),
        Said::Unchoke => (
            if outgoing { "our unchoke" } else { "unchoke" },
            "\"You may ask for blocks.\"".to_owned(),
            "A peer lets a few in at a time; while downloading it favours those that give the most.",
        ),
        Said::Choke => ("choke", "\"No more requests for now.\"".to_owned(), ""),
        Said::Request { piece, begin, length } => (
            "request",
            format!("\"Send me {} of piece {piece}, from byte {begin}.\"", units::size(length.into())),
            "Several requests are always under way, so that the line is never idle.",
        ),
        Said::Piece { piece, begin, length } => (
            "block",
            format!("\"Here are {} of piece {piece}, from byte {begin}.\"", units::size(length.into())),
            "A block is kept in memory until its whole piece can be verified.",
        ),
        Said::Cancel { piece, begin } => (
            "cancel",
            format!("\"Never mind byte {begin} of piece {piece}.\""),
            "At the very end the last blocks are asked of several peers; the first answer wins.",
        ),
        Said::Reject { piece, begin } => {
            ("reject", format!("\"I will not send byte {begin} of piece {piece}.\""), "")
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn cast() -> Cast {
        Cast { peers: BTreeMap::from([(IpAddr::from([127, 0, 0, 2]), "Ann")]), piece_count: 64 }
    }

    fn request(piece: u32) -> Event {
        let message = Said::Request { piece, begin: 0, length: 16384 };
        Event::Said { addr: SocketAddr::from(([127, 0, 0, 2], 5)), outgoing: true, message }
    }

    #[test]
    fn the_first_of_a_kind_comes_with_its_reason_and_the_rest_in_sums() {
        let now = Instant::now();
        let mut story = Story::new(cast());
        let first = story.tell(&request(7), now).unwrap();
        assert!(first.starts_with("we -> Ann  \"Send me 16 KiB of piece 7, from byte 0.\"\n"), "{first}");
        assert!(!story.tell(&request(8), now).unwrap().contains('\n'));
        assert!(story.tell(&request(9), now).is_some());
        for piece in 10..100 {
            assert_eq!(story.tell(&request(piece), now), None);
        }
        assert!(story.sum(now).unwrap().contains("93 blocks asked for"));
        assert_eq!(story.sum(now + SUM_EVERY), None);
    }

    #[test]
    fn a_peer_cannot_write_lines_of_its_own() {
        let now = Instant::now();
        let mut story = Story::new(cast());
        let addr = SocketAddr::from(([127, 0, 0, 2], 5));
        let client = "bye\nfake line\u{1b}[2J".to_owned();
        let event = Event::PeerConnected { addr, client, incoming: true };
        let told = story.tell(&event, now).unwrap();
        // The second line is ours: the reason.
        let lines: Vec<_> = told.split('\n').collect();
        assert!(lines.len() == 2 && lines[0].contains("fake line"), "{told:?}");
        assert!(!lines.concat().chars().any(char::is_control), "{told:?}");
    }
}
