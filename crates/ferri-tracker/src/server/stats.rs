//! The page `/stats`: what a tracker is doing, for the people who run it. HTML without scripts, or plain text with
//! `?format=text`.
//!
//! Everybody may see the totals. Which torrents there are is shown only to requests from this machine: a list of info
//! hashes is an invitation to all of them.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::http::{Body, Reply};
use super::registry::Swarms;

/// Torrents in the list.
const LISTED_MAX: usize = 50;

pub(super) fn page(registry: &Swarms, query: &str, from: IpAddr, now: Instant) -> Reply {
    let totals = totals(registry, now);
    let torrents = if from.to_canonical().is_loopback() { registry.largest(LISTED_MAX) } else { Vec::new() };
    let rows = torrents.iter().map(|(info_hash, numbers)| {
        [
            info_hash.to_string(),
            numbers.seeders.to_string(),
            numbers.leechers.to_string(),
            numbers.downloaded.to_string(),
        ]
    });
    let rows: Vec<[String; 4]> = rows.collect();
    if query.split('&').any(|part| part == "format=text") {
        Reply::new(200, Body::Text, text(&totals, &rows).into())
    } else {
        Reply::new(200, Body::Html, html(&totals, &rows).into())
    }
}

fn totals(registry: &Swarms, now: Instant) -> Vec<(&'static str, String)> {
    let counters = registry.counters();
    vec![
        ("running for", uptime(registry.age(now))),
        ("torrents", registry.swarm_count().to_string()),
        ("peers", registry.peer_count().to_string()),
        ("announces over HTTP", counters.http_announces.to_string()),
        ("announces over UDP", counters.udp_announces.to_string()),
        ("scrapes over HTTP", counters.http_scrapes.to_string()),
        ("scrapes over UDP", counters.udp_scrapes.to_string()),
        ("requests refused", counters.refused.to_string()),
    ]
}

fn uptime(age: Duration) -> String {
    let minutes = age.as_secs() / 60;
    let (days, hours) = (minutes / (24 * 60), minutes / 60 % 24);
    format!("{days} d {hours} h {} min", minutes % 60)
}

fn text(totals: &[(&str, String)], rows: &[[String; 4]]) -> String {
    let mut page = String::new();
    for (name, value) in totals {
        write(&mut page, format_args!("{name:<20} {value}\n"));
    }
    if !rows.is_empty() {
        page.push_str("\ninfo hash                                   seeders  leechers downloaded\n");
    }
    for [info_hash, seeders, leechers, downloaded] in rows {
        write(&mut page, format_args!("{info_hash} {seeders:>10} {leechers:>9} {downloaded:>10}\n"));
    }
    page
}

/// Nothing in it comes from outside but digits.
fn html(totals: &[(&str, String)], rows: &[[String; 4]]) -> String {
    let mut page = String::from(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Tracker</title>\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <style>body{font:16px/1.5 system-ui,sans-serif;margin:2em auto;max-width:50em;padding:0 1em}\
         th,td{padding:.1em 1em .1em 0;text-align:left}td+td{text-align:right}\
         code{font-size:.9em}:root{color-scheme:light dark}</style></head>\n<body><h1>Tracker</h1>\n<table>\n",
    );
    for (name, value) in totals {
        write(&mut page, format_args!("<tr><th scope=\"row\">{name}</th><td>{value}</td></tr>\n"));
    }
    page.push_str("</table>\n");
    if !rows.is_empty() {
        page.push_str(
            "<h2>Largest torrents</h2>\n<table>\n<tr><th>info hash</th><th>seeders</th>\
             <th>leechers</th><th>downloaded</th></tr>\n",
        );
        for [info_hash, seeders, leechers, downloaded] in rows {
            write(
                &mut page,
                format_args!(
                    "<tr><td><code>{info_hash}</code></td><td>{seeders}</td><td>{leechers}</td>\
                     <td>{downloaded}</td></tr>\n"
                ),
            );
        }
        page.push_str("</table>\n");
    }
    page.push_str("<p><a href=\"/stats?format=text\">as text</a></p>\n</body></html>\n");
    page
}

fn write(page: &mut String, arguments: std::fmt::Arguments<'_>) {
    page.write_fmt(arguments).expect("a String takes everything");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::http::http_reply;
    use super::super::registry::RegistryOptions;
    use super::*;

    #[test]
    fn the_page_tells_totals_to_all_and_torrents_to_its_own_machine() {
        let now = Instant::now();
        let mut registry = Swarms::new(RegistryOptions::default(), [1; 16], now);
        let announce =
            "/announce?info_hash=aaaaaaaaaaaaaaaaaaaa&peer_id=bbbbbbbbbbbbbbbbbbbb&port=6881&left=0";
        http_reply(&mut registry, announce, [192, 0, 2, 1].into(), now);
        let later = now + Duration::from_secs(90_061);
        let mut get = |url: &str, from: [u8; 4]| {
            let reply = http_reply(&mut registry, url, from.into(), later);
            (reply.body_kind.content_type(), String::from_utf8(reply.body).unwrap())
        };
        let (kind, outside) = get("/stats?format=text", [192, 0, 2, 9]);
        assert_eq!(kind, "text/plain; charset=utf-8");
        assert!(outside.contains("running for          1 d 1 h 1 min\n"), "{outside}");
        assert!(outside.contains("announces over HTTP  1\n") && !outside.contains("6161"), "{outside}");
        let (_, inside) = get("/stats?format=text", [127, 0, 0, 1]);
        assert!(
            inside.contains(&format!("{}          1         0          0\n", "61".repeat(20))),
            "{inside}"
        );
        let (kind, page) = get("/stats", [127, 0, 0, 1]);
        assert_eq!(kind, "text/html; charset=utf-8");
        assert!(page.contains(&"61".repeat(20)) && !page.contains("<script"), "{page}");
    }
}
