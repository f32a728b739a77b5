//! The list of trackers changes while a schedule is in use.

use ferri_tracker::limits::TRACKERS_MAX;
use ferri_tracker::schedule::{HAND_OVER, NEW_AT_ONCE, Order, TIERS_AT_ONCE};
use ferri_tracker::{Event, Input, Notice, Output, ScheduleOptions, TrackerState};

use crate::world::{World, absent, alive, busy, dead, hours, minutes, options, seconds, url};

const STARTED: Option<Event> = Some(Event::Started);
const COMPLETED: Option<Event> = Some(Event::Completed);
const STOPPED: Option<Event> = Some(Event::Stopped);

fn set(tiers: &[&[&str]]) -> Input {
    let tiers = tiers.iter().map(|tier| tier.iter().map(|name| url(name)).collect()).collect();
    Input::SetTrackers { tiers, beside: Vec::new() }
}

fn listed(world: &World) -> Vec<(String, usize)> {
    world.schedule.trackers().into_iter().map(|tracker| (tracker.url, tracker.tier)).collect()
}

fn state(world: &World, name: &str) -> Option<TrackerState> {
    let is_it = |tracker: &ferri_tracker::ScheduledTracker| tracker.url == url(name);
    world.schedule.trackers().into_iter().find(is_it).map(|tracker| tracker.state)
}

/// A torrent that was announced to these a minute ago.
fn running(tiers: &[&[&str]]) -> World {
    let mut world = World::new(tiers);
    for name in ["a", "b", "c", "d"] {
        world.tracker(name, |_, _| alive(minutes(30), 3));
    }
    world.input(Input::Start);
    world.run(minutes(1));
    world
}

#[test]
fn one_that_goes_hears_stopped_and_one_that_comes_started_at_once() {
    let mut world = running(&[&["a"]]);
    world.input(set(&[&["b"]]));
    world.run(hours(1));
    assert_eq!(world.log("a"), [(0, STARTED), (60, STOPPED)]);
    assert_eq!(world.log("b"), [(60, STARTED), (60 + 1800, None), (60 + 3600, None)]);
    assert_eq!(listed(&world), [(url("b"), 0)]);
    assert_eq!(world.stopped, []);
    world.input(Input::Stop);
    world.run(minutes(1));
    assert_eq!((world.log("a").len(), world.heard("b", Event::Stopped)), (2, 1));
    assert_eq!(world.stopped.len(), 1);
}

#[test]
fn one_that_stays_keeps_its_place_in_time_and_what_it_is_owed() {
    let mut world = running(&[&["a"], &["b"]]);
    world.input(set(&[&["c"], &["a"]]));
    world.run(minutes(1));
    // It is told nothing: the next announce comes when it was to come, and what it has to hear is known.
    assert_eq!(world.log("a"), [(0, STARTED)]);
    assert_eq!(world.log("c"), [(60, STARTED)]);
    assert_eq!(world.log("b"), [], "nobody has to know of a tracker that was not asked");
    world.input(Input::Stats { uploaded: 1, downloaded: 1000, left: 0 });
    world.input(Input::Completed);
    world.run(minutes(1));
    assert_eq!((world.log("a")[1], world.log("c")[1]), ((120, COMPLETED), (120, COMPLETED)));
    assert_eq!((world.last().uploaded, world.last().downloaded), (1, 1000));
    world.input(Input::Stop);
    world.run(minutes(1));
    assert_eq!((world.heard("a", Event::Stopped), world.heard("c", Event::Stopped)), (1, 1));
}

#[test]
fn the_interval_of_one_that_stays_goes_on() {
    let mut world = running(&[&["a"], &["b"]]);
    let next = world.schedule.poll_timeout();
    world.input(set(&[&["b", "a"]]));
    assert_eq!(world.schedule.poll_timeout(), next);
    world.run(hours(1));
    // Of its tier it is the one that has answered.
    assert_eq!(world.log("a"), [(0, STARTED), (1800, None), (3600, None)]);
    assert_eq!(world.log("b"), []);
    assert_eq!(listed(&world), [(url("b"), 0), (url("a"), 0)]);
}

#[test]
fn a_list_that_is_set_again_changes_nothing() {
    let mut world = running(&[&["a"], &["b", "c"]]);
    let (sent, next) = (world.sent.len(), world.schedule.poll_timeout());
    world.input(set(&[&["a"], &["b", "c"]]));
    assert_eq!((world.sent.len(), world.schedule.poll_timeout()), (sent, next));
}

#[test]
fn a_wait_after_a_failure_goes_on() {
    let mut world = World::new(&[&["a"]]);
    world.tracker("a", |_, _| busy(Some(600)));
    world.tracker("b", |_, _| absent());
    world.input(Input::Start);
    world.run(minutes(1));
    world.input(set(&[&["a"], &["b"]]));
    world.run(minutes(8));
    assert_eq!(world.log("a"), [(0, STARTED)], "it asked for ten minutes");
    world.run(minutes(2));
    assert_eq!(world.log("a").len(), 2);
    assert!(3 < world.log("b").len());
}

#[test]
fn when_the_one_in_use_goes_another_one_is_asked_at_once() {
    let mut world = running(&[&["a"], &["b"]]);
    world.input(set(&[&["b"]]));
    world.run(seconds(1));
    assert_eq!((world.log("a")[1], world.log("b")), ((60, STOPPED), vec![(60, STARTED)]));
}

#[test]
fn a_new_one_that_is_listed_later_is_asked_at_once_and_then_stands_by() {
    let mut world = running(&[&["a"]]);
    world.input(set(&[&["a"], &["b"]]));
    world.run(hours(1));
    assert_eq!(world.log("b"), [(60, STARTED)]);
    assert_eq!(world.peers, 4 * 3, "its peers are of use");
    assert_eq!(world.log("a"), [(0, STARTED), (1800, None), (3600, None)]);
    world.input(Input::Stop);
    world.run(minutes(1));
    assert_eq!((world.heard("a", Event::Stopped), world.heard("b", Event::Stopped)), (1, 1));
}

#[test]
fn a_new_one_that_is_listed_earlier_is_the_one_in_use() {
    let mut world = running(&[&["b"]]);
    world.input(set(&[&["a"], &["b"]]));
    world.run(hours(1));
    assert_eq!(world.log("a"), [(60, STARTED), (1860, None), (3660, None)]);
    assert_eq!(world.log("b"), [(0, STARTED)]);
}

#[test]
fn new_ones_that_are_dead_hold_up_nobody() {
    let mut world = running(&[&["b"]]);
    world.input(set(&[&["dead"], &["gone"], &["c"]]));
    world.run(seconds(1));
    assert_eq!(world.log("c"), [(60, STARTED)]);
    world.run(hours(1));
    assert_eq!(state(&world, "c"), Some(TrackerState::Working));
    assert_eq!(world.log("b"), [(0, STARTED), (60, STOPPED)]);
}

#[test]
fn one_that_may_have_heard_of_us_hears_stopped_and_one_that_cannot_does_not() {
    let mut world = World::new(&[&["dead"], &["absent"]]);
    world.tracker("dead", |_, _| dead());
    world.tracker("absent", |_, _| absent());
    world.tracker("a", |_, _| alive(minutes(30), 1));
    world.input(Input::Start);
    world.run(minutes(2));
    world.input(set(&[&["a"]]));
    world.run(minutes(2));
    let stopped = |name: &str| world.log(name).iter().filter(|(_, event)| *event == STOPPED).count();
    assert_eq!((stopped("dead"), stopped("absent"), stopped("a")), (1, 0, 0));
    assert_eq!(world.log("a"), [(120, STARTED)]);
}

#[test]
fn what_is_under_way_to_one_that_goes_is_waited_for_a_little() {
    let mut world = World::new(&[&["a"]]);
    world.tracker("a", |_, _| (seconds(20), alive(minutes(30), 3).1));
    world.tracker("b", |_, _| alive(minutes(30), 1));
    world.input(Input::Start);
    world.run(seconds(1));
    world.input(set(&[&["b"]]));
    world.run(minutes(2));
    let parted = 1 + HAND_OVER.as_secs();
    assert_eq!(world.log("a"), [(0, STARTED), (parted, STOPPED)]);
    assert_eq!((world.cancelled, world.peers), (1, 1), "its peers are not wanted");
}

#[test]
fn one_that_comes_back_while_it_hears_stopped_is_told_started_after_that() {
    let mut world = World::new(&[&["a"]]);
    world.tracker("a", |announce, _| {
        let takes = if announce.event == STOPPED { 10 } else { 0 };
        (seconds(takes), alive(minutes(30), 3).1)
    });
    world.tracker("b", |_, _| alive(minutes(30), 1));
    world.input(Input::Start);
    world.run(minutes(1));
    world.input(set(&[&["b"]]));
    world.run(seconds(1));
    world.input(set(&[&["b"], &["a"]]));
    world.run(minutes(5));
    assert_eq!(world.log("a"), [(0, STARTED), (60, STOPPED), (70, STARTED)]);
    world.input(Input::Stop);
    world.run(minutes(5));
    assert_eq!(world.heard("a", Event::Stopped), 2);
}

#[test]
fn one_that_comes_back_before_it_hears_stopped_never_does() {
    let mut world = World::new(&[&["a"]]);
    world.tracker("a", |_, _| (seconds(20), alive(minutes(30), 3).1));
    world.tracker("b", |_, _| alive(minutes(30), 1));
    world.input(Input::Start);
    world.run(seconds(1));
    world.input(set(&[&["b"]]));
    world.run(seconds(1));
    world.input(set(&[&["a"]]));
    world.run(minutes(5));
    assert_eq!(world.log("a"), [(0, STARTED)]);
    assert_eq!(state(&world, "a"), Some(TrackerState::Working));
}

#[test]
fn at_rest_nobody_is_told_and_the_next_session_has_the_new_list() {
    let mut world = running(&[&["a"]]);
    world.input(Input::Stop);
    world.run(minutes(1));
    world.input(set(&[&["b"]]));
    world.run(minutes(1));
    assert_eq!((world.log("a").len(), world.log("b").len()), (2, 0));
    assert_eq!(world.schedule.poll_timeout(), None);
    world.input(Input::Start);
    world.run(minutes(1));
    assert_eq!((world.log("a").len(), world.log("b")), (2, vec![(180, STARTED)]));
}

#[test]
fn while_a_session_ends_all_that_were_told_of_it_hear_of_that() {
    let mut world = World::new(&[&["a"]]);
    world.tracker("a", |_, _| (seconds(1), alive(minutes(30), 3).1));
    world.tracker("b", |_, _| (seconds(1), alive(minutes(30), 3).1));
    world.input(Input::Start);
    world.run(minutes(1));
    world.input(set(&[&["a"], &["b"]]));
    world.run(minutes(1));
    world.input(Input::Stop);
    world.input(set(&[&["c"]]));
    world.run(minutes(1));
    assert_eq!((world.heard("a", Event::Stopped), world.heard("b", Event::Stopped)), (1, 1));
    assert_eq!((world.log("c"), world.stopped.len()), (Vec::new(), 1));
    // And one that begins again at once begins with the new list.
    let mut world = running(&[&["a"]]);
    world.tracker("a", |_, _| (seconds(1), alive(minutes(30), 3).1));
    world.input(Input::Stop);
    world.input(Input::Start);
    world.input(set(&[&["b"]]));
    world.run(minutes(1));
    assert_eq!((world.log("a").len(), world.log("b")), (2, vec![(61, STARTED)]));
}

#[test]
fn one_beside_the_tiers_is_asked_in_any_case_and_stays_there() {
    let mut world = running(&[&["a"]]);
    let beside = vec![url("b"), url("a"), format!(" {} ", url("c"))];
    world.input(Input::SetTrackers { tiers: vec![vec![url("a")]], beside });
    world.run(hours(1));
    assert_eq!((world.log("a").len(), world.log("b").len(), world.log("c").len()), (3, 3, 3));
    let beside: Vec<bool> = world.schedule.trackers().iter().map(|tracker| tracker.is_beside).collect();
    assert_eq!(beside, [false, true, true]);
    assert_eq!(listed(&world), [(url("a"), 0), (url("b"), 1), (url("c"), 2)]);
}

#[test]
fn the_list_has_a_bound_and_only_some_are_asked_at_once() {
    let mut world = running(&[&["a"]]);
    let before = world.sent.len();
    let many: Vec<String> = (0..TRACKERS_MAX + 5).map(|n| format!("http://m{n}/announce")).collect();
    world.input(Input::SetTrackers { tiers: vec![many], beside: Vec::new() });
    assert_eq!(world.schedule.trackers().len(), TRACKERS_MAX);
    assert!(world.notices.contains(&Notice::LeftOut { trackers: 5 }));
    assert_eq!(world.sent.len() - before, NEW_AT_ONCE + 1, "and one hears that we go");
}

#[test]
fn lists_that_change_all_the_time_leave_nothing_behind() {
    let mut world = World::new(&[]);
    world.input(Input::Start);
    for round in 0..50 {
        let many = (0..NEW_AT_ONCE).map(|n| vec![format!("http://m{n}.{round}/announce")]).collect();
        world.input(Input::SetTrackers { tiers: many, beside: Vec::new() });
    }
    // At most so many are on their way out, each by two families.
    assert!(
        2 * 50 * NEW_AT_ONCE - 2 * (TRACKERS_MAX + NEW_AT_ONCE) <= world.cancelled,
        "{}",
        world.cancelled
    );
    world.input(set(&[]));
    world.run(minutes(2));
    assert_eq!(world.schedule.poll_timeout(), None);
    world.input(Input::Stop);
    assert_eq!(world.stopped.len(), 1);
}

#[test]
fn one_that_cannot_be_used_is_listed_and_told_of() {
    let mut world = running(&[&["a"]]);
    world.input(set(&[&["wss://x.example"], &["a"]]));
    assert_eq!(state(&world, "wss://x.example"), Some(TrackerState::Unusable));
    assert!(matches!(world.notices.last(), Some(Notice::Unusable { .. })));
    world.input(set(&[&["a"]]));
    world.run(hours(1));
    assert_eq!(world.log("a").len(), 3);
}

#[test]
fn with_every_tier_in_use_those_that_stay_are_asked_as_before() {
    let every = ScheduleOptions { order: Order::EveryTier, ..options() };
    let mut world = World::with_options(&[&["a"], &["b"]], every, 1);
    for name in ["a", "b", "c"] {
        world.tracker(name, |_, _| alive(minutes(30), 3));
    }
    world.input(Input::Start);
    world.run(minutes(1));
    world.input(set(&[&["c"], &["b"]]));
    world.run(minutes(40));
    assert_eq!(world.log("a"), [(0, STARTED), (60, STOPPED)]);
    assert_eq!(world.log("b"), [(0, STARTED), (1800, None)]);
    assert_eq!(world.log("c"), [(60, STARTED), (1860, None)]);
}

#[test]
fn of_many_tiers_a_few_are_in_use_at_once() {
    let names: Vec<String> = (0..TIERS_AT_ONCE + 3).map(|n| format!("m{n}")).collect();
    let tiers: Vec<[&str; 1]> = names.iter().map(|name| [name.as_str()]).collect();
    let tiers: Vec<&[&str]> = tiers.iter().map(|tier| &tier[..]).collect();
    let every = ScheduleOptions { order: Order::EveryTier, ..options() };
    let mut world = World::with_options(&tiers, every, 1);
    for name in &names {
        world.tracker(name, |_, _| alive(minutes(30), 3));
    }
    world.input(Input::Start);
    world.run(minutes(1));
    let asked: Vec<usize> = names.iter().map(|name| world.log(name).len()).collect();
    assert_eq!(asked.iter().sum::<usize>(), TIERS_AT_ONCE);
    assert!(asked[..TIERS_AT_ONCE].iter().all(|count| *count == 1), "{asked:?}");
    assert_eq!(listed(&world).last().unwrap().1, TIERS_AT_ONCE + 2);
}

#[test]
fn an_answer_finds_its_tracker_when_others_are_before_it_now() {
    let mut world = World::new(&[&["a"], &["b"]]);
    world.tracker("a", |_, _| alive(minutes(30), 1));
    world.tracker("b", |_, _| alive(minutes(30), 1));
    world.input(Input::Start);
    world.run(minutes(1));
    world.schedule.handle(Input::Scrape, std::time::Instant::now());
    let scrape = std::iter::from_fn(|| world.schedule.poll_output()).find_map(|output| match output {
        Output::Scrape { tracker, .. } => Some(tracker),
        _ => None,
    });
    let scrape = scrape.unwrap();
    world.input(set(&[&["c"], &["d"], &["b"], &["a"]]));
    assert_eq!(world.schedule.url(scrape), Some(&*url("a")));
    let numbers = ferri_tracker::Scrape { seeders: 7, leechers: 8, downloaded: 9, downloaders: None };
    world.input(Input::ScrapeAnswer { tracker: scrape, result: Ok(numbers) });
    let seeders: Vec<_> = world.schedule.trackers().iter().map(|tracker| tracker.seeders).collect();
    assert_eq!(seeders, [None, None, None, Some(7)]);
}
