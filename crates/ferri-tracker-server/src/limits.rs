//! What the machine gives: cores, descriptors.

use std::num::NonZero;
use std::thread::available_parallelism;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors left for everything but connections: sockets that listen, lists, state, the program's own files.
const DESCRIPTORS_LEFT: u64 = 128;

/// Connections over HTTP at once, whatever the system allows. Each takes 400 bytes here and some KiB in the kernel.
const CONNECTIONS_MAX: u64 = 65_536;

/// Connections that are served however few descriptors there are.
const CONNECTIONS_MIN: u64 = 16;

/// The descriptors of a system that sets no limit.
const UNLIMITED: u64 = 1 << 20;

/// Threads for each kind of request when nothing is said.
pub(crate) fn cores() -> usize {
    available_parallelism().map_or(1, NonZero::get)
}

/// Raises the number of descriptors as far as the system allows, and says how many connections there can be: `wanted`, or as many as
/// possible when that is 0.
pub(crate) fn connections(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(UNLIMITED);
    let connections = descriptors.saturating_sub(DESCRIPTORS_LEFT).clamp(CONNECTIONS_MIN, CONNECTIONS_MAX);
    let connections = usize::try_from(connections).unwrap_or(usize::MAX);
    if wanted == 0 { connections } else { wanted.min(connections) }
}
