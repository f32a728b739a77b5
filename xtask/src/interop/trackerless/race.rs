//! The scene of a measurement: a DHT of libtorrent's nodes, a seed in it, and one host where clients are started one after the
//! other with a magnet link and one known node.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};

use super::super::Options;
use super::super::scene::{PATIENCE, Scene};
use super::dht::Dht;
use super::magnet;
use crate::clients::{self, Client, Discovery, Encryption, Kind, Place};
use crate::lab::{Family, Host, Lab};

/// libtorrent's alone: nodes of ours would be another thing to measure.
const NODES: u16 = 20;

const LENGTH: u64 = 16 << 20;

/// The scene. Everything in it ends with this value.
pub(crate) struct Race<'a> {
    scene: Scene<'a>,
    dht: Dht,
    link: PathBuf,
    host: Arc<Host>,
    _seeder: Box<dyn Client>,
}

impl<'a> Race<'a> {
    /// What it is, for a heading.
    pub(crate) const SCENE: &'static str = "a DHT of 20 nodes, one of them known; one seed of 16 MiB";

    /// Starts nodes and seed, and waits until the seed is found.
    ///
    /// # Errors
    /// When a program does not start or the seed is not found.
    pub(crate) fn prepare(options: &'a Options, lab: &'a Lab) -> Result<Self> {
        let scene = Scene { options, lab, work: options.work.clone() };
        let _ = fs::remove_dir_all(&scene.work);
        let dht = Dht::start(&scene, Family::V4, [NODES, 0, 0])?;
        let payload = scene.own_payload(LENGTH)?;
        let place = dht.place(&scene, "seed")?;
        let mut seeder = clients::make(Kind::Libtorrent, place.clone())?;
        seeder.start_seed(&payload.torrent, &payload.dir)?;
        seeder.wait_done(PATIENCE).context("the seeder")?;
        dht.wait_for(&payload.torrent, place.peer_address())?;
        let host = dht.host()?;
        Ok(Self { link: magnet(&payload.torrent)?, scene, dht, host, _seeder: seeder })
    }

    /// Starts a client that knows nothing from before.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) fn start(&self, kind: Kind) -> Result<(Box<dyn Client>, Instant)> {
        let _ = fs::remove_dir_all(self.scene.work.join("client"));
        let discovery = Discovery { dht: Some(self.dht.router()), ..Discovery::default() };
        let place = self.scene.place_at(Arc::clone(&self.host), "client", discovery)?;
        let dir = self.scene.folder("client/download")?;
        let mut client = clients::make(kind, Place { encryption: Encryption::Off, ..place })?;
        let start = Instant::now();
        client.start_leech(&self.link, &dir)?;
        Ok((client, start))
    }
}
