//! `magnet`: the link of a torrent. Asks no peer and no tracker.

use ferri_metainfo::magnet::Magnet;

use crate::args::MagnetArgs;
use crate::console::Console;
use crate::env::{Env, Interrupts};
use crate::exit::{Exit, Failure};
use crate::loading;
use crate::out::{Existing, Out};
use crate::source::Source;

pub(crate) async fn run(
    env: &mut Env,
    console: &Console,
    args: &MagnetArgs,
    interrupts: Interrupts,
) -> Result<Exit, Failure> {
    let out = Out::new(env, args.output.clone(), Existing::with_force(args.force))?;
    let load = loading::any(args.fetch.bind);
    let loaded = loading::load(env, &args.source, load, &console.aside(), &interrupts).await?;
    let loaded = loaded.ok_or_else(loading::interrupted)?;
    loaded.warn(&args.source, console);
    let magnet = match loaded {
        Source::Torrent(metainfo) => Magnet::from_metainfo(&metainfo),
        Source::Magnet(magnet) => *magnet,
    };
    out.write(format!("{magnet}\n").as_bytes(), console)?;
    Ok(Exit::Done)
}
