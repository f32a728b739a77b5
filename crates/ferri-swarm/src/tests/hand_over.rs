//! From an info hash to a finished download: several machines, some of them liars.

use super::wired::Net;
use super::*;

#[test]
fn the_dictionary_comes_from_several_peers_and_the_transfer_goes_on_with_them() {
    let info = info_of(3_000, "");
    let mut net = Net::new(&info);
    let seeds: Vec<_> = (0..3).map(|_| net.add_seed(|_| {})).collect();
    let seeker = net.add_seeker();
    net.finds(seeker, Source::Dht, &seeds);
    assert!(net.run(seconds(5), |net| net.found(seeker).is_some()));
    assert_eq!(net.found(seeker).unwrap(), info);
    let stats = net.seeking(seeker).stats();
    assert!(stats.done && stats.peers == 3, "{stats:?}");
    net.hand_over(seeker);
    assert!(net.run(seconds(5), |net| 0 < net.swarm(seeker).stats().have_pieces));
    let stats = net.swarm(seeker).stats();
    assert_eq!((stats.peers, stats.peers_from.get(Source::Dht)), (3, 3));
    assert!(net.run(seconds(60), |net| net.swarm(seeker).have().is_full()));
    for reason in net.told(seeker, reason) {
        assert_eq!(reason, DisconnectReason::NothingToExchange);
    }
}

fn reason(output: &Output) -> Option<DisconnectReason> {
    match output {
        Output::Disconnect { reason, .. } => Some(*reason),
        _ => None,
    }
}

#[test]
fn of_three_peers_one_lies_and_only_it_is_refused() {
    let info = info_of(3_000, "");
    let mut wrong = info.to_vec();
    wrong[500] ^= 1;
    for liar in 0..3 {
        let mut net = Net::new(&info);
        for node in 0..3 {
            net.add_seed(|options| {
                if node == liar {
                    options.metadata = Some(wrong.clone().into());
                }
            });
        }
        let seeker = net.add_seeker();
        net.finds(seeker, Source::Tracker, &[0, 1, 2]);
        assert!(net.run(seconds(60), |net| net.found(seeker).is_some()), "liar {liar}");
        assert_eq!(net.found(seeker).unwrap(), info);
        for reason in net.told(seeker, reason) {
            assert_eq!(reason, Misbehavior::WrongMetadata.into());
        }
        net.hand_over(seeker);
        assert!(net.run(seconds(60), |net| net.swarm(seeker).have().is_full()));
    }
}

#[test]
fn a_peer_that_tells_another_size_holds_nobody_up() {
    let info = info_of(3_000, "");
    let longer = [&info[..], &[0; 100_000]].concat();
    let mut net = Net::new(&info);
    net.add_seed(|options| options.metadata = Some(longer.into()));
    net.add_seed(|_| {});
    let seeker = net.add_seeker();
    net.finds(seeker, Source::Tracker, &[0, 1]);
    assert!(net.run(seconds(5), |net| net.found(seeker).is_some()));
    assert_eq!(net.found(seeker).unwrap(), info);
}

#[test]
fn a_seeker_hears_of_peers_from_those_who_lack_pieces_too() {
    let info = info_of(3_000, "");
    let mut net = Net::new(&info);
    // It does not hear of the seeker, so that only one of them dials.
    let seed = net.add_seed(|options| (options.upload, options.pex) = (false, false));
    let leech = net.add_leech(|_| {});
    let seeker = net.add_seeker();
    net.finds(leech, Source::Explicit, &[seed]);
    net.finds(seeker, Source::Explicit, &[leech]);
    assert!(net.run(seconds(10), |net| net.found(seeker).is_some()));
    assert!(
        net.run(seconds(10), |net| net.seeking(seeker).stats().candidates == 2),
        "the leech told of the seed"
    );
    net.hand_over(seeker);
    assert!(net.run(seconds(10), |net| net.swarm(seeker).stats().peers == 2));
    assert_eq!(net.swarm(seeker).stats().peers_from.get(Source::Pex), 1);
}

#[test]
fn what_strangers_named_is_forgotten_when_the_torrent_turns_out_private() {
    let info = info_of(3_000, "7:privatei1e");
    let mut net = Net::new(&info);
    let nodes: Vec<_> = (0..5).map(|_| net.add_seed(|_| {})).collect();
    let seeker = net.add_seeker();
    for (node, source) in
        [(0, Source::Tracker), (1, Source::Dht), (2, Source::Pex), (3, Source::Lsd), (4, Source::Dht)]
    {
        net.finds(seeker, source, &[nodes[node]]);
    }
    // The tracker names one of those too.
    net.finds(seeker, Source::Tracker, &[4]);
    assert!(net.run(seconds(5), |net| net.found(seeker).is_some()));
    // At once, for it may be long until the torrent goes on.
    net.run(seconds(1), |_| false);
    let private = net.told(seeker, reason).filter(|reason| *reason == DisconnectReason::Private);
    assert_eq!((private.count(), net.seeking(seeker).stats().peers), (3, 2));
    net.hand_over(seeker);
    assert!(net.run(seconds(5), |net| 0 < net.swarm(seeker).stats().have_pieces));
    let stats = net.swarm(seeker).stats();
    assert_eq!((stats.peers, stats.peers_from.get(Source::Tracker), stats.candidates), (2, 2, 2));
    assert!(net.run(seconds(60), |net| net.swarm(seeker).have().is_full()));
    assert_eq!(net.swarm(seeker).stats().candidates_from.get(Source::Pex), 0);
}
