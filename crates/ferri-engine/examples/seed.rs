//! Serves what lies in a folder until Ctrl-C: `cargo run --example seed -- TORRENT FOLDER [PORT]`
#![allow(clippy::print_stdout)]

use std::error::Error;

use ferri_engine::{AddTorrent, Event, Session, SessionOptions};
use ferri_metainfo::Metainfo;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [torrent, folder, port @ ..] = &arguments[..] else {
        return Err("usage: seed TORRENT FOLDER [PORT]".into());
    };
    let state = std::env::temp_dir().join("ferriswarm-example-seed");
    let mut options = SessionOptions::new(state);
    options.listen_port = port.first().map(|port| port.parse()).transpose()?;
    let session = Session::start(options).await?;
    let mut add = AddTorrent::new(Metainfo::parse(&std::fs::read(torrent)?)?, folder);
    // Nothing in the folder is changed.
    add.seed_only = true;
    let torrent = session.add(add).await?;
    torrent.wait_checked().await;
    let status = torrent.status();
    println!("{}: {} of {} pieces", status.name, status.pieces_done, status.pieces_total);
    println!("serving on {}", session.listen_addr());

    let mut events = torrent.events();
    loop {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => break,
            event = events.recv() => match event {
                Ok(Event::PeerConnected { addr, .. }) => println!("{addr} came"),
                Ok(Event::PeerDisconnected { addr, .. }) => println!("{addr} left"),
                Ok(_) => {}
                Err(_) => break,
            },
        }
    }
    session.shutdown().await;
    Ok(())
}
