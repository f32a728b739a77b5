//! Where figures come from: the machine, the programs and their versions, the command.

use std::fs;
use std::process::Command;

use anyhow::Result;

use super::Options;
use super::scenario::Scenario;
use crate::clients::{Kind, Tools};

/// What stands above everything in BENCHMARKS.md.
pub(super) fn introduction(tools: &Tools) -> String {
    let mut text = String::from(
        "# Measurements\n\n\
         Whole processes, one at a time, in network namespaces; the other end is `ferri-bench`, which is cheaper than \
         any client. Medians of runs in turns, with the least and the most of them; memory is touched before each. \
         Ratios within a table mean something; figures of two tables do not compare. One whose goal is not at stake may \
         run once; one that takes twice the time and twice the processor time of another client, or five times the time, runs \
         twice.\n\n\
         `floor` is not a client: it does the least that the work can take (payload read straight into the piece, \
         pieces hashed together, one write each; uploads by `sendfile`).\n\n",
    );
    for kind in Kind::MEASURED.into_iter().chain([Kind::Mktorrent]) {
        text.push_str(&format!("- {kind}: {}\n", version(kind, tools)));
    }
    text
}

/// The head of a scenario's section: what is shown, and how it was measured.
///
/// # Errors
/// When the machine does not say what it is.
pub(super) fn head(scenario: Scenario, options: &Options) -> Result<String> {
    Ok(format!(
        "## {}\n\n{}\n\nMade by `cargo xtask bench {}` on {}: {}.\n\n",
        scenario.name(),
        scenario.description(),
        options.words.join(" "),
        first_line(Command::new("date").args(["-u", "+%Y-%m-%d"])),
        machine()?,
    ))
}

fn machine() -> Result<String> {
    let cpu = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": a processor");
    let model = model.trim_start_matches([' ', '\t', ':']);
    let cores = std::thread::available_parallelism()?;
    let memory = fs::read_to_string("/proc/meminfo")?;
    let kib: u64 = memory.split_whitespace().nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    Ok(format!("{cores} cores of {model}, {} GiB of memory, Linux {}", kib >> 20, kernel.trim()))
}

fn version(kind: Kind, tools: &Tools) -> String {
    let ask = |program: &str, word: &str| first_line(Command::new(program).arg(word));
    match kind {
        Kind::Ferriswarm => first_line(Command::new(&tools.ferriswarm).arg("--version")),
        Kind::Earlier => "another build of this program".into(),
        Kind::Floor | Kind::PlainTcp => first_line(Command::new(&tools.ferri_bench).arg("--version")),
        Kind::Rqbit => first_line(Command::new(&tools.rqbit).arg("--version")),
        Kind::Libtorrent | Kind::LibtorrentHp => {
            let script = "import libtorrent; print('libtorrent', libtorrent.__version__)";
            let version = first_line(Command::new(&tools.python).args(["-c", script]));
            let preset = if kind == Kind::Libtorrent { "default settings" } else { "high_performance_seed" };
            format!("{version}, {preset}")
        }
        Kind::Transmission => ask("transmission-daemon", "--version"),
        Kind::Aria2 => ask("aria2c", "--version"),
        Kind::Qbittorrent => ask("qbittorrent-nox", "--version"),
        Kind::Rtorrent => ask("rtorrent", "-h"),
        Kind::Mktorrent => ask("mktorrent", "-h"),
    }
}

/// The first line that a program prints, wherever.
fn first_line(command: &mut Command) -> String {
    let Ok(output) = command.output() else { return "?".into() };
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).lines().next().unwrap_or("?").trim().to_owned()
}
