//! What a fuzzer feeds: the reading of requests and of what proxies say in them. Nothing else outside this crate calls it.

use std::net::IpAddr;

use crate::proxy::{Cidr, Client, Proxies, ProxyHeader};
use crate::web::refusal;
use crate::web::request::{self, Parsed};

/// What some bytes are, as the beginning of what a client sends.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// Not a whole request yet.
    Partial,
    /// A request.
    Request {
        /// How many of the bytes.
        length: usize,
        /// What is asked for.
        target: &'a str,
        /// The client that a proxy says it asks for.
        client: Option<IpAddr>,
    },
    /// No request; this whole answer says why.
    Refused(Vec<u8>),
}

/// Reads one request as it would be read from one of these proxies.
pub fn read<'a>(bytes: &'a [u8], proxies: &[Cidr], header: ProxyHeader) -> Outcome<'a> {
    match request::parse(bytes, Some(header.name())) {
        Parsed::Partial => Outcome::Partial,
        Parsed::Bad(status, why) => Outcome::Refused(refusal(status, why)),
        Parsed::Request(request) => {
            let client = Proxies::new(proxies.to_vec(), header).client(request.forwarded.last_first());
            let client = match client {
                Client::At(ip) => Some(ip),
                Client::Unknown => None,
            };
            Outcome::Request { length: request.length, target: request.target, client }
        }
    }
}

/// Bytes of a request's head at most.
pub const HEAD_MAX: usize = request::HEAD_MAX;
