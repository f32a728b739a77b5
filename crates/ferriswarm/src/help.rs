//! What `--help` says after the flags: examples, exit codes, and how sizes are written.

use crate::exit::Exit;

const UNITS: &str = "\
Sizes and rates: k, M, G and T are powers of 1024 (2M = 2 MiB); kB, MB, GB and
TB are powers of 1000. A rate of 0 is unlimited. Durations: 90s, 10m, 2h, 1d,
1h30m.
";

/// What the exit codes of file operations mean, the same in every command.
const OBSTACLES: &str = "\
A path that cannot be used, in every command:
  3   what is to be read is not there, or the folder of a file that is to be
      written is not (get makes the folder of -o)
  9   there is no room, for bytes or for another file
  13  a file, a folder or a link is in the way of what is to be written
  17  it is not allowed, or the system cannot: no permission, a file system
      that is read-only, a name that is too long, a disk that fails
";

fn with(examples: &str, codes: &[Exit]) -> String {
    format!("Examples:\n{examples}\n{}", Exit::table(codes))
}

pub(crate) fn program() -> String {
    format!(
        "Examples:
  ferriswarm demo                         watch a download on this machine
  ferriswarm debian.iso.torrent           download to this folder
  ferriswarm 'magnet:?xt=urn:btih:...'    download what a link stands for
  ferriswarm get -o ~/iso --seed-ratio 1 debian.iso.torrent
  ferriswarm create photos -t http://tracker.example/announce
  ferriswarm COMMAND --help               flags and examples of a command

{}
{OBSTACLES}",
        Exit::whole_table()
    )
}

/// What every command that transfers can end with.
const TRANSFER: [Exit; 15] = [
    Exit::Done,
    Exit::Internal,
    Exit::Usage,
    Exit::NotFound,
    Exit::Stalled,
    Exit::Network,
    Exit::Interrupted,
    Exit::DiskFull,
    Exit::AlreadyRunning,
    Exit::WouldOverwrite,
    Exit::Io,
    Exit::Dns,
    Exit::BadTorrent,
    Exit::BadMagnet,
    Exit::Killed,
];

pub(crate) fn get() -> String {
    let examples = "
  ferriswarm get debian.iso.torrent
  ferriswarm get https://example.org/debian.iso.torrent -o ~/iso
  ferriswarm get 'magnet:?xt=urn:btih:...'        quoted, as it has & in it
  ferriswarm get 0123456789abcdef0123456789abcdef01234567
  curl -s https://example.org/a.torrent | ferriswarm get -
  ferriswarm get --select 1-3,7 album.torrent     by the numbers in `show`
  ferriswarm get --only '*.flac' album.torrent    by name
  ferriswarm get --only subs/ --exclude '*.nfo' series.torrent
  ferriswarm get --priority 1=high --priority '*.nfo=skip' series.torrent
  ferriswarm get --seed-ratio 1.5 --up 500k a.torrent
  ferriswarm get -i list.txt --at-once 3 --stop-after-stalled 1h
  ferriswarm get --on-done ./unpack.sh a.torrent
  ferriswarm get --json a.torrent | jq -r 'select(.event==\"done\").path'

SOURCE may be gzipped, a file: address, or a text with a magnet link in it.
A magnet link may name its files (so=); --select and --only go before that.
What peers told about a link is kept in the state folder, so that the same
command goes on at once the next time.
The first Ctrl-C stops cleanly: the same command continues where it was. A
second one ends at once.
SIGTERM and a closed terminal are as Ctrl-C; under nohup a closed terminal is
none. Whether anybody reads the output decides about nothing.
With --seed-ratio and --seed-time, serving ends with whichever comes first;
what earlier runs with the same state folder did counts.

Several sources: what is wrong with one is told, the others go on, and the exit
code is that of the worst. A torrent that was named twice is one download. LIST
has a source a line; empty lines and lines that begin with # say nothing.
Waiting: without --stop-after-stalled a download waits for peers, and for room
on a full disk, until Ctrl-C. With it, what got nothing useful for that long is
given up; a torrent that waits for its turn is not meant.

--on-done runs PROGRAM, no shell and no arguments of yours, as
`PROGRAM PATH INFO_HASH` in the folder the command was given in, four at once.
It has the variables FERRISWARM_EVENT (done), FERRISWARM_NAME, _PATH,
_INFO_HASH, _SOURCE (as you wrote it), _SIZE, _DOWNLOADED and _UPLOADED
(bytes); its output goes to standard error. It runs for what was complete
already too. Its failure is told and changes nothing. At the end it is waited
for, ten minutes at most, and never killed.
The log file grows until it is rotated (logrotate: copytruncate).
";
    format!("{}\n{UNITS}", with(examples.trim_start_matches('\n'), &TRANSFER))
}

pub(crate) fn seed() -> String {
    let examples = "
  ferriswarm seed debian.iso.torrent ~/iso
  ferriswarm seed debian.iso.torrent ~/iso/debian.iso --seed-time 2h
  ferriswarm seed photos.torrent ~/photos --up 2M
  ferriswarm seed ~/torrents/*.torrent ~/downloads

PATH is verified first. It may be the payload itself or the folder that holds
it. Pieces that match are served; a file that is not what the torrent says is
named, as by verify. With --select, --only or --exclude the other files are
neither looked at nor served. The last word is PATH if it is a folder, or if it
follows a single SOURCE and does not look like a torrent. Several torrents
share one PATH.
";
    let mut codes = TRANSFER.to_vec();
    codes.push(Exit::VerifyFailed);
    format!("{}\n{UNITS}", with(examples.trim_start_matches('\n'), &codes))
}

pub(crate) fn create() -> String {
    let examples = "
  ferriswarm create photos -o photos.torrent -t http://a.example/announce
  ferriswarm create photos -t http://a.example/x,http://b.example/x
  ferriswarm create disk.iso --hybrid --web-seed https://example.org/disk.iso
  ferriswarm create album --include '*.flac' --exclude bonus --dry-run
  ferriswarm create ~/albums/* -o ~/torrents/     a torrent of each

The same input gives the same bytes: files are sorted by path and no date is
recorded unless --date asks for it. With the default piece length a single file
gets the info hash that libtorrent and qBittorrent give it, a folder that of
imdl up to the same piece length (version 1) or of libtorrent (version 2).
What systems leave behind (.DS_Store, Thumbs.db, desktop.ini and the like) is
left out and counted; --include '*' takes everything. A glob matches the path
inside the folder, the name alone, or a folder with all that is in it.
Several sources: what is wrong with one is told, the others go on, and the exit
code is that of the worst. -o is a folder then.
";
    let codes = [
        Exit::Done,
        Exit::Usage,
        Exit::NotFound,
        Exit::Interrupted,
        Exit::DiskFull,
        Exit::WouldOverwrite,
        Exit::Io,
        Exit::Killed,
    ];
    format!("{}\n{UNITS}", with(examples.trim_start_matches('\n'), &codes))
}

pub(crate) fn show() -> String {
    with(
        "  ferriswarm show debian.iso.torrent
  ferriswarm show https://example.org/debian.iso.torrent
  ferriswarm show --json debian.iso.torrent | jq -r .magnet
  ferriswarm show --fetch 'magnet:?xt=urn:btih:...'
  ferriswarm show --scrape --json debian.iso.torrent | jq .scrape

Of a magnet link this prints what it says and what an earlier run kept; --fetch
asks peers for the rest. --scrape asks all trackers, those of --tracker too,
and does not take part; the exit code is 6 when none of them answers. The other
network flags are for --fetch only.
",
        &[
            Exit::Done,
            Exit::Usage,
            Exit::NotFound,
            Exit::Stalled,
            Exit::Network,
            Exit::Interrupted,
            Exit::DiskFull,
            Exit::AlreadyRunning,
            Exit::Io,
            Exit::Dns,
            Exit::BadTorrent,
            Exit::BadMagnet,
            Exit::Killed,
        ],
    )
}

pub(crate) fn torrent() -> String {
    let examples = "
  ferriswarm torrent 'magnet:?xt=urn:btih:...'
  ferriswarm torrent 0123456789abcdef0123456789abcdef01234567 -o a.torrent
  ferriswarm torrent 'magnet:?xt=urn:btih:...' -o - | ferriswarm show -

Nothing but the description is fetched. The link's trackers and web seeds go
into the file.
";
    let codes = [
        Exit::Done,
        Exit::Usage,
        Exit::NotFound,
        Exit::Stalled,
        Exit::Network,
        Exit::Interrupted,
        Exit::DiskFull,
        Exit::AlreadyRunning,
        Exit::WouldOverwrite,
        Exit::Io,
        Exit::Dns,
        Exit::BadTorrent,
        Exit::BadMagnet,
        Exit::Killed,
    ];
    with(examples.trim_start_matches('\n'), &codes)
}

pub(crate) fn magnet() -> String {
    with(
        "  ferriswarm magnet debian.iso.torrent
  ferriswarm magnet debian.iso.torrent -o debian.magnet
  ferriswarm magnet 0123456789abcdef0123456789abcdef01234567
  ferriswarm create photos -o - | ferriswarm magnet -
",
        &[
            Exit::Done,
            Exit::Usage,
            Exit::NotFound,
            Exit::Network,
            Exit::Interrupted,
            Exit::DiskFull,
            Exit::WouldOverwrite,
            Exit::Io,
            Exit::Dns,
            Exit::BadTorrent,
            Exit::BadMagnet,
            Exit::Killed,
        ],
    )
}

pub(crate) fn verify() -> String {
    with(
        "  ferriswarm verify debian.iso.torrent ~/iso
  ferriswarm verify debian.iso.torrent ~/iso/debian.iso
  ferriswarm verify --json photos.torrent ~/photos
  ferriswarm verify --only 2024/ photos.torrent ~/photos
  ferriswarm verify ~/torrents/*.torrent ~/downloads

The last word is PATH if it is a folder, or if it follows a single SOURCE and
does not look like a torrent. Several torrents share one PATH: what is wrong
with one is told, the others go on, and the exit code is that of the worst.

An empty file that is not there (Transmission makes none) is told as absent. No
data is missing then: the torrent is good, and get makes the file.
",
        &[
            Exit::Done,
            Exit::Usage,
            Exit::NotFound,
            Exit::Network,
            Exit::Interrupted,
            Exit::DiskFull,
            Exit::Io,
            Exit::Dns,
            Exit::BadTorrent,
            Exit::BadMagnet,
            Exit::VerifyFailed,
            Exit::Killed,
        ],
    )
}

#[cfg(feature = "tracker-server")]
pub(crate) fn tracker() -> String {
    with(
        "  ferriswarm tracker
  ferriswarm tracker --listen 0.0.0.0:6969
  ferriswarm create photos --tracker http://192.0.2.7:6969/announce

A company, for its own torrents:
  ferriswarm tracker -l 0.0.0.0:6969 --allow /srv/torrents/hashes

An archive, for all clients, over IPv4, IPv6 and HTTPS:
  ferriswarm tracker -l '[::]:6969' --listen-tls '[::]:443' --tls-cert cert.pem
      --tls-key key.pem --deny https://archive.example/withdrawn

A private community, with a key for each user, behind a web server:
  ferriswarm tracker --passkeys /etc/tracker/users --behind-proxy 127.0.0.1

Announce addresses: http://HOST:PORT/announce and udp://HOST:PORT/announce,
with --passkeys http://HOST:PORT/KEY/announce. The page /stats is for people,
/metrics for Prometheus; which torrents there are is told to this machine only.

A list has an info hash a line (40 hex digits; # begins a remark), and is a
plain file or fetched from an address. A list of users has KEY [peers=N]
[torrents=N] [announces=N] a line, where announces are those of a minute. Files
are looked at each minute, addresses each quarter of an hour, and both on
SIGHUP. A list that cannot be used is an error at the start; later the old one
stays in place. A file that is being written is read two seconds after the last
write. Ctrl-C and SIGTERM write down which peers are known, so that a restart
loses none.

A proxy must say which client it asks for, in the header of --proxy-header. For
nginx: proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;

Peers are known by the address that they ask from. A tracker in a local
network sees local addresses of its neighbours; with --believe-ip a client
there may say where others reach it (ip=, a setting of most clients).
",
        &[
            Exit::Done,
            Exit::Internal,
            Exit::Usage,
            Exit::NotFound,
            Exit::Network,
            Exit::AlreadyRunning,
            Exit::Io,
            Exit::Dns,
            Exit::Killed,
        ],
    )
}

#[cfg(feature = "dht")]
pub(crate) fn dht() -> String {
    with(
        "  ferriswarm dht node
  ferriswarm dht put 'Hello World!'
  ferriswarm dht get e5f96f6f38320f0f33959cb4d3d656452117aadb
",
        &DHT,
    )
}

/// What every command of the DHT can end with.
#[cfg(feature = "dht")]
const DHT: [Exit; 9] = [
    Exit::Done,
    Exit::Internal,
    Exit::Usage,
    Exit::NotFound,
    Exit::Network,
    Exit::Interrupted,
    Exit::DiskFull,
    Exit::Io,
    Exit::Killed,
];

#[cfg(feature = "dht")]
pub(crate) fn dht_node() -> String {
    with(
        "  ferriswarm dht node --dht-port 6881
  ferriswarm dht node --dht-router 192.0.2.7:6881 --every 1m
  ferriswarm dht node --json | jq '.families[].good'

A # is a good node, a + one that has to show again that it is there, a . one
that does not answer.
",
        &DHT,
    )
}

#[cfg(feature = "dht")]
pub(crate) fn dht_get() -> String {
    with(
        "  ferriswarm dht get e5f96f6f38320f0f33959cb4d3d656452117aadb
  ferriswarm dht get KEY --salt news
  ferriswarm dht get --json KEY | jq -r .info_hash
",
        &DHT,
    )
}

#[cfg(feature = "dht")]
pub(crate) fn dht_put() -> String {
    with(
        "  ferriswarm dht put 'Hello World!'                prints its hash
  ferriswarm dht put --key me.key --salt news -    signed; prints the key
  ferriswarm dht put --key me.key --info-hash INFO_HASH
",
        &DHT,
    )
}

#[cfg(feature = "tracker-server")]
pub(crate) fn demo() -> String {
    with(
        "  ferriswarm demo
  ferriswarm demo --size 64M --explain
  ferriswarm demo --size 16M --trace demo.jsonl
",
        &[
            Exit::Done,
            Exit::Usage,
            Exit::Network,
            Exit::Interrupted,
            Exit::DiskFull,
            Exit::WouldOverwrite,
            Exit::Io,
            Exit::VerifyFailed,
            Exit::Killed,
        ],
    )
}

pub(crate) fn replay() -> String {
    with(
        "  ferriswarm demo --size 16M --trace demo.jsonl
  ferriswarm replay demo.jsonl
",
        &[Exit::Done, Exit::Internal, Exit::Usage, Exit::NotFound, Exit::Io, Exit::BadTorrent],
    )
}

pub(crate) fn completions() -> String {
    with(
        "  source <(ferriswarm completions bash)
  ferriswarm completions bash > /etc/bash_completion.d/ferriswarm
  ferriswarm completions zsh > \"${fpath[1]}/_ferriswarm\"
  ferriswarm completions fish > ~/.config/fish/completions/ferriswarm.fish
",
        &ANSWER,
    )
}

/// What commands end with that ask for nothing and only answer.
const ANSWER: [Exit; 4] = [Exit::Done, Exit::Usage, Exit::DiskFull, Exit::Io];

pub(crate) fn man() -> String {
    with("  ferriswarm man | man -l -\n", &ANSWER)
}
