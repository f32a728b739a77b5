//! The DHT in a build without it: there is no node, and no handle of one.
#![expect(dead_code, reason = "there is no node that would use it")]

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ferri_metainfo::InfoHash;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::SessionOptions;
use crate::egress::Egress;
use crate::trace_file::TraceFile;
use crate::udp::{Datagram, Sockets};

/// A DHT node at work. There is none in this build, which is made without the feature `dht`.
#[derive(Debug, Clone)]
pub struct Dht(Infallible);

/// How a node would reach others.
#[derive(Debug)]
pub(crate) struct Ways {
    pub(crate) egress: Arc<Egress>,
    pub(crate) sockets: Sockets,
    pub(crate) datagrams: mpsc::Receiver<Vec<Datagram>>,
}

/// What a node would tell its session.
#[derive(Debug)]
pub(crate) enum Told {
    Peers(InfoHash, Vec<SocketAddr>),
    ExternalAddress(IpAddr),
}

/// A node's task.
#[derive(Debug)]
pub(crate) struct Driver(Infallible);

/// The session's node: none.
pub(crate) async fn open(_: &SessionOptions, _: Ways, _: Option<Arc<TraceFile>>) -> Option<Driver> {
    None
}

impl Driver {
    pub(crate) fn handle(&self) -> Dht {
        match self.0 {}
    }

    pub(crate) async fn run(self, _: CancellationToken, _tell: impl Fn(Told)) {
        match self.0 {}
    }
}

impl Dht {
    pub(crate) fn udp_port(&self) -> u16 {
        match self.0 {}
    }

    pub(crate) fn good_nodes(&self) -> usize {
        match self.0 {}
    }

    pub(crate) fn add_hosts(&self, _: &[(String, u16)]) {
        match self.0 {}
    }

    pub(crate) fn add(&self, _: InfoHash, _seed: bool) {
        match self.0 {}
    }

    pub(crate) fn find(&self, _: InfoHash) {
        match self.0 {}
    }

    pub(crate) fn remove(&self, _: InfoHash) {
        match self.0 {}
    }

    pub(crate) fn set_seed(&self, _: InfoHash, _seed: bool) {
        match self.0 {}
    }

    pub(crate) fn want(&self, _: InfoHash) {
        match self.0 {}
    }

    pub(crate) fn hint(&self, _: SocketAddr) {
        match self.0 {}
    }

    pub(crate) fn moved(&self) {
        match self.0 {}
    }

    pub(crate) fn seen_as(&self, _: IpAddr) {
        match self.0 {}
    }

    pub(crate) fn set_port(&self, _: u16) {
        match self.0 {}
    }
}
