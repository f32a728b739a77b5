//! The words after `ferriswarm dht`.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueHint};

use crate::help;
use crate::units::parse_duration;

#[derive(Debug, Args)]
pub(crate) struct DhtArgs {
    #[command(subcommand)]
    pub(crate) command: DhtCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DhtCommand {
    /// Run a node, and show its routing table until stopped
    #[command(after_help = help::dht_node())]
    Node(NodeArgs),
    /// Find a value that was stored in the DHT (BEP 44)
    #[command(after_help = help::dht_get())]
    Get(GetArgs),
    /// Store a value for two hours (BEP 44)
    #[command(after_help = help::dht_put())]
    Put(PutArgs),
}

impl DhtCommand {
    pub(crate) fn node(&self) -> &Node {
        match self {
            Self::Node(args) => &args.node,
            Self::Get(args) => &args.node,
            Self::Put(args) => &args.node,
        }
    }
}

/// What every node of ours takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Node")]
pub(crate) struct Node {
    /// Speak from this UDP port [default: any free one]
    #[arg(long, value_name = "N")]
    pub(crate) dht_port: Option<u16>,

    /// Enter the network by this node, beside the usual ones; repeatable
    #[arg(long, value_name = "HOST:PORT", value_hint = ValueHint::Hostname)]
    pub(crate) dht_router: Vec<String>,

    /// Use only this local address
    #[arg(long, value_name = "IP")]
    pub(crate) bind: Option<IpAddr>,

    /// Folder that remembers nodes between runs [default: ~/.local/state/ferriswarm]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) state_dir: Option<PathBuf>,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    #[command(flatten)]
    pub(crate) node: Node,

    /// Without a terminal, tell how it stands this often
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "10s")]
    pub(crate) every: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// The SHA-1 of an immutable value (40 hex digits) or the key of a mutable one's author (64 hex digits)
    pub(crate) target: String,

    /// Which of the author's values
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) salt: String,

    #[command(flatten)]
    pub(crate) node: Node,
}

#[derive(Debug, Args)]
pub(crate) struct PutArgs {
    /// The value: text, or - for standard input. At most 1,000 bytes
    #[arg(required_unless_present = "info_hash")]
    pub(crate) value: Option<OsString>,

    /// The value is Bencode already
    #[arg(long)]
    pub(crate) bencode: bool,

    /// Name this torrent instead of storing a text (BEP 46)
    #[arg(long, value_name = "INFO_HASH", conflicts_with_all = ["value", "bencode"])]
    pub(crate) info_hash: Option<String>,

    /// Sign with the key in this file, so that the value can be replaced later; made when missing
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) key: Option<PathBuf>,

    /// Which of the author's values
    #[arg(long, value_name = "TEXT", default_value = "", requires = "key")]
    pub(crate) salt: String,

    /// The version: higher ones replace lower ones [default: one more than the one that is found]
    #[arg(long, value_name = "N", requires = "key")]
    pub(crate) seq: Option<i64>,

    /// Replace this version only
    #[arg(long, value_name = "N", requires = "key")]
    pub(crate) cas: Option<i64>,

    #[command(flatten)]
    pub(crate) node: Node,
}
