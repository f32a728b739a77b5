//! BENCHMARKS.md: an introduction, the goals, and a section for each scenario.
//!
//! A scenario that is measured again replaces its own section and nothing else. The goals are collected from the tables
//! at the sections' ends, so a section that was written by hand may have some too; why one is missed is said in
//! `xtask/assets/reasons.md`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::goals::{Goal, Verdict};
use super::scenario::Scenario;

/// The section that is made of the others.
const GOALS: &str = "goals";

const UNKNOWN: &str = "no reason is known yet";

/// The document in its parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Document {
    /// What stands before the first section.
    pub(super) introduction: String,
    /// Names and texts, headings included; without the goals.
    sections: Vec<(String, String)>,
}

impl Document {
    /// The document at `path`; empty when there is none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn read(path: &Path) -> Result<Self> {
        match fs::read_to_string(path) {
            Ok(text) => Ok(Self::parse(&text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
        }
    }

    fn parse(text: &str) -> Self {
        let mut document = Self::default();
        for line in text.split_inclusive('\n') {
            if let Some(name) = line.strip_prefix("## ") {
                document.sections.push((name.trim().to_owned(), String::new()));
            }
            match document.sections.last_mut() {
                Some((_, section)) => section.push_str(line),
                None => document.introduction.push_str(line),
            }
        }
        document.sections.retain(|(name, _)| name != GOALS);
        document
    }

    /// Puts a section in the place of the one with this name, or where it belongs: scenarios in their order, then the rest.
    pub(super) fn replace(&mut self, name: &str, text: String) {
        match self.sections.iter_mut().find(|(known, _)| known == name) {
            Some((_, section)) => *section = text,
            None => self.sections.push((name.to_owned(), text)),
        }
        let place = |name: &str| Scenario::ALL.iter().position(|scenario| scenario.name() == name);
        self.sections.sort_by_key(|(name, _)| place(name).unwrap_or(usize::MAX));
    }

    /// All goals of all sections, in their order.
    pub(super) fn goals(&self) -> Vec<Goal> {
        let tables = self.sections.iter().filter_map(|(_, text)| text.split_once(Goal::HEAD));
        tables.flat_map(|(_, rows)| rows.lines().map_while(Goal::parse)).collect()
    }

    /// The whole text.
    pub(super) fn render(&self, reasons: &Reasons) -> String {
        let parts = [&self.introduction, &table(&self.goals(), reasons)];
        let sections = self.sections.iter().map(|(_, section)| section);
        let parts = parts.into_iter().chain(sections).map(|part| part.trim()).filter(|part| !part.is_empty());
        wrapped(&parts.collect::<Vec<_>>().join("\n\n")) + "\n"
    }
}

/// Columns of a line of prose.
const COLUMNS: usize = 118;

/// The text with its prose wrapped. Headings and rows of tables stay as they are.
fn wrapped(text: &str) -> String {
    let wrap = |line: &str| -> String {
        if line.starts_with(['|', '#']) || line.chars().count() <= COLUMNS {
            return line.to_owned();
        }
        let indent = if line.starts_with("- ") { "  " } else { "" };
        let mut lines = vec![String::new()];
        for word in line.split_whitespace() {
            let last = lines.last_mut().expect("there is one from the start");
            if last.is_empty() {
                last.push_str(word);
            } else if last.chars().count() + 1 + word.chars().count() <= COLUMNS {
                *last += " ";
                *last += word;
            } else {
                lines.push(format!("{indent}{word}"));
            }
        }
        lines.join("\n")
    };
    text.lines().map(wrap).collect::<Vec<_>>().join("\n")
}

/// The section about the goals; empty when there are none.
pub(super) fn table(goals: &[Goal], reasons: &Reasons) -> String {
    if goals.is_empty() {
        return String::new();
    }
    let count = |verdict| goals.iter().filter(|goal| goal.verdict == verdict).count();
    let mut text = format!(
        "## {GOALS}\n\n{} are met, {} are missed, {} are not measured.\n\n\
         | goal | for | wanted | figure | result | why |\n|---|---|---|---|---|---|\n",
        count(Verdict::Met),
        count(Verdict::Missed),
        count(Verdict::NotMeasured),
    );
    for goal in goals {
        let why = if goal.verdict == Verdict::Missed { reasons.of(goal) } else { "" };
        text.push_str(&format!("{goal} {why} |\n"));
    }
    text
}

/// Why goals are missed, by their keys.
#[derive(Debug, Default)]
pub(super) struct Reasons(Vec<(String, String)>);

impl Reasons {
    /// From the tree at `root`.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn read(root: &Path) -> Result<Self> {
        let path = root.join("xtask/assets/reasons.md");
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        Ok(Self::parse(&text))
    }

    /// A reason is a heading (`## key`, or `## key, case`) and the text below it.
    fn parse(text: &str) -> Self {
        let mut reasons: Vec<(String, String)> = Vec::new();
        for line in text.lines() {
            if let Some(key) = line.strip_prefix("## ") {
                reasons.push((key.trim().to_owned(), String::new()));
            } else if let Some((_, reason)) = reasons.last_mut() {
                let words = line.split_whitespace().flat_map(|word| [" ", word]);
                reason.extend(words);
            }
        }
        for (_, reason) in &mut reasons {
            *reason = reason.trim().replace('|', "/");
        }
        Self(reasons)
    }

    /// The reason for just this case, or for all cases of the goal.
    fn of(&self, goal: &Goal) -> &str {
        let find = |key: &str| self.0.iter().find(|(known, reason)| known == key && !reason.is_empty());
        let found = find(&format!("{}, {}", goal.key, goal.case)).or_else(|| find(&goal.key));
        found.map_or(UNKNOWN, |(_, reason)| reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(name: &str, goals: &[Goal]) -> String {
        let rows: Vec<String> = goals.iter().map(ToString::to_string).collect();
        format!("## {name}\n\nfigures of {name}\n\n{}{}\n", Goal::HEAD, rows.join("\n"))
    }

    fn goal(key: &str, figure: f64) -> Goal {
        Goal::new(key, "1 MiB", Some(figure), "")
    }

    #[test]
    fn a_section_that_is_measured_again_replaces_itself_only() {
        let mut document = Document { introduction: "# Measurements\n".into(), ..Document::default() };
        document.replace("seed", section("seed", &[goal("seed-floor", 1.5)]));
        document.replace("crash", "## crash\n\nby hand\n".into());
        document.replace("leech", section("leech", &[goal("leech-memory", 30.0)]));
        let before = document.render(&Reasons::default());
        let mut again = Document::parse(&before);
        assert_eq!(again.render(&Reasons::default()), before, "reading and writing changes nothing");
        again.replace("leech", section("leech", &[goal("leech-memory", 20.0)]));
        let after = again.render(&Reasons::default());
        let order: Vec<&str> = after.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        assert_eq!(order, ["goals", "leech", "seed", "crash"]);
        assert!(
            before.contains("0 are met, 2 are missed") && after.contains("1 are met, 1 are missed"),
            "{after}"
        );
        assert!(after.contains("figures of seed") && after.contains("by hand"));
    }

    #[test]
    fn prose_is_wrapped_once_and_tables_never() {
        let words = "word ".repeat(40);
        let text = format!("## {words}\n\n- {words}\n| {words} |\n  kept indent\n");
        let once = wrapped(&text);
        assert!(
            once.lines().filter(|line| line.contains("- ") || line.starts_with("  ")).all(|l| l.len() <= 118)
        );
        assert_eq!(once.lines().count(), 6, "{once}");
        assert!(once.lines().nth(3).is_some_and(|line| line.starts_with("  word")), "{once}");
        assert_eq!(wrapped(&once), once);
    }

    #[test]
    fn a_missed_goal_says_why() {
        let text = "# Why\n\n## leech-memory\n\nfor\nall | cases\n\n## leech-memory, 4 MiB\njust here\n## seed-floor\n";
        let reasons = Reasons::parse(text);
        assert_eq!(reasons.of(&goal("leech-memory", 30.0)), "for all / cases");
        let four = Goal { case: "4 MiB".into(), ..goal("leech-memory", 30.0) };
        assert_eq!(reasons.of(&four), "just here");
        assert_eq!(reasons.of(&goal("seed-floor", 2.0)), UNKNOWN, "an empty reason is none");
        let text = table(&[goal("leech-memory", 30.0), goal("leech-memory", 3.0)], &reasons);
        assert_eq!(text.matches("for all").count(), 1, "a goal that is met needs no reason: {text}");
    }
}
