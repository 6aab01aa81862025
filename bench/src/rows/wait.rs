//! C7 and C8: the cost of starting to wait.

use std::pin::pin;

use ripcord::Context;
use tokio_util::sync::CancellationToken;

use crate::floor::Floor;
use crate::harness::Bench;
use crate::report::{Line, TOKIO_UTIL, Target};
use crate::timing::{Threads, clock, poll};

/// C7. Both sides derive a child from one live parent, poll its future once with a waker that does nothing, get `Pending`, and drop
/// both. Ours is `done()`, the rival's `cancelled()`.
pub(super) fn on_a_new_child(bench: &Bench) -> Vec<Line> {
    let measured = bench.compare(
        |iterations| {
            let (parent, _canceler) = Context::background().with_cancel();
            clock(iterations, || {
                let (child, _canceler) = parent.with_cancel();
                poll(pin!(child.done())).is_pending()
            })
        },
        |iterations| {
            let parent = CancellationToken::new();
            clock(iterations, || {
                let child = parent.child_token();
                poll(pin!(child.cancelled())).is_pending()
            })
        },
        {
            let (parent, _canceler) = Context::background().with_cancel();
            Floor::allocation_of(Threads::One, || parent.with_cancel())
        },
    );
    vec![Line::time("C7", "child + wait once (pending) + drop", measured, TOKIO_UTIL, Target::Ratio(1.4))]
}

/// C8. The same as C7, with one child of the live parent for all calls.
pub(super) fn on_a_live_context(bench: &Bench) -> Vec<Line> {
    let measured = bench.compare(
        |iterations| {
            let (parent, _canceler) = Context::background().with_cancel();
            let (child, _canceler) = parent.with_cancel();
            clock(iterations, || poll(pin!(child.done())).is_pending())
        },
        |iterations| {
            let parent = CancellationToken::new();
            let child = parent.child_token();
            clock(iterations, || poll(pin!(child.cancelled())).is_pending())
        },
        Floor::locked_add(Threads::One),
    );
    vec![Line::time("C8", "wait once (pending) + drop", measured, TOKIO_UTIL, Target::Ratio(1.6))]
}
