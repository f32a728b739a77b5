//! `magnet`: the link of a torrent. Asks nobody.

use ferri_metainfo::magnet::Magnet;

use crate::args::MagnetArgs;
use crate::console::Console;
use crate::env::Env;
use crate::exit::{Exit, Failure};
use crate::source::{self, Source};

pub(crate) async fn run(env: &mut Env, console: &Console, args: &MagnetArgs) -> Result<Exit, Failure> {
    let magnet = match source::load(env, &args.source).await? {
        Source::Torrent(metainfo) => Magnet::from_metainfo(&metainfo),
        Source::Magnet(magnet) => *magnet,
    };
    console.answer(&format!("{magnet}\n"))?;
    Ok(Exit::Done)
}
