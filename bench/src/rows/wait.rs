//! C7 and C8: what beginning to wait costs.

use std::pin::pin;

use ripcord::Context;
use tokio_util::sync::CancellationToken;

use crate::harness::{Bench, clock, poll};
use crate::report::{Line, TOKIO_UTIL, Target};

/// C7. Both sides derive a child from one living parent, poll its future once with a waker that
/// does nothing, find it pending, and drop both. Ours is `done()`, the rival's `cancelled()`.
pub(super) fn on_a_new_child(bench: &Bench) -> Vec<Line> {
    let figures = bench.compare(
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
    );
    vec![Line::time("C7", "child + wait once (pending) + drop", figures, TOKIO_UTIL, Target::Faster(2.0))]
}

/// C8. The same without the child: one live child of a living parent is waited on again and again.
pub(super) fn on_a_live_context(bench: &Bench) -> Vec<Line> {
    let figures = bench.compare(
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
    );
    vec![Line::time("C8", "wait once (pending) + drop", figures, TOKIO_UTIL, Target::Faster(2.0))]
}
