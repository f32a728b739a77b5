//! A record as bytes: one bencoded dictionary in its only correct form. The torrent itself is not in it, only its checksum;
//! a magnet link is.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ferri_bencode::{Dict, Document, Encoder, List, Value};
use ferri_metainfo::FileIndex;
use ferri_metainfo::limits::{FILES_MAX, URL_BYTES_MAX, URLS_MAX};
use ferri_metainfo::names::user_path;

use super::record::{KNOWN_PEERS_MAX, PEERS_MAX, Record, RecordNames, RecordTrackers};
use crate::options::{FilePriority, RateLimits, TorrentSource};

/// What a record says of its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Described<'a> {
    /// The torrent, by the checksum of its file.
    Torrent(u32),
    /// The link.
    Magnet(&'a str),
}

/// The bytes of a record, whose torrent has this checksum.
pub(super) fn encode(record: &Record, torrent: Option<u32>) -> Vec<u8> {
    let mut out = Encoder::new();
    let flag = |out: &mut Encoder, key: &[u8], value: bool| {
        if value {
            out.key(key).int(1);
        }
    };
    let rate = |out: &mut Encoder, key: &[u8], rate: Option<u64>| {
        if let Some(rate) = rate {
            out.key(key).int(i64::try_from(rate).unwrap_or(i64::MAX));
        }
    };
    out.begin_dict();
    let added = record.added_at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    out.key(b"added").int(i64::try_from(added).unwrap_or(i64::MAX));
    rate(&mut out, b"down limit", record.limits.down);
    if let Some(tiers) = &record.trackers.edited {
        out.key(b"edited trackers").begin_list();
        tiers.iter().for_each(|tier| texts(&mut out, tier));
        out.end();
    }
    out.key(b"extra trackers");
    texts(&mut out, &record.trackers.extra);
    flag(&mut out, b"held", matches!(record.source, TorrentSource::MagnetOnHold(_)));
    out.key(b"known peers").bytes(&compact(&record.known_peers, KNOWN_PEERS_MAX));
    if let TorrentSource::Magnet(magnet) | TorrentSource::MagnetOnHold(magnet) = &record.source {
        out.key(b"magnet").bytes(magnet.to_string().as_bytes());
    }
    if let Some(name) = &record.names.torrent {
        out.key(b"name").bytes(name.as_bytes());
    }
    flag(&mut out, b"no trackers", record.trackers.none);
    out.key(b"output").bytes(record.output.as_os_str().as_bytes());
    flag(&mut out, b"overwrite", record.overwrite);
    flag(&mut out, b"paused", record.paused);
    if let Some(payload) = &record.payload {
        out.key(b"payload").bytes(payload.as_os_str().as_bytes());
    }
    out.key(b"peers").bytes(&compact(&record.peers, PEERS_MAX));
    flag(&mut out, b"preallocate", record.preallocate);
    let number = |priority: &FilePriority| match priority {
        FilePriority::Skip => 0,
        FilePriority::Low => 1,
        FilePriority::Normal => 2,
        FilePriority::High => 3,
    };
    let priorities: Vec<u8> = record.priorities.iter().map(number).collect();
    out.key(b"priorities").bytes(&priorities);
    if !record.names.files.is_empty() {
        out.key(b"renamed").begin_list();
        for (file, path) in &record.names.files {
            out.begin_list().int(i64::from(file.0)).bytes(path.as_os_str().as_bytes()).end();
        }
        out.end();
    }
    flag(&mut out, b"seed only", record.seed_only);
    flag(&mut out, b"sequential", record.sequential);
    if let Some(checksum) = torrent {
        out.key(b"torrent").int(i64::from(checksum));
    }
    rate(&mut out, b"up limit", record.limits.up);
    out.end();
    out.into_bytes()
}

/// What the source of a record is.
pub(super) fn described<'d>(document: &'d Document<'_>) -> Option<Described<'d>> {
    let dict = document.root().as_dict()?;
    match (dict.get(b"magnet"), dict.get(b"torrent")) {
        (Some(link), None) => Some(Described::Magnet(link.as_str()?)),
        (None, Some(checksum)) => Some(Described::Torrent(u32::try_from(checksum.as_int()?).ok()?)),
        _ => None,
    }
}

/// The record that these bytes say, of a torrent that is known from elsewhere.
pub(super) fn decode(document: &Document<'_>, source: TorrentSource) -> Option<Record> {
    let dict = document.root().as_dict()?;
    let flag = |key: &[u8]| match dict.get(key) {
        None => Some(false),
        Some(value) => (value.as_int()? == 1).then_some(true),
    };
    let rate = |key: &[u8]| match dict.get(key) {
        None => Some(None),
        Some(value) => Some(Some(u64::try_from(value.as_int()?).ok()?)),
    };
    let source = match (source, flag(b"held")?) {
        (TorrentSource::Magnet(magnet), true) => TorrentSource::MagnetOnHold(magnet),
        (source, _) => source,
    };
    let added = u64::try_from(dict.get(b"added")?.as_int()?).ok()?;
    let edited = match dict.get(b"edited trackers") {
        None => None,
        Some(tiers) => {
            Some(tiers.as_list()?.iter().map(|tier| urls(tier.as_list()?)).collect::<Option<_>>()?)
        }
    };
    let torrent = match dict.get(b"name") {
        None => None,
        Some(name) => Some(name.as_str()?.to_owned()),
    };
    Some(Record {
        source,
        output: path(dict.get(b"output")?)?,
        payload: optional_path(dict, b"payload")?,
        names: RecordNames { torrent, files: renamed(dict)? },
        priorities: priorities(dict.get(b"priorities")?)?,
        sequential: flag(b"sequential")?,
        limits: RateLimits { down: rate(b"down limit")?, up: rate(b"up limit")? },
        trackers: RecordTrackers {
            edited,
            extra: urls(dict.get(b"extra trackers")?.as_list()?)?,
            none: flag(b"no trackers")?,
        },
        peers: addresses(dict.get(b"peers")?, PEERS_MAX)?,
        known_peers: addresses(dict.get(b"known peers")?, KNOWN_PEERS_MAX)?,
        paused: flag(b"paused")?,
        seed_only: flag(b"seed only")?,
        preallocate: flag(b"preallocate")?,
        overwrite: flag(b"overwrite")?,
        added_at: time(added)?,
    })
}

fn time(seconds: u64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

fn texts(out: &mut Encoder, texts: &[String]) {
    out.begin_list();
    for text in texts {
        out.bytes(text.as_bytes());
    }
    out.end();
}

fn urls(list: List<'_>) -> Option<Vec<String>> {
    let urls: Vec<_> = list.iter().take(URLS_MAX + 1).map(|url| Some(url.as_str()?.to_owned())).collect();
    let fits = |url: &Option<String>| url.as_ref().is_some_and(|url| url.len() <= URL_BYTES_MAX);
    if URLS_MAX < urls.len() || !urls.iter().all(fits) {
        return None;
    }
    urls.into_iter().collect()
}

fn path(value: Value<'_>) -> Option<PathBuf> {
    Some(PathBuf::from(OsString::from_vec(value.as_bytes()?.to_vec())))
}

#[expect(clippy::option_option, reason = "absent, and not a path")]
fn optional_path(dict: Dict<'_>, key: &[u8]) -> Option<Option<PathBuf>> {
    match dict.get(key) {
        None => Some(None),
        Some(value) => Some(Some(path(value)?)),
    }
}

/// Where files lie that were renamed. Later versions of a record than 1 may have them.
fn renamed(dict: Dict<'_>) -> Option<BTreeMap<FileIndex, PathBuf>> {
    let Some(list) = dict.get(b"renamed") else { return Some(BTreeMap::new()) };
    let mut files = BTreeMap::new();
    for entry in list.as_list()?.iter() {
        let mut entry = entry.as_list()?.iter();
        let (Some(file), Some(name), None) = (entry.next(), entry.next(), entry.next()) else { return None };
        let file = u32::try_from(file.as_int()?).ok().filter(|file| (*file as usize) < FILES_MAX)?;
        // What was written by hand must not lead out of the folder either.
        files.insert(FileIndex(file), user_path(&path(name)?).ok()?);
    }
    Some(files)
}

fn priorities(value: Value<'_>) -> Option<Vec<FilePriority>> {
    let bytes = value.as_bytes()?;
    let priority = |byte: &u8| match byte {
        0 => Some(FilePriority::Skip),
        1 => Some(FilePriority::Low),
        2 => Some(FilePriority::Normal),
        3 => Some(FilePriority::High),
        _ => None,
    };
    if FILES_MAX < bytes.len() { None } else { bytes.iter().map(priority).collect() }
}

/// Eighteen bytes an address: an IPv6 one, or an IPv4 one inside it, and the port. What needs an interface of this machine to
/// be reached says little at the next start and is left out.
fn compact(addrs: &[SocketAddr], most: usize) -> Vec<u8> {
    let lasts = |addr: &&SocketAddr| match addr.ip() {
        IpAddr::V4(_) => true,
        IpAddr::V6(ip) => !ip.is_unicast_link_local(),
    };
    let mut bytes = Vec::new();
    for addr in addrs.iter().filter(lasts).take(most) {
        let ip = match addr.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        bytes.extend(ip.octets());
        bytes.extend(addr.port().to_be_bytes());
    }
    bytes
}

fn addresses(value: Value<'_>, most: usize) -> Option<Vec<SocketAddr>> {
    let (addrs, []) = value.as_bytes()?.as_chunks::<18>() else { return None };
    if most < addrs.len() {
        return None;
    }
    let address = |bytes: &[u8; 18]| {
        let (ip, port) = bytes.split_first_chunk::<16>()?;
        let port = u16::from_be_bytes(port.try_into().ok()?);
        Some(SocketAddr::new(IpAddr::from(*ip).to_canonical(), port))
    };
    addrs.iter().map(address).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ferri_metainfo::InfoHash;
    use ferri_metainfo::magnet::Magnet;

    use super::*;

    fn link() -> Magnet {
        let mut magnet = Magnet::new(InfoHash::from([7; 20]).into());
        magnet.trackers = vec!["http://a.example/announce".to_owned()];
        magnet
    }

    fn record() -> Record {
        Record {
            source: TorrentSource::MagnetOnHold(link()),
            output: PathBuf::from(OsString::from_vec(b"/srv/\xff name".to_vec())),
            payload: Some("/srv/elsewhere".into()),
            names: RecordNames {
                torrent: Some("mine".to_owned()),
                files: [(FileIndex(0), "mine/a".into()), (FileIndex(7), "b".into())].into(),
            },
            priorities: vec![FilePriority::High, FilePriority::Skip, FilePriority::Low, FilePriority::Normal],
            sequential: true,
            limits: RateLimits { down: Some(u64::MAX >> 1), up: Some(1) },
            trackers: RecordTrackers {
                edited: Some(vec![vec!["udp://b.example".to_owned()], Vec::new()]),
                extra: vec!["http://c.example/announce".to_owned()],
                none: true,
            },
            peers: vec!["[2001:db8::1]:6881".parse().unwrap()],
            known_peers: vec!["203.0.113.1:1".parse().unwrap(), "[fe80::1%1]:2".parse().unwrap()],
            paused: true,
            seed_only: true,
            preallocate: true,
            overwrite: true,
            added_at: time(1_700_000_000).unwrap(),
        }
    }

    fn read(bytes: &[u8]) -> Option<Record> {
        let document = Document::parse(bytes).ok()?;
        let Described::Magnet(link) = described(&document)? else { return None };
        decode(&document, TorrentSource::Magnet(Magnet::parse(link).ok()?))
    }

    #[test]
    fn a_record_is_read_as_it_was_written_but_for_addresses_of_the_link() {
        let mut expected = record();
        let found = read(&encode(&expected, None)).unwrap();
        expected.known_peers.pop();
        assert_eq!(format!("{found:?}"), format!("{expected:?}"));
        let plain = Record {
            payload: None,
            names: RecordNames::default(),
            priorities: Vec::new(),
            sequential: false,
            limits: RateLimits::default(),
            trackers: RecordTrackers::default(),
            peers: Vec::new(),
            known_peers: Vec::new(),
            paused: false,
            seed_only: false,
            preallocate: false,
            overwrite: false,
            ..expected
        };
        assert_eq!(format!("{:?}", read(&encode(&plain, None)).unwrap()), format!("{plain:?}"));
    }

    #[test]
    fn a_torrent_is_named_by_its_checksum() {
        let bytes = encode(&record(), Some(0xffff_fffe));
        let document = Document::parse(&bytes).unwrap();
        // Both at once are nothing.
        assert_eq!(described(&document), None);
        let bytes = String::from_utf8_lossy(&encode(&record(), Some(7))).replace("6:magnet", "6:magnes");
        let document = Document::parse(bytes.as_bytes());
        assert!(document.is_err() || described(&document.unwrap()) == Some(Described::Torrent(7)));
    }

    #[test]
    fn what_makes_no_sense_is_no_record() {
        let good = encode(&Record { output: "/srv".into(), ..record() }, None);
        let text = String::from_utf8(good.iter().map(|byte| byte & 0x7f).collect()).unwrap();
        assert!(read(&good).is_some());
        let broken = [
            text.replace("6:output", "6:outpus"),
            text.replace("6:mine/a", "6:../../"),
            text.replace("li7e1:be", "li-1e1:be"),
            text.replace("li7e1:be", "li7e1:b1:ce"),
            text.replace("6:pausedi1e", "6:pausedi2e"),
            text.replace("10:priorities4:\u{3}", "10:priorities4:\u{4}"),
            text.replace("5:addedi1700000000e", "5:addedi-1e"),
            text.replace("8:up limiti1e", "8:up limiti-1e"),
            text.replace("5:peers18:", "5:peers17:"),
        ];
        for broken in broken {
            assert_ne!(broken, text);
            assert!(read(broken.as_bytes()).is_none(), "{broken:?}");
        }
    }
}
