//! The page `/stats`: what a tracker is doing, for the people who run it. HTML without scripts, or plain text with
//! `?format=text`.
//!
//! All clients may see the totals. Which torrents there are is shown only to requests from this machine: a list of info
//! hashes is an invitation to all of them.

use std::time::{Duration, Instant};

use super::http::{Body, Status, push_text};
use super::registry::Registry;

/// Torrents in the list.
const LISTED_MAX: usize = 50;

/// `is_ours`: whether the request comes from the tracker's own machine.
pub(super) fn write(
    registry: &Registry,
    query: &[u8],
    is_ours: bool,
    now: Instant,
    out: &mut Vec<u8>,
) -> Status {
    let totals = totals(registry, now);
    let torrents = if is_ours { registry.largest(LISTED_MAX) } else { Vec::new() };
    let rows = torrents.iter().map(|(info_hash, numbers)| {
        [
            info_hash.to_string(),
            numbers.seeders.to_string(),
            numbers.leechers.to_string(),
            numbers.downloaded.to_string(),
        ]
    });
    let rows: Vec<[String; 4]> = rows.collect();
    if query.split(|byte| *byte == b'&').any(|part| part == b"format=text") {
        write_text(&totals, &rows, out);
        Status { code: 200, body: Body::Text }
    } else {
        write_html(&totals, &rows, out);
        Status { code: 200, body: Body::Html }
    }
}

fn totals(registry: &Registry, now: Instant) -> Vec<(String, String)> {
    let (counters, census) = (registry.counters(), registry.census());
    let options = registry.options();
    let [http, udp] = [&counters.http, &counters.udp];
    let row = |name: &str, value: String| (name.to_owned(), value);
    let both = |name: &str, [v4, v6]: [u64; 2]| row(name, format!("{} ({v6} by IPv6)", v4 + v6));
    let mut rows = vec![
        row("running for", uptime(registry.age(now))),
        row("torrents", format!("{} of {}", census.swarms, options.swarms_max)),
        row("peers", format!("{} of {}", census.peers, options.peers_max)),
        row("of them IPv6", census.peers_v6.to_string()),
        row("of them seeds", census.seeds.to_string()),
        row("memory for them", format!("{} KiB", census.bytes >> 10)),
        both("announces over HTTP", [http[0].announces, http[1].announces]),
        both("announces over UDP", [udp[0].announces, udp[1].announces]),
        both("scrapes over HTTP", [http[0].scrapes, http[1].scrapes]),
        both("scrapes over UDP", [udp[0].scrapes, udp[1].scrapes]),
        row("peers gone silent", counters.expired.to_string()),
        row("peers that made room", counters.evicted.to_string()),
        row("peers without room", counters.unremembered.to_string()),
        row("requests refused", counters.refused().to_string()),
    ];
    for (reason, count) in counters.refused_by_reason().filter(|(_, count)| *count != 0) {
        rows.push((format!("refused: {}", reason.replace('_', " ")), count.to_string()));
    }
    rows
}

fn uptime(age: Duration) -> String {
    let minutes = age.as_secs() / 60;
    let (days, hours) = (minutes / (24 * 60), minutes / 60 % 24);
    format!("{days} d {hours} h {} min", minutes % 60)
}

fn write_text(totals: &[(String, String)], rows: &[[String; 4]], page: &mut Vec<u8>) {
    for (name, value) in totals {
        push_text(page, format_args!("{name:<26} {value}\n"));
    }
    if !rows.is_empty() {
        page.extend_from_slice(
            b"\ninfo hash                                   seeders  leechers downloaded\n",
        );
    }
    for [info_hash, seeders, leechers, downloaded] in rows {
        push_text(page, format_args!("{info_hash} {seeders:>10} {leechers:>9} {downloaded:>10}\n"));
    }
}

/// Nothing in it comes from outside but digits.
fn write_html(totals: &[(String, String)], rows: &[[String; 4]], page: &mut Vec<u8>) {
    page.extend_from_slice(
        b"<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Tracker</title>\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <style>body{font:16px/1.5 system-ui,sans-serif;margin:2em auto;max-width:50em;padding:0 1em}\
         th,td{padding:.1em 1em .1em 0;text-align:left}td+td{text-align:right}\
         code{font-size:.9em}:root{color-scheme:light dark}</style></head>\n<body><h1>Tracker</h1>\n<table>\n",
    );
    for (name, value) in totals {
        push_text(page, format_args!("<tr><th scope=\"row\">{name}</th><td>{value}</td></tr>\n"));
    }
    page.extend_from_slice(b"</table>\n");
    if !rows.is_empty() {
        page.extend_from_slice(
            b"<h2>Largest torrents</h2>\n<table>\n<tr><th>info hash</th><th>seeders</th>\
             <th>leechers</th><th>downloaded</th></tr>\n",
        );
        for [info_hash, seeders, leechers, downloaded] in rows {
            push_text(
                page,
                format_args!(
                    "<tr><td><code>{info_hash}</code></td><td>{seeders}</td><td>{leechers}</td>\
                     <td>{downloaded}</td></tr>\n"
                ),
            );
        }
        page.extend_from_slice(b"</table>\n");
    }
    page.extend_from_slice(b"<p><a href=\"/stats?format=text\">as text</a></p>\n</body></html>\n");
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::super::access::Access;
    use super::super::http::{Request, Via, answer};
    use super::super::registry::RegistryOptions;
    use super::*;

    #[test]
    fn the_page_tells_totals_to_all_and_torrents_to_its_own_machine() {
        let now = Instant::now();
        let registry = Registry::new(RegistryOptions::default(), [1; 16], now);
        let later = now + Duration::from_secs(90_061);
        let get = |target: &str, from: [u8; 4], via| {
            let request =
                Request { method: b"GET", target: target.as_bytes(), from: IpAddr::from(from), via };
            let mut body = Vec::new();
            let status = answer(&registry, &Access::default(), &request, later, &mut body);
            (status.body, String::from_utf8_lossy(&body).into_owned())
        };
        let announce =
            "/announce?info_hash=aaaaaaaaaaaaaaaaaaaa&peer_id=bbbbbbbbbbbbbbbbbbbb&port=6881&left=0";
        get(announce, [192, 0, 2, 1], Via::Direct);
        let (kind, outside) = get("/stats?format=text", [192, 0, 2, 9], Via::Direct);
        assert_eq!(kind, Body::Text);
        assert!(outside.contains("running for                1 d 1 h 1 min\n"), "{outside}");
        assert!(outside.contains("announces over HTTP        1 (0 by IPv6)\n"), "{outside}");
        assert!(!outside.contains("6161"), "{outside}");
        let (_, proxied) = get("/stats?format=text", [127, 0, 0, 1], Via::Proxy);
        assert!(!proxied.contains("6161"), "{proxied}");
        let (_, inside) = get("/stats?format=text", [127, 0, 0, 1], Via::Direct);
        let row = format!("{}          1         0          0\n", "61".repeat(20));
        assert!(inside.contains(&row), "{inside}");
        let (kind, page) = get("/stats", [127, 0, 0, 1], Via::Direct);
        assert_eq!(kind, Body::Html);
        assert!(page.contains(&"61".repeat(20)) && !page.contains("<script"), "{page}");
    }
}
