//! Peer exchange (BEP 11): a newcomer knows one peer, and that one knows another.
//!
//! The seed A knows no peer. B's tracker knows A, and the newcomer's tracker knows B; these trackers know no other
//! peers and listen to none. So if the newcomer and A are connected, B told one of them. B sends so slowly that the
//! newcomer's first piece cannot be B's, and A so slowly that no peer is done and hangs up before.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::super::payload::{Payload, announce};
use super::super::scene::{PATIENCE, Scene};
use super::{Case, first_piece, start_until_ready};
use crate::clients::{self, Client, Discovery, Kind, Place};
use crate::lab::{self, Family, Host, Process, Segment, Terrain};

/// Long enough that A, which sends [`SEED_RATE`], is at it for minutes.
const LENGTH: u64 = 48 << 20;

const SEED_RATE: u64 = 256 << 10;

/// A piece from B takes a minute.
const MIDDLE_RATE: u64 = 1 << 10;

/// Messages are at least a minute apart, and Transmission's a minute and a half; a first one comes sooner.
const LIMIT: Duration = Duration::from_secs(100);

/// Our client in each of the three places.
pub(super) fn cases(hub: Kind) -> Vec<Case<'static>> {
    use Kind::{Libtorrent, Transmission};
    // Another client in our place may make two of them the same.
    let all = BTreeSet::from([
        [Transmission, Libtorrent, hub],
        [Libtorrent, Transmission, hub],
        [Libtorrent, hub, Transmission],
        [Transmission, hub, Libtorrent],
        [hub, Libtorrent, Transmission],
        [hub, Transmission, Libtorrent],
    ]);
    all.into_iter()
        .map(|kinds| {
            let [seed, middle, newcomer] = kinds;
            let name = format!("peer exchange: {middle} tells {newcomer} of {seed}");
            Case::new(name, move |scene| exchange(scene, kinds))
        })
        .collect()
}

fn exchange(scene: &Scene<'_>, [seed, middle, newcomer]: [Kind; 3]) -> Result<String> {
    let segment = Segment::new(scene.lab, Terrain::Internet, Family::V4)?;
    let payload = scene.own_payload(LENGTH)?;
    let discovery = Discovery { pex: true, ..Discovery::default() };
    let place = |name: &str, rate| -> Result<Place> {
        Ok(Place { upload_limit: Some(rate), ..scene.place_on(&segment, name, discovery)? })
    };
    let (a, b, c) = (place("a", SEED_RATE)?, place("b", MIDDLE_RATE)?, place("c", SEED_RATE)?);
    let trackers = segment.host(1)?;
    let (of_b, _first) = tracked(scene, &trackers, &payload, a.peer_address(), 6969)?;
    let (of_c, _second) = tracked(scene, &trackers, &payload, b.peer_address(), 6970)?;

    let mut seeder = clients::make(seed, a.clone())?;
    seeder.start_seed(&payload.torrent, &payload.dir).context("starting A")?;
    seeder.wait_done(PATIENCE).context("A")?;
    let mut between = start_leech(middle, &b, &of_b).context("starting B")?;
    let found = lab::wait_until(PATIENCE, "B to have a piece of A's", || between.has_piece());
    found.with_context(|| log(between.as_mut()))?;
    ensure!(!is_connected(&c.host, a.peer_address())?, "the newcomer is there before its start");

    let start = Instant::now();
    let mut client = start_leech(newcomer, &c, &of_c).context("starting the newcomer")?;
    let met =
        lab::wait_until(LIMIT, "the newcomer and A to meet", || is_connected(&c.host, a.peer_address()));
    met.with_context(|| {
        format!("the newcomer wrote\n{}B wrote\n{}", log(client.as_mut()), log(between.as_mut()))
    })?;
    let met = start.elapsed();
    let first = first_piece(client.as_mut(), start, LIMIT)?;
    Ok(format!("met after {:.1} s, first piece after {:.1} s", met.as_secs_f64(), first.as_secs_f64()))
}

fn start_leech(kind: Kind, place: &Place, torrent: &std::path::Path) -> Result<Box<dyn Client>> {
    let dir = place.home.join("download");
    fs::create_dir_all(&dir)?;
    let mut client = clients::make(kind, place.clone())?;
    client.start_leech(torrent, &dir)?;
    Ok(client)
}

/// A torrent of the payload whose tracker knows this one peer.
fn tracked(
    scene: &Scene<'_>,
    host: &Host,
    payload: &Payload,
    peer: SocketAddr,
    port: u16,
) -> Result<(PathBuf, Process)> {
    let address = SocketAddr::from((host.peer_ip(), port));
    let torrent = scene.work.join(format!("{port}.torrent"));
    announce(&payload.torrent, &format!("http://{address}/announce"), &torrent)?;
    let mut command = host.command(&scene.options.tools.ferri_bench);
    command.args(["tracker", "--listen", &address.to_string(), "--peers", &peer.to_string()]);
    Ok((torrent, start_until_ready(&mut command, &scene.work.join(format!("{port}.log")))?))
}

/// Whether a TCP connection between this host and that peer stands, whichever side made it.
fn is_connected(host: &Arc<Host>, peer: SocketAddr) -> Result<bool> {
    let mut command = host.command("ss");
    command.args(["-Htn", "state", "established", "dst", &peer.ip().to_string()]);
    let output = command.output().context("starting ss (package iproute2)")?;
    ensure!(output.status.success(), "ss failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(!output.stdout.trim_ascii().is_empty())
}

fn log(client: &mut dyn Client) -> String {
    client.process().map(|process| process.log_tail()).unwrap_or_default()
}
