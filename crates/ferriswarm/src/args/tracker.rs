//! What a tracker is told: where it listens, who may use it, what it keeps.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum, ValueHint};
use ferri_tracker_server::Cidr;

use crate::units::parse_duration;

#[derive(Debug, Args)]
pub(crate) struct TrackerArgs {
    /// Serve HTTP and UDP on this address; repeatable [default: 127.0.0.1:6969]
    #[arg(short, long, value_name = "HOST:PORT", value_parser = parse_place)]
    pub(crate) listen: Vec<String>,

    /// Serve HTTPS on this address; repeatable
    #[arg(long, value_name = "HOST:PORT", value_parser = parse_place, requires = "tls_cert")]
    pub(crate) listen_tls: Vec<String>,

    /// Certificate for HTTPS and those that lead to a root (PEM); read again when it changes
    #[arg(long, value_name = "FILE", requires = "tls_key", requires = "listen_tls", value_hint = ValueHint::FilePath)]
    pub(crate) tls_cert: Option<PathBuf>,

    /// Private key of the certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert", requires = "listen_tls", value_hint = ValueHint::FilePath)]
    pub(crate) tls_key: Option<PathBuf>,

    /// Threads for HTTP, and for UDP on each address [default: as many as cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    pub(crate) workers: Option<u16>,

    #[command(flatten)]
    pub(crate) peers: Peers,

    #[command(flatten)]
    pub(crate) access: AccessArgs,

    #[command(flatten)]
    pub(crate) keeping: Keeping,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Torrents and peers")]
pub(crate) struct Peers {
    /// Remember at most this many torrents [default: a quarter of --max-peers]
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub(crate) max_torrents: Option<usize>,

    /// Remember at most this many peers, each a client in a torrent by IPv4 or IPv6 [default: what fits a quarter of the memory]
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub(crate) max_peers: Option<usize>,

    /// Peers are to announce this often
    #[arg(long, value_name = "DURATION", value_parser = parse_interval, default_value = "10m")]
    pub(crate) interval: Duration,

    /// Forget peers that were silent for this long [default: twice the interval and a minute]
    #[arg(long, value_name = "DURATION", value_parser = parse_lifetime)]
    pub(crate) peer_lifetime: Option<Duration>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Who may use it")]
pub(crate) struct AccessArgs {
    /// Serve only the torrents of this list: an info hash a line; read again when it changes
    #[arg(long, value_name = "FILE|URL", value_hint = ValueHint::AnyPath)]
    pub(crate) allow: Option<String>,

    /// Do not serve the torrents of this list
    #[arg(long, value_name = "FILE|URL", value_hint = ValueHint::AnyPath)]
    pub(crate) deny: Option<String>,

    /// Serve only users with a key of this list, at /KEY/announce: KEY [peers=N] [torrents=N] [announces=N] a line. A peer is one client
    /// in one torrent, and by IPv4 and IPv6 two; announces are those of a minute
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) passkeys: Option<PathBuf>,

    /// Fetch lists from this local address only
    #[arg(long, value_name = "IP")]
    pub(crate) bind: Option<IpAddr>,

    /// Believe the reverse proxies of this network when they say which client they ask for; repeatable
    #[arg(long, value_name = "CIDR")]
    pub(crate) behind_proxy: Vec<Cidr>,

    /// Where they say it
    #[arg(long, value_name = "NAME", default_value = "x-forwarded-for", requires = "behind_proxy")]
    pub(crate) proxy_header: Header,

    /// Believe clients that name another address of theirs (ip=), when they ask from this machine, or from private networks too. For a
    /// tracker that sees addresses of a local network which others cannot reach
    #[arg(long, value_name = "FROM")]
    pub(crate) believe_ip: Option<BelieveIp>,
}

/// Whose word about an address of its own is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BelieveIp {
    /// Clients on this machine
    Loopback,
    /// Clients on this machine, and of private and link-local addresses
    Private,
}

/// A header that proxies write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Header {
    XForwardedFor,
    XRealIp,
    Forwarded,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Restarts")]
pub(crate) struct Keeping {
    /// Write what is known to FILE each minute and at the end, and begin with it [default: named by the address, in
    /// ~/.local/state/ferriswarm]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "no_state")]
    pub(crate) state: Option<PathBuf>,

    /// Keep everything in memory only
    #[arg(long)]
    pub(crate) no_state: bool,
}

fn parse_place(text: &str) -> Result<String, String> {
    let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
    // An address of IPv6 without brackets would lose its last part to the port.
    let is_bare_v6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
    if host.is_empty() || is_bare_v6 || port.parse::<u16>().is_err() {
        return Err(
            "write an address and a port, as in 0.0.0.0:6969, [::]:6969 or tracker.example:80".to_owned()
        );
    }
    Ok(text.to_owned())
}

fn parse_count(text: &str) -> Result<usize, String> {
    match text.replace('_', "").parse() {
        Ok(0) | Err(_) => Err("write a number of 1 or more".to_owned()),
        Ok(count) => Ok(count),
    }
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    parse_within(text, INTERVAL_MAX, "write a duration from 1m to 1d")
}

fn parse_lifetime(text: &str) -> Result<Duration, String> {
    parse_within(text, LIFETIME_MAX, "write a duration from 1m to 3d")
}

fn parse_within(text: &str, max: Duration, else_write: &str) -> Result<Duration, String> {
    let duration = parse_duration(text)?;
    if (INTERVAL_MIN..=max).contains(&duration) { Ok(duration) } else { Err(else_write.to_owned()) }
}

/// Clients wait for a minute whatever they are told.
const INTERVAL_MIN: Duration = Duration::from_secs(60);

/// Longer than a machine that was switched off should be told of.
const INTERVAL_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Two of the longest intervals, and a day for peers that come late.
const LIFETIME_MAX: Duration = Duration::from_secs(3 * 24 * 60 * 60);
