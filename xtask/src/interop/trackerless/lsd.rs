//! Local discovery (BEP 14): two hosts on one link that know nothing of each other, no tracker, no DHT.
//!
//! Transmission's local discovery is of IPv4 only.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::super::scene::{PATIENCE, Scene};
use super::{Case, first_piece};
use crate::clients::{self, Discovery, Kind};
use crate::lab::{Family, Segment, Terrain};

const LENGTH: u64 = 1 << 20;

/// From the start of the downloader to its first piece. What another client says on the link it may say only once, so the
/// downloader's own word has to reach it; Transmission takes some seconds to act on that.
const LIMIT: Duration = Duration::from_secs(30);

/// Every direction, with both Internet protocols where both clients have them.
pub(super) fn cases(hub: Kind) -> Vec<Case<'static>> {
    let pairs = |family| {
        let others: &[Kind] = match family {
            Family::V4 => &[Kind::Transmission, Kind::Libtorrent],
            Family::V6 => &[Kind::Libtorrent],
        };
        let others = others.iter().copied().filter(move |kind| *kind != hub);
        let pairs = others.flat_map(move |kind| [(kind, hub), (hub, kind)]).chain([(hub, hub)]);
        pairs.map(move |pair| (family, pair))
    };
    let all = pairs(Family::V4).chain(pairs(Family::V6));
    all.map(|(family, (seed, leech))| {
        let version = if family == Family::V4 { "IPv4" } else { "IPv6" };
        let late = if is_late(family, seed, leech) { ", addresses that come late" } else { "" };
        let name = format!("local discovery, {version}: {seed} to {leech}{late}");
        Case::new(name, move |scene| transfer(scene, family, seed, leech))
    })
    .collect()
}

/// Ours waits for an address that cannot be used yet; other clients end.
fn is_late(family: Family, seed: Kind, leech: Kind) -> bool {
    family == Family::V6 && (seed, leech) == (Kind::Ferriswarm, Kind::Ferriswarm)
}

fn transfer(scene: &Scene<'_>, family: Family, seed: Kind, leech: Kind) -> Result<String> {
    let mut segment = Segment::new(scene.lab, Terrain::Link, family)?;
    if is_late(family, seed, leech) {
        segment = segment.with_late_addresses();
    }
    let discovery = Discovery { lsd: true, ..Discovery::default() };
    let payload = scene.own_payload(LENGTH)?;
    let mut seeder = clients::make(seed, scene.place_on(&segment, "seed", discovery)?)?;
    seeder.start_seed(&payload.torrent, &payload.dir).context("starting the seeder")?;
    seeder.wait_done(PATIENCE).context("the seeder")?;
    let place = scene.place_on(&segment, "leech", discovery)?;
    let dir = place.home.join("download");
    fs::create_dir_all(&dir)?;
    let mut client = clients::make(leech, place)?;
    let start = Instant::now();
    client.start_leech(&payload.torrent, &dir).context("starting the downloader")?;
    let first = first_piece(client.as_mut(), start, LIMIT)?;
    client.wait_done(PATIENCE)?;
    client.stop();
    seeder.stop();
    payload.compare(&dir, leech != Kind::Ferriswarm).context("what was written")?;
    Ok(format!("first piece after {:.1} s", first.as_secs_f64()))
}
