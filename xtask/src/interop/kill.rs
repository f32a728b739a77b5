//! `kill -9` at random moments of a download, again and again, then completion.
//!
//! The seeder is libtorrent and counts the payload it sends, so what is fetched twice shows there. A piece that was
//! verified and written before a kill must not be asked for again; what may be lost is what was in flight: blocks of
//! pieces that were not complete yet.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::Options;
use super::payload::{Payload, Random, Shape};
use crate::clients::{Client, Encryption, Ferriswarm, Kind, Libtorrent, Place};
use crate::lab::Lab;
use crate::report::{Tally, say};

const PAYLOAD_LENGTH: u64 = 256 << 20;

const PIECE_LENGTH: u64 = 1 << 20;

const KILLS: u32 = 20;

/// What the seeder sends, in bytes a second: the download must outlast the kills.
const RATE: u64 = 8 << 20;

/// From a start to its kill, in milliseconds; some lives end before the first byte.
const LIFE: std::ops::Range<u64> = 50..2000;

/// What one kill may cost on average: the pieces in flight, which are one or two at this rate and piece length, and
/// what lay in the sockets.
const WASTE_PER_KILL_MAX: u64 = 2 << 20;

/// From a start to the first new payload byte, at worst.
const FIRST_BYTE_LIMIT: Duration = Duration::from_secs(2);

/// From the last start to the end.
const COMPLETION_LIMIT: Duration = Duration::from_secs(120);

/// The same moments every time; change it to look for other ones.
const SEED: u64 = 9;

/// Runs the test; inside a lab only.
///
/// # Errors
/// When the lab or the payload cannot be made; what the test finds is counted.
pub(crate) fn run(options: &Options) -> Result<Tally> {
    let work = &options.work;
    let _ = fs::remove_dir_all(work);
    fs::create_dir_all(work)?;
    let payload =
        Payload::make(work, Shape::Single, PAYLOAD_LENGTH, PIECE_LENGTH, Kind::Ferriswarm, &options.tools)
            .context("making the payload")?;
    let lab = Lab::new()?;
    let outcome = kill_and_go_on(options, &lab, &payload);
    let mut tally = Tally::default();
    tally.count(outcome.is_ok());
    match outcome {
        Ok(summary) => {
            say(&summary);
            let _ = fs::remove_dir_all(work);
        }
        Err(error) => say(&format!("  FAIL  kill -9\n{error:#}\n  logs: {}", work.display())),
    }
    Ok(tally)
}

fn kill_and_go_on(options: &Options, lab: &Lab, payload: &Payload) -> Result<String> {
    let place = |name: &str| -> Result<Place> {
        let home = options.work.join(name);
        fs::create_dir_all(&home)?;
        let (host, tools) = (Arc::new(lab.host()?), options.tools.clone());
        Ok(Place { host, home, tools, peers: Vec::new(), encryption: Encryption::Default })
    };
    let mut seeder = Libtorrent::new(place("seed")?).with_upload_limit(RATE);
    let leecher = place("leech")?;
    let download = leecher.home.join("download");
    fs::create_dir_all(&download)?;
    let peer = seeder.peer_address().to_string();
    seeder.start_seed(&payload.torrent, &payload.dir)?;
    seeder.wait_done(COMPLETION_LIMIT).context("the seeder")?;

    let mut random = Random::new(SEED);
    let (mut first_bytes, mut pieces) = (Vec::new(), BTreeSet::new());
    let client = || {
        Ferriswarm::new(leecher.clone()).with_options(&["--no-trackers", "--peer", &peer]).ending_when_done()
    };
    for kill in 1..=KILLS {
        let life = Duration::from_millis(LIFE.start + random.next() % (LIFE.end - LIFE.start));
        let mut client = client();
        first_bytes.extend(live(&mut client, &mut seeder, payload, &download, life)?);
        ensure!(!client.is_done()?, "the download was over before kill {kill}: lower the rate");
        client.process().context("it was started")?.kill();
        note_pieces(&client, &mut pieces).with_context(|| format!("kill {kill}"))?;
    }
    let mut last = client();
    first_bytes.extend(live(&mut last, &mut seeder, payload, &download, FIRST_BYTE_LIMIT)?);
    last.wait_done(COMPLETION_LIMIT).context("the download after the kills")?;
    last.stop();
    note_pieces(&last, &mut pieces).context("the last life")?;
    payload.compare(&download, false).context("what was written")?;

    let sent = seeder.state()?.uploaded;
    let length = payload.length()?;
    let (wasted, bound) = (sent.saturating_sub(length), u64::from(KILLS) * WASTE_PER_KILL_MAX);
    first_bytes.sort_unstable();
    let worst = first_bytes.last().copied().context("no start led to a byte")?;
    let summary = format!(
        "  ok    {KILLS} x kill -9: {length} bytes, {sent} sent by the seeder, {wasted} of them again \
         (bound {bound}: {WASTE_PER_KILL_MAX} a kill for pieces in flight); first byte after a start: \
         median {} ms, worst {} ms of {} starts; none of {} pieces fetched twice",
        first_bytes[first_bytes.len() / 2].as_millis(),
        worst.as_millis(),
        first_bytes.len(),
        pieces.len(),
    );
    ensure!(wasted <= bound, "too much was fetched again.{summary}");
    ensure!(worst <= FIRST_BYTE_LIMIT, "a start was slow.{summary}");
    Ok(summary)
}

/// Starts the client and watches it for `life`. When it made progress: how long after its start.
fn live(
    client: &mut Ferriswarm,
    seeder: &mut Libtorrent,
    payload: &Payload,
    download: &Path,
    life: Duration,
) -> Result<Option<Duration>> {
    const LOOK_INTERVAL: Duration = Duration::from_millis(10);
    // What the seeder still sends into the dead connection of the life before is not progress of this one.
    let before = settled(seeder)?;
    let start = Instant::now();
    client.start_leech(&payload.torrent, download)?;
    let mut first_byte = None;
    while start.elapsed() < life {
        if first_byte.is_none() && seeder.state()?.uploaded > before {
            first_byte = Some(start.elapsed());
        }
        if client.is_done()? {
            break;
        }
        thread::sleep(LOOK_INTERVAL);
    }
    ensure!(
        first_byte.is_some() || life < FIRST_BYTE_LIMIT,
        "no payload within {} ms of a start\n{}",
        life.as_millis(),
        client.process().map(|process| process.log_tail()).unwrap_or_default()
    );
    Ok(first_byte)
}

/// Collects the pieces that a life verified. One that an earlier life had verified was in the journal then, and must not
/// have been fetched again.
fn note_pieces(client: &Ferriswarm, pieces: &mut BTreeSet<u64>) -> Result<()> {
    let events = client.events()?;
    let verified = events.iter().filter(|line| line["event"] == "piece" && line["ok"] == true);
    for piece in verified.filter_map(|line| line["piece"].as_u64()) {
        ensure!(pieces.insert(piece), "piece {piece} was fetched twice");
    }
    Ok(())
}

/// The seeder's count once it has stopped to grow.
fn settled(seeder: &mut Libtorrent) -> Result<u64> {
    const QUIET: Duration = Duration::from_millis(100);
    let mut count = seeder.state()?.uploaded;
    let mut since = Instant::now();
    while since.elapsed() < QUIET {
        thread::sleep(QUIET / 10);
        let new = seeder.state()?.uploaded;
        if new != count {
            (count, since) = (new, Instant::now());
        }
    }
    Ok(count)
}
