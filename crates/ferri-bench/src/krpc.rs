//! Load for a node of the DHT ([BEP 5](https://www.bittorrent.org/beps/bep_0005.html)): honest queries at a steady pace from many
//! addresses, each of which answers pings as a node does; peers to store; and hostile packets.
//!
//! The addresses are those of 20.0.0.0/8, which the machine has to take for its own (`ip route add local 20.0.0.0/8 dev lo`).
//! It trusts the node in that it looks for keys instead of parsing.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use ferri_sim::Chance;
use tokio::net::UdpSocket;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::say;

/// Of the addresses that queries come from; a process may usually have a thousand files open.
const SOURCES: u32 = 600;

/// Between two bursts of a pace.
const TICK: Duration = Duration::from_millis(1);

/// For answers that are under way when the last query has left.
const LAST_ANSWERS: Duration = Duration::from_millis(500);

/// No message is longer.
const MESSAGE_MAX: usize = 2048;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Query {
    Ping,
    FindNode,
    GetPeers,
    /// `get_peers`, and `announce_peer` with the token it brings.
    Announce,
}

/// Honest load.
#[derive(Debug, Args)]
pub(crate) struct Load {
    #[arg(long)]
    to: SocketAddr,
    #[arg(long)]
    query: Query,
    /// Queries a second; announces not counted
    #[arg(long, default_value_t = 1000)]
    rate: u32,
    #[arg(long)]
    seconds: u32,
    /// Info hashes that are asked for in turn
    #[arg(long, default_value_t = 400)]
    hashes: u32,
}

#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    answered: AtomicU64,
    /// Announces that were answered.
    stored: AtomicU64,
    errors: AtomicU64,
}

/// One address, and the node that seems to be there.
struct Source {
    socket: UdpSocket,
    id: [u8; 20],
    to: SocketAddr,
    announces: bool,
}

/// Asks at a steady pace, then says what was answered as a line of JSON. Before, every source asks once, so that the node
/// can look whether the address is real.
///
/// # Errors
/// When an address cannot be had.
pub(crate) fn load(load: &Load) -> Result<()> {
    runtime()?.block_on(async {
        let counts = Arc::new(Counts::default());
        let mut sources = Vec::new();
        for n in 0..SOURCES {
            let source = Arc::new(Source::bind(n, load.to, load.query == Query::Announce).await?);
            tokio::spawn(listen(source.clone(), counts.clone()));
            sources.push(source);
        }
        let warm_up =
            pace(load.rate.min(SOURCES), SOURCES, async |n| sources[n as usize].ask(Query::Ping, 0).await);
        warm_up.await?;
        sleep(LAST_ANSWERS).await;
        let before = counts.report();
        say("ready")?;
        let total = load.rate.checked_mul(load.seconds).context("too many queries")?;
        pace(load.rate, total, async |n| {
            counts.sent.fetch_add(1, Ordering::Relaxed);
            // Another source for each round over the hashes, so that all pairs differ.
            let source = (n + n / load.hashes) % SOURCES;
            sources[source as usize].ask(load.query, n % load.hashes).await
        })
        .await?;
        sleep(LAST_ANSWERS).await;
        let after = counts.report();
        let [sent, answered, stored, errors] = [0, 1, 2, 3].map(|at| after[at] - before[at]);
        say(&format!(r#"{{"sent":{sent},"answered":{answered},"stored":{stored},"errors":{errors}}}"#))
    })
}

/// Pings until there is an answer.
///
/// # Errors
/// When there is none.
pub(crate) fn ping(to: SocketAddr) -> Result<()> {
    const TRIES: usize = 20;
    runtime()?.block_on(async {
        let unspecified: SocketAddr =
            if to.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { "[::]:0".parse()? };
        let socket = UdpSocket::bind(unspecified).await?;
        let mut buffer = [0; MESSAGE_MAX];
        for _ in 0..TRIES {
            socket.send_to(&query(Query::Ping, &[7; 20], 0), to).await?;
            while let Ok(received) = timeout(LAST_ANSWERS, socket.recv_from(&mut buffer)).await {
                let (length, from) = received?;
                // It may want to know whether we are real before it answers.
                let message = &buffer[..length];
                if from == to && has(message, b"1:y1:q") {
                    socket.send_to(&answer(message, &[7; 20]), to).await?;
                } else if from == to && has(message, b"1:y1:r") {
                    return say("ready");
                }
            }
        }
        bail!("{to} does not answer")
    })
}

/// Hostile load.
#[derive(Debug, Args)]
pub(crate) struct Flood {
    #[arg(long)]
    to: SocketAddr,
    /// Packets a second
    #[arg(long, default_value_t = 50_000)]
    rate: u32,
    #[arg(long)]
    seconds: u32,
}

/// Sends packets of every bad kind, then says how many as a line of JSON.
///
/// # Errors
/// When an address cannot be had.
pub(crate) fn flood(flood: &Flood) -> Result<()> {
    runtime()?.block_on(async {
        let answers = Arc::new(AtomicU64::new(0));
        let mut sockets = Vec::new();
        for n in 0..SOURCES {
            let socket = Arc::new(UdpSocket::bind(address(n)).await?);
            sockets.push(socket.clone());
            let answers = answers.clone();
            tokio::spawn(async move {
                let mut buffer = [0; MESSAGE_MAX];
                while socket.recv_from(&mut buffer).await.is_ok() {
                    answers.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut chance = Chance::new(1);
        let mut sent = 0_u64;
        let total = flood.rate.checked_mul(flood.seconds).context("too many packets")?;
        let (mut ticks, mut left) = (interval(TICK), total);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let end = Instant::now() + Duration::from_secs(flood.seconds.into());
        while 0 < left && Instant::now() < end {
            ticks.tick().await;
            for _ in 0..(flood.rate / 1000).max(1).min(left) {
                let packet = hostile(&mut chance);
                let socket = &sockets[chance.index(sockets.len())];
                // A full socket buffer is a packet less, as on any network.
                sent += u64::from(socket.try_send_to(&packet, flood.to).is_ok());
                left -= 1;
            }
            tokio::task::yield_now().await;
        }
        say(&format!(r#"{{"sent":{sent},"answers":{}}}"#, answers.load(Ordering::Relaxed)))
    })
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// Does something `total` times, at so many a second.
async fn pace(rate: u32, total: u32, mut each: impl AsyncFnMut(u32) -> Result<()>) -> Result<()> {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (mut done, mut tick) = (0, 0_u64);
    while done < total {
        ticks.tick().await;
        tick += 1;
        let due = (tick * u64::from(rate) / 1000).min(total.into());
        while u64::from(done) < due {
            each(done).await?;
            done += 1;
        }
    }
    Ok(())
}

/// The address of a source: spread over networks, so that no limit for a network concerns two.
fn address(n: u32) -> SocketAddr {
    let [_, _, high, low] = n.to_be_bytes();
    (Ipv4Addr::new(20, high, low, 7), 6881).into()
}

impl Source {
    async fn bind(n: u32, to: SocketAddr, announces: bool) -> Result<Self> {
        let address = address(n);
        let socket = UdpSocket::bind(address)
            .await
            .with_context(|| format!("{address} is to be local: ip route add local 20.0.0.0/8 dev lo"))?;
        let mut id = [0; 20];
        Chance::new(u64::from(n) + 1).fill(&mut id);
        Ok(Self { socket, id, to, announces })
    }

    async fn ask(&self, what: Query, hash: u32) -> Result<()> {
        self.socket.send_to(&query(what, &self.id, hash), self.to).await?;
        Ok(())
    }
}

/// Answers the node's queries, counts its answers, announces with its tokens.
async fn listen(source: Arc<Source>, counts: Arc<Counts>) {
    let mut buffer = [0; MESSAGE_MAX];
    while let Ok((length, _)) = source.socket.recv_from(&mut buffer).await {
        let message = &buffer[..length];
        if has(message, b"1:y1:q") {
            let _ = source.socket.send_to(&answer(message, &source.id), source.to).await;
        } else if has(message, b"1:y1:e") {
            counts.errors.fetch_add(1, Ordering::Relaxed);
        } else if let Some(transaction) = value(message, b"1:t") {
            let hash = transaction.first_chunk::<4>().map_or(0, |bytes| u32::from_be_bytes(*bytes));
            let is_announce = transaction.len() == 5;
            let count = if is_announce { &counts.stored } else { &counts.answered };
            count.fetch_add(1, Ordering::Relaxed);
            if let Some(token) = value(message, b"5:token").filter(|_| source.announces && !is_announce) {
                let _ = source.socket.send_to(&announce(&source.id, hash, token), source.to).await;
            }
        }
    }
}

impl Counts {
    fn report(&self) -> [u64; 4] {
        [&self.sent, &self.answered, &self.stored, &self.errors].map(|count| count.load(Ordering::Relaxed))
    }
}

/// The info hash of this number, spread over the keys.
fn info_hash(n: u32) -> [u8; 20] {
    let mut hash = [0; 20];
    Chance::new((u64::from(n) << 32) + 0x5eed).fill(&mut hash);
    hash
}

/// A query whose transaction says which hash it is about.
fn query(what: Query, id: &[u8; 20], hash: u32) -> Vec<u8> {
    let (name, key): (_, &[u8]) = match what {
        Query::Ping => ("4:ping", b""),
        Query::FindNode => ("9:find_node", b"6:target20:"),
        Query::GetPeers | Query::Announce => ("9:get_peers", b"9:info_hash20:"),
    };
    let target = if key.is_empty() { Vec::new() } else { info_hash(hash).to_vec() };
    let parts: [&[u8]; 7] = [b"d1:ad2:id20:", id, key, &target, b"e1:q", name.as_bytes(), b"1:t4:"];
    [&parts.concat(), &hash.to_be_bytes()[..], b"1:y1:qe"].concat()
}

fn announce(id: &[u8; 20], hash: u32, token: &[u8]) -> Vec<u8> {
    let token = [token.len().to_string().as_bytes(), b":", token].concat();
    let parts: [&[u8]; 7] = [
        b"d1:ad2:id20:",
        id,
        b"9:info_hash20:",
        &info_hash(hash),
        b"4:porti6881e5:token",
        &token,
        b"e1:q13:announce_peer1:t5:",
    ];
    [&parts.concat(), &hash.to_be_bytes()[..], b"a1:y1:qe"].concat()
}

/// What a node answers to whatever it is asked: its id, and no other nodes.
fn answer(query: &[u8], id: &[u8; 20]) -> Vec<u8> {
    let transaction = value(query, b"1:t").unwrap_or_default();
    let length = transaction.len().to_string();
    let parts: [&[u8]; 7] =
        [b"d1:rd2:id20:", id, b"5:nodes0:e1:t", length.as_bytes(), b":", transaction, b"1:y1:re"];
    parts.concat()
}

fn has(message: &[u8], part: &[u8]) -> bool {
    message.windows(part.len()).any(|window| window == part)
}

/// The string after the last place of this key.
fn value<'a>(message: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let at = message.windows(key.len()).rposition(|window| window == key)? + key.len();
    let rest = &message[at..];
    let colon = rest.iter().position(|&byte| byte == b':')?;
    let length: usize = std::str::from_utf8(&rest[..colon]).ok()?.parse().ok()?;
    rest.get(colon + 1..)?.get(..length)
}

/// A packet that no honest node sends, or not so often.
fn hostile(chance: &mut Chance) -> Vec<u8> {
    let mut id = [0; 20];
    chance.fill(&mut id);
    let hash = chance.index(1 << 30) as u32;
    match chance.index(12) {
        0 => {
            let mut noise = vec![0; chance.index(1400) + 1];
            chance.fill(&mut noise);
            noise
        }
        1 => query(Query::Ping, &id, hash),
        2 => query(Query::FindNode, &id, hash),
        3 => query(Query::GetPeers, &id, hash),
        4 => announce(&id, hash, &id[..chance.index(20)]),
        5 => [b"d1:a".as_slice(), &vec![b'l'; 1200]].concat(),
        6 => format!("d1:a{}:{hash}", u64::MAX - u64::from(hash)).into_bytes(),
        7 => [b"d1:rd2:id20:", &id[..], b"5:nodes260:", &vec![hash as u8; 260], b"e1:t2:ab1:y1:re"].concat(),
        8 => [b"d1:eli203e3:bade1:t2:".as_slice(), &id[..2], b"1:y1:ee"].concat(),
        9 => {
            let head =
                [b"d1:ad2:id20:".as_slice(), &id, b"5:token4:abcd1:v1000:", &vec![b'v'; 1000]].concat();
            [&head, b"e1:q3:put1:t2:".as_slice(), &id[..2], b"1:y1:qe"].concat()
        }
        10 => {
            let mut cut = query(Query::GetPeers, &id, hash);
            cut.truncate(chance.index(cut.len()));
            cut
        }
        _ => {
            let mut bent = announce(&id, hash, b"token");
            let at = chance.index(bent.len());
            bent[at] ^= 1 << chance.index(8);
            bent
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_what_the_specification_shows() {
        let id = *b"abcdefghij0123456789";
        let text = query(Query::Ping, &id, u32::from_be_bytes(*b"abcd"));
        assert_eq!(text, b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t4:abcd1:y1:qe");
        assert_eq!(value(&text, b"1:t"), Some(b"abcd".as_slice()));
        let reply = answer(&text, &id);
        assert_eq!(reply, b"d1:rd2:id20:abcdefghij01234567895:nodes0:e1:t4:abcd1:y1:re");
        assert!(has(&reply, b"1:y1:r") && !has(&reply, b"1:y1:q"));
    }

    #[test]
    fn an_announce_carries_the_token() {
        let text = announce(&[b'i'; 20], 0, b"xyz");
        assert_eq!(value(&text, b"5:token"), Some(b"xyz".as_slice()));
        assert_eq!(value(&text, b"1:t").map(<[u8]>::len), Some(5));
    }
}
