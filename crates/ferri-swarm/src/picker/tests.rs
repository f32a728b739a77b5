//! Tests of the picker: the order of its choices, and that it agrees with a naive model whatever happens to it.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::input::Priority;

const BLOCKS: u32 = 3;
const PIECES: u32 = 12;

fn layout() -> Layout {
    Layout::single(BLOCKS * BLOCK_LENGTH, u64::from(PIECES * BLOCKS * BLOCK_LENGTH) - 5_000).unwrap()
}

fn picker(memory: u64) -> Picker {
    Picker::new(layout(), Bitfield::new(PIECES), memory, false, 1)
}

fn p(n: u32) -> PieceIndex {
    layout().piece(n).unwrap()
}

const ALL: PeerPieces = PeerPieces::All { len: PIECES };
static NONE: VecDeque<PieceIndex> = VecDeque::new();
const PLENTY: u64 = 1 << 30;

fn asker(slot: u32, has: &PeerPieces) -> Asker<'_> {
    Asker {
        slot: PeerSlot(slot),
        peer: PeerKey(u64::from(slot)),
        has,
        working: None,
        whole: false,
        alone: false,
        suggested: &NONE,
        only: None,
        refused: &[],
        may_open: true,
    }
}

fn sender(slot: u32) -> Sender {
    Sender {
        peer: PeerKey(u64::from(slot)),
        addr: "1.2.3.4:5".parse().unwrap(),
        known: crate::bans::Known::Connected,
    }
}

fn pick(picker: &mut Picker, asker: &Asker<'_>, count: usize) -> Vec<Block> {
    let mut blocks = Vec::new();
    picker.pick(asker, count, Instant::now(), &mut blocks);
    blocks
}

fn pieces_of(blocks: &[Block]) -> Vec<u32> {
    let mut pieces: Vec<u32> = blocks.iter().map(|block| block.piece().get()).collect();
    pieces.dedup();
    pieces
}

#[test]
fn tiny_pieces_are_bounded_by_the_buffers_they_hold() {
    let layout = Layout::single(1, 10_000).unwrap();
    let memory = 8 * u64::from(BLOCK_LENGTH);
    let mut picker = Picker::new(layout, Bitfield::new(10_000), memory, false, 1);
    let all = PeerPieces::All { len: 10_000 };
    assert_eq!(pick(&mut picker, &asker(1, &all), 500).len(), 8);
    assert_eq!(picker.open_bytes(), memory);
}

#[test]
fn slow_peers_share_a_piece_and_fast_ones_get_their_own() {
    let mut picker = picker(PLENTY);
    let first = pick(&mut picker, &asker(1, &ALL), 1)[0].piece();
    assert_eq!(pick(&mut picker, &asker(2, &ALL), 1)[0].piece(), first);
    // A begun piece without an owner is finished first, by a fast peer too; then it opens its own.
    let fast = Asker { whole: true, ..asker(3, &ALL) };
    let blocks = pick(&mut picker, &fast, 3);
    assert_eq!(blocks[0].piece(), first);
    let own = blocks[1].piece();
    assert_ne!(own, first);
    assert_ne!(pick(&mut picker, &asker(1, &ALL), 1)[0].piece(), own);
}

#[test]
fn begun_pieces_come_before_new_ones_the_fullest_first() {
    let mut picker = picker(PLENTY);
    let mut has = PeerPieces::none(PIECES);
    has.insert(p(4));
    assert_eq!(pieces_of(&pick(&mut picker, &asker(1, &has), 1)), [4]);
    let mut has = PeerPieces::none(PIECES);
    has.insert(p(6));
    assert_eq!(pieces_of(&pick(&mut picker, &asker(2, &has), 2)), [6]);
    assert_eq!(pieces_of(&pick(&mut picker, &asker(3, &ALL), 3)), [6, 4]);
    assert_eq!(picker.open_count(), 2);
}

#[test]
fn memory_bounds_what_is_open_and_then_others_are_helped() {
    let piece = u64::from(BLOCKS * BLOCK_LENGTH);
    let mut picker = picker(2 * piece);
    let fast = |slot| Asker { whole: true, ..asker(slot, &ALL) };
    assert_eq!(pick(&mut picker, &fast(1), 1).len(), 1);
    assert_eq!(pick(&mut picker, &fast(2), 1).len(), 1);
    assert_eq!((picker.open_count(), picker.open_bytes()), (2, 2 * piece));
    // From the end of a piece that is another's.
    let help = pick(&mut picker, &fast(3), 1);
    assert_eq!(help[0].begin(), 2 * BLOCK_LENGTH);
    assert_eq!(pick(&mut picker, &fast(3), 100).len(), 3);
    assert_eq!(pick(&mut picker, &fast(3), 100).len(), 0);
    let mut tight = self::picker(1);
    assert_eq!(pick(&mut tight, &fast(1), 100).len(), BLOCKS as usize, "one piece always fits");
    let mut closed = self::picker(0);
    assert_eq!(pick(&mut closed, &fast(1), 100), [], "nothing means nothing");
}

#[test]
fn the_end_game_begins_when_everything_was_asked_for() {
    let mut picker = picker(PLENTY);
    assert_eq!(pick(&mut picker, &asker(1, &ALL), 1000).len(), (PIECES * BLOCKS) as usize);
    assert!(picker.is_end_game());
    let block = nth_block(&layout(), p(0), 0);
    assert_eq!(picker.copy(&asker(1, &ALL), block, |_| true, |_| false), Copied::NotHere);
    assert_eq!(picker.copy(&asker(2, &ALL), block, |_| false, |_| false), Copied::NotHere);
    assert_eq!(picker.copy(&asker(2, &ALL), block, |_| true, |_| false), Copied::Yes);
    assert_eq!(
        picker.copy(&asker(3, &ALL), block, |_| true, |_| false),
        Copied::Enough,
        "two peers are enough"
    );
    assert_eq!(picker.copy(&asker(3, &ALL), block, |_| true, |slot| slot.0 == 1), Copied::Enough);
    let both = nth_block(&layout(), p(1), 1);
    assert_eq!(picker.copy(&asker(2, &ALL), both, |_| true, |_| false), Copied::Yes);
    assert_eq!(picker.copy(&asker(3, &ALL), both, |_| true, |_| true), Copied::Yes, "unless both stall");
    assert_eq!(picker.copy(&asker(4, &ALL), both, |_| true, |_| true), Copied::Enough);
    let arrival = picker.receive(block, PeerSlot(2), sender(2), Instant::now());
    assert_eq!(arrival, Arrival::Stored { complete: false, others: SmallVec::from_slice(&[PeerSlot(1)]) });
}

#[test]
fn a_piece_that_failed_is_fetched_from_one_peer_alone() {
    let mut picker = Picker::new(layout(), Bitfield::new(PIECES), PLENTY, true, 1);
    let now = Instant::now();
    for block in pick(&mut picker, &asker(1, &ALL), 2) {
        picker.receive(block, PeerSlot(1), sender(1), now);
    }
    let block = pick(&mut picker, &asker(2, &ALL), 1)[0];
    assert_eq!(
        picker.receive(block, PeerSlot(2), sender(2), now),
        Arrival::Stored { complete: true, others: SmallVec::new() }
    );
    assert_eq!(picker.corrupt(p(0)).by_block, [0, 0, 1]);
    assert_eq!(pieces_of(&pick(&mut picker, &asker(3, &ALL), 1)), [0]);
    assert_eq!(pieces_of(&pick(&mut picker, &asker(4, &ALL), 1)), [1]);
    let owner = Asker { working: Some(p(0)), ..asker(3, &ALL) };
    assert_eq!(pieces_of(&pick(&mut picker, &owner, 2)), [0]);
}

#[test]
fn a_suspect_takes_only_what_nobody_else_touches() {
    let mut picker = picker(PLENTY);
    let begun = pick(&mut picker, &asker(1, &ALL), 1)[0].piece();
    let suspect = Asker { alone: true, ..asker(2, &ALL) };
    let own = pick(&mut picker, &suspect, 1)[0].piece();
    assert_ne!(own, begun);
    picker.abandon(begun);
    assert!(!pieces_of(&pick(&mut picker, &asker(3, &ALL), 1000)).contains(&own.get()));
}

#[test]
fn a_begun_piece_that_waits_for_nobody_makes_room() {
    let mut picker = picker(1);
    let now = Instant::now();
    let blocks = pick(&mut picker, &asker(1, &ALL), 3);
    picker.receive(blocks[0], PeerSlot(1), sender(1), now);
    blocks[1..].iter().for_each(|block| picker.give_back(*block, PeerSlot(1)));
    assert_eq!(picker.evict(now + Duration::from_secs(14)), None);
    let later = now + Duration::from_secs(60);
    assert_eq!(picker.evict(later), Some((blocks[0].piece(), u64::from(blocks[0].length()))));
    assert_eq!((picker.open_count(), picker.pending_bytes()), (0, 0));
}

/// What the picker must know, kept in the slowest way.
#[derive(Default)]
struct Model {
    have: BTreeSet<u32>,
    skipped: BTreeSet<u32>,
    /// Who was asked for each block.
    asked: BTreeMap<Block, Vec<u32>>,
    received: BTreeSet<Block>,
    verifying: BTreeSet<u32>,
}

impl Model {
    fn is_open(&self, piece: u32) -> bool {
        let of = |block: &Block| block.piece().get() == piece;
        self.asked.keys().any(of) || self.received.iter().any(of)
    }

    fn check(&self, picker: &Picker, memory: u64) {
        for n in 0..PIECES {
            assert_eq!(picker.have().get(n), self.have.contains(&n));
            assert_eq!(picker.is_verifying(p(n)), self.verifying.contains(&n), "piece {n}");
            let missing = !self.have.contains(&n) && !self.skipped.contains(&n);
            assert_eq!(picker.is_missing(p(n)), missing);
            let open = picker.open_piece(p(n)).is_some();
            assert_eq!(open, self.is_open(n), "piece {n}");
            assert!(!(open && picker.rarity.contains(p(n))));
            assert_eq!(picker.rarity.contains(p(n)), missing && !open, "piece {n}");
        }
        for (block, askers) in &self.asked {
            assert!(
                askers.iter().all(|slot| picker.is_requested(*block, PeerSlot(*slot))),
                "{block:?} {askers:?}"
            );
        }
        let pending: u64 = self.received.iter().map(|block| u64::from(block.length())).sum();
        assert_eq!(picker.pending_bytes(), pending);
        assert!(picker.open_count() <= 1 || picker.open_bytes() <= memory);
        for (place, at) in picker.with_free.iter().enumerate() {
            assert_eq!(picker.open[*at as usize].free_at, Some(place as u32));
            assert!(0 < picker.open[*at as usize].free());
        }
        let with_free = picker.index.values().filter(|at| 0 < picker.open[**at as usize].free()).count();
        assert_eq!(with_free, picker.with_free.len());
    }

    fn forget(&mut self, piece: u32) {
        self.asked.retain(|block, _| block.piece().get() != piece);
        self.received.retain(|block| block.piece().get() != piece);
        self.verifying.remove(&piece);
    }
}

/// One thing that happens to a picker.
#[derive(Clone, Debug)]
enum Step {
    Pick {
        slot: u32,
        count: usize,
        whole: bool,
        alone: bool,
        working: Option<u32>,
    },
    Copies {
        slot: u32,
        count: usize,
    },
    /// The n-th outstanding request is answered.
    Receive(usize),
    /// A block comes that may never have been asked for.
    Late {
        piece: u32,
        block: u32,
        slot: u32,
    },
    GiveBack(usize),
    Leave(u32),
    Verified {
        piece: u32,
        ok: bool,
    },
    Skip(u32),
    Want(u32),
    Lost(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let slot = 0..5u32;
    prop_oneof![
        8 => (slot.clone(), 1..7usize, any::<bool>(), prop::bool::weighted(0.2), prop::option::of(0..PIECES))
            .prop_map(|(slot, count, whole, alone, working)| Step::Pick { slot, count, whole, alone, working }),
        2 => (slot.clone(), 1..7usize).prop_map(|(slot, count)| Step::Copies { slot, count }),
        12 => (0..100usize).prop_map(Step::Receive),
        1 => (0..PIECES, 0..BLOCKS, slot.clone()).prop_map(|(piece, block, slot)| Step::Late { piece, block, slot }),
        3 => (0..100usize).prop_map(Step::GiveBack),
        1 => slot.prop_map(Step::Leave),
        6 => (0..PIECES, prop::bool::weighted(0.8)).prop_map(|(piece, ok)| Step::Verified { piece, ok }),
        1 => (0..PIECES).prop_map(Step::Skip),
        1 => (0..PIECES).prop_map(Step::Want),
        1 => (0..PIECES).prop_map(Step::Lost),
    ]
}

struct Run {
    picker: Picker,
    model: Model,
    has: Vec<PeerPieces>,
    now: Instant,
}

impl Run {
    fn apply(&mut self, step: Step) {
        let outstanding: Vec<(Block, u32)> = self
            .model
            .asked
            .iter()
            .flat_map(|(block, slots)| slots.iter().map(|slot| (*block, *slot)))
            .collect();
        match step {
            Step::Pick { slot, count, whole, alone, working } => {
                let has = self.has[slot as usize].clone();
                let working = working.map(p);
                self.pick(&Asker { whole, alone, working, ..asker(slot, &has) }, count);
            }
            Step::Copies { slot, count } if self.picker.is_end_game() => self.pick_copies(slot, count),
            Step::Copies { .. } => {}
            Step::Receive(n) => {
                if let Some((block, slot)) = outstanding.get(n % outstanding.len().max(1)) {
                    self.receive(*block, *slot);
                }
            }
            Step::Late { piece, block, slot } => self.receive(nth_block(&layout(), p(piece), block), slot),
            Step::GiveBack(n) => {
                if let Some((block, slot)) = outstanding.get(n % outstanding.len().max(1)) {
                    self.give_back(*block, *slot);
                }
            }
            Step::Leave(slot) => {
                for (block, _) in outstanding.iter().filter(|(_, holder)| *holder == slot) {
                    self.give_back(*block, slot);
                }
                self.picker.disown(PeerSlot(slot));
            }
            Step::Verified { piece, ok } if self.model.verifying.contains(&piece) => {
                if ok {
                    self.picker.verified(p(piece));
                    self.model.have.insert(piece);
                } else {
                    assert_eq!(self.picker.corrupt(p(piece)).by_block.len(), BLOCKS as usize);
                }
                self.model.forget(piece);
            }
            Step::Verified { .. } => {}
            Step::Skip(piece) | Step::Want(piece) => {
                if matches!(step, Step::Skip(_)) {
                    self.model.skipped.insert(piece)
                } else {
                    self.model.skipped.remove(&piece)
                };
                let priority =
                    |n| if self.model.skipped.contains(&n) { Priority::Skip } else { Priority::Normal };
                let priorities: Vec<Priority> = (0..PIECES).map(priority).collect();
                for dropped in self.picker.set_priorities(&priorities) {
                    self.picker.abandon(dropped);
                    self.model.forget(dropped.get());
                }
            }
            Step::Lost(piece) => assert_eq!(self.picker.lost(p(piece)), self.model.have.remove(&piece)),
        }
    }

    fn pick(&mut self, asker: &Asker<'_>, count: usize) {
        let mut blocks = Vec::new();
        self.picker.pick(asker, count, self.now, &mut blocks);
        assert!(blocks.len() <= count);
        for block in blocks {
            assert!(asker.has.has(block.piece()), "the peer does not have it");
            assert!(self.picker.is_missing(block.piece()) && !self.model.received.contains(&block));
            assert!(
                self.model.asked.insert(block, vec![asker.slot.0]).is_none(),
                "asked for twice: {block:?}"
            );
        }
    }

    fn pick_copies(&mut self, slot: u32, count: usize) {
        let has = self.has[slot as usize].clone();
        for (block, slots) in self.model.asked.iter_mut().take(count) {
            let fits = has.has(block.piece()) && !slots.contains(&slot);
            let alone = self
                .picker
                .open_piece(block.piece())
                .is_some_and(|open| open.alone && open.owner.is_some_and(|owner| owner != PeerSlot(slot)));
            match self.picker.copy(&asker(slot, &has), *block, |_| true, |_| false) {
                Copied::Yes => {
                    assert!(fits && !alone && slots.len() < COPIES_MAX);
                    slots.push(slot);
                }
                Copied::NotHere => assert!(!fits || alone),
                Copied::Enough => assert_eq!(slots.len(), COPIES_MAX),
            }
        }
    }

    fn receive(&mut self, block: Block, slot: u32) {
        let piece = block.piece().get();
        let open = self.model.is_open(piece);
        let wanted = open && !self.model.received.contains(&block);
        match self.picker.receive(block, PeerSlot(slot), sender(slot), self.now) {
            Arrival::Unwanted => assert!(!wanted),
            Arrival::Stored { complete, others } => {
                assert!(wanted);
                let mut expected = self.model.asked.remove(&block).unwrap_or_default();
                expected.retain(|holder| *holder != slot);
                let mut others: Vec<u32> = others.iter().map(|slot| slot.0).collect();
                others.sort_unstable();
                expected.sort_unstable();
                assert_eq!(others, expected);
                self.model.received.insert(block);
                let all = self.model.received.iter().filter(|block| block.piece().get() == piece).count();
                assert_eq!(complete, all == BLOCKS as usize);
                if complete {
                    self.model.verifying.insert(piece);
                }
            }
        }
    }

    fn give_back(&mut self, block: Block, slot: u32) {
        self.picker.give_back(block, PeerSlot(slot));
        let slots = self.model.asked.get_mut(&block).expect("it was outstanding");
        slots.retain(|holder| *holder != slot);
        if slots.is_empty() {
            self.model.asked.remove(&block);
        }
    }
}

proptest! {
    #[test]
    fn the_picker_agrees_with_a_naive_model(
        steps in prop::collection::vec(step(), 1..250),
        pieces in prop::collection::vec(prop::option::of(prop::collection::vec(any::<bool>(), PIECES as usize)), 5),
        memory in 0..8u64,
        sequential in any::<bool>(),
    ) {
        let memory = memory * u64::from(BLOCKS * BLOCK_LENGTH);
        let mut picker = Picker::new(layout(), Bitfield::new(PIECES), memory, sequential, 1);
        let has: Vec<PeerPieces> = pieces.into_iter().map(|pieces| {
            let Some(pieces) = pieces else { return ALL };
            let mut has = PeerPieces::none(PIECES);
            (0..PIECES).filter(|n| pieces[*n as usize]).for_each(|n| { has.insert(p(n)); });
            has
        }).collect();
        has.iter().for_each(|has| picker.peer_has(has));
        let mut run = Run { picker, model: Model::default(), has, now: Instant::now() };
        for step in steps {
            run.apply(step);
            run.model.check(&run.picker, memory);
        }
        // A peer that has something that is not asked for yet is asked: nothing is forgotten.
        for slot in 0..5 {
            run.apply(Step::Pick { slot, count: 1000, whole: false, alone: false, working: None });
        }
        let has = run.has[0].clone();
        let left = (0..PIECES).filter(|n| has.has(p(*n)) && run.picker.is_missing(p(*n))).any(|n| {
            !run.model.is_open(n) && run.picker.has_room(layout().piece_length())
        });
        prop_assert!(!left, "a piece was left although there was room");
    }
}
