//! Asking our own tracker without a network.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use ferri_tracker::server::http::{Request, Status, Via};
use ferri_tracker::server::udp::ANSWER_BYTES_MAX;
use ferri_tracker::server::{Access, Registry, http, udp};

/// Status and body of the answer to a GET request on a tracker that is open to all.
pub(crate) fn http_reply(registry: &Registry, target: &str, from: IpAddr, now: Instant) -> (Status, Vec<u8>) {
    let request = Request { method: b"GET", target: target.as_bytes(), from, via: Via::Direct };
    let mut body = Vec::new();
    let status = http::answer(registry, &Access::default(), &request, now, &mut body);
    (status, body)
}

/// The answer to a datagram on a tracker that is open to all.
pub(crate) fn udp_reply(
    registry: &Registry,
    datagram: &[u8],
    from: SocketAddr,
    now: Instant,
) -> Option<Vec<u8>> {
    let mut out = [0; ANSWER_BYTES_MAX];
    let length = udp::answer(registry, &Access::default(), datagram, from, now, &mut out)?;
    Some(out[..length].to_vec())
}
