//! `magnet`: the link of a torrent. Asks nobody.

use ferri_metainfo::magnet::Magnet;

use crate::args::MagnetArgs;
use crate::console::Console;
use crate::env::Env;
use crate::exit::{Exit, Failure};
use crate::out::{Existing, Out};
use crate::source::{self, Source};

pub(crate) async fn run(env: &mut Env, console: &Console, args: &MagnetArgs) -> Result<Exit, Failure> {
    let out = Out::new(env, args.output.clone(), Existing::with_force(args.force))?;
    let loaded = source::load(env, &args.source).await?;
    loaded.warn(&args.source, console);
    let magnet = match loaded {
        Source::Torrent(metainfo) => Magnet::from_metainfo(&metainfo),
        Source::Magnet(magnet) => *magnet,
    };
    out.write(format!("{magnet}\n").as_bytes(), console)?;
    Ok(Exit::Done)
}
