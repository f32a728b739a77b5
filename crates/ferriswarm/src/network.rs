//! What the network flags mean.

use std::path::PathBuf;

use ferri_engine::{ResolveMagnet, SessionOptions};
use ferri_metainfo::magnet::Magnet;

use crate::args::Network;
use crate::env::Env;
use crate::exit::Failure;

/// Where journals and what peers told live.
pub(crate) fn state_dir(env: &Env, network: &Network) -> Result<PathBuf, Failure> {
    if let Some(dir) = &network.state_dir {
        return Ok(env.path(dir));
    }
    env.default_state_dir().ok_or_else(|| {
        Failure::usage("neither HOME nor XDG_STATE_HOME says where state is kept")
            .hint("choose a folder with --state-dir DIR")
    })
}

/// A session as the flags want it.
pub(crate) fn session_options(env: &Env, network: &Network) -> Result<SessionOptions, Failure> {
    let mut options = SessionOptions::new(state_dir(env, network)?);
    options.listen_port = network.port;
    options.bind = network.bind;
    options.memory = network.memory;
    options.down_limit = network.down.and_then(|rate| rate.0);
    options.up_limit = network.up.and_then(|rate| rate.0);
    options.dht = !network.no_dht;
    options.dht_port = network.dht_port;
    options.dht_routers.clone_from(&network.dht_router);
    options.pex = !network.no_pex;
    options.lsd = !network.no_lsd;
    options.port_mapping = !network.no_port_mapping;
    if let Some(max) = network.max_peers {
        options.peers_max = usize::from(max);
        options.peers_per_torrent = options.peers_per_torrent.min(usize::from(max));
    }
    Ok(options)
}

/// Whom to ask what a magnet link stands for.
pub(crate) fn resolve(magnet: Magnet, network: &Network) -> ResolveMagnet {
    ResolveMagnet {
        extra_trackers: network.tracker.clone(),
        no_trackers: network.no_trackers,
        peers: network.peer.clone(),
        ..ResolveMagnet::new(magnet)
    }
}
