//! Load for a tracker: fills it with peers, then announces as they do, as fast as it answers.
//!
//! Every answer is looked at: its form, and how many peers it names. The tracker's processor time and memory are read from
//! the kernel's books at the beginning and the end of each phase, so that nothing but the phase is in them.

mod books;
mod crowd;
mod http;
mod udp;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};

use crate::say;
use books::Books;
use crowd::Crowd;

/// How clients talk to the tracker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protocol {
    /// BEP 15. Each peer has a source address of its own network, of 127.0.0.0/8 or, where the tracker has an IPv6 address,
    /// of fd20::/32, which the machine has to take for its own
    Udp,
    /// BEP 3, over connections that are kept. Each connection is a peer of every swarm
    Http,
}

/// Who announces in a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Askers {
    All,
    Seeds,
    Leechers,
}

/// The load.
#[derive(Debug, Args)]
pub(crate) struct Load {
    #[arg(long)]
    to: SocketAddr,
    #[arg(long, default_value = "udp")]
    protocol: Protocol,
    #[arg(long)]
    swarms: u32,
    /// Peers of each swarm; over HTTP also the number of connections
    #[arg(long)]
    peers: u32,
    /// Of the peers, in percent
    #[arg(long, default_value_t = 50)]
    seeds: u32,
    /// Peers that each announce asks for
    #[arg(long, default_value_t = 50)]
    numwant: u32,
    /// Phases after the filling, separated by commas
    #[arg(long, value_delimiter = ',', default_value = "all")]
    askers: Vec<Askers>,
    /// Answers of a phase
    #[arg(long, default_value_t = 200_000)]
    answers: u64,
    /// A phase ends after so long, however many answers there were
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Requests that wait for their answers: in all over UDP, on each connection over HTTP
    #[arg(long)]
    depth: Option<usize>,
    /// The tracker's process, whose books are read
    #[arg(long)]
    process: Option<u32>,
    /// Print the info hashes and do nothing
    #[arg(long)]
    hashes: bool,
}

/// What a phase showed.
#[derive(Clone, Debug, Default, PartialEq)]
struct Phase {
    answers: u64,
    /// Named in all answers.
    peers: u64,
    /// Answers that refuse.
    errors: u64,
    /// Requests that were sent again since nothing came back.
    lost: u64,
    seconds: f64,
    /// Processor time of the tracker, and of this program.
    cpu: f64,
    own_cpu: f64,
    /// What the first answer that refused says.
    complaint: String,
}

/// What a crowd can be told to do, by either protocol.
trait Transport {
    /// Announces every peer once.
    fn fill(&mut self) -> Result<Phase>;

    /// Peers that the tracker says it knows, in all swarms.
    fn registered(&mut self) -> Result<u64>;

    /// What has to be done before a phase and is no part of it.
    fn prepare(&mut self) -> Result<()>;

    /// Announces peers that are known already, in random order.
    fn ask(&mut self, askers: Askers, answers: u64, limit: Duration) -> Result<Phase>;
}

/// Runs all phases, then says what they showed as a line of JSON.
///
/// # Errors
/// When the tracker does not answer, or answers what is no answer.
pub(crate) fn run(load: &Load) -> Result<()> {
    ensure!(load.swarms > 0 && load.peers > 0, "at least one swarm, and one peer");
    ensure!(load.seeds <= 100, "seeds are a percentage");
    let nobody = match (load.seeds, load.peers) {
        (0, _) => Some(Askers::Seeds),
        (100, _) => Some(Askers::Leechers),
        (_, 1) => Some(Askers::Seeds),
        _ => None,
    };
    ensure!(
        nobody.is_none_or(|nobody| !load.askers.contains(&nobody)),
        "there are none of those who should ask"
    );
    let crowd = Crowd::new(load.swarms, load.peers, load.seeds, load.to)?;
    if load.hashes {
        return (0..load.swarms).try_for_each(|swarm| say(&hex(&crowd.info_hash(swarm))));
    }
    let mut transport: Box<dyn Transport> = match load.protocol {
        Protocol::Udp => Box::new(udp::Udp::new(crowd, load)?),
        Protocol::Http => Box::new(http::Http::new(crowd, load)?),
    };
    let books = Books::open(load.process);
    let empty = books.memory();
    transport.prepare()?;
    let filled = books.watch(|| transport.fill())?;
    let (full, registered) = (books.memory(), transport.registered()?);
    let mut phases = Vec::new();
    for &askers in &load.askers {
        let limit = Duration::from_secs(load.seconds);
        transport.prepare()?;
        let phase = books.watch(|| transport.ask(askers, load.answers, limit))?;
        phases.push(phase.to_json(&format!("{askers:?}").to_lowercase()));
    }
    say(&format!(
        r#"{{"registered":{registered},"memory_empty":{empty},"memory_full":{full},"memory_peak":{},"fill":{},"phases":[{}]}}"#,
        books.memory_peak(),
        filled.to_json("fill"),
        phases.join(",")
    ))
}

impl Phase {
    fn to_json(&self, name: &str) -> String {
        let Self { answers, peers, errors, lost, seconds, cpu, own_cpu, complaint } = self;
        // What a tracker says may hold anything; only what is plain text matters here.
        let plain = |c: &char| c.is_ascii_alphanumeric() || " .,:_-".contains(*c);
        let complaint: String = complaint.chars().filter(plain).collect();
        format!(
            r#"{{"askers":"{name}","answers":{answers},"peers":{peers},"errors":{errors},"lost":{lost},"seconds":{seconds:.3},"cpu":{cpu:.3},"own_cpu":{own_cpu:.3},"complaint":"{complaint}"}}"#
        )
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_stays_json_whatever_the_tracker_said() {
        let phase = Phase { answers: 3, complaint: "no \"room\"\n{".into(), ..Phase::default() };
        let json = phase.to_json("all");
        assert!(json.contains(r#""complaint":"no room"}"#), "{json}");
        assert_eq!(hex(&[0, 0xab]), "00ab");
    }
}
