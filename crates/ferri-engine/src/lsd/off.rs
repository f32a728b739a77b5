//! Local discovery in a build without it: nothing is announced, and no announce is heard.
#![expect(dead_code, reason = "what would use it never begins")]

use std::net::SocketAddr;
use std::sync::Arc;

use ferri_metainfo::{InfoHash, InfoHashes};

use crate::egress::Egress;
use crate::network::Network;

/// What is announced on the local networks: nothing.
#[derive(Debug)]
pub(crate) struct Lsd;

impl Lsd {
    pub(crate) fn new(_is_on: bool) -> Self {
        Self
    }

    /// Whether the local networks hear of anything.
    pub(crate) fn is_on(&self) -> bool {
        false
    }

    pub(crate) fn announce(&self, _: &InfoHashes) {}

    pub(crate) fn forget(&self, _: &InfoHashes) {}
}

/// What local discovery would know of its session.
#[derive(Debug)]
pub(crate) struct Ours {
    pub(crate) lsd: Arc<Lsd>,
    pub(crate) network: Arc<Network>,
    pub(crate) listen_addr: SocketAddr,
    pub(crate) egress: Arc<Egress>,
}

/// A peer that would be heard.
#[derive(Debug)]
pub(crate) enum Neighbour {
    New(InfoHash, SocketAddr),
    Known(InfoHash, SocketAddr),
}

pub(crate) async fn run(_: Ours, _tell: impl Fn(Neighbour)) {}
