//! What the proofs about crashes and disks share: a folder and hosts of their own, a seeder that writes down what it is
//! asked for, and our program over one download folder, life after life.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::Options;
use super::payload::{Payload, Shape, info_hash};
use crate::clients::{Client, Ferriswarm, Kind, Libtorrent, Place};
use crate::lab::{self, Lab};

/// For anything that takes a moment on an idle machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Where one case happens.
pub(super) struct Scene<'a> {
    pub(super) options: &'a Options,
    pub(super) lab: &'a Lab,
    /// The case's own folder.
    pub(super) work: PathBuf,
}

impl Scene<'_> {
    /// A host and a home folder.
    pub(super) fn place(&self, name: &str) -> Result<Place> {
        let home = self.work.join(name);
        fs::create_dir_all(&home).with_context(|| format!("creating {}", home.display()))?;
        Ok(Place::new(Arc::new(self.lab.host()?), home, self.options.tools.clone()))
    }

    /// Files and their torrent.
    pub(super) fn payload(&self, shape: Shape, length: u64, piece_length: u64) -> Result<Payload> {
        Payload::make(&self.work, shape, length, piece_length, Kind::Ferriswarm, &self.options.tools)
            .context("making the payload")
    }

    /// A seeder of the payload that is ready to serve; `rate` is bytes a second, 0 for as much as it can.
    pub(super) fn seeder(&self, name: &str, payload: &Payload, rate: u64) -> Result<Witness> {
        let mut place = self.place(name)?;
        place.tools.peer_script.set_file_name("witness.py");
        let requests = place.home.join("requests");
        let mut seeder = Libtorrent::new(place).with_upload_limit(rate);
        seeder.start_seed(&payload.torrent, &payload.dir)?;
        seeder.wait_done(PATIENCE).context("the seeder")?;
        Ok(Witness { seeder, requests, at: 0, visitors: 0 })
    }

    /// Our program in a place of `tools`, without the superuser's right to the last blocks of a file system.
    pub(super) fn without_reserve(&self) -> Result<PathBuf> {
        let program = self.options.tools.ferriswarm.display();
        self.script(
            "without-reserve",
            &format!("exec setpriv --bounding-set=-sys_resource -- '{program}' \"$@\""),
        )
    }

    /// A program that is a line for the shell.
    pub(super) fn script(&self, name: &str, line: &str) -> Result<PathBuf> {
        let path = self.work.join(name);
        // Another process writes it: what we have open for writing, a program that another thread starts at that moment has
        // open too, until it runs, and a file that is open for writing cannot be run ("Text file busy").
        let mut writer = std::process::Command::new("sh");
        writer
            .args(["-c", r#"printf '#!/bin/sh\n%s\n' "$1" > "$2" && chmod 755 "$2""#, "sh", line])
            .arg(&path);
        ensure!(writer.status()?.success(), "{} could not be written", path.display());
        Ok(path)
    }

    /// Our program, to download from these seeders.
    pub(super) fn download(&self, name: &str, payload: &Payload, from: &[&Witness]) -> Result<Download> {
        let place = self.place(name)?;
        let dir = place.home.join("download");
        fs::create_dir_all(&dir)?;
        let peers = from.iter().flat_map(|seeder| ["--peer".to_owned(), seeder.address()]);
        let options = ["--no-trackers".to_owned()].into_iter().chain(peers).collect();
        Ok(Download { place, dir, options, torrent: payload.torrent.clone() })
    }
}

/// A block that a client asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) at: SystemTime,
    pub(super) piece: u32,
    pub(super) begin: u64,
    pub(super) length: u64,
}

/// libtorrent as a seeder with a memory.
pub(super) struct Witness {
    seeder: Libtorrent,
    /// What `witness.py` writes.
    requests: PathBuf,
    /// How much of it was read.
    at: u64,
    /// Peers that came and did not go.
    visitors: i64,
}

impl Witness {
    /// Where it is reached.
    pub(super) fn address(&self) -> String {
        self.seeder.peer_address().to_string()
    }

    /// What it was asked for since the last call.
    pub(super) fn requests(&mut self) -> Result<Vec<Request>> {
        let mut file = BufReader::new(File::open(&self.requests).context("the seeder's notes")?);
        file.seek(SeekFrom::Start(self.at))?;
        let (mut requests, mut line) = (Vec::new(), String::new());
        while file.read_line(&mut line)? > 0 && line.ends_with('\n') {
            self.at += line.len() as u64;
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                [_, "connect"] => self.visitors += 1,
                [_, "gone"] => self.visitors -= 1,
                [at, piece, begin, length] => requests.push(Request {
                    at: SystemTime::UNIX_EPOCH + Duration::from_secs_f64(at.parse()?),
                    piece: piece.parse()?,
                    begin: begin.parse()?,
                    length: length.parse()?,
                }),
                _ => bail!("the seeder noted {line:?}"),
            }
            line.clear();
        }
        Ok(requests)
    }

    /// What it was still asked for until the last peer had gone.
    pub(super) fn last_requests(&mut self) -> Result<Vec<Request>> {
        let mut requests = Vec::new();
        lab::wait_until(PATIENCE, "the seeder to notice that its peer has gone", || {
            requests.append(&mut self.requests()?);
            Ok(self.visitors <= 0)
        })?;
        Ok(requests)
    }

    /// Payload bytes it has sent, once that number is at rest.
    pub(super) fn sent(&mut self) -> Result<u64> {
        const QUIET: u32 = 25;
        let (mut count, mut looks) = (self.seeder.state()?.uploaded, 0);
        lab::wait_until(PATIENCE, "the seeder to come to rest", || {
            let new = self.seeder.state()?.uploaded;
            looks = if new == count { looks + 1 } else { 0 };
            count = new;
            Ok(QUIET <= looks)
        })?;
        Ok(count)
    }

    /// Ends it.
    pub(super) fn stop(&mut self) {
        self.seeder.stop();
    }
}

/// Our program over one folder.
#[derive(Clone)]
pub(super) struct Download {
    pub(super) place: Place,
    /// Where the files go.
    pub(super) dir: PathBuf,
    /// Of the command line.
    pub(super) options: Vec<String>,
    pub(super) torrent: PathBuf,
}

impl Download {
    /// Starts it; it will end when it has everything.
    pub(super) fn start(&self) -> Result<Life> {
        let mut client = Ferriswarm::new(self.place.clone()).with_options(&self.options).ending_when_done();
        client.start_leech(&self.torrent, &self.dir)?;
        Ok(Life(client))
    }

    /// Where what must survive a restart is kept.
    pub(super) fn state_dir(&self) -> PathBuf {
        self.place.home.join("state")
    }

    /// The torrent's own part of it.
    pub(super) fn state_folder(&self) -> Result<PathBuf> {
        Ok(self.state_dir().join("torrents").join(info_hash(&self.torrent)?))
    }

    /// Runs it to its end and compares the files.
    pub(super) fn finish(&self, payload: &Payload) -> Result<Life> {
        let mut life = self.start()?;
        life.done(PATIENCE)?;
        payload.compare(&self.dir, false).context("what was written")?;
        Ok(life)
    }
}

/// One run of our program.
pub(super) struct Life(Ferriswarm);

impl Life {
    /// Waits until it is done and has ended in order.
    pub(super) fn done(&mut self, limit: Duration) -> Result<()> {
        self.0.wait_done(limit)?;
        let (code, said) = self.ended(PATIENCE)?;
        ensure!(code == 0, "exit code 0 was expected after the end, {code} was seen\n{said}");
        Ok(())
    }

    /// Waits until it ends: its exit code and what it said.
    pub(super) fn ended(&mut self, limit: Duration) -> Result<(i32, String)> {
        let process = self.process()?;
        let status = process.wait(limit)?;
        let said = process.log_tail();
        Ok((status.code().with_context(|| format!("it was killed: {status}"))?, said))
    }

    /// `kill -9`.
    pub(super) fn kill(&mut self) -> Result<()> {
        self.process()?.kill();
        Ok(())
    }

    /// Ctrl-C: its exit code and what it said.
    pub(super) fn interrupt(&mut self) -> Result<(i32, String)> {
        self.process()?.signal(rustix::process::Signal::INT);
        self.ended(PATIENCE)
    }

    /// Whether it has ended.
    pub(super) fn has_ended(&mut self) -> Result<bool> {
        Ok(self.process()?.exit_status()?.is_some())
    }

    /// What it printed so far.
    pub(super) fn events(&self) -> Result<Vec<Value>> {
        self.0.events()
    }

    /// Waits for something it prints; `what` completes "waited 30 s for ...".
    pub(super) fn wait_for(
        &mut self,
        limit: Duration,
        what: &str,
        is_it: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let mut found = None;
        let outcome = lab::wait_until(limit, what, || {
            let ended = self.has_ended()?;
            found = self.events()?.into_iter().find(|event| is_it(event));
            ensure!(found.is_some() || !ended, "it ended; expected was {what}");
            Ok(found.is_some())
        });
        match (outcome, found) {
            (Ok(()), Some(event)) => Ok(event),
            (outcome, _) => {
                let log = self.process()?.log_tail();
                bail!("{:#}\n{log}", outcome.err().context("nothing was found")?)
            }
        }
    }

    /// The end of its log.
    pub(super) fn log(&mut self) -> Result<String> {
        Ok(self.process()?.log_tail())
    }

    fn process(&mut self) -> Result<&mut lab::Process> {
        self.0.process().context("it was started")
    }
}

/// Pieces that a life verified.
pub(super) fn verified(events: &[Value]) -> impl Iterator<Item = u32> + '_ {
    let pieces = events.iter().filter(|event| event["event"] == "piece" && event["ok"] == true);
    pieces.filter_map(|event| u32::try_from(event["piece"].as_u64()?).ok())
}

/// What a life wanted to be read once.
pub(super) fn notes(events: &[Value]) -> Vec<String> {
    let notes = events.iter().filter(|event| event["event"] == "note");
    notes.filter_map(|event| Some(event["message"].as_str()?.to_owned())).collect()
}
