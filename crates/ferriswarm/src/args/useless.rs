//! Flags that do nothing beside others are refused: the user who typed one expects something of it.

use std::ffi::OsStr;

use clap::ArgMatches;
use clap::parser::ValueSource;

use crate::exit::Failure;
use crate::loading::is_far;

/// When a flag does nothing.
enum When {
    /// Always, for this command.
    Always,
    /// Without this flag.
    Without(&'static str),
    /// Without either of these.
    WithoutBoth(&'static str, &'static str),
    /// The same, unless the source is fetched from a server.
    NearWithoutBoth(&'static str, &'static str),
    /// While none of the values of these arguments is fetched from a server.
    Near(&'static [&'static str]),
    /// With this one.
    With(&'static str),
    /// With this one at this value.
    At(&'static str, &'static str),
}

struct Rule {
    command: &'static str,
    flags: &'static [&'static str],
    when: When,
    why: &'static str,
}

/// All that say how to find peers and how to talk with them. What an earlier run kept is looked for in the state folder,
/// so that its flag is none of them.
const NETWORK: [&str; 14] = [
    "port",
    "encryption",
    "no_trackers",
    "peer",
    "down",
    "up",
    "no_dht",
    "no_pex",
    "no_lsd",
    "no_port_mapping",
    "dht_port",
    "dht_router",
    "max_peers",
    "memory",
];

const RULES: [Rule; 14] = [
    Rule {
        command: "show",
        flags: &NETWORK,
        when: When::Without("fetch"),
        why: "peers are not asked without --fetch",
    },
    Rule {
        command: "show",
        flags: &["tracker"],
        when: When::WithoutBoth("fetch", "scrape"),
        why: NOTHING_ASKED,
    },
    Rule {
        command: "show",
        flags: &["bind"],
        when: When::NearWithoutBoth("fetch", "scrape"),
        why: NOTHING_ASKED,
    },
    Rule { command: "magnet", flags: &["bind"], when: When::Near(&["source"]), why: NOTHING_FETCHED },
    Rule { command: "verify", flags: &["bind"], when: When::Near(&["words"]), why: NOTHING_FETCHED },
    Rule { command: "tracker", flags: &["bind"], when: When::Near(&["allow", "deny"]), why: NOTHING_FETCHED },
    Rule { command: "show", flags: &["down", "up", "memory"], when: When::Always, why: NO_DATA },
    Rule { command: "torrent", flags: &["down", "up", "memory"], when: When::Always, why: NO_DATA },
    Rule { command: "seed", flags: &["down"], when: When::Always, why: "a seeder downloads nothing" },
    Rule { command: "create", flags: &["force"], when: When::At("output", "-"), why: NO_FILE },
    Rule { command: "torrent", flags: &["force"], when: When::At("output", "-"), why: NO_FILE },
    Rule { command: "get", flags: &["progress"], when: When::With("quiet"), why: QUIET },
    Rule { command: "seed", flags: &["progress"], when: When::With("quiet"), why: QUIET },
    Rule { command: "demo", flags: &["explain"], when: When::With("quiet"), why: QUIET },
];

const NOTHING_ASKED: &str = "no peer and no tracker is asked without --fetch or --scrape";
const NOTHING_FETCHED: &str = "nothing is fetched from an http(s) address";
const NO_DATA: &str = "nothing but the description is fetched, and nothing sent";
const NO_FILE: &str = "standard output replaces no file";
const QUIET: &str = "--quiet prints failures only";

/// Fails when something was typed that does nothing.
///
/// # Errors
/// Names the flag, why it does nothing, and what to do.
pub(crate) fn refuse(matches: &ArgMatches) -> Result<(), Failure> {
    let Some((command, typed)) = matches.subcommand() else { return Ok(()) };
    for rule in RULES.iter().filter(|rule| rule.command == command) {
        let does_nothing = match rule.when {
            When::Always => true,
            When::Without(flag) => !is_typed(typed, flag),
            When::WithoutBoth(one, other) => !is_typed(typed, one) && !is_typed(typed, other),
            When::NearWithoutBoth(one, other) => {
                let is_far = has_raw(typed, "source", is_far);
                !is_far && !is_typed(typed, one) && !is_typed(typed, other)
            }
            When::Near(sources) => !sources.iter().any(|name| has_raw(typed, name, is_far)),
            When::With(flag) => is_typed(typed, flag),
            When::At(flag, value) => has_raw(typed, flag, |raw| raw == value),
        };
        if let Some(flag) = rule.flags.iter().find(|flag| does_nothing && is_typed(typed, flag)) {
            let flag = format!("--{}", flag.replace('_', "-"));
            let failure = Failure::usage(format!("{flag} does nothing here: {}", rule.why));
            return Err(match rule.when {
                When::WithoutBoth(one, other) | When::NearWithoutBoth(one, other) => {
                    failure.hint(format!("add --{one} or --{other}, or leave {flag} away"))
                }
                When::Without(other) => failure.hint(format!("add --{other}, or leave {flag} away")),
                _ => failure.hint(format!("leave {flag} away")),
            });
        }
    }
    Ok(())
}

fn has_raw(matches: &ArgMatches, name: &str, is_it: impl Fn(&OsStr) -> bool) -> bool {
    matches.try_get_raw(name).ok().flatten().is_some_and(|mut values| values.any(is_it))
}

fn is_typed(matches: &ArgMatches, flag: &str) -> bool {
    // A flag that this command does not have was not typed.
    matches.try_contains_id(flag).unwrap_or(false)
        && matches.value_source(flag) == Some(ValueSource::CommandLine)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use clap::CommandFactory;

    use super::*;
    use crate::args::Cli;

    fn refused(line: &str) -> Option<Failure> {
        let words = std::iter::once("ferriswarm").chain(line.split(' '));
        refuse(&Cli::command().try_get_matches_from(words).unwrap()).err()
    }

    #[test]
    fn flags_that_do_nothing_are_refused_with_a_word() {
        let cases = [
            ("show a --peer 127.0.0.1:1", "--peer", "add --fetch"),
            ("show a --no-dht", "--no-dht", "add --fetch"),
            ("show a --scrape --no-dht", "--no-dht", "add --fetch"),
            ("show a --tracker http://t/announce", "--tracker", "add --fetch or --scrape"),
            ("show a --bind 127.0.0.1", "--bind", "add --fetch or --scrape"),
            ("magnet a --bind 127.0.0.1", "--bind", "leave --bind away"),
            ("verify a b --bind 127.0.0.1", "--bind", "leave --bind away"),
            ("tracker --allow a --bind 127.0.0.1", "--bind", "leave --bind away"),
            ("show a --fetch --down 1M", "--down", "leave --down away"),
            ("torrent a --up 1M", "--up", "leave --up away"),
            ("seed a --down 1M", "--down", "leave --down away"),
            ("create a -o - --force", "--force", "leave --force away"),
            ("torrent a -f -o -", "--force", "leave --force away"),
            ("get a --progress every:1s -q", "--progress", "leave --progress away"),
            ("demo --explain -q", "--explain", "leave --explain away"),
        ];
        for (line, flag, next) in cases {
            let failure = refused(line).unwrap_or_else(|| panic!("{line} is not refused"));
            assert!(
                failure.message.starts_with(&format!("{flag} does nothing here: ")),
                "{}",
                failure.message
            );
            assert!(failure.hint.unwrap().contains(next), "{line}");
        }
    }

    #[test]
    fn flags_that_do_something_are_not() {
        for line in [
            "show a",
            "show a --state-dir x",
            "show a --fetch --peer 127.0.0.1:1 --no-dht",
            "show a --scrape --tracker http://t/announce --bind 127.0.0.1",
            "show http://t/a --bind 127.0.0.1",
            "magnet http://t/a --bind 127.0.0.1",
            "verify a HTTPS://t/a --bind 127.0.0.1",
            "tracker --deny http://t/a --bind 127.0.0.1",
            "torrent a --no-dht",
            "torrent a -f -o x",
            "seed a --up 1M",
            "create a -o x --force",
            "get a --progress every:1s --down 1M",
            "get a -q",
            "demo --explain",
        ] {
            assert!(refused(line).is_none(), "{line}");
        }
    }

    #[test]
    fn every_rule_is_about_flags_that_exist() {
        let command = Cli::command();
        for rule in &RULES {
            let command = command.find_subcommand(rule.command).unwrap();
            let other = match rule.when {
                When::Always | When::With("quiet") => None,
                When::Near(sources) => sources.first().copied(),
                When::Without(flag) | When::With(flag) | When::At(flag, _) => Some(flag),
                When::WithoutBoth(_, flag) | When::NearWithoutBoth(_, flag) => Some(flag),
            };
            for flag in rule.flags.iter().copied().chain(other) {
                assert!(command.get_arguments().any(|arg| arg.get_id() == flag), "{} {flag}", rule.command);
            }
        }
    }
}
