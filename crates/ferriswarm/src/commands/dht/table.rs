//! `dht node`: a node by itself, and its routing table as it fills.

use std::time::Duration;

use ferri_engine::dht::{BucketStatus, Dht, Family, FamilyStatus, NodeStatus, Quality, TableNodeStatus};
use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval};

use super::{family_name, start};
use crate::args::dht::NodeArgs;
use crate::console::Console;
use crate::env::{Env, Interrupts};
use crate::exit::{Exit, Failure};
use crate::units;

/// How often a person sees news.
const LIVE_EVERY: Duration = Duration::from_secs(1);
/// Nodes of a full bucket (BEP 5).
const BUCKET_NODES: usize = 8;

pub(super) async fn run(
    env: &Env,
    console: &Console,
    args: &NodeArgs,
    interrupts: Interrupts,
) -> Result<Exit, Failure> {
    let node = start(env, &args.node).await?;
    let dht = node.dht().clone();
    console.line(&format!("DHT node on UDP port {}; Ctrl-C ends it", dht.udp_port()));
    let live = console.live_area();
    let mut ticks = interval(if console.is_live() { LIVE_EVERY } else { args.every.max(LIVE_EVERY) });
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = interrupts.pressed(1) => break,
            _ = ticks.tick() => {}
        }
        console.look_at_output();
        let Some(view) = View::of(&dht).await else { break };
        if console.is_json() {
            console.event(&view.facts("status"));
        } else if console.is_live() {
            live.set(view.rows());
        } else {
            for row in view.summary() {
                console.line(&row);
            }
        }
    }
    drop(live);
    if let Some(view) = View::of(&dht).await {
        console.event(&view.facts("stopped"));
        for row in view.rows().into_iter().chain(view.nodes()) {
            console.line(&row);
        }
    }
    node.shutdown().await;
    Ok(Exit::Done)
}

/// A node at one moment.
struct View {
    status: NodeStatus,
    tables: Vec<(FamilyStatus, Vec<BucketStatus>)>,
}

impl View {
    /// `None` when the node stopped.
    async fn of(dht: &Dht) -> Option<Self> {
        let status = dht.status().await?;
        let mut tables = Vec::new();
        for family in &status.families {
            tables.push((family.clone(), dht.buckets(family.family).await));
        }
        Some(Self { status, tables })
    }

    /// A line a family, and one of what went through.
    fn summary(&self) -> Vec<String> {
        let mut rows: Vec<String> = self.tables.iter().map(|(family, _)| describe(family)).collect();
        let counts = &self.status.counts;
        rows.push(format!(
            "queries: {} sent, {} answered, {} received; keeps {} of {}, {}",
            counts.queries_out,
            counts.answered,
            counts.queries_in,
            units::count(self.status.peers as u64, "peer", "peers"),
            units::count(self.status.torrents as u64, "torrent", "torrents"),
            units::count(self.status.items as u64, "value", "values"),
        ));
        rows
    }

    /// The same with a line a bucket.
    fn rows(&self) -> Vec<String> {
        let mut rows = Vec::new();
        for (family, buckets) in &self.tables {
            rows.push(describe(family));
            rows.extend(buckets.iter().map(bucket_row));
        }
        rows.extend(self.summary().pop());
        rows
    }

    /// A line a node.
    fn nodes(&self) -> Vec<String> {
        self.tables.iter().flat_map(|(_, buckets)| buckets.iter().flat_map(node_rows)).collect()
    }

    fn facts(&self, event: &'static str) -> Facts {
        let counts = &self.status.counts;
        Facts {
            event,
            read_only: self.status.read_only,
            torrents: self.status.torrents,
            peers: self.status.peers,
            items: self.status.items,
            queries_sent: counts.queries_out,
            queries_answered: counts.answered,
            queries_received: counts.queries_in,
            bytes_received: counts.bytes_in,
            bytes_sent: counts.bytes_out,
            families: self.tables.iter().map(|(family, buckets)| FamilyFacts::new(family, buckets)).collect(),
        }
    }
}

fn describe(family: &FamilyStatus) -> String {
    let state = if family.bootstrapped { "" } else { ", looking for others" };
    let size = match family.estimated_nodes {
        0 => String::new(),
        nodes => format!(" of about {nodes}"),
    };
    let seen = family.external.map_or_else(String::new, |ip| format!(", seen as {ip}"));
    format!(
        "{}  {}  {} good{size}, {} questionable{seen}{state}",
        family_name(family.family),
        family.id,
        units::count(family.good as u64, "node", "nodes"),
        family.questionable,
    )
}

/// `##++..--`: good, questionable, bad and free places.
fn bucket_row(bucket: &BucketStatus) -> String {
    let mut marks: Vec<char> = bucket.nodes.iter().map(|node| mark(node.quality)).collect();
    marks.sort_unstable();
    let marks: String = marks.into_iter().collect();
    let spare = match bucket.replacements {
        0 => String::new(),
        count => format!("  {count} in reserve"),
    };
    format!("  {:>3} bits  {marks:-<BUCKET_NODES$}{spare}", bucket.prefix)
}

/// A line for each node of a bucket.
fn node_rows(bucket: &BucketStatus) -> Vec<String> {
    let row = |node: &TableNodeStatus| {
        let fits = if node.id_fits { "" } else { "  its id does not fit its address" };
        let trip = node.round_trip.map_or_else(String::new, |time| format!("  {} ms", time.as_millis()));
        let (addr, quality) = (node.addr.to_string(), quality(node.quality));
        format!("  {:>3}  {}  {addr:<24} {quality}{trip}{fits}", bucket.prefix, node.id)
    };
    bucket.nodes.iter().map(row).collect()
}

fn mark(quality: Quality) -> char {
    match quality {
        Quality::Good => '#',
        Quality::Questionable => '+',
        Quality::Bad => '.',
    }
}

fn quality(quality: Quality) -> &'static str {
    match quality {
        Quality::Good => "good",
        Quality::Questionable => "questionable",
        Quality::Bad => "bad",
    }
}

/// A node in JSON.
#[derive(Debug, Serialize)]
struct Facts {
    event: &'static str,
    read_only: bool,
    torrents: usize,
    peers: usize,
    items: usize,
    queries_sent: u64,
    queries_answered: u64,
    queries_received: u64,
    bytes_received: u64,
    bytes_sent: u64,
    families: Vec<FamilyFacts>,
}

#[derive(Debug, Serialize)]
struct FamilyFacts {
    family: &'static str,
    id: String,
    external_ip: Option<String>,
    bootstrapped: bool,
    good: usize,
    questionable: usize,
    bad: usize,
    estimated_nodes: u64,
    nodes: Vec<NodeFacts>,
}

#[derive(Debug, Serialize)]
struct NodeFacts {
    id: String,
    addr: String,
    quality: &'static str,
    /// Leading bits that it shares with our id, as far as its bucket tells.
    prefix: u8,
    id_fits: bool,
    round_trip_ms: Option<u64>,
}

impl FamilyFacts {
    fn new(family: &FamilyStatus, buckets: &[BucketStatus]) -> Self {
        let nodes = buckets.iter().flat_map(|bucket| {
            bucket.nodes.iter().map(|node| NodeFacts {
                id: node.id.to_string(),
                addr: node.addr.to_string(),
                quality: quality(node.quality),
                prefix: bucket.prefix,
                id_fits: node.id_fits,
                round_trip_ms: node.round_trip.and_then(|time| u64::try_from(time.as_millis()).ok()),
            })
        });
        Self {
            family: match family.family {
                Family::V4 => "ipv4",
                Family::V6 => "ipv6",
            },
            id: family.id.to_string(),
            external_ip: family.external.map(|ip| ip.to_string()),
            bootstrapped: family.bootstrapped,
            good: family.good,
            questionable: family.questionable,
            bad: family.bad,
            estimated_nodes: family.estimated_nodes,
            nodes: nodes.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use ferri_engine::dht::NodeId;

    use super::*;

    #[test]
    fn a_bucket_shows_who_is_in_it_and_how_much_room_there_is() {
        let node = |quality| TableNodeStatus {
            id: NodeId::from([1; 20]),
            addr: ([192, 0, 2, 1], 6881).into(),
            quality,
            id_fits: true,
            round_trip: None,
        };
        let nodes = [Quality::Bad, Quality::Good, Quality::Questionable, Quality::Good].map(node).to_vec();
        let bucket = BucketStatus { prefix: 3, unchanged_for: Duration::ZERO, nodes, replacements: 2 };
        assert_eq!(bucket_row(&bucket), "    3 bits  ##+.----  2 in reserve");
    }
}
