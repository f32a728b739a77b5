//! Announces of a session with many torrents: turns, and how late regular announces are.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use ferri_tracker::{Event, Input, ScheduleOptions};

use crate::world::{World, absent, alive, hours, minutes, options, seconds};

fn paced(tiers: &[&[&str]], seed: u64) -> World {
    World::with_options(tiers, ScheduleOptions { paced: true, ..options() }, seed)
}

/// Whether each question for a turn had one.
fn noted(world: &mut World, mut wait: impl FnMut(usize) -> Duration + 'static) -> Rc<RefCell<Vec<bool>>> {
    let asked = Rc::new(RefCell::new(Vec::new()));
    let notes = asked.clone();
    world.turns(move |had| {
        notes.borrow_mut().push(had);
        wait(notes.borrow().len())
    });
    asked
}

#[test]
fn a_session_begins_when_it_is_our_turn_and_the_turn_is_kept() {
    let mut world = paced(&[&["t"]], 1);
    world.tracker("t", |_, _| alive(minutes(30), 3));
    let asked = noted(&mut world, |count| if count < 3 { seconds(7) } else { Duration::ZERO });
    world.input(Input::Start);
    assert_eq!((world.sent.len(), &asked.borrow()[..]), (0, &[false][..]));
    world.run(minutes(10));
    assert_eq!(world.log("t"), [(14, Some(Event::Started))]);
    assert_eq!(asked.borrow()[..], [false, true, true]);
    // The next round begins with another question.
    world.run(minutes(50));
    assert_eq!((world.log("t").len(), asked.borrow()[3]), (2, false));
}

#[test]
fn one_turn_is_enough_for_a_round() {
    let mut world = paced(&[&["dead"], &["gone"], &["t"]], 1);
    world.tracker("gone", |_, _| absent());
    world.tracker("t", |_, _| alive(minutes(30), 3));
    let asked = noted(&mut world, |_| Duration::ZERO);
    world.input(Input::Start);
    world.run(minutes(2));
    assert_eq!(world.log("t"), [(10, Some(Event::Started))]);
    assert_eq!(asked.borrow().len(), 1);
}

#[test]
fn what_a_person_or_the_end_wants_said_waits_for_no_turn() {
    let never = |_| hours(1);
    let mut world = paced(&[&["t"]], 1);
    world.tracker("t", |_, _| alive(minutes(30), 3));
    noted(&mut world, never);
    world.input(Input::Start);
    world.run(seconds(1));
    assert_eq!(world.sent.len(), 0);
    world.input(Input::Reannounce);
    world.run(seconds(1));
    world.input(Input::Completed);
    world.run(seconds(1));
    world.input(Input::Stop);
    world.run(seconds(1));
    let said = [(1, Some(Event::Started)), (2, Some(Event::Completed)), (3, Some(Event::Stopped))];
    assert_eq!(world.log("t"), said);
    // Who stops while it waits has nothing to tell.
    let mut world = paced(&[&["t"]], 1);
    noted(&mut world, never);
    world.input(Input::Start);
    world.input(Input::Stop);
    assert_eq!((world.sent.len(), world.stopped.len()), (0, 1));
    assert_eq!(world.schedule.poll_timeout(), None);
}

#[test]
fn regular_announces_drift_apart_and_are_never_early() {
    let mut seen = BTreeSet::new();
    for seed in 0..50 {
        let mut world = paced(&[&["t"]], seed);
        world.tracker("t", |_, _| alive(hours(1), 3));
        world.input(Input::Start);
        world.run(minutes(59));
        assert_eq!(world.sent.len(), 1);
        world.run(minutes(5));
        let at = world.log("t")[1].0;
        assert!((3600..=3780).contains(&at), "{at}");
        seen.insert(at);
    }
    assert!(30 < seen.len(), "{seen:?}");
}

#[test]
fn peers_that_run_short_are_not_held_up_until_the_regular_announce() {
    let mut world = paced(&[&["t"]], 1);
    world.tracker("t", |_, _| alive(hours(1), 3));
    world.input(Input::Start);
    world.run(minutes(2));
    world.input(Input::NeedPeers);
    world.run(minutes(4));
    assert_eq!(world.log("t"), [(0, Some(Event::Started)), (300, None)]);
}

#[test]
fn a_turn_that_was_not_asked_for_is_none() {
    let mut world = paced(&[&["t"]], 1);
    world.tracker("t", |_, _| alive(minutes(30), 3));
    noted(&mut world, |_| seconds(30));
    world.input(Input::Turn { wait: Duration::ZERO });
    world.input(Input::Start);
    world.input(Input::Turn { wait: Duration::ZERO });
    world.run(seconds(20));
    assert_eq!(world.sent.len(), 0);
    // Nor is one at the end of time.
    let mut world = paced(&[&["t"]], 1);
    let asked = noted(&mut world, |_| Duration::MAX);
    world.input(Input::Start);
    world.run(hours(3));
    assert!(2 < asked.borrow().len());
}
