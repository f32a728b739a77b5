//! Hostile packets to a node of the DHT, as many as a second takes: its memory stays, and it goes on answering.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::super::scene::{PATIENCE, Scene};
use super::{Case, dht};
use crate::bench;
use crate::clients::{Discovery, Kind, PEER_PORT, Place};
use crate::lab::{Family, Host, Process, Segment, Terrain};

/// How hard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Packets a second.
    rate: u32,
    duration: Duration,
}

impl Plan {
    /// What the gate runs.
    pub(crate) const SHORT: Self = Self { rate: 50_000, duration: Duration::from_secs(5) };

    /// From the words after `flood`: a long one, if they say nothing else.
    ///
    /// # Errors
    /// When a word is not understood.
    pub(crate) fn parse(words: &[&str]) -> Result<Self> {
        let mut plan = Self { duration: Duration::from_secs(60), ..Self::SHORT };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} needs a value"));
            match *word {
                "--rate" => plan.rate = value()?.parse().context("--rate needs a number")?,
                "--seconds" => plan.duration = Duration::from_secs(value()?.parse()?),
                _ => bail!("there is no option {word}"),
            }
        }
        Ok(plan)
    }
}

/// What the node may have resident more than before, once it has seen a second of it: tables fill up to their bounds.
const GROWTH_MAX: u64 = 4 << 20;

/// What it may have resident at all.
const MEMORY_MAX: u64 = 64 << 20;

/// Of our own node only.
pub(super) fn cases(hub: Kind, plan: Plan) -> Vec<Case<'static>> {
    let name = format!("hostile packets to a node, {} a second for {} s", plan.rate, plan.duration.as_secs());
    let case = Case::new(name, move |scene| flood(scene, plan));
    (hub == Kind::Ferriswarm).then_some(case).into_iter().collect()
}

fn flood(scene: &Scene<'_>, plan: Plan) -> Result<String> {
    /// Its tables are full, and everything has been used once.
    const WARM_UP: Duration = Duration::from_secs(2);
    let segment = Segment::new(scene.lab, Terrain::Link, Family::V4)?;
    let gateway = segment.host(1)?;
    let place = scene.place_on(&segment, "node", Discovery::default())?;
    let mut node = dht::node(&place, (gateway.peer_ip(), PEER_PORT).into())?;
    let attack = |duration: Duration| -> Result<Value> {
        let mut command = gateway.command("sh");
        // Any address of these networks is the attacker's own.
        command.args(["-c", "ip route replace local 20.0.0.0/8 dev lo; exec \"$@\"", "sh"]);
        command.arg(&scene.options.tools.ferri_bench);
        command.args(["krpc-flood", "--to", &place.peer_address().to_string()]);
        command.args(["--rate", &plan.rate.to_string(), "--seconds", &duration.as_secs().to_string()]);
        bench::last_json(&mut command)
    };
    // It answers before, so that silence after means something.
    answers(&gateway, scene, &place)?;
    attack(WARM_UP)?;
    node.ensure_running()?;
    let before = node.memory()?;
    let wanted = u64::from(plan.rate) * plan.duration.as_secs();
    let (mut sent, mut answered) = (0, 0);
    let begun = Instant::now();
    // A machine with other work to do sends fewer a second; as many are sent all the same.
    while sent < wanted / 2 && begun.elapsed() < PATIENCE {
        let report = attack(plan.duration)?;
        node.ensure_running()?;
        sent += report["sent"].as_u64().context("no count of packets")?;
        answered += report["answers"].as_u64().context("no count of answers")?;
    }
    let (after, peak) = (node.memory()?, node.memory_peak().unwrap_or(0));
    answers(&gateway, scene, &place).context("after the flood")?;
    ensure!(wanted / 2 <= sent, "only {sent} of {wanted} packets could be sent");
    ensure!(
        after <= before + GROWTH_MAX && peak <= MEMORY_MAX,
        "{} KiB were resident before and {} KiB after, {} KiB at most",
        before >> 10,
        after >> 10,
        peak >> 10
    );
    Ok(format!(
        "{sent} packets, {answered} answers; {} KiB resident before, {} KiB after, {} KiB at most",
        before >> 10,
        after >> 10,
        peak >> 10
    ))
}

/// Pings it until it answers, or for ten seconds.
fn answers(host: &Host, scene: &Scene<'_>, place: &Place) -> Result<()> {
    let mut command = host.command(&scene.options.tools.ferri_bench);
    command.args(["krpc-ping", "--to", &place.peer_address().to_string()]);
    let mut ping = Process::start(&mut command, &scene.work.join("ping.log"))?;
    ensure!(ping.wait(PATIENCE)?.success(), "the node answers no ping\n{}", ping.log_tail());
    Ok(())
}
