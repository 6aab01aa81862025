//! C1, C2, C3, C6 and C15: the cost of creating and dropping a context.

use ripcord::Context;
use tokio_util::sync::CancellationToken;

use crate::floor::Floor;
use crate::harness::{Bench, HOUR};
use crate::report::{Line, TOKIO_UTIL, Target};
use crate::timing::{Threads, Timing, clock};

/// C1. Both sides derive a child from one live parent and drop it at once. Ours is `with_cancel()` with its `Canceler`, and the
/// rival's is `child_token()`.
pub(super) fn create_and_drop(bench: &Bench) -> Vec<Line> {
    let measured = bench.compare(
        |iterations| our_children(Threads::One, iterations),
        |iterations| rivals_children(Threads::One, iterations),
        allocation_of_child(Threads::One),
    );
    vec![Line::time("C1", "child create + drop", measured, TOKIO_UTIL, Target::Ratio(3.0)).within_floor(2.0)]
}

/// C2. The same as C1, with `cancel()` called on the child before it is dropped. Ours records the time of the cancel.
pub(super) fn create_cancel_and_drop(bench: &Bench) -> Vec<Line> {
    let measured = bench.compare(
        |iterations| {
            let (parent, _canceler) = Context::background().with_cancel();
            clock(iterations, || {
                let (child, canceler) = parent.with_cancel();
                canceler.cancel();
                (child, canceler)
            })
        },
        |iterations| {
            let parent = CancellationToken::new();
            clock(iterations, || {
                let child = parent.child_token();
                child.cancel();
                child
            })
        },
        allocation_of_child(Threads::One),
    );
    vec![Line::time("C2", "child create + cancel + drop", measured, TOKIO_UTIL, Target::Ratio(2.0))]
}

/// C3. Both sides clone a live child of one live parent and drop the clone.
pub(super) fn clone_and_drop(bench: &Bench) -> Vec<Line> {
    let measured = bench.compare(
        |iterations| {
            let (parent, _canceler) = Context::background().with_cancel();
            let (child, _canceler) = parent.with_cancel();
            clock(iterations, || child.clone())
        },
        |iterations| {
            let parent = CancellationToken::new();
            let child = parent.child_token();
            clock(iterations, || child.clone())
        },
        Floor::clone_of_arc(),
    );
    vec![Line::time("C3", "clone + drop", measured, TOKIO_UTIL, Target::Ratio(3.0)).within_floor(1.2)]
}

/// C6. The same as C1, on two threads that share the parent. The cost is the time of one call on its thread.
pub(super) fn two_threads(bench: &Bench) -> Vec<Line> {
    let measured = bench.compare(
        |iterations| our_children(Threads::Two, iterations),
        |iterations| rivals_children(Threads::Two, iterations),
        allocation_of_child(Threads::Two),
    );
    vec![Line::time("C6", "child create + drop, 2 threads, 1 parent", measured, TOKIO_UTIL, Target::Ratio(3.0))]
}

/// C15. Under a live parent that can be canceled, ours creates a context with a timeout of an hour and drops it. Go creates a
/// context with `WithTimeout` and calls its cancel function, which Go requires.
pub(super) fn timeout_and_drop(bench: &Bench) -> Vec<Line> {
    let measured = bench.compare_with_go(
        |iterations| {
            let (parent, _canceler) = Context::background().with_cancel();
            clock(iterations, || parent.with_timeout(HOUR))
        },
        "C15",
        Floor::clock_read(),
    );
    vec![Line::time("C15", "with_timeout create + drop", measured, bench.go().rival(), Target::Ratio(6.0))]
}

fn our_children(threads: Threads, iterations: u64) -> Timing {
    let (parent, _canceler) = Context::background().with_cancel();
    threads.clock(iterations, || parent.with_cancel())
}

fn rivals_children(threads: Threads, iterations: u64) -> Timing {
    let parent = CancellationToken::new();
    threads.clock(iterations, || parent.child_token())
}

fn allocation_of_child(threads: Threads) -> Floor {
    let (parent, _canceler) = Context::background().with_cancel();
    Floor::allocation_of(threads, || parent.with_cancel())
}
