//! One module a command; the smallest ones are here.

pub(crate) mod create;
pub(crate) mod demo;
pub(crate) mod get;
pub(crate) mod show;
pub(crate) mod tracker;
pub(crate) mod verify;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Cli;
use crate::console::Console;
use crate::exit::{Exit, Failure};

pub(crate) fn completions(console: &Console, shell: Shell) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "ferriswarm", &mut script);
    console.answer(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}

/// One page for the program and all its commands.
pub(crate) fn man(console: &Console) -> Result<Exit, Failure> {
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    let mut page = Vec::new();
    clap_mangen::Man::new(program.clone()).render(&mut page)?;
    for command in program.get_subcommands().filter(|command| command.get_name() != "help") {
        let mut part = Vec::new();
        let man = clap_mangen::Man::new(command.clone());
        let name = format!("ferriswarm {}", command.get_name()).to_uppercase();
        part.extend(format!(".SH {}\n", name.replace('-', "\\-")).into_bytes());
        man.render_synopsis_section(&mut part)?;
        man.render_description_section(&mut part)?;
        man.render_options_section(&mut part)?;
        man.render_extra_section(&mut part)?;
        page.extend(demoted(&String::from_utf8_lossy(&part)).into_bytes());
    }
    console.answer(&String::from_utf8_lossy(&page))?;
    Ok(Exit::Done)
}

/// A command's sections become sub-sections of its own; the first heading stays.
fn demoted(part: &str) -> String {
    let mut lines = part.lines();
    let mut out = lines.next().map_or_else(String::new, |first| format!("{first}\n"));
    for line in lines {
        match line.strip_prefix(".SH ") {
            Some(title) => out.push_str(&format!(".SS {title}\n")),
            None => out.push_str(&format!("{line}\n")),
        }
    }
    out
}
