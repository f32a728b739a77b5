//! Whatever the network does: the bytes that come out are those that went in, all of them, and both sides end well.

use std::time::Duration;

use ferri_utp::{CloseReason, Options};

use crate::network::{Chance, Link, Network};
use crate::stream::{Plan, pair, run};

/// Seeds of a normal run. `FERRI_UTP_SEEDS` sets another number.
const SEEDS: u64 = 400;

fn link(chance: &mut Chance) -> Link {
    let mut rarely =
        |part: f64| if chance.below(3) == 0 { part * chance.below(100) as f64 / 100.0 } else { 0.0 };
    let (loss, duplicates, damaged) = (rarely(0.12), rarely(0.1), rarely(0.1));
    Link {
        delay: Duration::from_micros(chance.below(80_000)),
        jitter: Duration::from_micros(if chance.below(3) == 0 { chance.below(40_000) } else { 0 }),
        loss,
        duplicates,
        damaged,
        rate: (chance.below(2) == 0).then(|| 20e3 + chance.below(5_000_000) as f64),
        queue: 6_000 + chance.below(100_000) as usize,
        mtu: 700 + chance.below(900) as usize,
        ..Link::default()
    }
}

/// From 1 KB to 512 KiB.
fn buffer(chance: &mut Chance) -> usize {
    let bits = 10 + chance.below(9);
    1_000 + chance.below(1 << bits) as usize
}

fn options(chance: &mut Chance) -> Options {
    let datagram = if chance.below(4) == 0 { 60 + chance.below(300) as u16 } else { 1_472 };
    Options {
        receive_buffer: buffer(chance),
        send_buffer: buffer(chance),
        datagram_max_v4: datagram,
        run_max: 1 + chance.below(20) as usize,
        // Twelve of a hundred packets being lost makes long rows of them.
        timeouts_max: 20,
        syn_attempts: 10,
        ..Options::default()
    }
}

fn plan(chance: &mut Chance) -> Plan {
    let bytes = match chance.below(4) {
        0 => 0,
        1 => chance.below(100),
        _ => chance.below(60_000),
    };
    let lazy = if chance.below(3) == 0 { 0.9 } else { 0.0 };
    Plan { bytes, write: 1 + chance.below(20_000), read: 1 + chance.below(20_000), lazy }
}

/// Seeds that once failed. 8786: the last acknowledgements are lost, and the one that has ended is gone too soon.
const FAILED_ONCE: &[u64] = &[8_786];

/// Runs one network; `Err` says what went wrong.
fn transfer(seed: u64) -> Result<(), String> {
    let mut chance = Chance(seed);
    let links = [link(&mut chance), link(&mut chance)];
    let options = [options(&mut chance), options(&mut chance)];
    let plans = [plan(&mut chance), plan(&mut chance)];
    let mut network = Network::new(options, links, seed);
    // The peer that was called hears of it when the caller speaks or has waited a moment.
    let mut sides = pair(plans.clone(), &mut network);
    run(&mut sides, &mut network, Duration::from_secs(3_600));
    for (side, other) in [(0, 1), (1, 0)] {
        let (found, expected) = (&sides[side], plans[other].bytes);
        if (found.read, found.ended, found.closed) != (expected, true, Some(CloseReason::Finished)) {
            return Err(format!(
                "seed {seed}, host {side}: read {} of {expected}, ended {}, closed {:?} after {:?}",
                found.read,
                found.ended,
                found.closed,
                network.elapsed()
            ));
        }
    }
    while network.step(network.elapsed() + Duration::from_secs(30)) {}
    let left = network.hosts.iter().map(|host| host.utp.len()).sum::<usize>();
    if left == 0 { Ok(()) } else { Err(format!("seed {seed}: {left} connections are left")) }
}

#[test]
fn bytes_out_are_bytes_in_on_any_network() {
    let seeds = std::env::var("FERRI_UTP_SEEDS").map_or(SEEDS, |seeds| seeds.parse().unwrap());
    let failed: Vec<String> =
        (0..seeds).chain(FAILED_ONCE.iter().copied()).filter_map(|seed| transfer(seed).err()).collect();
    assert!(
        failed.is_empty(),
        "{} of {seeds} failed\n{}",
        failed.len(),
        failed[..failed.len().min(10)].join("\n")
    );
}
