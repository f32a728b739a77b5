//! What the node is told by those who cannot wait for it. It is gathered until the node's task looks: nothing is lost while
//! that is busy, and nothing grows without end.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

/// Addresses of nodes that wait: many lookups' worth. Peers name theirs again with each connection.
const CONTACTS_MAX: usize = 256;
/// Names of nodes that wait to be resolved, from all torrents.
const HOSTS_MAX: usize = 1_024;

/// What came since the last look.
#[derive(Debug, Default)]
pub(super) struct News {
    /// We are on another network.
    pub(super) has_moved: bool,
    /// A router lets strangers in, or does not any more.
    pub(super) is_reach_new: bool,
    /// Our address as the world sees it: the last word for each family, IPv4 first.
    pub(super) external: [Option<IpAddr>; 2],
    /// Peers say that nodes are there (BEP 5, PORT).
    pub(super) contacts: BTreeSet<SocketAddr>,
    /// Torrents name nodes.
    pub(super) hosts: BTreeSet<(String, u16)>,
}

impl News {
    pub(super) fn seen_as(&mut self, ip: IpAddr) {
        self.external[usize::from(ip.is_ipv6())] = Some(ip);
    }

    pub(super) fn contact(&mut self, addr: SocketAddr) {
        if self.contacts.len() < CONTACTS_MAX {
            self.contacts.insert(addr);
        }
    }

    pub(super) fn hosts(&mut self, hosts: &[(String, u16)]) {
        let room = HOSTS_MAX.saturating_sub(self.hosts.len());
        self.hosts.extend(hosts.iter().take(room).cloned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_counts_and_a_flood_takes_no_memory() {
        let mut news = News::default();
        for n in 0..=255 {
            news.seen_as([9, 9, 9, n].into());
            (1..100).for_each(|port| news.contact(([9, 9, 9, n], port).into()));
            for port in 1..9 {
                news.hosts(&[(format!("{n}.example"), port), ("twice.example".to_owned(), 1)]);
            }
        }
        news.seen_as([1; 16].into());
        assert_eq!(news.external, [Some([9, 9, 9, 255].into()), Some([1; 16].into())]);
        assert_eq!((news.contacts.len(), news.hosts.len()), (CONTACTS_MAX, HOSTS_MAX));
    }
}
