//! One module a command; the smallest ones are here.

pub(crate) mod create;
#[cfg(feature = "tracker-server")]
pub(crate) mod demo;
#[cfg(feature = "dht")]
pub(crate) mod dht;
pub(crate) mod get;
pub(crate) mod magnet;
pub(crate) mod replay;
pub(crate) mod show;
pub(crate) mod torrent;
#[cfg(feature = "tracker-server")]
pub(crate) mod tracker;
pub(crate) mod verify;

use std::io;

use clap::CommandFactory;
use clap_complete::Shell;
use ferri_metainfo::display::redact_addresses;
use ferri_metainfo::magnet::Magnet;
use percent_encoding::percent_decode_str;

use crate::args::Cli;
use crate::console::Console;
use crate::env::Env;
use crate::events::JsonEvent;
use crate::exit::{Exit, Failure};
use crate::facts::without_addresses;
use crate::text;

/// After a clean stop on Ctrl-C: what is safe, and how to go on.
pub(crate) fn stopped(env: &Env, console: &Console, what: &str) {
    let words: Vec<_> = env.args.iter().map(|word| word.to_string_lossy()).collect();
    let shown: Vec<_> = words.iter().map(|word| without_secrets(word)).collect();
    let command = text::shell_quote(shown.iter().map(String::as_str));
    console.event(&JsonEvent::Stopped { command: &command });
    let is_whole = words.iter().zip(&shown).all(|(word, shown)| word == shown);
    let how = if is_whole { "" } else { " (with what you typed for ***)" };
    console.line(&format!("stopped: {what}. To continue{how}:"));
    console.line(&format!("  {}", text::harmless(&command)));
}

/// A word of the command line as it may stand in a log.
fn without_secrets(word: &str) -> String {
    if !Magnet::is_meant(word) {
        return redact_addresses(word);
    }
    match Magnet::parse(word) {
        _ if !tells_secrets(word) => word.to_owned(),
        Ok(magnet) => without_addresses(&magnet.to_string()),
        Err(_) => "magnet:?***".to_owned(),
    }
}

/// Whether one of a link's parameters is an address with something in it that is not shown.
fn tells_secrets(link: &str) -> bool {
    // Once as it should be, and once more by the program that passed the link on.
    let once = percent_decode_str(link).decode_utf8_lossy().into_owned();
    let twice = percent_decode_str(&once).decode_utf8_lossy().into_owned();
    twice.split('&').any(|parameter| redact_addresses(parameter) != parameter)
}

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
    let mut page = roff(|page| clap_mangen::Man::new(program.clone()).render(page));
    for command in program.get_subcommands() {
        let name = command.get_name();
        // There is no page of its own to refer to: the command is described below.
        page = page.replace(&format!("ferriswarm\\-{name}(1)"), &format!("ferriswarm {name}"));
        page.push_str(&described(command, &format!("FERRISWARM {}", name.to_uppercase())));
        for part in command.get_subcommands() {
            let title = format!("FERRISWARM {name} {}", part.get_name()).to_uppercase();
            page.push_str(&described(part, &title));
        }
    }
    page.push_str(&json_lines());
    console.answer(&page)?;
    Ok(Exit::Done)
}

/// A section about one command.
fn described(command: &clap::Command, title: &str) -> String {
    let man = clap_mangen::Man::new(command.clone());
    let part = roff(|part| {
        man.render_synopsis_section(part)?;
        man.render_description_section(part)?;
        man.render_options_section(part)?;
        man.render_extra_section(part)
    });
    format!(".SH {title}\n{}", part.replace(".SH ", ".SS "))
}

/// The page about `--json`.
fn json_lines() -> String {
    let mut roff = String::from(".SH \"JSON LINES\"\n");
    let mut is_example = false;
    for line in include_str!("../../../docs/json.md").lines().skip(1) {
        if line.starts_with("```") {
            is_example = !is_example;
            roff.push_str(if is_example { ".nf\n" } else { ".fi\n" });
        } else if let Some(title) = line.strip_prefix("## ") {
            roff.push_str(&format!(".SS {}\n", title.to_uppercase()));
        } else if line.is_empty() {
            roff.push_str(".PP\n");
        } else {
            // A line must not begin with what roff takes for a request.
            roff.push_str(&format!("\\&{}\n", line.replace('\\', "\\e").replace('-', "\\-")));
        }
    }
    roff
}

/// What `render` writes.
fn roff(render: impl FnOnce(&mut dyn io::Write) -> io::Result<()>) -> String {
    let mut page = Vec::new();
    render(&mut page).expect("memory takes everything");
    titled(&String::from_utf8_lossy(&page))
}

/// What follows the options has a better name than the one it is given, and its lines are meant as they are.
fn titled(roff: &str) -> String {
    let Some((before, extra)) = roff.split_once(".SH EXTRA\n") else { return roff.to_owned() };
    let (extra, after) = extra.find("\n.SH ").map_or((extra, ""), |end| extra.split_at(end + 1));
    format!("{before}.SH \"EXAMPLES AND EXIT CODES\"\n.nf\n{}\n.fi\n{after}", extra.trim_end())
}
