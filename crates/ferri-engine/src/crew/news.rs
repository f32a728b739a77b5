//! What a torrent makes of news about the session: another address or port of ours.

use std::net::IpAddr;
use std::time::Instant;

use ferri_swarm::Input;

use crate::network::Facts;
use crate::trackers::Trackers;

impl Facts {
    /// Takes note of new facts. The trackers are told what is news to them, the swarm wants these inputs.
    pub(super) fn replace(&mut self, new: Self, trackers: &mut Trackers, now: Instant) -> Vec<Input> {
        let old = std::mem::replace(self, new);
        let mut inputs = Vec::new();
        if old.port != new.port {
            trackers.listen_port(new.port, now);
            inputs.push(Input::ListenPort { port: new.port });
        }
        if let Some(ip) = new.v6.filter(|_| old.v6 != new.v6) {
            inputs.push(Input::ExternalAddress { ip: IpAddr::V6(ip) });
        }
        // Last: a swarm that keeps one address only has most of its peers in this family.
        if let Some(ip) = new.v4.filter(|_| old.v4 != new.v4) {
            inputs.push(Input::ExternalAddress { ip: IpAddr::V4(ip) });
        }
        inputs
    }
}

#[cfg(test)]
mod tests {
    use ferri_wire::PeerId;

    use super::*;
    use crate::trackers::{TrackerLists, TrackersOptions};

    fn check(old: Facts, new: Facts, expected: &[Input]) {
        let options = TrackersOptions {
            lists: TrackerLists::default(),
            total: Some(1),
            order: ferri_tracker::schedule::Order::default(),
            info_hash: [1; 20].into(),
            peer_id: PeerId::new("FS", [0; 4], [2; 12]),
            port: old.port,
            bind: None,
            trace: None,
        };
        let now = Instant::now();
        let mut told = old;
        assert_eq!(told.replace(new, &mut Trackers::new(options, now), now), expected);
        assert_eq!(told, new);
    }

    #[test]
    fn the_swarm_hears_what_is_news_to_it_and_of_what_is_lost_nothing() {
        let nothing = Facts { port: 6881, v4: None, v6: None };
        let both = Facts { port: 7, v4: Some([9, 9, 9, 9].into()), v6: Some([1; 16].into()) };
        check(nothing, nothing, &[]);
        let [v6, v4] = [IpAddr::from([1; 16]), [9, 9, 9, 9].into()].map(|ip| Input::ExternalAddress { ip });
        check(nothing, both, &[Input::ListenPort { port: 7 }, v6, v4]);
        check(both, nothing, &[Input::ListenPort { port: 6881 }]);
        check(both, both, &[]);
    }
}
