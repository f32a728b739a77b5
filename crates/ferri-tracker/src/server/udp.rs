//! The tracker over UDP ([BEP 15], [BEP 41]).
//!
//! Source addresses of datagrams can be forged, so a client that has not shown a connection id gets no more bytes than
//! it sent, and nothing is remembered of it. A connection id is a keyed hash of the address and the minute, so that
//! none needs to be stored; SipHash was made for just this, short inputs from strangers who must not foresee the
//! output.
//!
//! What is no announce, scrape or connect request is not answered at all: an error packet that reaches another tracker would be
//! answered there with another one, and so on for ever.
//!
//! [BEP 15]: https://www.bittorrent.org/beps/bep_0015.html
//! [BEP 41]: https://www.bittorrent.org/beps/bep_0041.html

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant;

use ferri_metainfo::InfoHash;

use super::access::{Access, AccessRefusal};
use super::counters::{Counted, Protocol};
use super::group::Has;
use super::hashing::identity;
use super::refusal::{Reason, Refusal};
use super::registry::Registry;
use super::shard::{Answer, Ask};
use super::swarm::Families;
use super::words::Words;
use crate::announce::{Event, Scrape};
use crate::limits::SCRAPE_MAX;
use crate::siphash::siphash;
use crate::udp::{
    ANNOUNCE, ANNOUNCE_LENGTH, CONNECT, CONNECT_LENGTH, ERROR, Family, OPTION_END, OPTION_NOP,
    OPTION_URL_DATA, PROTOCOL, SCRAPE,
};

/// Bytes of the longest answer; a buffer of this size never cuts one short. Every IPv6 link carries it in one piece.
pub const ANSWER_BYTES_MAX: usize = 20 + 6 * PEERS_V4_MAX;

/// A connection id is good until the end of the minute after the one it was given in: at least one minute, which clients
/// count on, and at most two (BEP 15).
pub(super) const CONNECTION_SECONDS: u64 = 60;

/// Peers in one datagram, so that it is not split on the way: 1,280 bytes is what every IPv6 link carries.
const PEERS_V4_MAX: usize = 200;
const PEERS_V6_MAX: usize = 66;

/// Bytes of an error's head.
const HEAD_LENGTH: usize = 8;

/// Bytes of path and query that are looked at: a passkey and the words around it. The rest says nothing to a tracker.
const URL_BYTES_MAX: usize = 256;

/// Answers a datagram: writes the answer to the front of `out` and says how long it is. `None` when there is nothing to say.
/// `out` has [`ANSWER_BYTES_MAX`] bytes; in a shorter one answers have fewer peers, or there are none.
pub fn answer(
    registry: &Registry,
    access: &Access,
    datagram: &[u8],
    from: SocketAddr,
    now: Instant,
    out: &mut [u8],
) -> Option<usize> {
    let ip = from.ip().to_canonical();
    let count = |event| registry.tallies.answered(Protocol::Udp, event, ip);
    let Some(head) = Head::parse(datagram) else {
        registry.tallies.refused(Reason::Malformed, ip);
        return None;
    };
    let mut out = Out { bytes: out, length: 0 };
    let answered = match head.action {
        CONNECT if head.connection == PROTOCOL => {
            out.words(&[CONNECT, head.transaction]);
            out.push(&connection_id(registry, ip, minute(registry, now)).to_be_bytes());
            count(Counted::Connect);
            Ok(())
        }
        ANNOUNCE | SCRAPE if !is_connected(registry, head.connection, ip, now) => Err(Refusal::NotConnected),
        ANNOUNCE => announce(registry, access, &head, SocketAddr::new(ip, from.port()), now, &mut out)
            .inspect(|()| count(Counted::Announce)),
        SCRAPE => scrape(registry, access, &head, &mut out).inspect(|()| count(Counted::Scrape)),
        _ => {
            registry.tallies.refused(Reason::Malformed, ip);
            return None;
        }
    };
    if let Err(refusal) = answered {
        registry.tallies.refused(refusal.reason(), ip);
        // Before anything was written.
        refuse(&mut out, head.transaction, refusal, datagram.len());
    }
    (0 < out.length).then_some(out.length)
}

/// What every request begins with.
#[derive(Clone, Copy, Debug)]
struct Head<'a> {
    connection: u64,
    action: u32,
    transaction: u32,
    rest: &'a [u8],
}

impl<'a> Head<'a> {
    fn parse(datagram: &'a [u8]) -> Option<Self> {
        let (connection, rest) = datagram.split_first_chunk()?;
        let (action, rest) = rest.split_first_chunk()?;
        let (transaction, rest) = rest.split_first_chunk()?;
        Some(Self {
            connection: u64::from_be_bytes(*connection),
            action: u32::from_be_bytes(*action),
            transaction: u32::from_be_bytes(*transaction),
            rest,
        })
    }
}

/// The fields of an announce behind its head, at their offsets.
type Fields = [u8; ANNOUNCE_LENGTH - CONNECT_LENGTH];

fn announce(
    registry: &Registry,
    access: &Access,
    head: &Head<'_>,
    from: SocketAddr,
    now: Instant,
    out: &mut Out<'_>,
) -> Result<(), Refusal> {
    let Some((fields, options)) = head.rest.split_first_chunk::<{ ANNOUNCE_LENGTH - CONNECT_LENGTH }>()
    else {
        return Err(Refusal::TooShort(CONNECT_LENGTH + head.rest.len()));
    };
    let mut ask = parse(registry, fields, from);
    // First, so that strangers do not learn which torrents there are.
    if access.passkeys.is_some() {
        ask.user = user(access, options).map_err(Refusal::AccessRefusal)?;
    }
    access.torrent(&ask.info_hash).map_err(Refusal::AccessRefusal)?;
    let transaction = head.transaction;
    registry.announce(&ask, now, |answer| write(out, transaction, Family::of(from), answer))
}

fn parse(registry: &Registry, fields: &Fields, from: SocketAddr) -> Ask {
    let word = |at: usize| fields[at..].first_chunk().map_or(0, |word| u32::from_be_bytes(*word));
    let (info_hash, rest) = fields.split_first_chunk().expect("82 bytes begin with 20");
    let (peer_id, _) = rest.split_first_chunk().expect("62 bytes begin with 20");
    let event = match word(64) {
        1 => Some(Event::Completed),
        2 => Some(Event::Started),
        3 => Some(Event::Stopped),
        _ => None,
    };
    let is_done = word(48) == 0 && word(52) == 0;
    let claimed = Ipv4Addr::from_bits(word(68));
    let ip = match from.ip() {
        IpAddr::V4(_) if !claimed.is_unspecified() && registry.believes(from.ip()) => claimed.into(),
        seen => seen,
    };
    let port = u16::from_be_bytes([fields[80], fields[81]]);
    let room = match Family::of(from) {
        Family::V4 => PEERS_V4_MAX,
        Family::V6 => PEERS_V6_MAX,
    };
    // -1 leaves it to the tracker.
    let numwant = u32::try_from(word(76).cast_signed()).ok();
    let numwant =
        numwant.map_or_else(|| registry.options().numwant_default, |wanted| wanted as usize).min(room);
    Ask {
        info_hash: InfoHash::from(*info_hash),
        addr: SocketAddr::new(ip, port),
        identity: identity(peer_id, word(72)),
        has: if is_done || event == Some(Event::Completed) { Has::All } else { Has::Some },
        event,
        numwant: u32::try_from(numwant).ok(),
        families: Families::Own,
        user: None,
    }
}

fn write(out: &mut Out<'_>, transaction: u32, family: Family, answer: &Answer<'_>) {
    let numbers = &answer.numbers;
    out.words(&[ANNOUNCE, transaction, answer.interval, numbers.leechers, numbers.seeders]);
    match family {
        Family::V4 => answer.picks.v4().for_each(|addr| out.push(addr)),
        Family::V6 => answer.picks.v6().for_each(|addr| out.push(addr)),
    }
}

/// Torrents that are not served are answered like unknown ones: an answer has a place for each and none for an error.
fn scrape(registry: &Registry, access: &Access, head: &Head<'_>, out: &mut Out<'_>) -> Result<(), Refusal> {
    if access.passkeys.is_some() {
        return Err(Refusal::PrivateScrape);
    }
    out.words(&[SCRAPE, head.transaction]);
    for info_hash in head.rest.as_chunks::<20>().0.iter().take(SCRAPE_MAX) {
        let info_hash = InfoHash::from(*info_hash);
        let numbers = match access.torrent(&info_hash) {
            Ok(()) => registry.scrape(&info_hash),
            Err(_) => Scrape::default(),
        };
        out.words(&[numbers.seeders, numbers.downloaded, numbers.leechers]);
    }
    Ok(())
}

/// Whose passkey the URL of the tracker has: `/KEY/announce`, in options behind the announce.
fn user(access: &Access, options: &[u8]) -> Result<Option<super::access::User>, AccessRefusal> {
    let mut url = [0; URL_BYTES_MAX];
    let mut length = 0;
    for part in url_data(options) {
        let room = &mut url[length..];
        let taken = part.len().min(room.len());
        room[..taken].copy_from_slice(&part[..taken]);
        length += taken;
    }
    let path = url[..length].split(|byte| *byte == b'?').next().unwrap_or_default();
    access.user(super::path::split(path).0)
}

/// The URL data in the options behind an announce. Unknown options are stepped over; broken ones end the list, because
/// packets older than BEP 41 may carry anything here.
fn url_data(mut options: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        loop {
            let (&kind, rest) = options.split_first()?;
            match kind {
                OPTION_END => return None,
                OPTION_NOP => options = rest,
                _ => {
                    let (&length, rest) = rest.split_first()?;
                    let (data, rest) = rest.split_at_checked(usize::from(length))?;
                    options = rest;
                    if kind == OPTION_URL_DATA {
                        return Some(data);
                    }
                }
            }
        }
    })
}

/// An error for a client that may not be at this address, cut to the length of the request.
fn refuse(out: &mut Out<'_>, transaction: u32, refusal: Refusal, request_length: usize) {
    let mut words = Words::default();
    // Never fails: words that are too many are left out.
    let _ = write!(words, "{refusal}");
    out.words(&[ERROR, transaction]);
    let text = words.as_bytes();
    out.push(&text[..text.len().min(request_length.saturating_sub(HEAD_LENGTH))]);
}

fn minute(registry: &Registry, now: Instant) -> u64 {
    registry.connections.began.saturating_add(registry.age(now).as_secs()) / CONNECTION_SECONDS
}

/// The address without its port: clients may use several sockets. The last bit says whether the minute is even, so that only
/// one of two minutes has to be tried when it comes back.
fn connection_id(registry: &Registry, ip: IpAddr, minute: u64) -> u64 {
    let mut message = [0; 24];
    let length = match ip {
        IpAddr::V4(ip) => {
            message[..4].copy_from_slice(&ip.octets());
            4
        }
        IpAddr::V6(ip) => {
            message[..16].copy_from_slice(&ip.octets());
            16
        }
    };
    message[length..length + 8].copy_from_slice(&minute.to_be_bytes());
    siphash(&registry.connections.secret, &message[..length + 8]) & !1 | minute & 1
}

fn is_connected(registry: &Registry, connection: u64, ip: IpAddr, now: Instant) -> bool {
    let minute = minute(registry, now);
    let given = match (connection ^ minute) & 1 {
        0 => Some(minute),
        _ => minute.checked_sub(1),
    };
    given.is_some_and(|given| connection == connection_id(registry, ip, given))
}

/// A buffer that takes what fits.
struct Out<'a> {
    bytes: &'a mut [u8],
    length: usize,
}

impl Out<'_> {
    fn push(&mut self, bytes: &[u8]) {
        if let Some(room) = self.bytes.get_mut(self.length..self.length + bytes.len()) {
            room.copy_from_slice(bytes);
            self.length += bytes.len();
        }
    }

    fn words(&mut self, words: &[u32]) {
        words.iter().for_each(|word| self.push(&word.to_be_bytes()));
    }
}

#[cfg(test)]
mod tests;
