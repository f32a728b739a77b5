//! The rules of the protocol, in lives that chance wrote.

use std::collections::BTreeSet;
use std::time::Duration;

use ferri_tracker::udp::Family;
use ferri_tracker::{Announce, AnnounceResponse, Event, Input, RetryIn, ScheduleOptions, TrackerError};
use proptest::prelude::*;

use crate::world::{Reaction, Sent, World, hours, minutes, options, seconds};

#[derive(Clone, Debug)]
enum Step {
    Start,
    Stop,
    Complete,
    NeedPeers,
    Reannounce,
    Add,
    /// The trackers that are listed, a bit each, and which of them is the first.
    Set(u8, usize),
    Port(u16),
    Wait(u64),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => Just(Step::Start),
        2 => Just(Step::Stop),
        1 => Just(Step::Complete),
        1 => Just(Step::NeedPeers),
        1 => Just(Step::Reannounce),
        1 => Just(Step::Add),
        3 => (0u8..32, 0usize..5).prop_map(|(listed, first)| Step::Set(listed, first)),
        1 => any::<u16>().prop_map(Step::Port),
        3 => (0u64..4).prop_map(Step::Wait),
        3 => (0u64..100).prop_map(Step::Wait),
        2 => (0u64..20_000).prop_map(Step::Wait),
    ]
}

/// A tracker whose n-th reaction is the n-th of these, over and over.
fn any_script() -> impl Strategy<Value = Vec<(u64, u8)>> {
    prop::collection::vec((prop_oneof![Just(0u64), 0u64..50], 0u8..8), 1..8)
}

fn react(delay: u64, kind: u8) -> Reaction {
    let result = match kind {
        0 => Err(TrackerError::TimedOut),
        1 => Err(TrackerError::Unreachable { why: "refused".to_owned() }),
        2 => Err(TrackerError::Failure { reason: "no".to_owned(), retry_in: RetryIn::After(minutes(7)) }),
        4 if delay.is_multiple_of(2) => {
            let retry_after = delay.is_multiple_of(4).then(|| seconds(delay % 5));
            Err(TrackerError::Status { status: 503, excerpt: String::new(), retry_after })
        }
        3 if delay == 49 => Err(TrackerError::Failure { reason: "no".to_owned(), retry_in: RetryIn::Never }),
        _ => Ok(AnnounceResponse {
            peers: (0..kind).map(|last| ([10, 0, 0, last], 1).into()).collect(),
            min_interval: (kind == 5).then_some(minutes(3)),
            ..AnnounceResponse::new(Duration::from_secs(delay * 100))
        }),
    };
    (seconds(delay), result)
}

/// Every stretch between two `stopped` is one session, or several of which the tracker cannot know.
fn check_tracker(sent: &[&Sent]) -> Result<(), TestCaseError> {
    let mut knows_left = None;
    let mut may_know = false;
    let mut completed = false;
    for sent in sent {
        let announce = &sent.announce;
        match announce.event {
            Some(Event::Started) => {
                prop_assert_eq!(knows_left, None, "started twice");
                may_know = true;
                completed = false;
                knows_left = sent.answered.then_some(announce.left);
            }
            Some(Event::Completed) => {
                prop_assert!(knows_left.is_some_and(|left| 0 < left), "completed from one who had it all");
                prop_assert!(!completed, "completed twice");
                prop_assert_eq!(announce.left, 0);
                completed = sent.answered;
            }
            Some(Event::Stopped) => {
                prop_assert!(may_know, "stopped without started");
                prop_assert_eq!(announce.numwant, Some(0));
                (knows_left, may_know) = (None, false);
            }
            Some(Event::Paused) | None => prop_assert!(knows_left.is_some(), "a regular announce first"),
        }
    }
    Ok(())
}

fn set(listed: u8, first: usize) -> Input {
    let is_listed = |number: &usize| listed & (1 << number) != 0;
    let mut urls: Vec<_> =
        (0..5).map(|n| (first + n) % 5).filter(is_listed).map(|n| format!("http://t{n}/announce")).collect();
    let beside = urls.split_off(urls.len() / 2);
    Input::SetTrackers { tiers: urls.chunks(2).map(<[_]>::to_vec).collect(), beside }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_tracker_hears_a_sensible_story(
        steps in prop::collection::vec(any_step(), 0..60),
        scripts in prop::collection::vec(any_script(), 10),
        seed in any::<u64>(),
        waits in prop::collection::vec(0u64..200, 0..9),
    ) {
        let options = ScheduleOptions { paced: !waits.is_empty(), ..options() };
        let mut world = World::with_options(&[&["t0", "t1"], &["t2"], &["t3"]], options, seed);
        let mut turns = waits.into_iter().cycle();
        world.turns(move |had| seconds(turns.next().filter(|_| !had).unwrap_or(0)));
        world.patience = seconds(1);
        for (number, script) in scripts.into_iter().enumerate() {
            let mut turn = 0;
            let reaction = move |_: &Announce, _| {
                let (delay, kind) = script[turn % script.len()];
                turn += 1;
                react(delay, kind)
            };
            let name = format!("t{}", number / 2);
            if number % 2 == 0 { world.tracker(&name, reaction) } else { world.tracker6(&name, reaction) }
        }
        let mut running = false;
        for step in steps {
            match step {
                Step::Start => world.input(Input::Start),
                Step::Stop => world.input(Input::Stop),
                Step::Complete => world.input(Input::Completed),
                Step::NeedPeers => world.input(Input::NeedPeers),
                Step::Reannounce => world.input(Input::Reannounce),
                Step::Add => world.input(Input::AddTracker { url: "http://t4/announce".to_owned() }),
                Step::Set(listed, first) => world.input(set(listed, first)),
                Step::Port(port) => world.input(Input::ListenPort(port)),
                Step::Wait(time) => world.run(seconds(time)),
            }
            running = match step {
                Step::Start => true,
                Step::Stop => false,
                _ => running,
            };
        }
        // While it runs it never gives up on a tracker that may still be asked.
        if running {
            let before = world.sent.len();
            world.run(hours(49));
            let words: BTreeSet<String> =
                world.schedule.trackers().iter().map(|tracker| tracker.state.to_string()).collect();
            prop_assert!(before < world.sent.len() || words.len() <= 1, "{:?}", words);
        }
        let stopped = world.stopped.len();
        world.input(Input::Stop);
        world.run(minutes(2));
        prop_assert_eq!(world.stopped.len(), stopped + 1);
        prop_assert_eq!(world.schedule.poll_timeout(), None);
        for number in 0..5 {
            let url = format!("http://t{number}/announce");
            for family in [Family::V4, Family::V6] {
                let is_its = |sent: &&Sent| sent.url == url && sent.family == family;
                check_tracker(&world.sent.iter().filter(is_its).collect::<Vec<_>>())?;
            }
        }
    }
}
