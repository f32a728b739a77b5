//! Answers to requests, put together in a worker's buffers.

use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::time::Instant;

use ferri_tracker::server::http::{self, Body, Via};

use super::request::{Method, Persistence, Request, write_failure, write_head};
use crate::proxy::Client;
use crate::service::{Service, View};

/// Appends the answer to a request to `output`. `body` is a buffer to work with.
pub(super) fn answer(
    output: &mut Vec<u8>,
    body: &mut Vec<u8>,
    (service, view): (&Service, &View),
    request: &Request<'_>,
    from: IpAddr,
    now: Instant,
) {
    body.clear();
    let (from, via) = match client(service, request, from) {
        (Client::At(from), via) => (from, via),
        (Client::Unknown, _) => {
            let why = "the proxy in front of this tracker does not say which client it asks for: \
                       look at --behind-proxy and --proxy-header";
            refuse(output, body, 200, why, request.persistence);
            return;
        }
    };
    let method = if request.method == Method::Other { NO_GET } else { b"GET" };
    let asked = http::Request { method, target: request.target.as_bytes(), from, via };
    if request.method == Method::Head {
        head(output, body, (service, view), &asked, request.persistence, now);
        return;
    }
    let status = service.request(view, &asked, now, body);
    if status.body == Body::Metrics {
        append_metrics(body, service);
    }
    write_head(output, status.code, status.body.content_type(), body.len(), request.persistence);
    output.extend_from_slice(body);
}

/// A method that is refused, whatever its name.
const NO_GET: &[u8] = b"POST";

/// Answers what the head of an answer would be. Asking that must change nothing, so it is not asked about an announce.
fn head(
    output: &mut Vec<u8>,
    body: &mut Vec<u8>,
    (service, view): (&Service, &View),
    asked: &http::Request<'_>,
    persistence: Persistence,
    now: Instant,
) {
    let path = asked.target.split(|byte| *byte == b'?').next().unwrap_or_default();
    if path.ends_with(b"/announce") {
        write_head(output, 405, "text/plain", 0, persistence);
        return;
    }
    let status = service.request(view, asked, now, body);
    if status.body == Body::Metrics {
        append_metrics(body, service);
    }
    write_head(output, status.code, status.body.content_type(), body.len(), persistence);
}

/// Who asks, and how that is known.
fn client(service: &Service, request: &Request<'_>, from: IpAddr) -> (Client, Via) {
    if !service.proxies.trust(from) {
        return (Client::At(from), Via::Direct);
    }
    let client = service.proxies.client(request.forwarded.last_first());
    // The operator of the proxy's machine asks for numbers without it.
    let is_looking = request.forwarded.is_empty() && !request.target.contains("/announce");
    match client {
        Client::Unknown if is_looking => (Client::At(from), Via::Proxy),
        client => (client, Via::Proxy),
    }
}

/// Appends what the sockets know to the page of Prometheus.
fn append_metrics(body: &mut Vec<u8>, service: &Service) {
    use std::io::Write as _;
    let tally = &service.tally;
    let lines = [
        ("http_connections", "gauge", "Connections over HTTP that are open.", &tally.connections),
        (
            "http_connections_closed_for_room_total",
            "counter",
            "Connections that were closed so that another address had room.",
            &tally.closed_for_room,
        ),
        ("udp_unsent_total", "counter", "Answers over UDP that the network did not take.", &tally.unsent),
    ];
    for (name, kind, help, value) in lines {
        let value = value.load(Ordering::Relaxed);
        let name = format_args!("ferriswarm_tracker_{name}");
        write!(body, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n")
            .expect("a Vec takes everything");
    }
}

/// Appends the answer to what cannot be read as a request.
pub(super) fn failure(output: &mut Vec<u8>, body: &mut Vec<u8>, status: u16, why: &str) {
    body.clear();
    refuse(output, body, status, why, Persistence::Closed);
}

fn refuse(output: &mut Vec<u8>, body: &mut Vec<u8>, status: u16, why: &str, persistence: Persistence) {
    write_failure(body, why);
    write_head(output, status, "text/plain", body.len(), persistence);
    output.extend_from_slice(body);
}
