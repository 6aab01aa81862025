//! Places found by sums against a walk of the queue.

use std::task::Waker;

use proptest::collection::vec;
use proptest::prelude::*;

use super::Queue;

#[derive(Clone, Debug)]
enum Step {
    /// Pushes a waiter or a reservation so many units behind the tail.
    Push {
        fixed: bool,
        behind: u64,
        units: u64,
    },
    /// The promise of this number, counted round, is kept.
    Keep(usize),
    CallOff(usize, bool),
    /// Units come back that lay before all promises.
    MoveUp(u64),
    Lower(u64),
    Clear,
}

fn step() -> impl Strategy<Value = Step> {
    let behind = || prop_oneof![3 => Just(0), 1 => 0u64..50];
    prop_oneof![
        120 => (prop::bool::weighted(0.3), behind(), 1u64..20)
            .prop_map(|(fixed, behind, units)| Step::Push { fixed, behind, units }),
        // Mostly the first, as when they are served.
        100 => prop_oneof![4 => Just(0), 1 => any::<usize>()].prop_map(Step::Keep),
        15 => (any::<usize>(), any::<bool>()).prop_map(|(which, refund)| Step::CallOff(which, refund)),
        4 => (1u64..5).prop_map(Step::MoveUp),
        2 => (0u64..30).prop_map(Step::Lower),
        1 => Just(Step::Clear),
    ]
}

proptest! {
    #[test]
    fn every_place_is_where_a_walk_finds_it(steps in vec(step(), 1..800)) {
        let mut queue = Queue::default();
        let mut ids: Vec<u64> = Vec::new();
        queue.tail = 1 << 40;
        for step in steps {
            match step {
                Step::Push { fixed, behind, units } => {
                    let start = queue.tail() + behind;
                    ids.push(match fixed {
                        true => queue.push_fixed(start, units, 0),
                        false => queue.push_waiter(start, units),
                    });
                    prop_assert_eq!(queue.tail(), start + units);
                    prop_assert!(queue.widths.len() <= 64.max(2 * queue.promises.len()) + 1, "it grows for ever");
                }
                Step::Keep(which) if !ids.is_empty() => {
                    let id = ids.remove(which % ids.len());
                    prop_assert!(queue.keep(id).is_none());
                }
                Step::CallOff(which, refund) if !ids.is_empty() => {
                    let id = ids.remove(which % ids.len());
                    let before = queue.tail();
                    let free = queue.call_off(id, refund).free;
                    prop_assert_eq!(queue.tail(), before - free);
                }
                Step::MoveUp(units) if !ids.is_empty() => {
                    let before = queue.tail();
                    let free = queue.move_up(units);
                    prop_assert_eq!(queue.tail(), before - free);
                }
                Step::Keep(_) | Step::CallOff(..) | Step::MoveUp(_) => {}
                Step::Lower(by) => queue.lower(by),
                Step::Clear => {
                    queue.clear();
                    ids.clear();
                }
            }
            let mut place = queue.base;
            for (id, promise) in &queue.promises {
                place = promise.after(place);
                prop_assert_eq!(queue.end_of(*id), Some(place));
            }
            prop_assert!(queue.promises.keys().eq(&ids));
            prop_assert!(ids.is_empty() || place + queue.gap == queue.tail() || queue.fixed.last() == ids.last());
        }
    }
}

#[test]
fn a_waker_is_handed_out_once() {
    let mut queue = Queue::default();
    let id = queue.push_waiter(0, 1);
    assert!(queue.set_waker(id, Waker::noop().clone()).is_none());
    assert!(queue.set_waker(id, Waker::noop().clone()).is_some(), "the one it replaces");
    assert!(queue.first_waker().is_some() && queue.first_waker().is_none());
    assert!(queue.set_waker(id, Waker::noop().clone()).is_none());
    assert!(queue.keep(id).is_some());
    assert!(queue.set_waker(id, Waker::noop().clone()).is_some(), "nobody is there to keep it");
}
