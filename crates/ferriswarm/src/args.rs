//! What was typed: the command line, flag for flag. What it means is decided by each command.

mod create;
#[cfg(feature = "dht")]
pub(crate) mod dht;
pub(crate) mod files;
pub(crate) mod life;
#[cfg(feature = "tracker-server")]
mod tracker;
pub(crate) mod useless;
pub(crate) mod verb;

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum, ValueHint};

pub(crate) use create::{About, ChoiceArgs, CreateArgs};
#[cfg(feature = "tracker-server")]
pub(crate) use tracker::{AccessArgs, BelieveIp, Header, TrackerArgs};

use crate::help;
use crate::units::{Rate, parse_duration, parse_rate, parse_size};

use files::{FileWishes, Files};

/// Download, share, make and check torrents.
///
/// `ferriswarm SOURCE...` is short for `ferriswarm get SOURCE...`.
#[derive(Debug, Parser)]
#[command(name = "ferriswarm", version, after_help = help::program())]
#[command(propagate_version = false, subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Args)]
pub(crate) struct Common {
    /// Print failures only
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Output")]
    pub(crate) quiet: bool,

    /// Log what happens to standard error; twice for every detail (RUST_LOG chooses finer)
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Output")]
    pub(crate) verbose: u8,

    /// Append what is told and logged to FILE, with the time
    #[arg(long, value_name = "FILE", global = true, help_heading = "Output", value_hint = ValueHint::FilePath)]
    pub(crate) log_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Download torrents, and end when they are verified
    #[command(after_help = help::get())]
    Get(Box<GetArgs>),
    /// Verify what is on disk, then serve it until stopped
    #[command(after_help = help::seed())]
    Seed(Box<SeedArgs>),
    /// Make a torrent of a file or folder
    #[command(after_help = help::create())]
    Create(Box<CreateArgs>),
    /// Print what a torrent is: name, hashes, files, trackers, magnet link
    #[command(after_help = help::show())]
    Show(Box<ShowArgs>),
    /// Fetch what a magnet link stands for, and save it as a .torrent file
    #[command(after_help = help::torrent())]
    Torrent(Box<TorrentArgs>),
    /// Print the magnet link of a torrent
    #[command(after_help = help::magnet())]
    Magnet(MagnetArgs),
    /// Compare data on disk with a torrent, and list what differs
    #[command(after_help = help::verify())]
    Verify(VerifyArgs),
    #[cfg(feature = "tracker-server")]
    /// Be a tracker: HTTP, HTTPS and UDP
    #[command(after_help = help::tracker())]
    Tracker(Box<TrackerArgs>),
    #[cfg(feature = "dht")]
    /// Run a DHT node, or find and store values in the DHT
    #[command(after_help = help::dht())]
    Dht(Box<dht::DhtArgs>),
    #[cfg(feature = "tracker-server")]
    /// Watch a download happen inside this machine, without network or files
    #[command(after_help = help::demo())]
    Demo(DemoArgs),
    /// Feed a recorded trace back into its machines
    #[command(after_help = help::replay())]
    Replay(ReplayArgs),
    /// Print a completion script for a shell
    #[command(after_help = help::completions())]
    Completions(CompletionsArgs),
    /// Print the manual page
    #[command(after_help = help::man())]
    Man,
}

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// A .torrent file, the http(s) address of one, - for standard input, a magnet link or an info hash
    #[arg(value_name = "SOURCE", required_unless_present = "input", value_hint = ValueHint::AnyPath)]
    pub(crate) sources: Vec<OsString>,

    /// Folder that receives the files
    #[arg(short, long, value_name = "DIR", default_value = ".", value_hint = ValueHint::DirPath)]
    pub(crate) output: PathBuf,

    /// Keep serving when done, until stopped
    #[arg(long)]
    pub(crate) seed: bool,

    /// Pieces in order instead of rarest first
    #[arg(long)]
    pub(crate) sequential: bool,

    /// Replace plain files of the same name that are not this torrent's
    ///
    /// Also those of another torrent that is not running, which loses them. A file with several names (hard links) changes under
    /// all of them.
    #[arg(long)]
    pub(crate) overwrite: bool,

    /// Look at everything that is there again, whatever is remembered of it
    #[arg(long)]
    pub(crate) check: bool,

    /// Reserve the disk space of each file first
    #[arg(long)]
    pub(crate) preallocate: bool,

    #[command(flatten)]
    pub(crate) files: Files,

    #[command(flatten)]
    pub(crate) wishes: FileWishes,

    #[command(flatten)]
    pub(crate) until: SeedUntil,

    #[command(flatten)]
    pub(crate) batch: life::Batch,

    #[command(flatten)]
    pub(crate) patience: life::Patience,

    #[command(flatten)]
    pub(crate) network: Network,

    #[command(flatten)]
    pub(crate) report: Report,
}

#[derive(Debug, Args)]
#[command(override_usage = "ferriswarm seed [OPTIONS] <SOURCE>... [PATH]")]
pub(crate) struct SeedArgs {
    /// .torrent files, their http(s) addresses, or - for standard input; then PATH, the payload or the folder that holds
    /// it [default: .]
    #[arg(value_name = "SOURCE", required = true, value_hint = ValueHint::AnyPath)]
    pub(crate) words: Vec<OsString>,

    #[command(flatten)]
    pub(crate) files: Files,

    #[command(flatten)]
    pub(crate) until: SeedUntil,

    #[command(flatten)]
    pub(crate) network: Network,

    #[command(flatten)]
    pub(crate) report: Report,
}

/// When serving ends; whichever comes first.
#[derive(Debug, Args, Clone, Copy, Default)]
#[command(next_help_heading = "Serving")]
pub(crate) struct SeedUntil {
    /// Serve until this many times the size was sent, in all runs
    #[arg(long, value_name = "R", value_parser = parse_ratio)]
    pub(crate) seed_ratio: Option<f64>,

    /// Serve for this long in all: 90s, 10m, 2h, 1h30m
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) seed_time: Option<Duration>,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Network and limits")]
pub(crate) struct Network {
    /// Listen on this TCP port (0: any) [default: the first free one of 6881-6889]
    #[arg(long, value_name = "N")]
    pub(crate) port: Option<u16>,

    /// Use only this local address
    #[arg(long, value_name = "IP")]
    pub(crate) bind: Option<IpAddr>,

    /// Whether connections to peers are encrypted. Trackers, the DHT and the local network see what you look for all the
    /// same
    #[arg(long, value_enum, value_name = "WHEN", default_value = "allow")]
    pub(crate) encryption: Encrypting,

    /// One more tracker; repeatable
    #[arg(long, value_name = "URL", value_parser = parse_tracker, value_hint = ValueHint::Url)]
    pub(crate) tracker: Vec<String>,

    /// Ask no tracker
    #[arg(long, conflicts_with = "tracker")]
    pub(crate) no_trackers: bool,

    /// Connect to this peer; repeatable
    #[arg(long, value_name = "HOST:PORT", value_parser = parse_router)]
    pub(crate) peer: Vec<String>,

    /// Download at most this much a second: 500k, 2M (0: unlimited)
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    pub(crate) down: Option<Rate>,

    /// Upload at most this much a second: 500k, 2M (0: unlimited)
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    pub(crate) up: Option<Rate>,

    /// Neither use the DHT nor answer it
    #[arg(long)]
    pub(crate) no_dht: bool,

    /// Neither ask peers for further peers nor tell them any
    #[arg(long)]
    pub(crate) no_pex: bool,

    /// Neither look for peers in the local network nor answer those that do
    #[arg(long)]
    pub(crate) no_lsd: bool,

    /// Ask no router to let peers in
    #[arg(long)]
    pub(crate) no_port_mapping: bool,

    /// UDP port of the DHT [default: as --port, if it is free]
    #[arg(long, value_name = "N", conflicts_with = "no_dht")]
    pub(crate) dht_port: Option<u16>,

    /// Enter the DHT by this node too; repeatable
    #[arg(long, value_name = "HOST:PORT", value_parser = parse_router, conflicts_with = "no_dht")]
    pub(crate) dht_router: Vec<String>,

    /// Connect to at most this many peers
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) max_peers: Option<u16>,

    /// Memory for pieces on their way to the disk
    #[arg(long, value_name = "SIZE", value_parser = parse_memory, default_value = "64MiB")]
    pub(crate) memory: u64,

    /// Folder for what must survive a restart [default: ~/.local/state/ferriswarm]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) state_dir: Option<PathBuf>,
}

/// When connections to peers are encrypted (Message Stream Encryption).
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Encrypting {
    /// Never: peers that insist on it are not reached
    Disable,
    /// When a peer wants it; reaches most peers, and soonest
    Allow,
    /// Whenever a peer can; plain otherwise
    Prefer,
    /// Always, with RC4, in both directions: peers without it are not reached
    Require,
}

/// How commands that need no peers reach the servers that they are sent to.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Fetch {
    /// Fetch addresses from this local address only
    #[arg(long, value_name = "IP")]
    pub(crate) bind: Option<IpAddr>,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct Report {
    /// One JSON object a line on standard output
    #[arg(long)]
    pub(crate) json: bool,

    /// Without a terminal: a line every so often instead of every 10 %, as in every:30s
    #[arg(long, value_name = "HOW", value_parser = parse_progress)]
    pub(crate) progress: Option<Duration>,

    /// Record what every machine hears and says, as JSON lines
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) trace: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// A .torrent file, the http(s) address of one, - for standard input, a magnet link or an info hash
    #[arg(value_hint = ValueHint::AnyPath)]
    pub(crate) source: OsString,

    /// Print one JSON object: everything as the file has it, secrets in its addresses too
    #[arg(long)]
    pub(crate) json: bool,

    /// Ask peers for what a magnet link does not say
    #[arg(long)]
    pub(crate) fetch: bool,

    /// Ask the trackers how many seed, download and have downloaded it
    #[arg(long, conflicts_with = "no_trackers")]
    pub(crate) scrape: bool,

    #[command(flatten)]
    pub(crate) patience: life::Patience,

    #[command(flatten)]
    pub(crate) network: Network,
}

#[derive(Debug, Args)]
pub(crate) struct TorrentArgs {
    /// A magnet link, an info hash, or what holds one: a file, an http(s) address, - for standard input
    #[arg(value_name = "MAGNET", value_hint = ValueHint::AnyPath)]
    pub(crate) source: OsString,

    /// The .torrent file to write, - for standard output [default: the torrent's name with .torrent]
    #[arg(short, long, value_name = "OUT", value_hint = ValueHint::FilePath)]
    pub(crate) output: Option<PathBuf>,

    /// Overwrite OUT
    #[arg(short, long)]
    pub(crate) force: bool,

    /// One JSON object a line on standard output
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) patience: life::Patience,

    #[command(flatten)]
    pub(crate) network: Network,
}

#[derive(Debug, Args)]
pub(crate) struct MagnetArgs {
    /// A .torrent file, the http(s) address of one, - for standard input, a magnet link or an info hash
    #[arg(value_hint = ValueHint::AnyPath)]
    pub(crate) source: OsString,

    /// The file to write the link to, - for standard output
    #[arg(short, long, value_name = "OUT", default_value = "-", value_hint = ValueHint::FilePath)]
    pub(crate) output: PathBuf,

    /// Overwrite OUT
    #[arg(short, long)]
    pub(crate) force: bool,

    #[command(flatten)]
    pub(crate) fetch: Fetch,
}

#[derive(Debug, Args)]
#[command(override_usage = "ferriswarm verify [OPTIONS] <SOURCE>... [PATH]")]
pub(crate) struct VerifyArgs {
    /// .torrent files, their http(s) addresses, or - for standard input; then PATH, the payload or the folder that holds
    /// it [default: .]
    #[arg(value_name = "SOURCE", required = true, value_hint = ValueHint::AnyPath)]
    pub(crate) words: Vec<OsString>,

    #[command(flatten)]
    pub(crate) files: Files,

    #[command(flatten)]
    pub(crate) fetch: Fetch,

    /// Folder where earlier runs left what magnet links stand for [default: ~/.local/state/ferriswarm]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) state_dir: Option<PathBuf>,

    /// Print one JSON object a torrent
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(feature = "tracker-server")]
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// How much is downloaded
    #[arg(long, value_name = "SIZE", value_parser = parse_size, default_value = "256MiB")]
    pub(crate) size: u64,

    /// The payload is made from this number
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) number: u64,

    /// Tell the conversation between the peers as it happens
    #[arg(long)]
    pub(crate) explain: bool,

    /// Record what every machine of the downloader hears and says, as JSON lines
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) trace: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// A file written by --trace
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// bash, elvish, fish, powershell or zsh
    pub(crate) shell: clap_complete::Shell,
}

fn parse_ratio(text: &str) -> Result<f64, String> {
    let ratio: f64 = text.parse().map_err(|_| "write a number such as 1 or 1.5".to_owned())?;
    if !ratio.is_finite() || ratio < 0.0 {
        return Err("write a number of 0 or more".to_owned());
    }
    Ok(ratio)
}

fn parse_tracker(text: &str) -> Result<String, String> {
    let is_known = ["http://", "https://", "udp://"].iter().any(|scheme| text.starts_with(scheme));
    if !is_known || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("a tracker's address begins with http://, https:// or udp://".to_owned());
    }
    Ok(text.to_owned())
}

fn parse_router(text: &str) -> Result<String, String> {
    let is_host =
        |host: &str| !host.is_empty() && !host.contains(|c: char| c.is_control() || c.is_whitespace());
    let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
    if !is_host(host) || !port.parse().is_ok_and(|port: u16| port != 0) {
        return Err("write a host and a port, as in router.example.org:6881".to_owned());
    }
    Ok(text.to_owned())
}

fn parse_memory(text: &str) -> Result<u64, String> {
    let bytes = parse_size(text)?;
    if bytes < MEMORY_MIN {
        return Err("at least 1MiB is needed".to_owned());
    }
    Ok(bytes)
}

/// Below this not even the requests of a few peers fit.
const MEMORY_MIN: u64 = 1 << 20;

fn parse_progress(text: &str) -> Result<Duration, String> {
    let every = text.strip_prefix("every:").ok_or("write every: and a duration, as in every:30s")?;
    let every = parse_duration(every)?;
    if every.is_zero() {
        return Err("the time between two lines cannot be 0".to_owned());
    }
    Ok(every)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example_and_its_exit_codes() {
        for command in Cli::command().get_subcommands() {
            let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(after.contains("Examples:"), "{}", command.get_name());
            assert!(after.contains("Exit codes:"), "{}", command.get_name());
        }
    }

    #[test]
    fn no_example_is_broken_in_a_help_of_80_columns() {
        fn check(command: &mut clap::Command) {
            let help = command.clone().term_width(80).render_long_help().to_string();
            let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let indented = after.lines().filter(|line| line.starts_with("  "));
            // Prose that is a little too wide would end in lines of a few words.
            assert!(after.lines().all(|line| line.chars().count() < 80), "{}: {after}", command.get_name());
            for line in indented {
                assert!(
                    help.lines().any(|shown| shown == line),
                    "{}: {line:?} is broken",
                    command.get_name()
                );
            }
            command.get_subcommands_mut().for_each(check);
        }
        let mut command = Cli::command();
        command.build();
        check(&mut command);
    }
}
