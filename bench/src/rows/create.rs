//! C1, C2, C3, C6 and C15: what making and dropping a context costs.

use ripcord::Context;
use tokio_util::sync::CancellationToken;

use crate::harness::{Bench, HOUR, clock, clock_on_two_threads};
use crate::report::{Line, TOKIO_UTIL, Target};

/// C1. Both sides derive a child from one living parent and drop it at once: ours `with_cancel()`,
/// with its `Canceler`; the rival's `child_token()`.
pub(super) fn create_and_drop(bench: &Bench) -> Vec<Line> {
    let figures = bench.compare(
        |iterations| {
            let (parent, _canceler) = Context::background().with_cancel();
            clock(iterations, || parent.with_cancel())
        },
        |iterations| {
            let parent = CancellationToken::new();
            clock(iterations, || parent.child_token())
        },
    );
    vec![Line::time("C1", "child create + drop", figures, TOKIO_UTIL, Target::Faster(3.0))]
}

/// C2. As C1, with `cancel()` called on the child before it is dropped.
pub(super) fn create_cancel_and_drop(bench: &Bench) -> Vec<Line> {
    let figures = bench.compare(
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
    );
    vec![Line::time("C2", "child create + cancel + drop", figures, TOKIO_UTIL, Target::Faster(2.0))]
}

/// C3. Both sides clone a live child of one living parent and drop the clone.
pub(super) fn clone_and_drop(bench: &Bench) -> Vec<Line> {
    let figures = bench.compare(
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
    );
    vec![Line::time("C3", "clone + drop", figures, TOKIO_UTIL, Target::Faster(3.0))]
}

/// C6. As C1, on two threads that share the parent. The cost is what one call takes on the thread
/// that makes it.
pub(super) fn two_threads(bench: &Bench) -> Vec<Line> {
    let figures = bench.compare(
        |iterations| {
            let (parent, _canceler) = Context::background().with_cancel();
            clock_on_two_threads(iterations, || parent.with_cancel())
        },
        |iterations| {
            let parent = CancellationToken::new();
            clock_on_two_threads(iterations, || parent.child_token())
        },
    );
    vec![Line::time("C6", "child create + drop, 2 threads, 1 parent", figures, TOKIO_UTIL, Target::Faster(3.0))]
}

/// C15. Under a living parent that can be canceled, ours makes a context with a timeout of an hour
/// and drops it; Go makes one `WithTimeout` and calls its cancel function, as it must.
pub(super) fn timeout_and_drop(bench: &Bench) -> Vec<Line> {
    let mut ours = bench.per_call(|iterations| {
        let (parent, _canceler) = Context::background().with_cancel();
        clock(iterations, || parent.with_timeout(HOUR))
    });
    let go = bench.go();
    let [ours, rivals] = bench.pair(bench.many_rounds(), &mut ours, &mut || go.figure("C15"));
    vec![Line::time("C15", "with_timeout create + drop", [ours, rivals], go.rival(), Target::Faster(6.0))]
}
