//! What the network flags mean.

use std::net::SocketAddr;
use std::path::PathBuf;

use ferri_engine::{AddTorrent, Encryption, Feature, SessionOptions};
use ferri_metainfo::magnet::Magnet;

use crate::args::{Encrypting, Network};
use crate::console::Console;
use crate::env::{Env, Interrupts};
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
    options.encryption = match network.encryption {
        Encrypting::Disable => Encryption::Disable,
        Encrypting::Allow => Encryption::Allow,
        Encrypting::Prefer => Encryption::Prefer,
        Encrypting::Require => Encryption::Require,
    };
    options.limits.memory = network.memory;
    options.limits.down = network.down.and_then(|rate| rate.0);
    options.limits.up = network.up.and_then(|rate| rate.0);
    options.dht = Feature::Dht.is_built() && !network.no_dht;
    options.dht_port = network.dht_port;
    options.dht_routers.clone_from(&network.dht_router);
    options.pex = !network.no_pex;
    options.lsd = !network.no_lsd;
    options.port_mapping = !network.no_port_mapping;
    if let Some(max) = network.max_peers {
        options.limits.peers_max = usize::from(max);
        options.limits.peers_per_torrent = options.limits.peers_per_torrent.min(usize::from(max));
    }
    Ok(options)
}

/// The addresses of `--peer`. A name that does not resolve is told and left out. `None`: Ctrl-C.
pub(crate) async fn peers(
    network: &Network,
    console: &Console,
    interrupts: &Interrupts,
) -> Option<Vec<SocketAddr>> {
    let mut peers = Vec::new();
    for typed in &network.peer {
        if let Ok(addr) = typed.parse() {
            peers.push(addr);
            continue;
        }
        let looked_up = tokio::select! {
            biased;
            () = interrupts.pressed(1) => return None,
            looked_up = ferri_engine::look_up(typed, network.bind) => looked_up,
        };
        let why = match looked_up {
            Ok(found) if !found.is_empty() => {
                peers.extend(found);
                continue;
            }
            Ok(_) => "it has no address of the family that --bind leaves".to_owned(),
            Err(error) => error.to_string(),
        };
        console.warn(&format!("--peer {typed} is left out: {why}"));
    }
    Some(peers)
}

/// A magnet link whose torrent waits for a choice once it is known.
pub(crate) fn on_hold(magnet: Magnet, network: &Network, peers: &[SocketAddr]) -> AddTorrent {
    let mut add = AddTorrent::magnet_on_hold(magnet);
    add.extra_trackers.clone_from(&network.tracker);
    add.no_trackers = network.no_trackers;
    add.peers = peers.to_vec();
    add
}
