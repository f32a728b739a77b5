//! `dht`: a node by itself, and values in the DHT (BEP 44).

mod items;
mod key;
mod table;

use ferri_engine::dht::{Dht, DhtNode, DhtOptions, Family, STATE_FILE};
use tokio::time::{Duration, Instant, sleep};

use crate::args::dht::{DhtArgs, DhtCommand, Node};
use crate::console::Console;
use crate::env::{Env, Interrupts};
use crate::exit::{Exit, Failure};
use crate::session;

/// A network that does not answer within this time is not there.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at a node that enters the network.
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub(crate) async fn run(
    env: &mut Env,
    console: &Console,
    args: DhtArgs,
    interrupts: Interrupts,
) -> Result<Exit, Failure> {
    match args.command {
        DhtCommand::Node(args) => table::run(env, console, &args, interrupts).await,
        DhtCommand::Get(args) => {
            let key = items::key(&args.target, &args.salt)?;
            let node = start(env, &args.node).await?;
            let result = interruptible(interrupts, items::get(console, node.dht(), key)).await;
            node.shutdown().await;
            result
        }
        DhtCommand::Put(args) => {
            // Whatever is wrong with the value is said before any node is asked.
            let value = items::value(env, &args)?;
            let signer = items::signer(env, console, &args)?;
            let node = start(env, &args.node).await?;
            let result =
                interruptible(interrupts, items::put(console, node.dht(), &args, value, signer)).await;
            node.shutdown().await;
            result
        }
    }
}

async fn interruptible(
    interrupts: Interrupts,
    work: impl Future<Output = Result<Exit, Failure>>,
) -> Result<Exit, Failure> {
    tokio::select! {
        biased;
        () = interrupts.pressed(1) => Ok(Exit::Interrupted),
        result = work => result,
    }
}

async fn start(env: &Env, node: &Node) -> Result<DhtNode, Failure> {
    let dir = match &node.state_dir {
        Some(dir) => Some(env.path(dir)),
        None => env.default_state_dir(),
    };
    if let Some(dir) = &dir {
        ferri_engine::create_state_folder(dir).map_err(|error| Failure::file("create", dir, &error))?;
    }
    let options = DhtOptions {
        bind: node.bind,
        port: node.dht_port,
        routers: node.dht_router.clone(),
        state: dir.map(|dir| dir.join(STATE_FILE)),
        ..DhtOptions::default()
    };
    DhtNode::start(options).await.map_err(|error| session::failure(&error))
}

/// Waits until the node knows others, and tells how it goes.
async fn entered(console: &Console, dht: &Dht) -> Result<(), Failure> {
    let live = console.live_area();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let Some(status) = dht.status().await else {
            return Err(Failure::new(Exit::Internal, "the DHT node stopped".to_owned()));
        };
        if status.families.iter().any(|family| family.bootstrapped) {
            return Ok(());
        }
        let nodes: usize = status.families.iter().map(|family| family.good).sum();
        if deadline <= Instant::now() {
            // A few nodes are better than none: a small network has no more.
            return if 0 < nodes {
                Ok(())
            } else {
                Err(Failure::new(Exit::Network, "no DHT node answers".to_owned())
                    .hint("name one that is known to work with --dht-router HOST:PORT"))
            };
        }
        live.set(vec![format!(
            "entering the DHT: {nodes} nodes answered, {} asked",
            status.counts.queries_out
        )]);
        sleep(LOOK_EVERY).await;
    }
}

fn family_name(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}
