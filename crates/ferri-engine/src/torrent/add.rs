//! A torrent comes into a session: known, or by a magnet link alone.

use std::sync::Arc;

use ferri_metainfo::Info;
use ferri_storage::CheckNumber;

use super::opening::open;
use super::resolving::{self, Begin};
use super::start::{Added, Start, new};
use super::{Earlier, Torrent};
use crate::registry::Registry;
use crate::services::Services;
use crate::status::{State, TorrentStatus};
use crate::{AddTorrent, Error, TorrentSource};

/// Starts a torrent, or the search for what a magnet link stands for.
pub(crate) async fn add(
    services: &Arc<Services>,
    registry: &Arc<Registry<Torrent>>,
    add: AddTorrent,
    earlier: Earlier,
) -> Result<Torrent, Error> {
    registry.refuse_known(&add.source.info_hashes())?;
    let number = services.disk.pool.number();
    let (magnet, is_held) = match &add.source {
        TorrentSource::Metainfo(metainfo) => {
            let info = metainfo.shared_info();
            return add_known(services, registry, add, earlier, (info, number)).await;
        }
        TorrentSource::Magnet(magnet) => (magnet.clone(), false),
        TorrentSource::MagnetOnHold(magnet) => (magnet.clone(), true),
    };
    let begin = match resolving::look(services, &magnet).await? {
        Begin::Known(info) if !is_held => {
            let (mut add, info) = (add, Arc::new(*info));
            let (addrs, hosts) = resolving::split(magnet.peers);
            add.peers.extend(addrs);
            let torrent = add_known(services, registry, add, earlier, (info, number)).await?;
            resolving::ask_for(services, &torrent, hosts);
            return Ok(torrent);
        }
        begin => begin,
    };
    let name = magnet.display_name.clone();
    let name = name.unwrap_or_else(|| magnet.info_hashes.wire().to_string());
    let first = TorrentStatus::unknown(name, magnet.info_hashes);
    let (torrent, view) = new(services, magnet.info_hashes, None, first, earlier.record);
    let is_paused = add.paused;
    let task_slot = torrent.task_slot();
    let entry = registry.enter(&magnet.info_hashes, torrent.clone())?;
    view.status.enter();
    let (services, registry) = (services.clone(), registry.clone());
    let added = Added { services, registry, torrent: torrent.clone(), entry, view, number };
    resolving::start(added, task_slot, magnet, add, begin, is_held);
    if is_paused {
        // One that has ended already is as good.
        let _ = torrent.pause().await;
    }
    Ok(torrent)
}

/// Starts a torrent whose info dictionary is here. Nothing was started when that fails.
async fn add_known(
    services: &Arc<Services>,
    registry: &Arc<Registry<Torrent>>,
    mut add: AddTorrent,
    earlier: Earlier,
    (info, number): (Arc<Info>, CheckNumber),
) -> Result<Torrent, Error> {
    let renamed = earlier.record.as_ref().map(|record| record.names.files.clone()).unwrap_or_default();
    let mut opened = open(services, &mut add, info.clone(), renamed).await?;
    if let Some(totals) = earlier.totals {
        opened.totals = opened.totals.or_more(&totals);
    }
    let hashes = info.info_hashes();
    let first = TorrentStatus { state: State::Checking { done: 0, total: 0 }, ..TorrentStatus::of(&info) };
    let (torrent, mut view) = new(services, hashes, Some(info.clone()), first, earlier.record);
    view.is_paused = add.paused;
    let task_slot = torrent.task_slot();
    let entry = registry.enter(&hashes, torrent.clone())?;
    view.status.enter();
    let (services, registry) = (services.clone(), registry.clone());
    let added = Added { services, registry, torrent: torrent.clone(), entry, view, number };
    Start::new(added, add, info, opened).begin(task_slot);
    Ok(torrent)
}
