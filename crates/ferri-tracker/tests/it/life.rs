//! Whole lives of a schedule.

use std::time::Duration;

use ferri_tracker::schedule::{HAND_OVER, Order};
use ferri_tracker::udp::Family;
use ferri_tracker::{
    AnnounceResponse, Event, Input, Notice, Output, RetryIn, Role, ScheduleOptions, TrackerError,
    TrackerState,
};

use crate::world::{World, absent, alive, busy, dead, hours, minutes, options, seconds};

const STARTED: Option<Event> = Some(Event::Started);
const COMPLETED: Option<Event> = Some(Event::Completed);
const STOPPED: Option<Event> = Some(Event::Stopped);

fn stats(uploaded: u64, downloaded: u64, left: u64) -> Input {
    Input::Stats { uploaded, downloaded, left }
}

#[test]
fn an_ordinary_download_says_started_completed_and_stopped_once_each() {
    let mut world = World::new(&[&["a"]]);
    world.tracker("a", |_, _| alive(minutes(30), 5));
    world.input(Input::Start);
    assert_eq!(world.last().numwant, Some(200));
    world.run(minutes(45));
    world.input(stats(10, 990, 10));
    world.input(Input::Completed);
    assert_eq!((world.last().left, world.last().downloaded, world.last().numwant), (0, 990, Some(50)));
    world.run(minutes(90));
    world.input(stats(5000, 1000, 0));
    world.input(Input::Stop);
    assert_eq!((world.last().uploaded, world.last().left, world.last().numwant), (5000, 0, Some(0)));
    world.run(hours(10));
    // Regular announces go on half an hour after each answer, and none after `stopped`.
    let minute = 60;
    assert_eq!(
        world.log("a"),
        [
            (0, STARTED),
            (30 * minute, None),
            (45 * minute, COMPLETED),
            (75 * minute, None),
            (105 * minute, None),
            (135 * minute, None),
            (135 * minute, STOPPED)
        ]
    );
    assert_eq!(world.stopped, [minutes(135)]);
    assert_eq!(world.peers, 6 * 5);
    assert_eq!(world.schedule.poll_timeout(), None);
    let keys: Vec<u32> = world.sent.iter().map(|sent| sent.announce.key).collect();
    assert!(keys.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn who_had_everything_at_the_start_never_says_completed() {
    let mut world = World::new(&[&["a"]]);
    world.tracker("a", |_, _| alive(minutes(30), 0));
    world.input(stats(0, 0, 0));
    world.input(Input::Start);
    assert_eq!(world.last().numwant, Some(50));
    world.input(Input::Completed);
    world.run(hours(2));
    world.input(Input::Stop);
    world.run(minutes(1));
    assert_eq!(world.heard("a", Event::Completed), 0);
    assert_eq!((world.heard("a", Event::Started), world.heard("a", Event::Stopped)), (1, 1));
}

#[test]
fn completing_while_started_is_under_way_is_told_right_after() {
    let mut world = World::new(&[&["a"]]);
    world.tracker("a", |_, _| (seconds(3), alive(minutes(30), 1).1));
    world.input(Input::Start);
    world.run(seconds(1));
    world.input(Input::Completed);
    world.run(minutes(1));
    assert_eq!(world.log("a"), [(0, STARTED), (3, COMPLETED)]);
}

#[test]
fn completed_that_got_lost_goes_with_the_next_announce_and_only_with_that() {
    let mut world = World::new(&[&["a"]]);
    world.tracker("a", |_, at| if at == minutes(1) { absent() } else { alive(minutes(30), 1) });
    world.input(Input::Start);
    world.run(minutes(1));
    world.input(Input::Completed);
    world.run(hours(2));
    assert_eq!(world.log("a")[..4], [(0, STARTED), (60, COMPLETED), (75, COMPLETED), (75 + 1800, None)]);
    assert_eq!(world.heard("a", Event::Completed), 1);
}

#[test]
fn a_dead_first_tracker_costs_five_seconds_once() {
    let mut world = World::new(&[&["dead"], &["b"]]);
    world.tracker("b", |_, _| alive(minutes(30), 3));
    world.input(Input::Start);
    world.run(hours(8));
    assert_eq!(world.log("b")[..2], [(5, STARTED), (1835, None)]);
    assert_eq!(world.log("dead")[..2], [(0, STARTED), (1805, STARTED)]);
    // BEP 12: each later announce tries the first one first, and then the second.
    let each = world.log("b").len();
    assert!((15..=17).contains(&each) && world.log("dead").len() <= each + 1);
    world.input(Input::Stop);
    world.run(minutes(2));
    assert_eq!(world.heard("b", Event::Stopped), 1);
    // It may have heard `started`, so it hears `stopped`, once.
    assert_eq!(world.log("dead").iter().filter(|(_, event)| *event == STOPPED).count(), 1);
    assert_eq!(world.stopped.len(), 1);
}

#[test]
fn a_tracker_that_is_not_there_hears_no_stopped_and_costs_no_time() {
    let mut world = World::new(&[&["absent"], &["b"]]);
    world.tracker("absent", |_, _| absent());
    world.tracker("b", |_, _| alive(minutes(30), 3));
    world.input(Input::Start);
    world.run(seconds(1));
    assert_eq!(world.log("b"), [(0, STARTED)]);
    world.input(Input::Stop);
    assert_eq!(world.log("absent"), [(0, STARTED)]);
    world.run(seconds(0));
    assert_eq!(world.stopped, [seconds(1)]);
}

#[test]
fn when_all_are_dead_the_tries_become_rare_but_never_stop() {
    let mut world = World::new(&[&["a", "b"], &["c"]]);
    for name in ["a", "b", "c"] {
        world.tracker(name, |_, _| absent());
    }
    world.input(Input::Start);
    world.run(hours(24));
    let log = world.log("c");
    let times: Vec<u64> = log.iter().map(|(at, _)| *at).collect();
    assert_eq!(times[..8], [0, 15, 45, 105, 225, 465, 945, 1905]);
    assert!(times[8..].windows(2).all(|pair| pair[1] - pair[0] == 1800));
    assert!(log.iter().all(|(_, event)| *event == STARTED));
    assert!((world.log("a").len(), world.log("b").len()) == (times.len(), times.len()));
    assert!(world.schedule.trackers().iter().all(|tracker| tracker.state == TrackerState::Failing));
}

#[test]
fn a_flapping_tracker_is_joined_once_and_its_stand_in_used_meanwhile() {
    let mut world = World::new(&[&["flaps"], &["b"]]);
    // Ten minutes there, ten minutes not.
    world.tracker("flaps", |_, at| if at.as_secs() / 600 % 2 == 0 { alive(minutes(5), 1) } else { absent() });
    world.tracker("b", |_, _| alive(minutes(5), 1));
    world.input(Input::Start);
    world.run(hours(12));
    world.input(Input::Completed);
    world.run(hours(12));
    world.input(Input::Stop);
    world.run(minutes(1));
    for name in ["flaps", "b"] {
        for event in [Event::Started, Event::Completed, Event::Stopped] {
            let heard = world.heard(name, event);
            // At the very end it may be away.
            assert!(heard == 1 || name == "flaps" && event == Event::Stopped, "{name} {event} {heard}");
        }
    }
    assert!(world.log("flaps").len() > 100 && world.log("b").len() > 50);
}

#[test]
fn the_answering_tracker_comes_first_in_its_tier() {
    let mut world = World::with_options(&[&["a", "b", "c"]], options(), 3);
    for name in ["a", "b", "c"] {
        world.tracker(name, move |_, _| if name == "c" { alive(minutes(10), 1) } else { absent() });
    }
    world.input(Input::Start);
    world.run(hours(2));
    let asked_later: Vec<_> = world.sent.iter().filter(|sent| seconds(1) < sent.at).collect();
    assert!(!asked_later.is_empty() && asked_later.iter().all(|sent| sent.url.contains("//c/")));
}

#[test]
fn tiers_are_shuffled_by_the_seed_and_all_first_places_occur() {
    let firsts: std::collections::BTreeSet<String> = (0..50)
        .map(|seed| {
            let mut world = World::with_options(&[&["a", "b", "c"], &["d"]], options(), seed);
            world.input(Input::Start);
            world.sent[0].url.clone()
        })
        .collect();
    assert_eq!(firsts.len(), 3);
}

#[test]
fn lying_intervals_are_not_obeyed() {
    for (interval, least, most) in [
        (Duration::ZERO, 60, 60),
        (seconds(1), 60, 60),
        (Duration::MAX, 86_400, 86_400),
        (seconds(1 << 63), 86_400, 86_400),
    ] {
        let mut world = World::new(&[&["a"]]);
        world.tracker("a", move |_, _| alive(interval, 1));
        world.input(Input::Start);
        world.run(hours(72));
        let times: Vec<u64> = world.log("a").iter().map(|(at, _)| *at).collect();
        assert!(times.windows(2).all(|pair| (least..=most).contains(&(pair[1] - pair[0]))), "{interval:?}");
        assert!(2 < times.len());
    }
}

fn with_minimum(interval: Duration, minimum: Option<Duration>, peers: u8) -> crate::world::Reaction {
    let (delay, answer) = alive(interval, peers);
    (delay, answer.map(|answer| AnnounceResponse { min_interval: minimum, ..answer }))
}

#[test]
fn running_short_of_peers_asks_early_but_never_too_early() {
    for (minimum, seconds_between) in [(Some(minutes(2)), 120), (Some(Duration::ZERO), 60), (None, 300)] {
        let mut world = World::new(&[&["a"]]);
        world.tracker("a", move |_, _| with_minimum(minutes(30), minimum, 1));
        world.input(Input::Start);
        for _ in 0..3600 {
            world.run(seconds(1));
            world.input(Input::NeedPeers);
        }
        let times: Vec<u64> = world.log("a").iter().map(|(at, _)| *at).collect();
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] == seconds_between), "{times:?}");
    }
}

#[test]
fn the_need_for_peers_outlasts_an_answer_without_any() {
    let mut world = World::new(&[&["a"]]);
    world.tracker("a", |_, at| with_minimum(minutes(30), Some(minutes(1)), u8::from(minutes(3) < at)));
    world.input(Input::Start);
    world.run(seconds(1));
    world.input(Input::NeedPeers);
    world.run(minutes(60));
    assert_eq!(
        world.log("a"),
        [(0, STARTED), (60, None), (120, None), (180, None), (240, None), (240 + 1800, None)]
    );
}

#[test]
fn a_refusal_with_a_time_is_respected_and_never_is_never() {
    let refusal = |retry_in| {
        let error = TrackerError::Failure { reason: "no".to_owned(), retry_in };
        (seconds(0), Err(error))
    };
    let mut world = World::new(&[&["later"], &["never"]]);
    world.tracker("later", move |_, _| refusal(RetryIn::After(minutes(90))));
    world.tracker("never", move |_, _| refusal(RetryIn::Never));
    world.input(Input::Start);
    for _ in 0..100 {
        world.run(minutes(5));
        world.input(Input::Reannounce);
        world.input(Input::NeedPeers);
    }
    assert_eq!(world.log("never").len(), 1);
    let times: Vec<u64> = world.log("later").iter().map(|(at, _)| *at).collect();
    assert_eq!(times[..3], [0, 5400, 10800]);
    assert_eq!(world.schedule.trackers()[1].state, TrackerState::Refused);
    // A tracker that refused us does not hear that we leave.
    world.input(Input::Stop);
    assert_eq!(world.stopped.len(), 1);
    assert!(world.log("later").iter().all(|(_, event)| *event == STARTED));
}

#[test]
fn an_impatient_user_is_obeyed_every_fifteen_seconds_at_most() {
    let mut world = World::new(&[&["absent"]]);
    world.tracker("absent", |_, _| absent());
    world.input(Input::Start);
    world.run(hours(3));
    let before = world.sent.len();
    for turn in 0..60 {
        world.run(seconds(1));
        match turn % 3 {
            0 => world.input(Input::Reannounce),
            1 => world.input(Input::Stop),
            _ => world.input(Input::Start),
        }
    }
    assert!((2..=4).contains(&(world.sent.len() - before)), "{}", world.sent.len() - before);
}

#[test]
fn a_pause_ends_one_session_and_numbers_begin_again_with_the_next() {
    let mut world = World::new(&[&["a"]]);
    world.tracker("a", |_, _| alive(minutes(30), 1));
    world.input(stats(7, 100, 900));
    world.input(Input::Start);
    assert_eq!((world.last().uploaded, world.last().downloaded), (0, 0));
    world.input(stats(17, 400, 600));
    world.run(seconds(10));
    world.input(Input::Stop);
    assert_eq!((world.last().event, world.last().uploaded, world.last().downloaded), (STOPPED, 10, 300));
    world.run(seconds(1));
    world.input(Input::Start);
    assert_eq!((world.last().event, world.last().uploaded, world.last().left), (STARTED, 0, 600));
    world.run(seconds(1));
    world.input(Input::Completed);
    assert_eq!((world.last().event, world.last().left), (COMPLETED, 0));
    world.run(seconds(1));
    assert_eq!(world.stopped.len(), 1);
}

#[test]
fn stop_waits_a_little_for_an_announce_under_way() {
    // Answered soon enough: `stopped` follows the answer.
    let mut world = World::new(&[&["a"]]);
    world.tracker("a", |_, _| (seconds(1), alive(minutes(30), 1).1));
    world.input(Input::Start);
    world.input(Input::Stop);
    world.run(minutes(1));
    assert_eq!((world.log("a"), world.cancelled), (vec![(0, STARTED), (1, STOPPED)], 0));
    assert_eq!((world.stopped, world.peers), (vec![seconds(2)], 0));

    // Not answered: the announce is dropped, and `stopped` sent because it may have been heard.
    let mut world = World::new(&[&["dead"]]);
    world.input(Input::Start);
    world.input(Input::Stop);
    world.run(minutes(2));
    assert_eq!(world.log("dead"), [(0, STARTED), (HAND_OVER.as_secs(), STOPPED)]);
    assert_eq!((world.cancelled, world.stopped.len()), (1, 1));
}

#[test]
fn a_quick_pause_and_resume_is_told_in_order() {
    let mut world = World::new(&[&["a"]]);
    world.tracker("a", |_, at| if at < seconds(10) { alive(minutes(30), 1) } else { dead() });
    world.input(Input::Start);
    world.run(seconds(10));
    world.input(Input::Stop);
    world.input(Input::Start);
    world.input(Input::Stop);
    world.input(Input::Start);
    world.run(seconds(3));
    assert_eq!(world.log("a"), [(0, STARTED), (10, STOPPED), (12, STARTED)]);
    assert_eq!(world.stopped, []);
    // Stopping while the restart waits comes to rest.
    world.input(Input::Stop);
    world.input(Input::Start);
    world.input(Input::Stop);
    world.run(minutes(2));
    assert_eq!(world.stopped.len(), 1);
    world.input(Input::Stop);
    assert_eq!(world.stopped.len(), 2);
}

#[test]
fn a_tracker_that_the_user_adds_is_used_besides_the_others() {
    let mut world = World::new(&[&["a"]]);
    for name in ["a", "added", "early"] {
        world.tracker(name, |_, _| alive(minutes(30), 1));
    }
    world.input(Input::AddTracker { url: " http://early/announce ".to_owned() });
    world.input(Input::Start);
    world.run(minutes(10));
    world.input(Input::AddTracker { url: "http://added/announce".to_owned() });
    world.input(Input::AddTracker { url: "http://a/announce".to_owned() });
    world.run(minutes(10));
    assert_eq!(world.log("early"), [(0, STARTED)]);
    assert_eq!(world.log("added"), [(600, STARTED)]);
    assert_eq!(world.schedule.trackers().len(), 3);
    assert_eq!(world.schedule.trackers()[2].tier, 2);
}

#[test]
fn every_tier_can_be_used_at_once() {
    let options = ScheduleOptions { order: Order::EveryTier, ..options() };
    let mut world = World::with_options(&[&["a"], &["b"]], options, 1);
    world.input(Input::Start);
    assert_eq!((world.log("a").len(), world.log("b").len()), (1, 1));
}

#[test]
fn a_partial_seed_says_paused() {
    let mut world = World::new(&[&["a"]]);
    world.tracker("a", |_, _| alive(minutes(30), 1));
    world.input(Input::Role(Role::PartialSeed));
    world.input(Input::Start);
    world.run(minutes(30));
    assert_eq!(world.log("a"), [(0, STARTED), (1800, Some(Event::Paused))]);
    world.input(Input::Role(Role::Downloading));
    world.run(minutes(30));
    assert_eq!(world.last().event, None);
}

#[test]
fn the_tracker_id_is_given_back() {
    let mut world = World::new(&[&["a"]]);
    world.tracker("a", |announce, _| {
        let (delay, answer) = alive(minutes(30), 1);
        let tracker_id = announce.tracker_id.is_none().then(|| b"id".to_vec());
        (delay, answer.map(|answer| AnnounceResponse { tracker_id, ..answer }))
    });
    world.input(Input::Start);
    world.run(hours(2));
    assert_eq!(world.sent[0].announce.tracker_id, None);
    assert!(world.sent[1..].iter().all(|sent| sent.announce.tracker_id.as_deref() == Some(b"id")));
}

#[test]
fn an_engine_that_never_reports_does_not_hold_the_schedule_up() {
    let mut world = World::new(&[&["a"], &["b"]]);
    world.tracker("a", |_, _| (hours(1000), absent().1));
    world.tracker(
        "b",
        |_, at| if at < minutes(1) { (hours(1000), absent().1) } else { alive(minutes(30), 1) },
    );
    world.input(Input::Start);
    world.run(minutes(5));
    assert!(world.heard("b", Event::Started) == 1 && 2 <= world.cancelled);
}

fn first_announce(schedule: &mut ferri_tracker::Schedule) -> ferri_tracker::TrackerId {
    let mut outputs = std::iter::from_fn(|| schedule.poll_output());
    let announced = |output| match output {
        Output::Announce { tracker, .. } => Some(tracker),
        _ => None,
    };
    outputs.find_map(announced).unwrap()
}

#[test]
fn late_answers_to_requests_given_up_are_not_heard() {
    let mut world = World::new(&[&["a"]]);
    world.tracker("a", |_, _| (hours(1), absent().1));
    world.input(Input::Start);
    let mut schedule = ferri_tracker::Schedule::new(
        vec![vec!["http://192.0.2.1/".to_owned()]],
        1,
        options(),
        std::time::Instant::now(),
    );
    let now = std::time::Instant::now();
    schedule.handle(Input::Start, now);
    let tracker = first_announce(&mut schedule);
    schedule.handle(Input::Timeout, now + minutes(1));
    let result =
        Ok(AnnounceResponse { peers: vec![([10, 0, 0, 1], 1).into()], ..AnnounceResponse::new(minutes(1)) });
    schedule.handle(Input::Answer { tracker, result }, now + minutes(1));
    let peers =
        std::iter::from_fn(|| schedule.poll_output()).any(|output| matches!(output, Output::Peers(_)));
    assert!(!peers);
}

#[test]
fn unusable_urls_are_told_once_and_never_asked() {
    let mut world = World::new(&[&["wss://x/announce", "dht://y"], &["http://z w/"]]);
    world.input(Input::Start);
    world.run(hours(1));
    world.input(Input::Stop);
    let unusable = world.notices.iter().filter(|notice| matches!(notice, Notice::Unusable { .. })).count();
    assert_eq!((unusable, world.sent.len(), world.stopped.len()), (3, 0, 1));
    assert_eq!(world.schedule.trackers()[0].state.to_string(), "cannot be used");
}

#[test]
fn a_torrent_without_trackers_starts_and_stops() {
    let mut world = World::new(&[]);
    world.input(Input::Start);
    world.run(hours(1));
    world.input(Input::Stop);
    assert_eq!(world.stopped, [hours(1)]);
}

#[test]
fn more_trackers_than_anyone_needs_are_left_out() {
    let names: Vec<String> = (0..1000).map(|number| format!("t{number}")).collect();
    let tier: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut world = World::new(&[&tier]);
    world.input(Input::Start);
    assert_eq!(world.schedule.trackers().len(), 200);
    assert!(world.notices.contains(&Notice::LeftOut { trackers: 800 }));
}

#[test]
fn the_user_is_told_how_trackers_stand() {
    let mut world = World::new(&[&["a"], &["b"]]);
    world.tracker("a", |_, at| {
        if minutes(20) < at {
            return absent();
        }
        let (delay, answer) = alive(minutes(30), 2);
        (
            delay,
            answer.map(|answer| AnnounceResponse { seeders: Some(3), warning: Some("hm".into()), ..answer }),
        )
    });
    world.input(Input::Start);
    world.run(seconds(1));
    let [a, b] = &world.schedule.trackers()[..] else { panic!() };
    assert_eq!((a.state.to_string().as_str(), a.seeders, a.peers), ("working", Some(3), Some(2)));
    assert_eq!((a.warning.as_deref(), a.last_error.as_ref()), (Some("hm"), None));
    assert!(a.next_announce.is_some() && b.next_announce.is_none());
    assert_eq!(b.state.to_string(), "not needed yet");
    world.run(minutes(31));
    let [a, b] = &world.schedule.trackers()[..] else { panic!() };
    assert_eq!(a.state.to_string(), "failing");
    assert_eq!(a.last_error, Some(TrackerError::Unreachable { why: "connection refused".to_owned() }));
    assert_eq!(b.state, TrackerState::Announcing);
}

#[test]
fn a_new_port_is_told_as_soon_as_the_tracker_allows() {
    let mut world = World::new(&[&["a"]]);
    world.tracker("a", |_, _| alive(minutes(30), 1));
    world.input(Input::Start);
    world.run(minutes(1));
    world.input(Input::ListenPort(7000));
    world.run(minutes(10));
    assert_eq!(world.log("a"), [(0, STARTED), (300, None)]);
    assert_eq!(world.last().port, 7000);
}

#[test]
fn a_scrape_asks_the_trackers_in_use_and_not_too_often() {
    let now = std::time::Instant::now();
    let tiers = vec![vec!["http://a/announce?k=1".to_owned()], vec!["udp://b:1".to_owned()]];
    let mut schedule = ferri_tracker::Schedule::new(tiers, 1, options(), now);
    schedule.handle(Input::Start, now);
    let tracker = first_announce(&mut schedule);
    schedule.handle(Input::Answer { tracker, result: Ok(AnnounceResponse::new(minutes(5))) }, now);
    let mut scrapes = |at| {
        schedule.handle(Input::Scrape, at);
        let outputs = std::iter::from_fn(|| schedule.poll_output());
        let urls = outputs.filter_map(|output| match output {
            Output::Scrape { url, .. } => Some(url),
            _ => None,
        });
        urls.collect::<Vec<_>>()
    };
    assert_eq!(scrapes(now), [format!("http://a/scrape?k=1&info_hash={}", "%01".repeat(20))]);
    assert!(scrapes(now + seconds(59)).is_empty());
    assert_eq!(scrapes(now + seconds(60)).len(), 1);
}

/// A tracker that fails the first announce with this event like that, and takes all others.
fn failing_once(event: Option<Event>, failure: fn() -> crate::world::Reaction) -> World {
    let mut world = World::new(&[&["a"]]);
    world.patience = seconds(1);
    let mut failed = false;
    world.tracker("a", move |announce, _| {
        if announce.event == event && !failed {
            failed = true;
            return failure();
        }
        alive(minutes(30), 1)
    });
    world
}

#[test]
fn completed_is_told_before_stopped_to_a_server_that_was_busy() {
    // A wish that cannot be granted does not lose the event.
    for (wait, again) in [(None, 60), (Some(2), 62), (Some(600), 60)] {
        let mut world = World::new(&[&["a"]]);
        let mut failed = false;
        world.tracker("a", move |announce, _| {
            if announce.event == COMPLETED && !failed {
                failed = true;
                return busy(wait);
            }
            alive(minutes(30), 1)
        });
        world.input(Input::Start);
        world.run(minutes(1));
        world.input(Input::Completed);
        world.run(seconds(0));
        world.input(Input::Stop);
        world.run(minutes(2));
        let log = world.log("a");
        assert_eq!(log[..2], [(0, STARTED), (60, COMPLETED)]);
        assert_eq!(log[2..], [(again, COMPLETED), (again, STOPPED)], "{wait:?}");
        assert_eq!(world.stopped, [seconds(again)]);
    }
}

#[test]
fn what_is_owed_holds_up_the_end_for_three_seconds_at_most() {
    let mut world = World::new(&[&["a"]]);
    world.tracker("a", |announce, _| match announce.event {
        Some(Event::Completed) => dead(),
        Some(Event::Stopped) => (seconds(1), alive(minutes(30), 0).1),
        _ => alive(minutes(30), 1),
    });
    world.input(Input::Start);
    world.run(seconds(10));
    world.input(Input::Completed);
    world.input(Input::Stop);
    world.run(minutes(2));
    assert_eq!(world.log("a"), [(0, STARTED), (10, COMPLETED), (12, STOPPED)]);
    assert_eq!(world.stopped, [seconds(13)]);

    // It is busy and stays so.
    let mut world = World::new(&[&["a"]]);
    world.tracker("a", |announce, _| match announce.event {
        Some(Event::Completed) => busy(Some(1)),
        _ => alive(minutes(30), 1),
    });
    world.input(Input::Start);
    world.run(seconds(10));
    world.input(Input::Completed);
    world.run(seconds(0));
    world.input(Input::Stop);
    world.run(minutes(2));
    let log = world.log("a");
    assert_eq!(log.last(), Some(&(12, STOPPED)));
    assert_eq!(world.stopped, [seconds(12)]);
}

/// One family was told to wait for longer than we stay, the other one hears "in a second" each time.
#[test]
fn two_wishes_of_one_tracker_are_both_heard_by_who_leaves() {
    let mut world = World::new(&[&["a"]]);
    world.patience = seconds(1);
    world.tracker("a", |announce, _| match announce.event {
        Some(Event::Completed) => {
            let retry_in = RetryIn::After(minutes(7));
            (seconds(0), Err(TrackerError::Failure { reason: "no".to_owned(), retry_in }))
        }
        _ => alive(minutes(30), 1),
    });
    world.tracker6("a", |_, _| busy(Some(1)));
    world.input(Input::Start);
    world.run(seconds(10));
    world.input(Input::Completed);
    world.run(seconds(10));
    world.input(Input::Stop);
    world.run(minutes(2));
    assert_eq!(world.log6("a"), [(0, STARTED), (20, STARTED), (20, STOPPED)]);
}

#[test]
fn completed_is_repeated_until_it_is_taken() {
    let mut world = failing_once(COMPLETED, || busy(Some(1)));
    world.input(Input::Start);
    world.run(minutes(1));
    world.input(Input::Completed);
    world.run(minutes(10));
    assert_eq!(world.log("a"), [(0, STARTED), (60, COMPLETED), (61, COMPLETED)]);

    let mut world = World::new(&[&["a"]]);
    world.tracker("a", |announce, at| match announce.event {
        Some(Event::Completed) if at < minutes(5) => busy(Some(1)),
        _ => alive(minutes(30), 1),
    });
    world.patience = seconds(1);
    world.input(Input::Start);
    world.run(minutes(1));
    world.input(Input::Completed);
    world.run(minutes(20));
    let times: Vec<u64> = world.log("a").iter().map(|(at, _)| *at).collect();
    assert_eq!(times, [0, 60, 61, 76, 106, 166, 286, 526]);
    assert_eq!(world.heard("a", Event::Completed), 1);
}

#[test]
fn a_start_that_was_not_taken_is_told_late_and_completed_after_it() {
    let mut world = World::new(&[&["a"]]);
    world.tracker("a", |_, at| if at < minutes(1) { absent() } else { alive(minutes(30), 1) });
    world.input(Input::Start);
    world.run(seconds(20));
    world.input(Input::Completed);
    world.run(minutes(5));
    let told: Vec<_> = world.sent.iter().filter(|sent| sent.answered).collect();
    let told: Vec<_> = told.iter().map(|sent| (sent.announce.event, sent.announce.left)).collect();
    assert_eq!(told, [(STARTED, 1000), (COMPLETED, 0)]);

    // Also by one who leaves, when the server was only busy.
    let mut world = failing_once(STARTED, || busy(None));
    world.input(Input::Start);
    world.run(seconds(1));
    world.input(Input::Completed);
    world.run(seconds(0));
    world.input(Input::Stop);
    world.run(minutes(1));
    assert_eq!(world.log("a"), [(0, STARTED), (1, STARTED), (1, COMPLETED), (1, STOPPED)]);
}

#[test]
fn both_families_are_told_and_their_peers_put_together() {
    let mut world = World::new(&[&["a"]]);
    world.tracker("a", |_, _| alive(minutes(30), 3));
    world.tracker6("a", |_, _| (seconds(2), alive(minutes(30), 5).1));
    world.input(Input::Start);
    world.run(minutes(10));
    world.input(Input::Completed);
    world.run(minutes(1));
    world.input(Input::Stop);
    world.run(minutes(1));
    let expected = [(0, STARTED), (600, COMPLETED), (660, STOPPED)];
    assert_eq!((world.log("a"), world.log6("a")), (expected.to_vec(), expected.to_vec()));
    let [first, second] = &world.notices[1..3] else { panic!("{:?}", world.notices) };
    let peers = |notice: &Notice| match notice {
        Notice::Answered { peers, .. } => *peers,
        other => panic!("{other:?}"),
    };
    assert_eq!((peers(first), peers(second)), (3, 5), "two of them are new");
    let asked = world.notices.iter().filter(|notice| matches!(notice, Notice::Asked { .. })).count();
    assert_eq!(asked, 3, "once for both");
    assert_eq!(world.schedule.trackers()[0].peers, Some(5));
}

#[test]
fn a_family_that_fails_is_no_failure_of_the_tracker() {
    for dead6 in [dead as fn() -> _, absent] {
        let mut world = World::new(&[&["a"], &["b"]]);
        world.tracker("a", |_, _| alive(minutes(30), 3));
        world.tracker6("a", move |_, at| if at < hours(1) { dead6() } else { alive(minutes(30), 1) });
        world.input(Input::Start);
        world.run(minutes(45));
        assert_eq!(world.schedule.trackers()[0].state, TrackerState::Working);
        assert!(!world.notices.iter().any(|notice| matches!(notice, Notice::Failed { .. })));
        assert_eq!(world.log("b"), [], "nobody stands in for it");
        assert_eq!(world.log("a"), [(0, STARTED), (1800, None)]);
        assert_eq!(world.log6("a"), [(0, STARTED), (1800, STARTED)], "it goes along");
        world.run(hours(1));
        assert_eq!(world.log6("a")[2..], [(3600, STARTED), (5400, None)]);
    }
}

#[test]
fn when_both_families_fail_the_next_tracker_is_asked_and_the_more_telling_error_shown() {
    let mut world = World::new(&[&["a"], &["b"]]);
    world.tracker("a", |_, _| absent());
    world.tracker6("a", |_, _| busy(None));
    world.tracker("b", |_, _| alive(minutes(30), 3));
    world.input(Input::Start);
    world.run(seconds(1));
    assert_eq!(world.log("b"), [(0, STARTED)]);
    let status = &world.schedule.trackers()[0];
    assert_eq!(status.state, TrackerState::Failing);
    assert!(matches!(status.last_error, Some(TrackerError::Status { status: 503, .. })), "{status:?}");
    let failed = world.notices.iter().filter(|notice| matches!(notice, Notice::Failed { .. })).count();
    assert_eq!(failed, 1, "once for both");
}

#[test]
fn completed_is_owed_to_each_family() {
    let mut world = World::new(&[&["a"]]);
    world.tracker("a", |_, _| alive(minutes(30), 1));
    world.tracker6("a", |announce, at| match announce.event {
        Some(Event::Completed) if at < minutes(2) => absent(),
        _ => alive(minutes(30), 1),
    });
    world.input(Input::Start);
    world.run(minutes(1));
    world.input(Input::Completed);
    world.run(minutes(20));
    assert_eq!(world.log("a"), [(0, STARTED), (60, COMPLETED)]);
    assert_eq!(
        world.log6("a"),
        [(0, STARTED), (60, COMPLETED), (75, COMPLETED), (105, COMPLETED), (165, COMPLETED)]
    );
}

#[test]
fn a_silent_family_holds_up_the_end_for_two_seconds() {
    let mut world = World::new(&[&["a"]]);
    world.tracker("a", |_, _| alive(minutes(30), 3));
    world.tracker6("a", |_, _| dead());
    world.input(Input::Start);
    world.run(seconds(1));
    world.input(Input::Stop);
    world.run(minutes(2));
    assert_eq!((world.log("a"), world.log6("a")), (vec![(0, STARTED), (1, STOPPED)], vec![(0, STARTED)]));
    assert_eq!(world.stopped, [seconds(1) + HAND_OVER]);
}

#[test]
fn only_families_that_we_speak_are_used() {
    let only = ScheduleOptions { families: vec![Family::V6], ..options() };
    let mut world = World::with_options(&[&["a"]], only, 1);
    world.tracker6("a", |_, _| alive(minutes(30), 1));
    world.input(Input::Start);
    world.run(minutes(1));
    assert_eq!((world.log("a"), world.log6("a")), (vec![], vec![(0, STARTED)]));
}
