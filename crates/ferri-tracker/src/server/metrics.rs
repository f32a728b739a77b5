//! The page `/metrics`: counters and gauges in the text form of Prometheus. Totals only, no torrent, no address, no user.

use std::time::Instant;

use super::counters::Requests;
use super::http::push_text;
use super::registry::Registry;

pub(super) fn write(registry: &Registry, now: Instant, out: &mut Vec<u8>) {
    let counters = registry.counters();
    let rows: [(&str, &str, &Requests); 4] = [
        ("http", "ipv4", &counters.http[0]),
        ("http", "ipv6", &counters.http[1]),
        ("udp", "ipv4", &counters.udp[0]),
        ("udp", "ipv6", &counters.udp[1]),
    ];
    let mut requests = |name: &str, help: &str, of: fn(&Requests) -> u64, skip: usize| {
        head(out, name, help, "counter");
        for (protocol, family, requests) in &rows[skip..] {
            let count = of(requests);
            push_text(
                out,
                format_args!("{PREFIX}{name}{{protocol=\"{protocol}\",family=\"{family}\"}} {count}\n"),
            );
        }
    };
    requests("announces_total", "Announces answered.", |requests| requests.announces, 0);
    requests("scrapes_total", "Scrapes answered.", |requests| requests.scrapes, 0);
    // HTTP has no connection ids.
    requests("connects_total", "Connection ids given over UDP.", |requests| requests.connects, 2);
    head(out, "refused_total", "Requests refused, by reason.", "counter");
    for (reason, count) in counters.refused_by_reason() {
        push_text(out, format_args!("{PREFIX}refused_total{{reason=\"{reason}\"}} {count}\n"));
    }
    let counted = [
        ("expired_peers_total", "Peers forgotten because they were silent for too long.", counters.expired),
        ("evicted_peers_total", "Peers that made room in a full tracker.", counters.evicted),
        (
            "unremembered_announces_total",
            "Announces answered without remembering the peer.",
            counters.unremembered,
        ),
    ];
    for (name, help, count) in counted {
        head(out, name, help, "counter");
        push_text(out, format_args!("{PREFIX}{name} {count}\n"));
    }
    gauges(registry, now, out);
}

fn gauges(registry: &Registry, now: Instant, out: &mut Vec<u8>) {
    let census = registry.census();
    let options = registry.options();
    head(out, "peers", "Peers registered, by the family of their address.", "gauge");
    let v4 = census.peers - census.peers_v6;
    for (family, count) in [("ipv4", v4), ("ipv6", census.peers_v6)] {
        push_text(out, format_args!("{PREFIX}peers{{family=\"{family}\"}} {count}\n"));
    }
    let gauges = [
        ("torrents", "Torrents with at least one peer.", census.swarms as u64),
        ("seeds", "Peers that have everything.", census.seeds as u64),
        ("registry_bytes", "Memory that torrents and peers take.", census.bytes as u64),
        ("torrents_max", "Torrents that there is room for.", options.swarms_max as u64),
        ("peers_max", "Peers that there is room for.", options.peers_max as u64),
        ("uptime_seconds", "Seconds since the tracker began.", registry.age(now).as_secs()),
    ];
    for (name, help, value) in gauges {
        head(out, name, help, "gauge");
        push_text(out, format_args!("{PREFIX}{name} {value}\n"));
    }
}

/// Of all names.
const PREFIX: &str = "ferriswarm_tracker_";

fn head(out: &mut Vec<u8>, name: &str, help: &str, kind: &str) {
    push_text(out, format_args!("# HELP {PREFIX}{name} {help}\n# TYPE {PREFIX}{name} {kind}\n"));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use super::super::registry::RegistryOptions;
    use super::*;

    #[test]
    fn every_metric_has_help_and_type_before_its_values() {
        let now = Instant::now();
        let registry = Registry::new(RegistryOptions::default(), [1; 16], now);
        let mut out = Vec::new();
        write(&registry, now, &mut out);
        let text = String::from_utf8(out).unwrap();
        let mut known = BTreeSet::new();
        let mut helped = None;
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                helped = help.split_once(' ').map(|(name, _)| name);
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap();
                assert_eq!(Some(name), helped);
                assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
                assert!(known.insert(name), "{name} twice");
            } else {
                let (name, value) = line.rsplit_once(' ').unwrap();
                let name = name.split('{').next().unwrap();
                assert!(known.contains(name) && value.parse::<u64>().is_ok(), "{line}");
            }
        }
        assert!(text.contains("ferriswarm_tracker_announces_total{protocol=\"udp\",family=\"ipv6\"} 0\n"));
        assert!(
            text.contains("ferriswarm_tracker_refused_total{reason=\"full\"} 0\n") && text.ends_with('\n')
        );
    }
}
