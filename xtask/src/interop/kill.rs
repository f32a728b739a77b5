//! `kill -9` at random moments of a download, again and again, then completion.
//!
//! The seeder is libtorrent and writes down what it is asked for. A piece that the journal called durable at a kill, or
//! that the program had said to be verified, must not be asked for again; what may be lost is what was in flight: blocks
//! of pieces that were not whole yet. Three kills in four come some time after the first request of that life, one in
//! four in the start itself.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::fs;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use ferri_sim::Chance;
use ferri_storage::resume::{JournalError, parse};

use super::payload::Shape;
use super::scene::{Download, Life, PATIENCE, Request, Scene, Witness, notes, verified};
use crate::report::say;

const PIECE_LENGTH: u64 = 1 << 20;

/// What one kill may cost on average: the pieces in flight, which are one or two, and what lay in the sockets.
const WASTE_PER_KILL_MAX: u64 = 2 << 20;

/// From a restart to the first request, at worst, on a machine that has nothing else to do.
const FIRST_REQUEST_LIMIT: Duration = Duration::from_secs(1);

/// The same in the gate, which runs other cases meanwhile and has no say in what else the machine does: enough to tell
/// a start that looks at everything again.
const GATE_FIRST_REQUEST_LIMIT: Duration = Duration::from_secs(5);

/// What may be written and not yet called durable: 64 MiB, or what arrives in five seconds, and the pieces under way.
const UNSURE_MAX: u64 = 72 << 20;

/// Kills that hit the start come this soon after it.
const START_SPAN: Duration = Duration::from_millis(300);

/// The same moments every time; change it to look for other ones.
const SEED: u64 = 9;

/// How many, and over what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    kills: u32,
    /// Bytes of the download.
    size: u64,
    /// What the seeder sends, in bytes a second.
    rate: u64,
    first_request: Duration,
}

impl Plan {
    /// What the gate has time for.
    pub(super) const SHORT: Self =
        Self { kills: 20, size: 256 << 20, rate: 8 << 20, first_request: GATE_FIRST_REQUEST_LIMIT };

    /// What is measured.
    pub(crate) const LONG: Self =
        Self { kills: 200, size: 2 << 30, rate: 20 << 20, first_request: FIRST_REQUEST_LIMIT };

    /// From the words after `kill`.
    ///
    /// # Errors
    /// When a word is not understood.
    pub(crate) fn parse(words: &[&str]) -> Result<Self> {
        let mut plan = Self::LONG;
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().copied().with_context(|| format!("{word} needs a value"));
            match *word {
                "--kills" => plan.kills = value()?.parse().context("--kills needs a number")?,
                "--size" => plan.size = crate::bench::size(value()?)?,
                "--rate" => plan.rate = crate::bench::size(value()?)?,
                _ => bail!("there is no option {word}"),
            }
        }
        ensure!(plan.kills > 0 && plan.size > 0 && plan.rate > 0, "nothing to do");
        Ok(plan)
    }

    /// How long a life may last after its first request: on average, all of them take three quarters of the download.
    fn span(&self) -> Duration {
        Duration::from_secs_f64(1.5 * self.size as f64 / self.rate as f64 / f64::from(self.kills))
    }
}

/// When a life ends.
#[derive(Clone, Copy, Debug)]
enum Moment {
    AfterStart(Duration),
    AfterFirstRequest(Duration),
}

impl Moment {
    fn random(random: &mut Chance, plan: &Plan) -> Self {
        let part = |random: &mut Chance, span: Duration| span.mul_f64((random.next() % 1000) as f64 / 1000.0);
        if random.next().is_multiple_of(4) {
            Self::AfterStart(part(random, START_SPAN))
        } else {
            Self::AfterFirstRequest(part(random, plan.span()))
        }
    }
}

/// What is known of the download from life to life.
#[derive(Default)]
struct Ledger {
    /// Pieces that must not be asked for again.
    safe: BTreeSet<u32>,
    /// Blocks that were asked for.
    asked: HashSet<(u32, u64)>,
    rows: Vec<Row>,
}

/// One life.
#[derive(Clone, Copy, Debug)]
struct Row {
    first_request: Option<Duration>,
    /// Bytes asked for, and of these what an earlier life had asked for.
    asked: u64,
    again: u64,
    /// Pieces in the journal at the end: known to be there, to be looked at by the next start.
    durable: u32,
    unsure: u32,
}

/// Kills it as planned and lets it finish: the figures, if they are as they should be.
pub(super) fn run(scene: &Scene<'_>, plan: &Plan) -> Result<String> {
    let figures = measure(scene, plan)?;
    figures.judge(plan)?;
    Ok(figures.to_string())
}

/// Kills it as planned and lets it finish. A piece that was verified and is asked for again, and a wrong file, are errors.
pub(super) fn measure(scene: &Scene<'_>, plan: &Plan) -> Result<Figures> {
    let payload = scene.payload(Shape::Multi, plan.size, PIECE_LENGTH)?;
    let mut seeder = scene.seeder("seed", &payload, plan.rate)?;
    let download = scene.download("leech", &payload, &[&seeder])?;
    let mut random = Chance::new(SEED);
    let mut ledger = Ledger::default();
    for kill in 1..=plan.kills {
        // The first life comes to know a seeder that opens its first upload slot up to a second after it began.
        let moment = match kill {
            1 => Moment::AfterFirstRequest(plan.span()),
            _ => Moment::random(&mut random, plan),
        };
        let start = SystemTime::now();
        let mut life = download.start()?;
        let mut requests = live(&mut life, &mut seeder, moment).with_context(|| format!("life {kill}"))?;
        life.kill()?;
        requests.append(&mut seeder.last_requests()?);
        ledger.note(&download, &life, start, &requests).with_context(|| format!("kill {kill}"))?;
    }
    let start = SystemTime::now();
    let mut last = download.start()?;
    last.done(Duration::from_secs_f64(plan.size as f64 / plan.rate as f64) + PATIENCE)
        .context("the download after the kills")?;
    let requests = seeder.last_requests()?;
    ledger.note(&download, &last, start, &requests).context("the last life")?;
    payload.compare(&download.dir, false).context("what was written")?;
    let sent = seeder.sent()?;
    seeder.stop();
    if plan.kills > Plan::SHORT.kills {
        say(&ledger.table());
    }
    ledger.figures(plan, payload.length()?, sent)
}

/// Watches it until its moment has come: what it asked for.
fn live(life: &mut Life, seeder: &mut Witness, moment: Moment) -> Result<Vec<Request>> {
    const LOOK_INTERVAL: Duration = Duration::from_millis(2);
    let start = Instant::now();
    let mut requests: Vec<Request> = Vec::new();
    let mut asked_at = None;
    loop {
        requests.append(&mut seeder.requests()?);
        if asked_at.is_none() && !requests.is_empty() {
            asked_at = Some(Instant::now());
        }
        let is_over = match (moment, asked_at) {
            (Moment::AfterStart(limit), _) => limit <= start.elapsed(),
            (Moment::AfterFirstRequest(limit), Some(at)) => limit <= at.elapsed(),
            (Moment::AfterFirstRequest(_), None) => {
                ensure!(start.elapsed() < PATIENCE, "no request came\n{}", life.log()?);
                false
            }
        };
        ensure!(!life.has_ended()?, "it ended before its kill\n{}", life.log()?);
        if is_over {
            return Ok(requests);
        }
        thread::sleep(LOOK_INTERVAL);
    }
}

/// What came of all lives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    pub(crate) kills: u32,
    /// Bytes of the download.
    pub(crate) length: u64,
    /// Bytes a second.
    pub(crate) rate: u64,
    /// Bytes that a kill cost on average.
    pub(crate) twice_a_kill: u64,
    /// Restarts that led to a request; from their start to it, at the median and at worst.
    pub(crate) restarts: usize,
    pub(crate) median: Duration,
    pub(crate) worst: Duration,
    /// Pieces that some life had verified or called durable; none of them was asked for again.
    pub(crate) verified: usize,
    /// Pieces that a start had to look at, at most.
    pub(crate) unsure: u32,
}

impl Figures {
    fn judge(&self, plan: &Plan) -> Result<()> {
        ensure!(self.twice_a_kill <= WASTE_PER_KILL_MAX, "too much was fetched twice. {self}");
        ensure!(self.worst <= plan.first_request, "a restart was slow. {self}");
        ensure!(u64::from(self.unsure) * PIECE_LENGTH <= UNSURE_MAX, "too much was looked at again. {self}");
        Ok(())
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} kills over {:.0} MiB at {:.0} MiB/s: {:.2} MiB fetched twice a kill; first request after a restart: median \
             {} ms, worst {} ms of {} restarts; none of {} verified pieces asked for again; at most {} pieces of 1 MiB \
             looked at again by a start",
            self.kills,
            mebibytes(self.length),
            mebibytes(self.rate),
            mebibytes(self.twice_a_kill),
            self.median.as_millis(),
            self.worst.as_millis(),
            self.restarts,
            self.verified,
            self.unsure,
        )
    }
}

impl Ledger {
    /// Books a life that has ended.
    fn note(
        &mut self,
        download: &Download,
        life: &Life,
        start: SystemTime,
        requests: &[Request],
    ) -> Result<()> {
        for request in requests {
            ensure!(
                !self.safe.contains(&request.piece),
                "piece {} was asked for again, though it was verified in an earlier life",
                request.piece
            );
        }
        let length =
            |requests: &mut dyn Iterator<Item = &Request>| requests.map(|request| request.length).sum();
        let is_known = |request: &&Request| self.asked.contains(&(request.piece, request.begin));
        let again = length(&mut requests.iter().filter(is_known));
        self.asked.extend(requests.iter().map(|request| (request.piece, request.begin)));
        let events = life.events()?;
        for note in notes(&events) {
            ensure!(note.contains("not yet synced"), "a kill is no reason to say: {note}");
        }
        self.safe.extend(verified(&events));
        let (durable, unsure) = match fs::read(download.state_folder()?.join("journal")).map(|j| parse(&j)) {
            Ok(Ok(journal)) => {
                self.safe.extend(journal.state.durable().iter_ones());
                (journal.state.durable().count_ones(), journal.state.unsure().count_ones())
            }
            // Killed before its first word.
            Ok(Err(JournalError::Empty)) | Err(_) if self.safe.is_empty() => (0, 0),
            Ok(Err(error)) => bail!("the journal cannot be read: {error}"),
            Err(error) => bail!("the journal is not there: {error}"),
        };
        self.rows.push(Row {
            first_request: requests.first().and_then(|request| request.at.duration_since(start).ok()),
            asked: length(&mut requests.iter()),
            again,
            durable,
            unsure,
        });
        Ok(())
    }

    /// What came of it, when the seeder sent so much of so much.
    fn figures(&self, plan: &Plan, length: u64, sent: u64) -> Result<Figures> {
        let mut waits: Vec<Duration> = self.rows[1..].iter().filter_map(|row| row.first_request).collect();
        waits.sort_unstable();
        let worst = waits.last().copied().context("no restart led to a request")?;
        Ok(Figures {
            kills: plan.kills,
            length,
            rate: plan.rate,
            twice_a_kill: sent.saturating_sub(length) / u64::from(plan.kills),
            restarts: waits.len(),
            median: waits[waits.len() / 2],
            worst,
            verified: self.safe.len(),
            unsure: self.rows.iter().map(|row| row.unsure).max().unwrap_or(0),
        })
    }

    /// The lives in tens.
    fn table(&self) -> String {
        let mut text =
            "lives      first request, ms   asked, MiB   of it again   durable   to look at\n".to_owned();
        for (n, rows) in self.rows.chunks(10).enumerate() {
            let mut waits: Vec<_> = rows.iter().filter_map(|row| row.first_request).collect();
            waits.sort_unstable();
            let wait =
                |at: Option<&Duration>| at.map_or_else(|| "-".to_owned(), |at| at.as_millis().to_string());
            let (first, last) = (n * 10 + 1, n * 10 + rows.len());
            let sum = |of: fn(&Row) -> u64| mebibytes(rows.iter().map(of).sum());
            text.push_str(&format!(
                "{:<11}{:>9} ..{:>6} {:>12.1} {:>13.2} {:>9} {:>12}\n",
                format!("{first}-{last}"),
                wait(waits.get(waits.len() / 2)),
                wait(waits.last()),
                sum(|row| row.asked),
                sum(|row| row.again),
                rows.last().map_or(0, |row| row.durable),
                rows.iter().map(|row| row.unsure).max().unwrap_or(0),
            ));
        }
        text
    }
}

/// MiB.
pub(crate) fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
