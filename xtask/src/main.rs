//! Development tasks: `cargo xtask test` is the gate, `cargo xtask bench` measures.

mod clients;
mod http;
mod interop;
mod lab;
mod report;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use clients::{Kind, Tools};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(code) => code,
        Err(error) => {
            report::say(&format!("xtask: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result<ExitCode> {
    match args.first().map(String::as_str) {
        Some("interop") => {
            if !lab::is_inside() {
                return Ok(if lab::enter(args)?.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
            }
            let root = root()?;
            let target =
                std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
            let hub = match args.iter().position(|a| a == "--hub") {
                Some(i) => args[i + 1].parse()?,
                None => Kind::Ferriswarm,
            };
            let filter = args.iter().position(|a| a == "--filter").map(|i| args[i + 1].clone());
            let tally = interop::run(interop::Options {
                work: target.join("interop"),
                tools: Tools::new(&root, &target),
                hub,
                filter,
            })?;
            report::say(&format!("{} passed, {} failed", tally.passed, tally.failed));
            Ok(ExitCode::SUCCESS)
        }
        _ => bail!("usage"),
    }
}

fn root() -> Result<PathBuf> {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned).context("xtask lies in the workspace")
}
