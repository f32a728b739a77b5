//! A status line of one's own, from snapshots: `cargo run --example custom_status -- TORRENT FOLDER [PEER]...`
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::io::Write;
use std::path::PathBuf;

use ferri_engine::{AddTorrent, Session, SessionOptions, State, TorrentStatus};
use ferri_metainfo::Metainfo;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(torrent), Some(folder)) = (arguments.next(), arguments.next()) else {
        return Err("usage: custom_status TORRENT FOLDER [PEER]...".into());
    };
    let folder = PathBuf::from(folder);
    let session = Session::start(SessionOptions::new(folder.join(".state"))).await?;
    let mut add = AddTorrent::new(Metainfo::parse(&std::fs::read(torrent)?)?, &folder);
    add.peers = arguments.map(|peer| peer.parse()).collect::<Result<_, _>>()?;
    let torrent = session.add(add).await?;
    // Snapshots come at most four times a second; who is slow misses some and holds nobody up.
    let mut snapshots = torrent.watch();
    loop {
        let status = torrent.status();
        print!("\r\x1b[K{}", line(&status));
        std::io::stdout().flush()?;
        if status.is_done() || snapshots.changed().await.is_err() {
            break;
        }
    }
    println!();
    session.shutdown().await;
    Ok(())
}

fn line(status: &TorrentStatus) -> String {
    let doing = match &status.state {
        State::Resolving => "looking for the info dictionary".to_owned(),
        State::Checking { done, total } => format!("checking {done} of {total}"),
        State::Downloading => format!("{} KiB/s from {} peers", status.down_rate >> 10, status.peers),
        State::Seeding => format!("done, ratio {:.2}", status.ratio),
        State::Paused => "paused".to_owned(),
        State::Error { text, .. } => text.clone(),
        State::Stopped => "stopped".to_owned(),
        _ => "doing something newer than this program".to_owned(),
    };
    let filled = usize::try_from(status.wanted_done * 20 / status.wanted.max(1)).unwrap_or(20);
    format!("[{:<20}] {doing}", "#".repeat(filled))
}
