//! What the machine gives: cores, descriptors, memory.

use std::fs;
use std::num::NonZero;
use std::path::Path;
use std::thread::available_parallelism;

use ferri_tracker::server::PEERS_LIMIT;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors left for everything but connections: sockets that listen, lists, state, the program's own files.
const DESCRIPTORS_LEFT: u64 = 128;

/// Connections over HTTP at once, whatever the system allows. Each takes 400 bytes here and some KiB in the kernel.
const CONNECTIONS_MAX: u64 = 65_536;

/// Connections that are served however few descriptors there are.
const CONNECTIONS_MIN: u64 = 16;

/// The descriptors of a system that sets no limit.
const UNLIMITED: u64 = 1 << 20;

/// The part of the memory that connections may hold: clients that send half a request or take no answer.
const BUFFER_PART: u64 = 16;

/// What they may hold on the smallest machine.
const BUFFERS_MIN: usize = 8 << 20;

/// The part of the memory that peers may fill. The rest is for the system's buffers, and for writing down what is known.
const MEMORY_PART: u64 = 4;

/// Bytes that a peer takes: one of IPv6, and its part of a torrent with one peer.
const PEER_BYTES: u64 = 64;

/// Peers that are remembered on the smallest machine.
const PEERS_MIN: u64 = 100_000;

/// Bytes of memory of a machine that does not say how much it has.
const MEMORY_UNKNOWN: u64 = 1 << 30;

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

/// Bytes that connections over HTTP may hold, all together.
pub(crate) fn buffers() -> usize {
    usize::try_from(memory() / BUFFER_PART).unwrap_or(usize::MAX).max(BUFFERS_MIN)
}

/// Peers that this machine has room for.
pub(crate) fn peers() -> usize {
    peers_within(memory())
}

fn peers_within(memory: u64) -> usize {
    let peers = memory / MEMORY_PART / PEER_BYTES;
    usize::try_from(peers.max(PEERS_MIN)).unwrap_or(usize::MAX).min(PEERS_LIMIT)
}

/// Bytes of memory of this machine, or of the part of it that this process may use.
pub(crate) fn memory() -> u64 {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| parse_meminfo(&text));
    let group = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limit = parse_group(&group).into_iter().flat_map(|group| {
        // Each group above sets a limit too.
        let root = Path::new("/sys/fs/cgroup");
        let folder = root.join(group.trim_start_matches('/'));
        let limits = folder.ancestors().take_while(|folder| folder.starts_with(root));
        let limits = limits.filter_map(|folder| fs::read_to_string(folder.join("memory.max")).ok());
        limits.filter_map(|text| text.trim().parse().ok()).collect::<Vec<u64>>()
    });
    limit.chain(machine).min().unwrap_or(MEMORY_UNKNOWN)
}

fn parse_meminfo(text: &str) -> Option<u64> {
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    total.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The group of version 2, in which limits are set.
fn parse_group(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("0::"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_is_found_in_what_the_system_writes() {
        assert_eq!(parse_meminfo("MemTotal:       16384 kB\nMemFree: 1 kB\n"), Some(16 << 20));
        assert_eq!(parse_meminfo("nothing"), None);
        assert_eq!(parse_group("1:cpu:/a\n0::/system.slice/x.service\n"), Some("/system.slice/x.service"));
    }

    #[test]
    fn peers_fill_a_quarter_of_the_memory_within_the_bounds_of_the_registry() {
        assert_eq!(peers_within(1 << 20) as u64, PEERS_MIN);
        assert_eq!(peers_within(4 << 30), 1 << 24);
        assert_eq!(peers_within(64 << 30), PEERS_LIMIT);
        assert_eq!(peers_within(u64::MAX), PEERS_LIMIT);
    }

    #[test]
    fn what_is_wanted_is_given_within_what_there_is() {
        assert_eq!(connections(20), 20);
        assert!(CONNECTIONS_MIN as usize <= connections(0));
        assert!(connections(usize::MAX) <= CONNECTIONS_MAX as usize);
    }
}
