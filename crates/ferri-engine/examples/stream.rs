//! Writes a file of a torrent to standard output while it is fetched:
//! `cargo run --example stream -- TORRENT FILE_NUMBER [PEER]... | mpv -`

use std::error::Error;
use std::io::Write;

use ferri_engine::{AddTorrent, FilePriority, Session, SessionOptions};
use ferri_metainfo::{FileIndex, Metainfo};
use tokio::io::AsyncReadExt;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(torrent), Some(file)) = (arguments.next(), arguments.next()) else {
        return Err("usage: stream TORRENT FILE_NUMBER [PEER]...".into());
    };
    let folder = std::env::temp_dir().join("ferriswarm-example-stream");
    let session = Session::start(SessionOptions::new(folder.join("state"))).await?;
    let metainfo = Metainfo::parse(&std::fs::read(torrent)?)?;
    let files = metainfo.info().layout().file_count();
    let mut add = AddTorrent::new(metainfo, &folder);
    // A reader fetches what it needs, whether the file is wanted or not. Nothing else is.
    add.priorities = vec![FilePriority::Skip; files];
    add.peers = arguments.map(|peer| peer.parse()).collect::<Result<_, _>>()?;
    let torrent = session.add(add).await?;
    let mut reader = torrent.reader(FileIndex(file.parse()?)).await?;
    // It also seeks: `AsyncSeekExt::seek`.
    let mut buffer = vec![0; 64 << 10];
    loop {
        match reader.read(&mut buffer).await? {
            0 => break,
            length => std::io::stdout().write_all(&buffer[..length])?,
        }
    }
    session.shutdown().await;
    Ok(())
}
