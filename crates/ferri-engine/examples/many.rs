//! Downloads all torrents of a folder at once, in one session: `cargo run --example many -- TORRENTS FOLDER [PEER]`
#![allow(clippy::print_stdout)]

use std::collections::BTreeSet;
use std::error::Error;
use std::path::PathBuf;

use ferri_engine::{AddTorrent, Session, SessionOptions};
use ferri_metainfo::Metainfo;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [torrents, folder, peer @ ..] = &arguments[..] else {
        return Err("usage: many TORRENTS FOLDER [PEER]".into());
    };
    let folder = PathBuf::from(folder);
    let session = Session::start(SessionOptions::new(folder.join(".state"))).await?;
    for entry in std::fs::read_dir(torrents)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "torrent") {
            let mut add = AddTorrent::new(Metainfo::parse(&std::fs::read(&path)?)?, &folder);
            add.peers = peer.iter().map(|peer| peer.parse()).collect::<Result<_, _>>()?;
            // One that cannot be added is no reason to leave the others.
            if let Err(error) = session.add(add).await {
                println!("{}: {error}", path.display());
            }
        }
    }
    let (mut seen, mut done, mut missing) = (0, BTreeSet::new(), session.torrents().len());
    while missing != 0 {
        // However many torrents there are, only those are told that changed.
        session.changed_after(seen).await?;
        let changes = session.changes_since(seen);
        seen = changes.revision;
        for status in changes.torrents.iter().filter(|status| status.is_done()) {
            if done.insert(status.info_hashes.wire()) {
                missing -= 1;
                println!("{} is done, {missing} are missing", status.name);
            }
        }
    }
    session.shutdown().await;
    Ok(())
}
