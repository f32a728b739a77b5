//! A flood of hostile packets at one node: garbage, questions from addresses that are not there, answers to what it never
//! asked, announces and items with and without a right to be stored.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::Bytes;
use ferri_bencode::Encoder;
use ferri_dht::{Item, SigningKey};

use crate::scenario::Dice;

use super::internet;
use super::krpc;

/// Hostile packets come from this port, which no honest node has.
const PORT: u16 = 666;

/// Forged addresses, each in a /20 of its own.
const FORGED: usize = 1 << 20;

/// Addresses that the attacker really has: what is sent there reaches him.
const REAL: usize = 256;

/// Items that the attacker made beforehand; every second is signed.
const ITEMS: usize = 2_000;

/// Places at which each real address may store something: first info hashes, then items.
const SLOTS: usize = 32;

/// Those of them that are info hashes.
const HASHES: usize = 24;

/// The attacker.
#[derive(Debug)]
pub(super) struct Flood {
    /// Bytes that came from each forged address less those that went there.
    credit: Vec<i32>,
    /// What the attacker needs to store something: a token for each slot of each of his addresses.
    tokens: Vec<Bytes>,
    items: Vec<Item>,
    /// Packets made.
    pub(super) packets: u64,
    /// Datagrams that went to his own addresses.
    pub(super) answers: u64,
}

/// Something that came to a hostile address.
#[derive(Debug)]
pub(super) enum Heard {
    /// He answers.
    Reply(Bytes),
    Nothing,
    /// A forged address got so many bytes more than came from it.
    TooMuch(i32),
}

impl Flood {
    pub(super) fn new(dice: &mut Dice) -> Self {
        let items = (0..ITEMS).map(|at| item(at, dice)).collect();
        // Written to, so that it is in memory before the measurement.
        let mut credit = vec![1; FORGED];
        credit.fill(0);
        Self { credit, tokens: vec![Bytes::new(); REAL * SLOTS], items, packets: 0, answers: 0 }
    }

    /// Whether an address is one of his, real or forged.
    pub(super) fn owns(addr: SocketAddr) -> bool {
        addr.port() == PORT
    }

    /// The next packet. `honest` is a node whose address may be borrowed.
    pub(super) fn packet(&mut self, honest: SocketAddr, dice: &mut Dice) -> (SocketAddr, Bytes) {
        self.packets += 1;
        let forged = dice.below(FORGED as u64) as usize;
        let real = dice.below(REAL as u64) as usize;
        let (from, bytes) = match dice.below(16) {
            0 | 1 => (forged_addr(forged), garbage(dice)),
            2 | 3 => (forged_addr(forged), damaged(query(dice, b"x"), dice)),
            4..=7 => (forged_addr(forged), query(dice, b"aoeusnth")),
            8 | 9 => (honest, answer(dice)),
            10 => (forged_addr(forged), answer(dice)),
            11 => (forged_addr(forged), forged_announce(dice)),
            12 => (real_addr(real), self.wish(real, dice)),
            13 => (real_addr(real), self.announce(real, dice)),
            14 => (real_addr(real), self.put(real, dice)),
            _ => (real_addr(real), damaged(self.put(real, dice), dice)),
        };
        if let Some(credit) = forged_number(from) {
            self.credit[credit] += bytes.len() as i32;
        }
        (from, bytes)
    }

    /// The node sends to an address of his.
    pub(super) fn heard(&mut self, to: SocketAddr, bytes: &[u8], dice: &mut Dice) -> Heard {
        if let Some(number) = forged_number(to) {
            self.credit[number] -= bytes.len() as i32;
            let credit = self.credit[number];
            return if credit < 0 { Heard::TooMuch(-credit) } else { Heard::Nothing };
        }
        self.answers += 1;
        let (Some(number), Some(head)) = (real_number(to), krpc::head(bytes)) else { return Heard::Nothing };
        if head.kind == b'q' {
            return Heard::Reply(pong(head.transaction, dice));
        }
        // The transaction id tells what was asked for.
        let slot = head.transaction.first().map_or(0, |slot| usize::from(*slot) % SLOTS);
        if let Some(token) = krpc::value_of(bytes, b"5:token") {
            self.tokens[number * SLOTS + slot] = Bytes::copy_from_slice(token);
        }
        Heard::Nothing
    }

    /// He asks for a token.
    fn wish(&self, real: usize, dice: &mut Dice) -> Bytes {
        let slot = dice.below(SLOTS as u64) as usize;
        let (name, target): (&[u8], _) = if slot < HASHES {
            (b"get_peers", info_hash(real, slot))
        } else {
            (b"get", *self.item(real, slot).target().as_bytes())
        };
        let mut transaction = random::<4>(dice);
        transaction[0] = slot as u8;
        message(dice, name, transaction, |message, dice| {
            message.key(b"id").bytes(&random::<20>(dice));
            let key: &[u8] = if slot < HASHES { b"info_hash" } else { b"target" };
            message.key(key).bytes(&target);
        })
    }

    fn announce(&self, real: usize, dice: &mut Dice) -> Bytes {
        let slot = dice.below(HASHES as u64) as usize;
        announce(dice, &info_hash(real, slot), &self.tokens[real * SLOTS + slot])
    }

    fn put(&self, real: usize, dice: &mut Dice) -> Bytes {
        let slot = dice.between(HASHES as u64, SLOTS as u64 - 1) as usize;
        let item = self.item(real, slot);
        let transaction = random(dice);
        message(dice, b"put", transaction, |message, dice| {
            message.key(b"id").bytes(&random::<20>(dice));
            if let Some(author) = item.author() {
                message.key(b"k").bytes(&author.public_key);
                message.key(b"seq").int(author.seq).key(b"sig").bytes(&author.signature);
            }
            message.key(b"token").bytes(&self.tokens[real * SLOTS + slot]).key(b"v").raw(item.value());
        })
    }

    fn item(&self, real: usize, slot: usize) -> &Item {
        &self.items[(real * (SLOTS - HASHES) + slot) % ITEMS]
    }
}

/// What an address of his announces for.
fn info_hash(real: usize, slot: usize) -> [u8; 20] {
    random(&mut Dice::new((real * SLOTS + slot) as u64))
}

fn forged_addr(number: usize) -> SocketAddr {
    let number = number as u32;
    let ip = number << 12 | number.wrapping_mul(0x9e37_79b1) >> 20;
    SocketAddr::new(Ipv4Addr::from(ip).into(), PORT)
}

/// Addresses under 255 are the attacker's own, since an address that is none is not forged.
fn forged_number(addr: SocketAddr) -> Option<usize> {
    let IpAddr::V4(ip) = addr.ip() else { return None };
    let number = (u32::from(ip) >> 12) as usize;
    (forged_addr(number) == addr).then_some(number)
}

/// Real addresses: four in each of some /24s, with the same port.
fn real_addr(number: usize) -> SocketAddr {
    let [high, low] = [number as u8 / 4, number as u8 % 4];
    SocketAddr::new(Ipv4Addr::new(90 + high % 8, high, 3, 200 + low).into(), PORT)
}

fn real_number(addr: SocketAddr) -> Option<usize> {
    let IpAddr::V4(ip) = addr.ip() else { return None };
    let [_, high, _, low] = ip.octets();
    let number = usize::from(high) * 4 + usize::from(low.checked_sub(200)?);
    (number < REAL && real_addr(number) == addr).then_some(number)
}

fn random<const N: usize>(dice: &mut Dice) -> [u8; N] {
    std::array::from_fn(|_| dice.roll() as u8)
}

fn garbage(dice: &mut Dice) -> Bytes {
    let length = dice.below(1_400) as usize;
    let mut bytes = vec![0; length];
    bytes.chunks_mut(8).for_each(|part| part.copy_from_slice(&dice.roll().to_le_bytes()[..part.len()]));
    // Much garbage looks like a dictionary at first.
    if let (Some(first), 0) = (bytes.first_mut(), dice.below(2)) {
        *first = b'd';
    }
    bytes.into()
}

/// A packet with some bytes changed, or cut.
fn damaged(bytes: Bytes, dice: &mut Dice) -> Bytes {
    let mut bytes = bytes.to_vec();
    for _ in 0..dice.between(1, 4) {
        let at = dice.below(bytes.len() as u64) as usize;
        match dice.below(3) {
            0 => bytes.truncate(at.max(1)),
            1 => bytes[at] = b"0123456789dlei:"[dice.below(15) as usize],
            _ => bytes[at] = dice.roll() as u8,
        }
    }
    bytes.into()
}

/// A query with some arguments.
fn message(
    dice: &mut Dice,
    query: &[u8],
    transaction: [u8; 4],
    arguments: impl FnOnce(&mut Encoder, &mut Dice),
) -> Bytes {
    let mut message = Encoder::new();
    message.begin_dict().key(b"a").begin_dict();
    arguments(&mut message, dice);
    message.end().key(b"q").bytes(query);
    message.key(b"t").bytes(&transaction).key(b"y").bytes(b"q").end();
    message.into_bytes().into()
}

fn query(dice: &mut Dice, token: &[u8]) -> Bytes {
    let names: [&[u8]; 7] =
        [b"ping", b"find_node", b"get_peers", b"get_peers", b"get", b"sample_infohashes", b"vote"];
    let name = names[dice.below(7) as usize];
    let transaction = random(dice);
    message(dice, name, transaction, |message, dice| {
        message.key(b"id").bytes(&random::<20>(dice)).key(b"info_hash").bytes(&random::<20>(dice));
        message.key(b"scrape").int(dice.below(2) as i64);
        message.key(b"target").bytes(&random::<20>(dice)).key(b"token").bytes(token);
    })
}

fn announce(dice: &mut Dice, info_hash: &[u8; 20], token: &[u8]) -> Bytes {
    let transaction = random(dice);
    message(dice, b"announce_peer", transaction, |message, dice| {
        message.key(b"id").bytes(&random::<20>(dice)).key(b"info_hash").bytes(info_hash);
        message.key(b"port").int(dice.between(1, 65_535) as i64).key(b"token").bytes(token);
    })
}

fn forged_announce(dice: &mut Dice) -> Bytes {
    let info_hash = random(dice);
    announce(dice, &info_hash, b"aoeusnth")
}

/// An answer to nothing in particular, full of nodes and peers.
fn answer(dice: &mut Dice) -> Bytes {
    let mut nodes = Vec::new();
    for _ in 0..8 {
        nodes.extend(random::<20>(dice));
        nodes.extend(internet::public_v4(dice).octets());
        nodes.extend(random::<2>(dice));
    }
    let mut message = Encoder::new();
    message.begin_dict().key(b"ip").bytes(&random::<6>(dice));
    message.key(b"r").begin_dict().key(b"id").bytes(&random::<20>(dice));
    message.key(b"nodes").bytes(&nodes).key(b"token").bytes(b"aoeusnth");
    message.key(b"values").begin_list().bytes(&random::<6>(dice)).end().end();
    let length = [2, 4][dice.below(2) as usize];
    message.key(b"t").bytes(&random::<4>(dice)[..length]).key(b"y").bytes(b"r").end();
    message.into_bytes().into()
}

fn pong(transaction: &[u8], dice: &mut Dice) -> Bytes {
    let mut message = Encoder::new();
    message.begin_dict().key(b"r").begin_dict().key(b"id").bytes(&random::<20>(dice)).end();
    message.key(b"t").bytes(transaction).key(b"y").bytes(b"r").end();
    message.into_bytes().into()
}

fn string_value(dice: &mut Dice) -> Bytes {
    let length = dice.between(8, 980) as usize;
    let mut value = Encoder::new();
    let mut content = vec![7; length];
    content[..8].copy_from_slice(&dice.roll().to_le_bytes());
    value.bytes(&content);
    value.into_bytes().into()
}

fn item(at: usize, dice: &mut Dice) -> Item {
    let value = string_value(dice);
    let item = if at.is_multiple_of(2) {
        Item::immutable(value)
    } else {
        Item::sign(&SigningKey::from_seed(&random(dice)), Bytes::new(), at as i64, value)
    };
    item.expect("a string of less than 1,000 bytes is a value")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_attacker_are_told_apart() {
        for number in [0, 1, 77, 1 << 16, FORGED - 1] {
            assert_eq!(forged_number(forged_addr(number)), Some(number));
        }
        for number in 0..REAL {
            assert_eq!(real_number(real_addr(number)), Some(number));
            assert_eq!(forged_number(real_addr(number)), None);
        }
        assert_eq!(real_number(forged_addr(5_000)), None);
    }

    #[test]
    fn a_forged_address_that_gets_more_than_it_gave_is_noticed() {
        let mut dice = Dice::new(1);
        let mut flood = Flood::new(&mut dice);
        let honest = ([1, 2, 3, 4], 5).into();
        let (from, bytes) = std::iter::repeat_with(|| flood.packet(honest, &mut dice))
            .find(|(from, _)| forged_number(*from).is_some())
            .expect("most are forged");
        assert!(matches!(flood.heard(from, &bytes, &mut dice), Heard::Nothing));
        assert!(matches!(flood.heard(from, b"x", &mut dice), Heard::TooMuch(1)));
    }
}
