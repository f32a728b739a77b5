//! `tracker`: a tracker from memory, until stopped.

use std::time::Duration;

use ferri_tracker_server::{Options, TrackerServer};
use tokio::time::interval;

use crate::args::TrackerArgs;
use crate::console::Console;
use crate::env::Interrupts;
use crate::exit::{Exit, Failure};
use crate::units;

pub(crate) async fn run(
    console: &Console,
    args: &TrackerArgs,
    interrupts: Interrupts,
) -> Result<Exit, Failure> {
    let server = TrackerServer::start(Options::on(args.listen.to_string())).map_err(|error| {
        Failure::new(Exit::Network, error.to_string())
            .hint("choose another address or port with --listen, or end the program that has this one")
    })?;
    console.line(&format!("tracker  {}", server.http_url()));
    console.line(&format!("         {}", server.udp_url()));
    console.line(&format!("stats    http://{}/stats", server.addr()));
    let live = console.live_area();
    let mut ticks = interval(LOOK_EVERY);
    loop {
        tokio::select! {
            biased;
            () = interrupts.pressed(1) => break,
            _ = ticks.tick() => {
                console.look_at_output();
                live.set(vec![counts(&server)]);
            }
        }
    }
    drop(live);
    console.line(&format!("stopped; knew {}", counts(&server)));
    server.shutdown();
    Ok(Exit::Done)
}

const LOOK_EVERY: Duration = Duration::from_secs(1);

fn counts(server: &TrackerServer) -> String {
    let (swarms, peers) = server.counts();
    format!(
        "{}, {}",
        units::count(swarms as u64, "swarm", "swarms"),
        units::count(peers as u64, "peer", "peers")
    )
}
