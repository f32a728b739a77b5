//! Packets of the UDP tracker protocol, both ways ([BEP 15]), with the options of an announce ([BEP 41]).
//!
//! Only bytes and their meaning; who sends what when is in [`crate::exchange`], and the tracker's side in
//! [`crate::server`].
//!
//! [BEP 15]: https://www.bittorrent.org/beps/bep_0015.html
//! [BEP 41]: https://www.bittorrent.org/beps/bep_0041.html

use std::net::{Ipv4Addr, SocketAddr};

use ferri_metainfo::InfoHash;

use crate::announce::{Announce, Event, Scrape, bounded_text};
use crate::limits::{SCRAPE_MAX, URL_BYTES_MAX};
use crate::peers::{PeerList, encode_compact};

/// What a client sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Asks for a connection id.
    Connect {
        /// Chosen by the client, repeated in the answer.
        transaction: u32,
    },
    /// Announces.
    Announce {
        /// From an earlier [`Response::Connect`].
        connection: u64,
        /// Chosen by the client, repeated in the answer.
        transaction: u32,
        /// What is announced. [`Event::Paused`] and the tracker id have no place in a packet and are left out.
        announce: Announce,
        /// Path and query of the tracker's URL (BEP 41).
        url_data: Vec<u8>,
    },
    /// Asks about swarms.
    Scrape {
        /// From an earlier [`Response::Connect`].
        connection: u64,
        /// Chosen by the client, repeated in the answer.
        transaction: u32,
        /// The swarms, at most [`SCRAPE_MAX`]; more are left out.
        info_hashes: Vec<InfoHash>,
    },
}

/// What a tracker sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// A connection id, good for a minute.
    Connect {
        /// The request's.
        transaction: u32,
        /// For announces and scrapes.
        connection: u64,
    },
    /// The answer to an announce.
    Announce {
        /// The request's.
        transaction: u32,
        /// Seconds until the next announce, as the tracker said it.
        interval: i32,
        /// Peers that lack something.
        leechers: u32,
        /// Peers that have everything.
        seeders: u32,
        /// Peers of the family that the packet travelled by.
        peers: Vec<SocketAddr>,
    },
    /// The answer to a scrape, in the order of the request.
    Scrape {
        /// The request's.
        transaction: u32,
        /// One for each info hash.
        swarms: Vec<Scrape>,
    },
    /// The tracker refuses.
    Error {
        /// The request's.
        transaction: u32,
        /// Why.
        message: String,
    },
}

/// The address family by which packets travel. It decides how peers are written (BEP 15).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Family {
    /// 6 bytes a peer.
    V4,
    /// 18 bytes a peer.
    V6,
}

impl Family {
    /// The family of an address, where one mapped into IPv6 counts as IPv4.
    pub fn of(addr: SocketAddr) -> Self {
        if addr.ip().to_canonical().is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// Why a packet was not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// It ends before its fields do.
    #[error("a packet of {0} bytes is too short")]
    TooShort(usize),
    /// Its action is none of the protocol's.
    #[error("unknown action {0}")]
    UnknownAction(u32),
    /// A connect request without the protocol's number.
    #[error("not a connect request of this protocol")]
    NotConnect,
}

pub(crate) const PROTOCOL: u64 = 0x0417_2710_1980;
pub(crate) const CONNECT: u32 = 0;
pub(crate) const ANNOUNCE: u32 = 1;
pub(crate) const SCRAPE: u32 = 2;
pub(crate) const ERROR: u32 = 3;

/// A connect request has this many bytes, and its answer too: a client that has not proven its address gets no more
/// than it sent.
pub const CONNECT_LENGTH: usize = 16;
/// An announce request without options.
pub const ANNOUNCE_LENGTH: usize = 98;

pub(crate) const OPTION_END: u8 = 0;
pub(crate) const OPTION_NOP: u8 = 1;
pub(crate) const OPTION_URL_DATA: u8 = 2;

impl Request {
    /// The packet.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(ANNOUNCE_LENGTH);
        match self {
            Self::Connect { transaction } => head(&mut out, PROTOCOL, CONNECT, *transaction),
            Self::Announce { connection, transaction, announce, url_data } => {
                head(&mut out, *connection, ANNOUNCE, *transaction);
                encode_announce(&mut out, announce);
                encode_url_data(&mut out, url_data);
            }
            Self::Scrape { connection, transaction, info_hashes } => {
                head(&mut out, *connection, SCRAPE, *transaction);
                for info_hash in info_hashes.iter().take(SCRAPE_MAX) {
                    out.extend_from_slice(info_hash.as_bytes());
                }
            }
        }
        out
    }

    /// Reads a packet. More bytes than the fields need are options of an announce, and otherwise ignored.
    ///
    /// # Errors
    /// A packet that is too short, of an unknown action, or a connect request without the protocol's number.
    pub fn decode(packet: &[u8]) -> Result<Self, PacketError> {
        let mut fields = Fields::new(packet);
        let connection = fields.u64()?;
        let action = fields.u32()?;
        let transaction = fields.u32()?;
        match action {
            CONNECT if connection == PROTOCOL => Ok(Self::Connect { transaction }),
            CONNECT => Err(PacketError::NotConnect),
            ANNOUNCE => {
                let announce = decode_announce(&mut fields)?;
                let url_data = decode_url_data(fields.rest);
                Ok(Self::Announce { connection, transaction, announce, url_data })
            }
            SCRAPE => {
                let hashes = fields.rest.as_chunks::<20>().0;
                let info_hashes = hashes.iter().take(SCRAPE_MAX).map(|hash| InfoHash::from(*hash)).collect();
                Ok(Self::Scrape { connection, transaction, info_hashes })
            }
            unknown => Err(PacketError::UnknownAction(unknown)),
        }
    }
}

impl Response {
    /// The packet. Peers are written in the form of their own family; one packet holds one family.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(CONNECT_LENGTH);
        match self {
            Self::Connect { transaction, connection } => {
                words(&mut out, &[CONNECT, *transaction]);
                out.extend_from_slice(&connection.to_be_bytes());
            }
            Self::Announce { transaction, interval, leechers, seeders, peers } => {
                words(&mut out, &[ANNOUNCE, *transaction, interval.cast_unsigned(), *leechers, *seeders]);
                for peer in peers {
                    encode_compact(*peer, &mut out);
                }
            }
            Self::Scrape { transaction, swarms } => {
                words(&mut out, &[SCRAPE, *transaction]);
                for swarm in swarms {
                    words(&mut out, &[swarm.seeders, swarm.downloaded, swarm.leechers]);
                }
            }
            Self::Error { transaction, message } => {
                words(&mut out, &[ERROR, *transaction]);
                out.extend_from_slice(message.as_bytes());
            }
        }
        out
    }

    /// Reads a packet that came by `family`. Addresses that cannot be peers are left out.
    ///
    /// # Errors
    /// A packet that is too short or of an unknown action.
    pub fn decode(packet: &[u8], family: Family) -> Result<Self, PacketError> {
        let mut fields = Fields::new(packet);
        let action = fields.u32()?;
        let transaction = fields.u32()?;
        match action {
            CONNECT => Ok(Self::Connect { transaction, connection: fields.u64()? }),
            ANNOUNCE => {
                let interval = fields.u32()?.cast_signed();
                let leechers = fields.u32()?;
                let seeders = fields.u32()?;
                let mut peers = PeerList::default();
                match family {
                    Family::V4 => peers.extend_v4(fields.rest),
                    Family::V6 => peers.extend_v6(fields.rest),
                }
                Ok(Self::Announce { transaction, interval, leechers, seeders, peers: peers.into_addrs() })
            }
            SCRAPE => {
                let swarms = fields.rest.as_chunks::<12>().0.iter().take(SCRAPE_MAX).map(decode_swarm);
                Ok(Self::Scrape { transaction, swarms: swarms.collect() })
            }
            ERROR => {
                // Some trackers end the message like a C string.
                let end = fields.rest.iter().position(|&byte| byte == 0).unwrap_or(fields.rest.len());
                Ok(Self::Error { transaction, message: bounded_text(&fields.rest[..end]) })
            }
            unknown => Err(PacketError::UnknownAction(unknown)),
        }
    }

    /// The transaction that a packet from a tracker belongs to, so that one socket can serve several exchanges. `None`
    /// for packets that are too short to have one.
    pub fn transaction(packet: &[u8]) -> Option<u32> {
        packet.get(4..8)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
    }
}

/// Path and query in options of at most 255 bytes each (BEP 41). A URL without either sends none, as everything older
/// than BEP 41 does.
fn encode_url_data(out: &mut Vec<u8>, url_data: &[u8]) {
    for part in url_data.chunks(usize::from(u8::MAX)) {
        out.push(OPTION_URL_DATA);
        out.push(u8::try_from(part.len()).expect("chunks are at most 255 bytes"));
        out.extend_from_slice(part);
    }
}

/// The URL data in the options behind an announce. Unknown options are stepped over; broken ones end the list, because
/// packets older than BEP 41 may carry anything here.
fn decode_url_data(mut options: &[u8]) -> Vec<u8> {
    let mut url_data = Vec::new();
    while let Some((&kind, rest)) = options.split_first() {
        if kind == OPTION_END {
            break;
        }
        options = rest;
        if kind == OPTION_NOP {
            continue;
        }
        let Some((&length, rest)) = options.split_first() else { break };
        let Some((data, rest)) = rest.split_at_checked(usize::from(length)) else { break };
        if kind == OPTION_URL_DATA && url_data.len() + data.len() <= URL_BYTES_MAX {
            url_data.extend_from_slice(data);
        }
        options = rest;
    }
    url_data
}

fn encode_announce(out: &mut Vec<u8>, announce: &Announce) {
    out.extend_from_slice(announce.info_hash.as_bytes());
    out.extend_from_slice(&announce.peer_id);
    for number in [announce.downloaded, announce.left, announce.uploaded] {
        out.extend_from_slice(&number.min(i64::MAX as u64).to_be_bytes());
    }
    // BEP 21 defines `paused` for HTTP only.
    let event: u32 = match announce.event {
        None | Some(Event::Paused) => 0,
        Some(Event::Completed) => 1,
        Some(Event::Started) => 2,
        Some(Event::Stopped) => 3,
    };
    let ip = match announce.ip {
        Some(std::net::IpAddr::V4(ip)) => ip.to_bits(),
        _ => 0,
    };
    // -1 leaves the number of peers to the tracker.
    let numwant = announce.numwant.and_then(|numwant| i32::try_from(numwant).ok()).unwrap_or(-1);
    words(out, &[event, ip, announce.key, numwant.cast_unsigned()]);
    out.extend_from_slice(&announce.port.to_be_bytes());
}

fn decode_announce(fields: &mut Fields<'_>) -> Result<Announce, PacketError> {
    let info_hash = InfoHash::from(fields.take::<20>()?);
    let peer_id = fields.take::<20>()?;
    let mut number = || fields.u64().map(|number| number.min(i64::MAX as u64));
    let (downloaded, left, uploaded) = (number()?, number()?, number()?);
    let event = match fields.u32()? {
        1 => Some(Event::Completed),
        2 => Some(Event::Started),
        3 => Some(Event::Stopped),
        _ => None,
    };
    let ip = fields.u32()?;
    let key = fields.u32()?;
    let numwant = u32::try_from(fields.u32()?.cast_signed()).ok();
    let port = u16::from_be_bytes(fields.take::<2>()?);
    let ip = (ip != 0).then(|| Ipv4Addr::from_bits(ip).into());
    Ok(Announce {
        uploaded,
        downloaded,
        left,
        event,
        numwant,
        key,
        ip,
        ..Announce::new(info_hash, peer_id, port)
    })
}

fn decode_swarm(entry: &[u8; 12]) -> Scrape {
    let [a, b, c] = std::array::from_fn(|at| {
        let word = entry[4 * at..].first_chunk().expect("three words of four bytes");
        u32::from_be_bytes(*word)
    });
    Scrape { seeders: a, downloaded: b, leechers: c, downloaders: None }
}

fn head(out: &mut Vec<u8>, first: u64, action: u32, transaction: u32) {
    out.extend_from_slice(&first.to_be_bytes());
    words(out, &[action, transaction]);
}

fn words(out: &mut Vec<u8>, words: &[u32]) {
    for word in words {
        out.extend_from_slice(&word.to_be_bytes());
    }
}

/// Takes fields off the front of a packet.
struct Fields<'a> {
    rest: &'a [u8],
    length: usize,
}

impl<'a> Fields<'a> {
    fn new(packet: &'a [u8]) -> Self {
        Self { rest: packet, length: packet.len() }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], PacketError> {
        let (field, rest) = self.rest.split_first_chunk::<N>().ok_or(PacketError::TooShort(self.length))?;
        self.rest = rest;
        Ok(*field)
    }

    fn u32(&mut self) -> Result<u32, PacketError> {
        self.take().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, PacketError> {
        self.take().map(u64::from_be_bytes)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn announce() -> Announce {
        Announce {
            uploaded: 3,
            downloaded: 1,
            left: 2,
            event: Some(Event::Started),
            numwant: Some(50),
            key: 0x0102_0304,
            ..Announce::new(InfoHash::from([0xaa; 20]), [0xbb; 20], 6881)
        }
    }

    #[test]
    fn a_connect_request_is_the_sixteen_bytes_of_the_bep() {
        let packet = Request::Connect { transaction: 0x0102_0304 }.encode();
        assert_eq!(packet, b"\x00\x00\x04\x17\x27\x10\x19\x80\x00\x00\x00\x00\x01\x02\x03\x04");
        assert_eq!(Request::decode(&packet), Ok(Request::Connect { transaction: 0x0102_0304 }));
        assert_eq!(Request::decode(&[0; 16]), Err(PacketError::NotConnect));
    }

    #[test]
    fn an_announce_has_every_field_at_its_offset() {
        let url_data = b"/dir?a=b&c=d".to_vec();
        let request = Request::Announce { connection: 9, transaction: 7, announce: announce(), url_data };
        let packet = request.encode();
        assert_eq!(packet[..16], [0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0, 7]);
        assert_eq!((packet[16], packet[36]), (0xaa, 0xbb));
        assert_eq!((packet[63], packet[71], packet[79]), (1, 2, 3));
        assert_eq!(packet[80..98], [0, 0, 0, 2, 0, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 50, 0x1a, 0xe1]);
        assert_eq!(packet[98..], *b"\x02\x0c/dir?a=b&c=d");
        assert_eq!(Request::decode(&packet), Ok(request));
    }

    #[test]
    fn an_announce_that_leaves_things_open_says_so() {
        let open = Announce { left: u64::MAX, event: Some(Event::Paused), numwant: None, ..announce() };
        let packet =
            Request::Announce { connection: 9, transaction: 7, announce: open, url_data: Vec::new() }
                .encode();
        assert_eq!(packet.len(), ANNOUNCE_LENGTH);
        assert_eq!(packet[64..72], i64::MAX.to_be_bytes());
        assert_eq!(packet[80..84], [0; 4]);
        assert_eq!(packet[92..96], [0xff; 4]);
    }

    fn check_url_data(options: &[u8], expected: &[u8]) {
        let request =
            Request::Announce { connection: 9, transaction: 7, announce: announce(), url_data: Vec::new() };
        let mut packet = request.encode();
        packet.extend_from_slice(options);
        let Ok(Request::Announce { url_data, .. }) = Request::decode(&packet) else {
            panic!("not an announce")
        };
        assert_eq!(url_data, expected, "{options:?}");
    }

    #[test]
    fn options_are_read_as_bep_41_says() {
        check_url_data(b"\x02\x0c/dir?a=b&c=d\x01\x01\x00", b"/dir?a=b&c=d");
        check_url_data(b"\x02\x02/a\x02\x02?b", b"/a?b");
        check_url_data(b"\x07\x03xyz\x02\x02/a", b"/a");
        check_url_data(b"\x07\x00\x02\x02/a", b"/a");
        check_url_data(b"\x00\x02\x02/a", b"");
        check_url_data(b"\x02\x00", b"");
        check_url_data(b"\x02", b"");
        check_url_data(b"\x02\x05/a", b"");
    }

    #[test]
    fn a_long_path_goes_in_parts_and_comes_back_whole() {
        let url_data: Vec<u8> = (0..1000u32).map(|at| b'a' + (at % 26) as u8).collect();
        let request = Request::Announce { connection: 9, transaction: 7, announce: announce(), url_data };
        assert_eq!(Request::decode(&request.encode()), Ok(request));
    }

    fn check_response(response: &Response, family: Family, packet: &[u8]) {
        assert_eq!(response.encode(), packet);
        assert_eq!(Response::decode(packet, family).as_ref(), Ok(response));
        for length in 0..8 {
            assert_eq!(Response::decode(&packet[..length], family), Err(PacketError::TooShort(length)));
        }
        assert_eq!(Response::transaction(packet), Some(7));
    }

    #[test]
    fn responses_are_the_bytes_of_the_bep() {
        check_response(
            &Response::Connect { transaction: 7, connection: 9 },
            Family::V4,
            b"\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\x09",
        );
        let peers = vec!["1.2.3.4:6881".parse().unwrap()];
        check_response(
            &Response::Announce { transaction: 7, interval: 1800, leechers: 1, seeders: 2, peers },
            Family::V4,
            b"\0\0\0\x01\0\0\0\x07\0\0\x07\x08\0\0\0\x01\0\0\0\x02\x01\x02\x03\x04\x1a\xe1",
        );
        let peers = vec!["[2001:db8::1]:6881".parse().unwrap()];
        check_response(
            &Response::Announce { transaction: 7, interval: -1, leechers: 0, seeders: 0, peers },
            Family::V6,
            b"\0\0\0\x01\0\0\0\x07\xff\xff\xff\xff\0\0\0\0\0\0\0\0\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x1a\xe1",
        );
        check_response(
            &Response::Scrape {
                transaction: 7,
                swarms: vec![Scrape { seeders: 1, downloaded: 2, leechers: 3, downloaders: None }],
            },
            Family::V4,
            b"\0\0\0\x02\0\0\0\x07\0\0\0\x01\0\0\0\x02\0\0\0\x03",
        );
        check_response(
            &Response::Error { transaction: 7, message: "no".to_owned() },
            Family::V4,
            b"\0\0\0\x03\0\0\0\x07no",
        );
    }

    #[test]
    fn a_message_that_ends_like_a_c_string_ends_there() {
        let packet = b"\0\0\0\x03\0\0\0\x07no\0rest";
        let Ok(Response::Error { message, .. }) = Response::decode(packet, Family::V4) else { panic!() };
        assert_eq!(message, "no");
    }
}
