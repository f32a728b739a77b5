//! Load for measurements, and the floor: peers that do the least work a transfer can take.
//!
//! `seeders`, `leechers` and `tracker` are the other side of a client under test; they are cheaper than any client, so
//! that they are not what limits it. `floor-leech` and `floor-seed` are in the client's own place: what they need is
//! what the protocol, the kernel and the hash need, and every client is a multiple of that. All of them trust their
//! torrent and their peer; none of them is a client to be used. Torrents of one file only.

mod announces;
mod floor;
mod hash;
mod krpc;
mod leech;
mod many;
mod protocol;
mod relay;
mod scale;
mod seed;
mod siege;
mod stream;
mod torrent;
mod tracker;
mod tracker_load;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand};

use relay::Link;
use seed::Manner;
use torrent::Torrent;

/// Load generators and the floor.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Serve a file to all peers that ask, at COUNT consecutive addresses, until killed
    Seeders {
        #[arg(long)]
        torrent: PathBuf,
        /// The torrent's file
        #[arg(long)]
        file: PathBuf,
        #[arg(long, default_value_t = 4)]
        count: u8,
        /// The first address; the next ones have the next IP addresses and the same port
        #[arg(long)]
        listen_base: SocketAddr,
        /// Bytes a second that each address sends, in turn; unlimited where there is none
        #[arg(long, value_delimiter = ',')]
        rates: Vec<u64>,
        /// One more address, whose peer stops sending inside a block
        #[arg(long)]
        stall: bool,
        /// So many more addresses, whose peers send the first half of each piece
        #[arg(long, default_value_t = 0)]
        halving: u8,
    },
    /// Fetch a torrent from one peer over COUNT connections, throw it away and say how long it took
    Leechers {
        #[arg(long)]
        torrent: PathBuf,
        #[arg(long)]
        connect: SocketAddr,
        #[arg(long, default_value_t = 4)]
        count: u8,
        /// The first local address; the next ones have the next IP addresses
        #[arg(long)]
        bind_base: IpAddr,
    },
    /// Hold as many connections to a seed as it lets, and say how long newcomers wait
    Siege(siege::Siege),
    /// Answer every announce with the same peers, until killed
    Tracker {
        #[arg(long)]
        listen: SocketAddr,
        /// Separated by commas; none means that there are none
        #[arg(long, value_delimiter = ',')]
        peers: Vec<SocketAddr>,
    },
    /// Fill a tracker with peers and let them announce, and say what its answers cost it
    TrackerLoad(tracker_load::Load),
    /// Send a file as one plain TCP stream to each connection, until killed
    Push {
        #[arg(long)]
        file: PathBuf,
        #[arg(long)]
        listen: SocketAddr,
    },
    /// Receive a plain TCP stream and throw it away
    Pull {
        #[arg(long)]
        from: SocketAddr,
    },
    /// Join two new TUN devices by a link with a delay, until killed
    Relay {
        #[arg(long)]
        one: String,
        #[arg(long)]
        other: String,
        /// Each way
        #[arg(long)]
        delay_ms: u64,
        /// Bits a second, each way
        #[arg(long)]
        rate: u64,
    },
    /// Measure what the swarm machine costs a block
    Scale {
        /// Pieces of the torrent
        #[arg(long)]
        pieces: u32,
        #[arg(long)]
        peers: u16,
        /// Blocks to download
        #[arg(long)]
        blocks: u32,
    },
    /// Measure the hash functions
    Hash,
    /// Ask a node of the DHT at a steady pace, and say what it answered
    KrpcLoad(krpc::Load),
    /// Ping a node of the DHT until it answers
    KrpcPing {
        #[arg(long)]
        to: SocketAddr,
    },
    /// Send hostile packets to a node of the DHT
    KrpcFlood(krpc::Flood),
    /// Count announces until standard input ends
    Announces {
        #[arg(long)]
        listen: SocketAddr,
    },
    /// Seed many small torrents through the library, and say what that costs
    Many(many::Many),
    /// Download a file from the given peers with the least work
    FloorLeech {
        #[arg(long)]
        torrent: PathBuf,
        /// Where to write
        #[arg(long)]
        file: PathBuf,
        /// Separated by commas
        #[arg(long, value_delimiter = ',')]
        peers: Vec<SocketAddr>,
    },
    /// Check a file, then serve it with the least work, until killed
    FloorSeed {
        #[arg(long)]
        torrent: PathBuf,
        #[arg(long)]
        file: PathBuf,
        #[arg(long)]
        listen: SocketAddr,
    },
    /// Check a file with the least work
    FloorCheck {
        #[arg(long)]
        torrent: PathBuf,
        #[arg(long)]
        file: PathBuf,
    },
}

fn main() -> Result<()> {
    match Args::parse().task {
        Task::Seeders { torrent, file, count, listen_base, rates, stall, halving } => {
            let limited = rates.into_iter().map(Manner::Limited).chain(std::iter::repeat(Manner::Free));
            let mut manners: Vec<Manner> = limited.take(usize::from(count)).collect();
            manners.extend(stall.then_some(Manner::Stalling));
            manners.extend((0..halving).map(|_| Manner::Halving));
            seed::serve(&Torrent::load(&torrent)?, &file, &manners, listen_base)
        }
        Task::Leechers { torrent, connect, count, bind_base } => {
            leech::discard(&Torrent::load(&torrent)?, connect, count, bind_base)
        }
        Task::Siege(siege) => siege::run(&siege),
        Task::Tracker { listen, peers } => tracker::serve(listen, &peers),
        Task::TrackerLoad(load) => tracker_load::run(&load),
        Task::Push { file, listen } => stream::push(&file, listen),
        Task::Pull { from } => stream::pull(from),
        Task::Relay { one, other, delay_ms, rate } => {
            relay::run(Link { delay: Duration::from_millis(delay_ms), rate }, [&one, &other])
        }
        Task::Scale { pieces, peers, blocks } => scale::run(pieces, peers, blocks),
        Task::Hash => hash::run(),
        Task::KrpcLoad(load) => krpc::load(&load),
        Task::KrpcPing { to } => krpc::ping(to),
        Task::KrpcFlood(flood) => krpc::flood(&flood),
        Task::Announces { listen } => announces::serve(listen),
        Task::Many(many) => many::run(&many),
        Task::FloorLeech { torrent, file, peers } => {
            floor::download(&Torrent::load(&torrent)?, &file, &peers)
        }
        Task::FloorSeed { torrent, file, listen } => {
            let torrent = Torrent::load(&torrent)?;
            torrent.check(&file)?;
            seed::serve(&torrent, &file, &[Manner::Free], listen)
        }
        Task::FloorCheck { torrent, file } => Torrent::load(&torrent)?.check(&file),
    }
}

/// The IP address `n` after this one.
fn nth_address(base: IpAddr, n: u8) -> IpAddr {
    match base {
        IpAddr::V4(ip) => IpAddr::V4((u32::from(ip) + u32::from(n)).into()),
        IpAddr::V6(ip) => IpAddr::V6((u128::from(ip) + u128::from(n)).into()),
    }
}

/// One line for the program that started us, at once.
fn say(line: &str) -> Result<()> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use super::nth_address;

    #[test]
    fn addresses_follow_each_other() {
        assert_eq!(nth_address([10, 77, 0, 11].into(), 3), std::net::IpAddr::from([10, 77, 0, 14]));
    }
}
