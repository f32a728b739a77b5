//! In which ways trackers answer otherwise than ours, and why that is all right.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use ferri_tracker::Event;

use super::crowd::What;
use super::{Answer, Seen};

/// A tracker that is not ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Other {
    Opentracker,
    BittorrentTracker,
}

/// A way in which an answer differs from ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// It names the one who asks.
    Itself,
    /// It names peers to one who leaves.
    ToWhoLeaves,
    /// It names other seeds to a seed, where ours does not.
    SeedsToSeed,
    /// It names fewer than there are to one who lacks something.
    Fewer,
    /// It names a peer that is not there.
    Gone,
    /// Over UDP by IPv6 it names no peers where ours names some.
    NobodyByIpv6,
    /// It counts other peers.
    Counts,
    /// It counts as many peers and more seeds among them.
    MoreSeeds,
    /// It counts other downloads.
    Downloads,
    /// It says nothing about some swarm of a scrape.
    NothingOfSwarm,
    /// It refuses what ours answers.
    Refuses,
    /// It answers nothing that a client understands.
    Unusable,
}

/// One reason.
pub(super) struct Explained {
    pub(super) other: Other,
    pub(super) kind: Kind,
    /// For the reader; the test needs only that it is here.
    #[expect(dead_code, reason = "a sentence for people")]
    why: &'static str,
}

const fn because(other: Other, kind: Kind, why: &'static str) -> Explained {
    Explained { other, kind, why }
}

pub(super) const EXPLAINED: &[Explained] = {
    use Kind as K;
    use Other::{BittorrentTracker, Opentracker};
    &[
        because(
            Opentracker,
            K::Itself,
            "clients leave their own address out; ours does not waste a place on it",
        ),
        because(
            Opentracker,
            K::SeedsToSeed,
            "seeds hang up on seeds; ours names none to who said `completed`",
        ),
        because(Opentracker, K::NothingOfSwarm, "what nobody is in is left out over HTTP; ours says zeros"),
        because(Opentracker, K::Unusable, "`compact=0` is a bad request to it; ours answers with a list"),
        because(BittorrentTracker, K::Itself, "it leaves the asker out for WebTorrent over WebSockets only"),
        because(BittorrentTracker, K::ToWhoLeaves, "it takes `numwant=0` for no number, and names 50"),
        because(BittorrentTracker, K::SeedsToSeed, "as opentracker"),
        because(BittorrentTracker, K::NobodyByIpv6, "it leaves IPv6 peers out of its answers over UDP"),
        because(
            BittorrentTracker,
            K::MoreSeeds,
            "who once said `left=0` stays a seed, whatever it says later",
        ),
        because(BittorrentTracker, K::Downloads, "it says the number of seeds, and calls that a lower bound"),
        because(
            BittorrentTracker,
            K::NothingOfSwarm,
            "bytes above 127 of an info hash are written as UTF-8, two each",
        ),
    ]
};

/// All ways in which the other answer differs from ours.
pub(super) fn differences(seen: &Seen<'_>) -> BTreeSet<Kind> {
    match (seen.ours, seen.theirs) {
        (_, Answer::Refused(_)) => [Kind::Refuses].into(),
        (_, Answer::Unusable(_)) => [Kind::Unusable].into(),
        (Answer::Scraped(ours), Answer::Scraped(theirs)) => {
            let mut kinds = BTreeSet::new();
            for (hash, ours) in ours {
                let Some(theirs) = theirs.get(hash) else {
                    kinds.insert(Kind::NothingOfSwarm);
                    continue;
                };
                kinds.extend(counted_otherwise(
                    (ours.seeders, ours.leechers),
                    (theirs.seeders, theirs.leechers),
                ));
                if ours.downloaded != theirs.downloaded {
                    kinds.insert(Kind::Downloads);
                }
            }
            kinds
        }
        (
            Answer::Announced { seeders, leechers, peers },
            Answer::Announced { seeders: their_seeders, leechers: their_leechers, peers: theirs },
        ) => {
            let mut kinds = named_otherwise(seen, peers, theirs);
            kinds.extend(counted_otherwise((*seeders, *leechers), (*their_seeders, *their_leechers)));
            kinds
        }
        _ => [Kind::Unusable].into(),
    }
}

/// Of seeds and others.
fn counted_otherwise(ours: (u32, u32), theirs: (u32, u32)) -> Option<Kind> {
    if ours == theirs {
        return None;
    }
    let as_many = ours.0 + ours.1 == theirs.0 + theirs.1;
    Some(if as_many && ours.0 < theirs.0 { Kind::MoreSeeds } else { Kind::Counts })
}

fn leaves(seen: &Seen<'_>) -> bool {
    matches!(&seen.ask.what, What::Announce(announce) if announce.event == Some(Event::Stopped))
}

fn named_otherwise(
    seen: &Seen<'_>,
    ours: &BTreeSet<SocketAddr>,
    theirs: &BTreeSet<SocketAddr>,
) -> BTreeSet<Kind> {
    let mut kinds = BTreeSet::new();
    let What::Announce(announce) = &seen.ask.what else { return kinds };
    let asker = SocketAddr::new(seen.ask.from, announce.port);
    let swarm = &seen.truth[&announce.info_hash];
    for addr in theirs.difference(ours) {
        kinds.insert(match swarm.get(addr) {
            _ if leaves(seen) => Kind::ToWhoLeaves,
            _ if *addr == asker => Kind::Itself,
            None => Kind::Gone,
            Some(member) if member.is_seed && announce.left == 0 => Kind::SeedsToSeed,
            // Ours names all others, as was checked.
            Some(_) => Kind::Fewer,
        });
    }
    if ours.difference(theirs).next().is_some() {
        let nobody = seen.ask.over_udp && asker.is_ipv6() && theirs.is_empty();
        kinds.insert(if nobody { Kind::NobodyByIpv6 } else { Kind::Fewer });
    }
    kinds
}
