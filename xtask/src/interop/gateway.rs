//! A seeder behind a router is reached from outside, because the router opened its port: the real miniupnpd, asked by PCP
//! and, where it speaks nothing else, by UPnP.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use super::payload::{Payload, Shape};
use super::scene::{Download, PATIENCE, Scene};
use crate::clients::PEER_PORT;
use crate::lab::{self, Process, Router};

/// What the router grants by PCP: the renewal is due after half of it.
const LEASE: Duration = Duration::from_secs(40);

/// For so long a renewed port may seem closed: miniupnpd (2.3.11, `CreatePCPMap_NAT`) takes the mapping away and adds it again,
/// and on a busy machine time passes in between. Who connects in such a moment is let in by the next try of TCP, and a lease
/// that was not renewed stays away for longer.
const GAP: Duration = Duration::from_secs(5);

/// What the router lets be opened; not the port that is asked for, so that what is granted differs from it, but near it:
/// miniupnpd looks at one after the other.
const EXTERNAL_PORTS: std::ops::RangeInclusive<u16> = 6890..=6899;

/// Both protocols, one after the other: there is one router.
pub(super) fn miniupnpd(scene: &Scene<'_>) -> Result<String> {
    let payload = scene.payload(Shape::Single, 8 << 20, 256 << 10)?;
    let router = Router::new(scene.lab)?;
    let upnp = through(scene, &payload, &router, "upnp", |_| Ok(())).context("by UPnP")?;
    let pcp = through(scene, &payload, &router, "natpmp", outlive_lease).context("by PCP")?;
    let open_for = LEASE + LEASE / 4;
    Ok(format!(
        "port {upnp} of the router by UPnP, {pcp} by PCP and open for {} s of a lease of {} s, closed at the end",
        open_for.as_secs(),
        LEASE.as_secs()
    ))
}

/// A seeder at home and a leech outside; what is looked at in between. Returns the port that the router opened.
fn through(
    scene: &Scene<'_>,
    payload: &Payload,
    router: &Router,
    protocol: &str,
    look: impl FnOnce(&Router) -> Result<()>,
) -> Result<u16> {
    let mut daemon = start_daemon(scene, router, protocol)?;
    let mut seeder = start_seeder(scene, payload, router, protocol)?;
    let mut port = None;
    lab::wait_until(PATIENCE, "the router to open a port", || {
        daemon.ensure_running()?;
        seeder.ensure_running()?;
        port = forwarded(router)?;
        Ok(port.is_some())
    })
    .with_context(|| format!("{}\n{}", seeder.log_tail(), daemon.log_tail()))?;
    let port = port.context("it was waited for")?;
    ensure!(EXTERNAL_PORTS.contains(&port), "the router opened {port}, which is none of those it may");
    fetch_from_outside(scene, payload, router, protocol, port)?;
    look(router).with_context(|| seeder.log_tail())?;
    seeder.stop(Signal::INT);
    ensure!(forwarded(router)?.is_none(), "the port is still open after the end:\n{}", router.rules()?);
    daemon.stop(Signal::TERM);
    Ok(port)
}

/// Looks until the first lease would have ended, and some more.
fn outlive_lease(router: &Router) -> Result<()> {
    let start = Instant::now();
    let mut open_at = start;
    lab::wait_until(2 * LEASE, "the lease to be outlived", || {
        if forwarded(router)?.is_some() {
            open_at = Instant::now();
        }
        let closed_for = open_at.elapsed();
        ensure!(
            closed_for < GAP,
            "the port was closed after {:?}, and stayed so",
            start.elapsed() - closed_for
        );
        Ok(LEASE + LEASE / 4 <= start.elapsed())
    })
}

fn start_seeder(scene: &Scene<'_>, payload: &Payload, router: &Router, name: &str) -> Result<Process> {
    let home = scene.work.join(format!("seed-{name}"));
    fs::create_dir_all(&home)?;
    let mut command = router.home_command(&scene.options.tools.ferriswarm);
    command.args(["seed", "-vv", "--no-trackers", "--port", &PEER_PORT.to_string()]);
    command.arg("--state-dir").arg(home.join("state")).arg(&payload.torrent).arg(&payload.dir);
    Process::start(&mut command, &home.join("log"))
}

/// Downloads through the port that the router opened.
fn fetch_from_outside(
    scene: &Scene<'_>,
    payload: &Payload,
    router: &Router,
    name: &str,
    port: u16,
) -> Result<()> {
    let place = scene.place(&format!("leech-{name}"))?;
    router.introduce(&place.host)?;
    let dir = place.home.join("download");
    fs::create_dir_all(&dir)?;
    let peer = format!("{}:{port}", Router::OUTSIDE);
    let options = ["--no-trackers", "--peer", &peer].map(str::to_owned).to_vec();
    let download = Download { place, dir, options, torrent: payload.torrent.clone() };
    download.finish(payload).context("the download from outside")?;
    Ok(())
}

/// Runs miniupnpd with one of its protocols; `natpmp` is PCP too.
fn start_daemon(scene: &Scene<'_>, router: &Router, protocol: &str) -> Result<Process> {
    let path = |end: &str| scene.work.join(format!("miniupnpd-{protocol}.{end}"));
    let is = |name| if name == protocol { "yes" } else { "no" };
    let (from, to) = (EXTERNAL_PORTS.start(), EXTERNAL_PORTS.end());
    let text = format!(
        "ext_ifname={world}\nlistening_ip={home}\nenable_natpmp={natpmp}\nenable_upnp={upnp}\n\
         secure_mode=yes\nhttp_port=5000\nuuid=5f9d3c1e-0000-4000-8000-000000000001\n\
         min_lifetime=20\nmax_lifetime={lease}\nclean_ruleset_interval=600\n\
         upnp_table_name={table}\nupnp_nat_table_name={table}\nupnp_forward_chain=let_in\n\
         upnp_nat_chain=forward_in\nupnp_nat_postrouting_chain=forward_out\n\
         allow {from}-{to} {machine}/32 1024-65535\ndeny 0-65535 0.0.0.0/0 0-65535\n",
        world = Router::WORLD_LINK,
        home = Router::HOME_LINK,
        natpmp = is("natpmp"),
        upnp = is("upnp"),
        table = Router::TABLE,
        machine = Router::MACHINE,
        lease = LEASE.as_secs(),
    );
    fs::write(path("conf"), text)?;
    let mut command = router.command("miniupnpd");
    command.arg("-d").arg("-P").arg(path("pid")).arg("-f").arg(path("conf"));
    let mut daemon = Process::start(&mut command, &path("log"))?;
    lab::wait_until(PATIENCE, "miniupnpd to listen", || {
        daemon.ensure_running()?;
        Ok(fs::read_to_string(path("log"))?.contains("istening"))
    })?;
    Ok(daemon)
}

/// The port of the router that leads to the seeder's, over TCP.
fn forwarded(router: &Router) -> Result<Option<u16>> {
    let rules = router.rules()?;
    // `nft` does not know the words for what miniupnpd writes: 6 is TCP.
    let is_tcp = |line: &str| line.contains("tcp") || line.contains(" 0x6 ");
    let target = format!("{}:{PEER_PORT}", Router::MACHINE);
    let line = rules.lines().map(str::trim).find(|line| line.ends_with(&target) && is_tcp(line));
    let Some(line) = line else { return Ok(None) };
    let mut words = line.split_whitespace().skip_while(|word| *word != "dport");
    let port = words.nth(1).with_context(|| format!("a rule without a port: {line}"))?;
    Ok(Some(port.parse().with_context(|| line.to_owned())?))
}
