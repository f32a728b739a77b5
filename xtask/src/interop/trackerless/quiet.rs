//! What must not be said: of a private torrent nothing but to its trackers (BEP 27), and of what is switched off nothing
//! at all. Everything that passes our client's network device is looked at.
//!
//! That the look finds something where there is something is proved first, with the same torrent made public and with the
//! switches on.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::super::payload::{self, Payload, info_hash};
use super::super::scene::{PATIENCE, Scene};
use super::dht::Dht;
use super::{Case, PIECE_LENGTH, start_until_ready};
use crate::clients::{self, Client, Discovery, Encryption, Kind, PEER_PORT, Place};
use crate::lab::{self, DEVICE, Family, Host, Process, Segment, Terrain};

const LENGTH: u64 = 1 << 20;

/// For how long nothing must be said after everything that was expected has been; announces begin within a second or two.
const WATCH: Duration = Duration::from_secs(5);

/// Until everything that is expected has been said.
const SAID_LIMIT: Duration = Duration::from_secs(20);

/// BEP 14.
const LSD_PORT: u16 = 6771;

/// SSDP, which UPnP begins with; NAT-PMP and PCP.
const MAPPING_PORTS: [u16; 2] = [1900, 5351];

pub(super) fn cases(hub: Kind) -> Vec<Case<'static>> {
    let mut cases = vec![Case::new("a private torrent is told to its trackers only".into(), private)];
    if hub == Kind::Ferriswarm {
        cases.push(Case::new("a private torrent's magnet link falls silent".into(), private_magnet));
    }
    let on = Discovery { dht: None, pex: true, lsd: true, mapping: hub == Kind::Ferriswarm };
    let switches: [(&str, Way, Discovery); 4] = [
        ("DHT", Way::Dht, on),
        ("PEX", Way::Pex, Discovery { pex: false, ..on }),
        ("LSD", Way::Lsd, Discovery { lsd: false, ..on }),
        ("port mapping", Way::Mapping, Discovery { mapping: false, ..on }),
    ];
    for (name, way, discovery) in switches {
        if way != Way::Mapping || on.mapping {
            let case = move |scene: &Scene<'_>| switched_off(scene, discovery, &[way]);
            cases.push(Case::new(format!("switched off: {name}"), case));
        }
    }
    let none = Discovery::default();
    cases.push(Case::new("switched off: everything".into(), move |scene| {
        switched_off(scene, none, &[Way::Dht, Way::Pex, Way::Lsd, Way::Mapping])
    }));
    cases
}

/// A way to find peers, as it is seen on the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Dht,
    Pex,
    Lsd,
    Mapping,
}

/// A packet that our client sent.
#[derive(Clone, Debug)]
struct Packet {
    at: SystemTime,
    is_udp: bool,
    port: u16,
    data: Vec<u8>,
}

impl Packet {
    /// What it belongs to; `None` is neither of them.
    fn way(&self) -> Option<Way> {
        match self {
            // The capture has those packets of TCP only that offer it.
            Self { is_udp: false, .. } => Some(Way::Pex),
            Self { port: LSD_PORT, .. } => Some(Way::Lsd),
            Self { port, .. } if MAPPING_PORTS.contains(port) => Some(Way::Mapping),
            // KRPC messages are dictionaries.
            Self { data, .. } if data.starts_with(b"d") && data.ends_with(b"e") => Some(Way::Dht),
            _ => None,
        }
    }

    /// Whether the hash is in it, as bytes or in hex.
    fn names(&self, hash: &str) -> bool {
        let digits: Vec<u8> = hash.bytes().collect();
        let raw: Vec<u8> = hash
            .as_bytes()
            .chunks(2)
            .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
            .collect();
        let lower = self.data.to_ascii_lowercase();
        let holds = |bytes: &[u8], part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
        holds(&lower, &digits) || holds(&self.data, &raw)
    }
}

/// Everything that passes a host's device.
struct Capture {
    host: Arc<Host>,
    log: PathBuf,
    _process: Process,
}

impl Capture {
    fn start(scene: &Scene<'_>, host: &Arc<Host>, name: &str) -> Result<Self> {
        let tools = &scene.options.tools;
        let log = scene.folder(name)?.join("packets");
        let mut command = host.command(&tools.python);
        command.arg(tools.peer_script.with_file_name("capture.py")).arg(DEVICE);
        let process = start_until_ready(&mut command, &log)?;
        Ok(Self { host: Arc::clone(host), log, _process: process })
    }

    /// What our client has sent so far.
    fn sent(&self) -> Result<Vec<Packet>> {
        let text = fs::read_to_string(&self.log)?;
        let whole = text.rsplit_once('\n').map_or("", |(lines, _)| lines);
        let mut packets = Vec::new();
        for line in whole.lines().filter(|line| *line != "ready") {
            let packet: Value = serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))?;
            // Announces on the link may come from the device's own address of IPv6.
            let from = packet["from"].as_str().unwrap_or_default();
            if from != self.host.peer_ip().to_string() && !from.starts_with("fe80") {
                continue;
            }
            let seconds = packet["at"].as_f64().context("a packet without a time")?;
            packets.push(Packet {
                at: SystemTime::UNIX_EPOCH + Duration::from_secs_f64(seconds),
                is_udp: packet["protocol"] == "udp",
                port: u16::try_from(packet["port"].as_u64().context("a packet without a port")?)?,
                data: unhex(packet["data"].as_str().context("a packet without data")?)?,
            });
        }
        Ok(packets)
    }

    /// Waits until something was said in each of these ways.
    fn wait_for(&self, ways: &[Way], is_it: impl Fn(&Packet) -> bool) -> Result<()> {
        for way in ways {
            lab::wait_until(SAID_LIMIT, &format!("a packet of {way:?}"), || {
                Ok(self.sent()?.iter().any(|packet| packet.way() == Some(*way) && is_it(packet)))
            })?;
        }
        Ok(())
    }
}

fn unhex(text: &str) -> Result<Vec<u8>> {
    let pair = |pair: &[u8]| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?);
    text.as_bytes().chunks(2).map(pair).collect()
}

/// A seed that does not encrypt, a tracker that knows it, and a client under watch.
struct Watched {
    client: Box<dyn Client>,
    capture: Capture,
    _seeder: Box<dyn Client>,
    _tracker: Process,
}

/// Starts them, waits until the download is done. The torrent's tracker must be `tracker_url`'s.
fn start(
    scene: &Scene<'_>,
    segment: &Segment,
    name: &str,
    discovery: Discovery,
    (payload, seed): (&Payload, Kind),
    source: impl FnOnce(&str) -> Result<PathBuf>,
) -> Result<Watched> {
    let place = |who: &str, discovery| -> Result<Place> {
        let place = scene.place_on(segment, &format!("{name}-{who}"), discovery)?;
        Ok(Place { encryption: Encryption::Off, ..place })
    };
    let at = place("seed", Discovery { pex: true, ..Discovery::default() })?;
    let mut seeder = clients::make(seed, at.clone())?;
    seeder.start_seed(&payload.torrent, &payload.dir)?;
    seeder.wait_done(PATIENCE).context("the seeder")?;

    let leech = place("leech", discovery)?;
    let address = format!("{}:6969", at.host.peer_ip());
    let mut command = at.host.command(&scene.options.tools.ferri_bench);
    command.args(["tracker", "--listen", &address, "--peers", &at.peer_address().to_string()]);
    let tracker = start_until_ready(&mut command, &at.home.join("tracker.log"))?;
    let source = source(&format!("http://{address}/announce"))?;
    let capture = Capture::start(scene, &leech.host, &format!("{name}-capture"))?;
    let dir = leech.home.join("download");
    fs::create_dir_all(&dir)?;
    let mut client = clients::make(scene.options.hub, leech)?;
    client.start_leech(&source, &dir)?;
    Ok(Watched { client, capture, _seeder: seeder, _tracker: tracker })
}

/// The same files as a private torrent.
fn made_private(scene: &Scene<'_>, payload: &Payload) -> Result<Payload> {
    let top = fs::read_dir(&payload.dir)?.next().context("the payload is empty")??.path();
    let torrent = scene.work.join("private.torrent");
    let hub = scene.options.hub;
    let maker = if hub == Kind::Ferriswarm { hub } else { Kind::Libtorrent };
    payload::create_private(&top, &torrent, PIECE_LENGTH, maker, &scene.options.tools)?;
    Ok(Payload { torrent, ..payload.clone() })
}

fn with_tracker(scene: &Scene<'_>, torrent: &Path, name: &str, url: &str) -> Result<PathBuf> {
    let out = scene.work.join(format!("{name}-tracked.torrent"));
    payload::announce(torrent, url, &out)?;
    Ok(out)
}

/// Everything on; first a public torrent, then a private one of the same files.
fn private(scene: &Scene<'_>) -> Result<String> {
    let dht = Dht::start(scene, Family::V4, [8, 0, 0])?;
    let discovery = Discovery { dht: Some(dht.router()), pex: true, lsd: true, mapping: false };
    let public = scene.own_payload(LENGTH)?;
    let hash = info_hash(&public.torrent)?;
    let mut watched = start(scene, dht.segment(), "public", discovery, (&public, Kind::Libtorrent), |url| {
        with_tracker(scene, &public.torrent, "public", url)
    })?;
    watched.client.wait_done(PATIENCE)?;
    watched.capture.wait_for(&[Way::Dht, Way::Lsd], |packet| packet.names(&hash))?;
    watched.capture.wait_for(&[Way::Pex], |_| true)?;
    let control = watched.capture.sent()?.iter().filter(|packet| packet.names(&hash)).count();
    watched.client.stop();

    let private = made_private(scene, &public)?;
    let hash = info_hash(&private.torrent)?;
    let mut watched =
        start(scene, dht.segment(), "private", discovery, (&private, Kind::Libtorrent), |url| {
            with_tracker(scene, &private.torrent, "private", url)
        })?;
    watched.client.wait_done(PATIENCE)?;
    watched.capture.wait_for(&[Way::Dht], |_| true)?;
    thread::sleep(WATCH);
    let packets = watched.capture.sent()?;
    let named = packets.iter().filter(|packet| packet.names(&hash)).count();
    ensure!(named == 0, "{named} packets of UDP have the private torrent's hash");
    let offers = packets.iter().filter(|packet| packet.way() == Some(Way::Pex)).count();
    ensure!(offers == 0, "peer exchange was offered {offers} times for a private torrent");
    watched.client.stop();
    Ok(format!(
        "{control} packets named the public torrent, none of {} the private one",
        packets.iter().filter(|packet| packet.is_udp).count()
    ))
}

/// Until the metadata is there it cannot be known; then nothing more is said. The seed is ours, since libtorrent and
/// Transmission give no peer the metadata of a private torrent.
fn private_magnet(scene: &Scene<'_>) -> Result<String> {
    /// What was sent before the piece that we saw may be seen after it.
    const GRACE: Duration = Duration::from_millis(300);
    let dht = Dht::start(scene, Family::V4, [8, 0, 0])?;
    let discovery = Discovery { dht: Some(dht.router()), pex: true, lsd: true, mapping: false };
    let private = made_private(scene, &scene.own_payload(LENGTH)?)?;
    let hash = info_hash(&private.torrent)?;
    let mut watched =
        start(scene, dht.segment(), "private", discovery, (&private, Kind::Ferriswarm), |url| {
            let url = url.replace(':', "%3A").replace('/', "%2F");
            Ok(format!("magnet:?xt=urn:btih:{hash}&tr={url}").into())
        })?;
    lab::wait_until(PATIENCE, "the first piece", || watched.client.has_piece())
        .with_context(|| watched.client.process().map(|process| process.log_tail()).unwrap_or_default())?;
    let known = SystemTime::now() + GRACE;
    watched.client.wait_done(PATIENCE)?;
    thread::sleep(WATCH);
    let packets = watched.capture.sent()?;
    let (before, after): (Vec<_>, Vec<_>) =
        packets.iter().filter(|packet| packet.names(&hash)).partition(|packet| packet.at <= known);
    ensure!(!before.is_empty(), "nothing was asked before the metadata was there, so silence proves nothing");
    let after: Vec<_> = after.iter().filter_map(|packet| packet.way()).collect();
    ensure!(after.is_empty(), "after the metadata was known the private torrent was named by {after:?}");
    watched.client.stop();
    Ok(format!("{} packets named it before its metadata was known, none after", before.len()))
}

/// On a link in a house, with a gateway: what is on is heard, and what is off is not.
fn switched_off(scene: &Scene<'_>, discovery: Discovery, off: &[Way]) -> Result<String> {
    let segment = Segment::new(scene.lab, Terrain::Link, Family::V4)?;
    let gateway = segment.host(1)?;
    let mut command = gateway.command(&scene.options.tools.python);
    let router = std::net::SocketAddr::from((gateway.peer_ip(), PEER_PORT));
    command.arg(scene.options.tools.peer_script.with_file_name("dht.py"));
    command.args([router.to_string(), router.to_string()]);
    let _router = Process::start(&mut command, &scene.work.join("router.log"))?;
    let dht = (!off.contains(&Way::Dht)).then_some(router);
    let discovery = Discovery { dht, ..discovery };
    let payload = scene.own_payload(LENGTH)?;
    let mut watched = start(scene, &segment, "all", discovery, (&payload, Kind::Libtorrent), |url| {
        with_tracker(scene, &payload.torrent, "all", url)
    })?;
    watched.client.wait_done(PATIENCE)?;
    let all = [
        (discovery.dht.is_some(), Way::Dht),
        (discovery.pex, Way::Pex),
        (discovery.lsd, Way::Lsd),
        (discovery.mapping, Way::Mapping),
    ];
    let on: Vec<Way> = all.iter().filter(|(is_on, _)| *is_on).map(|(_, way)| *way).collect();
    watched.capture.wait_for(&on, |_| true)?;
    thread::sleep(WATCH);
    let packets = watched.capture.sent()?;
    for packet in &packets {
        let way = packet.way();
        ensure!(
            !way.is_some_and(|way| off.contains(&way)),
            "{way:?} was switched off, and sent {} bytes to port {}",
            packet.data.len(),
            packet.port
        );
        ensure!(way.is_some() || !on.is_empty(), "everything is off; a packet went to port {}", packet.port);
    }
    watched.client.stop();
    Ok(format!("{on:?} were heard, {} packets", packets.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "00112233445566778899aabbccddeeff01234567";

    fn packet(port: u16, data: &[u8]) -> Packet {
        Packet { at: SystemTime::UNIX_EPOCH, is_udp: true, port, data: data.to_vec() }
    }

    #[test]
    fn a_hash_is_found_as_bytes_and_in_any_hex() {
        let raw = unhex(HASH).expect("digits");
        let query = [b"d1:ad2:id20:aaaaaaaaaaaaaaaaaaaa9:info_hash20:".as_slice(), &raw, b"ee"].concat();
        assert!(packet(6881, &query).names(HASH));
        let announce = format!("BT-SEARCH * HTTP/1.1\r\nInfohash: {}\r\n", HASH.to_ascii_uppercase());
        assert!(packet(LSD_PORT, announce.as_bytes()).names(HASH));
        assert!(!packet(6881, &query[..query.len() - 3]).names(HASH));
    }

    #[test]
    fn packets_are_told_apart() {
        assert_eq!(packet(6881, b"d1:y1:qe").way(), Some(Way::Dht));
        assert_eq!(packet(LSD_PORT, b"BT-SEARCH").way(), Some(Way::Lsd));
        assert_eq!(packet(5351, &[0, 0]).way(), Some(Way::Mapping));
        assert_eq!(packet(53, &[0, 0]).way(), None);
        assert_eq!(Packet { is_udp: false, ..packet(6881, b"6:ut_pexi1e") }.way(), Some(Way::Pex));
    }
}
