//! Which connection is due next: a heap in which a connection can be moved.

use crate::time::Time;

/// A connection that has no place in the heap.
const NOWHERE: u32 = u32::MAX;

/// At most one time for each slot.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    /// A binary heap, the earliest first.
    heap: Vec<(Time, u32)>,
    /// Where in the heap each slot is.
    places: Vec<u32>,
}

impl Timers {
    /// The earliest time, and whose it is.
    pub(crate) fn first(&self) -> Option<(Time, u32)> {
        self.heap.first().copied()
    }

    /// Sets or removes the time of a slot.
    pub(crate) fn set(&mut self, slot: u32, time: Option<Time>) {
        let index = slot as usize;
        if self.places.len() <= index {
            self.places.resize(index + 1, NOWHERE);
        }
        let place = self.places[index];
        match (time, place) {
            (None, NOWHERE) => {}
            (None, place) => self.remove(place as usize),
            (Some(time), NOWHERE) => {
                self.heap.push((time, slot));
                self.up(self.heap.len() - 1);
            }
            (Some(time), place) => {
                let place = place as usize;
                let before = std::mem::replace(&mut self.heap[place].0, time);
                if time < before { self.up(place) } else { self.down(place) }
            }
        }
    }

    fn remove(&mut self, place: usize) {
        let (_, slot) = self.heap.swap_remove(place);
        self.places[slot as usize] = NOWHERE;
        if place < self.heap.len() {
            self.up(place);
            let (_, moved) = self.heap[place];
            self.down(self.places[moved as usize] as usize);
        }
    }

    fn up(&mut self, mut place: usize) {
        while 0 < place {
            let parent = (place - 1) / 2;
            if self.heap[parent].0 <= self.heap[place].0 {
                break;
            }
            self.swap(parent, place);
            place = parent;
        }
        self.note(place);
    }

    fn down(&mut self, mut place: usize) {
        loop {
            let left = 2 * place + 1;
            let Some(earlier) = (left..self.heap.len().min(left + 2)).min_by_key(|child| self.heap[*child].0)
            else {
                break;
            };
            if self.heap[place].0 <= self.heap[earlier].0 {
                break;
            }
            self.swap(place, earlier);
            place = earlier;
        }
        self.note(place);
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        self.note(a);
        self.note(b);
    }

    fn note(&mut self, place: usize) {
        self.places[self.heap[place].1 as usize] = u32::try_from(place).expect("fewer places than slots");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn times_come_in_order_however_they_were_moved() {
        let mut timers = Timers::default();
        let mut expected = vec![None; 50];
        let mut state = 7u64;
        for _ in 0..5_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let slot = (state >> 33) as usize % expected.len();
            let time = (state >> 60 != 0).then_some(Time((state >> 40) % 100));
            timers.set(slot as u32, time);
            expected[slot] = time;
            assert_eq!(timers.first().map(|first| first.0), expected.iter().flatten().min().copied());
        }
        let mut last = Time(0);
        while let Some((time, slot)) = timers.first() {
            assert!(last <= time && expected[slot as usize].take() == Some(time));
            last = time;
            timers.set(slot, None);
        }
        assert!(expected.iter().all(Option::is_none));
    }
}
