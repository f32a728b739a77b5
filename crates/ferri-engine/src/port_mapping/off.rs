//! A build without port mapping: no gateway is asked.
#![expect(dead_code, reason = "what would use it never begins")]

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{PortMappingStatus, Transport};
use crate::egress::Egress;
use crate::route::Paths;

/// What the session would hear.
#[derive(Debug)]
pub(crate) enum Told {
    Status(PortMappingStatus, Option<u16>),
    Outside(IpAddr),
}

/// What keeping ports mapped would need of its session.
#[derive(Debug)]
pub(crate) struct Ours {
    pub(crate) egress: Arc<Egress>,
    pub(crate) paths: watch::Receiver<Option<Paths>>,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

pub(crate) async fn run(_: Ours, _: Vec<(Transport, u16)>, _tell: impl Fn(Told) + Send) {}
