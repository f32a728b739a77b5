//! `tracker`: a tracker until stopped.

mod show;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ferri_tracker_server::{
    Error, Fetch, IpParameter, Listen, Listener, Lists, Notice, Options, PEERS_LIMIT, ProxyHeader, Scheme,
    Source, TlsFiles, TrackerServer, Unusable,
};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::time::{interval, sleep};

use crate::args::{BelieveIp, Header, TrackerArgs};
use crate::console::Console;
use crate::env::{Env, Hangups, Interrupts};
use crate::exit::{Exit, Failure};
use crate::session;
use show::Rates;

pub(crate) async fn run(
    env: &Env,
    console: &Console,
    args: &TrackerArgs,
    interrupts: Interrupts,
    mut hangups: Hangups,
) -> Result<Exit, Failure> {
    let (ending, ended) = watch::channel(());
    let (notices, mut told) = mpsc::channel(NOTICES_MAX);
    let options = options(env, args, notices, ended)?;
    let is_kept = options.state.is_some();
    // Lists may have to be fetched first, which takes as long as their servers like.
    let mut starting = tokio::task::spawn_blocking(move || TrackerServer::start(options));
    let started = tokio::select! {
        biased;
        () = interrupts.pressed(1) => {
            drop(ending);
            return Ok(Exit::Done);
        }
        started = &mut starting => started,
    };
    let server = started
        .map_err(|error| Failure::new(Exit::Internal, format!("the tracker could not be started: {error}")))?
        .map_err(failure)?;
    show::greeting(console, &server, &args.access);
    if !is_kept && !args.keeping.no_state {
        console.line("nothing is kept for a restart, since any port will do; --state FILE keeps it");
    }
    let live = console.live_area();
    let mut rates = Rates::default();
    let mut ticks = interval(LOOK_EVERY);
    loop {
        tokio::select! {
            biased;
            () = interrupts.pressed(1) => break,
            () = hangups.next() => server.reload(),
            Some(notice) = told.recv() => show::notice(console, &notice),
            _ = ticks.tick() => {
                console.look_at_output();
                live.set(vec![rates.line(&server, LOOK_EVERY)]);
            }
        }
    }
    drop(live);
    drop(ending);
    console.line(&format!("stopped; knew {}", show::counts(&server)));
    let ended = tokio::task::spawn_blocking(move || server.shutdown()).await;
    ended
        .map_err(|error| Failure::new(Exit::Internal, format!("the tracker could not be ended: {error}")))?;
    while let Ok(notice) = told.try_recv() {
        show::notice(console, &notice);
    }
    Ok(Exit::Done)
}

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Notices that wait to be shown. There are a few a minute at most; the log has them all.
const NOTICES_MAX: usize = 64;

/// The address when none is given: others cannot reach it.
const LISTEN: &str = "127.0.0.1:6969";

/// What the flags mean.
fn options(
    env: &Env,
    args: &TrackerArgs,
    notices: mpsc::Sender<Notice>,
    ended: watch::Receiver<()>,
) -> Result<Options, Failure> {
    let listen = listen(args);
    let state = state(env, args, &listen)?;
    let (access, peers) = (&args.access, &args.peers);
    let mut options = Options {
        listen,
        workers: args.workers.map_or(0, usize::from),
        proxies: access.behind_proxy.clone(),
        proxy_header: match access.proxy_header {
            Header::XForwardedFor => ProxyHeader::XForwardedFor,
            Header::XRealIp => ProxyHeader::XRealIp,
            Header::Forwarded => ProxyHeader::Forwarded,
        },
        lists: Lists {
            allow: access.allow.as_deref().map(|source| list(env, source)).transpose()?,
            deny: access.deny.as_deref().map(|source| list(env, source)).transpose()?,
            passkeys: access.passkeys.as_deref().map(|path| env.path(path)),
        },
        fetch: Some(fetch(access.bind, ended)),
        tls: args
            .tls_cert
            .as_deref()
            .zip(args.tls_key.as_deref())
            .map(|(certificate, key)| TlsFiles { certificate: env.path(certificate), key: env.path(key) }),
        listener: Listener(Arc::new(move |notice| {
            // One that finds no room is in the log.
            let _ = notices.try_send(notice.clone());
        })),
        state,
        ..Options::for_this_machine()
    };
    let registry = &mut options.registry;
    registry.ip_parameter = match access.believe_ip {
        None => IpParameter::Ignored,
        Some(BelieveIp::Loopback) => IpParameter::FromLoopback,
        Some(BelieveIp::Private) => IpParameter::FromPrivate,
    };
    registry.interval = peers.interval;
    registry.peer_lifetime = peers.peer_lifetime.unwrap_or(2 * peers.interval + LATE);
    if registry.peer_lifetime < registry.interval {
        return Err(Failure::usage(
            "--peer-lifetime is shorter than --interval: peers would be forgotten before they come back",
        )
        .hint("give at least twice the interval, so that one lost announce does no harm"));
    }
    if let Some(max) = peers.max_peers {
        registry.peers_max = max;
    }
    // Of the places there will be, not of those that were asked for.
    let places = registry.peers_max.min(PEERS_LIMIT);
    registry.swarms_max = peers.max_torrents.unwrap_or_else(|| places.div_ceil(PEERS_A_TORRENT));
    Ok(options)
}

/// How late a peer may be with its second announce.
const LATE: Duration = Duration::from_secs(60);

/// There is room for this many torrents with one peer each for every four peers.
const PEERS_A_TORRENT: usize = 4;

fn listen(args: &TrackerArgs) -> Vec<Listen> {
    let all = |places: &[String], scheme| {
        places.iter().map(|place| Listen { place: place.clone(), scheme }).collect::<Vec<_>>()
    };
    let mut listen = all(&args.listen, Scheme::Http);
    listen.extend(all(&args.listen_tls, Scheme::Https));
    if listen.is_empty() {
        listen = all(&[LISTEN.to_owned()], Scheme::Http);
    }
    listen
}

fn list(env: &Env, source: &str) -> Result<Source, Failure> {
    let Some((scheme, _)) = source.split_once("://") else {
        return Ok(Source::File(env.path(source.as_ref())));
    };
    if ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return Ok(Source::Url(source.to_owned()));
    }
    Err(Failure::usage(format!("a list cannot be fetched by {scheme}://"))
        .hint("give the name of a file, or an address that begins with http:// or https://"))
}

/// The file that a restart begins with, named by the first address with a port of its own. A tracker whose port is another one each
/// time is not restarted.
fn state(env: &Env, args: &TrackerArgs, listen: &[Listen]) -> Result<Option<PathBuf>, Failure> {
    if args.keeping.no_state {
        return Ok(None);
    }
    if let Some(path) = &args.keeping.state {
        return Ok(Some(env.path(path)));
    }
    let is_fixed = |listen: &&Listen| {
        let port = listen.place.rsplit(':').next().unwrap_or_default();
        port.parse() != Ok(0_u16)
    };
    let Some(first) = listen.iter().find(is_fixed) else { return Ok(None) };
    let folder = env.default_state_dir().ok_or_else(|| {
        Failure::usage("neither HOME nor XDG_STATE_HOME says where state is kept")
            .hint("choose a file with --state FILE, or --no-state")
    })?;
    // Two trackers of one user on one machine listen on different addresses.
    let place: String =
        first.place.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
    Ok(Some(folder.join(format!("tracker-{place}.peers"))))
}

/// The thread that looks at files waits for what is fetched.
const FETCH_TIME: Duration = Duration::from_secs(60);

/// Fetches lists the way everything here is fetched, from `bind`, until the command ends.
fn fetch(bind: Option<IpAddr>, ended: watch::Receiver<()>) -> Fetch {
    let runtime = Handle::current();
    Fetch(Arc::new(move |url, limit| {
        runtime.block_on(in_time(session::fetch_document(url, bind, limit), sleep(FETCH_TIME), ended.clone()))
    }))
}

/// What is fetched, unless its time is over before or the command ends.
async fn in_time(
    fetched: impl Future<Output = Result<Vec<u8>, String>>,
    time: impl Future<Output = ()>,
    mut ended: watch::Receiver<()>,
) -> Result<Vec<u8>, String> {
    tokio::select! {
        biased;
        _ = ended.changed() => Err("the tracker ends".to_owned()),
        fetched = fetched => fetched,
        () = time => Err(format!("it was not whole within {} seconds", FETCH_TIME.as_secs())),
    }
}

/// What a refusal to start means to a script and to a person.
fn failure(error: Error) -> Failure {
    let (exit, hint) = match &error {
        Error::Listen { addr, source } => (Exit::Network, listen_hint(*addr, source)),
        Error::Twice { .. } => (Exit::Usage, "leave out one of the two, or choose another port for it"),
        Error::Resolve { .. } => (Exit::Dns, "check the name, or give an address of this machine"),
        Error::List { why, .. } => match why {
            Unusable::Read(error) if error.kind() == std::io::ErrorKind::NotFound => {
                (Exit::NotFound, "check the name, and the folder that you are in")
            }
            Unusable::Read(error) if error.kind() == std::io::ErrorKind::InvalidInput => {
                (Exit::Io, "give the name of a plain file: it is read again when it changes")
            }
            Unusable::Read(_) => (Exit::Io, "look at the file's owner and mode"),
            Unusable::Fetch(_) => (Exit::Network, "try again, or fetch it and give the file's name"),
            Unusable::Content(_) => (Exit::Usage, "mend the line, or put a # before it"),
            Unusable::Unsettled => (Exit::Io, "start the tracker when the list is whole"),
        },
        Error::Tls(_) => {
            (Exit::Usage, "give both --tls-cert and --tls-key, as PEM files that belong together")
        }
        Error::State { .. } => (Exit::Io, "choose another file with --state, or --no-state"),
        Error::StateBusy { .. } => {
            (Exit::AlreadyRunning, "end that one, or give this one a file of its own with --state")
        }
        Error::Worker(_) => (Exit::Internal, "run the command again, or with fewer --workers"),
    };
    Failure::new(exit, error.to_string()).hint(hint)
}

fn listen_hint(addr: SocketAddr, error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => "another program listens there: choose another port with --listen",
        std::io::ErrorKind::PermissionDenied if addr.port() < 1024 => {
            "ports below 1024 are for root: choose another one, or grant CAP_NET_BIND_SERVICE"
        }
        _ => "choose an address of this machine with --listen",
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn a_list_that_does_not_come_is_given_up_when_its_time_is_over_or_the_command_ends() {
        let (ending, ended) = watch::channel(());
        let late = in_time(pending(), ready(()), ended.clone()).await;
        assert_eq!(late, Err("it was not whole within 60 seconds".to_owned()));
        assert_eq!(in_time(ready(Ok(vec![1])), pending(), ended.clone()).await, Ok(vec![1]));
        let waiting = tokio::spawn(in_time(pending(), pending(), ended));
        drop(ending);
        assert_eq!(waiting.await.ok(), Some(Err("the tracker ends".to_owned())));
    }
}
