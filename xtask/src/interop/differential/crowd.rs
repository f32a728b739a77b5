//! What is asked: the life of some peers as real clients tell it, in their own words.
//!
//! Who is in which swarm, and with what, is kept here too: what a tracker is to know.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ferri_metainfo::InfoHash;
use ferri_sim::Chance;
use ferri_tracker::{Announce, Event};

/// Whose way of announcing it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Libtorrent,
    Qbittorrent,
    Transmission,
    Aria2,
    Rtorrent,
    Rqbit,
    WebTorrent,
    /// Something older than BEP 23.
    Old,
}

impl Style {
    const ALL: [Self; 8] = [
        Self::Libtorrent,
        Self::Qbittorrent,
        Self::Transmission,
        Self::Aria2,
        Self::Rtorrent,
        Self::Rqbit,
        Self::WebTorrent,
        Self::Old,
    ];

    fn peer_id_begins(self) -> &'static str {
        match self {
            Self::Libtorrent => "-LT2110-",
            Self::Qbittorrent => "-qB4520-",
            Self::Transmission => "-TR3000-",
            Self::Aria2 => "A2-1-36-0-",
            Self::Rtorrent => "-lt0D80-",
            Self::Rqbit => "-rQ0910-",
            Self::WebTorrent => "-WW0300-",
            Self::Old => "M4-20-8-",
        }
    }

    fn user_agent(self) -> &'static str {
        match self {
            Self::Libtorrent => "libtorrent/2.1.1.0",
            Self::Qbittorrent => "qBittorrent/4.5.2",
            Self::Transmission => "Transmission/3.00",
            Self::Aria2 => "aria2/1.36.0",
            Self::Rtorrent => "rtorrent/0.9.8/0.13.8",
            Self::Rqbit => "rqbit/9.1.0",
            Self::WebTorrent => "WebTorrent/3.0.21",
            Self::Old => "BitTorrent/4.20.8",
        }
    }

    /// What it asks for, unless it leaves.
    fn numwant(self) -> Option<u32> {
        match self {
            Self::Libtorrent | Self::Qbittorrent => Some(200),
            Self::Transmission => Some(80),
            Self::Aria2 | Self::WebTorrent => Some(50),
            Self::Rtorrent | Self::Rqbit | Self::Old => None,
        }
    }
}

/// One question of one client.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) over_udp: bool,
    pub(super) from: IpAddr,
    pub(super) style: Style,
    pub(super) what: What,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    Announce(Announce),
    Scrape(Vec<InfoHash>),
}

impl Ask {
    /// Path and query, in the order and the form that the client has.
    pub(super) fn path(&self) -> String {
        let announce = match &self.what {
            What::Announce(announce) => announce,
            What::Scrape(hashes) => {
                let hashes = hashes.iter().map(|hash| format!("info_hash={}", escaped(hash.as_bytes())));
                return format!("/scrape?{}", hashes.collect::<Vec<_>>().join("&"));
            }
        };
        let Announce { port, uploaded, downloaded, left, key, .. } = announce;
        let hash = escaped(announce.info_hash.as_bytes());
        let id = escaped(&announce.peer_id);
        let numbers = format!("port={port}&uploaded={uploaded}&downloaded={downloaded}&left={left}");
        let numwant = announce.numwant.map(|numwant| format!("&numwant={numwant}")).unwrap_or_default();
        let event = announce.event.map(|event| format!("&event={event}")).unwrap_or_default();
        let begin = format!("/announce?info_hash={hash}&peer_id={id}&{numbers}");
        match self.style {
            Style::Libtorrent | Style::Qbittorrent => format!(
                "{begin}&corrupt=0&key={key:08X}{event}{numwant}&compact=1&no_peer_id=1&supportcrypto=1&redundant=0"
            ),
            Style::Transmission => format!("{begin}{numwant}&key={key:x}&compact=1&supportcrypto=1{event}"),
            Style::Aria2 => {
                // The last 8 bytes of its peer id.
                let key = escaped(&announce.peer_id[12..]);
                format!(
                    "/announce?info_hash={hash}&peer_id={id}&uploaded={uploaded}&downloaded={downloaded}&left={left}\
                     &compact=1&key={key}{numwant}&no_peer_id=1&port={port}{event}&supportcrypto=1"
                )
            }
            Style::Rtorrent => format!(
                "/announce?info_hash={hash}&peer_id={id}&key={key:x}&compact=1&port={port}&uploaded={uploaded}\
                 &downloaded={downloaded}&left={left}{event}"
            ),
            Style::Rqbit => format!("{begin}{event}&compact=1&no_peer_id=0"),
            Style::WebTorrent => format!(
                "/announce?{}&uploaded={uploaded}&downloaded={downloaded}&left={left}{event}&compact=1&info_hash={hash}\
                 &peer_id={id}&port={port}",
                numwant.trim_start_matches('&')
            ),
            // With an event it says nothing of it, so that no tracker misses the event for the form alone.
            Style::Old if announce.event.is_some() => format!("{begin}{event}"),
            Style::Old => format!("{begin}&compact=0"),
        }
    }

    /// Whether the client says path and query over UDP (BEP 41).
    pub(super) fn has_url_data(&self) -> bool {
        matches!(self.style, Style::Libtorrent | Style::Qbittorrent)
    }

    pub(super) fn headers(&self) -> [String; 2] {
        [format!("User-Agent: {}", self.style.user_agent()), "Accept-Encoding: identity".into()]
    }

    /// For the one who looks at a difference.
    pub(super) fn describe(&self) -> String {
        let transport = if self.over_udp { "UDP" } else { "HTTP" };
        let words = match &self.what {
            What::Scrape(hashes) => format!("scrapes {} swarms", hashes.len()),
            What::Announce(announce) => {
                let event = announce.event.map_or_else(|| "no event".to_owned(), |event| event.to_string());
                format!(
                    "announces {event}, left {}, numwant {:?}, port {}, swarm {}",
                    announce.left,
                    announce.numwant,
                    announce.port,
                    &announce.info_hash.to_string()[..8]
                )
            }
        };
        format!("{:?} at {} over {transport} {words}", self.style, self.from)
    }
}

/// What all clients are to know of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) is_seed: bool,
}

/// Who is in which swarm.
pub(super) type Truth = BTreeMap<InfoHash, BTreeMap<SocketAddr, Member>>;

/// Peers of some swarms, one after the other.
pub(super) struct Crowd {
    chance: Chance,
    lives: Vec<Life>,
    truth: Truth,
}

/// One client in one swarm.
#[derive(Clone, Debug)]
struct Life {
    style: Style,
    /// A client keeps to one transport: its key may have another form over the other one.
    over_udp: bool,
    from: IpAddr,
    port: u16,
    peer_id: [u8; 20],
    info_hash: InfoHash,
    /// Bytes that it lacks, while it is there.
    left: Option<u64>,
}

/// Bytes of each torrent.
const LENGTH: u64 = 1 << 30;

/// Few enough for every answer to name all, so that answers can be compared.
const PEERS: u8 = 16;

const SWARMS: u8 = 3;

/// One question in so many.
const SCRAPES: u64 = 8;

impl Crowd {
    /// Of either family; no swarm has both.
    pub(super) fn new(v6: bool) -> Self {
        let lives = (0..SWARMS).flat_map(|swarm| (0..PEERS).map(move |n| life(v6, swarm, n)));
        Self { chance: Chance::new(1 + u64::from(v6)), lives: lives.collect(), truth: Truth::new() }
    }

    pub(super) fn info_hashes(v6: bool) -> impl Iterator<Item = InfoHash> {
        (0..SWARMS).map(move |swarm| info_hash(v6, swarm))
    }

    /// The next question, and what is so when it has been dealt with.
    pub(super) fn next(&mut self) -> (Ask, &Truth) {
        let at = self.below(self.lives.len() as u64) as usize;
        let (step, scrapes) = (self.below(10), self.below(SCRAPES) == 0);
        let life = &mut self.lives[at];
        let (over_udp, style, from, info_hash) = (life.over_udp, life.style, life.from, life.info_hash);
        if scrapes {
            let v6 = from.is_ipv6();
            let what = What::Scrape(Self::info_hashes(v6).collect());
            return (Ask { over_udp, from, style, what }, &self.truth);
        }
        let event = life.live(step);
        let left = life.left.unwrap_or(LENGTH);
        let numwant = if event == Some(Event::Stopped) { Some(0) } else { style.numwant() };
        let announce = Announce {
            left,
            downloaded: LENGTH - left,
            event,
            numwant,
            key: 0x5eed_0000 + u32::try_from(at).unwrap_or(0),
            ..Announce::new(info_hash, life.peer_id, life.port)
        };
        let swarm = self.truth.entry(info_hash).or_default();
        let addr = SocketAddr::new(from, life.port);
        match life.left {
            Some(left) => swarm.insert(addr, Member { is_seed: left == 0 }),
            None => swarm.remove(&addr),
        };
        (Ask { over_udp, from, style, what: What::Announce(announce) }, &self.truth)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.chance.next() % end
    }
}

impl Life {
    /// Goes on with its life, and says which event that is.
    fn live(&mut self, step: u64) -> Option<Event> {
        let (left, event) = match (self.left, step) {
            // transmission-cli says `stopped` before anything else.
            (None, 0) => (None, Some(Event::Stopped)),
            (None, 1..=3) => (Some(0), Some(Event::Started)),
            // aria2 does not know the size of a magnet link's torrent, and says 0.
            (None, 4) if self.style == Style::Aria2 => (Some(0), Some(Event::Started)),
            (None, _) => (Some(LENGTH), Some(Event::Started)),
            (Some(_), 0) => (None, Some(Event::Stopped)),
            // It knows the size at last.
            (Some(0), 1 | 2) if self.style == Style::Aria2 => (Some(LENGTH / 2), None),
            (Some(0), _) => (Some(0), None),
            (Some(left), 1 | 2) if left < LENGTH => (Some(0), Some(Event::Completed)),
            (Some(left), _) => (Some(left / 2 + 1), None),
        };
        self.left = left;
        event
    }
}

fn life(v6: bool, swarm: u8, n: u8) -> Life {
    let style = Style::ALL[usize::from(n) % Style::ALL.len()];
    let from: IpAddr = if v6 {
        Ipv6Addr::new(0xfd20, 0, u16::from(swarm), u16::from(n), 0, 0, 0, 1).into()
    } else {
        Ipv4Addr::new(127, 1 + swarm, 0, 10 + n).into()
    };
    let mut peer_id = [0xf0 + n; 20];
    let begin = style.peer_id_begins().as_bytes();
    peer_id[..begin.len()].copy_from_slice(begin);
    let over_udp = usize::from(n) >= Style::ALL.len();
    Life {
        style,
        over_udp,
        from,
        port: 20_000 + u16::from(n),
        peer_id,
        info_hash: info_hash(v6, swarm),
        left: None,
    }
}

/// With all kinds of bytes.
fn info_hash(v6: bool, swarm: u8) -> InfoHash {
    let mut hash = [0; 20];
    for (n, byte) in (0_u8..).zip(&mut hash) {
        *byte = (n + swarm).wrapping_mul(0x35).wrapping_add(u8::from(v6));
    }
    InfoHash::from(hash)
}

fn escaped(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            text.push(char::from(*byte));
        } else {
            write!(text, "%{byte:02X}").expect("a String takes everything");
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_client_and_event_and_transport_comes_up() {
        let mut crowd = Crowd::new(false);
        let asks: Vec<Ask> = (0..250).map(|_| crowd.next().0).collect();
        for style in Style::ALL {
            assert!(asks.iter().filter(|ask| ask.style == style).count() > 10, "{style:?}");
        }
        let events = |event| {
            let says = |ask: &&Ask| matches!(&ask.what, What::Announce(announce) if announce.event == event);
            asks.iter().filter(says).count()
        };
        for event in [None, Some(Event::Started), Some(Event::Completed), Some(Event::Stopped)] {
            assert!(events(event) > 5, "{event:?}");
        }
        assert!(asks.iter().filter(|ask| matches!(ask.what, What::Scrape(_))).count() > 10);
        let over_udp = asks.iter().filter(|ask| ask.over_udp).count();
        assert!((90..160).contains(&over_udp), "{over_udp}");
    }

    #[test]
    fn who_left_is_no_longer_expected_by_anybody() {
        let mut crowd = Crowd::new(true);
        for _ in 0..500 {
            let (ask, truth) = crowd.next();
            let What::Announce(announce) = &ask.what else { continue };
            let addr = SocketAddr::new(ask.from, announce.port);
            let member = truth[&announce.info_hash].get(&addr);
            assert_eq!(member.is_none(), announce.event == Some(Event::Stopped));
            assert_eq!(member.is_some_and(|member| member.is_seed), member.is_some() && announce.left == 0);
        }
    }
}
