//! Downloads a torrent and says when it is done: `cargo run --example download -- TORRENT FOLDER [PEER]...`
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::path::PathBuf;

use ferri_engine::{AddTorrent, Session, SessionOptions};
use ferri_metainfo::Metainfo;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(torrent), Some(folder)) = (arguments.next(), arguments.next()) else {
        return Err("usage: download TORRENT FOLDER [PEER]...".into());
    };
    let folder = PathBuf::from(folder);
    // What was fetched is remembered here, so that the next start goes on.
    let session = Session::start(SessionOptions::new(folder.join(".state"))).await?;
    let mut add = AddTorrent::new(Metainfo::parse(&std::fs::read(torrent)?)?, &folder);
    add.peers = arguments.map(|peer| peer.parse()).collect::<Result<_, _>>()?;
    let torrent = session.add(add).await?;
    torrent.wait_done().await;
    let status = torrent.status();
    println!("{}: {} of {} bytes are here", status.name, status.wanted_done, status.wanted);
    session.shutdown().await;
    Ok(())
}
