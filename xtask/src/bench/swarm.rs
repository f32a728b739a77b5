//! One run of a whole swarm of one kind: a seeder with a limit and leechers without.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::measure::{RUN_LIMIT, Sample, process, same};
use super::scenario::{Contender, Work};
use super::stage::{NAME, Stage};
use crate::clients::{Client, Ferriswarm, Kind, Libtorrent};

/// Between two looks at all clients.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// From the leechers' start until the last one has everything.
///
/// # Errors
/// When one of them fails.
pub(super) fn measure(stage: &Stage, contender: &Contender, leechers: u8, rate: u64) -> Result<Sample> {
    stage.touch_memory(Work::Swarm { leechers, rate })?;
    let hosts = stage.hosts(leechers)?;
    let (payload, ..) = stage.payload()?;
    let torrent = stage.torrent()?;
    let place = |n: usize| {
        let place = stage.place(&hosts[n], &format!("member-{n}"), Vec::new());
        fs::create_dir_all(place.home.join("download")).map(|()| place).context("making a folder")
    };
    let mut seeder: Box<dyn Client> = match contender.kind {
        Kind::Ferriswarm => Box::new(Ferriswarm::new(place(0)?).with_options(&["--up", &rate.to_string()])),
        Kind::Libtorrent => Box::new(Libtorrent::new(place(0)?).with_upload_limit(rate)),
        kind => bail!("{kind} cannot be told a limit"),
    };
    seeder.start_seed(torrent, payload.parent().context("the payload is in a folder")?)?;
    seeder.wait_done(RUN_LIMIT)?;
    let before = process(seeder.as_mut())?.cpu_time()?;
    let mut members: Vec<Box<dyn Client>> = Vec::new();
    let start = Instant::now();
    for n in 1..=usize::from(leechers) {
        let place = place(n)?;
        let dir = place.home.join("download");
        let mut client: Box<dyn Client> = match contender.kind {
            Kind::Ferriswarm => Box::new(Ferriswarm::new(place)),
            _ => Box::new(Libtorrent::new(place)),
        };
        client.start_leech(torrent, &dir)?;
        members.push(client);
    }
    let mut done = vec![false; members.len()];
    while !done.iter().all(|done| *done) {
        for (member, done) in members.iter_mut().zip(&mut done) {
            *done = *done || member.is_done()?;
        }
        if RUN_LIMIT <= start.elapsed() {
            let done = done.iter().filter(|done| **done).count();
            let logs: Vec<_> = std::iter::once(&mut seeder)
                .chain(&mut members)
                .filter_map(|member| member.process().map(|process| process.log_tail()))
                .collect();
            bail!("only {done} are done\n{}", logs.concat());
        }
        thread::sleep(LOOK_INTERVAL);
    }
    let wall = start.elapsed();
    let (mut cpu, mut memory) = (Duration::ZERO, 0);
    for member in members.iter_mut().chain([&mut seeder]) {
        let process = process(member.as_mut())?;
        memory = process.memory_peak().unwrap_or(0).max(memory);
        cpu += process.cpu_time()?;
    }
    for (n, member) in (1..).zip(&mut members) {
        member.stop();
        let home = stage.scratch().join(format!("member-{n}"));
        ensure!(same(&home.join("download").join(NAME), &payload)?, "leecher {n} has something else");
        fs::remove_dir_all(home)?;
    }
    seeder.stop();
    Ok(Sample { wall, cpu: cpu.saturating_sub(before), memory })
}
