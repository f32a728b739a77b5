//! Views become the lines of a small table that fits the terminal: name, bar, percent, sizes, and behind them how it goes.
//!
//! What there is room for is decided once for all lines, so that they stand below each other: see [`STEPS`].

use super::bar::{Charset, bar};
use super::view::{Doing, View};
use crate::text::{shorten, width};
use crate::units;

/// What the lines have to fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) columns: usize,
    pub(crate) rows: usize,
}

/// At most this many torrents have a line of their own, however high the terminal is: more are no longer looked at.
const LINES_MAX: usize = 5;
/// A line more than this part of the terminal's height would push out what was said before.
const HEIGHT_SHARE: usize = 3;

/// The lines of `views`, none as wide as the terminal, and the sum of all when there are several.
pub(crate) fn lines(size: Size, charset: Charset, views: &[View]) -> Vec<String> {
    let mut shown: Vec<View> = {
        let mut order: Vec<&View> = views.iter().collect();
        // Torrents at work come before those that are done.
        order.sort_by_key(|view| view.is_complete());
        order.into_iter().cloned().collect()
    };
    if 1 < views.len() {
        let mut total = View::total(views);
        let share = (size.rows / HEIGHT_SHARE).max(1);
        shown.truncate(LINES_MAX.min(share.saturating_sub(1)));
        if shown.len() < views.len() && !shown.is_empty() {
            total.name = format!("all {}, {} not shown", views.len(), views.len() - shown.len());
        }
        shown.push(total);
    }
    // The last column stays free: many terminals wrap when it is written.
    let room = size.columns.saturating_sub(1);
    let table = Table::fitting(room, &shown);
    let lines = shown.iter().map(|view| table.line(room, charset, view));
    match charset {
        Charset::Unicode => lines.collect(),
        // As wide as what they stand for.
        Charset::Ascii => {
            lines.map(|line| line.replace('↓', "v").replace('↑', "^").replace('…', "~")).collect()
        }
    }
}

/// The line of one view where there is no terminal to fit.
pub(crate) fn plain_line(columns: usize, view: &View) -> String {
    let table = Table { bar: 0, ..Table::fitting(columns, std::slice::from_ref(view)) };
    table.line(columns, Charset::Unicode, view)
}

/// Columns of each part; 0 is not shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Table {
    name: usize,
    bar: usize,
    percent: usize,
    sizes: usize,
    tail: usize,
    /// How much is told in the tail.
    level: Level,
}

/// How much is told behind the sizes; each level holds those before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    #[default]
    Nothing,
    /// The rate, or a word.
    Rate,
    /// When it ends, or a few words.
    Eta,
    Peers,
    /// The other direction.
    Up,
    Everything,
}

/// What becomes of the next free columns.
enum Step {
    /// The name has so many, or as many as there are.
    Name(usize),
    Bar(usize),
    Sizes,
    Tell(Level),
}

/// In the order of importance.
const STEPS: [Step; 14] = [
    // A shorter name is no longer recognised.
    Step::Name(10),
    Step::Tell(Level::Rate),
    Step::Bar(5),
    Step::Tell(Level::Eta),
    Step::Name(20),
    Step::Sizes,
    Step::Tell(Level::Peers),
    Step::Bar(10),
    Step::Tell(Level::Up),
    Step::Name(32),
    Step::Tell(Level::Everything),
    Step::Bar(20),
    Step::Name(80),
    Step::Bar(40),
];

/// Between two parts.
const GAP: usize = 2;
/// `42.1%`, `100%`.
const PERCENT: usize = 5;
/// `↓ 38.2 MiB/s`, `↓ 1023 KiB/s`: as wide as they get, so that what follows does not move.
const RATE: usize = 12;
/// `1.2 GiB/s`, `1023 KiB/s`.
const WORK_RATE: usize = 10;
/// `peers 31`.
const PEERS: usize = 8;

impl Table {
    fn fitting(room: usize, views: &[View]) -> Self {
        let is_moving = |view: &View| view.done.is_some() && !view.is_complete();
        let percent = if views.iter().any(is_moving) { PERCENT } else { 0 };
        let mut table = Self { percent, ..Self::default() };
        let longest = views.iter().map(|view| width(&view.name)).max().unwrap_or(0);
        let sizes = views.iter().map(|view| sizes_max(view, percent)).max().unwrap_or(0);
        for step in STEPS {
            let free = room.saturating_sub(table.used());
            let gap = |columns: usize| if columns == 0 { GAP } else { 0 };
            match step {
                Step::Name(columns) => {
                    let wanted = columns.min(longest).saturating_sub(table.name);
                    let free = free.saturating_sub(gap(table.name));
                    table.name += wanted.min(free);
                }
                Step::Bar(columns) if 0 < table.percent => {
                    let free = free.saturating_sub(gap(table.bar));
                    let grown = columns.min(table.bar + free).max(table.bar);
                    // A bar of a few columns tells nothing.
                    table.bar = if grown < BAR_MIN { 0 } else { grown };
                }
                Step::Bar(_) => {}
                Step::Sizes if sizes + GAP <= free => table.sizes = sizes,
                Step::Sizes => {}
                Step::Tell(level) => {
                    let needed = views.iter().map(|view| width(&tail(view, level))).max().unwrap_or(0);
                    if needed.saturating_sub(table.tail) + gap(table.tail) <= free {
                        (table.level, table.tail) = (level, needed.max(table.tail));
                    }
                }
            }
        }
        table
    }

    /// Columns that are given away.
    fn used(&self) -> usize {
        let parts = [self.name, self.bar, self.percent, self.sizes, self.tail];
        let shown = parts.iter().filter(|columns| 0 < **columns).count();
        parts.iter().sum::<usize>() + GAP * shown.saturating_sub(1)
    }

    fn line(&self, room: usize, charset: Charset, view: &View) -> String {
        let mut parts = vec![pad(&shorten(&view.name, self.name), self.name)];
        if let Some((done, total)) = view.done {
            if 0 < self.bar {
                parts.push(bar(self.bar, done, total, charset));
            }
            if 0 < self.percent {
                parts.push(format!("{:>PERCENT$}", units::percent(done, total)));
            }
            if 0 < self.sizes {
                parts.push(format!("{:>1$}", sizes(view, self.percent), self.sizes));
            }
        }
        parts.retain(|part| !part.is_empty());
        let mut line = parts.join("  ");
        let free = room.saturating_sub(width(&line) + GAP);
        let told = self.tail(view, free);
        if !told.is_empty() {
            line.push_str("  ");
            line.push_str(&told);
        }
        shorten(line.trim_end(), room)
    }

    /// As much as there is room for. Words need not stand below each other.
    fn tail(&self, view: &View, free: usize) -> String {
        let levels: &[Level] = match view.doing {
            Doing::Says(_) => &[Level::Everything, Level::Up, Level::Peers, Level::Eta, Level::Rate],
            Doing::Flows | Doing::Serves | Doing::Works => &[self.level],
        };
        let told = levels.iter().map(|level| tail(view, *level)).find(|text| width(text.trim_end()) <= free);
        told.unwrap_or_else(|| shorten(&tail(view, Level::Rate), free))
    }
}

/// Fewer columns of a bar tell nothing.
const BAR_MIN: usize = 4;

fn sizes(view: &View, percent: usize) -> String {
    match view.done {
        None => String::new(),
        Some((_, total)) if percent == 0 || view.is_complete() => units::size(total),
        Some((done, total)) => units::size_of(done, total),
    }
}

/// As wide as it gets.
fn sizes_max(view: &View, percent: usize) -> usize {
    let widest = View { done: view.done.map(|(_, total)| (total, total)), ..view.clone() };
    width(&sizes(&widest, percent)).max(width(&sizes(view, percent)))
}

/// What is told behind the sizes. Parts that change have a width, so that those behind them stay where they are.
fn tail(view: &View, level: Level) -> String {
    let flow = &view.flow;
    let mut parts: Vec<String> = Vec::new();
    let mut tell = |from: Level, text: String| {
        if from <= level {
            parts.push(text);
        }
    };
    let down = || pad(&format!("↓ {}", units::rate(flow.down)), RATE);
    let up = || pad(&format!("↑ {}", units::rate(flow.up)), RATE);
    let ratio = flow.ratio.map(|ratio| format!("ratio {ratio:.2}"));
    match &view.doing {
        Doing::Flows => {
            tell(Level::Rate, down());
            tell(Level::Up, up());
            tell_peers(flow.peers, flow.seeds, level, &mut tell);
            if let Some(ratio) = ratio {
                tell(Level::Everything, ratio);
            }
            tell(Level::Eta, format!("ETA {}", flow.eta.map_or_else(|| "-".to_owned(), units::clock)));
        }
        Doing::Works => {
            tell(Level::Rate, pad(&units::rate(flow.down), WORK_RATE));
            tell(Level::Eta, format!("ETA {}", flow.eta.map_or_else(|| "-".to_owned(), units::clock)));
        }
        Doing::Serves => {
            tell(Level::Rate, "seeding".to_owned());
            tell(Level::Eta, up());
            tell_peers(flow.peers, flow.seeds, level, &mut tell);
            tell(Level::Up, format!("sent {}", units::size(flow.sent)));
            if let Some(ratio) = ratio {
                tell(Level::Everything, ratio);
            }
        }
        Doing::Says(words) => {
            let more = match level {
                Level::Nothing | Level::Rate => 0,
                Level::Eta => 1,
                Level::Peers | Level::Up | Level::Everything => 2,
            };
            if let Some(words) = words.get(more).or_else(|| words.last()) {
                tell(Level::Rate, words.clone());
            }
            if 0 < flow.down {
                tell(Level::Up, down());
            }
            if 0 < flow.up {
                tell(Level::Up, up());
            }
            if flow.peers != Some(0) {
                tell_peers(flow.peers, 0, level, &mut tell);
            }
            if let Some(lasts) = flow.lasts {
                tell(Level::Eta, units::clock(lasts));
            }
        }
    }
    parts.join("  ")
}

fn tell_peers(peers: Option<usize>, seeds: usize, level: Level, tell: &mut impl FnMut(Level, String)) {
    let Some(peers) = peers else { return };
    let text = match seeds as u64 {
        seeds @ 1.. if level == Level::Everything => {
            format!("peers {peers} ({})", units::count(seeds, "seed", "seeds"))
        }
        _ => format!("peers {peers}"),
    };
    tell(Level::Peers, pad(&text, PEERS));
}

fn pad(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(width(text))))
}
