//! Our own program, as a person would start it, with `--json`.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde_json::Value;

use super::{Client, Discovery, PEER_PORT, Place};
use crate::lab::Process;

/// The driver; public to the kill test, which starts it many times over the same folder.
pub(crate) struct Ferriswarm {
    place: Place,
    process: Option<Process>,
    /// Options of a test's own.
    extra: Vec<String>,
    seeds_when_done: bool,
}

impl Ferriswarm {
    /// Not started; will serve when it has everything.
    pub(crate) fn new(place: Place) -> Self {
        Self { place, process: None, extra: Vec::new(), seeds_when_done: true }
    }

    /// Adds command line options.
    pub(crate) fn with_options<S: AsRef<str>>(mut self, options: &[S]) -> Self {
        self.extra.extend(options.iter().map(|option| option.as_ref().to_owned()));
        self
    }

    /// It will end when it has everything.
    pub(crate) fn ending_when_done(mut self) -> Self {
        self.seeds_when_done = false;
        self
    }

    /// The events it printed so far.
    ///
    /// # Errors
    /// When its output cannot be read or a whole line of it is not JSON.
    pub(crate) fn events(&self) -> Result<Vec<Value>> {
        let text = fs::read_to_string(self.output())?;
        let whole = text.rsplit_once('\n').map_or("", |(lines, _)| lines);
        whole
            .lines()
            .map(|line| serde_json::from_str(line).with_context(|| format!("not JSON: {line}")))
            .collect()
    }

    fn output(&self) -> PathBuf {
        self.place.home.join("events.jsonl")
    }

    fn start(&mut self, command: &mut Command) -> Result<()> {
        let log = self.place.log();
        command.stdout(File::create(self.output())?).stderr(File::create(&log)?);
        self.process = Some(Process::start_with_its_own_output(command, &log)?);
        Ok(())
    }

    fn subcommand(&self, name: &str, torrent: &Path) -> Command {
        let mut command = self.place.command(&self.place.tools.ferriswarm);
        let port = PEER_PORT.to_string();
        // Verbose, so that a failure's log says why peers went.
        command.args([name, "--json", "-v", "--port", &port]);
        command.args(["--bind", &self.place.host.peer_ip().to_string()]);
        command.arg("--state-dir").arg(self.place.home.join("state"));
        command.args(self.discovery()).args(&self.extra).arg(torrent);
        command
    }

    /// What of discovery is on and off.
    fn discovery(&self) -> Vec<String> {
        let Discovery { dht, pex, lsd, mapping } = self.place.discovery;
        let mut words = match dht {
            Some(router) => vec!["--dht-router".to_owned(), router.to_string()],
            None => vec!["--no-dht".to_owned()],
        };
        let switches = [(pex, "--no-pex"), (lsd, "--no-lsd"), (mapping, "--no-port-mapping")];
        words.extend(switches.iter().filter(|(is_on, _)| !is_on).map(|(_, word)| (*word).to_owned()));
        if let Some(rate) = self.place.upload_limit {
            words.extend(["--up".to_owned(), rate.to_string()]);
        }
        words
    }

    fn has(&self, event: &str) -> Result<bool> {
        Ok(self.events()?.iter().any(|line| line["event"] == event))
    }
}

impl Client for Ferriswarm {
    fn start_leech(&mut self, torrent: &Path, dir: &Path) -> Result<()> {
        let mut command = self.subcommand("get", torrent);
        command.args([OsStr::new("-o"), dir.as_os_str()]);
        if self.seeds_when_done {
            command.arg("--seed");
        }
        self.start(&mut command)
    }

    fn start_seed(&mut self, torrent: &Path, dir: &Path) -> Result<()> {
        let mut command = self.subcommand("seed", torrent);
        command.arg(dir);
        self.start(&mut command)
    }

    fn is_done(&mut self) -> Result<bool> {
        // A look at the process first: what it printed before it ended counts.
        let ended = self.process.as_mut().context("not started")?.exit_status()?;
        let done = self.has("done")? || self.has("seeding")?;
        match ended {
            Some(status) if !(status.success() && done) => bail!("ferriswarm ended early: {status}"),
            _ => Ok(done),
        }
    }

    fn has_piece(&mut self) -> Result<bool> {
        // It says `piece` for each, and a start that finds everything says only `done`.
        let is_good = |event: &Value| event["event"] == "piece" && event["ok"] == true;
        Ok(self.events()?.iter().any(is_good) || self.is_done()?)
    }

    fn stop(&mut self) {
        if let Some(process) = &mut self.process {
            process.stop(Signal::INT);
        }
    }

    fn process(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }
}
